//! Each reason why a request may be lost, brought about from outside and found where status counts it.
//!
//! Not here is `stopped`: whoever could show it has stopped too.

use nix::sys::signal::Signal;

use super::bus::{Bus, Totals, process_state, signal};
use super::peer::Peer;

const BUS: &str = "bus: { requests: { front: 0, back: 0 } }";
/// An empty frame and a body, as a REQ sends them.
const HELLO: &[&[u8]] = &[b"", b"Hello"];

#[test]
fn what_a_killed_back_end_had_in_hand_is_lost_as_backend_gone() {
    let bus = Bus::up(&format!("{BUS}\nservices: {{ hello: {{ worker: hello }} }}"));
    let mut client = client(&bus);
    let hello = bus.pid("hello");
    bus.until_totals("the back-end", |totals| totals.get("backends") == 1);
    signal(hello, Signal::SIGSTOP);
    bus.until("a back-end that does not answer", |_| process_state(hello) == Some('T'));
    client.send([HELLO; 3]).unwrap();
    bus.until_totals("requests in hand", |totals| totals.get("in_hand") == 3);
    signal(hello, Signal::SIGKILL);
    only_lost(&bus, &[("backend_gone", 3)]);
    // The client goes on as if nothing had been.
    client.send([&[&b"4"[..], b"", b"Hello"][..]]).unwrap();
    assert_eq!(client.next(), [&b"4"[..], b"", b"World"]);
}

#[test]
fn what_a_client_did_not_stay_for_is_lost_as_client_gone() {
    let bus = Bus::up(BUS);
    let mut left_early = client(&bus);
    left_early.send([HELLO; 2]).unwrap();
    bus.until_totals("requests that wait", |totals| totals.get("waiting") == 2);
    drop(left_early);
    only_lost(&bus, &[("client_gone", 2)]);

    let (mut left_late, mut backend) = (client(&bus), backend(&bus));
    left_late.send([HELLO]).unwrap();
    let request = backend.next();
    drop(left_late);
    bus.until_totals("its absence", |totals| totals.get("clients") == 0);
    answer(&mut backend, &request, b"World");
    only_lost(&bus, &[("client_gone", 3)]);
}

#[test]
fn what_no_back_end_takes_in_time_is_lost_as_expired_and_given_to_none_later() {
    let bus = Bus::up("bus: { requests: { front: 0, back: 0, waiting_ms_max: 50 } }");
    let mut client = client(&bus);
    client.send([HELLO; 2]).unwrap();
    only_lost(&bus, &[("expired", 2)]);
    let mut backend = backend(&bus);
    client.send([&[&b""[..], b"in time"][..]]).unwrap();
    assert_eq!(backend.next()[2], b"in time");
}

#[test]
fn what_a_client_does_not_read_is_lost_as_client_slow_beyond_its_queue() {
    const REQUESTS: usize = 40;
    let bus = Bus::up("bus: { requests: { front: 0, back: 0 }, limits: { queue_bytes_max: 1000 } }");
    let (mut client, mut backend) = (client(&bus), backend(&bus));
    client.send([HELLO; REQUESTS]).unwrap();
    // More than the machine holds for a connection.
    for request in take(&mut backend, REQUESTS) {
        answer(&mut backend, &request, &vec![b'x'; 512 << 10]);
    }
    let totals = bus.until_totals("an end to all", |totals| totals.get("in_hand") == 0);
    let slow = totals.get("lost.client_slow");
    assert!(slow > 0, "{totals:?}");
    for _ in slow..REQUESTS as u64 {
        client.next();
    }
    only_lost(&bus, &[("client_slow", slow)]);
}

#[test]
fn what_is_queued_for_clients_that_do_not_read_is_lost_as_client_gone_when_memory_is_full() {
    const REQUESTS: usize = 6000;
    let bus = Bus::up(
        "bus: { requests: { front: 0, back: 0, window: 20000 },
  limits: { memory_bytes_max: 1048576, queue_bytes_max: 1048576 } }",
    );
    let (mut clients, mut backend) = ([client(&bus), client(&bus)], backend(&bus));
    let mut requests = Vec::new();
    for client in &mut clients {
        client.send([HELLO; REQUESTS]).unwrap();
        requests.extend(take(&mut backend, REQUESTS));
    }
    for request in &requests {
        answer(&mut backend, request, &[b'x'; 3000]);
    }
    let totals = bus.until_totals("an end to all", |totals| totals.get("in_hand") + totals.get("replies_queued") == 0);
    assert_eq!(totals.get("refused.memory_full"), 2, "{totals:?}");
    only_lost(&bus, &[("client_gone", 2 * REQUESTS as u64 - totals.get("replies"))]);
}

#[test]
fn what_is_answered_without_the_envelope_is_lost_as_bad_reply() {
    let bus = Bus::up(BUS);
    let (mut client, mut backend) = (client(&bus), backend(&bus));
    client.send([&[&b"bare"[..]][..]]).unwrap();
    let request = backend.next();
    backend.send([&[&request[0][..]][..]]).unwrap();
    only_lost(&bus, &[("bad_reply", 1)]);
}

#[test]
fn what_the_requests_worker_held_when_it_was_killed_is_lost_as_worker_died() {
    let bus = Bus::up("bus: { requests: { front: 0, back: 0, window: 2 } }");
    let (mut client, mut backend) = (client(&bus), backend(&bus));
    client.send([HELLO; 5]).unwrap();
    let request = backend.next();
    answer(&mut backend, &request, b"World");
    client.next();
    bus.until_totals("requests in hand and waiting", |totals| (totals.get("in_hand"), totals.get("waiting")) == (2, 2));
    kill_the_worker(&bus);
    only_lost(&bus, &[("worker_died", 4)]);
}

#[test]
fn a_late_reply_to_a_request_that_died_with_its_worker_reaches_nobody() {
    let bus = Bus::up(BUS);
    let requests = ["first", "second"].map(|body| {
        let (mut client, mut backend) = (client(&bus), backend(&bus));
        client.send([&[&b""[..], body.as_bytes()][..]]).unwrap();
        let request = backend.next();
        if body == "first" {
            kill_the_worker(&bus);
        }
        (client, backend, request)
    });
    let [(_, _, late), (mut client, mut backend, request)] = requests;
    // A libzmq REP sends such a reply when it has connected again.
    answer(&mut backend, &late, b"to the first");
    answer(&mut backend, &request, b"to the second");
    assert_eq!(client.next(), [&b""[..], b"to the second"]);
    only_lost(&bus, &[("worker_died", 1)]);
    bus.until_totals("a dropped reply", |totals| totals.get("dropped.unsolicited_reply") == 1);
}

fn client(bus: &Bus) -> Peer {
    Peer::connect(&bus.endpoints().0).unwrap()
}

/// A back-end, when the worker knows of it.
fn backend(bus: &Bus) -> Peer {
    let before = bus.until_totals("the worker", |_| true).get("backends");
    let backend = Peer::connect(&bus.endpoints().1).unwrap();
    bus.until_totals("a back-end", |totals| totals.get("backends") > before);
    backend
}

/// Answers as a REP does: the envelope, up to its empty frame, and a body.
fn answer(backend: &mut Peer, request: &[Vec<u8>], body: &[u8]) {
    let envelope = request.iter().position(Vec::is_empty).expect("an empty frame") + 1;
    let reply: Vec<&[u8]> = request[..envelope].iter().map(Vec::as_slice).chain([body]).collect();
    backend.send([&reply[..]]).unwrap();
}

/// Takes that many requests and answers none.
fn take(backend: &mut Peer, requests: usize) -> Vec<Vec<Vec<u8>>> {
    (0..requests).map(|_| backend.next()).collect()
}

fn kill_the_worker(bus: &Bus) {
    let worker = bus.pid("requests");
    signal(worker, Signal::SIGKILL);
    bus.until_restarted("requests", worker);
}

/// Waits until all has come to its end and exactly that was lost, in all the bus's life.
fn only_lost(bus: &Bus, expected: &[(&str, u64)]) {
    let totals = bus.until_totals(&format!("the end of all, and lost: {expected:?}"), |totals| {
        totals.in_flight() == 0
            && expected.iter().all(|(reason, count)| totals.get(&format!("lost.{reason}")) >= *count)
    });
    let lost = totals.lost_since(&Totals::default());
    assert!(lost.iter().map(|(reason, count)| (reason.as_str(), *count)).eq(expected.iter().copied()), "{lost:?}");
    assert_eq!(totals.placed(), 0, "{totals:?}");
}
