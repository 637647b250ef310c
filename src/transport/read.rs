//! Reads, and gives the core what is whole.

use std::io::ErrorKind;

use super::counts::Cut;
use super::hub::Hub;
use super::link::Silence;
use crate::broker::{Core, PeerId};
use crate::wire::{Step, WireError};

/// Messages after which the others have their turn even in the midst of what was read: the smallest ones are the most
/// work.
const TURN_MESSAGES: usize = 256;
/// Bytes that may be queued for a peer in any case before answering its PINGs is given up, however low its bound is.
const ANSWERS_BYTES_MAX: usize = 64 << 10;

/// Why a connection ended.
enum End {
    /// The peer closed it, or the network did.
    Closed,
    /// The peer broke the protocol.
    Wire(WireError),
    /// We ended it.
    Cut(Cut),
}

/// Why the whole messages of what was read are at their end.
enum Stop {
    /// So many bytes are needed before there is another.
    Needed(usize),
    /// It is the others' turn.
    Turn,
    /// The handshake is done; what comes behind it waits until the core knows the peer.
    Joined,
}

impl<C: Core> Hub<C> {
    /// Gives everybody who has something to be read a turn.
    #[inline]
    pub(super) fn read_ready(&mut self) {
        std::mem::swap(&mut self.ready, &mut self.reading);
        for place in 0..self.reading.len() {
            self.read_one(self.reading[place]);
        }
        self.reading.clear();
    }

    #[inline]
    pub(super) fn read_one(&mut self, peer: PeerId) {
        if let Err(end) = self.read(peer) {
            self.end(peer, end);
        }
    }

    /// One turn of one peer: reads once, and gives the core what is whole. A peer that always has more would else fill
    /// the queues of those it sends to before anything of them is written.
    fn read(&mut self, peer: PeerId) -> Result<(), End> {
        let Some(link) = self.links.get_mut(peer) else { return Ok(()) };
        link.listed = false;
        // Asked for when bytes are there to be read: others may have filled what was left.
        let credit = self.core.credit(peer);
        if credit == 0 {
            link.paused = true;
            // Only clients are held back: one that is gone can be answered nothing, and must not keep its place until
            // there is room for what it still asks. Back-ends are read to the last reply.
            return if link.gone || link.ended { Err(End::Closed) } else { Ok(()) };
        }
        if link.unused {
            link.intake.resume(&mut self.shared);
        } else {
            match link.intake.fill(&link.stream, &mut self.shared, credit) {
                Ok(filled) if filled.bytes == 0 => return Err(End::Closed),
                Ok(filled) => {
                    link.readable = filled.whole_room || link.drain;
                    self.counts.bytes_in.add(filled.bytes as u64);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    link.readable = false;
                    return Ok(());
                }
                Err(_) => return Err(End::Closed),
            }
        }
        link.silence = Silence::None;
        self.take_in(peer)
    }

    /// Takes the whole messages out of what has been read and gives them to the core, as many as make a turn.
    #[inline]
    fn take_in(&mut self, peer: PeerId) -> Result<(), End> {
        let Self { core, links, shared, clock, .. } = self;
        let Some(link) = links.get_mut(peer) else { return Ok(()) };
        let mut answers = Vec::new();
        let mut bytes = link.intake.bytes(shared);
        let mut messages = 0;
        let outcome = loop {
            if messages > 0 && bytes.len() == 0 {
                break Ok(Stop::Needed(0));
            }
            if messages == TURN_MESSAGES {
                break Ok(Stop::Turn);
            }
            match link.session.step(bytes.as_mut(), &mut answers) {
                Ok(Step::NeedMore { bytes: needed }) => break Ok(Stop::Needed(needed)),
                Ok(Step::Skip { bytes: used }) => bytes.skip(used),
                Ok(Step::Ready { bytes: used }) => {
                    bytes.skip(used);
                    break Ok(Stop::Joined);
                }
                Ok(Step::Message { range }) => {
                    core.message(peer, bytes.take(range), clock);
                    messages += 1;
                }
                Err(error) => break Err(End::Wire(error)),
            }
        };
        // What the peer is answered goes before what the core may send it on its joining.
        core.peers().push_raw(peer, &answers);
        let stop = outcome?;
        let needed = if let Stop::Needed(needed) = stop { needed } else { 0 };
        link.unused = !matches!(stop, Stop::Needed(_)) && bytes.len() > 0;
        let kept = link.intake.keep(bytes, needed);
        let charged = std::mem::replace(&mut link.charged, kept);
        let again = link.unused || link.readable;
        let ends = link.gone && !link.unused;
        core.peers().hold(kept);
        core.peers().release(charged);
        // It goes on sending PINGs and does not read the answers.
        let slow = !answers.is_empty()
            && core.peers().is_full(peer)
            && core.peers().queue(peer).is_some_and(|queue| queue.bytes() > ANSWERS_BYTES_MAX);
        if let Stop::Joined = stop {
            self.joined(peer);
        }
        if slow {
            return Err(End::Cut(Cut::Slow));
        }
        if ends {
            return Err(End::Closed);
        }
        if kept > charged {
            self.relieve_memory();
        }
        if again {
            self.list(peer);
        }
        Ok(())
    }

    #[cold]
    fn end(&mut self, peer: PeerId, end: End) {
        let reason = match end {
            End::Closed => None,
            End::Cut(cut) => Some(cut.reason()),
            End::Wire(error) => {
                // An ERROR command may be queued that tells the peer why.
                self.flush_one(peer);
                tracing::debug!(peer = peer.to_u64(), %error, "peer broke the protocol");
                Some(error.reason())
            }
        };
        self.drop_peer(peer, reason);
    }
}
