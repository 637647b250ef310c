//! The restart rule: how long a service that died waits before it is started again.

use std::time::Duration;

/// Sixteen random bits, drawn by the caller.
pub type Jitter = u16;

/// No wait is longer than this, whatever the policy says: adding it to an instant cannot overflow.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// When and how fast what died is started again, and how long a stop may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// A life of at least this length makes earlier deaths forgotten.
    pub healthy_after: Duration,
    /// The wait before the second restart in a row; it doubles with each further one. The first is immediate.
    pub backoff_min: Duration,
    /// The longest wait before a restart.
    pub backoff_max: Duration,
    /// The whole time of an orderly stop; what still lives then is killed.
    pub stop_max: Duration,
}

impl Policy {
    /// The wait after `deaths` deaths in a row: `None` (at once) after the first, then exponential.
    ///
    /// The jitter takes away up to a quarter, so that services which died together do not return together, and the
    /// cap holds all the same.
    pub(super) fn wait_after(&self, deaths: u32, jitter: Jitter) -> Option<Duration> {
        let doublings = deaths.checked_sub(2)?;
        let full = self.backoff_min.saturating_mul(2u32.saturating_pow(doublings));
        let capped = full.min(self.backoff_max).min(WAIT_MAX);
        Some(capped - capped / 4 / (u32::from(Jitter::MAX) + 1) * u32::from(jitter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        healthy_after: Duration::from_secs(1),
        backoff_min: Duration::from_millis(100),
        backoff_max: Duration::from_secs(30),
        stop_max: Duration::from_secs(8),
    };

    #[test]
    fn the_first_restart_is_immediate_and_the_following_waits_double_up_to_the_cap() {
        assert_eq!(POLICY.wait_after(1, 0), None);
        let waits: Vec<u128> = (2..=12).map(|deaths| POLICY.wait_after(deaths, 0).unwrap().as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000]);
        assert_eq!(POLICY.wait_after(u32::MAX, 0), Some(Duration::from_secs(30)));
    }

    #[test]
    fn jitter_takes_away_at_most_a_quarter() {
        let shortest = POLICY.wait_after(2, Jitter::MAX).unwrap();
        assert!(shortest >= Duration::from_millis(75) && shortest < Duration::from_millis(76), "{shortest:?}");
    }

    #[test]
    fn an_absurd_policy_is_still_bounded() {
        let absurd = Policy { backoff_min: Duration::MAX, backoff_max: Duration::MAX, ..POLICY };
        assert_eq!(absurd.wait_after(7, 0), Some(WAIT_MAX));
    }
}
