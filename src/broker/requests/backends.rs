//! Which back-end gets the next request: the one with the fewest in hand; among equals, the one that was given none
//! for the longest time.

use std::collections::BTreeSet;

use crate::broker::PeerId;

#[derive(Debug)]
pub(super) struct Backends {
    window: u32,
    /// By the back-end's slot.
    loads: Vec<Option<Load>>,
    /// Those that may be given a request: by load, then by when they last were given one.
    open: BTreeSet<(Load, PeerId)>,
    /// Counts what was given out.
    turn: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Load {
    in_hand: u32,
    last_turn: u64,
}

impl Backends {
    /// No back-ends. Each will have at most `window` requests in hand.
    pub(super) fn new(window: u32) -> Self {
        Self { window, loads: Vec::new(), open: BTreeSet::new(), turn: 0 }
    }

    pub(super) fn add(&mut self, backend: PeerId) {
        if self.loads.len() <= backend.slot() {
            self.loads.resize(backend.slot() + 1, None);
        }
        self.loads[backend.slot()] = Some(Load::default());
        self.open.insert((Load::default(), backend));
    }

    pub(super) fn remove(&mut self, backend: PeerId) {
        if let Some(load) = self.loads[backend.slot()].take() {
            self.open.remove(&(load, backend));
        }
    }

    /// The back-end that should get the next request.
    #[inline]
    pub(super) fn least_loaded(&self) -> Option<PeerId> {
        self.open.first().map(|(_, backend)| *backend)
    }

    /// The back-end was given a request; `room` says whether its queue takes more.
    #[inline]
    pub(super) fn gave(&mut self, backend: PeerId, room: bool) {
        self.turn += 1;
        let turn = self.turn;
        self.change(backend, room, |load| *load = Load { in_hand: load.in_hand + 1, last_turn: turn });
    }

    /// The back-end answered a request.
    #[inline]
    pub(super) fn answered(&mut self, backend: PeerId, room: bool) {
        self.change(backend, room, |load| load.in_hand -= 1);
    }

    /// Some of the back-end's queue was written. Tells whether it now takes requests and did not before.
    #[inline]
    pub(super) fn relieved(&mut self, backend: PeerId, room: bool) -> bool {
        let Some(load) = self.loads[backend.slot()] else { return false };
        room && load.in_hand < self.window && self.open.insert((load, backend))
    }

    #[inline]
    fn change(&mut self, backend: PeerId, room: bool, change: impl FnOnce(&mut Load)) {
        let load = self.loads[backend.slot()].as_mut().expect("only back-ends that are here give and take");
        self.open.remove(&(*load, backend));
        change(load);
        if room && load.in_hand < self.window {
            self.open.insert((*load, backend));
        }
    }
}
