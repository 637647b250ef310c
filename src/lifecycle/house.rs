//! All instances together: the order of start and stop, and the deadlines.
//!
//! Start: the bus, then the services. Stop: the services, all at once, then the bus, so that what a service still has
//! to say is carried. The services have three quarters of the time of a stop; the last quarter is the bus's own, so
//! that a service which refuses to end does not cost the bus its orderly end. A second order to stop kills at once.

use std::time::{Duration, Instant};

use super::restart::{Jitter, Policy};
use super::service::{Action, Event, Service, State, step};

/// An instance's place in the house: its index in the order given to [`House::new`].
pub type Id = usize;

/// What an instance is to the house.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// A bus worker: starts first, ends last.
    Bus,
    /// Anything else.
    Service,
}

/// What may happen in the house.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HouseEvent {
    /// Everything is to be started.
    Start,
    /// An instance's process is ready.
    Ready(Id),
    /// An instance's process ended, or could not be started.
    Died(Id),
    /// Time has passed; see [`House::deadline`].
    Tick,
    /// Everything is to end in order; told again: at once.
    Stop,
}

/// How the house is, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The bus does not serve yet, or it is still open how a service's start ends.
    Starting,
    /// Everything runs.
    Running,
    /// Something that should run does not.
    Degraded,
    /// An orderly stop is under way.
    Stopping,
    /// Nothing runs, and nothing is started again.
    Down,
}

impl Condition {
    /// The condition's name, as users read it.
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

/// The instances of a configuration, and how far their common life is.
#[derive(Clone, Debug)]
pub struct House {
    members: Vec<(Tier, Service)>,
    phase: Phase,
    policy: Policy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Up { settled: bool },
    StoppingServices { kill_services_at: Option<Instant>, kill_all_at: Instant },
    StoppingBus { kill_all_at: Instant },
    Killing,
    Down,
}

impl House {
    /// A house in which nothing was started yet.
    pub fn new(tiers: impl IntoIterator<Item = Tier>, policy: Policy) -> Self {
        let members = tiers.into_iter().map(|tier| (tier, Service::NEW)).collect();
        Self { members, phase: Phase::Up { settled: false }, policy }
    }

    /// An instance's present state.
    pub fn state(&self, id: Id) -> State {
        self.members[id].1.state
    }

    /// How the house is.
    pub fn condition(&self) -> Condition {
        match self.phase {
            Phase::Up { .. } if self.all_running() => Condition::Running,
            Phase::Up { settled: true } => Condition::Degraded,
            Phase::Up { settled: false } => Condition::Starting,
            Phase::StoppingServices { .. } | Phase::StoppingBus { .. } | Phase::Killing => Condition::Stopping,
            Phase::Down => Condition::Down,
        }
    }

    /// Whether the start is over: the bus has been running, and every service beside it was running or had shown that a
    /// restart at once does not help. A service that cannot start must not hide that the bus serves.
    pub fn settled(&self) -> bool {
        self.phase == (Phase::Up { settled: true })
    }

    /// When to send the next [`HouseEvent::Tick`]; `None` while nothing waits for time.
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Up { .. } => self.members.iter().filter_map(|(_, service)| due(service)).min(),
            Phase::StoppingServices { kill_services_at, kill_all_at } => Some(kill_services_at.unwrap_or(kill_all_at)),
            Phase::StoppingBus { kill_all_at } => Some(kill_all_at),
            Phase::Killing | Phase::Down => None,
        }
    }

    /// Takes an event; answers what is to be done, in this order.
    pub fn step(&mut self, event: HouseEvent, now: Instant, jitter: Jitter) -> Vec<(Id, Action)> {
        let mut actions = Vec::new();
        match (self.phase, event) {
            (Phase::Up { .. }, HouseEvent::Start) => {
                self.tell(Some(Tier::Bus), Event::Start, now, jitter, &mut actions);
                self.tell(Some(Tier::Service), Event::Start, now, jitter, &mut actions);
            }
            (_, HouseEvent::Start) => {}

            (_, HouseEvent::Ready(id)) => self.tell_one(id, Event::Ready, now, jitter, &mut actions),
            (_, HouseEvent::Died(id)) => self.tell_one(id, Event::Died, now, jitter, &mut actions),

            (Phase::Up { .. }, HouseEvent::Stop) => {
                let all = self.policy.stop_max.min(STOP_MAX);
                let (kill_services_at, kill_all_at) = (Some(now + all / 4 * 3), now + all);
                self.phase = Phase::StoppingServices { kill_services_at, kill_all_at };
                self.tell(Some(Tier::Service), Event::Stop, now, jitter, &mut actions);
            }
            (Phase::StoppingServices { .. } | Phase::StoppingBus { .. } | Phase::Killing, HouseEvent::Stop) => {
                self.phase = Phase::Killing;
                self.tell(None, Event::Kill, now, jitter, &mut actions);
            }
            (Phase::Down, HouseEvent::Stop) => {}

            (Phase::Up { .. }, HouseEvent::Tick) => self.tell(None, Event::Tick, now, jitter, &mut actions),
            (Phase::StoppingServices { kill_all_at, .. } | Phase::StoppingBus { kill_all_at }, HouseEvent::Tick)
                if now >= kill_all_at =>
            {
                self.phase = Phase::Killing;
                self.tell(None, Event::Kill, now, jitter, &mut actions);
            }
            (Phase::StoppingServices { kill_services_at: Some(at), kill_all_at }, HouseEvent::Tick) if now >= at => {
                self.phase = Phase::StoppingServices { kill_services_at: None, kill_all_at };
                self.tell(Some(Tier::Service), Event::Kill, now, jitter, &mut actions);
            }
            (
                Phase::StoppingServices { .. } | Phase::StoppingBus { .. } | Phase::Killing | Phase::Down,
                HouseEvent::Tick,
            ) => {}
        }
        self.advance(now, jitter, &mut actions);
        actions
    }

    /// Enters the phases that only wait for instances to be ready or gone.
    fn advance(&mut self, now: Instant, jitter: Jitter, actions: &mut Vec<(Id, Action)>) {
        if self.phase == (Phase::Up { settled: false }) && self.members.iter().all(has_settled) {
            self.phase = Phase::Up { settled: true };
        }
        if let Phase::StoppingServices { kill_all_at, .. } = self.phase
            && self.stopped(Some(Tier::Service))
        {
            self.phase = Phase::StoppingBus { kill_all_at };
            self.tell(Some(Tier::Bus), Event::Stop, now, jitter, actions);
        }
        if matches!(self.phase, Phase::StoppingBus { .. } | Phase::Killing) && self.stopped(None) {
            self.phase = Phase::Down;
        }
    }

    fn tell(
        &mut self,
        tier: Option<Tier>,
        event: Event,
        now: Instant,
        jitter: Jitter,
        actions: &mut Vec<(Id, Action)>,
    ) {
        for id in 0..self.members.len() {
            if tier.is_none_or(|tier| tier == self.members[id].0) {
                self.tell_one(id, event, now, jitter, actions);
            }
        }
    }

    fn tell_one(&mut self, id: Id, event: Event, now: Instant, jitter: Jitter, actions: &mut Vec<(Id, Action)>) {
        let (service, action) = step(self.members[id].1, event, &self.policy, now, jitter);
        self.members[id].1 = service;
        actions.extend(action.map(|action| (id, action)));
    }

    fn all_running(&self) -> bool {
        self.members.iter().all(|(_, service)| is_running(service))
    }

    fn stopped(&self, tier: Option<Tier>) -> bool {
        let of_tier = |member: &&(Tier, Service)| tier.is_none_or(|tier| tier == member.0);
        self.members.iter().filter(of_tier).all(|(_, service)| service.state == State::Stopped)
    }
}

/// No stop takes longer than this, whatever the policy says: adding it to an instant cannot overflow.
const STOP_MAX: Duration = Duration::from_secs(60 * 60);

/// A service that died twice is not waited for: the second time already, it waits to be started again.
fn has_settled((tier, service): &(Tier, Service)) -> bool {
    match tier {
        Tier::Bus => is_running(service),
        Tier::Service => is_running(service) || service.deaths > 1,
    }
}

fn is_running(service: &Service) -> bool {
    matches!(service.state, State::Running { .. })
}

fn due(service: &Service) -> Option<Instant> {
    match service.state {
        State::Waiting { until } => Some(until),
        State::Pending | State::Starting { .. } | State::Running { .. } | State::Stopping | State::Stopped => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: Policy = Policy {
        healthy_after: Duration::from_millis(1_000),
        backoff_min: Duration::from_millis(100),
        backoff_max: Duration::from_millis(1_500),
        stop_max: Duration::from_millis(8_000),
    };
    const BUS: Id = 0;
    const HELLO: Id = 1;

    /// A house on a virtual clock, with a bus worker first and services after it.
    struct Sim {
        house: House,
        now: Instant,
        alive: Vec<bool>,
    }

    impl Sim {
        fn begin(services: usize) -> Self {
            let tiers = std::iter::once(Tier::Bus).chain(std::iter::repeat_n(Tier::Service, services));
            let mut sim =
                Self { house: House::new(tiers, POLICY), now: Instant::now(), alive: vec![false; services + 1] };
            sim.after(0, HouseEvent::Start);
            sim
        }

        fn up(services: usize) -> Self {
            let mut sim = Self::begin(services);
            for id in 0..=services {
                assert_eq!(sim.house.condition(), Condition::Starting);
                sim.after(1, HouseEvent::Ready(id));
            }
            sim
        }

        fn after(&mut self, ms: u64, event: HouseEvent) -> Vec<(Id, Action)> {
            self.now += Duration::from_millis(ms);
            if let HouseEvent::Died(id) = event {
                self.alive[id] = false;
            }
            let actions = self.house.step(event, self.now, 0);
            for (id, action) in &actions {
                match action {
                    Action::Spawn => self.alive[*id] = true,
                    Action::Terminate | Action::Kill => assert!(self.alive[*id], "a signal to nobody"),
                }
            }
            actions
        }
    }

    #[test]
    fn the_bus_is_started_before_the_services() {
        let mut house = House::new([Tier::Service, Tier::Bus, Tier::Service], POLICY);
        let order: Vec<Id> = house.step(HouseEvent::Start, Instant::now(), 0).into_iter().map(|(id, _)| id).collect();
        assert_eq!(order, [1, 0, 2]);
    }

    #[test]
    fn the_bus_is_told_to_end_when_the_last_service_is_gone() {
        let mut sim = Sim::up(2);
        assert_eq!(sim.after(10, HouseEvent::Stop), [(1, Action::Terminate), (2, Action::Terminate)]);
        assert_eq!(sim.after(10, HouseEvent::Died(1)), []);
        assert_eq!(sim.after(10, HouseEvent::Died(2)), [(BUS, Action::Terminate)]);
        assert_eq!(sim.house.condition(), Condition::Stopping);
        sim.after(10, HouseEvent::Died(BUS));
        assert_eq!(sim.house.condition(), Condition::Down);
        assert_eq!(sim.house.deadline(), None);
    }

    #[test]
    fn a_service_that_refuses_to_end_is_killed_in_time_for_the_bus_to_end_in_order() {
        let mut sim = Sim::up(1);
        sim.after(0, HouseEvent::Stop);
        assert_eq!(sim.after(5_999, HouseEvent::Tick), []);
        assert_eq!(sim.after(1, HouseEvent::Tick), [(HELLO, Action::Kill)]);
        assert_eq!(sim.after(1, HouseEvent::Died(HELLO)), [(BUS, Action::Terminate)]);
        assert_eq!(sim.after(1_999, HouseEvent::Tick), [(BUS, Action::Kill)]);
    }

    #[test]
    fn a_second_order_to_stop_kills_everything_at_once() {
        let mut sim = Sim::up(1);
        sim.after(0, HouseEvent::Stop);
        assert_eq!(sim.after(1, HouseEvent::Stop), [(BUS, Action::Kill), (HELLO, Action::Kill)]);
        sim.after(1, HouseEvent::Died(BUS));
        sim.after(1, HouseEvent::Died(HELLO));
        assert_eq!(sim.house.condition(), Condition::Down);
    }

    #[test]
    fn nothing_asks_for_time_while_everything_runs() {
        let mut sim = Sim::up(2);
        assert_eq!((sim.house.condition(), sim.house.deadline()), (Condition::Running, None));
        sim.after(10, HouseEvent::Died(HELLO));
        sim.after(10, HouseEvent::Died(HELLO));
        assert_eq!(sim.house.condition(), Condition::Degraded);
        assert_eq!(sim.house.deadline(), Some(sim.now + POLICY.backoff_min));
    }

    #[test]
    fn a_service_that_cannot_start_leaves_the_house_degraded_once_the_bus_runs() {
        let mut sim = Sim::begin(2);
        sim.after(0, HouseEvent::Died(HELLO));
        sim.after(0, HouseEvent::Died(HELLO));
        sim.after(1, HouseEvent::Ready(2));
        assert_eq!((sim.house.condition(), sim.house.settled()), (Condition::Starting, false));
        sim.after(1, HouseEvent::Ready(BUS));
        assert_eq!((sim.house.condition(), sim.house.settled()), (Condition::Degraded, true));
        sim.after(100, HouseEvent::Tick);
        assert_eq!((sim.house.condition(), sim.house.settled()), (Condition::Degraded, true));
        sim.after(1, HouseEvent::Ready(HELLO));
        assert_eq!((sim.house.condition(), sim.house.settled()), (Condition::Running, true));
    }

    #[test]
    fn a_service_that_died_once_is_still_waited_for() {
        let mut sim = Sim::begin(1);
        sim.after(1, HouseEvent::Ready(BUS));
        sim.after(0, HouseEvent::Died(HELLO));
        assert_eq!((sim.house.condition(), sim.house.settled()), (Condition::Starting, false));
        sim.after(1, HouseEvent::Ready(HELLO));
        assert_eq!((sim.house.condition(), sim.house.settled()), (Condition::Running, true));
    }

    proptest! {
        #[test]
        fn whatever_happened_before_a_stop_ends_everything_by_its_deadline(
            before in proptest::collection::vec((0u64..1_500, 0usize..3, 0u8..3), 0..40),
            // How long after each signal a process lives on; most of them obey, some only die by the kill.
            obeys_after in proptest::collection::vec(proptest::option::of(0u64..9_000), 3),
        ) {
            let mut sim = Sim::up(2);
            for (ms, id, what) in before {
                match what {
                    0 if sim.alive[id] => sim.after(ms, HouseEvent::Died(id)),
                    1 if sim.alive[id] => sim.after(ms, HouseEvent::Ready(id)),
                    _ => sim.after(ms, HouseEvent::Tick),
                };
            }
            let asked = sim.now;
            let mut ends: Vec<Option<Instant>> = vec![None; 3];
            let mut event = HouseEvent::Stop;
            loop {
                for (id, action) in sim.after(0, event) {
                    match action {
                        Action::Spawn => prop_assert!(false, "started during a stop"),
                        Action::Terminate => {
                            prop_assert!(id != BUS || !(sim.alive[1] || sim.alive[2]), "the bus ended too early");
                            ends[id] = obeys_after[id].map(|ms| sim.now + Duration::from_millis(ms));
                        }
                        Action::Kill => ends[id] = Some(sim.now),
                    }
                }
                let dying = (0..3).filter(|&id| sim.alive[id]).filter_map(|id| Some((ends[id]?, id))).min();
                (sim.now, event) = match (dying, sim.house.deadline()) {
                    (Some((at, id)), deadline) if deadline.is_none_or(|deadline| at <= deadline) => {
                        (at, HouseEvent::Died(id))
                    }
                    (_, Some(deadline)) => (deadline, HouseEvent::Tick),
                    (_, None) => break,
                };
            }
            prop_assert_eq!(sim.house.condition(), Condition::Down);
            prop_assert!(!sim.alive.contains(&true));
            prop_assert!(sim.now - asked <= POLICY.stop_max);
        }
    }
}
