//! Requests in the hands of back-ends, by number and by back-end.

use bytes::Bytes;

use super::envelope::Envelope;
use crate::broker::PeerId;

/// A request that was given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) client: PeerId,
    pub(super) envelope: Envelope,
    /// How often it has been given out, this time included.
    pub(super) attempts: u8,
    /// The message, if it may be given out again.
    pub(super) kept: Option<Bytes>,
}

/// All requests in hand. A number names a slot and how often the slot was used, so that a late or repeated reply never
/// meets another request.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// By the back-end's slot. A back-end that leaves takes its list along.
    by_backend: Vec<Vec<u32>>,
}

#[derive(Debug, Default)]
struct Slot {
    uses: u32,
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    request: Request,
    backend: PeerId,
    /// Where the slot stands in its back-end's list.
    place: u32,
}

impl Outstanding {
    /// Notes that `backend` has the request; returns its number.
    pub(super) fn insert(&mut self, backend: PeerId, request: Request) -> u64 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        if self.by_backend.len() <= backend.slot() {
            self.by_backend.resize_with(backend.slot() + 1, Vec::new);
        }
        let list = &mut self.by_backend[backend.slot()];
        let entry = &mut self.slots[slot as usize];
        entry.uses = entry.uses.wrapping_add(1);
        entry.held = Some(Held { request, backend, place: list.len() as u32 });
        list.push(slot);
        u64::from(entry.uses) << 32 | u64::from(slot)
    }

    /// Takes the request with that number, if it is outstanding at that very back-end and came from that client.
    pub(super) fn take(&mut self, backend: PeerId, client: PeerId, number: u64) -> Option<Request> {
        let slot = number as u32;
        let entry = self.slots.get_mut(slot as usize)?;
        let matches = |held: &Held| held.backend == backend && held.request.client == client;
        if u64::from(entry.uses) != number >> 32 || !entry.held.as_ref().is_some_and(matches) {
            return None;
        }
        let held = entry.held.take()?;
        let list = &mut self.by_backend[backend.slot()];
        list.swap_remove(held.place as usize);
        if let Some(&moved) = list.get(held.place as usize) {
            self.slots[moved as usize].held.as_mut().expect("listed slots are held").place = held.place;
        }
        self.free.push(slot);
        Some(held.request)
    }

    /// Takes all that the back-end had in hand.
    pub(super) fn take_all(&mut self, backend: PeerId) -> Vec<Request> {
        let slots = self.by_backend.get_mut(backend.slot()).map(std::mem::take).unwrap_or_default();
        self.free.extend(&slots);
        let slots = slots.into_iter();
        slots.filter_map(|slot| self.slots[slot as usize].held.take()).map(|held| held.request).collect()
    }
}

#[cfg(test)]
impl Outstanding {
    /// The most that one back-end has in hand.
    pub(super) fn longest(&self) -> usize {
        self.by_backend.iter().map(Vec::len).max().unwrap_or(0)
    }
}
