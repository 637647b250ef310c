//! Signs of life for the service manager that started us, if it wants them (sd_watchdog_enabled(3)). They come out of the
//! loop, so that one that hangs gives none. Who is not asked for any has no timer.

use std::time::{Duration, Instant};

use crate::sys::notify;

/// When the next one is due.
#[derive(Debug)]
pub(super) struct Pulse {
    every: Option<Duration>,
    due: Option<Instant>,
}

impl Pulse {
    /// As the environment asks for it, which an upgrade keeps: the first is due now, then one each half of the time after
    /// which we would be taken for dead.
    pub(super) fn wanted() -> Self {
        let every = notify::watchdog().map(|patience| patience / 2);
        Self { every, due: every.map(|_| Instant::now()) }
    }

    /// When the next is due; `None` when nobody waits for one.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Gives one.
    pub(super) fn beat(&mut self) {
        if let Some(every) = self.every {
            self.due = Some(Instant::now() + every);
            notify::manager_alive()
                .unwrap_or_else(|cause| tracing::warn!("cannot give the service manager a sign of life: {cause}"));
        }
    }
}
