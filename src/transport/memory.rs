//! Who has to go when the memory for peers is full.

use super::counts::Cut;
use super::hub::Hub;
use super::intake::UNCHARGED_BYTES;
use crate::broker::{Core, Millis, PeerId};

/// Milliseconds between two looks for those who hold the most memory: it means looking at all.
const RELIEF_PAUSE_MS: Millis = 5;

impl<C: Core> Hub<C> {
    /// When the memory for peers is full, ends the connections that hold the most of it, until there is memory again:
    /// unfinished messages have brought nothing yet, and what is queued for a peer whose socket takes nothing may stay
    /// for ever. Else a few peers who do not read could stop all others.
    #[inline]
    pub(super) fn relieve_memory(&mut self) {
        if self.core.peers().is_memory_full() {
            self.drop_largest();
        }
    }

    #[cold]
    fn drop_largest(&mut self) {
        if let Some(again) = self.relieved.map(|last| last + RELIEF_PAUSE_MS).filter(|&again| self.now() < again) {
            return self.due(again);
        }
        self.relieved = Some(self.now());
        let peers = self.core.peers();
        // What a connection holds and only its peer can set free.
        let holders = self.links.iter().map(|link| {
            let queue = peers.queue(link.peer).filter(|_| link.blocked);
            (link.charged + queue.map_or(0, |queue| queue.held() as u64), link.peer)
        });
        let mut holders: Vec<(u64, PeerId)> = holders.filter(|(held, _)| *held > UNCHARGED_BYTES).collect();
        holders.sort_unstable_by_key(|(held, _)| *held);
        while !self.core.peers().has_memory() {
            let Some((_, peer)) = holders.pop() else { return };
            self.drop_peer(peer, Some(Cut::MemoryFull.reason()));
        }
    }
}
