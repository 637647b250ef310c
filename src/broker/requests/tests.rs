//! The requests core, met as its peers meet it: through messages, queues and counters.

use std::collections::{HashMap, VecDeque};
use std::io::IoSlice;
use std::sync::atomic::AtomicU64;

use proptest::prelude::*;

use super::*;
use crate::broker::IOVECS_MAX;
use crate::wire::{Frames, SocketType, Version, push_frame};

fn settings() -> Settings {
    Settings { window: 4, idempotent: false, waiting_max: 1000, waiting_bytes_max: 1 << 20, waiting_ms_max: 1000 }
}

/// A core and what its peers would see of it.
struct Bus {
    core: Requests,
    now: Millis,
    words: HashMap<String, &'static AtomicU64>,
    /// Messages that arrived at each peer, as frames.
    inbox: HashMap<PeerId, VecDeque<Vec<Vec<u8>>>>,
}

impl Bus {
    fn new(settings: Settings) -> Self {
        Self::with_memory(settings, 1 << 20, 1 << 16, HashMap::new())
    }

    fn with_memory(
        settings: Settings,
        memory: u64,
        queue: u64,
        mut words: HashMap<String, &'static AtomicU64>,
    ) -> Self {
        let register = |name: &str| {
            let word = words.entry(name.to_owned()).or_insert_with(|| Box::leak(Box::default()));
            Ok::<_, ()>(*word)
        };
        let counts = Counts::register(register).unwrap();
        // Random in life; here only different from that of the worker before.
        let worker = counts.requests.get();
        let core = Requests::new(settings, worker, Peers::new(memory, queue), counts);
        Self { core, now: 0, words, inbox: HashMap::new() }
    }

    fn join(&mut self, door: Door) -> PeerId {
        let peer = self.core.peers().add();
        let socket_type = if door == FRONT { SocketType::Dealer } else { SocketType::Rep };
        let info = PeerInfo { version: Version::V3_1, socket_type, identity: b"the same for all".to_vec() };
        self.core.joined(peer, door, &info);
        self.inbox.insert(peer, VecDeque::new());
        self.flush();
        peer
    }

    fn leave(&mut self, peer: PeerId) {
        self.core.left(peer, &self.now);
        self.inbox.remove(&peer);
        self.flush();
    }

    fn send(&mut self, peer: PeerId, frames: &[&[u8]]) {
        self.send_unflushed(peer, frames);
        self.flush();
    }

    fn send_unflushed(&mut self, peer: PeerId, frames: &[&[u8]]) {
        let mut bytes = Vec::new();
        for (index, frame) in frames.iter().enumerate() {
            push_frame(&mut bytes, index + 1 < frames.len(), frame);
        }
        self.core.message(peer, Message::Borrowed(&bytes), &self.now);
    }

    /// Writes everything that is queued to the inboxes.
    fn flush(&mut self) {
        while let Some(peer) = self.core.peers().next_dirty() {
            let mut bytes = Vec::new();
            while self.core.peers().queue(peer).is_some_and(|queue| queue.bytes() > 0) {
                let mut slices = [IoSlice::new(&[]); IOVECS_MAX];
                let queue = self.core.peers().queue(peer).unwrap();
                let used = queue.gather(&mut slices);
                let piece = slices[..used].iter().map(|slice| &**slice).collect::<Vec<_>>().concat();
                let written = self.core.peers().wrote(peer, piece.len());
                bytes.extend(piece);
                self.core.written(peer, written);
            }
            let mut message = Vec::new();
            for frame in Frames::new(&bytes) {
                message.push(frame.body.to_vec());
                if !frame.more {
                    self.inbox.get_mut(&peer).unwrap().push_back(std::mem::take(&mut message));
                }
            }
        }
    }

    fn received(&mut self, peer: PeerId) -> Option<Vec<Vec<u8>>> {
        self.inbox.get_mut(&peer)?.pop_front()
    }

    /// The back-end takes its next request and answers it with `body`, as a REP does.
    fn answer(&mut self, backend: PeerId, body: &[u8]) -> bool {
        let Some(mut frames) = self.received(backend) else { return false };
        let empty = frames.iter().position(Vec::is_empty).expect("a REP needs an empty frame");
        frames.truncate(empty + 1);
        frames.push(body.to_vec());
        let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        self.send(backend, &frames);
        true
    }

    fn count(&self, name: &str) -> u64 {
        self.words[name].load(std::sync::atomic::Ordering::Relaxed)
    }

    fn check(&self) {
        let lost: u64 = self.words.keys().filter(|name| name.starts_with("lost.")).map(|name| self.count(name)).sum();
        let somewhere = self.count("waiting") + self.count("in_hand") + self.count("replies_queued");
        assert_eq!(self.count("requests"), self.count("replies") + lost + somewhere, "{:?}", self.words);
    }
}

#[test]
fn a_reply_finds_its_client_with_and_without_an_empty_frame() {
    let mut bus = Bus::new(settings());
    let (backend, req, bare) = (bus.join(BACK), bus.join(FRONT), bus.join(FRONT));
    bus.send(req, &[b"", b"Hello"]);
    bus.send(bare, &[b"Hello"]);
    assert!(bus.answer(backend, b"World") && bus.answer(backend, b"World"));
    assert_eq!(bus.received(req).unwrap(), [b"".to_vec(), b"World".to_vec()]);
    assert_eq!(bus.received(bare).unwrap(), [b"World".to_vec()]);
    assert_eq!(bus.count("replies"), 2);
    bus.check();
}

#[test]
fn a_lone_empty_frame_is_a_request_with_an_empty_body() {
    let mut bus = Bus::new(settings());
    let (backend, client) = (bus.join(BACK), bus.join(FRONT));
    bus.send(client, &[b""]);
    let request = bus.received(backend).unwrap();
    assert_eq!(request[1..], [b"".to_vec(), b"".to_vec()]);
}

#[test]
fn requests_go_to_the_back_end_with_the_fewest_in_hand_and_no_further_than_its_window() {
    let mut bus = Bus::new(settings());
    let (one, two, client) = (bus.join(BACK), bus.join(BACK), bus.join(FRONT));
    for _ in 0..10 {
        bus.send(client, &[b"", b"x"]);
    }
    assert_eq!((bus.inbox[&one].len(), bus.inbox[&two].len()), (4, 4));
    assert_eq!((bus.count("in_hand"), bus.count("waiting")), (8, 2));
    bus.answer(two, b"y");
    assert_eq!((bus.inbox[&one].len(), bus.inbox[&two].len()), (4, 4), "the waiting went where room was made");
    bus.answer(two, b"y");
    bus.answer(two, b"y");
    bus.send(client, &[b"", b"x"]);
    assert_eq!((bus.inbox[&one].len(), bus.inbox[&two].len()), (4, 4));
    bus.check();
}

#[test]
fn a_reply_that_is_not_outstanding_at_that_back_end_is_dropped_and_counted() {
    let mut bus = Bus::new(settings());
    let (backend, client) = (bus.join(BACK), bus.join(FRONT));
    bus.send(client, &[b"", b"Hello"]);
    let request = bus.received(backend).unwrap();
    let thief = bus.join(BACK);
    let reply: Vec<&[u8]> = vec![&request[0], b"", b"World"];
    bus.send(thief, &reply);
    bus.send(backend, &[b"who asked?"]);
    let mut unknown = request[0].clone();
    *unknown.last_mut().unwrap() ^= 1;
    bus.send(backend, &[&unknown, b"", b"World"]);
    assert_eq!((bus.count("dropped.unsolicited_reply"), bus.count("in_hand")), (3, 1));
    bus.send(backend, &reply);
    assert_eq!(bus.received(client).unwrap()[1], b"World");
    bus.send(backend, &reply);
    assert_eq!((bus.count("dropped.unsolicited_reply"), bus.count("replies")), (4, 1), "nor is it there twice");
    bus.check();
}

#[test]
fn a_reply_without_what_its_client_needs_is_counted_as_bad() {
    let mut bus = Bus::new(settings());
    let (backend, client) = (bus.join(BACK), bus.join(FRONT));
    bus.send(client, &[b"bare"]);
    let address = bus.received(backend).unwrap().remove(0);
    bus.send(backend, &[&address]);
    bus.send(client, &[b"bare"]);
    let address = bus.received(backend).unwrap().remove(0);
    bus.send(backend, &[&address, b"not empty", b"World"]);
    assert_eq!((bus.count("lost.bad_reply"), bus.received(client)), (2, None));
    bus.check();
}

#[test]
fn a_back_end_that_dies_loses_what_it_had_in_hand_and_no_more() {
    let mut bus = Bus::new(settings());
    let (backend, client) = (bus.join(BACK), bus.join(FRONT));
    for _ in 0..6 {
        bus.send(client, &[b"", b"x"]);
    }
    bus.answer(backend, b"y");
    bus.leave(backend);
    assert_eq!((bus.count("lost.backend_gone"), bus.count("waiting"), bus.count("in_hand")), (4, 1, 0));
    let next = bus.join(BACK);
    assert!(bus.answer(next, b"y"));
    assert_eq!(bus.count("replies"), 2);
    bus.check();
}

#[test]
fn an_idempotent_request_is_given_to_another_but_not_to_a_third() {
    let mut bus = Bus::new(Settings { idempotent: true, ..settings() });
    let (first, client) = (bus.join(BACK), bus.join(FRONT));
    bus.send(client, &[b"", b"poison"]);
    let second = bus.join(BACK);
    bus.leave(first);
    assert_eq!(bus.received(second).unwrap()[2], b"poison");
    let third = bus.join(BACK);
    bus.leave(second);
    assert_eq!((bus.received(third), bus.count("lost.backend_gone")), (None, 1));
    bus.check();
    assert_eq!(bus.core.peers().held(), 0);
}

#[test]
fn waiting_requests_expire_and_leave_with_their_client() {
    let mut bus = Bus::new(settings());
    let (one, two) = (bus.join(FRONT), bus.join(FRONT));
    assert_eq!(bus.core.deadline(), None);
    bus.send(one, &[b"", b"old"]);
    assert_eq!(bus.core.deadline(), Some(1000));
    bus.now = 500;
    bus.send(two, &[b"", b"young"]);
    bus.send(one, &[b"", b"young"]);
    bus.now = 1000;
    bus.core.tick(bus.now);
    assert_eq!((bus.count("lost.expired"), bus.count("waiting")), (1, 2));
    assert_eq!(bus.core.deadline(), Some(1500));
    bus.leave(two);
    assert_eq!((bus.count("lost.client_gone"), bus.count("waiting")), (1, 1));
    let backend = bus.join(BACK);
    assert!(bus.answer(backend, b"y"));
    assert_eq!(bus.core.deadline(), None);
    bus.check();
    assert_eq!(bus.core.peers().held(), 0);
}

#[test]
fn clients_that_wait_take_turns() {
    let mut bus = Bus::new(Settings { window: 1, ..settings() });
    let (greedy, modest) = (bus.join(FRONT), bus.join(FRONT));
    for _ in 0..100 {
        bus.send(greedy, &[b"", b"greedy"]);
    }
    bus.send(modest, &[b"", b"modest"]);
    let backend = bus.join(BACK);
    bus.answer(backend, b"");
    assert_eq!(bus.inbox[&backend][0][2], b"modest");
}

#[test]
fn a_client_is_held_back_when_it_holds_what_is_left_to_all_and_others_are_not() {
    let mut bus = Bus::new(Settings { waiting_max: 800, ..settings() });
    let (greedy, modest) = (bus.join(FRONT), bus.join(FRONT));
    for _ in 0..400 {
        assert!(bus.core.credit(greedy) > 0);
        bus.send(greedy, &[b"", b"x"]);
    }
    assert_eq!(bus.core.credit(greedy), 0, "it holds 400, and 400 are left");
    assert!(bus.core.credit(modest) > 0, "who holds nothing is not held back by it");
    let backend = bus.join(BACK);
    while bus.count("waiting") > 267 {
        assert_eq!(bus.core.resumed(), []);
        bus.answer(backend, b"y");
    }
    bus.answer(backend, b"y");
    assert_eq!(bus.core.resumed(), [greedy]);
    assert!(bus.core.credit(greedy) > 0);
}

#[test]
fn however_many_flood_there_is_room_for_one_who_does_not() {
    let mut bus = Bus::with_memory(settings(), 100_000, 50_000, HashMap::new());
    let flooders: Vec<PeerId> = (0..20).map(|_| bus.join(FRONT)).collect();
    while let Some(&flooder) = flooders.iter().find(|&&flooder| bus.core.credit(flooder) > 0) {
        bus.send(flooder, &[b"", &[0; 500]]);
    }
    let modest = bus.join(FRONT);
    assert_eq!(bus.core.credit(modest), 4096);
    let beyond = bus.core.peers().held() - 100_000;
    assert!(beyond <= 20 * 8192, "{beyond} bytes beyond the bound");
}

#[test]
fn a_client_that_does_not_read_its_replies_loses_them_beyond_its_bound() {
    let mut bus = Bus::with_memory(settings(), 1 << 20, 1000, HashMap::new());
    let (backend, client) = (bus.join(BACK), bus.join(FRONT));
    for _ in 0..3 {
        bus.send(client, &[b"", b"x"]);
    }
    let requests: Vec<_> = std::iter::from_fn(|| bus.received(backend)).collect();
    for request in &requests {
        bus.send_unflushed(backend, &[&request[0], b"", &[0; 700]]);
    }
    assert_eq!(bus.core.credit(client), 0);
    assert_eq!((bus.count("replies_queued"), bus.count("lost.client_slow")), (2, 1));
    bus.flush();
    assert_eq!(bus.core.resumed(), [client]);
    bus.leave(client);
    bus.check();
}

#[test]
fn replies_may_use_a_quarter_more_memory_than_requests_and_are_lost_beyond() {
    let mut bus = Bus::with_memory(settings(), 100_000, 100_000, HashMap::new());
    let (backend, client, other) = (bus.join(BACK), bus.join(FRONT), bus.join(FRONT));
    for client in [client, client, other] {
        bus.send(client, &[b"", b"x"]);
    }
    let requests: Vec<_> = std::iter::from_fn(|| bus.received(backend)).collect();
    let large = Bytes::from(vec![0; 70_000]);
    for request in &requests {
        let mut frames = Vec::new();
        push_frame(&mut frames, true, &request[0]);
        push_frame(&mut frames, true, b"");
        push_frame(&mut frames, false, &large);
        bus.core.message(backend, Message::Shared(frames.into()), &bus.now);
    }
    assert_eq!((bus.count("replies_queued"), bus.count("lost.memory_full")), (2, 1));
    bus.flush();
    bus.check();
}

#[test]
fn a_worker_that_was_killed_leaves_its_requests_to_be_counted_by_the_next() {
    let mut bus = Bus::new(settings());
    let (backend, client) = (bus.join(BACK), bus.join(FRONT));
    for _ in 0..6 {
        bus.send(client, &[b"", b"x"]);
    }
    bus.answer(backend, b"y");
    let mut bus = Bus::with_memory(settings(), 1 << 20, 1 << 16, bus.words);
    assert_eq!((bus.count("lost.worker_died"), bus.count("in_hand"), bus.count("clients")), (5, 0, 0));
    bus.check();
    let client = bus.join(FRONT);
    bus.send(client, &[b"", b"x"]);
    bus.core.stop();
    assert_eq!((bus.count("lost.stopped"), bus.count("requests")), (1, 7));
    bus.check();
}

#[test]
fn a_reply_to_a_request_of_an_earlier_worker_meets_none_of_the_next_ones() {
    let mut bus = Bus::new(settings());
    let (backend, client) = (bus.join(BACK), bus.join(FRONT));
    bus.send(client, &[b"", b"Hello"]);
    let late = bus.received(backend).unwrap();
    let mut bus = Bus::with_memory(settings(), 1 << 20, 1 << 16, bus.words);
    assert_eq!((backend, client), (bus.join(BACK), bus.join(FRONT)), "the same numbers again");
    bus.send(client, &[b"", b"Hello"]);
    bus.send(backend, &[&late[0], b"", b"World"]);
    assert_eq!((bus.count("dropped.unsolicited_reply"), bus.count("in_hand")), (1, 1));
    bus.check();
}

#[derive(Clone, Debug)]
enum Act {
    JoinFront,
    JoinBack,
    Leave(usize),
    Send(usize, usize, bool),
    Answer(usize, usize),
    Late(usize, usize),
    Pass(u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        2 => Just(Act::JoinFront),
        2 => Just(Act::JoinBack),
        1 => any::<usize>().prop_map(Act::Leave),
        10 => (any::<usize>(), 0usize..2000, any::<bool>()).prop_map(|(who, size, bare)| Act::Send(who, size, bare)),
        10 => (any::<usize>(), 0usize..2000).prop_map(|(who, size)| Act::Answer(who, size)),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(who, as_whom)| Act::Late(who, as_whom)),
        1 => (0u64..2000).prop_map(Act::Pass),
    ];
    prop::collection::vec(act, 0..300)
}

proptest! {
    /// Whatever peers do: each request is in one place, each reply reaches the client that asked, nobody gets more than
    /// they asked for, and when all are gone nothing is held.
    #[test]
    fn every_request_ends_in_exactly_one_counter(acts in acts(), idempotent in any::<bool>(), window in 1u32..6) {
        let settings = Settings { window, idempotent, waiting_max: 20, waiting_bytes_max: 20_000, ..settings() };
        let mut bus = Bus::with_memory(settings, 1 << 20, 4000, HashMap::new());
        let (mut clients, mut backends): (Vec<PeerId>, Vec<PeerId>) = Default::default();
        let mut seen: Vec<Vec<u8>> = Vec::new();
        for act in acts {
            match act {
                Act::JoinFront => clients.push(bus.join(FRONT)),
                Act::JoinBack => backends.push(bus.join(BACK)),
                Act::Leave(who) if (clients.len() + backends.len()) > 0 => {
                    let who = who % (clients.len() + backends.len());
                    let gone = if who < clients.len() {
                        clients.swap_remove(who)
                    } else {
                        backends.swap_remove(who - clients.len())
                    };
                    bus.leave(gone);
                }
                Act::Send(who, size, bare) if !clients.is_empty() => {
                    let client = clients[who % clients.len()];
                    if bus.core.credit(client) > 0 {
                        let body = [&client.to_u64().to_be_bytes()[..], &vec![7; size]].concat();
                        if bare { bus.send(client, &[&body]) } else { bus.send(client, &[b"", &body]) }
                    }
                }
                Act::Answer(who, size) if !backends.is_empty() => {
                    let backend = backends[who % backends.len()];
                    if let Some(request) = bus.inbox[&backend].front() {
                        // The reply names the client that the request came from.
                        let client = request.last().unwrap()[..8].to_vec();
                        seen.push(request[0].clone());
                        bus.answer(backend, &[client, vec![9; size]].concat());
                    }
                }
                Act::Late(who, which) if !backends.is_empty() && !seen.is_empty() => {
                    let address = seen[which % seen.len()].clone();
                    bus.send(backends[who % backends.len()], &[&address, b"", b"late"]);
                }
                Act::Pass(time) => {
                    bus.now += time;
                    if bus.core.deadline().is_some_and(|deadline| deadline <= bus.now) {
                        bus.core.tick(bus.now);
                    }
                }
                _ => {}
            }
            bus.check();
            prop_assert!(bus.core.outstanding.longest() <= window as usize);
            for &client in &clients {
                while let Some(reply) = bus.received(client) {
                    prop_assert_eq!(&reply.last().unwrap()[..8], &client.to_u64().to_be_bytes());
                }
            }
        }
        for peer in clients.into_iter().chain(backends) {
            bus.leave(peer);
        }
        bus.check();
        prop_assert_eq!(bus.count("requests"), bus.count("replies") + bus.core.counts.lost_in_all());
        prop_assert_eq!(bus.core.peers().held(), 0);
    }
}
