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
    let house = House::with_limits("{ queue_bytes_max: 100000 }");
    let pings = command(b"PING", &[0, 0, 1, 2, 3, 4, 5, 6, 7, 8]).repeat(4000);
    under_attack(&house, || {
        for (round, door) in Door::BOTH.into_iter().enumerate() {
            let mut peer = Peer::connect(&house, door);
            peer.say(&hello(door, b""));
            assert_eq!(flood(&mut peer, &pings, PATIENCE), Flooded::HungUp);
            assert_eq!(house.count("refused.slow"), round as u64 + 1, "{door:?}");
        }
    });
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
