//! What services have written and nobody has read: whether the log worker has hung, and what is done while there is none.
//!
//! A wire lies at the reading ends of all pipes, which only the log worker reads. While nobody writes nothing wakes us.
//! When it trips it is taken up and looked at again later: what lies in a pipe then is asked about. A log worker that
//! gives no sign of life has hung. Where there is none for a time, services would wait for one for ever: then what they
//! write is discarded and counted, until there is one. So output that flows costs a few wakeups in half a
//! `logs.watchdog_ms`, and none costs none.

use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::instance::Output;
use super::logs::source;
use crate::config::Logs;
use crate::lifecycle::Id;
use crate::sys::pipe;
use crate::sys::tripwire::{Set, Tripwire};

/// How long there may be no reader at least, whatever `logs.block_ms_max` says: a log worker that died is there again
/// before, and goes on where the pipes stand.
const UNREAD_MS_MIN: u64 = 1_000;
/// Who looks so much later than he wanted has not run himself (a container that was paused), and asks again: the log
/// worker has not run either, or its answer is still on its way to us.
const LATE: Duration = Duration::from_millis(500);
/// Between two turns of discarding. Whoever writes much waits for the next.
const DISCARD_EVERY: Duration = Duration::from_millis(10);
/// Pipes of which one turn discards; others have the next.
const DISCARD_PIPES_MAX: usize = 16;
/// Bytes that one turn discards of one pipe.
const DISCARD_BYTES: usize = 64 << 10;

/// The wire, and what is to follow when it has tripped.
#[derive(Debug)]
pub(super) struct Unread {
    wire: Rc<Tripwire>,
    /// The wire in our loop, while it is there.
    set: Option<Set>,
    watch: Watch,
    /// Bytes that were discarded, over the supervisor's life.
    pub(super) discarded_bytes: u64,
}

/// How long what may last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// A log worker's silence while pipes hold something; zero asks for no sign of life.
    hung: Duration,
    /// A time without a log worker.
    unread: Duration,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Ask the log worker for a sign of life.
    Ask,
    /// The log worker has hung.
    Hung,
    /// Discard what nobody reads, for the first time.
    BeginToDiscard,
    /// Discard what nobody reads.
    Discard,
}

/// How far the watch is. Pure: time and what is unread are told to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Watch {
    stage: Stage,
    /// Whether there is a log worker that serves.
    is_read: bool,
    is_discarding: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The wire tells when there is something.
    Set,
    /// It has tripped. What is in the pipes by then was not read at once.
    Tripped { again: Instant },
    /// The log worker was asked for a sign of life.
    Asked { until: Instant },
}

impl Patience {
    pub(super) fn of(logs: &Logs) -> Self {
        let ms = Duration::from_millis;
        Self { hung: ms(logs.watchdog_ms), unread: ms(logs.block_ms_max.max(UNREAD_MS_MIN)) }
    }
}

impl Unread {
    pub(super) fn new() -> io::Result<Self> {
        let watch = Watch { stage: Stage::Set, is_read: false, is_discarding: false };
        Ok(Self { wire: Rc::new(Tripwire::new()?), set: None, watch, discarded_bytes: 0 })
    }

    /// There are pipes of an instance.
    pub(super) fn add(&self, id: Id, output: &Output) {
        for (index, reader) in output.readers.iter().enumerate() {
            let added = self.wire.add(reader, source(id, index));
            added.unwrap_or_else(|cause| tracing::warn!("cannot watch whether output is read: {cause}"));
        }
    }

    /// They go.
    pub(super) fn remove(&self, output: &Output) {
        for reader in &output.readers {
            let _ = self.wire.remove(reader);
        }
    }

    /// A log worker serves.
    pub(super) fn reader_came(&mut self) {
        if self.watch.is_discarding {
            tracing::info!("output is read again; {} bytes were discarded so far", self.discarded_bytes);
        }
        self.watch.begin(true);
    }

    /// The log worker is gone.
    pub(super) fn reader_left(&mut self) {
        self.watch.begin(false);
    }

    /// The log worker gave a sign of life.
    pub(super) fn answered(&mut self) {
        if matches!(self.watch.stage, Stage::Asked { .. }) {
            self.watch.stage = Stage::Set;
        }
    }

    /// Returns when something is to be done. It may be left at any time.
    pub(super) async fn next(&mut self, patience: Patience) -> Due {
        loop {
            if self.watch.is_read && patience.hung.is_zero() {
                self.set = None;
                return std::future::pending().await;
            }
            match self.watch.stage {
                Stage::Set => {
                    self.until_tripped().await;
                    self.watch.trip(Instant::now(), patience);
                }
                Stage::Tripped { again: at } | Stage::Asked { until: at } => {
                    self.set = None;
                    tokio::time::sleep_until(at.into()).await;
                    let is_unread = self.wire.readable::<1>().is_ok_and(|mut some| some.next().is_some());
                    if let Some(due) = self.watch.look(Instant::now(), is_unread, patience) {
                        return due;
                    }
                }
            }
        }
    }

    async fn until_tripped(&mut self) {
        if self.set.is_none() {
            // No room for it may pass: what is there is looked at then in any case.
            let set = Set::new(&self.wire);
            self.set = set.inspect_err(|cause| tracing::warn!("cannot watch whether output is read: {cause}")).ok();
        }
        if let Some(set) = &self.set {
            set.tripped().await;
        }
        // While it is taken up, what happens on the pipes does not wake us.
        self.set = None;
    }

    /// Discards some of what nobody reads.
    pub(super) fn discard<'a>(&mut self, reader: impl Fn(u64) -> Option<BorrowedFd<'a>>) {
        let mut buffer = vec![0; DISCARD_BYTES];
        let some = match self.wire.readable::<DISCARD_PIPES_MAX>() {
            Ok(some) => some,
            Err(cause) => return tracing::warn!("cannot look at what is not read: {cause}"),
        };
        for token in some {
            let read = reader(token).map_or(Ok(0), |reader| pipe::read(reader, &mut buffer));
            self.discarded_bytes += read.unwrap_or(0) as u64;
        }
    }
}

impl Watch {
    fn begin(&mut self, is_read: bool) {
        *self = Self { stage: Stage::Set, is_read, is_discarding: false };
    }

    /// There is something to be read.
    fn trip(&mut self, now: Instant, patience: Patience) {
        let wait = match self {
            Self { is_read: true, .. } => patience.hung / 2,
            Self { is_discarding: true, .. } => DISCARD_EVERY,
            Self { .. } => patience.unread,
        };
        self.stage = Stage::Tripped { again: now + wait };
    }

    /// A time has come: what follows from whether there is something to be read now.
    fn look(&mut self, now: Instant, is_unread: bool, patience: Patience) -> Option<Due> {
        let (Stage::Tripped { again: at } | Stage::Asked { until: at }) = self.stage else { return None };
        if now < at {
            return None;
        }
        let was_asked = matches!(self.stage, Stage::Asked { .. });
        self.stage = Stage::Set;
        // Who reads lives, also if it has not answered.
        if !is_unread {
            return None;
        }
        match (self.is_read, self.is_discarding) {
            (true, _) if was_asked && now < at + LATE => Some(Due::Hung),
            (true, _) => {
                self.stage = Stage::Asked { until: now + patience.hung / 2 };
                Some(Due::Ask)
            }
            (false, was_discarding) => {
                self.is_discarding = true;
                Some(if was_discarding { Due::Discard } else { Due::BeginToDiscard })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    const PATIENCE: Patience = Patience { hung: Duration::from_millis(100), unread: Duration::from_millis(1_000) };

    fn watch(is_read: bool) -> (Watch, Instant) {
        (Watch { stage: Stage::Set, is_read, is_discarding: false }, Instant::now())
    }

    #[test]
    fn what_is_read_in_time_is_not_asked_about() {
        let (mut watch, now) = watch(true);
        watch.trip(now, PATIENCE);
        assert_eq!(watch.look(now + ms(49), true, PATIENCE), None, "it is too early");
        assert_eq!(watch.look(now + ms(50), false, PATIENCE), None);
        assert_eq!(watch.stage, Stage::Set);
    }

    #[test]
    fn who_neither_reads_nor_answers_has_hung() {
        let (mut watch, now) = watch(true);
        watch.trip(now, PATIENCE);
        assert_eq!(watch.look(now + ms(50), true, PATIENCE), Some(Due::Ask));
        assert_eq!(watch.look(now + ms(99), true, PATIENCE), None, "it has its time");
        let mut read = watch;
        assert_eq!(read.look(now + ms(100), false, PATIENCE), None, "it reads");
        assert_eq!(watch.look(now + ms(100), true, PATIENCE), Some(Due::Hung));
        assert_eq!(watch.stage, Stage::Set, "and its successor is watched likewise");
    }

    #[test]
    fn who_has_not_run_himself_asks_again() {
        let (mut watch, now) = watch(true);
        watch.trip(now, PATIENCE);
        let now = now + LATE * 10;
        assert_eq!(watch.look(now, true, PATIENCE), Some(Due::Ask));
        let now = now + LATE * 10;
        assert_eq!(watch.look(now, true, PATIENCE), Some(Due::Ask));
        assert_eq!(watch.look(now + ms(50), true, PATIENCE), Some(Due::Hung));
    }

    #[test]
    fn without_a_reader_all_is_discarded_after_a_time_and_at_once_from_then_on() {
        let (mut watch, now) = watch(false);
        watch.trip(now, PATIENCE);
        assert_eq!(watch.look(now + ms(999), true, PATIENCE), None);
        let now = now + ms(1_000);
        assert_eq!(watch.look(now, true, PATIENCE), Some(Due::BeginToDiscard));
        watch.trip(now, PATIENCE);
        assert_eq!(watch.look(now + DISCARD_EVERY, true, PATIENCE), Some(Due::Discard));
        watch.begin(true);
        watch.begin(false);
        watch.trip(now, PATIENCE);
        assert_eq!(watch.look(now + DISCARD_EVERY, true, PATIENCE), None, "there was a reader meanwhile");
    }

    #[test]
    fn a_death_has_the_whole_time_from_then_on() {
        let (mut watch, now) = watch(true);
        watch.trip(now, PATIENCE);
        watch.begin(false);
        watch.trip(now, PATIENCE);
        assert_eq!(watch.stage, Stage::Tripped { again: now + ms(1_000) });
    }
}
