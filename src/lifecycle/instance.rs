//! One instance of a service: its states, what may happen to it, and what is then to be done.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::restart::{Jitter, Outcome, Record, Restart, Verdict, WAIT_MAX};

/// The rules of one instance's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Whether and when it is started again.
    pub restart: Restart,
    /// Whether its process is ready as soon as it runs, which says little about it.
    #[serde(default)]
    pub ready_at_once: bool,
    /// How long its process may take to be ready; `None` is for ever.
    pub ready_max: Option<Duration>,
    /// How long a ready process may say nothing; `None` asks for no signs of life.
    pub watchdog: Option<Duration>,
    /// From being told to end to being killed.
    pub stop_max: Duration,
}

/// Where an instance is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// To be started when what it comes after is there.
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
        /// When it last gave a sign of life.
        heard: Instant,
    },
    /// It died, and waits for its next start.
    Waiting {
        /// When that start is due.
        until: Instant,
    },
    /// It spent its restarts, and rests.
    Quarantined {
        /// When it is tried once more.
        until: Instant,
    },
    /// Its process was told to end.
    Stopping {
        /// When it is killed; `None` when it was.
        kill_at: Option<Instant>,
        /// What comes then.
        next: Next,
    },
    /// It has no process, by order.
    Stopped,
    /// Its process ended well, and is not started again.
    Completed,
    /// Its process ended, and is not started again.
    Failed,
}

/// What follows an end that was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// Nothing.
    Rest,
    /// A new process, at once.
    Start,
    /// What follows a failure: it was told to end because it hung.
    Judgement,
}

/// What may happen to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its process is to be started now.
    Start,
    /// Its process says that it is ready.
    Ready,
    /// Its process gave a sign of life.
    Alive,
    /// Its process was found to have hung.
    Hung,
    /// Nobody ran for a time: its silence until now says nothing.
    Paused,
    /// Its process ended, or could not be started.
    Died(Outcome),
    /// Its process ended, and none is to follow.
    Gone,
    /// Time has passed: something may be due.
    Tick,
    /// It is to end in order.
    Stop,
    /// It is to end in order, and to be started at once then.
    Restart,
    /// It is to end by that time, which may be past.
    KillAt(Instant),
}

/// What is to be done for an instance. The world tells the outcome by an [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start its process; if that fails, say [`Event::Died`].
    Spawn,
    /// Ask its process to end.
    Terminate,
    /// Have its process end with a trace of where it hung.
    Abort,
    /// End its process at once.
    Kill,
}

/// An instance's state, with its memory of deaths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    pub(super) state: State,
    pub(super) record: Record,
}

impl State {
    /// The state's name, as users read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Starting { .. } => "starting",
            Self::Running { .. } => "running",
            Self::Waiting { .. } => "waiting",
            Self::Quarantined { .. } => "quarantined",
            Self::Stopping { .. } => "stopping",
            Self::Stopped => "stopped",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }

    /// Whether it has a process.
    pub fn has_process(self) -> bool {
        match self {
            Self::Starting { .. } | Self::Running { .. } | Self::Stopping { .. } => true,
            Self::Pending
            | Self::Waiting { .. }
            | Self::Quarantined { .. }
            | Self::Stopped
            | Self::Completed
            | Self::Failed => false,
        }
    }

    /// Whether it has ended for good, by itself.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

impl Default for Instance {
    fn default() -> Self {
        Self { state: State::Pending, record: Record::default() }
    }
}

impl Instance {
    /// Where it is in its life.
    pub fn state(&self) -> State {
        self.state
    }

    /// Deaths in a row, none of them after a healthy life.
    pub fn deaths(&self) -> u32 {
        self.record.deaths
    }

    /// When the next [`Event::Tick`] is due; `None` while nothing waits for time.
    pub fn deadline(&self, rules: &Rules) -> Option<Instant> {
        match self.state {
            State::Starting { since } => rules.ready_max.map(|max| since + max.min(WAIT_MAX)),
            State::Running { heard, .. } => rules.watchdog.map(|max| heard + max.min(WAIT_MAX)),
            State::Waiting { until } | State::Quarantined { until } => Some(until),
            State::Stopping { kill_at, .. } => kill_at,
            State::Pending | State::Stopped | State::Completed | State::Failed => None,
        }
    }

    /// The whole life of an instance: takes its next state, answers what is to be done.
    ///
    /// What makes no sense in a state (a second `Ready`, a `Tick` too early) changes nothing.
    pub fn step(&mut self, event: Event, rules: &Rules, now: Instant, jitter: Jitter) -> Option<Action> {
        use {Event::*, State::*};
        let due = self.deadline(rules).is_some_and(|at| now >= at);
        match (self.state, event) {
            (Pending | Waiting { .. } | Quarantined { .. } | Stopped | Completed | Failed, Start) => self.spawn(now),
            (Waiting { .. } | Quarantined { .. }, Tick) if due => self.spawn(now),
            // A start by order has nothing to do with earlier deaths.
            (Pending | Waiting { .. } | Quarantined { .. } | Stopped | Completed | Failed, Restart) => {
                *self = Self::default();
                None
            }
            (Pending | Waiting { .. } | Quarantined { .. }, Stop) => self.rest(Stopped),
            (Pending | Waiting { .. } | Quarantined { .. }, KillAt(_) | Paused) => None,
            (Pending | Waiting { .. } | Quarantined { .. }, Ready | Alive | Hung | Died(_) | Gone | Tick) => None,

            (Starting { .. } | Running { .. } | Stopping { .. }, Gone) => self.rest(Stopped),
            (Starting { since }, Ready) => self.rest(Running { since, heard: now }),
            (Running { since, .. }, Alive | Paused) => self.rest(Running { since, heard: now }),
            (Starting { .. }, Paused) => self.rest(Starting { since: now }),
            // It never became ready, so this was no healthy life, however long it lasted.
            (Starting { .. }, Died(outcome)) => self.judge(outcome, None, rules, now, jitter),
            (Running { since, .. }, Died(outcome)) => {
                self.judge(outcome, Some(now.saturating_duration_since(since)), rules, now, jitter)
            }
            (Starting { .. }, Tick) if due => self.end(Action::Terminate, Next::Judgement, rules, now),
            (Running { .. }, Tick) if due => self.end(Action::Abort, Next::Judgement, rules, now),
            (Running { .. }, Hung) => self.end(Action::Abort, Next::Judgement, rules, now),
            (Starting { .. } | Running { .. }, Stop) => self.end(Action::Terminate, Next::Rest, rules, now),
            (Starting { .. } | Running { .. }, Restart) => self.end(Action::Terminate, Next::Start, rules, now),
            (Starting { .. }, Start | Alive | Hung | Tick | KillAt(_)) => None,
            (Running { .. }, Start | Ready | Tick | KillAt(_)) => None,

            (Stopping { next: Next::Rest, .. }, Died(_)) => self.rest(Stopped),
            (Stopping { next: Next::Start, .. }, Died(_)) => {
                self.record = Record::default();
                self.spawn(now)
            }
            (Stopping { next: Next::Judgement, .. }, Died(_)) => self.judge(Outcome::Failure, None, rules, now, jitter),
            (Stopping { next, .. }, Tick) if due => self.kill(next),
            (Stopping { kill_at, .. }, Stop) => self.rest(Stopping { kill_at, next: Next::Rest }),
            (Stopping { kill_at, .. }, Restart) => self.rest(Stopping { kill_at, next: Next::Start }),
            (Stopping { kill_at: Some(_), next }, KillAt(at)) if at <= now => self.kill(next),
            (Stopping { kill_at: Some(before), next }, KillAt(at)) => {
                self.rest(Stopping { kill_at: Some(before.min(at)), next })
            }
            (Stopping { .. }, Start | Ready | Alive | Hung | Paused | Tick | KillAt(_)) => None,

            (Stopped | Completed | Failed, Stop | KillAt(_)) => None,
            (Stopped | Completed | Failed, Ready | Alive | Hung | Paused | Died(_) | Gone | Tick) => None,
        }
    }

    fn rest(&mut self, state: State) -> Option<Action> {
        self.state = state;
        None
    }

    fn spawn(&mut self, now: Instant) -> Option<Action> {
        self.state = State::Starting { since: now };
        Some(Action::Spawn)
    }

    fn kill(&mut self, next: Next) -> Option<Action> {
        self.state = State::Stopping { kill_at: None, next };
        Some(Action::Kill)
    }

    fn end(&mut self, how: Action, next: Next, rules: &Rules, now: Instant) -> Option<Action> {
        self.state = State::Stopping { kill_at: Some(now + rules.stop_max.min(WAIT_MAX)), next };
        Some(how)
    }

    fn judge(
        &mut self,
        outcome: Outcome,
        lived: Option<Duration>,
        rules: &Rules,
        now: Instant,
        jitter: Jitter,
    ) -> Option<Action> {
        match self.record.judge(&rules.restart, outcome, lived, now, jitter) {
            Verdict::StartNow => self.spawn(now),
            Verdict::StartAt(until) => self.rest(State::Waiting { until }),
            Verdict::Quarantine { until } => self.rest(State::Quarantined { until }),
            Verdict::Completed => self.rest(State::Completed),
            Verdict::Failed => self.rest(State::Failed),
        }
    }
}
