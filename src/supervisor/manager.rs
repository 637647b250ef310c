//! The service manager that started us (sd_notify(3)), if one did: it is told that we are ready and that we stop, and given
//! signs of life if it wants them (sd_watchdog_enabled(3)). Those come out of the loop, so that one that hangs gives none.
//! Who has nothing to say has no timer.
//!
//! It is never waited for. A sign of life that it has no room for is followed by the next; any other word is owed to it, and
//! told again until it is taken: a manager that never hears that we are ready would end us.

use std::io;
use std::time::{Duration, Instant};

use crate::sys::notify;

/// How long a word that was not taken rests.
const OWED: Duration = Duration::from_millis(100);

/// What the service manager is told, and when.
#[derive(Debug)]
pub(super) struct Manager {
    /// How often it wants a sign of life.
    every: Option<Duration>,
    beat_at: Option<Instant>,
    /// The word that it had no room for, and when it is told again.
    owed: Option<(Word, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Ready,
    Stopping,
}

impl Manager {
    /// As the environment asks for it, which an upgrade keeps: the first sign of life is due now, then one each half of the
    /// time after which we would be taken for dead.
    pub(super) fn wanted() -> Self {
        let every = notify::watchdog().map(|patience| patience / 2);
        Self { every, beat_at: every.map(|_| Instant::now()), owed: None }
    }

    /// We serve.
    pub(super) fn ready(&mut self) {
        self.tell(Word::Ready);
    }

    /// We have begun to stop, whatever it has not heard before.
    pub(super) fn stopping(&mut self) {
        self.tell(Word::Stopping);
    }

    /// When there is something to tell; `None` when there is not.
    pub(super) fn due(&self) -> Option<Instant> {
        self.owed.map(|(_, at)| at).into_iter().chain(self.beat_at).min()
    }

    /// Tells what is due.
    pub(super) fn tell_due(&mut self) {
        let now = Instant::now();
        if let Some((word, _)) = self.owed.filter(|(_, at)| *at <= now) {
            self.tell(word);
        }
        if self.beat_at.is_some_and(|at| at <= now) {
            self.beat();
        }
    }

    /// Gives a sign of life, due or not, where they are wanted.
    pub(super) fn beat(&mut self) {
        if let Some(every) = self.every {
            self.beat_at = Some(Instant::now() + every);
            notify::manager_alive()
                .unwrap_or_else(|cause| tracing::warn!("cannot give the service manager a sign of life: {cause}"));
        }
    }

    fn tell(&mut self, word: Word) {
        let told = match word {
            Word::Ready => notify::manager_ready(),
            Word::Stopping => notify::manager_stopping(),
        };
        let was_owed = self.owed.take().is_some_and(|(owed, _)| owed == word);
        match told {
            Ok(()) => {}
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                if !was_owed {
                    tracing::warn!("the service manager takes no word now; it is told again");
                }
                self.owed = Some((word, Instant::now() + OWED));
            }
            Err(cause) => tracing::warn!("cannot notify the service manager: {cause}"),
        }
    }
}
