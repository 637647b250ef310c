//! One instance as the supervisor has it: its process while it has one, and what outlives its processes.
//!
//! A built-in worker inherits, from descriptor 3 on: its listening sockets (by the convention of sd_listen_fds(3)), a
//! command socket (TORUS_COMMAND_FD) and the memory of its counters (TORUS_COUNTERS_FD). A command inherits none of
//! these. Secrets come after them.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

use tokio::net::UnixDatagram;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::confine::{Outfit, OutfitError};
use super::environment::{self, pair};
use super::listeners::Listeners;
use super::plan::{Program, Unit};
use crate::control::LastExit;
use crate::lifecycle::Id;
use crate::sys::Pid;
use crate::sys::cgroup::{Cgroups, Group};
use crate::sys::counters::{self, Counters, CountersError};
use crate::sys::limits::OpenFiles;
use crate::sys::notify;
use crate::sys::spawn::{self, Command, FIRST_DESCRIPTOR, SpawnError, Started};

/// Bytes of one packet on a command socket; what is longer is cut.
const PACKET_BYTES_MAX: usize = 4096;

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
    pub(super) cgroups: Cgroups,
}

/// One instance of a service.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) unit: Unit,
    /// Processes that were started, or tried to.
    pub(super) starts: u64,
    pub(super) process: Option<Process>,
    /// The process that it has or had last, for the log.
    pub(super) last_pid: Option<Pid>,
    pub(super) last_exit: Option<LastExit>,
    /// What its last start did without, in sentences.
    pub(super) warnings: Vec<String>,
    counters: Option<CountersMemory>,
    /// Its cgroup, which outlives its processes.
    group: Option<Group>,
}

/// A living process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: Pid,
    pub(super) since: Instant,
    command: Option<AbortHandle>,
}

/// The worker's counters, which outlive its processes.
#[derive(Debug)]
struct CountersMemory {
    fd: OwnedFd,
    table: Counters,
}

/// A worker's word that it is ready. The process id tells it from the word of an earlier process.
pub(super) type Ready = (Id, Pid);

/// Why an instance has no process.
#[derive(Debug, thiserror::Error)]
pub(super) enum InstanceError {
    #[error("cannot make its command socket: {0}")]
    CommandSocket(io::Error),
    #[error(transparent)]
    Outfit(#[from] OutfitError),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(command) = &self.command {
            command.abort();
        }
    }
}

impl Instance {
    pub(super) fn new(unit: Unit) -> Result<Self, CountersError> {
        let counters = if unit.program.is_built_in() {
            let fd = counters::create(&format!("torus-{}-{}", unit.name, unit.instance))?;
            let table = Counters::open(&fd)?;
            Some(CountersMemory { fd, table })
        } else {
            None
        };
        Ok(Self {
            unit,
            starts: 0,
            process: None,
            last_pid: None,
            last_exit: None,
            warnings: Vec::new(),
            counters,
            group: None,
        })
    }

    /// The counters at this instant.
    pub(super) fn counters(&self) -> Vec<(String, u64)> {
        self.counters.iter().flat_map(|counters| counters.table.snapshot()).collect()
    }

    /// Starts a process. A built-in worker's readiness comes by `ready`.
    pub(super) fn start(&mut self, id: Id, ground: &Ground, ready: &mpsc::Sender<Ready>) -> Result<Pid, InstanceError> {
        self.starts += 1;
        let name = format!("{}-{}", self.unit.name, self.unit.instance);
        let outfit = Outfit::new(&self.unit.confine, &name, &ground.cgroups, self.group.take())?;
        let mut environment = outfit.environment.clone();
        environment.extend(environment::told(&self.unit, &ground.listeners));
        let mut descriptors = Vec::new();
        let (command_socket, started) = match &self.unit.program {
            Program::Command { arguments } => {
                let program = spawn::find_program(&arguments[0])?;
                outfit.hand_secrets(FIRST_DESCRIPTOR, &mut descriptors, &mut environment);
                let started = spawn::spawn(&Command {
                    program: &program,
                    arguments,
                    environment: environment::last_wins(environment),
                    stdin: ground.stdin.as_fd(),
                    descriptors,
                    listen_pid: false,
                    open_files: ground.open_files,
                    confined: &outfit.confined,
                    entrances: outfit.entrances(),
                })?;
                (None, started)
            }
            program @ (Program::Requests { .. } | Program::Worker { .. }) => {
                let (ours, theirs) = notify::command_pair().map_err(InstanceError::CommandSocket)?;
                let ours = UnixDatagram::from_std(ours).map_err(InstanceError::CommandSocket)?;
                descriptors.extend(listening_sockets(program, &ground.listeners));
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
                outfit.hand_secrets(FIRST_DESCRIPTOR, &mut descriptors, &mut environment);
                let arguments = ["torus", "worker", program.kind()].map(OsString::from);
                let started = spawn::spawn(&Command {
                    program: &ground.executable,
                    arguments: &arguments,
                    environment: environment::last_wins(environment),
                    stdin: ground.stdin.as_fd(),
                    descriptors,
                    listen_pid: listens,
                    open_files: None,
                    confined: &outfit.confined,
                    entrances: outfit.entrances(),
                })?;
                let word = (id, started.pid);
                (Some(tokio::spawn(wait_until_ready(ours, word, ready.clone())).abort_handle()), started)
            }
        };
        let Started { pid, warnings } = started;
        let Outfit { confined, group, .. } = outfit;
        self.group = group;
        self.note(confined.warnings.into_iter().chain(warnings).collect());
        self.process = Some(Process { pid, since: Instant::now(), command: command_socket });
        Ok(pid)
    }

    /// Ends what its process left behind in its cgroup, if it has one.
    pub(super) fn kill_cgroup(&self) {
        if let Some(group) = &self.group {
            group.kill();
        }
    }

    /// Remembers what the process does without; told in the log when it is news.
    fn note(&mut self, warnings: Vec<String>) {
        for warning in warnings.iter().filter(|warning| !self.warnings.contains(warning)) {
            tracing::warn!(service = self.unit.name, instance = self.unit.instance, "{warning}");
        }
        self.warnings = warnings;
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

/// Hears a worker out until it closes its command socket, and passes its first `READY=1` on. Holding our end is what
/// tells the worker that its supervisor lives.
async fn wait_until_ready(socket: UnixDatagram, word: Ready, ready: mpsc::Sender<Ready>) {
    let mut said = false;
    let mut packet = [0; PACKET_BYTES_MAX];
    while let Ok(length @ 1..) = socket.recv(&mut packet).await {
        if !said && packet[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
            said = true;
            if ready.send(word).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::config::{Bus, Confine, Requests};
    use crate::supervisor::listeners;
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
             echo \"$TORUS_SETTINGS\" >> {told}; \
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
            cgroups: Cgroups::default(),
        };
        let program = Program::Requests { settings };
        let unit = Unit {
            name: "requests".into(),
            instance: 1,
            tier: crate::lifecycle::Tier::Bus,
            program,
            confine: Confine::default(),
        };
        let mut instance = Instance::new(unit).unwrap();
        let (ready, mut words) = mpsc::channel(1);
        let pid = instance.start(7, &ground, &ready).unwrap();

        let word = tokio::time::timeout(Duration::from_secs(20), words.recv()).await.unwrap();
        assert_eq!(word, Some((7, pid)));
        let text = fs::read_to_string(&told).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "/memfd:torus-requests-1 (deleted)");
        assert_eq!(lines[1..], ["worker requests 2 front:back 0 5", "{\"requests\":1}"]);
        wait::collect(pid).unwrap();
        fs::remove_file(told).unwrap();
        fs::remove_file(ground.executable).unwrap();
    }
}
