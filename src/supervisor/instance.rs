//! One instance as the supervisor has it: its process while it has one, and what outlives its processes.
//!
//! A built-in worker inherits, from descriptor 3 on: its listening sockets (by the convention of sd_listen_fds(3)), a
//! command socket (TORUS_COMMAND_FD) and the memory of its counters (TORUS_COUNTERS_FD). A command inherits none; if it
//! is to give signs of life, it is told a socket for them (NOTIFY_SOCKET, sd_notify(3)).

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use super::environment::{self, pair};
use super::listeners::Listeners;
use super::plan::{Program, Unit};
use super::words::{Ears, Source, Told};
use crate::config::Sandbox;
use crate::config::life::ReadyBy;
use crate::control::LastExit;
use crate::lifecycle::Id;
use crate::sys::Pid;
use crate::sys::counters::{self, Counters, CountersError};
use crate::sys::limits::OpenFiles;
use crate::sys::notify;
use crate::sys::spawn::{self, Command, FIRST_DESCRIPTOR, SpawnError};

/// What all processes are started from.
#[derive(Debug)]
pub(super) struct Ground {
    /// The file of this program, as it was when the supervisor started.
    pub(super) executable: PathBuf,
    /// /dev/null.
    pub(super) stdin: OwnedFd,
    /// The limit of open files that the supervisor found, for programs that are not ours.
    pub(super) open_files: Option<OpenFiles>,
    pub(super) listeners: Listeners,
    /// What a built-in worker does where it cannot have its whole sandbox.
    pub(super) sandbox: Sandbox,
}

/// One instance of a service.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) unit: Rc<Unit>,
    /// Which of the service's instances, from 1.
    pub(super) number: u32,
    /// Processes that were started, or tried to.
    pub(super) starts: u64,
    pub(super) process: Option<Process>,
    /// The process that it has or had last, for the log.
    pub(super) last_pid: Option<Pid>,
    pub(super) last_exit: Option<LastExit>,
    /// What its process says about itself (`STATUS=`).
    pub(super) says: Option<String>,
    /// What it could not be given here.
    pub(super) warnings: Vec<String>,
    counters: Option<CountersMemory>,
}

/// A living process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: Pid,
    pub(super) since: Instant,
    _ears: Ears,
}

/// The worker's counters, which outlive its processes.
#[derive(Debug)]
struct CountersMemory {
    fd: OwnedFd,
    table: Counters,
}

/// Why an instance has no process.
#[derive(Debug, thiserror::Error)]
pub(super) enum InstanceError {
    #[error("cannot make its command socket: {0}")]
    CommandSocket(io::Error),
    #[error("cannot make the socket for its signs of life: {0}")]
    NotifySocket(io::Error),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

impl Instance {
    pub(super) fn new(unit: Rc<Unit>, number: u32) -> Result<Self, CountersError> {
        let counters = if unit.program.is_built_in() {
            let fd = counters::create(&format!("torus-{}-{number}", unit.name))?;
            let table = Counters::open(&fd)?;
            Some(CountersMemory { fd, table })
        } else {
            None
        };
        Ok(Self {
            unit,
            number,
            starts: 0,
            process: None,
            last_pid: None,
            last_exit: None,
            says: None,
            warnings: Vec::new(),
            counters,
        })
    }

    /// The counters at this instant.
    pub(super) fn counters(&self) -> Vec<(String, u64)> {
        self.counters.iter().flat_map(|counters| counters.table.snapshot()).collect()
    }

    /// Starts a process. What it says, and what is found out about it, comes by `told`.
    pub(super) fn start(&mut self, id: Id, ground: &Ground, told: &Told) -> Result<Pid, InstanceError> {
        self.starts += 1;
        (self.says, self.warnings) = (None, Vec::new());
        let mut environment = environment::inherited();
        environment.extend(environment::told(&self.unit, self.number, &ground.listeners, ground.sandbox));
        let (sources, pid) = match &self.unit.program {
            Program::Command { arguments } => self.start_command(arguments, environment, ground)?,
            program @ (Program::Requests { .. } | Program::Worker { .. }) => {
                self.start_worker(program, environment, ground)?
            }
        };
        let ears = Ears::open((id, pid), sources, &self.unit, told);
        self.process = Some(Process { pid, since: Instant::now(), _ears: ears });
        Ok(pid)
    }

    fn start_command(
        &self,
        arguments: &[OsString],
        mut environment: Vec<(OsString, OsString)>,
        ground: &Ground,
    ) -> Result<(Vec<Source>, Pid), InstanceError> {
        let mut sources = Vec::new();
        if self.unit.listens() {
            let (inbox, address) = notify::inbox().map_err(InstanceError::NotifySocket)?;
            environment.push(pair("NOTIFY_SOCKET", address));
            if let Some(watchdog) = self.unit.watchdog.as_ref().filter(|watchdog| watchdog.probe.is_none()) {
                environment.push(pair("WATCHDOG_USEC", (watchdog.timeout_ms * 1_000).to_string()));
            }
            sources.push(Source::Inbox(inbox));
        }
        let line = match self.unit.ready.by {
            ReadyBy::Fd(place) => Some((place, notify::line_pipe().map_err(InstanceError::NotifySocket)?)),
            ReadyBy::Started | ReadyBy::Notify | ReadyBy::Tcp(_) | ReadyBy::Exec(_) => None,
        };
        let program = spawn::find_program(&arguments[0])?;
        let pid = spawn::spawn(&Command {
            program: &program,
            arguments,
            environment,
            stdin: ground.stdin.as_fd(),
            descriptors: line.iter().map(|(place, (_, theirs))| (*place as i32, theirs.as_fd())).collect(),
            listen_pid: false,
            open_files: ground.open_files,
        })?;
        sources.extend(line.map(|(_, (ours, _theirs))| Source::Line(ours)));
        Ok((sources, pid))
    }

    fn start_worker(
        &self,
        program: &Program,
        mut environment: Vec<(OsString, OsString)>,
        ground: &Ground,
    ) -> Result<(Vec<Source>, Pid), InstanceError> {
        let (ours, theirs) = notify::command_pair().map_err(InstanceError::CommandSocket)?;
        let mut descriptors = listening_sockets(program, &ground.listeners);
        let listens = !descriptors.is_empty();
        if listens {
            environment.push(pair("LISTEN_FDS", descriptors.len().to_string()));
            environment.push(pair("LISTEN_FDNAMES", "front:back"));
        }
        let counters = self.counters.as_ref().map(|counters| ("TORUS_COUNTERS_FD", counters.fd.as_fd()));
        for (name, fd) in [("TORUS_COMMAND_FD", theirs.as_fd())].into_iter().chain(counters) {
            environment.push(pair(name, (FIRST_DESCRIPTOR + descriptors.len() as i32).to_string()));
            descriptors.push(fd);
        }
        let arguments = ["torus", "worker", program.kind()].map(OsString::from);
        let pid = spawn::spawn(&Command {
            program: &ground.executable,
            arguments: &arguments,
            environment,
            stdin: ground.stdin.as_fd(),
            descriptors: (FIRST_DESCRIPTOR..).zip(descriptors).collect(),
            listen_pid: listens,
            open_files: None,
        })?;
        Ok((vec![Source::Command(ours)], pid))
    }
}

fn listening_sockets<'a>(program: &Program, listeners: &'a Listeners) -> Vec<BorrowedFd<'a>> {
    match (program, &listeners.requests) {
        (Program::Requests { .. }, Some(requests)) => {
            vec![requests.front.socket.as_fd(), requests.back.socket.as_fd()]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;
    use crate::config::{Bus, Config, Requests};
    use crate::supervisor::words::Word;
    use crate::supervisor::{listeners, plan};
    use crate::sys::wait;

    /// A worker of a few lines of shell. It is written by another process: while one of ours has it open for writing,
    /// it cannot be executed.
    fn worker(name: &str, script: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("torus-worker-{name}-{}", std::process::id()));
        let text = format!("#!/bin/sh\n{script}\n");
        let write = "printf %s \"$2\" > \"$1\" && chmod 700 \"$1\"";
        let written = std::process::Command::new("sh").args(["-c", write, "sh"]).arg(&path).arg(text).status();
        assert!(written.unwrap().success());
        path
    }

    #[tokio::test]
    async fn a_worker_finds_its_sockets_settings_and_counters_and_is_ready_when_it_says_so() {
        let told = std::env::temp_dir().join(format!("torus-told-{}", std::process::id()));
        let script = format!(
            "readlink /proc/$$/fd/$TORUS_COUNTERS_FD > {told}; \
             echo \"$* $LISTEN_FDS $LISTEN_FDNAMES $((LISTEN_PID - $$)) $TORUS_COMMAND_FD\" >> {told}; \
             echo \"$TORUS_SETTINGS $TORUS_SANDBOX\" >> {told}; \
             printf 'STATUS=almost' >&$TORUS_COMMAND_FD; printf 'A=1\\nREADY=1' >&$TORUS_COMMAND_FD",
            told = told.display()
        );
        let requests = Requests { front: 0, back: 0, ..Requests::default() };
        let settings = "{\"requests\":1}".to_owned();
        let bus = Bus { requests: Some(requests), ..Bus::default() };
        let ground = Ground {
            executable: worker("ready", &script),
            stdin: fs::File::open("/dev/null").unwrap().into(),
            open_files: None,
            listeners: listeners::bind(Some(&bus)).unwrap(),
            sandbox: Sandbox::Required,
        };
        let mut unit = plan::plan(&Config { bus: Some(bus), ..Config::default() }).0.remove("requests").unwrap();
        unit.program = Program::Requests { settings };
        let mut instance = Instance::new(Rc::new(unit), 1).unwrap();
        let (sender, mut words) = mpsc::channel(1);
        let pid = instance.start(7, &ground, &sender).unwrap();

        let word = tokio::time::timeout(Duration::from_secs(20), words.recv()).await.unwrap();
        assert!(matches!(word, Some((7, from, Word::Says(_))) if from == pid), "{word:?}");
        let word = tokio::time::timeout(Duration::from_secs(20), words.recv()).await.unwrap();
        assert!(matches!(word, Some((7, from, Word::Ready)) if from == pid), "{word:?}");
        let text = fs::read_to_string(&told).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "/memfd:torus-requests-1 (deleted)");
        assert_eq!(lines[1..], ["worker requests 2 front:back 0 5", "{\"requests\":1} required"]);
        wait::collect(pid).unwrap();
        fs::remove_file(told).unwrap();
        fs::remove_file(ground.executable).unwrap();
    }
}
