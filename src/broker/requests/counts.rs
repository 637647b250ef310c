//! What the requests pattern counts.

use std::sync::atomic::AtomicU64;

use crate::broker::Count;

/// The counters and gauges of the requests pattern, by the names that they are registered under.
#[derive(Debug)]
pub struct Counts {
    /// Gauge: clients present.
    pub clients: Count,
    /// Gauge: back-ends present.
    pub backends: Count,
    /// Requests accepted.
    pub requests: Count,
    /// Replies written to their client.
    pub replies: Count,
    /// Gauge: requests that wait for a back-end.
    pub waiting: Count,
    /// Gauge: requests in the hands of back-ends.
    pub in_hand: Count,
    /// Gauge: replies queued for their client.
    pub replies_queued: Count,
    /// Messages from back-ends that answer nothing outstanding there.
    pub unsolicited: Count,
    lost: [Count; Lost::ALL.len()],
}

/// Why a request was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The back-end that had it left before it answered.
    BackendGone,
    /// The client left before it had its reply.
    ClientGone,
    /// The client's queue was full when its reply came.
    ClientSlow,
    /// The worker's memory for peers was full when its reply came.
    MemoryFull,
    /// No back-end took it in time.
    Expired,
    /// All that may wait was waiting, and its client had its share of it.
    WaitingFull,
    /// What its client put before the empty frame is more than a back-end can be asked to return.
    EnvelopeTooLarge,
    /// The back-end's reply had nothing to deliver: its envelope was not returned whole.
    BadReply,
    /// The requests worker died with it.
    WorkerDied,
    /// The requests worker was stopped with it.
    Stopped,
}

impl Lost {
    const ALL: [(Self, &'static str); 10] = [
        (Self::BackendGone, "lost.backend_gone"),
        (Self::ClientGone, "lost.client_gone"),
        (Self::ClientSlow, "lost.client_slow"),
        (Self::MemoryFull, "lost.memory_full"),
        (Self::Expired, "lost.expired"),
        (Self::WaitingFull, "lost.waiting_full"),
        (Self::EnvelopeTooLarge, "lost.envelope_too_large"),
        (Self::BadReply, "lost.bad_reply"),
        (Self::WorkerDied, "lost.worker_died"),
        (Self::Stopped, "lost.stopped"),
    ];
}

impl Counts {
    /// Registers every counter by its name.
    pub fn register<E>(mut word: impl FnMut(&str) -> Result<&'static AtomicU64, E>) -> Result<Self, E> {
        let mut count = |name: &str| word(name).map(Count::new);
        let mut lost = [count(Lost::ALL[0].1)?; Lost::ALL.len()];
        for (place, (_, name)) in lost.iter_mut().zip(Lost::ALL) {
            *place = count(name)?;
        }
        Ok(Self {
            clients: count("clients")?,
            backends: count("backends")?,
            requests: count("requests")?,
            replies: count("replies")?,
            waiting: count("waiting")?,
            in_hand: count("in_hand")?,
            replies_queued: count("replies_queued")?,
            unsolicited: count("dropped.unsolicited_reply")?,
            lost,
        })
    }

    /// Counts `n` requests as lost.
    pub fn lost(&self, why: Lost, n: u64) {
        self.lost[why as usize].add(n);
    }

    /// Requests that are neither replied nor lost.
    pub fn in_flight(&self) -> u64 {
        self.requests.get().wrapping_sub(self.replies.get()).wrapping_sub(self.lost_in_all())
    }

    /// Requests lost, whatever the reason.
    pub fn lost_in_all(&self) -> u64 {
        self.lost.iter().fold(0, |sum, count| sum.wrapping_add(count.get()))
    }

    /// Takes over the counters of a worker that is no more: what it had in flight died with it.
    pub(super) fn adopt(&self) {
        self.end(Lost::WorkerDied);
    }

    /// The worker ends in order: what it has in flight is lost by that.
    pub(super) fn stop(&self) {
        self.end(Lost::Stopped);
    }

    fn end(&self, why: Lost) {
        self.lost(why, self.in_flight());
        for gauge in [self.clients, self.backends, self.waiting, self.in_hand, self.replies_queued] {
            gauge.set(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_counted_in_its_own_place() {
        for (place, (why, _)) in Lost::ALL.iter().enumerate() {
            assert_eq!(*why as usize, place);
        }
    }
}
