//! One instance as the supervisor has it: its process while it has one, and what outlives its processes.
//!
//! A built-in worker inherits, from descriptor 3 on: its listening sockets (by the convention of sd_listen_fds(3)), a
//! command socket (TORUS_COMMAND_FD) and the memory of its counters (TORUS_COUNTERS_FD). A command inherits none of
//! these; if it is to give signs of life, it is told a socket for them (NOTIFY_SOCKET, sd_notify(3)). Secrets come last.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::changes::Launched;
use super::confine::{Outfit, OutfitError};
use super::environment::{self, pair};
use super::listeners::Listeners;
use super::plan::{Program, Unit};
use super::words::{Ears, Source, Told};
use crate::config::life::ReadyBy;
use crate::config::{CgroupLimits, Config, Confine, Sandbox};
use crate::control::LastExit;
use crate::lifecycle::Id;
use crate::sys::Pid;
use crate::sys::cgroup::{Cgroups, Group};
use crate::sys::counters::{self, Counters};
use crate::sys::limits::OpenFiles;
use crate::sys::spawn::{self, Bond, Command, FIRST_DESCRIPTOR, SpawnError, Started};
use crate::sys::{notify, pipe};

/// Bytes that a pipe holds while nobody reads it; then its writer waits.
const PIPE_BYTES: usize = 64 << 10;

/// What all processes are started from.
#[derive(Debug)]
pub(super) struct Ground {
    /// The file of this program, whatever stands at its path by now.
    pub(super) executable: PathBuf,
    /// /dev/null.
    pub(super) stdin: OwnedFd,
    /// The limit of open files that the supervisor found, for programs that are not ours.
    pub(super) open_files: Option<OpenFiles>,
    pub(super) listeners: Listeners,
    /// What a built-in worker does where it cannot have its whole sandbox.
    pub(super) sandbox: Sandbox,
    pub(super) cgroups: Cgroups,
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
    /// Whether the log worker had no room for its output.
    pub(super) is_refused: bool,
    /// What its last start did without, in sentences.
    pub(super) warnings: Vec<String>,
    pub(super) counters: Option<CountersMemory>,
    /// Its cgroup, which outlives its processes.
    pub(super) group: Option<Group>,
    /// Where its processes write; the log worker's own write to where the supervisor does.
    pub(super) output: Option<Output>,
}

/// The pipes that an instance's processes write to. We hold both ends: no death breaks them.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) readers: [Arc<OwnedFd>; 2],
    pub(super) writers: [OwnedFd; 2],
}

impl Output {
    pub(super) fn new() -> io::Result<Self> {
        let (out, err) = (pipe::output(PIPE_BYTES)?, pipe::output(PIPE_BYTES)?);
        Ok(Self { readers: [out.0, err.0].map(Arc::new), writers: [out.1, err.1] })
    }
}

/// A living process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: Pid,
    pub(super) since: Instant,
    pub(super) launched: Launched,
    /// As what it was started, whatever its service is by now.
    pub(super) unit: Rc<Unit>,
    pub(super) ears: Ears,
    /// Our end of the log worker's command socket, for what it is to be told.
    pub(super) command: Option<UnixDatagram>,
}

/// The worker's counters, which outlive its processes.
#[derive(Debug)]
pub(super) struct CountersMemory {
    pub(super) fd: OwnedFd,
    pub(super) table: Counters,
}

impl CountersMemory {
    pub(super) fn new(service: &str, number: u32) -> io::Result<Self> {
        let fd = counters::create(&format!("torus-{service}-{number}")).map_err(io::Error::other)?;
        let table = Counters::open(&fd).map_err(io::Error::other)?;
        Ok(Self { fd, table })
    }
}

/// What a process is given by its kind.
#[derive(Default)]
struct Given {
    environment: Vec<(OsString, OsString)>,
    descriptors: Vec<(i32, OwnedFd)>,
    /// Where it will be heard.
    sources: Vec<Source>,
    listen_pid: bool,
}

/// Why an instance has no process.
#[derive(Debug, thiserror::Error)]
pub(super) enum InstanceError {
    #[error("cannot make memory for its counters: {0}")]
    Counters(io::Error),
    #[error("cannot make the pipes for its output: {0}")]
    Output(io::Error),
    #[error("cannot make its command socket: {0}")]
    CommandSocket(io::Error),
    #[error("cannot make the socket for its signs of life: {0}")]
    NotifySocket(io::Error),
    #[error("cannot hand over a descriptor: {0}")]
    Descriptor(io::Error),
    #[error(transparent)]
    Outfit(#[from] OutfitError),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

impl Instance {
    pub(super) fn new(unit: Rc<Unit>, number: u32) -> Self {
        Self {
            unit,
            number,
            output: None,
            starts: 0,
            process: None,
            last_pid: None,
            last_exit: None,
            says: None,
            is_refused: false,
            warnings: Vec::new(),
            counters: None,
            group: None,
        }
    }

    /// Whether this is the log worker: the only one whose output we do not hold.
    pub(super) fn is_log(&self) -> bool {
        matches!(self.unit.program, Program::Log { .. })
    }

    /// Makes what a first process needs and all later ones have too; tells whether its pipes are new.
    pub(super) fn prepare(&mut self) -> Result<bool, InstanceError> {
        if self.counters.is_none() && self.unit.program.is_built_in() {
            let counters = CountersMemory::new(&self.unit.name, self.number).map_err(InstanceError::Counters)?;
            self.counters = Some(counters);
        }
        if self.output.is_some() || self.is_log() {
            return Ok(false);
        }
        self.output = Some(Output::new().map_err(InstanceError::Output)?);
        Ok(true)
    }

    /// The counters at this instant.
    pub(super) fn counters(&self) -> Vec<(String, u64)> {
        self.counters.iter().flat_map(|counters| counters.table.snapshot()).collect()
    }

    /// Starts a process as the configuration in force has it. What it says, and what is found out about it, comes by `told`.
    pub(super) fn start(
        &mut self,
        id: Id,
        config: &Rc<Config>,
        ground: &Ground,
        told: &Told,
    ) -> Result<Pid, InstanceError> {
        self.starts += 1;
        self.says = None;
        let unit = self.unit.clone();
        let name = format!("{}-{}", unit.name, self.number);
        let outfit = Outfit::new(&unit.confine, &name, &ground.cgroups, self.group.take())?;
        let (program, arguments, given, open_files) = match &unit.program {
            Program::Command { arguments } => {
                let program = spawn::find_program(&arguments[0])?;
                (program, arguments.clone(), self.given_to_command()?, ground.open_files)
            }
            built_in @ (Program::Requests { .. } | Program::Log { .. } | Program::Worker { .. }) => {
                let arguments = ["torus", "worker", built_in.kind()].map(OsString::from).to_vec();
                (ground.executable.clone(), arguments, self.given_to_worker(built_in, ground)?, None)
            }
        };
        let mut environment = outfit.environment.clone();
        environment.extend(environment::told(&unit, self.number, &ground.listeners, ground.sandbox));
        environment.extend(given.environment);
        let mut descriptors: Vec<(i32, BorrowedFd<'_>)> =
            given.descriptors.iter().map(|(place, fd)| (*place, fd.as_fd())).collect();
        outfit.hand_secrets(&mut descriptors, &mut environment);
        if let Some(output) = &self.output {
            for writer in &output.writers {
                pipe::wait_again(writer).map_err(InstanceError::Descriptor)?;
            }
        }
        // What the log worker holds is to be said even when we are gone.
        let bond = if self.output.is_some() { Bond::Service } else { Bond::LastWords };
        let command = Command {
            program: Path::new(&program),
            arguments: &arguments,
            environment: environment::last_wins(environment),
            stdin: ground.stdin.as_fd(),
            output: self.output.as_ref().map(|output| output.writers.each_ref().map(AsFd::as_fd)),
            descriptors,
            listen_pid: given.listen_pid,
            open_files,
            confined: &outfit.confined,
            entrances: outfit.entrances(),
        };
        let line = line_to_log(&given.sources, self.is_log()).map_err(InstanceError::CommandSocket)?;
        let Started { pid, warnings } = spawn::spawn_bound(&command, bond)?;
        // Nothing may fail from here on: there would be a process that nobody knows.
        let Outfit { confined, group, .. } = outfit;
        self.group = group;
        self.note(confined.warnings.into_iter().chain(warnings).collect());
        let ears = Ears::open((id, pid), self.number, given.sources, &unit, told);
        let launched = Launched { config: config.clone(), doors: ground.listeners.doors() };
        self.process = Some(Process { pid, since: Instant::now(), launched, unit, ears, command: line });
        Ok(pid)
    }

    /// Starts a command that asks how its process does. It may and has what that process may and has, but for the cgroup: a
    /// full one is not to keep it from asking.
    pub(super) fn start_probe(&self, words: &[String], ground: &Ground) -> Result<Pid, InstanceError> {
        let unit = self.process.as_ref().map_or(&self.unit, |process| &process.unit);
        let confine = Confine { cgroup: CgroupLimits::default(), ..unit.confine.clone() };
        let outfit = Outfit::new(&confine, &unit.name, &ground.cgroups, None)?;
        let arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
        let mut environment = outfit.environment.clone();
        environment.extend(environment::told(unit, self.number, &ground.listeners, ground.sandbox));
        let mut descriptors = Vec::new();
        outfit.hand_secrets(&mut descriptors, &mut environment);
        let started = spawn::spawn(&Command {
            program: &spawn::find_program(&arguments[0])?,
            arguments: &arguments,
            environment: environment::last_wins(environment),
            stdin: ground.stdin.as_fd(),
            output: self.output.as_ref().map(|output| output.writers.each_ref().map(AsFd::as_fd)),
            descriptors,
            listen_pid: false,
            open_files: ground.open_files,
            confined: &outfit.confined,
            entrances: Vec::new(),
        });
        Ok(started?.pid)
    }

    fn given_to_command(&self) -> Result<Given, InstanceError> {
        let mut given = Given::default();
        if self.unit.listens() {
            let (inbox, address) = notify::inbox().map_err(InstanceError::NotifySocket)?;
            given.environment.push(pair("NOTIFY_SOCKET", address));
            if let Some(watchdog) = self.unit.watchdog.as_ref().filter(|watchdog| watchdog.probe.is_none()) {
                given.environment.push(pair("WATCHDOG_USEC", (watchdog.timeout_ms * 1_000).to_string()));
            }
            given.sources.push(Source::Inbox(inbox));
        }
        if let ReadyBy::Fd(place) = self.unit.ready.by {
            let (ours, theirs) = notify::line_pipe().map_err(InstanceError::NotifySocket)?;
            given.descriptors.push((place as i32, theirs));
            given.sources.push(Source::Line(ours));
        }
        Ok(given)
    }

    fn given_to_worker(&self, program: &Program, ground: &Ground) -> Result<Given, InstanceError> {
        let mut given = Given::default();
        let mut hand = |fd: OwnedFd| {
            let place = FIRST_DESCRIPTOR + given.descriptors.len() as i32;
            given.descriptors.push((place, fd));
            place.to_string()
        };
        let sockets = listening_sockets(program, &ground.listeners);
        for socket in &sockets {
            hand(socket.try_clone_to_owned().map_err(InstanceError::Descriptor)?);
        }
        let (ours, theirs) = notify::command_pair().map_err(InstanceError::CommandSocket)?;
        let mut told = vec![pair("TORUS_COMMAND_FD", hand(theirs))];
        if let Some(counters) = &self.counters {
            let memory = counters.fd.try_clone().map_err(InstanceError::Descriptor)?;
            told.push(pair("TORUS_COUNTERS_FD", hand(memory)));
        }
        if !sockets.is_empty() {
            told.push(pair("LISTEN_FDS", sockets.len().to_string()));
            told.push(pair("LISTEN_FDNAMES", "front:back"));
            given.listen_pid = true;
        }
        given.environment = told;
        given.sources.push(Source::Command(ours));
        Ok(given)
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
            tracing::warn!(service = self.unit.name, instance = self.number, "{warning}");
        }
        self.warnings = warnings;
    }
}

/// Our end of the command socket, if this is the log worker.
pub(super) fn line_to_log(sources: &[Source], is_log: bool) -> io::Result<Option<UnixDatagram>> {
    let of = |source: &Source| match source {
        Source::Command(socket) if is_log => Some(socket.try_clone()),
        _ => None,
    };
    sources.iter().find_map(of).transpose()
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

    use super::*;
    use crate::config::{Bus, Requests};
    use crate::supervisor::words::{self, Word};
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
            listeners: listeners::open(Some(&bus), Vec::new()).unwrap(),
            sandbox: Sandbox::Required,
            cgroups: Cgroups::default(),
        };
        let config = Rc::new(Config { bus: Some(bus), ..Config::default() });
        let mut unit = plan::plan(&config).0.remove("requests").unwrap();
        unit.program = Program::Requests { settings };
        let mut instance = Instance::new(Rc::new(unit), 1);
        assert!(instance.prepare().unwrap());
        let (sender, mut words) = words::way(1);
        let pid = instance.start(7, &config, &ground, &sender).unwrap();

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
