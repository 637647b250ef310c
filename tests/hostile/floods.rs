//! Peers that send without end and never read.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use crate::good::under_attack;
use crate::house::{House, PATIENCE};
use crate::peer::*;

/// Sends `bytes` again and again until the bus hangs up or, for `patience`, takes no more.
fn flood(peer: &mut Peer, bytes: &[u8], patience: Duration) -> Flooded {
    peer.set_write_timeout(patience);
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        match peer.try_say(bytes) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Flooded::Held,
            Err(_) => return Flooded::HungUp,
        }
    }
    panic!("the bus takes a flood without end");
}

#[derive(Debug, PartialEq)]
enum Flooded {
    /// It is not read any more.
    Held,
    HungUp,
}

/// Requests whose replies are as large as themselves, since a reply returns the envelope.
fn requests() -> Vec<u8> {
    message(&[&[7; 8000], b"", b"Hello"]).repeat(8)
}

#[test]
fn a_flood_of_pings_whose_answers_are_not_read_ends_the_peer() {
    let pings = command(b"PING", &[0, 0, 1, 2, 3, 4, 5, 6, 7, 8]).repeat(4000);
    for door in Door::BOTH {
        let house = House::with("front: 0, back: 0, window: 1", "{ queue_bytes_max: 100000 }");
        let mut peer = Peer::joined(&house, door, b"");
        let mut accomplice = Peer::joined(&house, Door::Front, b"");
        if door == Door::Back {
            // It gets a request that it does not answer, and so, by its window, none of the good clients'.
            house.until_count("backends", |count| count == 2 + 1);
            accomplice.say(&message(&[b"", b"Hello"]).repeat(2 + 1));
            peer.message();
        }
        under_attack(&house, || assert_eq!(flood(&mut peer, &pings, PATIENCE), Flooded::HungUp));
        house.until_count("refused.slow", |count| count == 1);
    }
}

#[test]
fn a_client_that_never_reads_its_replies_is_held_back_and_others_go_on() {
    let house = House::with_limits("{ queue_bytes_max: 100000 }");
    let requests = requests();
    under_attack(&house, || {
        let mut peer = Peer::joined(&house, Door::Front, b"");
        assert_eq!(flood(&mut peer, &requests, Duration::from_millis(500)), Flooded::Held);
    });
}

#[test]
fn a_client_that_is_held_back_and_gone_leaves_at_once_and_its_requests_with_it() {
    // Nobody serves them, and they would wait for ten minutes.
    let house = House::without_backends("front: 0, back: 0, waiting_max: 100, waiting_ms_max: 600000", "{}");
    let request = message(&[b"", b"Hello"]);
    let mut peer = Peer::joined(&house, Door::Front, b"");
    assert_eq!(flood(&mut peer, &request.repeat(1000), Duration::from_millis(500)), Flooded::Held);
    let waiting = house.count("waiting");
    assert!(waiting > 0);
    peer.reset();
    house.until_count("clients", |count| count == 0);
    assert_eq!((house.count("waiting"), house.count("lost.client_gone")), (0, waiting));
    house.assert_unharmed();
}

#[test]
fn many_clients_that_never_read_their_replies_do_not_keep_the_bus_for_themselves() {
    // Three times as many as could have their queues full at once: each is held back by what is left to all.
    let limits = "{ memory_bytes_max: 33554432, queue_bytes_max: 8388608 }";
    let house = House::with("front: 0, back: 0, waiting_bytes_max: 8388608", limits);
    let requests = requests();
    under_attack(&house, || {
        std::thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| {
                    let mut peer = Peer::joined(&house, Door::Front, b"");
                    flood(&mut peer, &requests, Duration::from_millis(500));
                });
            }
        });
    });
}

#[test]
fn a_crowd_that_sends_the_smallest_requests_there_are_keeps_nobody_from_being_served() {
    let house = House::with("front: 0, back: 0, waiting_max: 1000", "{ memory_bytes_max: 33554432 }");
    // A request of two bytes: one empty frame.
    let requests = [0u8, 0].repeat(1900);
    let mut crowd: Vec<Peer> = (0..200).map(|_| Peer::joined(&house, Door::Front, b"")).collect();
    under_attack(&house, || {
        for peer in &mut crowd {
            let _ = peer.try_say(&requests);
        }
        house.until_count("waiting", |count| count == 0);
    });
}

#[test]
fn a_request_at_every_limit_is_answered_and_beyond_the_envelopes_bound_it_is_lost_alone() {
    let house = House::with_limits("{ parts_max: 1024, message_bytes_max: 1000000, frame_bytes_max: 1000000 }");
    let mut peer = Peer::joined(&house, Door::Front, b"");
    let most_parts: Vec<&[u8]> = std::iter::once(&b""[..]).chain(std::iter::repeat_n(&b"part"[..], 1023)).collect();
    peer.say(&message(&most_parts));
    assert_eq!(peer.message(), [&b""[..], b"World"]);
    // 11 bytes are headers: of the empty frame, and of a long one.
    peer.say(&message(&[b"", &vec![7; 1_000_000 - 11]]));
    assert_eq!(peer.message(), [&b""[..], b"World"]);
    let envelope: Vec<&[u8]> = std::iter::repeat_n(&b"e"[..], 63).chain([&b""[..], b"Hello"]).collect();
    peer.say(&message(&envelope));
    assert_eq!(peer.message().len(), 65);
    let beyond: Vec<&[u8]> = std::iter::repeat_n(&b"e"[..], 64).chain([&b""[..], b"Hello"]).collect();
    peer.say(&message(&beyond));
    peer.say(&message(&[&[7; 66_000], b"", b"Hello"]));
    house.until_count("lost.envelope_too_large", |count| count == 2);
    peer.say(&message(&[b"", b"Hello"]));
    assert_eq!(peer.message(), [&b""[..], b"World"]);
    assert_eq!(house.count("lost.backend_gone"), 0);
    house.assert_unharmed();
}
