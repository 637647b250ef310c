//! Starting a process: fork and exec of our own.
//!
//! The standard library's and tokio's ways wait for their children themselves, which would compete with PID 1's one
//! owner of wait; and neither can hand over descriptors at agreed numbers.
//!
//! Everything is prepared before the fork; what the child does between fork and exec is in `prepared`. It reports what
//! failed through a pipe that a successful exec closes. A child that keeps our user shares our memory until then, as
//! with vfork(2): nothing is copied for what is thrown away a moment later; see `fork`. Each child
//!
//! - leads a process group of its own, so that it can be signalled with all that it started;
//! - is killed by the kernel when its supervisor dies (prctl(2), PR_SET_PDEATHSIG);
//! - has the default dispositions of signals, and none blocked;
//! - reads /dev/null, writes to where it is told or shares our output, and has no other descriptor than those named.
//!
//! The one child of an init is bound otherwise, see [`Bond`].

mod fork;
mod prepared;

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::{AccessFlags, Pid, access, pipe2, read};

pub use super::bond::{Bond, Place};
use super::confine::{Confined, Limit};
use super::limits::OpenFiles;
use super::wait;
use prepared::{Prepared, Report, Step};

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
    /// What the child has as its standard output and standard error; `None` is ours.
    pub output: Option<[BorrowedFd<'a>; 2]>,
    /// What the child has as descriptors, each with its number, from [`FIRST_DESCRIPTOR`] on.
    pub descriptors: Vec<(RawFd, BorrowedFd<'a>)>,
    /// Whether LISTEN_PID is added to the environment: the child's own process id, which only the child knows.
    pub listen_pid: bool,
    /// A limit of open files other than ours, unless `confined` sets one.
    pub open_files: Option<OpenFiles>,
    /// What it is held to.
    pub confined: &'a Confined,
    /// The `cgroup.procs` files of the cgroups that it joins.
    pub entrances: Vec<BorrowedFd<'a>>,
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
    #[error("cannot {what} {}: {cause}", program.display())]
    Child {
        /// What was tried: "execute".
        what: String,
        /// The program's file.
        program: PathBuf,
        /// The kernel's answer.
        cause: Errno,
    },
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
/// reaches a child; tells which were not. All that we open ourselves is born so.
pub fn seal_descriptors() -> io::Result<Vec<RawFd>> {
    let mut sealed = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()) else { continue };
        // SAFETY: asking for a flag of a descriptor, and setting it, touches no memory; one that is closed is an error.
        unsafe {
            if number >= FIRST_DESCRIPTOR && libc::fcntl(number, libc::F_GETFD) == 0 {
                libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC);
                sealed.push(number);
            }
        }
    }
    Ok(sealed)
}

/// A process that runs its program.
#[derive(Debug)]
pub struct Started {
    /// Its id.
    pub pid: Pid,
    /// What it does without, in sentences.
    pub warnings: Vec<String>,
}

/// Starts a service; once this returns, the program runs.
pub fn spawn(command: &Command<'_>) -> Result<Started, SpawnError> {
    spawn_bound(command, Bond::Service)
}

/// Starts a process; once this returns, the program runs.
pub fn spawn_bound(command: &Command<'_>, bond: Bond<'_>) -> Result<Started, SpawnError> {
    let resources = |what| move |cause| SpawnError::Resources { what, cause };
    let (report, child_report) = pipe2(OFlag::O_CLOEXEC).map_err(resources("make a pipe"))?;
    let mut prepared = Prepared::new(command, bond, child_report.as_raw_fd())?;

    // No signal may run a handler of ours in the child.
    let old_mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).map_err(resources("block signals"))?;
    let pid = fork::fork(&mut prepared);
    old_mask.thread_set_mask().map_err(resources("unblock signals"))?;
    let pid = pid.map_err(resources("fork"))?;
    drop(child_report);

    let reports = read_reports(report);
    if let Some(failure) = reports.iter().find(|report| !report.goes_on) {
        // Nobody else knows of this child, so it is collected here.
        let _ = wait::collect(pid);
        let what = attempt(failure, command);
        return Err(SpawnError::Child { what, program: command.program.to_owned(), cause: failure.cause });
    }
    let sentence = |report: &Report| {
        format!("cannot {} {}: {}", attempt(report, command), command.program.display(), report.cause.desc())
    };
    Ok(Started { pid, warnings: reports.iter().map(sentence).collect() })
}

/// All that a child says before its exec, which closes the pipe.
fn read_reports(pipe: OwnedFd) -> Vec<Report> {
    let mut bytes = Vec::new();
    let mut room = [0; 1024];
    // What was read before an error holds; without a word the child is taken to run, as its end will tell otherwise.
    loop {
        match read(&pipe, &mut room) {
            Ok(0) => break,
            Ok(length) => bytes.extend_from_slice(&room[..length]),
            Err(Errno::EINTR) => {}
            Err(_) => break,
        }
    }
    Report::read(&bytes)
}

/// What a step was to do: "cannot ... PROGRAM".
fn attempt(report: &Report, command: &Command<'_>) -> String {
    let confined = command.confined;
    let number = |number: Option<i32>| number.unwrap_or_default();
    match report.step {
        Step::Attach => "attach the process of".to_owned(),
        Step::Descriptors => "hand descriptors to".to_owned(),
        Step::Cgroup => "put into its cgroup the process of".to_owned(),
        Step::OomScore => format!("set oom_score_adj {} for", number(confined.oom_score_adj)),
        Step::Nice => format!("set the priority {} for", number(confined.nice)),
        Step::OpenFiles => "set the limit of open files for".to_owned(),
        Step::Limit => match confined.limits.get(report.index) {
            Some(Limit { resource, soft, hard }) => {
                let show = |end: &Option<u64>| match end {
                    None => "-".to_owned(),
                    Some(u64::MAX) => "unlimited".to_owned(),
                    Some(number) => number.to_string(),
                };
                format!("set the limit of {resource} (soft {}, hard {}) for", show(soft), show(hard))
            }
            None => "set a limit for".to_owned(),
        },
        Step::Bounding => "reduce the capability bounding set for".to_owned(),
        Step::Groups => "set the supplementary groups for".to_owned(),
        Step::Group => format!("change to group {} for", confined.gid.unwrap_or_default()),
        Step::User => format!("change to user {} for", confined.uid.unwrap_or_default()),
        Step::Capabilities => "set the capabilities of".to_owned(),
        Step::NoNewPrivs => "forbid new privileges to".to_owned(),
        Step::Directory => match &confined.directory {
            Some(directory) => format!("enter the directory {} for", directory.to_string_lossy()),
            None => "enter the directory of".to_owned(),
        },
        Step::Execute => "execute".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsFd;

    use super::*;
    use crate::sys::limits::Resource;

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
            output: None,
            descriptors: vec![(3, other.as_fd()), (4, writer.as_fd())],
            listen_pid,
            open_files: None,
            confined: &Confined::default(),
            entrances: Vec::new(),
        })
        .unwrap()
        .pid;
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
                output: None,
                descriptors: Vec::new(),
                listen_pid: false,
                open_files: None,
                confined: &Confined::default(),
                entrances: Vec::new(),
            })
        };
        let error = attempt("/does/not/exist", "x").unwrap_err();
        assert_eq!(error.to_string(), "cannot execute /does/not/exist: ENOENT: No such file or directory");
        assert!(matches!(attempt("/bin/sh", "a\0b"), Err(SpawnError::Nul)));
        assert!(matches!(find_program("no-such-program".as_ref()), Err(SpawnError::NotFound(_))));
    }
    #[test]
    fn what_a_child_goes_without_is_a_sentence_or_under_a_required_sandbox_an_error() {
        let null = File::open("/dev/null").unwrap();
        // More open files than any kernel has.
        let limit = Limit { resource: Resource::OpenFiles, soft: None, hard: Some(1 << 40) };
        let attempt = |confined: &Confined| {
            spawn(&Command {
                program: Path::new("/bin/true"),
                arguments: &[OsString::from("true")],
                environment: Vec::new(),
                stdin: null.as_fd(),
                output: None,
                descriptors: Vec::new(),
                listen_pid: false,
                open_files: None,
                confined,
                entrances: vec![null.as_fd()],
            })
        };
        let mut confined = Confined { limits: vec![limit], ..Confined::default() };
        let started = attempt(&confined).unwrap();
        wait::collect(started.pid).unwrap();
        let expected = [
            "cannot put into its cgroup the process of /bin/true: Bad file number",
            "cannot set the limit of open files (soft -, hard 1099511627776) for /bin/true: Operation not permitted",
        ];
        assert_eq!(started.warnings, expected);
        confined.sandbox_required = true;
        let expected = "cannot put into its cgroup the process of /bin/true: EBADF: Bad file number";
        assert_eq!(attempt(&confined).unwrap_err().to_string(), expected);
    }

    #[test]
    fn a_user_who_cannot_be_reached_is_an_error_that_names_whom_and_what() {
        let null = File::open("/dev/null").unwrap();
        // The number that means "as it is" to setresuid(2) is none to setgroups(2): no kernel accepts it.
        let confined = Confined { groups: Some(vec![u32::MAX]), uid: Some(65_532), ..Confined::default() };
        let error = spawn(&Command {
            program: Path::new("/bin/true"),
            arguments: &[OsString::from("true")],
            environment: Vec::new(),
            stdin: null.as_fd(),
            output: None,
            descriptors: Vec::new(),
            listen_pid: false,
            open_files: None,
            confined: &confined,
            entrances: Vec::new(),
        });
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("cannot set the supplementary groups for /bin/true: E"), "{error}");
    }
}
