//! Sockets, connections and the loop that drives a broker core.
//!
//! One thread. Each turn of the loop reads from everybody who is ready, into a buffer that all share, and hands whole
//! messages to the core; then it writes what the core has queued, one vectored write per peer. Nothing is written while
//! reading: a burst of messages for one peer leaves in one system call.
//!
//! Decides nothing about messages: what goes where, what is bounded and what is dropped is the core's. It owns
//! connections: how many, how long a handshake may take, when silence is answered with a PING, and what a partial
//! message may cost.

mod accept;
mod clock;
mod counts;
mod event_loop;
mod flush;
mod hub;
mod intake;
mod link;
mod memory;
mod read;
mod timer;

use std::io;
use std::net::TcpListener;

pub use self::counts::Counts;
use self::hub::Hub;
use crate::broker::Core;
use crate::sys::stop::Stop;
use crate::wire::{self, SocketType};

/// Bounds on connections. Each says what happens when it is reached.
#[derive(Clone, Debug)]
pub struct Options {
    /// Milliseconds from accept to the handshake's end; then the peer is disconnected.
    pub handshake_ms_max: u64,
    /// Unfinished handshakes; the oldest goes when one more comes.
    pub handshakes_max: usize,
    /// Connections in all; one more is closed at once, unless an unfinished handshake can go in its stead.
    pub connections_max: usize,
    /// Milliseconds of silence after which a peer that knows PING is sent one, and others are probed by TCP; 0: never.
    pub heartbeat_ms: u64,
    /// Milliseconds that may pass between the order to stop and the end, while something is in hand.
    pub drain_ms_max: u64,
    /// Milliseconds between two signs of life; 0: none.
    pub alive_ms: u64,
    /// Milliseconds that a PING, a probe or written bytes may stay unanswered; then the peer is disconnected.
    pub heartbeat_timeout_ms: u64,
}

/// A listening socket, and what we are to those who come through it.
#[derive(Debug)]
pub struct OpenDoor {
    /// Bound, listening and non-blocking.
    pub listener: TcpListener,
    /// Our socket type there.
    pub ours: SocketType,
    /// Bounds on what a peer may announce; who exceeds one is disconnected.
    pub limits: wire::Limits,
    /// Connections through this door; one more is closed at once, whatever room the other doors have.
    pub connections_max: usize,
}

/// Serves the peers that come through `doors` until `stop` is due, on the calling thread.
///
/// The first of `doors` is the core's `Door(0)`, and so on.
pub fn serve<C: Core>(core: C, doors: Vec<OpenDoor>, options: Options, counts: Counts, stop: &Stop) -> io::Result<()> {
    Hub::new(core, doors, options, counts)?.run(stop)
}
