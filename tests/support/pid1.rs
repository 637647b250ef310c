//! Torus as PID 1 of a namespace of its own, as root and as a user without rights, seen from outside.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use super::inits::field;
use super::{PATIENCE, TORUS, Torus};

/// Whom Torus runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    Root,
    /// Uid 65532, without capabilities: what images for untrusting clusters name.
    Nobody,
}

/// Gives each function of the module two tests: with Torus as root, and as a user without rights.
macro_rules! as_each_user {
    ($($name:ident),* $(,)?) => {
        mod as_root {
            $(#[test] fn $name() { super::$name(crate::support::pid1::User::Root); })*
        }
        mod as_uid_65532 {
            $(#[test] fn $name() { super::$name(crate::support::pid1::User::Nobody); })*
        }
    };
}
pub(crate) use as_each_user;

/// A torus that is PID 1. Its status tells the process ids of its namespace; everything here takes and gives those of
/// ours.
pub(crate) struct Pid1 {
    /// `child` is unshare, which ends with it.
    pub(crate) torus: Torus,
    user: User,
}

impl Pid1 {
    /// Starts a torus, without waiting for anything but that there is a process.
    pub(crate) fn start(user: User, configuration: &str) -> Self {
        Self::start_with(user, configuration, |_| {})
    }

    pub(crate) fn start_with(user: User, configuration: &str, prepare: impl FnOnce(&mut Command)) -> Self {
        Self::start_in(Torus::place(), user, configuration, prepare)
    }

    /// Starts it in a directory, which becomes its own.
    pub(crate) fn start_in(
        directory: PathBuf,
        user: User,
        configuration: &str,
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        // Who is not root is nobody else in our eyes: a user namespace calls us what it likes.
        if geteuid().is_root() && user == User::Nobody {
            std::os::unix::fs::chown(&directory, Some(65_532), Some(65_532)).unwrap();
        }
        let program = program(&directory);
        let words = Torus::words(&program, &directory, configuration);
        let mut command = Command::new("unshare");
        command.args(namespace(user)).args(words);
        Torus::outputs(&mut command, &directory);
        command.current_dir("/");
        prepare(&mut command);
        let torus = Torus { child: command.spawn().unwrap(), directory };
        let mut started = Self { torus, user };
        let begin = Instant::now();
        // It may have come and gone.
        while started.main_of_namespace().is_none() && started.torus.child.try_wait().unwrap().is_none() {
            assert!(begin.elapsed() < PATIENCE, "there is no PID 1; log:\n{}", started.torus.log());
        }
        started
    }

    /// Starts a torus and waits until everything runs.
    pub(crate) fn up(user: User, configuration: &str) -> Self {
        Self::up_with(user, configuration, |_| {})
    }

    pub(crate) fn up_with(user: User, configuration: &str, prepare: impl FnOnce(&mut Command)) -> Self {
        let started = Self::start_with(user, configuration, prepare);
        started.torus.until("everything runs", |status| status["state"] == "running");
        started
    }

    fn main_of_namespace(&self) -> Option<i64> {
        // Before it executes Torus, it is unshare or setpriv. A setpriv that could not would be gone.
        let unshare = self.torus.child.id();
        let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }

    /// PID 1.
    pub(crate) fn pid(&self) -> i64 {
        self.main_of_namespace().unwrap_or_else(|| panic!("PID 1 is gone; log:\n{}", self.torus.log()))
    }

    /// All processes of the namespace but the first and its log worker.
    pub(crate) fn others(&self) -> BTreeSet<i64> {
        let first = self.pid();
        let namespace = |pid: i64| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let ours = namespace(first);
        let all = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is_log =
            |pid: i64| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words == b"torus\0worker\0log\0");
        all.filter(|pid| *pid != first && ours.is_some() && namespace(*pid) == ours && !is_log(*pid)).collect()
    }

    /// How many processes the namespace has, dead ones that nobody collected included.
    pub(crate) fn population(&self) -> usize {
        let entries = fs::read_dir(format!("/proc/{}/root/proc", self.pid())).unwrap().flatten();
        entries.filter(|entry| entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok())).count()
    }

    /// The process that the namespace knows by this number.
    pub(crate) fn outer(&self, inner: i64) -> i64 {
        let is_it = |pid: &i64| {
            field(*pid, "NSpid").is_some_and(|numbers| numbers.split_whitespace().last() == Some(&inner.to_string()))
        };
        let found = self.others().into_iter().find(is_it);
        found.unwrap_or_else(|| panic!("no process {inner} in the namespace; log:\n{}", self.torus.log()))
    }

    /// The first process of a service.
    pub(crate) fn pid_of(&self, service: &str) -> i64 {
        let status = self.torus.status().unwrap();
        let services = status["services"].as_array().unwrap();
        let found = services.iter().find(|one| one["name"] == service).unwrap();
        self.outer(found["pid"].as_i64().unwrap_or_else(|| panic!("{service} has no process: {found}")))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// A program to be run in the namespace from outside, as `docker exec` does.
    pub(crate) fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid().to_string(), "--pid", "--mount"]);
        if !geteuid().is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        if geteuid().is_root() && self.user == User::Nobody {
            command.args(["--setuid", "65532", "--setgid", "65532"]);
        }
        command.stdin(Stdio::null()).current_dir("/");
        command
    }
}

impl Drop for Pid1 {
    fn drop(&mut self) {
        // With it, the kernel ends all of its namespace.
        if let Some(pid) = self.main_of_namespace() {
            send(pid, Signal::SIGKILL);
        }
    }
}

/// Sends a signal; who is gone is no error.
pub(crate) fn send(pid: i64, signal: Signal) {
    let _ = kill(Pid::from_raw(pid as i32), signal);
}

/// The arguments of unshare that make the namespace for this user.
pub(crate) fn namespace(user: User) -> Vec<&'static str> {
    let mut words = vec!["--pid", "--fork", "--mount-proc", "--kill-child"];
    match (geteuid().is_root(), user) {
        (true, User::Root) => {}
        (true, User::Nobody) => {
            let drop = ["--reuid=65532", "--regid=65532", "--clear-groups", "--no-new-privs", "--bounding-set=-all"];
            // A change of user takes back what --kill-child asked for.
            let tie = ["--pdeathsig", "KILL"];
            words.extend(["--", "setpriv"]);
            words.extend(drop);
            words.extend(tie);
        }
        (false, User::Root) => words.extend(["--user", "--map-root-user"]),
        (false, User::Nobody) => words.extend(["--user", "--map-user=65532", "--map-group=65532"]),
    }
    words.push("--");
    words
}

/// The program, where another user can execute it: a build may lie where only its owner gets.
pub(crate) fn program(directory: &Path) -> PathBuf {
    static REACHABLE: OnceLock<bool> = OnceLock::new();
    let is_reachable = || {
        let passable = |path: &Path| fs::metadata(path).is_ok_and(|found| found.mode() & 0o001 != 0);
        Path::new(TORUS).ancestors().all(passable)
    };
    if *REACHABLE.get_or_init(is_reachable) {
        return TORUS.into();
    }
    let copy = directory.join("torus");
    if !copy.exists() {
        fs::copy(TORUS, &copy).unwrap();
        fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
    }
    copy
}
