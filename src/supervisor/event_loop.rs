//! The loop itself: what happens becomes a [`HouseEvent`], what the house answers is done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::pending;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::yield_now;

use super::hangups::Hangups;
use super::instance::{Ground, Instance};
use super::logs::Logs;
use super::manager::Manager;
use super::operations::Operations;
use super::plan::{self, Program, Units};
use super::probes::Probes;
use super::stopping::Stopping;
use super::unread::{Patience, Unread};
use super::upgrade::Upgrade;
use super::words::{self, Told, Words};
use super::{Ended, Up};
use crate::config::Config;
use crate::control::{LastExit, Query, Server};
use crate::lifecycle::{Action, Health, House, HouseEvent, Id, Jitter, Outcome, State};
use crate::sys::signals::Whom;
use crate::sys::{Pid, memory, signals, tree};

/// Words and queries on their way to the loop; beyond it their senders wait.
const QUEUE_MAX: usize = 64;

/// Who is so much later than he wanted has not run himself, as in a container that was paused.
const LATE: Duration = Duration::from_millis(500);

/// What clients of the control socket ask for.
pub(super) type Queries = mpsc::Receiver<Query>;

/// All that the supervisor owns while it runs.
pub(super) struct Supervisor {
    pub(super) house: House,
    pub(super) units: Units,
    pub(super) config: Rc<Config>,
    /// The file that the configuration was read from.
    pub(super) file: Option<PathBuf>,
    pub(super) instances: BTreeMap<Id, Instance>,
    pub(super) ground: Ground,
    pub(super) operations: Operations,
    /// By whose end a service's roll stopped.
    pub(super) stoppers: BTreeMap<String, Id>,
    pub(super) upgrade: Upgrade,
    pub(super) probes: Probes,
    pub(super) logs: Logs,
    pub(super) unread: Unread,
    pub(super) told: Told,
    pub(super) words: Words,
    pub(super) since: Instant,
    pub(super) orphans_reaped: u64,
    /// Instances of whose dead processes some strays have escaped.
    pub(super) haunted: BTreeSet<Id>,
    pub(super) hangups: Hangups,
    pub(super) manager: Manager,
    /// Whether some who have ended may still wait to be collected.
    pub(super) more_dead: bool,
    /// The stop of everything, once it was ordered.
    pub(super) stopping: Option<Stopping>,
}

impl Supervisor {
    /// Everything in its place, nothing started.
    pub(super) fn new(config: Config, file: Option<PathBuf>, ground: Ground, upgrade: Upgrade) -> io::Result<Self> {
        let (units, plan) = plan::plan(&config);
        let house = House::new(plan, Duration::from_millis(config.supervisor.stop_ms_max));
        let mut supervisor = Self::standing(house, units, Rc::new(config), file, ground, upgrade)?;
        supervisor.fit_instances();
        Ok(supervisor)
    }

    /// Around a house that stands, its instances still to be put in.
    pub(super) fn standing(
        house: House,
        units: Units,
        config: Rc<Config>,
        file: Option<PathBuf>,
        ground: Ground,
        upgrade: Upgrade,
    ) -> io::Result<Self> {
        let (told, words) = words::way(QUEUE_MAX);
        Ok(Self {
            house,
            units,
            config,
            file,
            instances: BTreeMap::new(),
            ground,
            operations: Operations::default(),
            stoppers: BTreeMap::new(),
            upgrade,
            probes: Probes::default(),
            logs: Logs::default(),
            unread: Unread::new()?,
            told,
            words,
            since: Instant::now(),
            orphans_reaped: 0,
            haunted: BTreeSet::new(),
            hangups: Hangups::default(),
            manager: Manager::wanted(),
            more_dead: false,
            stopping: None,
        })
    }

    /// Gives each member of the house its instance, and forgets those that left it.
    pub(super) fn fit_instances(&mut self) {
        let mut instances = std::mem::take(&mut self.instances);
        for (id, name, number, _) in self.house.members() {
            let unit = self.units.get(name).cloned().map(Rc::new);
            let instance = match (instances.remove(&id), unit) {
                (Some(mut instance), Some(unit)) => {
                    instance.unit = unit;
                    instance
                }
                // It is on its way out of the plan.
                (Some(instance), None) => instance,
                (None, Some(unit)) => Instance::new(unit, number),
                (None, None) => continue,
            };
            self.instances.insert(id, instance);
        }
        for (id, instance) in instances {
            if let Some(output) = &instance.output {
                self.logs.detach(id);
                self.unread.remove(output);
            }
        }
    }

    /// Starts everything, and returns when an orderly stop is complete: how everything ended.
    pub(super) async fn run(mut self, control: Server, on_up: impl FnOnce(&Up)) -> io::Result<Ended> {
        let mut signals = Signals::new()?;
        signals::release_orders()?;
        let (query, mut queries) = mpsc::channel(QUEUE_MAX);
        self.upgrade.control_is(control.descriptors(), control.door());
        let server = tokio::spawn(control.run(query));
        let mut on_up = Some(on_up).filter(|_| !self.upgrade.announced);

        if self.upgrade.is_after() {
            self.go_on().await;
            if self.upgrade.announced {
                // The build before may have owed it.
                if self.stopping.is_none() {
                    self.manager.ready();
                }
                let _ = memory::let_go_of_start();
            }
        } else {
            self.take(HouseEvent::Start);
        }
        while self.house.health() != Health::Down {
            if self.house.is_settled()
                && let Some(on_up) = on_up.take()
            {
                self.upgrade.announced = true;
                self.manager.ready();
                let complete = self.house.health() == Health::Running;
                on_up(&Up { endpoints: self.ground.listeners.endpoints(), complete });
                // Where /proc is not to be read, it stays mapped.
                let _ = memory::let_go_of_start();
            }
            let give_up_at = self.stopping.as_ref().map(Stopping::give_up_at);
            if give_up_at.is_some_and(|at| Instant::now() >= at) {
                return Ok(self.give_up());
            }
            let deadline = self.house.deadline().into_iter().chain(give_up_at).min();
            tokio::select! {
                happened = signals.next() => self.happened(happened).await,
                () = until(self.manager.due()) => self.manager.tell_due(),
                () = until(self.hangups.due()), if !self.upgrade.is_under_way() => {
                    self.hangups.done(Instant::now());
                    self.reload_by_signal();
                }
                Some((id, pid, word)) = self.words.recv() => self.hear(id, pid, word),
                Some(query) = queries.recv() => self.answer(query),
                due = self.unread.next(Patience::of(&self.config.logs)) => self.attend(due),
                step = self.upgrade.next() => self.go_on_with_upgrade(step, &mut signals, &mut queries).await,
                () = yield_now(), if self.more_dead => self.collect_the_dead(),
                () = until(deadline) => self.judge(deadline).await,
            }
            self.answer_what_is_over();
        }
        self.end_leftovers(&mut signals, &mut queries).await;
        server.abort();
        // Its socket's file goes with it.
        let _ = server.await;
        tracing::info!("stopped");
        Ok(self.ended())
    }

    /// What the process's exit code is to tell: nothing went wrong, or what ended everything.
    fn ended(&self) -> Ended {
        let culprit = self.house.culprit();
        let state = culprit.and_then(|id| self.house.state(id));
        let essential = culprit.is_some_and(|id| self.house.is_essential(id));
        let culprit = culprit.and_then(|id| self.instances.get(&id));
        match culprit.and_then(|instance| instance.last_exit.as_ref()) {
            // All tasks are done: how each said so is its own affair.
            _ if state == Some(State::Completed) && !essential => Ended { code: 0 },
            // It may end well when it is told to, and have failed all the same.
            Some(LastExit::Code(0)) if state == Some(State::Failed) => Ended { code: 1 },
            Some(LastExit::Code(code)) => Ended { code: u8::try_from(*code).unwrap_or(1) },
            Some(LastExit::Signal(number)) => Ended { code: u8::try_from(128 + number).unwrap_or(1) },
            Some(LastExit::NotStarted(_)) => Ended { code: 127 },
            None => Ended { code: 0 },
        }
    }

    pub(super) async fn happened(&mut self, happened: Happened) {
        match happened {
            Happened::ChildEnded => {
                // Last words are older than the end.
                self.hear_what_was_said().await;
                self.collect_the_dead();
            }
            Happened::StopAsked(name) => self.stop(name),
            Happened::ReloadAsked => self.hangups.note(Instant::now()),
        }
    }

    /// A time is over. What was said until now is heard first; and who comes late himself has no right to judge silence.
    async fn judge(&mut self, deadline: Option<Instant>) {
        self.hear_what_was_said().await;
        if deadline.is_some_and(|at| at.elapsed() > LATE) {
            tracing::warn!("torus did not run for a time: signs of life are waited for anew");
            self.take(HouseEvent::Paused);
        }
        self.take(HouseEvent::Tick);
    }

    fn stop(&mut self, signal: &str) {
        match self.stopping {
            None => tracing::info!("{signal}: stopping"),
            Some(_) => tracing::info!("{signal} again: hurrying"),
        }
        self.take(HouseEvent::Stop);
    }

    /// Gives the house an event and performs what it answers, until nothing is left to be done.
    pub(super) fn take(&mut self, event: HouseEvent) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let hurried = event == HouseEvent::Stop;
            let replanned = matches!(event, HouseEvent::Replace(..));
            let died = match &event {
                HouseEvent::Died(id, _) => Some((*id, self.ends_by_order(*id))),
                _ => None,
            };
            let ready = match &event {
                HouseEvent::Ready(id) if self.gets_ready(*id) => Some(*id),
                _ => None,
            };
            let stalled = self.house.stalled().clone();
            let actions = self.house.step(event, Instant::now(), jitter());
            match &mut self.stopping {
                None if matches!(self.house.health(), Health::Stopping | Health::Down) => {
                    let max = Duration::from_millis(self.config.supervisor.stop_ms_max);
                    self.stopping = Some(Stopping::begin(Instant::now(), max));
                    self.manager.stopping();
                }
                Some(stopping) if hurried => stopping.hurry(Instant::now()),
                None | Some(_) => {}
            }
            if let Some((id, by_order)) = died {
                self.log_death(id, by_order);
            }
            if let Some(id) = ready {
                self.log_ready(id);
            }
            self.stoppers.retain(|name, _| self.house.stalled().contains(name));
            for name in self.house.stalled().difference(&stalled) {
                tracing::warn!(service = name, "the roll stops: what is not renewed yet keeps its processes");
                self.stoppers.extend(died.map(|(id, _)| (name.clone(), id)));
            }
            // Nobody comes, and nobody leaves, by any other event: a thousand instances are not gone through for each.
            if replanned || self.instances.len() != self.house.size() {
                self.fit_instances();
            }
            for (id, action) in actions {
                match action {
                    Action::Spawn => events.extend(self.spawn(id)),
                    Action::Terminate => {
                        if self.pid_of(id).is_some_and(|pid| self.logs.end(pid)) {
                            continue;
                        }
                        let number =
                            self.instances.get(&id).map_or(signals::SIGTERM, |instance| instance.unit.stop_signal);
                        self.with_process(id, |pid| ask(Whom::Group(pid), number));
                    }
                    Action::Abort => {
                        self.log(id, "gave no sign of life: aborted");
                        self.with_process(id, |pid| ask(Whom::Group(pid), signals::SIGABRT));
                    }
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
        let prepared = instance.prepare();
        if let (Ok(true), Some(output)) = (&prepared, &instance.output) {
            self.logs.attach(id, instance);
            self.unread.add(id, output);
        }
        match prepared.and_then(|_| instance.start(id, &self.config, &self.ground, &self.told)) {
            Ok(pid) => {
                instance.last_pid = Some(pid);
                tracing::info!(service = instance.unit.name, instance = instance.number, %pid, "started");
                let ready = instance.unit.is_ready_at_once();
                match instance.process.as_mut().and_then(|process| process.command.take()) {
                    Some(command) => {
                        // What its predecessor had no room for, it may have.
                        self.instances.values_mut().for_each(|instance| instance.is_refused = false);
                        self.logs.connect(pid, command, &self.instances);
                    }
                    None => self.logs.began(id, pid),
                }
                ready.then_some(HouseEvent::Ready(id))
            }
            Err(cause) => {
                instance.last_exit = Some(LastExit::NotStarted(cause.to_string()));
                instance.last_pid = None;
                Some(HouseEvent::Died(id, Outcome::Failure))
            }
        }
    }

    fn pid_of(&self, id: Id) -> Option<Pid> {
        Some(self.instances.get(&id)?.process.as_ref()?.pid)
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

    /// Closes the doors that no worker listens on any more.
    pub(super) fn close_retired_doors(&mut self) {
        if self.ground.listeners.retired.is_empty() {
            return;
        }
        let workers = self.instances.values().filter(|one| matches!(one.unit.program, Program::Requests { .. }));
        let processes = workers.filter_map(|worker| worker.process.as_ref());
        self.ground.listeners.close_retired(processes.flat_map(|process| process.launched.doors.iter().flatten()));
    }

    pub(super) fn answer(&mut self, query: Query) {
        match query {
            Query::Ask { command, reply, connection } => self.begin(command, reply, connection),
            Query::Follow { follow, reader } => self.logs.follow(&follow, reader),
        }
    }
}

/// Sends a signal. Who is already gone is no error: its end is on its way to us.
pub(super) fn send(whom: Whom, signal: i32) {
    let _ = signals::send(whom, signal);
}

/// Tells somebody to end who may be stopped (SIGSTOP): the signal would wait until somebody has it continue.
pub(super) fn ask(whom: Whom, signal: i32) {
    send(whom, signal);
    send(whom, signals::SIGCONT);
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

/// Long enough for what has come already to be noticed: in one turn the runtime looks at its descriptors, in the next it
/// runs the tasks that wait for them.
pub(super) async fn a_moment() {
    yield_now().await;
    yield_now().await;
}

/// Waits for that instant, or for ever.
pub(super) async fn until(deadline: Option<Instant>) {
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
