//! Starting a process: fork and exec of our own.
//!
//! The standard library's and tokio's ways wait for their children themselves, which would compete with PID 1's one
//! owner of wait; and neither can hand over descriptors at agreed numbers.
//!
//! Everything is prepared before the fork; between fork and exec the child only makes system calls that are safe there
//! (signal-safety(7)), and reports a failure through a pipe that a successful exec closes. Each child
//!
//! - leads a process group of its own, so that it can be signalled with all that it started;
//! - is killed by the kernel when its supervisor dies (prctl(2), PR_SET_PDEATHSIG);
//! - has the default dispositions of signals, and none blocked;
//! - reads /dev/null, shares our output, and has no other descriptor than those named.
//!
//! The one child of an init is bound otherwise, see [`Bond`].

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::{AccessFlags, ForkResult, Pid, access, fork, getpid, pipe2};

pub use super::bond::{Bond, Place};
use super::limits::OpenFiles;
use super::wait;

/// The first descriptor that is handed over, as in sd_listen_fds(3).
pub const FIRST_DESCRIPTOR: RawFd = 3;

/// A process to be started.
#[derive(Debug)]
pub struct Command<'a> {
    /// The program's file, see [`find_program`].
    pub program: &'a Path,
    /// The argument vector, the program's name first.
    pub arguments: &'a [OsString],
    /// The whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// What the child has as its standard input.
    pub stdin: BorrowedFd<'a>,
    /// What the child has as descriptors from [`FIRST_DESCRIPTOR`] on.
    pub descriptors: Vec<BorrowedFd<'a>>,
    /// Whether LISTEN_PID is added to the environment: the child's own process id, which only the child knows.
    pub listen_pid: bool,
    /// A limit of open files other than ours.
    pub open_files: Option<OpenFiles>,
}

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// No directory of PATH has such a program.
    #[error("there is no program {0:?} on the PATH")]
    NotFound(OsString),
    /// C strings cannot carry a NUL byte.
    #[error("an argument or a variable contains a NUL byte")]
    Nul,
    /// There is no room for one more process or pipe.
    #[error("cannot {what}: {cause}")]
    Resources {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        cause: Errno,
    },
    /// The child could not become the program.
    #[error("cannot {step} {}: {cause}", program.display())]
    Child {
        /// How far it came.
        step: Step,
        /// The program's file.
        program: PathBuf,
        /// The kernel's answer.
        cause: Errno,
    },
}

/// What a child does before it is the program that it was started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Process group, parent-death signal.
    Attach,
    /// Descriptors into their places.
    Descriptors,
    /// Resource limits.
    Limits,
    /// The exec itself.
    Execute,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Attach => "attach the process of",
            Self::Descriptors => "hand descriptors to",
            Self::Limits => "set the limits of",
            Self::Execute => "execute",
        })
    }
}

/// The file of a program: a name with a slash is a path, any other is looked up on PATH.
pub fn find_program(name: &OsStr) -> Result<PathBuf, SpawnError> {
    if name.as_bytes().contains(&b'/') {
        return Ok(PathBuf::from(name));
    }
    let path = env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|file| file.is_file() && access(file, AccessFlags::X_OK).is_ok())
        .ok_or_else(|| SpawnError::NotFound(name.to_owned()))
}

/// Marks every descriptor that we were started with, beyond the standard three, as closed on exec, so that none
/// reaches a child. All that we open ourselves is born so.
pub fn seal_descriptors() -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()) else { continue };
        if number >= FIRST_DESCRIPTOR {
            // SAFETY: setting a flag of a descriptor touches no memory; one that is closed meanwhile is an error.
            unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

/// Starts a service; once this returns, the program runs.
pub fn spawn(command: &Command<'_>) -> Result<Pid, SpawnError> {
    spawn_bound(command, Bond::Service)
}

/// Starts a process; once this returns, the program runs.
pub fn spawn_bound(command: &Command<'_>, bond: Bond<'_>) -> Result<Pid, SpawnError> {
    let resources = |what| move |cause| SpawnError::Resources { what, cause };
    let (report, child_report) = pipe2(OFlag::O_CLOEXEC).map_err(resources("make a pipe"))?;
    let mut prepared = Prepared::new(command, bond, child_report.as_raw_fd())?;

    // No signal may run a handler of ours in the child.
    let old_mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).map_err(resources("block signals"))?;
    // SAFETY: the child calls nothing but `become_program`, which keeps to signal-safety(7).
    let forked = unsafe { fork() };
    let pid = match forked {
        Ok(ForkResult::Child) => prepared.become_program(),
        Ok(ForkResult::Parent { child }) => Ok(child),
        Err(cause) => Err(cause),
    };
    old_mask.thread_set_mask().map_err(resources("unblock signals"))?;
    let pid = pid.map_err(resources("fork"))?;
    drop(child_report);

    let Some((step, cause)) = read_report(report) else { return Ok(pid) };
    // Nobody else knows of this child, so it is collected here.
    let _ = wait::collect(pid);
    Err(SpawnError::Child { step, program: command.program.to_owned(), cause })
}

/// A failure is two words; a successful exec closes the pipe without any.
fn read_report(pipe: OwnedFd) -> Option<(Step, Errno)> {
    let mut report = [0u8; 8];
    File::from(pipe).read_exact(&mut report).ok()?;
    let [step, cause] = [&report[..4], &report[4..]].map(|word| i32::from_ne_bytes(word.try_into().expect("a word")));
    let step = [Step::Attach, Step::Descriptors, Step::Limits].into_iter().find(|known| *known as i32 == step);
    Some((step.unwrap_or(Step::Execute), Errno::from_raw(cause)))
}

/// All that the child needs, allocated before the fork.
struct Prepared<'a> {
    bond: Bond<'a>,
    program: CString,
    /// NUL-terminated strings; `argv` and `envp` point into them.
    _strings: Vec<Vec<u8>>,
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
    /// Where the digits of LISTEN_PID go.
    listen_pid: Option<*mut u8>,
    stdin: RawFd,
    descriptors: Vec<RawFd>,
    report: RawFd,
    open_files: Option<libc::rlimit>,
    parent: Pid,
}

/// Room for the digits of a process id and a NUL.
const PID_ROOM: usize = 12;

impl<'a> Prepared<'a> {
    fn new(command: &Command<'_>, bond: Bond<'a>, report: RawFd) -> Result<Self, SpawnError> {
        let terminated = |mut bytes: Vec<u8>| {
            if bytes.contains(&0) {
                return Err(SpawnError::Nul);
            }
            bytes.push(0);
            Ok(bytes)
        };
        let arguments: Vec<_> = command.arguments.iter().map(|text| terminated(text.clone().into_vec())).collect();
        let variables = command
            .environment
            .iter()
            .map(|(name, value)| terminated([name.as_bytes(), b"=", value.as_bytes()].concat()));
        let mut strings = arguments.into_iter().chain(variables).collect::<Result<Vec<_>, _>>()?;
        if command.listen_pid {
            strings.push([b"LISTEN_PID=".as_slice(), &[0; PID_ROOM]].concat());
        }
        let listen_pid = command.listen_pid.then(|| {
            let text = strings.last_mut().expect("it was pushed just now");
            // SAFETY: the room for digits is the string's last PID_ROOM bytes.
            unsafe { text.as_mut_ptr().add(text.len() - PID_ROOM) }
        });
        let pointers = |strings: &[Vec<u8>]| {
            strings.iter().map(|text| text.as_ptr().cast()).chain([std::ptr::null()]).collect::<Vec<_>>()
        };
        let (argv, envp) = strings.split_at(command.arguments.len());
        Ok(Self {
            program: CString::new(command.program.as_os_str().as_bytes()).map_err(|_| SpawnError::Nul)?,
            argv: pointers(argv),
            envp: bond.environment().unwrap_or_else(|| pointers(envp)),
            bond,
            listen_pid,
            _strings: strings,
            stdin: command.stdin.as_raw_fd(),
            descriptors: command.descriptors.iter().map(AsRawFd::as_raw_fd).collect(),
            report,
            open_files: command
                .open_files
                .map(|OpenFiles { soft, hard }| libc::rlimit { rlim_cur: soft, rlim_max: hard }),
            parent: getpid(),
        })
    }

    /// The child's whole life before exec.
    fn become_program(&mut self) -> ! {
        let step = self.prepare_and_execute();
        let report = [step as i32, Errno::last_raw()];
        // SAFETY: writes two words that live on this stack, then ends the child without running anything of ours.
        unsafe {
            libc::write(self.report, report.as_ptr().cast(), size_of_val(&report));
            libc::_exit(127)
        }
    }

    /// Answers the step that failed, with its cause in errno; success does not return.
    fn prepare_and_execute(&mut self) -> Step {
        // SAFETY: only system calls that signal-safety(7) allows, on memory that was allocated before the fork and
        // that this process alone now has.
        unsafe {
            if self.bond.attach(self.parent).is_err() {
                return Step::Attach;
            }

            // First everything out of the way of the places that are agreed on, then into them.
            let free = FIRST_DESCRIPTOR + self.descriptors.len() as RawFd;
            for descriptor in self.descriptors.iter_mut().chain([&mut self.report]) {
                *descriptor = libc::fcntl(*descriptor, libc::F_DUPFD_CLOEXEC, free);
                if *descriptor < 0 {
                    return Step::Descriptors;
                }
            }
            if libc::dup2(self.stdin, libc::STDIN_FILENO) < 0 {
                return Step::Descriptors;
            }
            for (place, descriptor) in (FIRST_DESCRIPTOR..).zip(&self.descriptors) {
                if libc::dup2(*descriptor, place) < 0 {
                    return Step::Descriptors;
                }
            }

            if let Some(limit) = &self.open_files
                && libc::setrlimit(libc::RLIMIT_NOFILE, limit) < 0
            {
                return Step::Limits;
            }

            if let Some(room) = self.listen_pid {
                write_digits(libc::getpid(), std::slice::from_raw_parts_mut(room, PID_ROOM));
            }

            self.bond.release();
            libc::execve(self.program.as_ptr(), self.argv.as_ptr(), self.envp.as_ptr());
        }
        Step::Execute
    }
}

/// Writes a positive number in decimal, at the start of a room of zeros.
fn write_digits(number: i32, room: &mut [u8]) {
    let digits = std::iter::successors(Some(number), |rest| (*rest >= 10).then_some(rest / 10)).count();
    let mut rest = number;
    for place in room[..digits].iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    /// What `script` prints when a shell runs it as a child of ours; descriptor 4 is the pipe to here.
    fn output_of(script: &str, environment: &[(&str, &str)], listen_pid: bool) -> (Pid, String) {
        seal_descriptors().unwrap();
        let null = File::open("/dev/null").unwrap();
        let other = File::open("/dev/zero").unwrap();
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let arguments = ["sh", "-c", script].map(OsString::from);
        let pid = spawn(&Command {
            program: &find_program("sh".as_ref()).unwrap(),
            arguments: &arguments,
            environment: environment.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            stdin: null.as_fd(),
            descriptors: vec![other.as_fd(), writer.as_fd()],
            listen_pid,
            open_files: None,
        })
        .unwrap();
        drop(writer);
        let mut text = String::new();
        File::from(reader).read_to_string(&mut text).unwrap();
        wait::collect(pid).unwrap();
        (pid, text)
    }

    #[test]
    fn a_child_has_the_descriptors_that_were_named_and_no_other() {
        let (_, text) = output_of("exec ls -l /proc/self/fd >&4", &[("PATH", "/bin")], false);
        let links = text.lines().filter_map(|line| line.split_once(" -> "));
        // What ls itself has open, to read the directory.
        let links = links.filter(|(_, target)| !target.ends_with("/fd"));
        let descriptors: Vec<(&str, &str)> =
            links.map(|(line, target)| (line.rsplit(' ').next().expect("a word"), target)).collect();
        let numbers: Vec<&str> = descriptors.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, ["0", "1", "2", "3", "4"], "{text}");
        assert_eq!((descriptors[0].1, descriptors[3].1), ("/dev/null", "/dev/zero"));
    }

    #[test]
    fn a_child_is_told_its_own_process_id_for_its_listening_sockets() {
        let (pid, text) = output_of("echo $LISTEN_PID $A >&4", &[("A", "b c")], true);
        assert_eq!(text, format!("{pid} b c\n"));
    }

    #[test]
    fn a_child_leads_its_group_and_ignores_and_blocks_no_signal() {
        // The shell itself reads what is blocked: while it starts another program, it blocks everything.
        let script = "cut -d' ' -f5 /proc/$$/stat >&4; \
                      while read -r name set; do case $name in SigBlk:|SigIgn:) echo $name $set >&4;; esac; done \
                      < /proc/$$/status";
        let (pid, text) = output_of(script, &[("PATH", "/bin")], false);
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(words, [&pid.to_string(), "SigBlk:", "0000000000000000", "SigIgn:", "0000000000000000"]);
    }

    #[test]
    fn what_cannot_be_executed_is_a_typed_error() {
        let null = File::open("/dev/null").unwrap();
        let attempt = |program: &str, argument: &str| {
            spawn(&Command {
                program: Path::new(program),
                arguments: &[OsString::from(argument)],
                environment: Vec::new(),
                stdin: null.as_fd(),
                descriptors: Vec::new(),
                listen_pid: false,
                open_files: None,
            })
        };
        let error = attempt("/does/not/exist", "x").unwrap_err();
        assert_eq!(error.to_string(), "cannot execute /does/not/exist: ENOENT: No such file or directory");
        assert!(matches!(attempt("/bin/sh", "a\0b"), Err(SpawnError::Nul)));
        assert!(matches!(find_program("no-such-program".as_ref()), Err(SpawnError::NotFound(_))));
    }

    #[test]
    fn a_process_id_is_written_in_decimal() {
        for number in [1, 9, 10, 4_194_304, i32::MAX] {
            let mut room = [0; PID_ROOM];
            write_digits(number, &mut room);
            assert_eq!(String::from_utf8_lossy(&room).trim_end_matches('\0'), number.to_string());
        }
    }
}
