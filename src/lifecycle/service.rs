//! One instance of a service: its states, what may happen to it, and what is then to be done.

use std::time::Instant;

use super::restart::{Jitter, Policy};

/// Where an instance is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Never started yet.
    Pending,
    /// Its process runs and has not said that it is ready.
    Starting {
        /// When the process was started.
        since: Instant,
    },
    /// Its process is ready.
    Running {
        /// When the process was started.
        since: Instant,
    },
    /// It died, and waits for its next start.
    Waiting {
        /// When that start is due.
        until: Instant,
    },
    /// Its process was told to end.
    Stopping,
    /// It has no process, and gets none again.
    Stopped,
}

/// What may happen to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is to be started for the first time.
    Start,
    /// Its process says that it is ready.
    Ready,
    /// Its process ended, or could not be started.
    Died,
    /// Time has passed: what waited may be due.
    Tick,
    /// It is to end in order.
    Stop,
    /// It is to end now.
    Kill,
}

/// What is to be done for an instance. The world tells the outcome by an [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start its process; if that fails, say [`Event::Died`].
    Spawn,
    /// Ask its process to end.
    Terminate,
    /// End its process at once.
    Kill,
}

/// An instance's state, with its memory of deaths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// Where it is in its life.
    pub state: State,
    /// Deaths in a row, none of them after a healthy life.
    pub deaths: u32,
}

impl Service {
    /// An instance that was never started.
    pub const NEW: Self = Self { state: State::Pending, deaths: 0 };

    fn to(self, state: State) -> Self {
        Self { state, ..self }
    }
}

impl State {
    /// The state's name, as users read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Starting { .. } => "starting",
            Self::Running { .. } => "running",
            Self::Waiting { .. } => "waiting",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

/// The whole life of an instance: its next state, and what is to be done.
///
/// What makes no sense in a state (a second `Ready`, a `Tick` too early) changes nothing.
pub fn step(
    service: Service,
    event: Event,
    policy: &Policy,
    now: Instant,
    jitter: Jitter,
) -> (Service, Option<Action>) {
    use {Action::*, Event::*, State::*};
    match (service.state, event) {
        (Pending, Start) => (service.to(Starting { since: now }), Some(Spawn)),
        (Pending, Stop | Event::Kill) => (service.to(Stopped), None),
        (Pending, Ready | Died | Tick) => (service, None),

        (Starting { since }, Ready) => (service.to(Running { since }), None),
        // It never became ready, so this was no healthy life, however long it lasted.
        (Starting { .. }, Died) => after_death(service.deaths, policy, now, jitter),
        (Running { since }, Died) => {
            let healthy = now.saturating_duration_since(since) >= policy.healthy_after;
            after_death(if healthy { 0 } else { service.deaths }, policy, now, jitter)
        }
        (Starting { .. } | Running { .. }, Stop) => (service.to(Stopping), Some(Terminate)),
        (Starting { .. } | Running { .. }, Event::Kill) => (service.to(Stopping), Some(Action::Kill)),
        (Starting { .. }, Start | Tick) | (Running { .. }, Start | Ready | Tick) => (service, None),

        (Waiting { until }, Tick) if now >= until => (service.to(Starting { since: now }), Some(Spawn)),
        (Waiting { .. }, Stop | Event::Kill) => (service.to(Stopped), None),
        (Waiting { .. }, Start | Ready | Died | Tick) => (service, None),

        (Stopping, Died) => (service.to(Stopped), None),
        (Stopping, Event::Kill) => (service, Some(Action::Kill)),
        (Stopping, Start | Ready | Tick | Stop) => (service, None),

        (Stopped, Start | Ready | Died | Tick | Stop | Event::Kill) => (service, None),
    }
}

fn after_death(earlier: u32, policy: &Policy, now: Instant, jitter: Jitter) -> (Service, Option<Action>) {
    let deaths = earlier.saturating_add(1);
    match policy.wait_after(deaths, jitter) {
        None => (Service { state: State::Starting { since: now }, deaths }, Some(Action::Spawn)),
        Some(wait) => (Service { state: State::Waiting { until: now + wait }, deaths }, None),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const POLICY: Policy = Policy {
        healthy_after: Duration::from_millis(1_000),
        backoff_min: Duration::from_millis(100),
        backoff_max: Duration::from_millis(1_500),
        stop_max: Duration::from_millis(8_000),
    };

    /// An instance and a virtual clock; it remembers whether a process lives, and checks that actions fit that.
    struct Life {
        service: Service,
        now: Instant,
        alive: bool,
        told_to_end: bool,
    }

    impl Life {
        fn new() -> Self {
            Self { service: Service::NEW, now: Instant::now(), alive: false, told_to_end: false }
        }

        fn after(&mut self, ms: u64, event: Event) -> Option<Action> {
            self.now += Duration::from_millis(ms);
            if event == Event::Died {
                self.alive = false;
            }
            self.told_to_end |= matches!(event, Event::Stop | Event::Kill);
            let (service, action) = step(self.service, event, &POLICY, self.now, 0);
            self.service = service;
            match action {
                Some(Action::Spawn) => {
                    assert!(!self.alive, "a second process beside a living one");
                    assert!(!self.told_to_end, "started again after it was told to end");
                    self.alive = true;
                }
                Some(Action::Terminate | Action::Kill) => assert!(self.alive, "a signal to nobody"),
                None => {}
            }
            action
        }

        fn waits_ms(&self) -> u128 {
            match self.service.state {
                State::Waiting { until } => (until - self.now).as_millis(),
                other => panic!("not waiting but {}", other.name()),
            }
        }
    }

    #[test]
    fn the_first_death_is_followed_by_an_immediate_restart_and_the_second_by_a_wait() {
        let mut life = Life::new();
        assert_eq!(life.after(0, Event::Start), Some(Action::Spawn));
        life.after(5, Event::Ready);
        assert_eq!(life.after(5, Event::Died), Some(Action::Spawn));
        life.after(5, Event::Ready);
        assert_eq!(life.after(5, Event::Died), None);
        assert_eq!(life.waits_ms(), 100);
        assert_eq!(life.after(99, Event::Tick), None);
        assert_eq!(life.after(1, Event::Tick), Some(Action::Spawn));
        assert_eq!(life.after(5, Event::Died), None);
        assert_eq!(life.waits_ms(), 200);
    }

    #[test]
    fn a_healthy_life_makes_earlier_deaths_forgotten() {
        let mut life = Life::new();
        life.after(0, Event::Start);
        life.after(0, Event::Died);
        life.after(0, Event::Died);
        life.after(100, Event::Tick);
        life.after(10, Event::Ready);
        assert_eq!(life.after(990, Event::Died), Some(Action::Spawn));
        assert_eq!(life.service.deaths, 1);
    }

    #[test]
    fn a_long_life_that_never_became_ready_is_not_healthy() {
        let mut life = Life::new();
        life.after(0, Event::Start);
        life.after(0, Event::Died);
        assert_eq!(life.after(60_000, Event::Died), None);
        assert_eq!(life.waits_ms(), 100);
    }

    #[test]
    fn an_instance_that_waits_is_stopped_without_a_signal() {
        let mut life = Life::new();
        life.after(0, Event::Start);
        life.after(0, Event::Died);
        life.after(0, Event::Died);
        assert_eq!(life.after(0, Event::Stop), None);
        assert_eq!(life.service.state, State::Stopped);
        assert_eq!(life.after(10_000, Event::Tick), None);
    }

    fn any_event() -> impl Strategy<Value = Event> {
        use Event::*;
        prop_oneof![
            4 => Just(Start), 8 => Just(Ready), 8 => Just(Died), 8 => Just(Tick), 1 => Just(Stop), 1 => Just(Kill)
        ]
    }

    proptest! {
        /// [`Life`] holds the rules for actions; here are those for waits and ends.
        #[test]
        fn whatever_happens_no_process_is_doubled_forgotten_or_restarted_too_fast(
            events in proptest::collection::vec((0u64..2_000, any_event()), 1..80)
        ) {
            let mut life = Life::new();
            let mut deaths_without_health = 0u32;
            for (ms, event) in events {
                if event == Event::Died && !life.alive {
                    continue;
                }
                let before = life.service.state;
                let action = life.after(ms, event);
                let healthy = matches!(before, State::Running { since }
                    if life.now - since >= POLICY.healthy_after);
                if event == Event::Died {
                    deaths_without_health = if healthy { 1 } else { deaths_without_health + 1 };
                    if !life.told_to_end {
                        prop_assert_eq!(action == Some(Action::Spawn), deaths_without_health == 1);
                    }
                }
                if let State::Waiting { until } = life.service.state {
                    prop_assert!(until - life.now <= POLICY.backoff_max);
                    prop_assert!(event != Event::Died || until - life.now >= POLICY.backoff_min);
                }
                let has_process =
                    matches!(life.service.state, State::Starting { .. } | State::Running { .. } | State::Stopping);
                prop_assert_eq!(life.alive, has_process, "in state {}", life.service.state.name());
            }
        }
    }
}
