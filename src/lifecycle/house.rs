//! All instances together: what starts after what, what ends before what, and by when.
//!
//! Every instance has a goal, up or down, and one rule moves it there. It starts when what its service comes after is
//! there. It is told to end when nothing that comes after its service, and is to end too, has a process any more. So
//! the start, the stop, one service's stop and a changed plan are the same thing with other goals.
//!
//! The bus comes before all services: it starts first and ends last, so that what a service still has to say is carried.
//! The log comes before the bus in the same way. Of the time of a whole stop the services have three quarters, the bus
//! the next eighth, and the log the rest, so that a service which refuses to end costs neither its orderly end. A second
//! order to stop hurries, a third kills.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::instance::{Action, Event, Instance, Next, Rules, State};
use super::restart::{Jitter, Outcome, WAIT_MAX};
use super::rolling::Rolling;

/// An instance's name in the house. None is used twice.
pub type Id = u64;

/// What remains of a stop that is hurried.
pub const HURRY: Duration = Duration::from_secs(1);

/// What a service is to the house.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// What it comes before, and what after, whatever `after` says.
    pub tier: Tier,
    /// How many instances it has.
    pub instances: u32,
    /// What it comes after, by name. There are no circles.
    pub after: BTreeMap<String, Condition>,
    /// The rules of its instances' lives.
    pub rules: Rules,
    /// Whether everything is stopped when an instance of it has ended for good.
    pub essential: bool,
}

/// Where a service stands: each tier comes before those that follow here, and ends after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Writes down what all others say.
    Log,
    /// A bus worker.
    Bus,
    /// Anything else.
    Service,
}

impl Tier {
    /// When what is left of a tier is killed, of the time of a whole stop.
    fn share(self, of: Duration) -> Duration {
        match self {
            Self::Service => of / 4 * 3,
            Self::Bus => of / 8 * 7,
            Self::Log => of,
        }
    }

    const ALL: [Self; 3] = [Self::Service, Self::Bus, Self::Log];
}

/// What a service waits for in another one before it starts. Once started, it does not look back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// All instances have a process.
    Started,
    /// All instances are ready, or have ended well.
    Ready,
    /// All instances have ended well.
    Completed,
}

/// What is to run: services by name.
pub type Plan = BTreeMap<String, Service>;

/// What may happen in the house.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HouseEvent {
    /// Everything is to be started.
    Start,
    /// An instance's process is ready.
    Ready(Id),
    /// An instance's process gave a sign of life.
    Alive(Id),
    /// An instance's process was found to have hung.
    Hung(Id),
    /// An instance's process ended, or could not be started.
    Died(Id, Outcome),
    /// Nobody ran for a time, neither who is to judge nor, perhaps, who is judged: silence until now says nothing.
    Paused,
    /// Time has passed; see [`House::deadline`].
    Tick,
    /// Everything is to end in order; told again: soon; told a third time: at once.
    Stop,
    /// A service is to run.
    StartService(String),
    /// A service is to end.
    StopService(String),
    /// A service's instances are to get new processes, one after the other.
    RestartService(String),
    /// Other services are to run; these instances of services, by number, get new processes, one after the other, what
    /// comes before first.
    Replace(Plan, BTreeMap<String, BTreeSet<u32>>),
}

/// How the house is, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// The bus does not serve yet, or it is still open how a service's start ends.
    Starting,
    /// Everything that should run runs.
    Running,
    /// Something that should run does not.
    Degraded,
    /// An orderly stop is under way.
    Stopping,
    /// Nothing runs, and nothing is started again.
    Down,
}

impl Health {
    /// The word, as users read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Degraded => "degraded",
            Self::Stopping => "stopping",
            Self::Down => "down",
        }
    }
}

/// The services of a plan and their instances, and how far their common life is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct House {
    pub(super) plan: Plan,
    pub(super) members: BTreeMap<Id, Member>,
    pub(super) next_id: Id,
    pub(super) phase: Phase,
    pub(super) rolling: Vec<Rolling>,
    /// Services whose last roll stopped before its end, until the next order.
    pub(super) stalled: BTreeSet<String>,
    /// The whole time of an orderly stop; what still lives then is killed.
    pub(super) stop_max: Duration,
    pub(super) culprit: Option<Id>,
}

/// One instance in the house.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) service: String,
    /// Which of the service's instances, from 1.
    pub(super) number: u32,
    pub(super) instance: Instance,
    pub(super) goal: Goal,
    /// The rules that it keeps when its service is no longer in the plan.
    pub(super) rules: Rules,
    /// What its service comes after, kept likewise.
    pub(super) after: BTreeSet<String>,
    pub(super) tier: Tier,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Goal {
    Up,
    Down,
    /// Down, and to be forgotten then.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing was started yet.
    Fresh,
    Up {
        settled: bool,
    },
    Stopping {
        since: Instant,
        /// How long it may take.
        max: Duration,
        hurried: bool,
    },
    Down,
}

impl House {
    /// A house in which nothing was started yet.
    pub fn new(plan: Plan, stop_max: Duration) -> Self {
        let mut house = Self {
            plan: Plan::new(),
            members: BTreeMap::new(),
            next_id: 1,
            phase: Phase::Fresh,
            rolling: Vec::new(),
            stalled: BTreeSet::new(),
            stop_max,
            culprit: None,
        };
        house.adopt(plan);
        house
    }

    /// All instances, in the order of their ids: id, service, number, state.
    pub fn members(&self) -> impl Iterator<Item = (Id, &str, u32, State)> {
        self.members.iter().map(|(id, member)| (*id, member.service.as_str(), member.number, member.instance.state()))
    }

    /// How many instances there are.
    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// An instance's present state; `None` when it is gone.
    pub fn state(&self, id: Id) -> Option<State> {
        self.members.get(&id).map(|member| member.instance.state())
    }

    /// The instance whose end was everything's end, if one was: it was essential, or the last one to end by itself.
    pub fn culprit(&self) -> Option<Id> {
        self.culprit
    }

    /// Whether an instance's service is essential.
    pub fn is_essential(&self, id: Id) -> bool {
        let service = self.members.get(&id).and_then(|member| self.plan.get(&member.service));
        service.is_some_and(|service| service.essential)
    }

    /// Sets how long a whole stop may take.
    pub fn set_stop_max(&mut self, stop_max: Duration) {
        self.stop_max = stop_max;
    }

    /// How the house is.
    pub fn health(&self) -> Health {
        let is_fine = |member: &Member| match member.goal {
            Goal::Up => matches!(member.instance.state(), State::Running { .. } | State::Completed),
            Goal::Down | Goal::Gone => true,
        };
        match self.phase {
            Phase::Fresh => Health::Starting,
            Phase::Up { .. } if self.members.values().all(is_fine) => Health::Running,
            Phase::Up { settled: true } => Health::Degraded,
            Phase::Up { settled: false } => Health::Starting,
            Phase::Stopping { .. } => Health::Stopping,
            Phase::Down => Health::Down,
        }
    }

    /// Whether the start is over: the bus has been running, and every service beside it was running, had ended or had
    /// shown that a restart at once does not help. A service that cannot start must not hide that the bus serves.
    pub fn is_settled(&self) -> bool {
        self.phase == (Phase::Up { settled: true })
    }

    /// How a service's movement ended: `Some(true)` when each instance is where it should be, `Some(false)` when one
    /// gets no further by itself soon, `None` while it is still open.
    pub fn outcome(&self, service: &str) -> Option<bool> {
        if self.stalled.contains(service) {
            return Some(false);
        }
        if self.is_rolling(service) {
            return None;
        }
        let mut reached = true;
        for member in self.members.values().filter(|member| member.service == service) {
            reached &= match (member.goal, member.instance.state()) {
                (Goal::Up, State::Running { .. } | State::Completed) => true,
                (Goal::Up, State::Waiting { .. } | State::Quarantined { .. } | State::Failed) => false,
                (Goal::Up, State::Pending) if self.has_settled(member) => false,
                (Goal::Up, _) => return None,
                (Goal::Down | Goal::Gone, state) if state.has_process() => return None,
                (Goal::Down | Goal::Gone, _) => true,
            };
        }
        Some(reached)
    }

    /// Whether the plan has such a service.
    pub fn knows(&self, service: &str) -> bool {
        self.plan.contains_key(service)
    }

    /// Whether a service is to be down, by order.
    pub fn is_stopped(&self, service: &str) -> bool {
        self.members.values().any(|member| member.service == service && member.goal == Goal::Down)
    }

    /// Whether no instance of a service is to run, by order or because it is no longer in the plan.
    pub fn is_to_be_down(&self, service: &str) -> bool {
        self.members.values().filter(|member| member.service == service).all(|member| member.goal != Goal::Up)
    }

    /// Whether an instance is to end and to be forgotten then.
    pub fn is_leaving(&self, id: Id) -> bool {
        self.members.get(&id).is_none_or(|member| member.goal == Goal::Gone)
    }

    /// What an instance that is pending waits for: a service's name and the condition.
    pub fn waits_for(&self, id: Id) -> Option<(&str, Condition)> {
        let member = self.members.get(&id)?;
        (member.instance.state() == State::Pending).then(|| self.blocker(member)).flatten()
    }

    /// When to send the next [`HouseEvent::Tick`]; `None` while nothing waits for time.
    pub fn deadline(&self) -> Option<Instant> {
        let own = self.members.values().filter_map(|member| member.instance.deadline(&member.rules)).min();
        let common = match self.phase {
            // Each is due as long as it has someone to kill.
            Phase::Stopping { since, max, .. } => Tier::ALL
                .into_iter()
                .find(|tier| self.members.values().any(|member| member.lives_on(*tier)))
                .map(|tier| since + tier.share(max)),
            Phase::Fresh | Phase::Up { .. } | Phase::Down => None,
        };
        own.into_iter().chain(common).chain(self.trial_deadline()).min()
    }

    /// Takes an event; answers what is to be done, in this order.
    pub fn step(&mut self, event: HouseEvent, now: Instant, jitter: Jitter) -> Vec<(Id, Action)> {
        let mut turn = Turn { now, jitter, actions: Vec::new() };
        match (self.phase, event) {
            (Phase::Fresh, HouseEvent::Start) => self.phase = Phase::Up { settled: false },
            (_, HouseEvent::Start) => {}
            (_, HouseEvent::Ready(id)) => self.tell(id, Event::Ready, &mut turn),
            (_, HouseEvent::Alive(id)) => self.tell(id, Event::Alive, &mut turn),
            (_, HouseEvent::Hung(id)) => self.tell(id, Event::Hung, &mut turn),
            (_, HouseEvent::Died(id, outcome)) => self.died(id, outcome, &mut turn),
            (_, HouseEvent::Paused) => {
                let all: Vec<Id> = self.members.keys().copied().collect();
                all.into_iter().for_each(|id| self.tell(id, Event::Paused, &mut turn));
            }
            (_, HouseEvent::Tick) => self.tick(&mut turn),
            (_, HouseEvent::Stop) => self.stop(&mut turn),
            (Phase::Up { .. }, HouseEvent::StartService(name)) => self.start_service(&name, &mut turn),
            (Phase::Up { .. }, HouseEvent::StopService(name)) => self.stop_service(&name),
            (Phase::Up { .. }, HouseEvent::RestartService(name)) => self.restart_service(name),
            (Phase::Up { .. }, HouseEvent::Replace(plan, renewed)) => {
                self.stalled.clear();
                self.adopt(plan);
                self.renew_all(renewed);
            }
            (
                Phase::Fresh | Phase::Stopping { .. } | Phase::Down,
                HouseEvent::StartService(_)
                | HouseEvent::StopService(_)
                | HouseEvent::RestartService(_)
                | HouseEvent::Replace(..),
            ) => {}
        }
        self.advance(&mut turn);
        turn.actions
    }

    /// Moves everything towards its goal, as far as it goes without the world.
    fn advance(&mut self, turn: &mut Turn) {
        if let Phase::Up { .. } = self.phase {
            self.end_when_over(turn);
            self.roll(turn);
        }
        self.start_due(turn);
        self.end_due(turn);
        self.members.retain(|_, member| member.goal != Goal::Gone || member.instance.state().has_process());
        match self.phase {
            Phase::Up { settled: false } if self.members.values().all(|member| self.has_settled(member)) => {
                self.phase = Phase::Up { settled: true };
            }
            Phase::Stopping { .. } if !self.members.values().any(Member::has_process) => self.phase = Phase::Down,
            Phase::Fresh | Phase::Up { .. } | Phase::Stopping { .. } | Phase::Down => {}
        }
    }

    /// Takes another plan: who is no longer in it is to go, who is new is to come.
    fn adopt(&mut self, plan: Plan) {
        self.plan = plan;
        for member in self.members.values_mut() {
            match self.plan.get(&member.service) {
                Some(service) if member.number <= service.instances && member.goal != Goal::Gone => {
                    // A process is watched by what it was started with; the next one by what is asked then.
                    let Rules { ready_at_once, ready_max, watchdog, .. } = member.rules;
                    (member.rules, member.tier) = (service.rules.clone(), service.tier);
                    if member.instance.state().has_process() {
                        member.rules = Rules { ready_at_once, ready_max, watchdog, ..member.rules.clone() };
                    }
                    member.after = service.after.keys().cloned().collect();
                }
                Some(_) | None => member.goal = Goal::Gone,
            }
        }
        let plan = std::mem::take(&mut self.plan);
        for (name, service) in &plan {
            let there = |number| {
                self.members.values().any(|one| one.service == *name && one.number == number && one.goal != Goal::Gone)
            };
            // What is stopped by order stays so, new instances included.
            let stopped = self.is_stopped(name);
            let missing: Vec<u32> = (1..=service.instances).filter(|number| !there(*number)).collect();
            for number in missing {
                let member = Member {
                    service: name.clone(),
                    number,
                    instance: Instance::default(),
                    goal: if stopped { Goal::Down } else { Goal::Up },
                    rules: service.rules.clone(),
                    after: service.after.keys().cloned().collect(),
                    tier: service.tier,
                };
                self.members.insert(self.next_id, member);
                self.next_id += 1;
            }
        }
        self.rolling.retain(|rolling| plan.contains_key(&rolling.service));
        self.plan = plan;
    }

    fn start_service(&mut self, name: &str, turn: &mut Turn) {
        self.stalled.remove(name);
        for id in self.of(name) {
            if let Some(member) = self.members.get_mut(&id).filter(|member| member.goal != Goal::Gone) {
                member.goal = Goal::Up;
                if !matches!(member.instance.state(), State::Starting { .. } | State::Running { .. }) {
                    self.tell(id, Event::Restart, turn);
                }
            }
        }
    }

    fn stop_service(&mut self, name: &str) {
        self.stalled.remove(name);
        self.rolling.retain(|rolling| rolling.service != name);
        for member in self.members.values_mut().filter(|member| member.service == name && member.goal == Goal::Up) {
            member.goal = Goal::Down;
        }
    }

    /// An essential service that has ended for good ends everything; so does the last of those that ended by
    /// themselves, when nothing else is there or will be.
    fn end_when_over(&mut self, turn: &mut Turn) {
        // Who is to be renewed is not over yet.
        let is_over = |member: &Member| {
            member.goal == Goal::Up && member.instance.state().is_over() && !self.is_rolling(&member.service)
        };
        let is_essential = |member: &Member| self.plan.get(&member.service).is_some_and(|service| service.essential);
        let essential = self.members.iter().find(|(_, member)| is_over(member) && is_essential(member));
        let failed = |(_, member): &(&Id, &Member)| member.instance.state() == State::Failed;
        let last = || {
            let own = || self.members.iter().filter(|(_, member)| member.tier != Tier::Log);
            let all = own().all(|(_, member)| is_over(member));
            all.then(|| own().find(failed).or(own().next())).flatten()
        };
        if let Some((id, _)) = essential.or_else(last) {
            self.culprit = Some(*id);
            self.stop(turn);
        }
    }

    fn start_due(&mut self, turn: &mut Turn) {
        if !matches!(self.phase, Phase::Up { .. }) {
            return;
        }
        // A start may let others start: what comes after "started" need not wait for another event.
        loop {
            let due = self.members.iter().find(|(_, member)| {
                member.goal == Goal::Up
                    && member.instance.state() == State::Pending
                    && self.blocker(member).is_none()
                    && !self.has_living_namesake(member)
            });
            let Some((&id, _)) = due else { return };
            self.tell(id, Event::Start, turn);
        }
    }

    /// The first thing that an instance still has to wait for before it starts.
    fn blocker<'a>(&'a self, member: &'a Member) -> Option<(&'a str, Condition)> {
        let service = self.plan.get(&member.service)?;
        let before = self.plan.iter().filter(|(_, other)| other.tier < service.tier);
        let before = before.map(|(name, _)| (name, Condition::Started));
        let named = service.after.iter().map(|(name, condition)| (name, *condition));
        before.chain(named).find(|(name, condition)| !self.holds(name, *condition)).map(|(name, c)| (name.as_str(), c))
    }

    pub(super) fn holds(&self, name: &str, condition: Condition) -> bool {
        self.members.values().filter(|member| member.service == name && member.goal != Goal::Gone).all(|member| {
            let state = member.instance.state();
            match condition {
                Condition::Started => state.has_process() || state == State::Completed,
                Condition::Ready => matches!(state, State::Running { .. } | State::Completed),
                Condition::Completed => state == State::Completed,
            }
        })
    }

    /// An instance that left the plan and came back has two members for a while.
    fn has_living_namesake(&self, member: &Member) -> bool {
        let is_namesake = |other: &Member| other.service == member.service && other.number == member.number;
        self.members.values().any(|other| is_namesake(other) && other.goal == Goal::Gone && other.has_process())
    }

    fn end_due(&mut self, turn: &mut Turn) {
        let hurried = matches!(self.phase, Phase::Stopping { hurried: true, .. });
        // Everyone is asked in the state before, so that who has just been told to end is still waited for.
        let due: Vec<Id> = self
            .members
            .iter()
            .filter(|(_, member)| member.goal != Goal::Up && !member.is_ending())
            .filter(|(_, member)| (hurried && member.tier != Tier::Log) || !member.serves() || !self.is_needed(member))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.tell(id, Event::Stop, turn);
        }
    }

    /// Whether something that is to end too, and comes after this one's service, still has a process.
    fn is_needed(&self, member: &Member) -> bool {
        self.members.values().any(|other| {
            other.goal != Goal::Up
                && other.has_process()
                && (other.after.contains(&member.service) || other.tier > member.tier)
        })
    }

    fn stop(&mut self, turn: &mut Turn) {
        let now = turn.now;
        match self.phase {
            Phase::Fresh | Phase::Up { .. } => {
                self.phase = Phase::Stopping { since: now, max: self.stop_max.min(WAIT_MAX), hurried: false };
                self.rolling.clear();
                self.members
                    .values_mut()
                    .filter(|member| member.goal == Goal::Up)
                    .for_each(|one| one.goal = Goal::Down);
            }
            Phase::Stopping { since, max, hurried } => {
                let left = (since + max).saturating_duration_since(now);
                let max = if hurried { Duration::ZERO } else { left.min(HURRY) };
                self.phase = Phase::Stopping { since: now, max, hurried: true };
                self.tick(turn);
            }
            Phase::Down => {}
        }
    }

    fn tick(&mut self, turn: &mut Turn) {
        self.tell_all(|_| true, Event::Tick, turn);
        if let Phase::Stopping { since, max, .. } = self.phase {
            for tier in Tier::ALL {
                let at = since + tier.share(max);
                if turn.now >= at {
                    self.tell_all(|member| member.tier == tier, Event::Stop, turn);
                    self.tell_all(|member| member.tier == tier, Event::KillAt(at), turn);
                }
            }
        }
    }

    fn tell_all(&mut self, to: impl Fn(&Member) -> bool, event: Event, turn: &mut Turn) {
        let ids: Vec<Id> = self.members.iter().filter(|(_, member)| to(member)).map(|(id, _)| *id).collect();
        for id in ids {
            self.tell(id, event, turn);
        }
    }

    fn died(&mut self, id: Id, outcome: Outcome, turn: &mut Turn) {
        let trial = self.trial_of(id, turn.now);
        self.tell(id, Event::Died(outcome), turn);
        if let Some(service) = trial.filter(|_| self.state(id) != Some(State::Completed)) {
            self.stall(&service);
        }
    }

    pub(super) fn tell(&mut self, id: Id, event: Event, turn: &mut Turn) {
        if let Some(member) = self.members.get_mut(&id) {
            let event = match event {
                // What is to end is not started again only to be ended.
                Event::Died(_) if member.goal != Goal::Up => Event::Gone,
                event => event,
            };
            let action = member.instance.step(event, &member.rules, turn.now, turn.jitter);
            if action == Some(Action::Spawn) {
                if let Some(service) = self.plan.get(&member.service) {
                    member.rules = service.rules.clone();
                }
                // Whoever starts has what a roll would bring.
                self.rolling.iter_mut().for_each(|rolling| rolling.rest.retain(|other| *other != id));
            }
            turn.actions.extend(action.map(|action| (id, action)));
        }
    }

    pub(super) fn of(&self, service: &str) -> Vec<Id> {
        self.members.iter().filter(|(_, member)| member.service == service).map(|(id, _)| *id).collect()
    }

    /// A service that died twice is not waited for: the second time already, it waits to be started again. Nor is one
    /// that waits for what has settled in another way than it hopes.
    pub(super) fn has_settled(&self, member: &Member) -> bool {
        let state = member.instance.state();
        match (member.tier, state) {
            (_, State::Running { .. } | State::Completed | State::Failed | State::Stopped) => true,
            (Tier::Bus, _) => member.goal != Goal::Up,
            (Tier::Log | Tier::Service, State::Pending) => self.blocker(member).is_some_and(|(name, _)| {
                let mut others = self.members.values().filter(|other| other.service == name);
                // Instances that are pending wait for the same: one of them speaks for all, or the question would be
                // asked again at each level for each of them.
                let pending = others.clone().find(|other| other.instance.state() == State::Pending);
                others.all(|other| other.instance.state() == State::Pending || self.has_settled(other))
                    && pending.is_none_or(|other| self.has_settled(other))
            }),
            (Tier::Log | Tier::Service, State::Quarantined { .. }) => true,
            (Tier::Log | Tier::Service, State::Starting { .. } | State::Waiting { .. } | State::Stopping { .. }) => {
                member.instance.deaths() > 1
            }
        }
    }
}

impl Member {
    fn has_process(&self) -> bool {
        self.instance.state().has_process()
    }

    /// Whether others may still need it: a process that was told to end is lost to them already.
    fn serves(&self) -> bool {
        matches!(self.instance.state(), State::Starting { .. } | State::Running { .. })
    }

    /// Whether it rests, or will rest when its process is gone.
    fn is_ending(&self) -> bool {
        match self.instance.state() {
            State::Stopping { next, .. } => next == Next::Rest,
            State::Stopped | State::Completed | State::Failed => true,
            State::Pending
            | State::Starting { .. }
            | State::Running { .. }
            | State::Waiting { .. }
            | State::Quarantined { .. } => false,
        }
    }

    /// Whether a common deadline still has something to end here.
    fn lives_on(&self, tier: Tier) -> bool {
        self.tier == tier
            && match self.instance.state() {
                State::Stopping { kill_at, .. } => kill_at.is_some(),
                state => state.has_process(),
            }
    }
}

/// One step's time, luck, and what is to be done.
pub(super) struct Turn {
    pub(super) now: Instant,
    pub(super) jitter: Jitter,
    pub(super) actions: Vec<(Id, Action)>,
}
