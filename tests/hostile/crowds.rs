//! Many peers at once, and peers that take their time: half greetings, bytes that trickle, storms of connections.

use std::time::Duration;

use crate::good::{under_attack, under_siege};
use crate::house::{CONNECTION_BYTES_MAX, House};
use crate::peer::*;

/// Peers that do the same thing in the same moment, where a test is about how many there are, not how sudden they come.
const AT_ONCE: usize = 500;

#[test]
fn half_a_greeting_held_open_by_5000_peers_keeps_nobody_out() {
    for door in Door::BOTH {
        let house = House::with_limits("{}");
        let half = &greeting(3, 1, b"NULL")[..32];
        under_attack(&house, || {
            let peers: Vec<Peer> = (0..5000)
                .map(|_| {
                    let mut peer = Peer::connect(&house, door);
                    // The oldest are hung up on while others still come.
                    let _ = peer.try_say(half);
                    peer
                })
                .collect();
            // Of 5,000 at most 1,024 stay.
            house.until_count("refused.handshakes_full", |count| count >= 5000 - 1024);
            assert!(house.count("handshakes") <= 1024);
            drop(peers);
        });
    }
}

#[test]
fn neither_5000_half_greetings_nor_5000_idle_clients_cost_more_than_their_share_of_memory() {
    let house = House::with_limits("{ handshakes_max: 6000, handshake_ms_max: 60000 }");
    let half = &greeting(3, 1, b"NULL")[..32];
    let before = house.peak_bytes();
    let assert_cheap = || {
        let each = (house.peak_bytes() - before) / 5000;
        assert!(each <= CONNECTION_BYTES_MAX, "{each} bytes for each");
    };
    under_attack(&house, || {
        let mut peers: Vec<Peer> = (0..5000).map(|_| Peer::connect(&house, Door::Front)).collect();
        house.until_count("handshakes", |count| count >= 5000);
        for some in peers.chunks_mut(AT_ONCE) {
            some.iter_mut().for_each(|peer| peer.say(half));
            some.last_mut().unwrap().hear(64);
        }
        assert!(house.count("handshakes") >= 5000);
        assert_cheap();
        for some in peers.chunks_mut(AT_ONCE) {
            some.iter_mut().for_each(|peer| peer.say(&hello(Door::Front, b"idle")[32..]));
            some.last_mut().unwrap().frame();
        }
        house.until_count("clients", |count| count >= 5000);
        assert_cheap();
        while !peers.is_empty() {
            peers.truncate(peers.len().saturating_sub(AT_ONCE));
            let left = peers.len() as u64;
            house.until_count("clients", |count| count <= left + 2);
        }
    });
}

#[test]
fn a_greeting_that_stops_or_trickles_has_its_time_and_no_more() {
    let house = House::with_limits("{ handshake_ms_max: 400 }");
    under_attack(&house, || {
        for door in Door::BOTH {
            let before = house.count("refused.handshake_timeout");
            let whole = hello(door, b"");
            // Nothing; half a signature; half a greeting; all but the end of READY.
            let mut peers: Vec<Peer> = [0, 5, 32, whole.len() - 1]
                .map(|said| {
                    let mut peer = Peer::connect(&house, door);
                    peer.say(&whole[..said]);
                    peer
                })
                .into();
            let mut slow = Peer::connect(&house, door);
            for byte in &whole {
                if slow.try_say(&[*byte]).is_err() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            peers.push(slow);
            peers.iter_mut().for_each(Peer::until_hung_up);
            assert_eq!(house.count("refused.handshake_timeout") - before, 5, "{door:?}");
        }
    });
}

#[test]
fn a_client_whose_bytes_trickle_is_served_like_any_other() {
    let house = House::with_limits("{}");
    under_attack(&house, || {
        let mut peer = Peer::connect(&house, Door::Front);
        let said = [hello(Door::Front, b"slow"), message(&[b"", b"Hello"])].concat();
        for byte in said {
            peer.say(&[byte]);
            std::thread::sleep(Duration::from_millis(1));
        }
        peer.skip_greeting();
        assert_eq!(peer.message(), [&b""[..], b"World"]);
    });
}

#[test]
fn resets_and_goodbyes_at_every_byte_of_a_conversation_leave_nothing_behind() {
    let house = House::with_limits("{}");
    under_attack(&house, || {
        for door in Door::BOTH {
            let whole = [hello(door, b"brief"), message(&[b"", &[b'x'; 300]])].concat();
            for said in 0..whole.len() {
                let mut peer = Peer::connect(&house, door);
                peer.say(&whole[..said]);
                if said % 2 == 0 {
                    peer.reset();
                }
            }
        }
    });
    house.until_count("clients", |count| count == 0);
    house.until_count("backends", |count| count == 2);
    house.until_count("handshakes", |count| count == 0);
}

#[test]
fn large_messages_cut_off_in_their_middle_give_their_memory_back() {
    let house = House::with_limits("{ memory_bytes_max: 33554432 }");
    under_attack(&house, || {
        let part = [hello(Door::Front, b""), announced(0, 8 << 20), vec![b'x'; 4 << 20]].concat();
        for count in 0..40 {
            let mut peer = Peer::connect(&house, Door::Front);
            let _ = peer.try_say(&part);
            if count % 2 == 0 {
                peer.reset();
            }
        }
    });
    house.until_count("clients", |count| count == 0);
}

#[test]
fn a_storm_of_connections_disturbs_nobody() {
    let house = House::with_limits("{ connections_max: 200 }");
    under_attack(&house, || {
        for door in Door::BOTH {
            for count in 0..2000 {
                let peer = Peer::connect(&house, door);
                if count % 2 == 0 {
                    peer.reset();
                }
            }
        }
    });
    house.until_count("handshakes", |count| count == 0);
}

#[test]
fn connections_beyond_the_limit_are_closed_and_counted_while_those_before_are_served() {
    let house = House::with_limits("{ connections_max: 50 }");
    let kept: Vec<Peer> = (0..40).map(|_| Peer::joined(&house, Door::Front, b"")).collect();
    under_siege(&house, || {
        let full = std::iter::from_fn(|| Some(Peer::connect(&house, Door::Front)));
        // Unfinished handshakes make room for those who come after; nobody who has joined does.
        let held: Vec<Peer> = full.take(100).collect();
        house.until_count("refused.handshakes_full", |count| count >= 80);
        assert_eq!(house.count("refused.connections_full"), 0);
        drop(held);
    });
    house.until_count("clients", |count| count == 40);
    // An eighth is kept for back-ends.
    let more: Vec<Peer> = (0..4).map(|_| Peer::joined(&house, Door::Front, b"")).collect();
    let mut one_too_many = Peer::connect(&house, Door::Front);
    one_too_many.until_hung_up();
    assert_eq!(house.count("refused.connections_full"), 1);
    let back_ends: Vec<Peer> = (0..4).map(|_| Peer::joined(&house, Door::Back, b"")).collect();
    drop((kept, more, back_ends));
}
