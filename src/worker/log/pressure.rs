//! Whether the output takes what comes, and what happens if not. Pure.
//!
//! | state | what becomes of a source that has something to read |
//! |---|---|
//! | flowing | it is read and its lines are queued |
//! | held | it is not read: its writers wait, which is what an output without us would have them do |
//! | dropping | it is read and its lines are dropped, so that nobody waits |

use std::time::Duration;

/// Bytes queued for the output, the one being written included; beyond it sources are held.
pub(super) const QUEUE_BYTES_MAX: usize = 1 << 20;
/// The output flows again when no more than this is left.
pub(super) const QUEUE_BYTES_LOW: usize = QUEUE_BYTES_MAX / 2;

/// What becomes of sources that have something to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pressure {
    Flowing,
    Held,
    Dropping,
}

impl Pressure {
    /// The state after a look at the queue, and at how long the source that waits longest has waited.
    pub(super) fn next(self, queued_bytes: usize, waited: Duration, block_max: Duration) -> Self {
        match self {
            Self::Flowing if queued_bytes < QUEUE_BYTES_MAX => Self::Flowing,
            Self::Held | Self::Dropping if queued_bytes <= QUEUE_BYTES_LOW => Self::Flowing,
            Self::Flowing | Self::Held if waited < block_max => Self::Held,
            Self::Flowing | Self::Held | Self::Dropping => Self::Dropping,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pressure::{Dropping, Flowing, Held};
    use super::*;

    #[test]
    fn a_full_queue_holds_sources_and_drops_when_they_have_waited_long_enough() {
        let ms = Duration::from_millis;
        for (state, queued_bytes, waited_ms, next) in [
            (Flowing, QUEUE_BYTES_MAX - 1, 5_000, Flowing),
            (Flowing, QUEUE_BYTES_MAX, 0, Held),
            (Flowing, QUEUE_BYTES_MAX, 1_000, Dropping),
            (Held, QUEUE_BYTES_LOW + 1, 999, Held),
            (Held, QUEUE_BYTES_LOW + 1, 1_000, Dropping),
            (Held, QUEUE_BYTES_LOW, 5_000, Flowing),
            (Dropping, QUEUE_BYTES_LOW + 1, 0, Dropping),
            (Dropping, QUEUE_BYTES_LOW, 0, Flowing),
        ] {
            assert_eq!(
                state.next(queued_bytes, ms(waited_ms), ms(1_000)),
                next,
                "{state:?} {queued_bytes} {waited_ms}"
            );
        }
    }

    #[test]
    fn a_bound_of_nothing_never_holds_anybody() {
        assert_eq!(Flowing.next(QUEUE_BYTES_MAX, Duration::ZERO, Duration::ZERO), Dropping);
    }
}
