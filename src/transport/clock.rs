//! The worker's clock. It stands still for one turn of the loop, and is looked at only in a turn in which somebody asks:
//! beside a small message and a cold cache, even asking the time would be felt.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::broker::{self, Millis};

#[derive(Debug)]
pub(super) struct Clock {
    origin: Instant,
    now: Cell<Option<Millis>>,
}

impl Clock {
    /// Time counts from here.
    pub(super) fn new() -> Self {
        Self { origin: Instant::now(), now: Cell::new(None) }
    }

    /// Lets the time go on.
    #[inline]
    pub(super) fn begin_turn(&self) {
        self.now.set(None);
    }

    /// How long it really is until `at`; nothing when it has passed.
    pub(super) fn until(&self, at: Millis) -> Duration {
        (self.origin + Duration::from_millis(at)).saturating_duration_since(Instant::now())
    }

    #[cold]
    fn look(&self) -> Millis {
        let now = self.origin.elapsed().as_millis() as Millis;
        self.now.set(Some(now));
        now
    }
}

impl broker::Clock for Clock {
    #[inline]
    fn now(&self) -> Millis {
        self.now.get().unwrap_or_else(|| self.look())
    }
}
