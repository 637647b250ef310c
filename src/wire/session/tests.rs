//! Sessions fed with what honest, broken and hostile peers send.

use proptest::prelude::*;

use super::*;
use crate::wire::{Frames, push_frame};

fn limits() -> Limits {
    Limits { frame_bytes_max: 1000, message_bytes_max: 2000, parts_max: 8, metadata_bytes_max: 500 }
}

/// Everything that a session said about one stream of bytes.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    messages: Vec<Vec<u8>>,
    peer: Option<PeerInfo>,
    sent: Vec<u8>,
    error: Option<WireError>,
}

/// Feeds `bytes` to a new session, cut into pieces at `cuts`.
fn hear(ours: SocketType, bytes: &[u8], cuts: &[usize]) -> Heard {
    let mut heard = Heard::default();
    let mut session = Session::new(ours, limits(), &mut heard.sent);
    let mut pending = Vec::new();
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([0, bytes.len()]).collect();
    cuts.sort_unstable();
    for piece in cuts.windows(2) {
        pending.extend_from_slice(&bytes[piece[0]..piece[1]]);
        loop {
            match session.step(&mut pending, &mut heard.sent) {
                Ok(Step::NeedMore { bytes }) => {
                    assert!(bytes > pending.len(), "asked for what was there");
                    assert!(bytes <= 2000 + 9, "asked for more than the limits allow");
                    break;
                }
                Ok(Step::Skip { bytes } | Step::Ready { bytes }) => drop(pending.drain(..bytes)),
                Ok(Step::Message { range }) => {
                    heard.messages.push(pending[range.clone()].to_vec());
                    pending.drain(..range.end);
                }
                Err(error) => {
                    heard.error = Some(error);
                    return heard;
                }
            }
        }
    }
    heard.peer = session.peer().cloned();
    heard
}

fn greeting_v3(minor: u8, mechanism: &str) -> Vec<u8> {
    let mut bytes = vec![0u8; 64];
    bytes[..11].copy_from_slice(&greeting::FIRST);
    bytes[11] = minor;
    bytes[12..12 + mechanism.len()].copy_from_slice(mechanism.as_bytes());
    bytes
}

fn hello_from(ours: SocketType) -> Vec<u8> {
    let mut bytes = greeting_v3(1, "NULL");
    command::push_ready(&mut bytes, ours);
    bytes
}

fn message(frames: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, frame) in frames.iter().enumerate() {
        push_frame(&mut bytes, index + 1 < frames.len(), frame);
    }
    bytes
}

#[test]
fn two_sessions_greet_each_other_and_pass_a_message() {
    let bytes = [hello_from(SocketType::Req), message(&[b"", b"Hello"])].concat();
    let heard = hear(SocketType::Router, &bytes, &[]);
    assert_eq!(heard.error, None);
    assert_eq!(heard.messages, [message(&[b"", b"Hello"])]);
    let peer = heard.peer.unwrap();
    assert_eq!((peer.version, peer.socket_type), (Version::V3_1, SocketType::Req));
    // And what was sent is itself a greeting that the other side understands.
    let answer = hear(SocketType::Req, &heard.sent, &[]);
    assert_eq!(answer.peer.unwrap().socket_type, SocketType::Router);
}

#[test]
fn only_eleven_bytes_are_sent_before_the_peers_version_is_known() {
    let heard = hear(SocketType::Router, &greeting::FIRST[..10], &[]);
    assert_eq!(heard.sent, greeting::FIRST);
}

#[test]
fn a_zmtp_2_peer_is_greeted_in_its_own_words() {
    let mut bytes = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 1, SocketType::Req.number(), 0, 2, b'm', b'e'];
    bytes.extend(message(&[b"", b"Hello"]));
    let heard = hear(SocketType::Router, &bytes, &[]);
    let peer = heard.peer.unwrap();
    assert_eq!((peer.version, peer.identity), (Version::V2_0, b"me".to_vec()));
    assert_eq!(heard.messages, [message(&[b"", b"Hello"])]);
    assert_eq!(heard.sent[11..], [SocketType::Router.number(), 0, 0]);
}

#[test]
fn pings_are_answered_with_their_context_even_between_the_frames_of_a_message() {
    let whole = message(&[b"one", b"two", b"three"]);
    let mut ping = Vec::new();
    crate::wire::frame::push_command(&mut ping, b"PING", &[0, 9, b'c', b't', b'x']);
    let bytes = [&hello_from(SocketType::Dealer)[..], &whole[..5], &ping, &whole[5..10], &ping, &whole[10..], &ping];
    let heard = hear(SocketType::Router, &bytes.concat(), &[]);
    assert_eq!(heard.error, None);
    assert_eq!(heard.messages, [whole]);
    assert!(heard.sent.ends_with(b"\x04\x08\x04PONGctx\x04\x08\x04PONGctx\x04\x08\x04PONGctx"));
}

#[test]
fn a_ping_is_for_peers_that_greeted_3_1_or_later() {
    for (minor, may) in [(0, false), (1, true)] {
        let mut bytes = greeting_v3(minor, "NULL");
        command::push_ready(&mut bytes, SocketType::Dealer);
        let peer = hear(SocketType::Router, &bytes, &[]).peer.unwrap();
        assert_eq!(peer.version.has_heartbeats(), may);
    }
}

#[test]
fn every_other_mechanism_is_refused_by_name() {
    for name in ["PLAIN", "CURVE", "GSSAPI", "", "NULLNULL", "null"] {
        let heard = hear(SocketType::Router, &greeting_v3(1, name), &[]);
        assert_eq!(heard.error, Some(WireError::Mechanism(name.to_owned())));
    }
}

#[test]
fn other_protocols_are_recognised_by_their_first_byte() {
    assert_eq!(hear(SocketType::Router, b"G", &[]).error, Some(WireError::BadSignature));
    assert_eq!(hear(SocketType::Router, b"\x16\x03\x01", &[]).error, Some(WireError::BadSignature));
    let zmtp1 = hear(SocketType::Router, b"\xff\0\0\0\0\0\0\0\x01\x00", &[]);
    assert_eq!(zmtp1.error, Some(WireError::BadSignature));
    let revision0 = hear(SocketType::Router, b"\xff\0\0\0\0\0\0\0\x01\x7f\x00", &[]);
    assert_eq!(revision0.error, Some(WireError::Version(1)));
}

#[test]
fn a_socket_type_that_must_not_talk_here_is_told_so() {
    let heard = hear(SocketType::Router, &hello_from(SocketType::Sub), &[]);
    assert_eq!(heard.error, Some(WireError::SocketType("SUB".to_owned(), SocketType::Router)));
    assert!(heard.sent.ends_with(b"Invalid socket type"));
}

#[test]
fn announced_lengths_are_refused_before_a_byte_of_the_body_came() {
    for length in [1001, 1 << 31, 1 << 46, 1 << 63, u64::MAX] {
        let mut bytes = hello_from(SocketType::Dealer);
        bytes.push(frame_flags::LONG);
        bytes.extend(u64::to_be_bytes(length));
        let heard = hear(SocketType::Router, &bytes, &[]);
        assert_eq!(heard.error, Some(WireError::FrameTooLarge { announced: length, max: 1000 }));

        let mut ready = greeting_v3(1, "NULL");
        ready.push(frame_flags::LONG | frame_flags::COMMAND);
        ready.extend(u64::to_be_bytes(length));
        let heard = hear(SocketType::Router, &ready, &[]);
        assert_eq!(heard.error, Some(WireError::CommandTooLarge { announced: length, max: 500 }));
    }
}

#[test]
fn endless_parts_and_ever_growing_messages_end_at_their_limits() {
    let endless = [hello_from(SocketType::Dealer), [1u8, 0].repeat(50)].concat();
    assert_eq!(hear(SocketType::Router, &endless, &[]).error, Some(WireError::TooManyParts { max: 8 }));
    let mut growing = hello_from(SocketType::Dealer);
    for _ in 0..3 {
        push_frame(&mut growing, true, &[7; 900]);
    }
    assert_eq!(hear(SocketType::Router, &growing, &[]).error, Some(WireError::MessageTooLarge { max: 2000 }));
    // Commands inside an unfinished message are held with it, so they count.
    let mut stuffed = [hello_from(SocketType::Dealer), vec![1, 0]].concat();
    for _ in 0..300 {
        crate::wire::frame::push_command(&mut stuffed, b"PONG", &[]);
    }
    assert_eq!(hear(SocketType::Router, &stuffed, &[]).error, Some(WireError::MessageTooLarge { max: 2000 }));
}

#[test]
fn commands_between_frames_cost_no_memory_for_each() {
    let mut sent = Vec::new();
    let mut session = Session::new(SocketType::Router, limits(), &mut sent);
    let mut bytes = hello_from(SocketType::Dealer);
    loop {
        match session.step(&mut bytes, &mut sent).unwrap() {
            Step::Skip { bytes: used } => drop(bytes.drain(..used)),
            Step::Ready { bytes: used } => break drop(bytes.drain(..used)),
            other => panic!("{other:?}"),
        }
    }
    bytes.extend([1, 0]);
    bytes.extend(b"\x04\x01\x00".repeat(300));
    assert!(matches!(session.step(&mut bytes, &mut sent), Ok(Step::NeedMore { .. })));
    assert_eq!(session.scan.holes.len(), 1);
    bytes.extend([0, 1, b'x']);
    assert_eq!(session.step(&mut bytes, &mut sent), Ok(Step::Message { range: 900..905 }));
    assert_eq!(bytes[900..905], [1, 0, 0, 1, b'x']);
}

#[test]
fn reserved_flags_are_refused_and_zmtp_2_has_no_commands() {
    for flags in [0x08, 0x10, 0x80, 0xff, 0x05] {
        let bytes = [hello_from(SocketType::Dealer), vec![flags, 0]].concat();
        assert_eq!(hear(SocketType::Router, &bytes, &[]).error, Some(WireError::ReservedFlags(flags)));
    }
    let mut v2 = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 1, SocketType::Req.number(), 0, 0];
    v2.extend([4, 0]);
    assert_eq!(hear(SocketType::Router, &v2, &[]).error, Some(WireError::ReservedFlags(4)));
}

mod frame_flags {
    pub(super) use crate::wire::frame::{COMMAND, LONG};
}

proptest! {
    #[test]
    fn messages_survive_any_cutting(
        messages in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..6), 0..6),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let sent: Vec<Vec<u8>> = messages
            .iter()
            .map(|frames| message(&frames.iter().map(Vec::as_slice).collect::<Vec<_>>()))
            .collect();
        let bytes = [hello_from(SocketType::Dealer), sent.concat()].concat();
        let heard = hear(SocketType::Router, &bytes, &cuts);
        prop_assert_eq!(&heard.error, &None);
        prop_assert_eq!(&heard.messages, &sent);
        for (bytes, frames) in sent.iter().zip(&messages) {
            let walked: Vec<&[u8]> = Frames::new(bytes).map(|frame| frame.body).collect();
            prop_assert_eq!(walked, frames.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
    }

    #[test]
    fn any_bytes_mean_the_same_however_they_are_cut(
        tail in prop::collection::vec(prop_oneof![0u8..8, any::<u8>()], 0..200),
        handshake in 0usize..3,
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let head = [vec![], greeting_v3(0, "NULL"), hello_from(SocketType::Req)][handshake].clone();
        let bytes = [head, tail].concat();
        prop_assert_eq!(hear(SocketType::Router, &bytes, &[]), hear(SocketType::Router, &bytes, &cuts));
    }
}
