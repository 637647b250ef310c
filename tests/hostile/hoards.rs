//! Peers that make the worker hold as much as they can: unfinished messages, from many at once.

use crate::good::under_attack;
use crate::house::House;
use crate::peer::*;

/// Room for four messages of the size that these peers send.
const LIMITS: &str = "{ memory_bytes_max: 67108864 }";
const MIB: usize = 1 << 20;

#[test]
fn partial_messages_of_15_mib_from_many_peers_stay_within_the_memory_of_all() {
    for door in Door::BOTH {
        let house = House::with("front: 0, back: 0, idempotent: true, window: 1", LIMITS);
        let mut accomplice = Peer::joined(&house, Door::Front, b"");
        let mut hoarders: Vec<Peer> = (0..20).map(|_| Peer::joined(&house, door, b"")).collect();
        if door == Door::Back {
            // Each gets a request that it does not answer, and so, by its window, none of the good clients'.
            house.until_count("backends", |count| count == 2 + 20);
            accomplice.say(&message(&[b"", b"Hello"]).repeat(2 + 20));
            hoarders.iter_mut().for_each(|hoarder| drop(hoarder.message()));
        }
        let most = [announced(0, 16 * MIB as u64 - 64), vec![b'x'; 15 * MIB]].concat();
        under_attack(&house, || {
            for hoarder in &mut hoarders {
                let _ = hoarder.try_say(&most);
            }
            house.until_count("refused.memory_full", |count| count >= 10);
        });
    }
}

#[test]
fn memory_of_large_messages_is_not_kept_by_small_ones_behind_them() {
    let limits = "{ memory_bytes_max: 33554432, message_bytes_max: 4194304, frame_bytes_max: 4194304 }";
    let house = House::with("front: 0, back: 0, window: 1000, waiting_bytes_max: 33554432", limits);
    // Large ones are answered at once; the small ones that came in the same breath must not hold their memory.
    let large = message(&[b"", &vec![b'x'; 3 * MIB]]);
    let small = message(&[b"", b"Hello"]).repeat(10);
    let mut peers: Vec<Peer> = (0..40).map(|_| Peer::joined(&house, Door::Front, b"")).collect();
    for peer in &mut peers {
        peer.say(&[&large[..], &small].concat());
        for _ in 0..11 {
            assert_eq!(peer.message(), [&b""[..], b"World"]);
        }
    }
    house.assert_unharmed();
}
