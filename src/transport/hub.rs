//! All that one worker's loop works on: the core, the connections, the clock; and how connections come and go.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::TcpStream;

use super::accept::Entrance;
use super::clock::Clock;
use super::counts::Cut;
use super::intake::SHARED_BYTES;
use super::link::{Link, Links};
use super::timer::HEARTBEAT_LOOKS;
use super::{Counts, OpenDoor, Options};
use crate::broker::{Clock as _, Core, Door, Millis, PeerId};
use crate::sys;
use crate::sys::poller::Poller;
use crate::sys::timer::Timer;
use crate::wire::Session;

/// Milliseconds between two warnings that peers can bring about; counters tell of each.
const WARNING_PAUSE_MS: Millis = 10_000;

pub(super) struct Hub<C> {
    pub(super) core: C,
    pub(super) options: Options,
    pub(super) counts: Counts,
    pub(super) poller: Poller,
    pub(super) entrances: Vec<Entrance>,
    pub(super) links: Links,
    /// Those that have something to be read, in the order of their turns.
    pub(super) ready: Vec<PeerId>,
    /// Emptied and used again in each turn of the loop, so that none allocates.
    pub(super) reading: Vec<PeerId>,
    /// What every connection is read into. A message that is whole there is used there.
    pub(super) shared: Box<[u8]>,
    pub(super) clock: Clock,
    /// When the timer's work is due next, and what the timer is armed for.
    pub(super) due: Millis,
    pub(super) armed: Millis,
    pub(super) timer: Timer,
    /// When the next sign of life is due.
    pub(super) alive_at: Millis,
    /// When memory was last relieved.
    pub(super) relieved: Option<Millis>,
    /// Unfinished handshakes in the order in which they began.
    handshakes: BTreeMap<u64, PeerId>,
    accepted: u64,
    /// How many peers bear an identity.
    identities: HashMap<(Door, Vec<u8>), u32>,
    /// When a peer last gave cause for a warning that was logged.
    warned: Option<Millis>,
}

impl<C: Core> Hub<C> {
    pub(super) fn new(core: C, doors: Vec<OpenDoor>, options: Options, counts: Counts) -> io::Result<Self> {
        Ok(Self {
            core,
            options,
            counts,
            poller: Poller::new()?,
            entrances: doors.into_iter().map(Entrance::new).collect(),
            links: Links::default(),
            ready: Vec::new(),
            reading: Vec::new(),
            shared: vec![0; SHARED_BYTES].into_boxed_slice(),
            clock: Clock::new(),
            due: Millis::MAX,
            armed: Millis::MAX,
            timer: Timer::new()?,
            alive_at: 0,
            relieved: None,
            handshakes: BTreeMap::new(),
            accepted: 0,
            identities: HashMap::new(),
            warned: None,
        })
    }

    /// The time of this turn of the loop.
    pub(super) fn now(&self) -> Millis {
        self.clock.now()
    }

    /// Makes sure that the timer wakes at `at` or before.
    #[inline]
    pub(super) fn due(&mut self, at: Millis) {
        self.due = self.due.min(at);
    }

    /// Has the peer read in the next turn of the loop.
    #[inline]
    pub(super) fn list(&mut self, peer: PeerId) {
        if let Some(link) = self.links.get_mut(peer)
            && !std::mem::replace(&mut link.listed, true)
        {
            self.ready.push(peer);
        }
    }

    /// Takes in a new connection, if there is room or can be made.
    pub(super) fn admit(&mut self, stream: TcpStream, door: Door) {
        self.counts.accepted.add(1);
        let full = self.entrances[door.0].is_full() || self.links.len() >= self.options.connections_max;
        if full && !self.drop_oldest_handshake() {
            return self.counts.refuse(Cut::ConnectionsFull.reason());
        }
        if self.entrances[door.0].is_full() {
            return self.counts.refuse(Cut::ConnectionsFull.reason());
        }
        if self.handshakes.len() >= self.options.handshakes_max {
            self.drop_oldest_handshake();
        }
        // Replies are small and wanted at once; what can be joined, has been joined before it is written.
        let _ = stream.set_nodelay(true);
        // A byte that were taken out of the stream would break the sender's own messages.
        let _ = sys::net::keep_urgent_in_line(&stream);
        let peer = self.core.peers().add();
        let watched = stream.set_nonblocking(true).and_then(|()| self.poller.watch_both(&stream, peer.to_u64()));
        if let Err(error) = watched {
            if self.may_warn() {
                tracing::warn!(%error, "cannot wait for a connection's bytes");
            }
            self.core.peers().remove(peer);
            return self.counts.refuse(Cut::NoDescriptors.reason());
        }
        let entrance = &mut self.entrances[door.0];
        let mut greeting = Vec::new();
        let session = Session::new(entrance.ours, entrance.limits.clone(), &mut greeting);
        self.core.peers().push_raw(peer, &greeting);
        entrance.connections += 1;

        let place = self.accepted;
        self.accepted += 1;
        self.links.insert(Link::new(peer, door, stream, session, self.now(), place));
        self.handshakes.insert(place, peer);
        self.counts.handshakes.set(self.handshakes.len() as u64);
        self.due(self.now() + self.options.handshake_ms_max);
    }

    /// The peer's handshake is done.
    #[cold]
    pub(super) fn joined(&mut self, peer: PeerId) {
        self.end_handshake(peer);
        let Some(link) = self.links.get_mut(peer) else { return };
        let info = link.session.peer().expect("a peer that is ready has told who it is").clone();
        let (idle, timeout) = (self.options.heartbeat_ms, self.options.heartbeat_timeout_ms);
        link.heartbeats = info.version.has_heartbeats();
        if idle > 0 && !link.heartbeats {
            // Without it a half-open connection is merely noticed later, so a refusal by the kernel is no reason to
            // refuse the peer.
            let _ = sys::net::probe_half_open(&link.stream, idle, timeout);
        }
        let door = link.door;
        if idle > 0 && info.version.has_heartbeats() {
            self.due(self.now() + idle / HEARTBEAT_LOOKS);
        }
        if !info.identity.is_empty() {
            let bearers = self.identities.entry((door, info.identity.clone())).or_default();
            *bearers += 1;
            let bearers = *bearers;
            if bearers > 1 {
                self.counts.duplicate_identities.add(1);
            }
            if bearers == 2 && self.may_warn() {
                let identity = String::from_utf8_lossy(&info.identity);
                tracing::warn!(%identity, "two peers announce the same identity; each is served by its own connection");
            }
        }
        self.core.joined(peer, door, &info);
    }

    /// Ends a connection; `reason` is counted, if we are the ones who end it.
    #[cold]
    pub(super) fn drop_peer(&mut self, peer: PeerId, reason: Option<&'static str>) {
        self.end_handshake(peer);
        let Some(link) = self.links.remove(peer) else { return };
        self.entrances[link.door.0].connections -= 1;
        if let Some(reason) = reason {
            self.counts.refuse(reason);
            tracing::debug!(peer = peer.to_u64(), reason, "peer disconnected");
        }
        if let Some(identity) = link.identity() {
            let key = (link.door, identity.to_vec());
            if let Some(bearers) = self.identities.get_mut(&key) {
                *bearers -= 1;
                if *bearers == 0 {
                    self.identities.remove(&key);
                }
            }
        }
        self.core.peers().release(link.charged);
        self.core.left(peer, &self.clock);
    }

    /// Ends the oldest unfinished handshake; tells whether there was one.
    pub(super) fn drop_oldest_handshake(&mut self) -> bool {
        let oldest = self.handshakes.first_key_value().map(|(_, peer)| *peer);
        if let Some(peer) = oldest {
            self.drop_peer(peer, Some(Cut::HandshakesFull.reason()));
        }
        oldest.is_some()
    }

    /// The handshake that began first of those that are unfinished, and when it began.
    pub(super) fn oldest_handshake(&self) -> Option<(PeerId, Millis)> {
        let (_, peer) = self.handshakes.first_key_value()?;
        self.links.get(*peer).map(|link| (*peer, link.began))
    }

    fn end_handshake(&mut self, peer: PeerId) {
        if let Some(place) = self.links.get_mut(peer).and_then(|link| link.handshake.take()) {
            self.handshakes.remove(&place);
            self.counts.handshakes.set(self.handshakes.len() as u64);
        }
    }

    /// Whether a warning that peers can bring about may be logged now: they must not be able to fill the log.
    pub(super) fn may_warn(&mut self) -> bool {
        let may = self.warned.is_none_or(|last| self.now() >= last + WARNING_PAUSE_MS);
        if may {
            self.warned = Some(self.now());
        }
        may
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::convert::Infallible;
    use std::net::TcpListener;

    use super::*;
    use crate::broker::Peers;
    use crate::broker::requests::{self, Requests, Settings};
    use crate::wire::{Limits, SocketType};

    /// A requests hub with one door and nobody in it.
    pub(in crate::transport) fn hub(listener: TcpListener) -> Hub<Requests> {
        let settings = Settings {
            window: 1,
            idempotent: false,
            waiting_max: 10,
            waiting_bytes_max: 1 << 20,
            waiting_ms_max: 1000,
        };
        let counts = requests::Counts::register(|_| Ok::<_, Infallible>(Box::leak(Box::default()))).unwrap();
        let core = Requests::new(settings, 0, Peers::new(1 << 20, 1 << 16), counts);
        let limits = Limits { frame_bytes_max: 1000, message_bytes_max: 1000, parts_max: 10, metadata_bytes_max: 1000 };
        let door = OpenDoor { listener, ours: SocketType::Router, limits, connections_max: 10 };
        let options = Options {
            handshake_ms_max: 10_000,
            handshakes_max: 10,
            connections_max: 10,
            heartbeat_ms: 0,
            heartbeat_timeout_ms: 1,
            drain_ms_max: 0,
            alive_ms: 0,
        };
        let counts = Counts::register(|_| Ok::<_, Infallible>(Box::leak(Box::default()))).unwrap();
        Hub::new(core, vec![door], options, counts).unwrap()
    }
}
