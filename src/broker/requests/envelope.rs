//! The broker's address frame, and the empty frame that a REP needs to find.
//!
//! A back-end gets `address, the client's envelope, empty frame, body`. A REP returns everything up to the empty frame
//! and puts its reply behind; a DEALER back-end must do the same. A client whose message has no empty frame (a DEALER
//! that sends a bare body) would be dropped without a word by every REP, so the broker puts one in, says so in the
//! address, and takes it out of the reply.

use crate::broker::{Message, PeerId};
use crate::wire::Frames;

/// Bytes of the address frame's body.
pub(super) const ADDRESS_BYTES: usize = 25;
/// Bytes of the longest prefix: the address frame with its header, an empty frame.
pub(super) const PREFIX_BYTES_MAX: usize = 2 + ADDRESS_BYTES + 2;

/// Frames of a client's own envelope, its empty frame included.
const ENVELOPE_PARTS_MAX: usize = 64;
/// Bytes of a client's own envelope, headers included.
const ENVELOPE_BYTES_MAX: usize = 64 << 10;
/// Frames that a request and its reply may have at the back beyond what they may have at the front.
pub const BACK_PARTS_MORE: u32 = ENVELOPE_PARTS_MAX as u32 + 2;
/// Bytes that a request and its reply may have at the back beyond what they may have at the front.
pub const BACK_BYTES_MORE: u64 = (ENVELOPE_BYTES_MAX + PREFIX_BYTES_MAX) as u64;

/// Whose empty frame it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Envelope {
    /// The client sent one.
    Whole = 1,
    /// The broker adds one.
    Added = 2,
}

impl Envelope {
    /// Looks for the client's empty frame: it must have a body behind it. `None` if what lies before it is more than a
    /// client may have returned: the back-end's reply has to carry it beside the back-end's own words.
    #[inline]
    pub(super) fn of(message: &[u8]) -> Option<Self> {
        let empty = Frames::new(message).enumerate().find(|(_, frame)| frame.more && frame.body.is_empty());
        match empty {
            None => Some(Self::Added),
            Some((parts, frame)) => {
                (parts < ENVELOPE_PARTS_MAX && frame.end <= ENVELOPE_BYTES_MAX).then_some(Self::Whole)
            }
        }
    }

    /// Takes address and added frame off a reply; `None` if what the client needs is not there.
    pub(super) fn strip(self, reply: Message<'_>) -> Option<Message<'_>> {
        let mut frames = Frames::new(reply.bytes());
        let mut last = frames.next().filter(|address| address.more)?;
        if self == Self::Added {
            last = frames.next().filter(|added| added.more && added.body.is_empty())?;
        }
        let start = last.end;
        Some(reply.skip(start))
    }
}

/// Which request a reply answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// Which worker gave it out: a back-end may answer only when another one has taken that worker's place, whose
    /// clients and requests have the same numbers.
    pub(super) worker: u64,
    pub(super) client: PeerId,
    pub(super) number: u64,
}

impl Address {
    /// The frames that go before a request, and how many bytes of the array they take.
    #[inline]
    pub(super) fn prefix(self, envelope: Envelope) -> ([u8; PREFIX_BYTES_MAX], usize) {
        const MORE: u8 = 1;
        let mut prefix = [0; PREFIX_BYTES_MAX];
        prefix[0] = MORE;
        prefix[1] = ADDRESS_BYTES as u8;
        prefix[2] = envelope as u8;
        prefix[3..11].copy_from_slice(&self.worker.to_be_bytes());
        prefix[11..19].copy_from_slice(&self.client.to_u64().to_be_bytes());
        prefix[19..27].copy_from_slice(&self.number.to_be_bytes());
        prefix[27] = MORE;
        (prefix, if envelope == Envelope::Added { PREFIX_BYTES_MAX } else { PREFIX_BYTES_MAX - 2 })
    }

    /// Reads the address in a reply's first frame; `None` if it is none of ours.
    #[inline]
    pub(super) fn read(reply: &[u8]) -> Option<(Self, Envelope)> {
        let first = Frames::new(reply).next()?;
        let body: &[u8; ADDRESS_BYTES] = first.body.try_into().ok()?;
        let envelope = match body[0] {
            1 => Envelope::Whole,
            2 => Envelope::Added,
            _ => return None,
        };
        let word = |at: usize| u64::from_be_bytes(body[at..at + 8].try_into().expect("eight bytes"));
        Some((Self { worker: word(1), client: PeerId::from_u64(word(9)), number: word(17) }, envelope))
    }
}
