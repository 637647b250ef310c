//! What has come in from one connection and is not used yet.
//!
//! Connections have no read buffer of their own: all are read into one that they share, whole messages are used there,
//! and only the piece of a message that is left over is kept, at its own size. So ten thousand idle peers hold nothing,
//! and a busy one finds its bytes in the cache. A message that is too large for that gets memory of its own, which
//! grows with what has really come, never with what was announced.

use std::io::{self, Read};
use std::net::TcpStream;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::broker::Message;
use crate::sys::net;

/// Bytes of the buffer that all connections share.
pub(super) const SHARED_BYTES: usize = 64 << 10;
/// Bytes that every connection may keep of an unfinished message even when memory is full.
pub(super) const UNCHARGED_BYTES: u64 = 4 << 10;
/// Bytes from which an unfinished message gets memory of its own.
const OWN_BYTES_MIN: usize = 32 << 10;

/// The unused bytes of one connection.
#[derive(Debug, Default)]
pub(super) struct Intake {
    kept: Kept,
    /// Bytes, the kept ones included, that lie in the shared buffer now.
    shared: usize,
}

/// What one read brought.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filled {
    pub(super) bytes: usize,
    /// Whether there was room for no more, so that more may be there.
    pub(super) whole_room: bool,
}

#[derive(Debug)]
enum Kept {
    /// The piece of a message, to be put before what is read next.
    Piece(Vec<u8>),
    /// A large message under way, of `needed` bytes as far as is known.
    Own { bytes: BytesMut, needed: usize },
}

impl Default for Kept {
    fn default() -> Self {
        Self::Piece(Vec::new())
    }
}

impl Intake {
    /// Reads once, `limit` bytes at most unless they belong to a large message that is under way. No bytes are the end
    /// of the stream.
    #[inline]
    pub(super) fn fill(&mut self, mut stream: &TcpStream, shared: &mut [u8], limit: usize) -> io::Result<Filled> {
        match &mut self.kept {
            Kept::Piece(piece) => {
                let (front, room) = shared.split_at_mut(piece.len());
                let limit = limit.min(room.len());
                let read = stream.read(&mut room[..limit])?;
                front.copy_from_slice(piece);
                self.shared = piece.len() + read;
                Ok(Filled { bytes: read, whole_room: read == limit })
            }
            Kept::Own { bytes, needed } => fill_own(stream, bytes, *needed),
        }
    }

    /// Makes what was kept the whole of what is there, without reading.
    pub(super) fn resume(&mut self, shared: &mut [u8]) {
        if let Kept::Piece(piece) = &self.kept {
            shared[..piece.len()].copy_from_slice(piece);
            self.shared = piece.len();
        }
    }

    /// All that is there, to be looked through.
    pub(super) fn bytes<'a>(&mut self, shared: &'a mut [u8]) -> Unused<'a> {
        match &mut self.kept {
            Kept::Piece(_) => Unused::Shared(&mut shared[..self.shared]),
            Kept::Own { bytes, .. } => Unused::Own(std::mem::take(bytes)),
        }
    }

    /// Keeps what was left over, of a message that needs `needed` bytes; tells how much memory that takes.
    #[inline]
    pub(super) fn keep(&mut self, rest: Unused<'_>, needed: usize) -> u64 {
        // The usual case: nothing was kept and nothing is left over.
        if rest.len() == 0 && matches!(&self.kept, Kept::Piece(piece) if piece.capacity() == 0) {
            return 0;
        }
        self.keep_rest(rest, needed)
    }

    #[inline(never)]
    fn keep_rest(&mut self, rest: Unused<'_>, needed: usize) -> u64 {
        let length = rest.len();
        self.kept = match rest {
            _ if length == 0 => Kept::default(),
            rest if needed <= OWN_BYTES_MIN && length <= OWN_BYTES_MIN => Kept::Piece(rest.as_slice().to_vec()),
            Unused::Own(bytes) => Kept::Own { bytes, needed },
            Unused::Shared(bytes) => Kept::Own { bytes: BytesMut::from(&*bytes), needed },
        };
        match &self.kept {
            Kept::Piece(piece) => piece.capacity() as u64,
            Kept::Own { bytes, .. } => bytes.capacity() as u64,
        }
    }
}

/// Bytes to be looked through from their front, wherever they lie.
#[derive(Debug)]
pub(super) enum Unused<'a> {
    Shared(&'a mut [u8]),
    Own(BytesMut),
}

#[inline(never)]
fn fill_own(stream: &TcpStream, bytes: &mut BytesMut, needed: usize) -> io::Result<Filled> {
    let missing = needed.saturating_sub(bytes.len());
    bytes.reserve(missing.clamp(1, bytes.len().max(SHARED_BYTES)));
    let read = net::read_more(stream, bytes)?;
    Ok(Filled { bytes: read, whole_room: bytes.len() == bytes.capacity() })
}

impl<'a> Unused<'a> {
    pub(super) fn as_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Own(bytes) => bytes,
        }
    }

    /// Drops `used` bytes from the front.
    pub(super) fn skip(&mut self, used: usize) {
        self.split(used);
    }

    /// Takes the message at `range` and drops all before it.
    pub(super) fn take(&mut self, range: Range<usize>) -> Message<'a> {
        let length = self.len();
        match self.split(range.end) {
            Unused::Shared(bytes) => Message::Borrowed(&bytes[range.start..]),
            // A message that is kept keeps the memory that it shares. So it gets only what is mostly its own: not that
            // of a larger one before it, nor of commands that came between its frames.
            Unused::Own(bytes) if range.len() < length - length / 8 => {
                Message::Shared(Bytes::copy_from_slice(&bytes[range.start..]))
            }
            Unused::Own(bytes) => {
                if let Self::Own(rest) = self {
                    *rest = BytesMut::from(&rest[..]);
                }
                Message::Shared(bytes.freeze().slice(range.start..))
            }
        }
    }

    fn split(&mut self, at: usize) -> Self {
        match self {
            Self::Shared(bytes) => {
                let (front, rest) = std::mem::take(bytes).split_at_mut(at);
                *bytes = rest;
                Self::Shared(front)
            }
            Self::Own(bytes) => Self::Own(bytes.split_to(at)),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Own(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether keeping `message` keeps the memory that begins at `memory`.
    fn lies_in(message: &Message<'_>, memory: Range<*const u8>) -> bool {
        memory.contains(&message.bytes().as_ptr())
    }

    #[test]
    fn only_a_message_that_fills_its_memory_keeps_it() {
        let bytes = BytesMut::from(&[7; 1000][..]);
        let memory = bytes.as_ptr_range();
        let mut unused = Unused::Own(bytes);
        assert!(!lies_in(&unused.take(0..400), memory.clone()), "it shares the memory with what follows");
        assert!(!lies_in(&unused.take(500..510), memory.clone()), "it is what commands left over");
        let large = unused.take(0..85);
        assert!(lies_in(&large, memory.clone()));
        assert_eq!(unused.as_slice(), [7; 5]);
        assert!(!memory.contains(&unused.as_slice().as_ptr()), "what follows does not keep it either");
    }
}
