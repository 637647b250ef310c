//! One instance as the supervisor has it: its process while it has one, and what outlives its processes.
//!
//! A built-in worker inherits, from descriptor 3 on: its listening sockets (by the convention of sd_listen_fds(3)), a
//! command socket (TORUS_COMMAND_FD) and the memory of its counters (TORUS_COUNTERS_FD). A command inherits none.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::environment::{self, pair};
use super::listeners::Listeners;
use super::plan::{Program, Unit};
use crate::control::LastExit;
use crate::lifecycle::Id;
use crate::sys::Pid;
use crate::sys::counters::{self, Counters, CountersError};
use crate::sys::limits::OpenFiles;
use crate::sys::notify::{self, PACKET_BYTES_MAX};
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
    counters: Option<CountersMemory>,
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
        Ok(Self { unit, starts: 0, process: None, last_pid: None, last_exit: None, counters })
    }

    /// The counters at this instant.
    pub(super) fn counters(&self) -> Vec<(String, u64)> {
        self.counters.iter().flat_map(|counters| counters.table.snapshot()).collect()
    }

    /// Starts a process. A built-in worker's readiness comes by `ready`.
    pub(super) fn start(&mut self, id: Id, ground: &Ground, ready: &mpsc::Sender<Ready>) -> Result<Pid, InstanceError> {
        self.starts += 1;
        let mut environment = environment::inherited();
        environment.extend(environment::told(&self.unit, &ground.listeners));
        let (command_socket, pid) = match &self.unit.program {
            Program::Command { arguments } => {
                let program = spawn::find_program(&arguments[0])?;
                let pid = spawn::spawn(&Command {
                    program: &program,
                    arguments,
                    environment,
                    stdin: ground.stdin.as_fd(),
                    descriptors: Vec::new(),
                    listen_pid: false,
                    open_files: ground.open_files,
                })?;
                (None, pid)
            }
            program @ (Program::Requests { .. } | Program::Worker { .. }) => {
                let (ours, theirs) = notify::command_pair().map_err(InstanceError::CommandSocket)?;
                let ours =
                    AsyncFd::with_interest(ours, Interest::READABLE).map_err(InstanceError::CommandSocket)?;
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
                    descriptors,
                    listen_pid: listens,
                    open_files: None,
                })?;
                (Some(tokio::spawn(wait_until_ready(ours, (id, pid), ready.clone())).abort_handle()), pid)
            }
        };
        self.process = Some(Process { pid, since: Instant::now(), command: command_socket });
        Ok(pid)
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
async fn wait_until_ready(socket: AsyncFd<OwnedFd>, word: Ready, ready: mpsc::Sender<Ready>) {
    let mut said = false;
    let mut buffer = [0; PACKET_BYTES_MAX];
    while let Ok(mut guard) = socket.readable().await {
        let packet = match guard.try_io(|socket| notify::receive(socket, &mut buffer)) {
            Err(_would_block) => continue,
            Ok(Err(_) | Ok([])) => return,
            Ok(Ok(packet)) => packet,
        };
        if !said && packet.split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
            said = true;
            if ready.send(word).await.is_err() {
                return;
            }
        }
    }
}
