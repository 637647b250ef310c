//! Hangups (SIGHUP) that ask for a reload: the first is heeded at once, and of a storm of them few, the last one included.

use std::time::{Duration, Instant};

/// How far reloads by signal are apart at least.
const REST: Duration = Duration::from_millis(250);

/// The hangups that nobody has heeded yet.
#[derive(Debug, Default)]
pub(super) struct Hangups {
    due: Option<Instant>,
    last: Option<Instant>,
}

impl Hangups {
    /// One has come.
    pub(super) fn note(&mut self, now: Instant) {
        let earliest = self.last.map_or(now, |last| now.max(last + REST));
        self.due.get_or_insert(earliest);
    }

    /// When they are to be heeded; `None` when there are none.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// All that have come are heeded now.
    pub(super) fn done(&mut self, now: Instant) {
        *self = Self { due: None, last: Some(now) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_heeded_at_once_and_a_storm_four_times_a_second_and_after_its_end() {
        let begin = Instant::now();
        let mut hangups = Hangups::default();
        let mut heeded = Vec::new();
        for ms in 0..3_000 {
            let now = begin + Duration::from_millis(ms);
            if ms <= 1_000 {
                hangups.note(now);
            }
            if hangups.due().is_some_and(|due| due <= now) {
                hangups.done(now);
                heeded.push(ms);
            }
        }
        assert_eq!(heeded, [0, 250, 500, 750, 1_000]);
        hangups.note(begin + Duration::from_millis(1_001));
        assert_eq!(hangups.due(), Some(begin + Duration::from_millis(1_250)));
    }
}
