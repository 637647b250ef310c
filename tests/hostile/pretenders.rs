//! Peers that say they are somebody else, or answer what nobody asked them.

use crate::good::under_attack;
use crate::house::House;
use crate::peer::*;

#[test]
fn an_identity_taken_twice_in_front_is_served_by_connection_and_counted() {
    let house = House::with_limits("{}");
    under_attack(&house, || {
        let mut twins: Vec<Peer> = (0..20).map(|_| Peer::joined(&house, Door::Front, b"twin")).collect();
        // Each asks before anybody reads: a reply that went to another twin would be missing here.
        for (number, twin) in twins.iter_mut().enumerate() {
            twin.say(&message(&[&[number as u8], b"", b"Hello"]));
        }
        for (number, twin) in twins.iter_mut().enumerate() {
            assert_eq!(twin.message(), [&[number as u8][..], b"", b"World"]);
        }
        house.until_count("duplicate_identities", |count| count == 19);
    });
}

#[test]
fn an_identity_taken_twice_behind_is_served_by_connection_and_counted() {
    let house = House::with_limits("{}");
    let mut twins = [b"A", b"B"].map(|name| (name, Peer::joined(&house, Door::Back, b"twin")));
    house.until_count("backends", |count| count == 4);
    let mut client = Peer::joined(&house, Door::Front, b"");
    // The least loaded is next: with four back-ends, four requests in hand are one each.
    client.say(&message(&[b"", b"Hello"]).repeat(4));
    for (name, twin) in &mut twins {
        let request = twin.message();
        twin.say(&message(&[&request[0], b"", &name[..]]));
    }
    let mut replies: Vec<Vec<u8>> = (0..4).map(|_| client.message().pop().unwrap()).collect();
    replies.sort();
    assert_eq!(replies, [&b"A"[..], b"B", b"World", b"World"]);
    assert_eq!(house.count("duplicate_identities"), 1);
    house.assert_unharmed();
}

#[test]
fn replies_that_nobody_asked_for_are_dropped_and_counted() {
    let house = House::with_limits("{}");
    under_attack(&house, || {
        let mut replies = vec![message(&[b"Forged"]), message(&[b"", b"Forged"]), message(&[&[1; 17], b"", b"Forged"])];
        // Every address that a young worker may have given out.
        for slot in 0..8_u32 {
            for (generation, turn) in (1..8_u32).flat_map(|generation| (1..8_u32).map(move |turn| (generation, turn))) {
                let [generation, slot, turn, first] = [generation, slot, turn, 0].map(u32::to_be_bytes);
                let address = [&[1], &generation[..], &slot, &turn, &first].concat();
                replies.push(message(&[&address, b"", b"Forged"]));
            }
        }
        for round in 1..=5 {
            let mut forger = Peer::connect(&house, Door::Back);
            forger.say(&[hello(Door::Back, b""), replies.concat()].concat());
            drop(forger);
            house.until_count("dropped.unsolicited_reply", |count| count >= round * replies.len() as u64);
        }
    });
    // The good clients' own assertions say that none of these came to them.
}

#[test]
fn only_the_back_end_that_was_asked_may_answer_and_only_once() {
    let house = House::with_limits("{}");
    let mut backends = [0; 2].map(|_| Peer::joined(&house, Door::Back, b""));
    house.until_count("backends", |count| count == 4);
    let mut client = Peer::joined(&house, Door::Front, b"");
    client.say(&message(&[b"", b"Hello"]).repeat(4));
    let [first, second] = &mut backends;
    let (asked_first, asked_second) = (first.message(), second.message());
    // Each has heard of the other's address and answers in its place.
    first.say(&message(&[&asked_second[0], b"", b"Forged"]));
    second.say(&message(&[&asked_first[0], b"", b"Forged"]));
    house.until_count("dropped.unsolicited_reply", |count| count == 2);
    first.say(&message(&[&asked_first[0], b"", b"True"]).repeat(2));
    second.say(&message(&[&asked_second[0], b"", b"True"]));
    house.until_count("dropped.unsolicited_reply", |count| count == 3);
    let mut replies: Vec<Vec<u8>> = (0..4).map(|_| client.message().pop().unwrap()).collect();
    replies.sort();
    assert_eq!(replies, [&b"True"[..], b"True", b"World", b"World"]);
    house.assert_unharmed();
}

#[test]
fn a_reply_without_its_envelope_is_lost_and_counted() {
    let house = House::with_limits("{}");
    let mut backend = Peer::joined(&house, Door::Back, b"");
    house.until_count("backends", |count| count == 3);
    let mut client = Peer::joined(&house, Door::Front, b"");
    client.say(&message(&[b"", b"Hello"]).repeat(3));
    let request = backend.message();
    // The address alone, with nothing behind it that could be delivered.
    backend.say(&message(&[&request[0]]));
    house.until_count("lost.bad_reply", |count| count == 1);
    assert_eq!([client.message(), client.message()], [[&b""[..], b"World"], [&b""[..], b"World"]]);
    house.assert_unharmed();
}
