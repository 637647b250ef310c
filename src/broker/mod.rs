//! The routing of each pattern as a sans-IO core: whole messages in, queued bytes out, time as an argument.
//!
//! A [`Core`] owns all state of its pattern, and with it the [`Peers`] and what is queued for each of them. It never
//! sees a socket: `transport` tells it who came, what they sent, what could be written and who left, and writes what
//! the core has queued. One thread calls it, so nothing here locks.

mod count;
mod peers;
mod queue;
pub mod requests;

use bytes::Bytes;

pub use count::Count;
pub use peers::{PeerId, Peers};
pub use queue::{IOVECS_MAX, Queue};

use crate::wire::PeerInfo;

/// Milliseconds on the worker's own clock, from an origin of its choice.
pub type Millis = u64;

/// The worker's clock: asked by those alone who need to know the time.
pub trait Clock {
    /// The time of everything that happens in one turn of the loop.
    fn now(&self) -> Millis;
}

/// A clock that stands still.
impl Clock for Millis {
    fn now(&self) -> Millis {
        *self
    }
}

/// Which of a worker's doors (listening sockets) a peer came through, in the order in which the worker opened them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Door(pub usize);

/// One whole message: its frames with their headers, as they came.
#[derive(Clone, Debug)]
pub enum Message<'a> {
    /// It lies in a buffer that is used again after the call: what is to be kept must be copied.
    Borrowed(&'a [u8]),
    /// It has memory of its own, so that keeping it costs nothing.
    Shared(Bytes),
}

impl Message<'_> {
    /// The bytes, wherever they lie.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    /// The message without its first `bytes`.
    pub fn skip(self, bytes: usize) -> Self {
        match self {
            Self::Borrowed(whole) => Self::Borrowed(&whole[bytes..]),
            Self::Shared(whole) => Self::Shared(whole.slice(bytes..)),
        }
    }

    /// Memory that may be kept: a copy, if the message was borrowed.
    pub fn keep(self) -> Bytes {
        match self {
            Self::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Self::Shared(bytes) => bytes,
        }
    }
}

/// The routing of one pattern.
pub trait Core {
    /// The peers and their queues.
    fn peers(&mut self) -> &mut Peers;

    /// A peer has finished its handshake.
    fn joined(&mut self, peer: PeerId, door: Door, info: &PeerInfo);

    /// A peer that has joined sent a whole message.
    fn message(&mut self, peer: PeerId, message: Message<'_>, clock: &impl Clock);

    /// `messages` of those queued for the peer have been written to its socket, whole.
    fn written(&mut self, peer: PeerId, messages: u64);

    /// The peer is gone; it may never have joined. What was queued for it is lost.
    fn left(&mut self, peer: PeerId, clock: &impl Clock);

    /// How many bytes may be read from the peer now. With none, it is to pause until [`Core::resumed`] names it.
    fn credit(&mut self, peer: PeerId) -> usize;

    /// The peers that may be read again, of those that were told to pause. Asked for once in a turn of the loop.
    fn resumed(&mut self) -> Vec<PeerId>;

    /// Whether some of those who pause may still have to be asked for, though nothing happens.
    fn holds_back(&self) -> bool;

    /// When [`Core::tick`] is due, if ever.
    fn deadline(&self) -> Option<Millis>;

    /// Does what is due at `now`.
    fn tick(&mut self, now: Millis);

    /// The worker is to end soon: nothing new is taken from those in front, and what is in hand is brought to its end.
    fn drain(&mut self);

    /// Whether nothing is left that could still be brought to its end.
    fn is_drained(&self) -> bool;

    /// The worker is about to end: whatever is still in hand is accounted for.
    fn stop(&mut self);
}
