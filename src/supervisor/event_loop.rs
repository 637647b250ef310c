//! The loop itself: what happens becomes a [`HouseEvent`], what the house answers is done.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::time::Instant;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::instance::{Ground, Instance, Ready};
use super::{Up, plan};
use crate::config::Config;
use crate::control::{Command, LastExit, Query, Reply, Server, ServiceStatus, Status, VERSION};
use crate::lifecycle::{Action, Condition, House, HouseEvent, Id, Jitter, State};
use crate::sys::{identity, notify, signals, wait};

/// Words of readiness and queries on their way to the loop; beyond it their senders wait.
const QUEUE_MAX: usize = 64;

/// All that the supervisor owns while it runs.
pub(super) struct Supervisor {
    house: House,
    /// By [`Id`].
    instances: Vec<Instance>,
    ground: Ground,
    ready: mpsc::Sender<Ready>,
    ready_words: mpsc::Receiver<Ready>,
    since: Instant,
    orphans_reaped: u64,
}

impl Supervisor {
    /// Everything in its place, nothing started.
    pub(super) fn new(config: &Config, ground: Ground) -> io::Result<Self> {
        let units = plan::units(config);
        let house = House::new(units.iter().map(|unit| unit.tier), plan::policy(&config.supervisor));
        let instances = units.into_iter().map(Instance::new).collect::<Result<_, _>>().map_err(io::Error::other)?;
        let (ready, ready_words) = mpsc::channel(QUEUE_MAX);
        Ok(Self { house, instances, ground, ready, ready_words, since: Instant::now(), orphans_reaped: 0 })
    }

    /// Starts everything, and returns when an orderly stop is complete.
    pub(super) async fn run(mut self, control: Server, on_up: impl FnOnce(&Up)) -> io::Result<()> {
        let mut children = signal(SignalKind::child())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (query, mut queries) = mpsc::channel(QUEUE_MAX);
        let server = tokio::spawn(control.run(query));
        let mut on_up = Some(on_up);

        self.take(HouseEvent::Start);
        while self.house.condition() != Condition::Down {
            if self.house.settled()
                && let Some(on_up) = on_up.take()
            {
                told(notify::manager_ready());
                let complete = self.house.condition() == Condition::Running;
                on_up(&Up { endpoints: self.ground.listeners.endpoints(), complete });
            }
            let deadline = self.house.deadline();
            tokio::select! {
                _ = children.recv() => self.collect_the_dead(),
                _ = terminate.recv() => self.stop("SIGTERM"),
                _ = interrupt.recv() => self.stop("SIGINT"),
                Some((id, pid)) = self.ready_words.recv() => {
                    if self.instances[id].process.as_ref().is_some_and(|process| process.pid == pid) {
                        self.take(HouseEvent::Ready(id));
                    }
                }
                Some(query) = queries.recv() => self.answer(query),
                () = until(deadline) => self.take(HouseEvent::Tick),
            }
        }
        server.abort();
        // Its socket's file goes with it.
        let _ = server.await;
        tracing::info!("stopped");
        Ok(())
    }

    fn stop(&mut self, signal: &str) {
        if self.house.condition() == Condition::Stopping {
            tracing::info!("{signal} again: killing what still runs");
        } else {
            tracing::info!("{signal}: stopping");
            told(notify::manager_stopping());
        }
        self.take(HouseEvent::Stop);
    }

    /// Gives the house an event and performs what it answers, until nothing is left to be done.
    fn take(&mut self, event: HouseEvent) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let actions = self.house.step(event, Instant::now(), jitter());
            if let HouseEvent::Died(id) = event {
                self.log_death(id);
            }
            for (id, action) in actions {
                match action {
                    Action::Spawn => events.extend(self.spawn(id)),
                    Action::Terminate => self.with_process(id, signals::terminate_group),
                    Action::Kill => {
                        self.log_kill(id, event);
                        self.with_process(id, signals::kill_group);
                    }
                }
            }
        }
    }

    /// Starts an instance's process; answers what that means already. A command has no way to say that it is ready, so
    /// it is ready when it runs.
    fn spawn(&mut self, id: Id) -> Option<HouseEvent> {
        let instance = &mut self.instances[id];
        match instance.start(id, &self.ground, &self.ready) {
            Ok(pid) => {
                instance.last_pid = Some(pid);
                let unit = &instance.unit;
                tracing::info!(service = unit.name, instance = unit.instance, %pid, "started");
                (!unit.program.is_built_in()).then_some(HouseEvent::Ready(id))
            }
            Err(cause) => {
                instance.last_exit = Some(LastExit::NotStarted(cause.to_string()));
                instance.last_pid = None;
                Some(HouseEvent::Died(id))
            }
        }
    }

    fn with_process(&self, id: Id, act: fn(crate::sys::Pid)) {
        if let Some(process) = &self.instances[id].process {
            act(process.pid);
        }
    }

    fn log_kill(&self, id: Id, event: HouseEvent) {
        let Instance { unit, process, .. } = &self.instances[id];
        let (service, instance) = (unit.name.as_str(), unit.instance);
        let pid = process.as_ref().map(|process| tracing::field::display(process.pid));
        match event {
            HouseEvent::Stop => tracing::warn!(service, instance, pid, "killed"),
            _ => tracing::warn!(service, instance, pid, "did not stop in time: killed"),
        }
    }

    /// The only place where ends of processes are noticed.
    fn collect_the_dead(&mut self) {
        let mut died = Vec::new();
        let drained = wait::drain(|pid, exit| {
            let owner = self
                .instances
                .iter()
                .position(|instance| instance.process.as_ref().is_some_and(|process| process.pid == pid));
            let Some(id) = owner else {
                self.orphans_reaped += 1;
                return;
            };
            // What it started and left behind must not stand in the way of its successor.
            signals::kill_group(pid);
            let instance = &mut self.instances[id];
            instance.kill_cgroup();
            instance.process = None;
            instance.last_exit = Some(match exit {
                wait::Exit::Code(code) => LastExit::Code(code),
                wait::Exit::Signal(number) => LastExit::Signal(number),
            });
            died.push(id);
        });
        drained.unwrap_or_else(|cause| tracing::error!("cannot wait for children: {cause}"));
        for id in died {
            self.take(HouseEvent::Died(id));
        }
    }

    /// Says how an instance ended and what comes next; the house has decided that already.
    fn log_death(&self, id: Id) {
        let Instance { unit, last_exit, last_pid, .. } = &self.instances[id];
        let next = match self.house.state(id) {
            State::Starting { .. } => "; restarting now".to_owned(),
            State::Waiting { until } => {
                format!("; restarting in {} ms", until.saturating_duration_since(Instant::now()).as_millis())
            }
            State::Pending | State::Running { .. } | State::Stopping | State::Stopped => String::new(),
        };
        let (service, instance) = (unit.name.as_str(), unit.instance);
        let pid = last_pid.map(tracing::field::display);
        match last_exit {
            Some(LastExit::Code(code)) => tracing::info!(service, instance, pid, "exited code={code}{next}"),
            Some(LastExit::Signal(number)) => tracing::info!(service, instance, pid, "exited signal={number}{next}"),
            Some(LastExit::NotStarted(cause)) => tracing::error!(service, instance, "cannot start: {cause}{next}"),
            None => {}
        }
    }

    fn answer(&self, query: Query) {
        let reply = match query.command {
            Command::Status => Reply::Status(Box::new(self.status())),
        };
        let _ = query.reply.send(reply);
    }

    fn status(&self) -> Status {
        let now = Instant::now();
        let ms_since = |then: Instant| now.saturating_duration_since(then).as_millis() as u64;
        let mut counters: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for instance in &self.instances {
            for (name, value) in instance.counters() {
                let total = counters.entry(instance.unit.name.clone()).or_default().entry(name).or_default();
                *total = total.saturating_add(value);
            }
        }
        let services = self.instances.iter().enumerate().map(|(id, instance)| ServiceStatus {
            name: instance.unit.name.clone(),
            instance: instance.unit.instance,
            kind: instance.unit.program.kind().to_owned(),
            state: self.house.state(id).name().to_owned(),
            pid: instance.process.as_ref().map(|process| process.pid.as_raw()),
            uptime_ms: instance.process.as_ref().map(|process| ms_since(process.since)),
            restarts: instance.starts.saturating_sub(1),
            last_exit: instance.last_exit.clone(),
            warnings: instance.warnings.clone(),
        });
        Status {
            version: VERSION,
            pid: identity::pid().as_raw(),
            uptime_ms: ms_since(self.since),
            state: self.house.condition().name().to_owned(),
            endpoints: self.ground.listeners.endpoints(),
            services: services.collect(),
            counters,
            orphans_reaped: self.orphans_reaped,
        }
    }
}

/// Waits for that instant, or for ever.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => pending().await,
    }
}

/// Random bits from the seed that the standard library draws for its hash maps; no more is needed than that two
/// services differ.
fn jitter() -> Jitter {
    RandomState::new().build_hasher().finish() as Jitter
}

fn told(manager: io::Result<()>) {
    manager.unwrap_or_else(|cause| tracing::warn!("cannot notify the service manager: {cause}"));
}
