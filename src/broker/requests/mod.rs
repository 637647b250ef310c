//! Requests: clients in front (REQ, DEALER), back-ends behind (REP, DEALER), least-loaded dispatch between them.
//!
//! A request goes to the back-end with the fewest in hand, of those with fewer than `window`; behind the broker's own
//! address frame, which names this worker, the connection it came from and its number here. A reply is delivered only if
//! that number is outstanding at the very back-end that sent it. What a peer calls itself decides nothing.
//!
//! Every accepted request ends in exactly one counter: `replies`, when the last byte of its reply has been written to
//! the client's socket, or one of `lost.*`. Until then it is in exactly one of three places: waiting for a back-end, in
//! a back-end's hands, or its reply is queued for the client. So `requests - replies - lost.*` is what is in flight, at
//! every instant, even when the worker is killed; the next one then counts that remainder as `lost.worker_died`.

mod backends;
mod counts;
mod envelope;
mod outstanding;
mod waiting;

use std::collections::VecDeque;

use bytes::Bytes;

use self::backends::Backends;
pub use self::counts::{Counts, Lost};
use self::envelope::{Address, Envelope};
pub use self::envelope::{BACK_BYTES_MORE, BACK_PARTS_MORE};
use self::outstanding::{Outstanding, Request};
use self::waiting::{Waiting, WaitingRequest};
use super::{Clock, Core, Door, Message, Millis, PeerId, Peers};
use crate::wire::PeerInfo;

/// The door that clients come through.
pub const FRONT: Door = Door(0);
/// The door that back-ends come through.
pub const BACK: Door = Door(1);

/// How often a request is given out at most, if it may be repeated at all: a poisonous one must not kill every back-end.
pub const ATTEMPTS_MAX: u8 = 2;

/// A client that holds less than this, in bytes and in requests, may always send as many bytes more.
const MODEST_BYTES: u64 = 4 << 10;
const MODEST_REQUESTS: u64 = 32;
/// Bytes of the shortest request: what a number of requests may be read as at most.
const REQUEST_BYTES_MIN: u64 = 2;
/// Clients that were held back and are looked at again in one turn.
const RESUMED_MAX: usize = 256;

/// Bytes of memory that a waiting request takes beside its message.
const WAITING_BYTES: u64 = 96;

/// What may be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Requests that one back-end may have in hand.
    pub window: u32,
    /// Whether a request may be given out again when its back-end died with it.
    pub idempotent: bool,
    /// Requests that wait for a back-end; beyond it clients are not read.
    pub waiting_max: u32,
    /// Bytes of the waiting requests; beyond it clients are not read.
    pub waiting_bytes_max: u64,
    /// Milliseconds that a request waits; then, or a sixteenth of that later, it is lost as expired.
    pub waiting_ms_max: Millis,
}

/// All state of the requests pattern.
#[derive(Debug)]
pub struct Requests {
    settings: Settings,
    /// What tells this worker's addresses from those of the ones before it.
    worker: u64,
    peers: Peers,
    roles: Vec<Role>,
    backends: Backends,
    outstanding: Outstanding,
    waiting: Waiting,
    /// Clients that are not read until there is room again.
    held_back: VecDeque<PeerId>,
    /// When the waiting were last looked through.
    ticked: Millis,
    /// No client is read any more.
    draining: bool,
    counts: Counts,
}

/// What the peer in a slot is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Role {
    #[default]
    None,
    Client,
    Backend,
}

impl Requests {
    /// A core without peers. What an earlier worker of the same counters had in flight is counted as lost with it.
    ///
    /// `worker` is a number that no earlier worker had whose back-ends may still be there: any random one.
    pub fn new(settings: Settings, worker: u64, peers: Peers, counts: Counts) -> Self {
        counts.adopt();
        Self {
            backends: Backends::new(settings.window),
            settings,
            worker,
            peers,
            roles: Vec::new(),
            outstanding: Outstanding::default(),
            waiting: Waiting::default(),
            held_back: VecDeque::new(),
            ticked: 0,
            draining: false,
            counts,
        }
    }

    fn request(&mut self, client: PeerId, message: Message<'_>, clock: &impl Clock) {
        self.counts.requests.add(1);
        let Some(envelope) = Envelope::of(message.bytes()) else {
            return self.counts.lost(Lost::EnvelopeTooLarge, 1);
        };
        // Who waits already goes first; clients that wait take turns.
        match self.backends.least_loaded() {
            Some(backend) if self.waiting.is_empty() => {
                self.dispatch(backend, Request { client, envelope, attempts: 1, kept: None }, message);
            }
            _ => self.request_late(client, envelope, message, clock),
        }
    }

    /// A request for which no back-end is free.
    #[inline(never)]
    fn request_late(&mut self, client: PeerId, envelope: Envelope, message: Message<'_>, clock: &impl Clock) {
        // It had credit for a little, and put much into it.
        if self.is_full() && self.waiting.of(client).0 >= MODEST_REQUESTS {
            return self.counts.lost(Lost::WaitingFull, 1);
        }
        let since = clock.now();
        self.wait(client, WaitingRequest { message: message.keep(), envelope, since, attempts: 0 });
    }

    /// Whether any bound on what waits is reached.
    fn is_full(&self) -> bool {
        let (requests, bytes) = self.waiting.total();
        requests >= u64::from(self.settings.waiting_max)
            || bytes >= self.settings.waiting_bytes_max
            || self.peers.is_memory_full()
    }

    fn wait(&mut self, client: PeerId, request: WaitingRequest) {
        self.peers.hold(request.message.len() as u64 + WAITING_BYTES);
        self.waiting.push(client, request);
        self.counts.waiting.set(self.waiting.len() as u64);
    }

    fn dispatch(&mut self, backend: PeerId, mut request: Request, message: Message<'_>) {
        let (client, envelope) = (request.client, request.envelope);
        let message = if self.settings.idempotent {
            let kept = message.keep();
            self.peers.hold(kept.len() as u64);
            request.kept = Some(kept.clone());
            Message::Shared(kept)
        } else {
            message
        };
        let number = self.outstanding.insert(backend, request);
        let (prefix, length) = Address { worker: self.worker, client, number }.prefix(envelope);
        self.peers.push(backend, &prefix[..length], message);
        self.backends.gave(backend, !self.peers.is_full(backend));
        self.counts.in_hand.add(1);
    }

    fn reply(&mut self, backend: PeerId, message: Message<'_>) {
        let ours = |(address, _): &(Address, _)| address.worker == self.worker;
        let Some((address, envelope)) = Address::read(message.bytes()).filter(ours) else {
            return self.counts.unsolicited.add(1);
        };
        let Some(request) = self.outstanding.take(backend, address.client, address.number) else {
            return self.counts.unsolicited.add(1);
        };
        self.counts.in_hand.sub(1);
        self.forget(request.kept);
        self.backends.answered(backend, !self.peers.is_full(backend));
        match envelope.strip(message) {
            Some(reply) => self.deliver(request.client, reply),
            None => self.counts.lost(Lost::BadReply, 1),
        }
        self.serve_waiting();
    }

    fn deliver(&mut self, client: PeerId, reply: Message<'_>) {
        let lost = if !self.peers.is_live(client) {
            Lost::ClientGone
        } else if self.peers.is_full(client) {
            Lost::ClientSlow
        } else if self.peers.is_reserve_full() {
            Lost::MemoryFull
        } else {
            self.peers.push(client, &[], reply);
            return self.counts.replies_queued.add(1);
        };
        self.counts.lost(lost, 1);
    }

    /// Gives waiting requests to back-ends for as long as there are both.
    #[inline]
    fn serve_waiting(&mut self) {
        if !self.waiting.is_empty() {
            self.serve_those_waiting();
        }
    }

    #[inline(never)]
    fn serve_those_waiting(&mut self) {
        while let Some(backend) = self.backends.least_loaded() {
            let Some((client, request)) = self.waiting.pop() else { break };
            self.peers.release(request.message.len() as u64 + WAITING_BYTES);
            let given = Request { client, envelope: request.envelope, attempts: request.attempts + 1, kept: None };
            self.dispatch(backend, given, Message::Shared(request.message));
        }
        self.counts.waiting.set(self.waiting.len() as u64);
    }

    fn backend_left(&mut self, backend: PeerId, clock: &impl Clock) {
        self.backends.remove(backend);
        self.counts.backends.sub(1);
        for request in self.outstanding.take_all(backend) {
            self.counts.in_hand.sub(1);
            let kept = self.forget(request.kept);
            match kept.filter(|_| request.attempts < ATTEMPTS_MAX && self.peers.is_live(request.client)) {
                Some(message) => {
                    self.wait(
                        request.client,
                        WaitingRequest {
                            message,
                            envelope: request.envelope,
                            since: clock.now(),
                            attempts: request.attempts,
                        },
                    );
                }
                None => self.counts.lost(Lost::BackendGone, 1),
            }
        }
        self.serve_waiting();
    }

    fn client_left(&mut self, client: PeerId) {
        self.counts.clients.sub(1);
        let (requests, bytes) = self.waiting.remove(client);
        self.peers.release(bytes + requests * WAITING_BYTES);
        self.counts.lost(Lost::ClientGone, requests);
        self.counts.waiting.set(self.waiting.len() as u64);
    }

    /// Accounts for the memory of a request that is no longer kept for another attempt.
    fn forget(&mut self, kept: Option<Bytes>) -> Option<Bytes> {
        kept.inspect(|message| self.peers.release(message.len() as u64))
    }

    /// How many bytes a client may send now. It may hold less than what is left to all: one client can fill half of a
    /// bound, and ten can fill ten elevenths. Whoever holds next to nothing may always send a little, so that no crowd
    /// can silence it. `part` 2 asks for twice the room, for those who were held back: nobody should go on for a single
    /// request.
    fn credit_of(&self, client: PeerId, part: u64) -> u64 {
        let Some(queue) = self.peers.queue(client) else { return 0 };
        let queue_ready = if part == 1 { !self.peers.is_full(client) } else { self.peers.has_room(client) };
        if !queue_ready {
            return 0;
        }
        let (requests, bytes) = self.waiting.of(client);
        let (all_requests, all_bytes) = self.waiting.total();
        let held = bytes + requests * WAITING_BYTES + queue.held() as u64;
        let modest = if held < MODEST_BYTES && requests < MODEST_REQUESTS { MODEST_BYTES } else { 0 };
        let left = |max: u64, used: u64, own: u64| max.saturating_sub(used).div_ceil(part).saturating_sub(own);
        let requests_left = left(self.settings.waiting_max.into(), all_requests, requests);
        let bytes_left = left(self.settings.waiting_bytes_max, all_bytes, bytes);
        let memory_left = left(self.peers.memory_left(), 0, held);
        (requests_left * REQUEST_BYTES_MIN).min(bytes_left).min(memory_left).max(modest)
    }
}

impl Core for Requests {
    fn peers(&mut self) -> &mut Peers {
        &mut self.peers
    }

    fn joined(&mut self, peer: PeerId, door: Door, _: &PeerInfo) {
        if self.roles.len() <= peer.slot() {
            self.roles.resize(peer.slot() + 1, Role::None);
        }
        if door == BACK {
            self.roles[peer.slot()] = Role::Backend;
            self.counts.backends.add(1);
            self.backends.add(peer);
            self.serve_waiting();
        } else {
            self.roles[peer.slot()] = Role::Client;
            self.counts.clients.add(1);
        }
    }

    fn message(&mut self, peer: PeerId, message: Message<'_>, clock: &impl Clock) {
        match self.roles[peer.slot()] {
            Role::Client => self.request(peer, message, clock),
            Role::Backend => self.reply(peer, message),
            Role::None => unreachable!("only peers that joined send messages"),
        }
    }

    fn written(&mut self, peer: PeerId, messages: u64) {
        match self.roles.get(peer.slot()) {
            Some(Role::Client) => {
                self.counts.replies_queued.sub(messages);
                self.counts.replies.add(messages);
            }
            Some(Role::Backend) => {
                let room = !self.peers.is_full(peer);
                if self.backends.relieved(peer, room) {
                    self.serve_waiting();
                }
            }
            _ => {}
        }
    }

    fn left(&mut self, peer: PeerId, clock: &impl Clock) {
        let unwritten = self.peers.remove(peer);
        match self.roles.get_mut(peer.slot()).map(std::mem::take) {
            Some(Role::Client) => {
                self.counts.replies_queued.sub(unwritten);
                self.counts.lost(Lost::ClientGone, unwritten);
                self.client_left(peer);
            }
            Some(Role::Backend) => self.backend_left(peer, clock),
            _ => {}
        }
    }

    fn credit(&mut self, peer: PeerId) -> usize {
        // Back-ends are always read: what they send makes room.
        if self.roles.get(peer.slot()) != Some(&Role::Client) {
            return usize::MAX;
        }
        let credit = if self.draining { 0 } else { self.credit_of(peer, 1) };
        if credit == 0 {
            self.held_back.push_back(peer);
        }
        credit as usize
    }

    fn resumed(&mut self) -> Vec<PeerId> {
        let mut resumed = Vec::new();
        if self.draining {
            return resumed;
        }
        for _ in 0..self.held_back.len().min(RESUMED_MAX) {
            let Some(client) = self.held_back.pop_front() else { break };
            if self.credit_of(client, 2) > 0 {
                resumed.push(client);
            } else if self.peers.is_live(client) {
                self.held_back.push_back(client);
            }
        }
        resumed
    }

    fn holds_back(&self) -> bool {
        !self.draining && !self.held_back.is_empty()
    }

    fn deadline(&self) -> Option<Millis> {
        let wait = self.settings.waiting_ms_max;
        // Looking through all that wait is worth it for many at once only.
        let pause = self.ticked.saturating_add(wait / 16);
        self.waiting.oldest().map(|since| since.saturating_add(wait).max(pause))
    }

    fn tick(&mut self, now: Millis) {
        self.ticked = now;
        let Some(limit) = now.checked_sub(self.settings.waiting_ms_max) else { return };
        let (expired, bytes) = self.waiting.expire(limit);
        if expired > 0 {
            self.peers.release(bytes + expired * WAITING_BYTES);
            self.counts.lost(Lost::Expired, expired);
            self.counts.waiting.set(self.waiting.len() as u64);
        }
    }

    fn drain(&mut self) {
        self.draining = true;
    }

    fn is_drained(&self) -> bool {
        // What waits while there is no back-end has nobody who would bring it to its end.
        let waiting = self.counts.waiting.get() > 0 && self.counts.backends.get() > 0;
        !waiting && self.counts.in_hand.get() == 0 && self.counts.replies_queued.get() == 0
    }

    fn stop(&mut self) {
        self.counts.stop();
    }
}

#[cfg(test)]
mod tests;
