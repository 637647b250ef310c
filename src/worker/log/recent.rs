//! The recent lines of one service, in a bounded number of bytes. Pure.

use std::collections::VecDeque;

use super::lines::Line;
use super::origin::Stream;

/// Bytes that a line takes beside its text.
const HEADER_BYTES: usize = 30;

/// The newest lines; the oldest give way.
#[derive(Debug)]
pub(super) struct Recent {
    /// Header and text of each line, the oldest first.
    bytes: VecDeque<u8>,
    bytes_max: usize,
}

/// A line that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// Its place among the lines of all services.
    pub(super) number: u64,
    /// Microseconds since 1970.
    pub(super) time_us: u64,
    pub(super) instance: u32,
    pub(super) pid: Option<u32>,
    pub(super) stream: Stream,
    pub(super) text: Vec<u8>,
    pub(super) continued: bool,
    pub(super) more: bool,
}

/// What is said about a line beside its text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    pub(super) number: u64,
    pub(super) time_us: u64,
    pub(super) instance: u32,
    pub(super) pid: Option<u32>,
    pub(super) stream: Stream,
}

impl Recent {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes: VecDeque::new(), bytes_max }
    }

    /// Keeps a line. One that is larger than all there is room for is not kept.
    pub(super) fn push(&mut self, said: Said, line: Line<'_>) {
        let bytes = HEADER_BYTES + line.text.len();
        if bytes > self.bytes_max {
            return;
        }
        while self.bytes.len() + bytes > self.bytes_max {
            let oldest = HEADER_BYTES + self.text_bytes(0);
            self.bytes.drain(..oldest);
        }
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(&(line.text.len() as u32).to_le_bytes());
        header[4..12].copy_from_slice(&said.number.to_le_bytes());
        header[12..20].copy_from_slice(&said.time_us.to_le_bytes());
        header[20..24].copy_from_slice(&said.instance.to_le_bytes());
        header[24..28].copy_from_slice(&said.pid.unwrap_or(0).to_le_bytes());
        header[28] = u8::from(said.stream == Stream::Stderr);
        header[29] = u8::from(line.continued) | u8::from(line.more) << 1;
        self.bytes.extend(&header);
        self.bytes.extend(line.text);
    }

    /// The lines, the oldest first.
    pub(super) fn lines(&self) -> Vec<Kept> {
        let mut lines = Vec::new();
        let mut at = 0;
        while at < self.bytes.len() {
            let text = self.text_bytes(at);
            let header: [u8; HEADER_BYTES] = self.array(at);
            let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
            let long = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
            at += HEADER_BYTES;
            lines.push(Kept {
                number: long(4),
                time_us: long(12),
                instance: word(20),
                pid: Some(word(24)).filter(|pid| *pid != 0),
                stream: if header[28] == 0 { Stream::Stdout } else { Stream::Stderr },
                text: self.bytes.range(at..at + text).copied().collect(),
                continued: header[29] & 1 != 0,
                more: header[29] & 2 != 0,
            });
            at += text;
        }
        lines
    }

    /// Bytes of the text of the line whose header is at `at`.
    fn text_bytes(&self, at: usize) -> usize {
        u32::from_le_bytes(self.array(at)) as usize
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        std::array::from_fn(|place| self.bytes[at + place])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(number: u64) -> Said {
        Said { number, time_us: 7, instance: 2, pid: Some(77), stream: Stream::Stderr }
    }

    #[test]
    fn a_line_is_kept_with_all_that_is_said_about_it() {
        let mut recent = Recent::new(1000);
        recent.push(said(1), Line { text: b"a\0b", continued: true, more: false });
        let kept = Kept {
            number: 1,
            time_us: 7,
            instance: 2,
            pid: Some(77),
            stream: Stream::Stderr,
            text: b"a\0b".to_vec(),
            continued: true,
            more: false,
        };
        assert_eq!(recent.lines(), [kept]);
    }

    #[test]
    fn where_nothing_is_to_be_kept_nothing_is() {
        let mut recent = Recent::new(0);
        recent.push(said(1), Line { text: b"", continued: false, more: false });
        assert_eq!(recent.lines(), []);
    }

    proptest! {
        #[test]
        fn the_newest_that_find_room_are_kept(
            texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..50),
            bytes_max in 100usize..1000,
        ) {
            let mut recent = Recent::new(bytes_max);
            for (number, text) in texts.iter().enumerate() {
                recent.push(said(number as u64), Line { text, continued: false, more: false });
            }
            prop_assert!(recent.bytes.len() <= bytes_max);
            let kept = recent.lines();
            let mut bytes = 0;
            let room = texts.iter().rev().take_while(|text| {
                bytes += HEADER_BYTES + text.len();
                bytes <= bytes_max
            });
            prop_assert_eq!(kept.len(), room.count());
            for (kept, (number, text)) in kept.iter().rev().zip(texts.iter().enumerate().rev()) {
                prop_assert_eq!((kept.number, &kept.text), (number as u64, text));
            }
        }
    }
}
