//! Starting an init's command as execvp(3) would, which is what inits call.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::policy::Like;
use crate::sys::Pid;
use crate::sys::confine::Confined;
use crate::sys::spawn::{self, Bond, Command, SpawnError};

/// What runs a script that does not name its interpreter (exec(3), ENOEXEC).
const SHELL: &str = "/bin/sh";

/// Why there is no command to be the init of.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No file has its name.
    #[error("there is no program {0:?} on the PATH\nhint: is it in this image, and its directory on the PATH?")]
    Unknown(OsString),
    /// There is such a file.
    #[error("{0}{hint}", hint = hint(.0))]
    Spawn(SpawnError),
    /// A program, but not for this machine.
    #[error("cannot execute {}: it is built for another kind of processor\nhint: fetch the image for this one", .0.display())]
    Foreign(PathBuf),
}

impl StartError {
    /// The code to exit with: tini tells the reasons apart as shells do, dumb-init does not.
    pub fn code(&self, like: Like) -> u8 {
        let kind = match self {
            Self::Unknown(_) => io::ErrorKind::NotFound,
            Self::Foreign(_) => io::ErrorKind::PermissionDenied,
            Self::Spawn(SpawnError::Child { cause, .. }) => io::Error::from(*cause).kind(),
            Self::Spawn(_) => io::ErrorKind::Other,
        };
        match (like, kind) {
            (Like::DumbInit, _) => 2,
            (Like::Tini, io::ErrorKind::NotFound) => 127,
            (Like::Tini, io::ErrorKind::PermissionDenied) => 126,
            (Like::Tini, _) => 1,
        }
    }
}

fn hint(error: &SpawnError) -> &'static str {
    let SpawnError::Child { program, cause, .. } = error else { return "" };
    match io::Error::from(*cause).kind() {
        io::ErrorKind::NotFound if program.exists() => {
            "\nhint: the file is there; what is not is the interpreter that its first line names, or its C library's loader"
        }
        io::ErrorKind::NotFound => "\nhint: is it in this image, at this path?",
        io::ErrorKind::PermissionDenied => "\nhint: make it executable (chmod +x), on a file system without noexec",
        _ => "",
    }
}

/// Starts the command. Standard input and everything else is ours.
pub(super) fn start(arguments: &[OsString], bond: Bond<'_>) -> Result<Pid, StartError> {
    let program = find(&arguments[0])?;
    let error = match spawn_file(&program, arguments, bond) {
        Err(error @ SpawnError::Child { .. }) if is_unknown_format(&error) => error,
        started => return started.map_err(StartError::Spawn),
    };
    if begins_with(&program, b"\x7fELF") {
        return Err(StartError::Foreign(program));
    }
    let mut words: Vec<OsString> = vec![SHELL.into(), program.into()];
    words.extend_from_slice(&arguments[1..]);
    spawn_file(Path::new(SHELL), &words, bond).map_err(|_| StartError::Spawn(error))
}

fn spawn_file(program: &Path, arguments: &[OsString], bond: Bond<'_>) -> Result<Pid, SpawnError> {
    let stdin = io::stdin();
    let command = Command {
        program,
        arguments,
        environment: Vec::new(),
        stdin: stdin.as_fd(),
        output: None,
        descriptors: Vec::new(),
        listen_pid: false,
        open_files: None,
        confined: &Confined::default(),
        entrances: Vec::new(),
    };
    spawn::spawn_bound(&command, bond).map(|started| started.pid)
}

/// The file of a program. One on the PATH that may not be executed is tried nevertheless: that tells why not.
fn find(name: &OsStr) -> Result<PathBuf, StartError> {
    let error = match spawn::find_program(name) {
        Ok(program) => return Ok(program),
        Err(error) => error,
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let forbidden = std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file());
    match (forbidden, error) {
        (Some(file), _) if !name.is_empty() => Ok(file),
        (_, SpawnError::NotFound(name)) => Err(StartError::Unknown(name)),
        (_, error) => Err(StartError::Spawn(error)),
    }
}

fn is_unknown_format(error: &SpawnError) -> bool {
    // The one cause that std::io has no kind for: its number is of all of Linux.
    const ENOEXEC: i32 = 8;
    matches!(error, SpawnError::Child { cause, .. } if io::Error::from(*cause).raw_os_error() == Some(ENOEXEC))
}

fn begins_with(file: &Path, magic: &[u8; 4]) -> bool {
    let mut first = [0; 4];
    File::open(file).and_then(|mut file| file.read_exact(&mut first)).is_ok() && first == *magic
}
