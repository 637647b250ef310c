//! The loop itself: what happens becomes a [`HouseEvent`], what the house answers is done.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::instance::{Ground, Instance};
use super::operations::Operations;
use super::plan::{self, Units};
use super::probes::Probes;
use super::upgrade::Upgrade;
use super::words::{Told, Word};
use super::{Ended, Up};
use crate::config::Config;
use crate::control::{LastExit, Query, Server};
use crate::lifecycle::{Action, HURRY, Health, House, HouseEvent, Id, Jitter, Outcome, State};
use crate::sys::signals::Whom;
use crate::sys::{Pid, notify, signals, tree, wait};

/// Words and queries on their way to the loop; beyond it their senders wait.
const QUEUE_MAX: usize = 64;

/// What clients of the control socket ask for.
pub(super) type Queries = mpsc::Receiver<Query>;

/// All that the supervisor owns while it runs.
pub(super) struct Supervisor {
    pub(super) house: House,
    pub(super) units: Units,
    pub(super) config: Config,
    /// The file that the configuration was read from.
    pub(super) file: Option<PathBuf>,
    pub(super) instances: BTreeMap<Id, Instance>,
    pub(super) ground: Ground,
    pub(super) operations: Operations,
    pub(super) upgrade: Upgrade,
    pub(super) probes: Probes,
    pub(super) told: Told,
    pub(super) words: mpsc::Receiver<(Id, Pid, Word)>,
    pub(super) since: Instant,
    pub(super) orphans_reaped: u64,
    /// When the stop of everything began.
    stop_began: Option<Instant>,
}

impl Supervisor {
    /// Everything in its place, nothing started.
    pub(super) fn new(config: Config, file: Option<PathBuf>, ground: Ground, upgrade: Upgrade) -> io::Result<Self> {
        let (units, plan) = plan::plan(&config);
        let house = House::new(plan, Duration::from_millis(config.supervisor.stop_ms_max));
        let mut supervisor = Self::standing(house, units, config, file, ground, upgrade);
        supervisor.fit_instances()?;
        Ok(supervisor)
    }

    /// Around a house that stands, its instances still to be put in.
    pub(super) fn standing(
        house: House,
        units: Units,
        config: Config,
        file: Option<PathBuf>,
        ground: Ground,
        upgrade: Upgrade,
    ) -> Self {
        let (told, words) = mpsc::channel(QUEUE_MAX);
        Self {
            house,
            units,
            config,
            file,
            instances: BTreeMap::new(),
            ground,
            operations: Operations::default(),
            upgrade,
            probes: Probes::default(),
            told,
            words,
            since: Instant::now(),
            orphans_reaped: 0,
            stop_began: None,
        }
    }

    /// Gives each member of the house its instance, and forgets those that left it.
    pub(super) fn fit_instances(&mut self) -> io::Result<()> {
        let mut instances = std::mem::take(&mut self.instances);
        for (id, name, number, _) in self.house.members() {
            let unit = self.units.get(name).cloned().map(std::rc::Rc::new);
            let instance = match (instances.remove(&id), unit) {
                (Some(mut instance), Some(unit)) => {
                    instance.unit = unit;
                    instance
                }
                // It is on its way out of the plan.
                (Some(instance), None) => instance,
                (None, Some(unit)) => Instance::new(unit, number).map_err(io::Error::other)?,
                (None, None) => continue,
            };
            self.instances.insert(id, instance);
        }
        Ok(())
    }

    /// Starts everything, and returns when an orderly stop is complete: how everything ended.
    pub(super) async fn run(mut self, control: Server, on_up: impl FnOnce(&Up)) -> io::Result<Ended> {
        let mut signals = Signals::new()?;
        let (query, mut queries) = mpsc::channel(QUEUE_MAX);
        self.upgrade.control_is(control.descriptors(), control.door());
        let server = tokio::spawn(control.run(query));
        let mut on_up = Some(on_up).filter(|_| !self.upgrade.announced);

        if self.upgrade.is_after() {
            self.go_on();
        } else {
            self.take(HouseEvent::Start);
        }
        while self.house.health() != Health::Down {
            if self.house.is_settled()
                && let Some(on_up) = on_up.take()
            {
                self.upgrade.announced = true;
                told(notify::manager_ready());
                let complete = self.house.health() == Health::Running;
                on_up(&Up { endpoints: self.ground.listeners.endpoints(), complete });
            }
            let deadline = self.house.deadline();
            tokio::select! {
                happened = signals.next() => self.happened(happened),
                Some((id, pid, word)) = self.words.recv() => self.hear(id, pid, word),
                Some(query) = queries.recv() => self.begin(query),
                step = self.upgrade.next() => self.go_on_with_upgrade(step, &mut signals, &mut queries).await,
                () = until(deadline) => self.take(HouseEvent::Tick),
            }
            self.answer_what_is_over();
        }
        self.end_leftovers(&mut signals).await;
        server.abort();
        // Its socket's file goes with it.
        let _ = server.await;
        tracing::info!("stopped");
        Ok(self.ended())
    }

    /// What the process's exit code is to tell: nothing went wrong, or what ended everything.
    fn ended(&self) -> Ended {
        let culprit = self.house.culprit().and_then(|id| self.instances.get(&id));
        match culprit.and_then(|instance| instance.last_exit.as_ref()) {
            Some(LastExit::Code(code)) => Ended { code: u8::try_from(*code).unwrap_or(1) },
            Some(LastExit::Signal(number)) => Ended { code: u8::try_from(128 + number).unwrap_or(1) },
            Some(LastExit::NotStarted(_)) => Ended { code: 127 },
            None => Ended { code: 0 },
        }
    }

    pub(super) fn happened(&mut self, happened: Happened) {
        match happened {
            Happened::ChildEnded => self.collect_the_dead(),
            Happened::StopAsked(name) => self.stop(name),
            Happened::ReloadAsked => self.reload_by_signal(),
        }
    }

    fn stop(&mut self, signal: &str) {
        match self.stop_began {
            None => tracing::info!("{signal}: stopping"),
            Some(_) => tracing::info!("{signal} again: hurrying"),
        }
        self.take(HouseEvent::Stop);
    }

    pub(super) fn hear(&mut self, id: Id, pid: Pid, word: Word) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        // The word of an earlier process says nothing about this one.
        if instance.process.as_ref().is_none_or(|process| process.pid != pid) {
            return;
        }
        match word {
            Word::Ready => self.take(HouseEvent::Ready(id)),
            Word::Alive => self.take(HouseEvent::Alive(id)),
            Word::Says(text) => instance.says = Some(text),
            // It has logged that itself.
            Word::Warns(text) => instance.warnings.push(text),
            Word::Probe(words, answer) => self.probes.begin(pid, &words, answer, &self.ground),
        }
    }

    /// Gives the house an event and performs what it answers, until nothing is left to be done.
    pub(super) fn take(&mut self, event: HouseEvent) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let hung = |action: &Action| *action == Action::Abort;
            let hurried = event == HouseEvent::Stop;
            let died = match &event {
                HouseEvent::Died(id, _) => Some(*id),
                _ => None,
            };
            let actions = self.house.step(event, Instant::now(), jitter());
            if self.house.health() == Health::Stopping && self.stop_began.is_none() {
                self.stop_began = Some(Instant::now());
                told(notify::manager_stopping());
            }
            if let Some(id) = died {
                self.log_death(id);
            }
            if let Err(cause) = self.fit_instances() {
                tracing::error!("cannot prepare a worker: {cause}");
            }
            for (id, action) in actions {
                if hung(&action) {
                    self.log(id, "gave no sign of life: aborted");
                }
                match action {
                    Action::Spawn => events.extend(self.spawn(id)),
                    Action::Terminate => {
                        let number =
                            self.instances.get(&id).map_or(signals::SIGTERM, |instance| instance.unit.stop_signal);
                        self.with_process(id, |pid| send(Whom::Group(pid), number));
                    }
                    Action::Abort => self.with_process(id, |pid| send(Whom::Group(pid), signals::SIGABRT)),
                    Action::Kill => {
                        self.log(id, if hurried { "killed" } else { "did not stop in time: killed" });
                        self.with_process(id, |pid| {
                            signals::kill_group(pid);
                            tree::kill_all_of(pid);
                        });
                    }
                }
            }
        }
    }

    /// Starts an instance's process; answers what that means already.
    fn spawn(&mut self, id: Id) -> Option<HouseEvent> {
        let Some(instance) = self.instances.get_mut(&id) else {
            return Some(HouseEvent::Died(id, Outcome::Failure));
        };
        match instance.start(id, &self.ground, &self.told) {
            Ok(pid) => {
                instance.last_pid = Some(pid);
                tracing::info!(service = instance.unit.name, instance = instance.number, %pid, "started");
                instance.unit.is_ready_at_once().then_some(HouseEvent::Ready(id))
            }
            Err(cause) => {
                instance.last_exit = Some(LastExit::NotStarted(cause.to_string()));
                instance.last_pid = None;
                Some(HouseEvent::Died(id, Outcome::Failure))
            }
        }
    }

    fn with_process(&self, id: Id, act: impl FnOnce(Pid)) {
        if let Some(process) = self.instances.get(&id).and_then(|instance| instance.process.as_ref()) {
            act(process.pid);
        }
    }

    fn log(&self, id: Id, what: &str) {
        let Some(Instance { unit, number, process, .. }) = self.instances.get(&id) else { return };
        let pid = process.as_ref().map(|process| tracing::field::display(process.pid));
        tracing::warn!(service = unit.name, instance = number, pid, "{what}");
    }

    /// The only place where ends of processes are noticed.
    pub(super) fn collect_the_dead(&mut self) {
        let owners: BTreeMap<Pid, Id> =
            self.instances.iter().filter_map(|(id, instance)| Some((instance.process.as_ref()?.pid, *id))).collect();
        let mut died = Vec::new();
        let drained = wait::drain(|pid, exit| match owners.get(&pid) {
            Some(id) => {
                // What it started and left behind must not stand in the way of its successor.
                signals::kill_group(pid);
                died.push((*id, pid, exit));
            }
            None if self.probes.end(pid, exit) || self.upgrade.end(pid, exit) => {}
            None => self.orphans_reaped += 1,
        });
        drained.unwrap_or_else(|cause| tracing::error!("cannot wait for children: {cause}"));
        for (id, pid, exit) in died {
            self.probes.forget(pid);
            let Some(instance) = self.instances.get_mut(&id) else { continue };
            instance.kill_cgroup();
            instance.process = None;
            instance.last_exit = Some(match exit {
                wait::Exit::Code(code) => LastExit::Code(code),
                wait::Exit::Signal(number) => LastExit::Signal(number),
            });
            let outcome = instance.unit.outcome(exit);
            self.kill_strays_of(id);
            self.take(HouseEvent::Died(id, outcome));
        }
    }

    /// Ends what a dead process left behind outside its group: orphans of ours that were started as it was.
    fn kill_strays_of(&self, id: Id) {
        let Some(instance) = self.instances.get(&id) else { return };
        let known: Vec<Pid> = self.instances.values().filter_map(|one| Some(one.process.as_ref()?.pid)).collect();
        let marks = [format!("TORUS_SERVICE={}", instance.unit.name), format!("TORUS_INSTANCE={}", instance.number)];
        let marks: Vec<&str> = marks.iter().map(String::as_str).collect();
        for orphan in tree::children() {
            if !known.contains(&orphan) && !self.probes.knows(orphan) && tree::has_variables(orphan, &marks) {
                tree::kill_all_of(orphan);
            }
        }
    }

    /// Waits for what no service owns any more, as long as the stop has time; leaves when the last process is gone.
    async fn end_leftovers(&mut self, signals: &mut Signals) {
        self.collect_the_dead();
        let left = tree::children();
        if left.is_empty() {
            return;
        }
        tracing::info!("{} processes that no service owns: asked to end", left.len());
        for process in left.iter().copied().chain(left.iter().flat_map(|process| tree::descendants(*process))) {
            send(Whom::Process(process), signals::SIGTERM);
        }
        let began = self.stop_began.unwrap_or_else(Instant::now);
        let stop_max = Duration::from_millis(self.config.supervisor.stop_ms_max);
        let mut kill_at = (began + stop_max).max(Instant::now() + HURRY / 10);
        loop {
            tokio::select! {
                happened = signals.next() => match happened {
                    Happened::ChildEnded => self.collect_the_dead(),
                    Happened::StopAsked(_) => kill_at = Instant::now(),
                    Happened::ReloadAsked => {}
                },
                () = tokio::time::sleep_until(kill_at.into()) => {
                    let left = tree::children();
                    tracing::warn!("{} processes that no service owns did not end in time: killed", left.len());
                    left.into_iter().for_each(tree::kill_all_of);
                    // What a kill cannot end within this time, nobody can.
                    if kill_at > began + stop_max + HURRY {
                        return;
                    }
                    kill_at = Instant::now() + HURRY / 2;
                }
            }
            if tree::children().is_empty() {
                return;
            }
        }
    }

    /// Says how an instance ended and what comes next; the house has decided that already.
    fn log_death(&self, id: Id) {
        let Some(Instance { unit, number, last_exit, last_pid, .. }) = self.instances.get(&id) else { return };
        let in_ms = |until: Instant| until.saturating_duration_since(Instant::now()).as_millis();
        let next = match self.house.state(id) {
            Some(State::Starting { .. }) => "; restarting now".to_owned(),
            Some(State::Waiting { until }) => format!("; restarting in {} ms", in_ms(until)),
            Some(State::Quarantined { until }) => {
                format!("; too many restarts: quarantined, tried again in {} ms", in_ms(until))
            }
            Some(State::Failed) => "; failed: not started again".to_owned(),
            Some(
                State::Pending | State::Running { .. } | State::Stopping { .. } | State::Stopped | State::Completed,
            )
            | None => String::new(),
        };
        let (service, instance) = (unit.name.as_str(), number);
        let pid = last_pid.map(tracing::field::display);
        match last_exit {
            Some(LastExit::Code(code)) => tracing::info!(service, instance, pid, "exited code={code}{next}"),
            Some(LastExit::Signal(number)) => tracing::info!(service, instance, pid, "exited signal={number}{next}"),
            Some(LastExit::NotStarted(cause)) => tracing::error!(service, instance, "cannot start: {cause}{next}"),
            None => {}
        }
    }
}

/// Sends a signal. Who is already gone is no error: its end is on its way to us.
pub(super) fn send(whom: Whom, signal: i32) {
    let _ = signals::send(whom, signal);
}

/// What signals tell the supervisor.
pub(super) enum Happened {
    ChildEnded,
    StopAsked(&'static str),
    ReloadAsked,
}

/// The signals that the supervisor takes.
pub(super) struct Signals {
    children: Signal,
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            children: signal(SignalKind::child())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    pub(super) async fn next(&mut self) -> Happened {
        tokio::select! {
            _ = self.children.recv() => Happened::ChildEnded,
            _ = self.terminate.recv() => Happened::StopAsked("SIGTERM"),
            _ = self.interrupt.recv() => Happened::StopAsked("SIGINT"),
            _ = self.quit.recv() => Happened::StopAsked("SIGQUIT"),
            _ = self.hangup.recv() => Happened::ReloadAsked,
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
