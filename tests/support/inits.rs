//! Torus and the inits whose place it takes, to be put through the same.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::Instant;

use super::process::Talker;
use super::{PATIENCE, TORUS};

/// One of the inits that are compared.
#[derive(Debug)]
pub(crate) struct Init {
    pub(crate) name: &'static str,
    program: PathBuf,
    arguments: &'static [&'static str],
}

/// `torus init`, Torus by the name of tini, and tini.
pub(crate) fn tinis() -> [Init; 3] {
    let ours = Init { name: "torus init", program: TORUS.into(), arguments: &["init"] };
    let [renamed, theirs] = renamed_and_real("tini", "torus as tini");
    [ours, renamed, theirs]
}

/// Torus by the name of dumb-init, and dumb-init.
pub(crate) fn dumb_inits() -> [Init; 2] {
    renamed_and_real("dumb-init", "torus as dumb-init")
}

fn renamed_and_real(program: &'static str, ours: &'static str) -> [Init; 2] {
    let path = std::env::var_os("PATH").unwrap();
    let real = std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file());
    let real = real.unwrap_or_else(|| panic!("there is no {program}; install it, or run scripts/test, which does"));
    let link = Path::new(env!("CARGO_TARGET_TMPDIR")).join(program);
    // Tests run side by side: whoever comes first makes it.
    let _ = symlink(TORUS, &link);
    assert_eq!(fs::read_link(&link).unwrap(), Path::new(TORUS));
    [Init { name: ours, program: link, arguments: &[] }, Init { name: program, program: real, arguments: &[] }]
}

impl Init {
    /// A command to be run by this init.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        self.below(&[], words)
    }

    /// The same, where `words_before` starts the init.
    pub(crate) fn below(&self, words_before: &[&str], words: &[&str]) -> Command {
        let program = self.program.to_str().unwrap();
        let all = words_before.iter().chain([&program]).chain(self.arguments).chain(words);
        let mut all = all.copied();
        let mut command = Command::new(all.next().unwrap());
        command.args(all);
        for name in ["TINI_SUBREAPER", "TINI_VERBOSITY", "TINI_KILL_PROCESS_GROUP", "DUMB_INIT_SETSID"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.command(words).stdin(Stdio::null()).output().unwrap()
    }

    /// Starts a command that talks.
    pub(crate) fn talk(&self, words: &[&str]) -> Talker {
        Talker::start(&mut self.command(words))
    }
}

/// What begins a PID namespace whose PID 1 is the program that follows.
pub(crate) fn fresh_pids() -> &'static [&'static str] {
    const AS_ROOT: &[&str] = &["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "--"];
    const AS_ANYONE: &[&str] =
        &["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child", "--"];
    for words in [AS_ROOT, AS_ANYONE] {
        let tried = Command::new(words[0]).args(&words[1..]).arg("true").stderr(Stdio::null()).status();
        if tried.is_ok_and(|status| status.success()) {
            return words;
        }
    }
    panic!("cannot make a PID namespace here; run this as root, or allow user namespaces to everyone");
}

/// Prints the number of each signal that it gets, after `ready`. Whatever comes stays pending until it is asked for.
pub(crate) const TELLS_SIGNALS: [&str; 3] = [
    "python3",
    "-c",
    "import signal; s = signal.valid_signals(); signal.pthread_sigmask(signal.SIG_BLOCK, s); print('ready', flush=True)
while True: print(int(signal.sigwait(s)), flush=True)",
];

/// Waits until something holds that no event tells of.
pub(crate) fn until(hope: &str, fulfilled: impl Fn() -> bool) {
    let begin = Instant::now();
    while !fulfilled() {
        assert!(begin.elapsed() < PATIENCE, "not seen: {hope}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// The field of /proc/PID/status of a process, if it is there.
pub(crate) fn field(pid: i64, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// The exit code of an end, which was no signal's.
pub(crate) fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| panic!("it ended by {status}"))
}
