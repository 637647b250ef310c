//! The peers of a worker and what is queued for each; with them, all that the worker holds in memory for peers.

use std::collections::VecDeque;

use super::{Message, Queue};

/// One connection, for as long as the worker lives: a peer that comes again gets another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId {
    generation: u32,
    slot: u32,
}

impl PeerId {
    /// The place of this peer in tables; another peer may have it later.
    pub fn slot(self) -> usize {
        self.slot as usize
    }

    /// The whole id as a number.
    pub fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// The id with that number; it may name no peer at all.
    pub fn from_u64(number: u64) -> Self {
        Self { generation: (number >> 32) as u32, slot: number as u32 }
    }
}

/// All peers.
#[derive(Debug)]
pub struct Peers {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Peers for whom something was queued since they were last written to.
    dirty: VecDeque<PeerId>,
    spares: Vec<Vec<u8>>,
    held: u64,
    held_max: u64,
    queue_bytes_max: u64,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    live: bool,
    dirty: bool,
    queue: Queue,
}

impl Peers {
    /// No peers yet. `memory_bytes_max` bounds what is held for all, `queue_bytes_max` what is queued for one.
    pub fn new(memory_bytes_max: u64, queue_bytes_max: u64) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            dirty: VecDeque::new(),
            spares: Vec::new(),
            held: 0,
            held_max: memory_bytes_max,
            queue_bytes_max,
        }
    }

    /// A new peer.
    pub fn add(&mut self) -> PeerId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let entry = &mut self.slots[slot as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.live = true;
        PeerId { generation: entry.generation, slot }
    }

    /// Forgets the peer and what is queued for it; tells how many counted messages that were.
    pub fn remove(&mut self, peer: PeerId) -> u64 {
        let Some(slot) = self.live_mut(peer) else { return 0 };
        slot.live = false;
        slot.dirty = false;
        let queue = std::mem::take(&mut slot.queue);
        self.free.push(peer.slot);
        self.release(queue.held() as u64);
        queue.messages()
    }

    /// Whether that peer is still connected.
    #[inline]
    pub fn is_live(&self, peer: PeerId) -> bool {
        self.slots.get(peer.slot()).is_some_and(|slot| slot.live && slot.generation == peer.generation)
    }

    /// What is queued for the peer; `None` when it is gone.
    pub fn queue(&self, peer: PeerId) -> Option<&Queue> {
        self.is_live(peer).then(|| &self.slots[peer.slot()].queue)
    }

    /// Whether the peer's queue has reached its bound.
    pub fn is_full(&self, peer: PeerId) -> bool {
        self.queue(peer).is_some_and(|queue| queue.bytes() as u64 >= self.queue_bytes_max)
    }

    /// Whether the peer's queue is at most half full, so that a peer that was held back may go on.
    pub fn has_room(&self, peer: PeerId) -> bool {
        self.queue(peer).is_some_and(|queue| queue.bytes() as u64 <= self.queue_bytes_max / 2)
    }

    /// Queues protocol bytes. They are small, and the caller bounds how many it makes.
    pub fn push_raw(&mut self, peer: PeerId, bytes: &[u8]) {
        if bytes.is_empty() || !self.is_live(peer) {
            return;
        }
        let queue = &mut self.slots[peer.slot()].queue;
        let before = queue.held();
        queue.push_raw(bytes, &mut self.spares);
        let more = queue.held() - before;
        self.hold(more as u64);
        self.mark_dirty(peer);
    }

    /// Queues a counted message, `prefix` before it. The caller has asked whether there is room.
    #[inline]
    pub fn push(&mut self, peer: PeerId, prefix: &[u8], message: Message<'_>) {
        debug_assert!(self.is_live(peer));
        let slot = &mut self.slots[peer.slot()];
        let before = slot.queue.held();
        slot.queue.push(prefix, message, &mut self.spares);
        self.held += (slot.queue.held() - before) as u64;
        if !std::mem::replace(&mut slot.dirty, true) {
            self.dirty.push_back(peer);
        }
    }

    /// Takes off bytes that were written; tells how many counted messages became whole by it.
    pub fn wrote(&mut self, peer: PeerId, bytes: usize) -> u64 {
        if !self.is_live(peer) {
            return 0;
        }
        let queue = &mut self.slots[peer.slot()].queue;
        let before = queue.held();
        let messages = queue.wrote(bytes, &mut self.spares);
        let less = before - queue.held();
        self.release(less as u64);
        messages
    }

    /// The next peer with something new to be written; it comes up again after the next push for it.
    pub fn next_dirty(&mut self) -> Option<PeerId> {
        while let Some(peer) = self.dirty.pop_front() {
            if let Some(slot) = self.live_mut(peer) {
                slot.dirty = false;
                return Some(peer);
            }
        }
        None
    }

    /// Whether anybody has something new to be written.
    pub fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Brings the peer up in [`Peers::next_dirty`], when its socket takes bytes again.
    pub fn mark_dirty(&mut self, peer: PeerId) {
        if self.live_mut(peer).is_some_and(|slot| !std::mem::replace(&mut slot.dirty, true)) {
            self.dirty.push_back(peer);
        }
    }

    /// Accounts for memory that is held for peers outside the queues.
    #[inline]
    pub fn hold(&mut self, bytes: u64) {
        self.held += bytes;
    }

    /// Gives back what [`Peers::hold`] took.
    #[inline]
    pub fn release(&mut self, bytes: u64) {
        self.held = self.held.checked_sub(bytes).expect("only what was held is released");
    }

    /// Bytes held for all peers.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Whether the bound on all that is held is reached.
    pub fn is_memory_full(&self) -> bool {
        self.held >= self.held_max
    }

    /// Whether even what is kept free for replies is used up: they may take a quarter more than what peers send, so
    /// that no flood of requests can keep the answers to others from leaving.
    pub fn is_reserve_full(&self) -> bool {
        self.held >= self.held_max + self.held_max / 4
    }

    /// Whether so little is held, three quarters at most, that nobody need be disconnected for it.
    pub fn has_memory(&self) -> bool {
        self.held <= self.held_max - self.held_max / 4
    }

    /// Bytes that may still be held for all peers.
    pub fn memory_left(&self) -> u64 {
        self.held_max.saturating_sub(self.held)
    }

    fn live_mut(&mut self, peer: PeerId) -> Option<&mut Slot> {
        self.slots.get_mut(peer.slot()).filter(|slot| slot.live && slot.generation == peer.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_used_again_is_another_peer() {
        let mut peers = Peers::new(1000, 100);
        let first = peers.add();
        peers.push(first, b"", Message::Borrowed(b"lost with it"));
        assert_eq!(peers.remove(first), 1);
        let second = peers.add();
        assert_eq!(first.slot(), second.slot());
        assert!(!peers.is_live(first) && peers.is_live(second));
        assert_eq!(peers.queue(second).unwrap().bytes(), 0);
        assert_eq!(peers.next_dirty(), None, "what was queued for the first is not the second's");
        assert_eq!(PeerId::from_u64(second.to_u64()), second);
        assert_eq!(peers.held(), 0);
    }

    #[test]
    fn a_peer_is_dirty_once_however_much_is_queued() {
        let mut peers = Peers::new(1000, 100);
        let peer = peers.add();
        peers.push_raw(peer, b"one");
        peers.push_raw(peer, b"two");
        assert_eq!(peers.next_dirty(), Some(peer));
        assert_eq!(peers.next_dirty(), None);
        assert!(peers.held() >= 6);
        peers.wrote(peer, 6);
        assert_eq!(peers.held(), 0);
    }

    #[test]
    fn a_large_message_is_held_until_its_last_byte_is_written() {
        let mut peers = Peers::new(1 << 20, 1 << 20);
        let peer = peers.add();
        peers.push(peer, b"", Message::Shared(vec![0; 100_000].into()));
        assert_eq!(peers.wrote(peer, 99_999), 0);
        assert_eq!((peers.queue(peer).unwrap().bytes(), peers.held()), (1, 100_000));
        assert_eq!(peers.wrote(peer, 1), 1);
        assert_eq!(peers.held(), 0);
    }

    #[test]
    fn a_few_bytes_in_a_spare_buffer_hold_the_whole_buffer() {
        let mut peers = Peers::new(1 << 20, 1 << 20);
        let (first, second) = (peers.add(), peers.add());
        peers.push(first, b"", Message::Borrowed(&[0; 50_000]));
        peers.wrote(first, 50_000);
        peers.push_raw(second, b"few");
        assert!(peers.held() >= 50_000, "{} bytes", peers.held());
        peers.remove(second);
        assert_eq!(peers.held(), 0);
    }
}
