//! What the log worker counts.
//!
//! At every instant `lines = written + dropped.rate + dropped.blocked + dropped.output + lost + what is held`, where a
//! piece of a line that was too long is a line.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counters, which outlive the process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    /// Bytes that services wrote.
    pub(super) bytes: &'static AtomicU64,
    /// Lines that services wrote.
    pub(super) lines: &'static AtomicU64,
    /// Pieces of lines that were too long, all but the last of each line.
    pub(super) split: &'static AtomicU64,
    /// Lines that the output took.
    pub(super) written: &'static AtomicU64,
    /// Lines beyond a service's rate.
    pub(super) dropped_rate: &'static AtomicU64,
    /// Lines that came while the output did not flow.
    pub(super) dropped_blocked: &'static AtomicU64,
    /// Lines that the output refused: its reader is gone, its disk is full.
    pub(super) dropped_output: &'static AtomicU64,
    /// Lines that an earlier log worker held when it died.
    pub(super) lost: &'static AtomicU64,
    /// Lines that somebody who follows was too slow for. They are no part of the sum.
    pub(super) dropped_slow: &'static AtomicU64,
    /// Entries that the journal refused; they went to standard output.
    pub(super) journal_refused: &'static AtomicU64,
    /// Packets of the supervisor that had no meaning, or came without their descriptor.
    pub(super) refused: &'static AtomicU64,
}

impl Counts {
    /// Finds or makes the counters, and counts what an earlier process held as lost.
    pub(super) fn register<E>(register: impl Fn(&str) -> Result<&'static AtomicU64, E>) -> Result<Self, E> {
        let counts = Self {
            bytes: register("bytes")?,
            lines: register("lines")?,
            split: register("split")?,
            written: register("written")?,
            dropped_rate: register("dropped.rate")?,
            dropped_blocked: register("dropped.blocked")?,
            dropped_output: register("dropped.output")?,
            lost: register("lost")?,
            dropped_slow: register("dropped.slow")?,
            journal_refused: register("journal.refused")?,
            refused: register("refused")?,
        };
        let gone = [counts.written, counts.dropped_rate, counts.dropped_blocked, counts.dropped_output, counts.lost];
        let gone: u64 = gone.into_iter().map(|counter| counter.load(Ordering::Relaxed)).sum();
        add(counts.lost, counts.lines.load(Ordering::Relaxed).saturating_sub(gone));
        Ok(counts)
    }
}

/// Counts; each counter has one thread that does.
pub(super) fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::counters::Counters;

    #[test]
    fn what_an_earlier_process_held_is_lost_once() {
        let table = Counters::private().unwrap().forever();
        let counts = Counts::register(|name| table.register(name)).unwrap();
        add(counts.lines, 10);
        add(counts.written, 6);
        add(counts.dropped_rate, 1);
        for _ in 0..2 {
            let counts = Counts::register(|name| table.register(name)).unwrap();
            assert_eq!(counts.lost.load(Ordering::Relaxed), 3);
        }
    }
}
