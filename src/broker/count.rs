//! One counter or gauge.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter with one writer, this thread; anybody may read it, from another process too. Since nobody else writes,
/// adding needs no locked instruction, and every step is visible at once, even to whoever reads after a SIGKILL.
#[derive(Clone, Copy, Debug)]
pub struct Count(&'static AtomicU64);

impl Count {
    /// Counts in `word`, from the value that it has.
    pub fn new(word: &'static AtomicU64) -> Self {
        Self(word)
    }

    /// Adds `n`.
    #[inline]
    pub fn add(self, n: u64) {
        self.set(self.get().wrapping_add(n));
    }

    /// Takes `n` off a gauge, not below zero.
    #[inline]
    pub fn sub(self, n: u64) {
        self.set(self.get().saturating_sub(n));
    }

    /// Sets a gauge.
    #[inline]
    pub fn set(self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The present value.
    #[inline]
    pub fn get(self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
