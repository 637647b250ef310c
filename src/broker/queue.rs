//! What waits to be written to one peer.
//!
//! Small messages are copied one behind the other into a chunk, so that a burst of them leaves in one write without an
//! allocation for each. A large one that has memory of its own is queued as it is. Bounds are the owner's affair: it
//! asks for [`Queue::bytes`] before it pushes.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

use super::Message;

/// Slices that one vectored write takes at most.
pub const IOVECS_MAX: usize = 64;
/// Bytes from which a shared message is queued as it is: below, copying is cheaper than one more slice.
const SHARED_BYTES_MIN: usize = 8 << 10;
/// Bytes after which a chunk takes no further message.
const CHUNK_BYTES: usize = 64 << 10;

/// Bytes that wait to be written, in order.
#[derive(Debug, Default)]
pub struct Queue {
    chunks: VecDeque<Chunk>,
    /// Bytes of the first chunk that are written already.
    written: usize,
    bytes: usize,
    messages: u64,
    held: usize,
}

#[derive(Debug)]
struct Chunk {
    bytes: ChunkBytes,
    /// Counted messages that are whole once this chunk is written.
    messages: u64,
}

#[derive(Debug)]
enum ChunkBytes {
    Copied(Vec<u8>),
    Shared(Bytes),
}

impl ChunkBytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    /// Bytes of memory that it takes, used or not.
    fn held(&self) -> usize {
        match self {
            Self::Copied(bytes) => bytes.capacity(),
            Self::Shared(bytes) => bytes.len(),
        }
    }
}

impl Queue {
    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of memory that the queue takes: a chunk's until all of it is written, and what is spare in it. A peer that
    /// reads all but the last byte of a large message makes us hold the whole.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Counted messages that wait, in whole or in part.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Queues protocol bytes, which count as no message.
    pub fn push_raw(&mut self, bytes: &[u8], spares: &mut Vec<Vec<u8>>) {
        self.copy(&[bytes], spares);
        self.bytes += bytes.len();
    }

    /// Queues `prefix` and `message` behind it as one counted message.
    pub fn push(&mut self, prefix: &[u8], message: Message<'_>, spares: &mut Vec<Vec<u8>>) {
        let total = prefix.len() + message.bytes().len();
        match message {
            Message::Shared(bytes) if bytes.len() >= SHARED_BYTES_MIN => {
                if !prefix.is_empty() {
                    self.copy(&[prefix], spares);
                }
                self.held += bytes.len();
                self.chunks.push_back(Chunk { bytes: ChunkBytes::Shared(bytes), messages: 1 });
            }
            message => {
                self.copy(&[prefix, message.bytes()], spares);
                self.chunks.back_mut().expect("the tail was just there").messages += 1;
            }
        }
        self.bytes += total;
        self.messages += 1;
    }

    /// What is to be written, if it lies in one piece.
    pub fn only_slice(&self) -> Option<&[u8]> {
        match self.chunks.len() {
            1 => Some(&self.chunks[0].bytes.as_slice()[self.written..]),
            _ => None,
        }
    }

    /// Fills `slices` with what is to be written next and tells how many it used.
    pub fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>; IOVECS_MAX]) -> usize {
        let mut skip = self.written;
        let mut used = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(&chunk.bytes.as_slice()[skip..]);
            skip = 0;
            used += 1;
        }
        used
    }

    /// Takes off `bytes` that were written; tells how many counted messages became whole by it.
    pub fn wrote(&mut self, bytes: usize, spares: &mut Vec<Vec<u8>>) -> u64 {
        assert!(bytes <= self.bytes, "more was written than was queued");
        self.bytes -= bytes;
        self.written += bytes;
        let before = self.messages;
        while let Some(first) = self.chunks.front() {
            let length = first.bytes.as_slice().len();
            if self.written < length {
                break;
            }
            self.written -= length;
            let first = self.chunks.pop_front().expect("there is a first");
            self.messages -= first.messages;
            self.held -= first.bytes.held();
            if let ChunkBytes::Copied(buffer) = first.bytes {
                give_spare(buffer, spares);
            }
        }
        before - self.messages
    }

    /// Copies `parts` into the last chunk, or into a new one.
    fn copy(&mut self, parts: &[&[u8]], spares: &mut Vec<Vec<u8>>) {
        let more = parts.iter().map(|part| part.len()).sum();
        let tail = self.tail(more, spares);
        let before = tail.capacity();
        tail.reserve(more);
        parts.iter().for_each(|part| tail.extend_from_slice(part));
        let grown = tail.capacity() - before;
        self.held += grown;
    }

    /// The chunk that small messages are copied into, when `more` bytes are to follow.
    fn tail(&mut self, more: usize, spares: &mut Vec<Vec<u8>>) -> &mut Vec<u8> {
        let fits = matches!(
            self.chunks.back(),
            Some(Chunk { bytes: ChunkBytes::Copied(buffer), .. })
                if buffer.is_empty() || buffer.len() + more <= CHUNK_BYTES
        );
        if !fits {
            let bytes = ChunkBytes::Copied(spares.pop().unwrap_or_default());
            self.held += bytes.held();
            self.chunks.push_back(Chunk { bytes, messages: 0 });
        }
        match self.chunks.back_mut() {
            Some(Chunk { bytes: ChunkBytes::Copied(buffer), .. }) => buffer,
            _ => unreachable!("a copied chunk was just made sure of"),
        }
    }
}

/// Keeps a few emptied buffers for the next queue that needs one: idle peers then hold none.
fn give_spare(mut buffer: Vec<u8>, spares: &mut Vec<Vec<u8>>) {
    const SPARES_MAX: usize = 64;
    if spares.len() < SPARES_MAX && buffer.capacity() <= 2 * CHUNK_BYTES {
        buffer.clear();
        spares.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written_in_steps(queue: &mut Queue, steps: &[usize], spares: &mut Vec<Vec<u8>>) -> (Vec<u8>, u64) {
        let (mut written, mut messages) = (Vec::new(), 0);
        for &step in steps.iter().chain(std::iter::repeat(&usize::MAX)) {
            let mut slices = [IoSlice::new(&[]); IOVECS_MAX];
            let used = queue.gather(&mut slices);
            if used == 0 {
                break;
            }
            let flat = slices[..used].iter().map(|slice| &**slice).collect::<Vec<_>>().concat();
            let step = step.min(flat.len());
            written.extend_from_slice(&flat[..step]);
            messages += queue.wrote(step, spares);
        }
        (written, messages)
    }

    proptest! {
        #[test]
        fn all_that_was_queued_is_written_once_and_in_order(
            sizes in prop::collection::vec((0usize..20, 0usize..12_000, any::<bool>()), 0..16),
            steps in prop::collection::vec(0usize..30_000, 0..40),
        ) {
            let (mut queue, mut spares, mut expected) = (Queue::default(), Vec::new(), Vec::new());
            for (index, &(prefix, size, shared)) in sizes.iter().enumerate() {
                let (prefix, body) = (vec![0xaa; prefix], vec![index as u8; size]);
                expected.extend_from_slice(&prefix);
                expected.extend_from_slice(&body);
                let message = if shared { Message::Shared(body.clone().into()) } else { Message::Borrowed(&body) };
                queue.push(&prefix, message, &mut spares);
            }
            prop_assert_eq!(queue.bytes(), expected.len());
            let (written, messages) = written_in_steps(&mut queue, &steps, &mut spares);
            prop_assert_eq!(written, expected);
            prop_assert_eq!(messages, sizes.len() as u64);
            prop_assert_eq!((queue.bytes(), queue.messages()), (0, 0));
        }
    }

    #[test]
    fn a_message_counts_as_written_when_its_last_byte_is() {
        let (mut queue, mut spares) = (Queue::default(), Vec::new());
        queue.push(b"ab", Message::Borrowed(b"cd"), &mut spares);
        assert_eq!(queue.wrote(3, &mut spares), 0);
        assert_eq!(queue.messages(), 1);
        assert_eq!(queue.wrote(1, &mut spares), 1);
    }

    #[test]
    fn an_idle_queue_holds_no_buffer() {
        let (mut queue, mut spares) = (Queue::default(), Vec::new());
        queue.push_raw(b"abc", &mut spares);
        queue.wrote(3, &mut spares);
        assert!(queue.chunks.is_empty());
        assert_eq!(spares.len(), 1);
    }
}
