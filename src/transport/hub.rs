//! What all tasks of one worker share: the core, the connections, the clock.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::task::AbortHandle;

use super::bell::Bell;
use super::counts::Cut;
use super::intake::{SHARED_BYTES, UNCHARGED_BYTES};
use super::{Counts, Options, read};
use crate::broker::{Core, Door, Millis, PeerId};
use crate::sys;
use crate::wire::{self, PeerInfo, Session, SocketType};

/// The state that the tasks share. Borrows last for a call, never over an await.
pub(super) struct Hub<C> {
    pub(super) core: RefCell<C>,
    pub(super) options: Options,
    pub(super) counts: Counts,
    /// What every connection is read into. A message that is whole there is used there.
    pub(super) shared: RefCell<Box<[u8]>>,
    /// Wakes the flusher.
    pub(super) flush: Bell,
    /// Wakes the timer when something is due earlier than it is armed for.
    pub(super) timer: Bell,
    pub(super) armed: Cell<Millis>,
    /// By the peer's slot.
    links: RefCell<Vec<Option<Rc<Link>>>>,
    connections: Cell<usize>,
    /// Unfinished handshakes in the order in which they began.
    handshakes: RefCell<BTreeMap<u64, Rc<Link>>>,
    accepted: Cell<u64>,
    identities: RefCell<HashMap<(Door, Vec<u8>), u32>>,
    /// When a peer last gave cause for a warning that was logged.
    warned: Cell<Option<Millis>>,
    /// When memory was last relieved.
    relieved: Cell<Option<Millis>>,
    origin: Instant,
}

/// Milliseconds between two warnings that peers can bring about; counters tell of each.
const WARNING_PAUSE_MS: Millis = 10_000;
/// Milliseconds between two looks for those who hold the most memory: it means looking at all.
const RELIEF_PAUSE_MS: Millis = 5;

/// A door with what goes for all who come through it.
pub(super) struct Entrance {
    pub(super) door: Door,
    pub(super) ours: SocketType,
    pub(super) limits: wire::Limits,
    pub(super) connections_max: usize,
    pub(super) connections: Cell<usize>,
}

/// One connection.
pub(super) struct Link {
    pub(super) peer: PeerId,
    pub(super) entrance: Rc<Entrance>,
    pub(super) write: OwnedWriteHalf,
    /// Wakes the reader that was told to pause.
    pub(super) resume: Bell,
    /// Whether a task waits for the socket to take bytes again.
    pub(super) blocked: Cell<bool>,
    pub(super) paused: Cell<bool>,
    /// Whether bytes were read that are not used yet and are not a mere piece of a message.
    pub(super) unused: Cell<bool>,
    /// Whether writing has failed, so that the connection ends when those are used.
    pub(super) gone: Cell<bool>,
    /// When bytes last came.
    pub(super) heard: Cell<Millis>,
    /// When the PING was sent that nothing has come after.
    pub(super) pinged: Cell<Option<Millis>>,
    pub(super) heartbeats: Cell<bool>,
    /// Bytes of an unfinished message that are accounted for.
    pub(super) charged: Cell<u64>,
    began: Millis,
    /// Its place among the unfinished handshakes.
    handshake: Cell<Option<u64>>,
    identity: OnceCell<Vec<u8>>,
    reader: OnceCell<AbortHandle>,
}

impl<C: Core + 'static> Hub<C> {
    pub(super) fn new(core: C, options: Options, counts: Counts) -> Self {
        Self {
            core: RefCell::new(core),
            options,
            counts,
            shared: RefCell::new(vec![0; SHARED_BYTES].into_boxed_slice()),
            flush: Bell::default(),
            timer: Bell::default(),
            armed: Cell::new(Millis::MAX),
            links: RefCell::default(),
            connections: Cell::new(0),
            handshakes: RefCell::default(),
            accepted: Cell::new(0),
            identities: RefCell::default(),
            warned: Cell::new(None),
            relieved: Cell::new(None),
            origin: Instant::now(),
        }
    }

    /// Milliseconds since the worker began to serve.
    pub(super) fn now(&self) -> Millis {
        self.origin.elapsed().as_millis() as Millis
    }

    /// How long it is until `at`; nothing when it has passed.
    pub(super) fn until(&self, at: Millis) -> Duration {
        (self.origin + Duration::from_millis(at)).saturating_duration_since(Instant::now())
    }

    /// Makes sure that the timer wakes at `at` or before.
    pub(super) fn due(&self, at: Millis) {
        if at < self.armed.get() {
            self.armed.set(at);
            self.timer.ring();
        }
    }

    /// Takes in a new connection, if there is room or can be made.
    pub(super) fn admit(self: &Rc<Self>, stream: TcpStream, entrance: &Rc<Entrance>) {
        self.counts.accepted.add(1);
        let full = entrance.connections.get() >= entrance.connections_max
            || self.connections.get() >= self.options.connections_max;
        if full && !self.drop_oldest_handshake() {
            return self.counts.refuse(Cut::ConnectionsFull.reason());
        }
        if entrance.connections.get() >= entrance.connections_max {
            return self.counts.refuse(Cut::ConnectionsFull.reason());
        }
        if self.handshakes.borrow().len() >= self.options.handshakes_max {
            self.drop_oldest_handshake();
        }
        // Replies are small and wanted at once; what can be joined, the flusher has joined already.
        let _ = stream.set_nodelay(true);
        let (read, write) = stream.into_split();
        let peer = self.core.borrow_mut().peers().add();
        let mut greeting = Vec::new();
        let session = Session::new(entrance.ours, entrance.limits.clone(), &mut greeting);
        self.core.borrow_mut().peers().push_raw(peer, &greeting);
        self.flush.ring();

        let now = self.now();
        let place = self.accepted.replace(self.accepted.get() + 1);
        let link = Rc::new(Link {
            peer,
            entrance: entrance.clone(),
            write,
            resume: Bell::default(),
            blocked: Cell::new(false),
            paused: Cell::new(false),
            unused: Cell::new(false),
            gone: Cell::new(false),
            heard: Cell::new(now),
            pinged: Cell::new(None),
            heartbeats: Cell::new(false),
            charged: Cell::new(0),
            began: now,
            handshake: Cell::new(Some(place)),
            identity: OnceCell::new(),
            reader: OnceCell::new(),
        });
        let mut links = self.links.borrow_mut();
        if links.len() <= peer.slot() {
            links.resize(peer.slot() + 1, None);
        }
        links[peer.slot()] = Some(link.clone());
        self.connections.set(self.connections.get() + 1);
        entrance.connections.set(entrance.connections.get() + 1);
        self.handshakes.borrow_mut().insert(place, link.clone());
        self.counts.handshakes.set(self.handshakes.borrow().len() as u64);
        self.due(now + self.options.handshake_ms_max);
        let reader = tokio::task::spawn_local(read::run(self.clone(), link.clone(), read, session));
        link.reader.set(reader.abort_handle()).expect("a link gets one reader");
    }

    /// The handshake is done.
    pub(super) fn joined(&self, core: &mut C, link: &Link, info: &PeerInfo) {
        self.end_handshake(link);
        link.heartbeats.set(info.version.has_heartbeats());
        let (idle, timeout) = (self.options.heartbeat_ms, self.options.heartbeat_timeout_ms);
        if idle > 0 && info.version.has_heartbeats() {
            self.due(self.now() + idle);
        } else if idle > 0 {
            // Without it a half-open connection is merely noticed later, so a refusal by the kernel is no reason to
            // refuse the peer.
            let _ = sys::net::probe_half_open(link.write.as_ref(), idle, timeout);
        }
        if !info.identity.is_empty() {
            let identity = link.identity.get_or_init(|| info.identity.clone()).clone();
            let mut identities = self.identities.borrow_mut();
            let bearers = identities.entry((link.entrance.door, identity)).or_default();
            *bearers += 1;
            if *bearers > 1 {
                self.counts.duplicate_identities.add(1);
            }
            if *bearers == 2 && self.may_warn() {
                let identity = String::from_utf8_lossy(&info.identity);
                tracing::warn!(%identity, "two peers announce the same identity; each is served by its own connection");
            }
        }
        core.joined(link.peer, link.entrance.door, info);
    }

    /// Ends a connection; `reason` is counted, if we are the ones who end it.
    pub(super) fn drop_peer(&self, link: &Link, reason: Option<&'static str>) {
        let here = self.links.borrow_mut().get_mut(link.peer.slot()).and_then(|place| {
            // The slot may be another peer's by now.
            place.take_if(|present| present.peer == link.peer)
        });
        if here.is_none() {
            return;
        }
        self.connections.set(self.connections.get() - 1);
        link.entrance.connections.set(link.entrance.connections.get() - 1);
        self.end_handshake(link);
        if let Some(reason) = reason {
            self.counts.refuse(reason);
            tracing::debug!(peer = link.peer.to_u64(), reason, "peer disconnected");
        }
        if let Some(identity) = link.identity.get() {
            let mut identities = self.identities.borrow_mut();
            let key = (link.entrance.door, identity.clone());
            if let Some(bearers) = identities.get_mut(&key) {
                *bearers -= 1;
                if *bearers == 0 {
                    identities.remove(&key);
                }
            }
        }
        let mut core = self.core.borrow_mut();
        core.peers().release(link.charged.take());
        core.left(link.peer, self.now());
        // It may have made room for others: the flusher sends them on, even when nothing is to be written.
        self.flush.ring();
        if let Some(reader) = link.reader.get() {
            reader.abort();
        }
        // Its descriptor is closed when both halves are dropped: the reader's with its task, the writer's with the link,
        // which a task may hold that waits for the socket to take bytes. This wakes that task.
        sys::net::shut_down(link.write.as_ref());
    }

    /// Ends the oldest unfinished handshake; tells whether there was one.
    pub(super) fn drop_oldest_handshake(&self) -> bool {
        let oldest = self.handshakes.borrow().first_key_value().map(|(_, link)| link.clone());
        if let Some(link) = &oldest {
            self.drop_peer(link, Some(Cut::HandshakesFull.reason()));
        }
        oldest.is_some()
    }

    /// Ends the handshakes that have taken too long; tells when the next will have.
    pub(super) fn expire_handshakes(&self, now: Millis) -> Option<Millis> {
        loop {
            let (_, link) = self.handshakes.borrow().first_key_value().map(|(place, link)| (*place, link.clone()))?;
            let due = link.began + self.options.handshake_ms_max;
            if due > now {
                return Some(due);
            }
            self.drop_peer(&link, Some(Cut::HandshakeTimeout.reason()));
        }
    }

    /// When the memory for peers is full, ends the connections that hold the most of it, until there is memory again:
    /// unfinished messages have brought nothing yet, and what is queued for a peer whose socket takes nothing may stay
    /// for ever. Else a few peers who do not read could stop all others.
    pub(super) fn relieve_memory(&self) {
        if !self.core.borrow_mut().peers().is_memory_full() {
            return;
        }
        let now = self.now();
        if self.relieved.get().is_some_and(|last| now < last + RELIEF_PAUSE_MS) {
            return self.due(now + RELIEF_PAUSE_MS);
        }
        self.relieved.set(Some(now));
        let mut holders: Vec<(u64, Rc<Link>)> = self.links().map(|link| (self.idly_held(&link), link)).collect();
        holders.retain(|(held, _)| *held > UNCHARGED_BYTES);
        holders.sort_unstable_by_key(|(held, _)| *held);
        while !self.core.borrow_mut().peers().has_memory() {
            let Some((_, link)) = holders.pop() else { return };
            self.drop_peer(&link, Some(Cut::MemoryFull.reason()));
        }
    }

    /// Bytes that a connection holds and that only its peer can set free.
    fn idly_held(&self, link: &Link) -> u64 {
        let mut core = self.core.borrow_mut();
        let queue = core.peers().queue(link.peer).filter(|_| link.blocked.get());
        link.charged.get() + queue.map_or(0, |queue| queue.held() as u64)
    }

    /// All connections of this moment.
    pub(super) fn links(&self) -> impl Iterator<Item = Rc<Link>> {
        self.links.borrow().iter().flatten().cloned().collect::<Vec<_>>().into_iter()
    }

    pub(super) fn link(&self, peer: PeerId) -> Option<Rc<Link>> {
        self.links.borrow().get(peer.slot()).cloned().flatten().filter(|link| link.peer == peer)
    }

    /// Whether a warning that peers can bring about may be logged now: they must not be able to fill the log.
    fn may_warn(&self) -> bool {
        let now = self.now();
        let may = self.warned.get().is_none_or(|last| now >= last + WARNING_PAUSE_MS);
        if may {
            self.warned.set(Some(now));
        }
        may
    }

    fn end_handshake(&self, link: &Link) {
        if let Some(place) = link.handshake.take() {
            let mut handshakes = self.handshakes.borrow_mut();
            handshakes.remove(&place);
            self.counts.handshakes.set(handshakes.len() as u64);
        }
    }
}
