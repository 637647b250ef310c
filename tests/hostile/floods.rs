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
