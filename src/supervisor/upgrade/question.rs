//! Asking a build whether it understands the state, and answering when asked.
//!
//! The build is a child like any other, with the state as its descriptor 3 and its own file as descriptor 4. It says yes by
//! a line of JSON, its last, and by exiting with 0. A program that exits with 0 and is no torus is not believed, nor one
//! that had another process answer: the supervisor itself is to become what answered.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::oneshot;

use super::state::{STATE_VERSION, State, StateError};
use crate::control::torus_version;
use crate::supervisor::environment;
use crate::supervisor::event_loop::Supervisor;
use crate::sys::confine::Confined;
use crate::sys::program::ProgramFile;
use crate::sys::spawn::{self, Command, FIRST_DESCRIPTOR, SpawnError};
use crate::sys::wait::Exit;
use crate::sys::{Pid, exec, identity, pipe};

/// Where the build that is asked has its own file.
const BINARY_DESCRIPTOR: i32 = FIRST_DESCRIPTOR + 1;
/// Bytes that a build may say; more is not read.
const WORDS_BYTES_MAX: u64 = 4096;
/// Characters of it that are passed on.
const WORDS_CHARS_MAX: usize = 300;

/// What a build says that understands.
#[derive(Debug, Serialize, Deserialize)]
struct Yes {
    torus: String,
    state: u32,
    /// The process that says it.
    pid: i32,
}

/// A build that is asked: its process, where to tell its end, and where its version, or why not, will be told.
pub(super) type Asked = (Pid, oneshot::Sender<Exit>, oneshot::Receiver<Result<String, String>>);

impl Supervisor {
    /// Asks a build.
    pub(super) fn ask(&mut self, binary: &ProgramFile) -> Result<Asked, String> {
        let (state, _) = self.gather(None).map_err(|cause| format!("cannot write the state: {cause}"))?;
        let state = state.write().map_err(|cause| format!("cannot write the state: {cause}"))?;
        let (ours, theirs) = pipe::output(WORDS_BYTES_MAX as usize).map_err(|cause| format!("no pipe: {cause}"))?;
        let mut arguments = resume_arguments(binary.path(), FIRST_DESCRIPTOR);
        // All that it will be called with, so that it is known before there is no way back.
        arguments.extend(["--back", &BINARY_DESCRIPTOR.to_string(), "--returned", "", "--ask"].map(OsString::from));
        let started = spawn::spawn(&Command {
            program: Path::new(&format!("/proc/self/fd/{BINARY_DESCRIPTOR}")),
            arguments: &arguments,
            environment: environment::inherited(),
            stdin: self.ground.stdin.as_fd(),
            output: Some([theirs.as_fd(), theirs.as_fd()]),
            descriptors: vec![(FIRST_DESCRIPTOR, state.as_fd()), (BINARY_DESCRIPTOR, binary.as_fd())],
            listen_pid: false,
            open_files: None,
            confined: &Confined::default(),
            entrances: Vec::new(),
        });
        let pid = started.map_err(|error| cannot_execute(binary.path(), &error))?.pid;
        drop(theirs);
        let (end, ended) = oneshot::channel();
        let (said, answer) = oneshot::channel();
        tokio::spawn(async move {
            let mut words = Vec::new();
            let heard = match Receiver::from_owned_fd(ours) {
                Ok(pipe) => pipe.take(WORDS_BYTES_MAX).read_to_end(&mut words).await.map(drop),
                Err(cause) => Err(cause),
            };
            let _ = said.send(match (heard, ended.await) {
                (Ok(()), Ok(exit)) => verdict(pid, exit, &words),
                (Err(cause), _) => Err(format!("it cannot be heard: {cause}")),
                (_, Err(_)) => Err("its end was not seen".to_owned()),
            });
        });
        Ok((pid, end, answer))
    }
}

/// The command line that has a build go on with the state at a descriptor.
pub(super) fn resume_arguments(binary: &Path, descriptor: i32) -> Vec<OsString> {
    let arguments = [binary.as_os_str().to_owned(), "run".into(), "--resume".into(), descriptor.to_string().into()];
    arguments.to_vec()
}

fn cannot_execute(path: &Path, error: &SpawnError) -> String {
    match error {
        SpawnError::Child { cause, .. } => format!("cannot execute {}: {cause}", path.display()),
        error => error.to_string(),
    }
}

fn verdict(asked: Pid, exit: Exit, words: &[u8]) -> Result<String, String> {
    let words = String::from_utf8_lossy(words);
    if exit == Exit::Code(0) {
        let yes = words.trim_end().lines().last().and_then(|line| serde_json::from_str::<Yes>(line).ok());
        return match yes.filter(|yes| yes.state == STATE_VERSION) {
            Some(yes) if yes.pid != asked.as_raw() => {
                Err("it had another process answer; only a program that answers itself can go on as this one"
                    .to_owned())
            }
            Some(yes) => Ok(yes.torus),
            None => Err("it does not answer as a torus does".to_owned()),
        };
    }
    let words = words.trim();
    let words = words.strip_prefix("error: ").unwrap_or(words);
    if words.is_empty() {
        return Err(match exit {
            Exit::Code(code) => format!("asked whether it understands the state, it said nothing (code {code})"),
            Exit::Signal(number) => format!("asked whether it understands the state, it died (signal {number})"),
        });
    }
    Err(words.chars().take(WORDS_CHARS_MAX).collect())
}

/// Answers the question, as the build that is asked: the line to print.
///
/// # Errors
/// Why this build cannot go on with that state.
pub fn answer(descriptor: i32) -> Result<String, StateError> {
    let state = State::read(&exec::adopt(descriptor).map_err(StateError::Read)?)?;
    state.model()?;
    let yes = Yes { torus: torus_version().to_owned(), state: STATE_VERSION, pid: identity::pid().as_raw() };
    serde_json::to_string(&yes).map(|line| line + "\n").map_err(|cause| StateError::Read(io::Error::other(cause)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_torus_that_says_yes_is_believed() {
        let yes = format!("a warning\n{{\"torus\":\"9.9\",\"state\":{STATE_VERSION},\"pid\":7}}\n");
        let verdict = |exit, words| verdict(Pid::from_raw(7), exit, words);
        assert_eq!(verdict(Exit::Code(0), yes.as_bytes()), Ok("9.9".to_owned()));
        assert_eq!(verdict(Exit::Code(1), b"error: no\n"), Err("no".to_owned()));
        let other = yes.replace("\"pid\":7", "\"pid\":8");
        assert!(verdict(Exit::Code(0), other.as_bytes()).unwrap_err().contains("another process"));
        assert!(verdict(Exit::Code(0), b"").unwrap_err().contains("as a torus does"));
        assert!(verdict(Exit::Code(0), b"{\"torus\":\"9.9\",\"state\":0}").is_err());
        assert!(verdict(Exit::Code(3), b"").unwrap_err().contains("code 3"));
        assert!(verdict(Exit::Signal(9), b"").unwrap_err().contains("signal 9"));
    }
}
