//! The restart rule: whether what ended is started again, and how long it waits before.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Sixteen random bits, drawn by the caller.
pub type Jitter = u16;

/// No time of a policy is taken for longer than this: adding it to an instant cannot overflow.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// When and how fast what ended is started again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// Which ends are followed by a start.
    pub when: When,
    /// A life of at least this length makes earlier deaths forgotten.
    pub healthy_after: Duration,
    /// The wait before the second restart in a row; it doubles with each further one. The first is immediate.
    pub backoff_min: Duration,
    /// The longest wait before a restart.
    pub backoff_max: Duration,
    /// How many restarts there may be in a sliding window; `None` is no limit.
    pub limit: Option<Limit>,
    /// What follows when the limit is reached.
    pub then: Then,
}

/// Which ends are followed by a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Every one.
    Always,
    /// Those that the service's own list does not call a success.
    OnFailure,
    /// None: a task that runs once.
    Never,
}

/// A budget of restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Restarts in any window.
    pub restarts: u32,
    /// The window's length.
    pub window: Duration,
}

/// What follows when the budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// It rests for this long and is then tried once: a life that is not healthy ends in the next rest.
    Quarantine(Duration),
    /// It has failed for good.
    Fail,
}

/// How a process ended that nobody had told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As its service calls a success.
    Success,
    /// Any other way, or it could not be started.
    Failure,
}

/// What is to follow an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    StartNow,
    StartAt(Instant),
    Quarantine { until: Instant },
    Completed,
    Failed,
}

/// An instance's memory of its ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// Deaths in a row, none of them after a healthy life.
    pub(super) deaths: u32,
    /// Restarts in the limit's window, the oldest first; never more than the limit.
    pub(super) recent: VecDeque<Instant>,
    /// It was quarantined, and has not lived healthily since.
    pub(super) probation: bool,
}

impl Record {
    /// Takes note of an end; `lived` is the healthy time of that life, nothing if it never became ready.
    pub(super) fn judge(
        &mut self,
        rule: &Restart,
        outcome: Outcome,
        lived: Option<Duration>,
        now: Instant,
        jitter: Jitter,
    ) -> Verdict {
        match (rule.when, outcome) {
            (When::OnFailure | When::Never, Outcome::Success) => return Verdict::Completed,
            (When::Never, Outcome::Failure) => return Verdict::Failed,
            (When::Always, _) | (When::OnFailure, Outcome::Failure) => {}
        }
        if lived.is_some_and(|lived| lived >= rule.healthy_after) {
            (self.deaths, self.probation) = (0, false);
        }
        self.deaths = self.deaths.saturating_add(1);
        if self.probation || !self.afford(rule.limit, now) {
            return match rule.then {
                Then::Fail => Verdict::Failed,
                Then::Quarantine(rest) => {
                    *self = Self { deaths: self.deaths, recent: VecDeque::new(), probation: true };
                    Verdict::Quarantine { until: now + rest.min(WAIT_MAX) }
                }
            };
        }
        match rule.wait_after(self.deaths, jitter) {
            None => Verdict::StartNow,
            Some(wait) => Verdict::StartAt(now + wait),
        }
    }

    /// Spends one restart of the budget, if there is one left.
    fn afford(&mut self, limit: Option<Limit>, now: Instant) -> bool {
        let Some(Limit { restarts, window }) = limit else { return true };
        self.recent.retain(|then| now.saturating_duration_since(*then) < window);
        if self.recent.len() >= restarts as usize {
            return false;
        }
        self.recent.push_back(now);
        true
    }
}

impl Restart {
    /// The wait after `deaths` deaths in a row: `None` (at once) after the first, then exponential.
    ///
    /// The jitter takes away up to a quarter, so that services which died together do not return together, and the
    /// cap holds all the same.
    fn wait_after(&self, deaths: u32, jitter: Jitter) -> Option<Duration> {
        let doublings = deaths.checked_sub(2)?;
        let full = self.backoff_min.saturating_mul(2u32.saturating_pow(doublings));
        let capped = full.min(self.backoff_max).min(WAIT_MAX);
        Some(capped - capped / 4 / (u32::from(Jitter::MAX) + 1) * u32::from(jitter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Restart = Restart {
        when: When::Always,
        healthy_after: Duration::from_secs(1),
        backoff_min: Duration::from_millis(100),
        backoff_max: Duration::from_secs(30),
        limit: None,
        then: Then::Quarantine(Duration::from_secs(60)),
    };
    const LIMITED: Restart = Restart { limit: Some(Limit { restarts: 3, window: Duration::from_secs(10) }), ..RULE };

    #[test]
    fn the_first_restart_is_immediate_and_the_following_waits_double_up_to_the_cap() {
        assert_eq!(RULE.wait_after(1, 0), None);
        let waits: Vec<u128> = (2..=12).map(|deaths| RULE.wait_after(deaths, 0).unwrap().as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000]);
        assert_eq!(RULE.wait_after(u32::MAX, 0), Some(Duration::from_secs(30)));
    }

    #[test]
    fn jitter_takes_away_at_most_a_quarter() {
        let shortest = RULE.wait_after(2, Jitter::MAX).unwrap();
        assert!(shortest >= Duration::from_millis(75) && shortest < Duration::from_millis(76), "{shortest:?}");
    }

    #[test]
    fn an_absurd_rule_is_still_bounded() {
        let absurd = Restart { backoff_min: Duration::MAX, backoff_max: Duration::MAX, ..RULE };
        assert_eq!(absurd.wait_after(7, 0), Some(WAIT_MAX));
    }

    #[test]
    fn what_ended_well_is_started_again_only_by_the_rule_always() {
        let verdict =
            |when, outcome| Record::default().judge(&Restart { when, ..RULE }, outcome, None, Instant::now(), 0);
        assert_eq!(verdict(When::Always, Outcome::Success), Verdict::StartNow);
        assert_eq!(verdict(When::OnFailure, Outcome::Success), Verdict::Completed);
        assert_eq!(verdict(When::OnFailure, Outcome::Failure), Verdict::StartNow);
        assert_eq!(verdict(When::Never, Outcome::Success), Verdict::Completed);
        assert_eq!(verdict(When::Never, Outcome::Failure), Verdict::Failed);
    }

    #[test]
    fn a_spent_budget_is_followed_by_quarantine_and_half_open_tries() {
        let (mut record, start) = (Record::default(), Instant::now());
        let mut die = |lived_s: u64, at_s: u64| {
            let lived = Some(Duration::from_secs(lived_s));
            record.judge(&LIMITED, Outcome::Failure, lived, start + Duration::from_secs(at_s), 0)
        };
        for at_s in 0..3 {
            assert_eq!(die(2, at_s), Verdict::StartNow);
        }
        assert_eq!(die(2, 3), Verdict::Quarantine { until: start + Duration::from_secs(63) });
        assert_eq!(die(0, 64), Verdict::Quarantine { until: start + Duration::from_secs(124) }, "the one try failed");
        assert_eq!(die(2, 130), Verdict::StartNow, "a healthy life has a new budget");
    }

    #[test]
    fn the_budget_slides_with_its_window() {
        let (mut record, start) = (Record::default(), Instant::now());
        for at_s in (0..100).step_by(4) {
            let verdict = record.judge(
                &LIMITED,
                Outcome::Failure,
                Some(Duration::from_secs(2)),
                start + Duration::from_secs(at_s),
                0,
            );
            assert_eq!(verdict, Verdict::StartNow, "at {at_s} s");
        }
    }

    #[test]
    fn a_budget_may_end_in_failure() {
        let rule =
            Restart { limit: Some(Limit { restarts: 0, window: Duration::from_secs(1) }), then: Then::Fail, ..RULE };
        assert_eq!(Record::default().judge(&rule, Outcome::Failure, None, Instant::now(), 0), Verdict::Failed);
    }
}
