//! Bytes into lines of bounded length. Pure.
//!
//! A line that is too long is split, not cut: what a service says without an end of line (a dump, a stack trace on one
//! line) is often what somebody looks for, and each piece says that it is one. Where a line is split depends on its
//! bytes alone, never on how they arrived.

use memchr::memchr;

/// Capacity that a stream keeps between lines; what a long line needed beyond it is given back.
const KEPT_BYTES: usize = 4 << 10;

/// The lines of one stream of output.
#[derive(Debug)]
pub(super) struct Lines {
    /// A line whose end did not come yet; at most `bytes_max` of it.
    begun: Vec<u8>,
    /// Whether what has begun is not the first piece of its line.
    continued: bool,
    bytes_max: usize,
}

/// A line, or a piece of one, without its end of line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) text: &'a [u8],
    /// Whether it goes on from the piece before it.
    pub(super) continued: bool,
    /// Whether the next piece goes on with it.
    pub(super) more: bool,
}

impl Lines {
    /// `bytes_max` is at least 4, as much as one character takes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { begun: Vec::new(), continued: false, bytes_max }
    }

    /// Takes what the stream gave next, and gives away each line that is whole.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Line<'_>)) {
        if !self.begun.is_empty() || self.continued {
            let Some(end) = memchr(b'\n', bytes) else { return self.begin(bytes, &mut each) };
            self.begin(&bytes[..end], &mut each);
            self.finish(&mut each);
            bytes = &bytes[end + 1..];
        }
        while let Some(end) = memchr(b'\n', bytes) {
            let (text, continued) = self.split(&bytes[..end], false, &mut each);
            each(Line { text, continued, more: false });
            bytes = &bytes[end + 1..];
        }
        let (rest, continued) = self.split(bytes, false, &mut each);
        self.continued = continued;
        self.begun.extend_from_slice(rest);
    }

    /// Ends the line that has begun, if one has.
    pub(super) fn finish(&mut self, mut each: impl FnMut(Line<'_>)) {
        if self.begun.is_empty() && !self.continued {
            return;
        }
        each(Line { text: &self.begun, continued: self.continued, more: false });
        self.continued = false;
        if self.begun.capacity() > KEPT_BYTES {
            self.begun = Vec::new();
        }
        self.begun.clear();
    }

    /// Adds to the line that has begun; gives away pieces of it when it is too long.
    fn begin(&mut self, mut bytes: &[u8], each: &mut impl FnMut(Line<'_>)) {
        while self.begun.len() + bytes.len() > self.bytes_max {
            // One byte beyond a piece tells whether the piece would end within a character.
            let (now, rest) = bytes.split_at(self.bytes_max + 1 - self.begun.len());
            self.begun.extend_from_slice(now);
            let piece = piece_bytes(&self.begun, self.bytes_max);
            each(Line { text: &self.begun[..piece], continued: self.continued, more: true });
            self.begun.drain(..piece);
            self.continued = true;
            bytes = rest;
        }
        self.begun.extend_from_slice(bytes);
    }

    /// Gives away all pieces of a line but its last, which is the answer, with whether it is not the first.
    fn split<'a>(&self, mut line: &'a [u8], mut continued: bool, each: &mut impl FnMut(Line<'_>)) -> (&'a [u8], bool) {
        while line.len() > self.bytes_max {
            let (text, rest) = line.split_at(piece_bytes(line, self.bytes_max));
            each(Line { text, continued, more: true });
            (line, continued) = (rest, true);
        }
        (line, continued)
    }
}

/// Where a line of more than `bytes_max` is split: at the bound, or before the character of UTF-8 that lies across it.
fn piece_bytes(line: &[u8], bytes_max: usize) -> usize {
    let is_within = |at: usize| line[at] & 0b1100_0000 == 0b1000_0000;
    let start = (bytes_max - 3..=bytes_max).rev().find(|&at| !is_within(at));
    start.unwrap_or(bytes_max)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each line as text, `+` before what goes on and after what will.
    fn shown(bytes_max: usize, reads: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::new(bytes_max);
        let mut shown = Vec::new();
        let mut show = |line: Line<'_>| {
            let mark = |is: bool| if is { "+" } else { "" };
            shown.push(format!("{}{}{}", mark(line.continued), String::from_utf8_lossy(line.text), mark(line.more)));
        };
        reads.iter().for_each(|read| lines.feed(read, &mut show));
        lines.finish(&mut show);
        shown
    }

    #[test]
    fn a_line_is_whole_however_it_comes() {
        assert_eq!(shown(10, &[b"a\nb", b"c", b"\n\nd\n"]), ["a", "bc", "", "d"]);
        assert_eq!(shown(10, &[b"last words"]), ["last words"]);
        assert_eq!(shown(10, &[b""]), [""; 0]);
    }

    #[test]
    fn a_line_of_the_bound_is_whole_and_a_longer_one_is_split() {
        assert_eq!(shown(4, &[b"1234\n"]), ["1234"]);
        assert_eq!(shown(4, &[b"12345\n"]), ["1234+", "+5"]);
        assert_eq!(shown(4, &[b"12", b"34", b"5678", b"\nx\n"]), ["1234+", "+5678", "x"]);
    }

    #[test]
    fn no_character_is_split() {
        assert_eq!(shown(4, &["abcé\n".as_bytes()]), ["abc+", "+é"]);
        assert_eq!(shown(5, &["a😀😀\n".as_bytes()]), ["a😀+", "+😀"]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_line_is_too_long(
            reads in prop::collection::vec(prop::collection::vec(prop_oneof![4 => any::<u8>(), 1 => Just(b'\n')], 0..40), 0..20),
            bytes_max in 4usize..30,
        ) {
            let all = reads.concat();
            let mut found = Vec::new();
            let mut lines = Lines::new(bytes_max);
            let mut rebuilt = Vec::new();
            let mut each = |line: Line<'_>| {
                assert!(line.text.len() <= bytes_max && !line.text.contains(&b'\n'));
                assert!(!line.more || line.text.len() + 3 >= bytes_max);
                rebuilt.extend_from_slice(line.text);
                if !line.more {
                    rebuilt.push(b'\n');
                }
                found.push((line.text.to_vec(), line.continued, line.more));
            };
            reads.iter().for_each(|read| lines.feed(read, &mut each));
            lines.finish(&mut each);
            if rebuilt.len() > all.len() {
                prop_assert_eq!(rebuilt.pop(), Some(b'\n'));
            }
            prop_assert_eq!(rebuilt, all.clone());

            let mut at_once = Vec::new();
            let mut lines = Lines::new(bytes_max);
            let mut each = |line: Line<'_>| at_once.push((line.text.to_vec(), line.continued, line.more));
            lines.feed(&all, &mut each);
            lines.finish(&mut each);
            prop_assert_eq!(found, at_once);
        }
    }
}
