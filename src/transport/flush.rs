//! Writes what the core has queued, when all who were ready have been read.

use std::io::{self, ErrorKind, IoSlice, Write};

use super::hub::Hub;
use super::link::{Link, Silence};
use crate::broker::{Core, IOVECS_MAX, Millis, PeerId, Queue};

/// Milliseconds after which those who were held back are looked at again, should nothing else happen.
const HELD_BACK_MS: Millis = 20;
/// Writes to one peer in a row; then the others have their turn.
const WRITES_MAX: usize = 16;

impl<C: Core> Hub<C> {
    /// Writes what is queued for every peer, as far as their sockets take it now.
    #[inline]
    pub(super) fn flush(&mut self) {
        while let Some(peer) = self.core.peers().next_dirty() {
            self.flush_one(peer);
        }
    }

    /// Writes what is queued for one peer, as far as its socket takes it now.
    pub(super) fn flush_one(&mut self, peer: PeerId) {
        for _ in 0..WRITES_MAX {
            // Who is blocked comes up again when its socket takes bytes.
            let Some(link) = self.links.get_mut(peer).filter(|link| !link.blocked) else { return };
            let Some(queue) = self.core.peers().queue(peer).filter(|queue| queue.bytes() > 0) else { return };
            match write(link, queue) {
                Ok(bytes) => {
                    self.counts.bytes_out.add(bytes as u64);
                    let messages = self.core.peers().wrote(peer, bytes);
                    self.core.written(peer, messages);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return link.blocked = true,
                // A read would meet the same end of the connection. But what was read already is still to be used.
                Err(_) if link.unused && !link.paused => {
                    link.gone = true;
                    return link.blocked = true;
                }
                Err(_) => return self.drop_peer(peer, None),
            }
        }
        self.core.peers().mark_dirty(peer);
    }

    /// Has those read again who were held back and need not be any longer.
    #[inline]
    pub(super) fn resume(&mut self) {
        if self.core.holds_back() {
            self.resume_some();
        }
    }

    #[cold]
    fn resume_some(&mut self) {
        for peer in self.core.resumed() {
            let Some(link) = self.links.get_mut(peer) else { continue };
            link.paused = false;
            link.silence = Silence::None;
            if link.readable || link.unused {
                self.list(peer);
            }
        }
        if self.core.holds_back() {
            self.due(self.now() + HELD_BACK_MS);
        }
    }
}

#[inline]
fn write(link: &Link, queue: &Queue) -> io::Result<usize> {
    match queue.only_slice() {
        // Mostly all of it lies in one piece.
        Some(only) => (&link.stream).write(only),
        None => write_pieces(link, queue),
    }
}

#[inline(never)]
fn write_pieces(link: &Link, queue: &Queue) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); IOVECS_MAX];
    let used = queue.gather(&mut slices);
    (&link.stream).write_vectored(&slices[..used])
}
