//! What must hold for any bytes that a peer may send; run by libFuzzer (a million inputs) and by a plain test (a few
//! hundred). A broken rule panics.
//!
//! An input is: one byte that picks our socket type and how much of an honest greeting goes first, one byte that says
//! how the rest is cut into pieces, the bytes of the peer.

use torus::wire::{Frames, Limits, Session, SocketType, Step};

const LIMITS: Limits =
    Limits { frame_bytes_max: 4096, message_bytes_max: 8192, parts_max: 16, metadata_bytes_max: 512 };
/// No step may ask for more than the largest message and one header.
const NEEDED_BYTES_MAX: usize = 8192 + 9;

/// Feeds one input to the codec, whole and in pieces; both must mean the same.
pub(crate) fn wire(data: &[u8]) {
    let [choice, cut, peer @ ..] = data else { return };
    let ours = [SocketType::Router, SocketType::Dealer, SocketType::Rep][usize::from(choice % 3)];
    let mut bytes = honest_start(ours, choice / 3 % 4);
    bytes.extend_from_slice(peer);
    let whole = hear(ours, &bytes, bytes.len().max(1));
    let pieces = hear(ours, &bytes, usize::from(*cut) + 1);
    assert_eq!(whole, pieces, "cutting changed the meaning");
}

#[derive(Debug, Default, PartialEq)]
struct Heard {
    messages: Vec<Vec<u8>>,
    sent: Vec<u8>,
    error: Option<String>,
}

fn hear(ours: SocketType, bytes: &[u8], piece: usize) -> Heard {
    let mut heard = Heard::default();
    let mut session = Session::new(ours, LIMITS, &mut heard.sent);
    let mut pending: Vec<u8> = Vec::new();
    for piece in bytes.chunks(piece) {
        pending.extend_from_slice(piece);
        loop {
            match session.step(&mut pending, &mut heard.sent) {
                Ok(Step::NeedMore { bytes }) => {
                    assert!(bytes > pending.len() && bytes <= NEEDED_BYTES_MAX, "asked for {bytes} bytes");
                    break;
                }
                Ok(Step::Skip { bytes } | Step::Ready { bytes }) => drop(pending.drain(..bytes)),
                Ok(Step::Message { range }) => {
                    let message = &pending[range.clone()];
                    let frames: Vec<_> = Frames::new(message).collect();
                    assert!(message.len() <= 8192 && frames.len() <= 16);
                    let (last, rest) = frames.split_last().expect("a message has a frame");
                    assert!(!last.more && last.end == message.len() && rest.iter().all(|frame| frame.more));
                    heard.messages.push(message.to_vec());
                    pending.drain(..range.end);
                }
                Err(error) => {
                    heard.error = Some(error.to_string());
                    return heard;
                }
            }
        }
    }
    heard
}

/// As much of a greeting as lets random bytes reach the later stages: none, 2.0, 3.x, 3.x with READY.
fn honest_start(ours: SocketType, stage: u8) -> Vec<u8> {
    let theirs = if ours == SocketType::Rep { SocketType::Req } else { SocketType::Dealer };
    let mut start = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f];
    match stage {
        0 => return Vec::new(),
        1 => start.extend([1, theirs.number(), 0, 0]),
        _ => {
            start.extend([3, 1]);
            start.extend(b"NULL");
            start.resize(64, 0);
        }
    }
    if stage == 3 {
        let name = theirs.name().as_bytes();
        start.extend([4, (6 + 12 + 4 + name.len()) as u8, 5]);
        start.extend(b"READY\x0bSocket-Type\0\0\0");
        start.push(name.len() as u8);
        start.extend(name);
    }
    start
}
