//! Which back-end gets the next request: the one with the fewest in hand; among equals, the one that has had no more
//! for the longest time.
//!
//! Back-ends stand in lines, one line for each number in hand, and move to the end of a neighbouring line with each
//! request and each reply. So a choice costs the same however many there are.

use crate::broker::PeerId;

#[derive(Debug)]
pub(super) struct Backends {
    window: u32,
    /// By the back-end's slot.
    places: Vec<Option<Place>>,
    /// By the number in hand.
    lines: Vec<Line>,
    /// How many stand in lines.
    open: usize,
    /// The first line in which anybody stands; any, when nobody stands in one.
    least: usize,
}

/// Where a back-end stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    backend: PeerId,
    in_hand: u32,
    /// Whether it stands in the line of its number: it may be given a request.
    open: bool,
    before: Option<u32>,
    behind: Option<u32>,
}

/// The slots of those who stand at its ends.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    first: Option<u32>,
    last: Option<u32>,
}

impl Backends {
    /// No back-ends. Each will have at most `window` requests in hand.
    pub(super) fn new(window: u32) -> Self {
        Self { window, places: Vec::new(), lines: Vec::new(), open: 0, least: 0 }
    }

    pub(super) fn add(&mut self, backend: PeerId) {
        if self.places.len() <= backend.slot() {
            self.places.resize(backend.slot() + 1, None);
        }
        self.places[backend.slot()] = Some(Place { backend, in_hand: 0, open: false, before: None, behind: None });
        self.enter(backend.slot());
    }

    pub(super) fn remove(&mut self, backend: PeerId) {
        if self.places[backend.slot()].is_some() {
            self.leave(backend.slot());
            self.find_least();
            self.places[backend.slot()] = None;
        }
    }

    /// The back-end that should get the next request.
    #[inline]
    pub(super) fn least_loaded(&self) -> Option<PeerId> {
        let first = self.lines.get(self.least)?.first?;
        self.places[first as usize].map(|place| place.backend)
    }

    /// The back-end was given a request; `room` says whether its queue takes more.
    #[inline]
    pub(super) fn gave(&mut self, backend: PeerId, room: bool) {
        self.change(backend, room, |in_hand| in_hand + 1);
    }

    /// The back-end answered a request.
    #[inline]
    pub(super) fn answered(&mut self, backend: PeerId, room: bool) {
        self.change(backend, room, |in_hand| in_hand - 1);
    }

    /// Some of the back-end's queue was written. Tells whether it now takes requests and did not before.
    #[inline]
    pub(super) fn relieved(&mut self, backend: PeerId, room: bool) -> bool {
        let Some(place) = self.places[backend.slot()] else { return false };
        let opens = room && !place.open && place.in_hand < self.window;
        if opens {
            self.enter(backend.slot());
        }
        opens
    }

    #[inline]
    fn change(&mut self, backend: PeerId, room: bool, change: impl FnOnce(u32) -> u32) {
        self.leave(backend.slot());
        let place = self.place(backend.slot());
        place.in_hand = change(place.in_hand);
        if room && place.in_hand < self.window {
            self.enter(backend.slot());
        }
        self.find_least();
    }

    /// Puts a back-end at the end of the line of its number.
    #[inline]
    fn enter(&mut self, slot: usize) {
        let number = self.place(slot).in_hand as usize;
        if self.lines.len() <= number {
            self.lines.resize(number + 1, Line::default());
        }
        self.least = if self.open == 0 { number } else { self.least.min(number) };
        self.open += 1;
        let before = self.lines[number].last.replace(slot as u32);
        match before {
            Some(before) => self.place(before as usize).behind = Some(slot as u32),
            None => self.lines[number].first = Some(slot as u32),
        }
        let place = self.place(slot);
        (place.open, place.before, place.behind) = (true, before, None);
    }

    /// Takes a back-end out of its line, if it stands in one. Then the first line may be another.
    #[inline]
    fn leave(&mut self, slot: usize) {
        let place = self.place(slot);
        if !std::mem::replace(&mut place.open, false) {
            return;
        }
        let Place { in_hand, before, behind, .. } = *place;
        self.open -= 1;
        let number = in_hand as usize;
        match before {
            Some(before) => self.place(before as usize).behind = behind,
            None => self.lines[number].first = behind,
        }
        match behind {
            Some(behind) => self.place(behind as usize).before = before,
            None => self.lines[number].last = before,
        }
    }

    /// Goes on to the first line in which anybody stands: mostly the next, where the one who left this one went.
    #[inline]
    fn find_least(&mut self) {
        while self.open > 0 && self.lines[self.least].first.is_none() {
            self.least += 1;
        }
    }

    #[inline]
    fn place(&mut self, slot: usize) -> &mut Place {
        self.places[slot].as_mut().expect("only back-ends that are here give and take")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: u32 = 3;

    fn backend(slot: u64) -> PeerId {
        PeerId::from_u64(1 << 32 | slot)
    }

    #[test]
    fn the_largest_window_is_filled_and_emptied_in_turns_and_in_bounded_memory() {
        const LARGEST: u32 = 1_000_000;
        let mut backends = Backends::new(LARGEST);
        let both = [backend(0), backend(1)];
        both.into_iter().for_each(|backend| backends.add(backend));
        for next in both.into_iter().cycle().take(2 * LARGEST as usize) {
            assert_eq!(backends.least_loaded(), Some(next));
            backends.gave(next, true);
        }
        assert_eq!(backends.least_loaded(), None);
        assert!(backends.lines.capacity() <= LARGEST.next_power_of_two() as usize);
        backends.add(backend(2));
        assert_eq!(backends.least_loaded(), Some(backend(2)), "however far its line is from theirs");
        backends.remove(backend(2));
        for next in both.into_iter().cycle().take(2 * LARGEST as usize) {
            backends.answered(next, true);
            assert_eq!(backends.least_loaded(), Some(both[0]), "it answers first, the other as often");
        }
        backends.gave(both[0], true);
        assert_eq!(backends.least_loaded(), Some(both[1]));
    }

    proptest! {
        /// Beside a plain list in the order in which each came to its number.
        #[test]
        fn the_choice_is_the_least_loaded_who_waits_longest(
            steps in prop::collection::vec((0u8..5, 0u64..6, any::<bool>()), 0..200),
        ) {
            let mut backends = Backends::new(WINDOW);
            let mut plain: Vec<(u64, u32, bool)> = Vec::new();
            for (step, slot, room) in steps {
                let place = plain.iter().position(|(known, _, _)| *known == slot);
                match (step, place) {
                    (0, None) => {
                        backends.add(backend(slot));
                        plain.push((slot, 0, true));
                    }
                    (1, Some(place)) => {
                        backends.remove(backend(slot));
                        plain.remove(place);
                    }
                    (2, Some(place)) if plain[place].1 < WINDOW => {
                        backends.gave(backend(slot), room);
                        let (_, in_hand, _) = plain.remove(place);
                        plain.push((slot, in_hand + 1, room && in_hand + 1 < WINDOW));
                    }
                    (3, Some(place)) if plain[place].1 > 0 => {
                        backends.answered(backend(slot), room);
                        let (_, in_hand, _) = plain.remove(place);
                        plain.push((slot, in_hand - 1, room));
                    }
                    (4, Some(place)) => {
                        let opens = room && !plain[place].2 && plain[place].1 < WINDOW;
                        prop_assert_eq!(backends.relieved(backend(slot), room), opens);
                        if opens {
                            let (_, in_hand, _) = plain.remove(place);
                            plain.push((slot, in_hand, true));
                        }
                    }
                    _ => {}
                }
                // Of equals, `min_by_key` takes the first.
                let expected = plain.iter().filter(|(_, _, open)| *open).min_by_key(|(_, in_hand, _)| *in_hand);
                prop_assert_eq!(backends.least_loaded(), expected.map(|(slot, _, _)| backend(*slot)));
            }
        }
    }
}
