//! Bytes that are no ZMTP, or not as it should be: each peer is disconnected and counted under its reason.

use crate::good::under_attack;
use crate::house::House;
use crate::peer::*;

/// Small limits, so that exceeding them is quick.
const LIMITS: &str = "{ frame_bytes_max: 60000, message_bytes_max: 100000, parts_max: 100, metadata_bytes_max: 1000 }";

/// Sends each of `cases` from a peer of its own and waits for its end; then the counter has grown by just as many.
fn assert_refused(house: &House, door: Door, reason: &str, cases: &[Vec<u8>]) {
    let counter = format!("refused.{reason}");
    let before = house.count(&counter);
    for case in cases {
        let mut peer = Peer::connect(house, door);
        // It may be disconnected before it has said all.
        let _ = peer.try_say(case);
        peer.until_hung_up();
    }
    assert_eq!(house.count(&counter) - before, cases.len() as u64, "{counter} at {door:?}");
}

fn at_both_doors(attack: impl Fn(&House, Door)) {
    let house = House::with_limits(LIMITS);
    under_attack(&house, || Door::BOTH.into_iter().for_each(|door| attack(&house, door)));
}

/// What an honest peer says, and something behind it in the same breath.
fn after_hello(door: Door, rest: &[u8]) -> Vec<u8> {
    [&hello(door, b""), rest].concat()
}

fn in_handshake(rest: &[u8]) -> Vec<u8> {
    [&greeting(3, 1, b"NULL"), rest].concat()
}

#[test]
fn other_protocols_and_wrong_signatures_are_refused() {
    let tls = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[0x5a; 500]].concat();
    let mut no_end = greeting(3, 1, b"NULL");
    no_end[9] = 0x7e;
    at_both_doors(|house, door| {
        let cases = [
            b"GET / HTTP/1.1\r\nHost: torus\r\n\r\n".to_vec(),
            b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
            tls.clone(),
            vec![0; 64],
            no_end.clone(),
            // ZMTP 1.0 begins with the length of an identity: none, or one of two bytes.
            vec![1, 0],
            vec![3, 0, b'm', b'e'],
        ];
        assert_refused(house, door, "bad_signature", &cases);
    });
}

#[test]
fn version_1_is_refused_and_every_later_one_is_served_as_far_as_we_know_it() {
    let house = House::with_limits(LIMITS);
    under_attack(&house, || {
        for door in Door::BOTH {
            assert_refused(&house, door, "version", &[greeting_v2(door, 0), greeting(0, 0, b"NULL")]);
        }
        for revision in [1, 2] {
            let mut peer = Peer::connect(&house, Door::Front);
            peer.say(&[greeting_v2(Door::Front, revision), message(&[b"", b"Hello"])].concat());
            peer.hear(14);
            assert_eq!(peer.message(), [&b""[..], b"World"], "2.{}", revision - 1);
        }
        for (major, minor) in [(3, 0), (3, 1), (3, 200), (4, 0), (255, 255)] {
            let mut peer = Peer::connect(&house, Door::Front);
            let request = message(&[b"", b"Hello"]);
            peer.say(&[greeting(major, minor, b"NULL"), ready(b"REQ", b""), request].concat());
            peer.skip_greeting();
            assert_eq!(peer.message(), [&b""[..], b"World"], "{major}.{minor}");
        }
    });
}

#[test]
fn malformed_zmtp_2_peers_are_refused() {
    at_both_doors(|house, door| {
        let (good, [start @ .., _, _, _]) = (greeting_v2(door, 1), &greeting_v2(door, 1)[..]) else { unreachable!() };
        // An identity of several frames, of a long frame, of a command.
        let identities: [&[u8]; 3] = [&[MORE, 0], &announced(0, u64::MAX), &[COMMAND, 0]];
        let cases = identities.map(|identity| [start, &[good[11]], identity].concat());
        assert_refused(house, door, "bad_command", &cases);
        let cases = [2, 11, 255].map(|number| [start, &[number, 0, 0]].concat());
        assert_refused(house, door, "socket_type", &cases);
        // There are no commands in 2.0.
        let ping = [&good[..], &command(b"PING", &[0, 0])].concat();
        assert_refused(house, door, "reserved_flags", &[ping]);
    });
}

#[test]
fn every_mechanism_but_null_is_refused() {
    let names: [&[u8]; 9] =
        [b"PLAIN", b"CURVE", b"GSSAPI", b"", b"null", b"NUL", b"NULLNULL", b"ABCDEFGHIJKLMNOPQRST", &[0xff; 20]];
    at_both_doors(|house, door| {
        assert_refused(house, door, "mechanism", &names.map(|name| greeting(3, 1, name)));
    });
}

#[test]
fn a_ready_that_is_truncated_oversized_or_out_of_turn_is_refused() {
    at_both_doors(|house, door| {
        let kind = property(b"Socket-Type", b"DEALER");
        let broken = [
            // Cut off in the name of a property, in the length of its value, in the value.
            command(b"READY", &kind[..5]),
            command(b"READY", &kind[..14]),
            command(b"READY", &kind[..kind.len() - 1]),
            // The value announces 4 GiB.
            command(b"READY", b"\x0bSocket-Type\xff\xff\xff\xffDEALER"),
            ready(b"DEALER", &[b'i'; 256]),
            // The command's own name is cut off; there is no command at all; another one; a message.
            frame(COMMAND, b"\x05REA"),
            frame(COMMAND, b""),
            command(b"PING", &[0, 0]),
            command(b"HELLO", b""),
            message(&[b"", b"Hello"]),
        ];
        assert_refused(house, door, "bad_command", &broken.map(|bytes| in_handshake(&bytes)));
        let twice = after_hello(door, &ready(b"DEALER", b""));
        assert_refused(house, door, "bad_command", &[twice]);

        let oversized = [1001, 1 << 31, 1 << 46, 1 << 63, u64::MAX].map(|bytes| announced(COMMAND, bytes));
        assert_refused(house, door, "command_too_large", &oversized.map(|bytes| in_handshake(&bytes)));
        let long = command(b"READY", &[kind.clone(), property(b"X-Long", &[b'x'; 1000])].concat());
        assert_refused(house, door, "command_too_large", &[in_handshake(&long)]);

        let strangers: [&[u8]; 5] = [b"PUB", b"PULL", b"", b"dealer", &[0xff; 200]];
        let cases = strangers.map(|name| in_handshake(&ready(name, b"")));
        assert_refused(house, door, "socket_type", &cases);
        assert_refused(house, door, "socket_type", &[in_handshake(&command(b"READY", b""))]);
        assert_refused(house, door, "refused_by_peer", &[in_handshake(&command(b"ERROR", b"\x02No"))]);
    });
}

#[test]
fn frames_of_any_announced_size_beyond_the_limit_are_refused_at_their_header() {
    let sizes = [60_001, 1 << 31, 1 << 46, 1 << 63, u64::MAX];
    at_both_doors(|house, door| {
        for flags in [0, MORE] {
            let cases = sizes.map(|bytes| after_hello(door, &announced(flags, bytes)));
            assert_refused(house, door, "frame_too_large", &cases);
        }
        let commands = sizes.map(|bytes| after_hello(door, &announced(COMMAND, bytes)));
        assert_refused(house, door, "command_too_large", &commands);
        let in_message = sizes.map(|bytes| after_hello(door, &[&[MORE, 0], &announced(COMMAND, bytes)[..]].concat()));
        assert_refused(house, door, "command_too_large", &in_message);
    });
}

#[test]
fn endless_messages_are_refused_by_parts_and_by_bytes() {
    at_both_doors(|house, door| {
        let endless_more = after_hello(door, &[MORE, 0].repeat(300));
        assert_refused(house, door, "too_many_parts", &[endless_more]);
        let part = frame(MORE, &[b'x'; 50_000]);
        assert_refused(house, door, "message_too_large", &[after_hello(door, &part.repeat(4))]);
        // What comes between the parts counts too, or a message of two parts could last for ever.
        let commands = command(b"OTHER", &[b'x'; 900]).repeat(200);
        assert_refused(house, door, "message_too_large", &[after_hello(door, &[&[MORE, 0][..], &commands].concat())]);
    });
}

#[test]
fn reserved_flags_are_refused() {
    at_both_doors(|house, door| {
        let flags = [0x08, 0x10, 0x20, 0x40, 0x80, 0xff, COMMAND | MORE, COMMAND | MORE | LONG];
        assert_refused(house, door, "reserved_flags", &flags.map(|flags| after_hello(door, &[flags, 0])));
        assert_refused(house, door, "reserved_flags", &flags.map(|flags| in_handshake(&[flags, 0])));
    });
}

#[test]
fn malformed_commands_after_the_handshake_are_refused_within_a_message_too() {
    at_both_doors(|house, door| {
        let broken = [
            command(b"PING", &[0]),
            command(b"PING", &[0; 2 + 17]),
            frame(COMMAND, b"\x04PIN"),
            frame(COMMAND, b""),
            command(b"ERROR", b"\x09short"),
        ];
        for before in [&b""[..], &[MORE, 0]] {
            let cases = broken.each_ref().map(|bytes| after_hello(door, &[before, bytes].concat()));
            assert_refused(house, door, "bad_command", &cases);
        }
        assert_refused(house, door, "refused_by_peer", &[after_hello(door, &command(b"ERROR", b"\x02No"))]);
    });
}

#[test]
fn commands_between_the_parts_of_a_message_are_answered_and_leave_the_message_whole() {
    let house = House::with_limits(LIMITS);
    under_attack(&house, || {
        let mut peer = Peer::joined(&house, Door::Front, b"");
        let ping = command(b"PING", &[0, 0, b'!']);
        peer.say(&[frame(MORE, b""), ping.repeat(1000), command(b"WHAT", &[7; 300]), frame(0, b"Hello")].concat());
        for _ in 0..1000 {
            assert_eq!(peer.frame(), (COMMAND, b"\x04PONG!".to_vec()));
        }
        assert_eq!(peer.message(), [&b""[..], b"World"]);
    });
}

#[test]
fn urgent_bytes_are_bytes_of_the_stream_like_any_other() {
    let house = House::with_limits(LIMITS);
    under_attack(&house, || {
        let whole = [hello(Door::Front, b""), message(&[b"", b"Hello"])].concat();
        for urgent in 0..whole.len() {
            let mut peer = Peer::connect(&house, Door::Front);
            peer.say_urgently(&whole[..=urgent]);
            peer.say(&whole[urgent + 1..]);
            peer.skip_greeting();
            assert_eq!(peer.message(), [&b""[..], b"World"], "byte {urgent} was urgent");
        }
        for door in Door::BOTH {
            let before = house.count("refused.bad_signature");
            let mut peer = Peer::connect(&house, door);
            peer.say_urgently(b"!");
            peer.until_hung_up();
            assert_eq!(house.count("refused.bad_signature") - before, 1, "{door:?}");
        }
    });
}
