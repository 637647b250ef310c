//! Sockets, connections and the loop that drives a broker core.
//!
//! One thread. A task per connection reads into a buffer that all share and hands whole messages to the core; when all
//! who were ready have been read, one flusher writes what the core has queued, one vectored write per peer. Nothing is
//! written while reading: a burst of messages for one peer leaves in one system call.
//!
//! Decides nothing about messages: what goes where, what is bounded and what is dropped is the core's. It owns
//! connections: how many, how long a handshake may take, when silence is answered with a PING, and what a partial
//! message may cost.

mod accept;
mod bell;
mod counts;
mod flush;
mod hub;
mod intake;
mod read;
mod timer;

use std::cell::Cell;
use std::future::Future;
use std::net::TcpListener;
use std::rc::Rc;

pub use self::counts::Counts;
use self::hub::{Entrance, Hub};
use crate::broker::{Core, Door};
use crate::sys::timer::Timer;
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

/// Serves the peers that come through `doors` until `stop` is ready. Must run on a `tokio::runtime::LocalRuntime`.
///
/// The first of `doors` is the core's `Door(0)`, and so on.
pub async fn serve<C: Core + 'static>(
    core: C,
    doors: Vec<OpenDoor>,
    options: Options,
    counts: Counts,
    stop: impl Future<Output = ()> + 'static,
) -> std::io::Result<()> {
    let hub = Rc::new(Hub::new(core, options, counts));
    let mut tasks = tokio::task::JoinSet::new();
    for (index, door) in doors.into_iter().enumerate() {
        let OpenDoor { listener, ours, limits, connections_max } = door;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let entrance = Entrance { door: Door(index), ours, limits, connections_max, connections: Cell::new(0) };
        tasks.spawn_local(accept::run(hub.clone(), listener, Timer::new()?, Rc::new(entrance)));
    }
    tasks.spawn_local(flush::run(hub.clone()));
    tasks.spawn_local(timer::run(hub.clone(), Timer::new()?));
    // A task of its own: this one is looked at whenever any other was woken.
    let stopped = tokio::task::spawn_local(stop).await;
    // What is queued leaves as far as the sockets take it now; the rest is accounted for.
    flush::all(&hub);
    hub.core.borrow_mut().stop();
    stopped.map_err(std::io::Error::other)
}
