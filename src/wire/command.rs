//! Commands: READY and ERROR of the NULL handshake, PING and PONG of ZMTP 3.1.

use super::frame::push_command;
use super::{SocketType, WireError};

/// Bytes of a PING's context, which PONG returns (RFC 37).
const PING_CONTEXT_BYTES_MAX: usize = 16;
/// Bytes of an identity (RFC 23: 0 to 255).
const IDENTITY_BYTES_MAX: usize = 255;

/// A command that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    Ready {
        socket_type: &'a [u8],
        identity: &'a [u8],
    },
    Error {
        reason: &'a [u8],
    },
    Ping {
        context: &'a [u8],
    },
    Pong,
    /// One that we do not know: to be ignored.
    Other,
}

/// Reads a command's whole body.
pub(super) fn read(body: &[u8]) -> Result<Command<'_>, WireError> {
    let (name, data) = take_short(body).ok_or(WireError::Command("truncated name"))?;
    match name {
        b"READY" => read_ready(data),
        b"ERROR" => {
            let (reason, _) = take_short(data).ok_or(WireError::Command("truncated reason in ERROR"))?;
            Ok(Command::Error { reason })
        }
        b"PING" => {
            // The first two bytes are the sender's TTL. We drop nobody for silence, so it goes unused.
            let context = data.get(2..).ok_or(WireError::Command("PING without TTL"))?;
            if context.len() > PING_CONTEXT_BYTES_MAX {
                return Err(WireError::Command("PING context of more than 16 bytes"));
            }
            Ok(Command::Ping { context })
        }
        b"PONG" => Ok(Command::Pong),
        _ => Ok(Command::Other),
    }
}

pub(super) fn push_ready(out: &mut Vec<u8>, ours: SocketType) {
    let mut metadata = Vec::with_capacity(32);
    push_property(&mut metadata, b"Socket-Type", ours.name().as_bytes());
    if matches!(ours, SocketType::Req | SocketType::Dealer | SocketType::Router) {
        push_property(&mut metadata, b"Identity", b"");
    }
    push_command(out, b"READY", &metadata);
}

pub(super) fn push_error(out: &mut Vec<u8>, reason: &str) {
    let reason = &reason.as_bytes()[..reason.len().min(200)];
    let mut data = vec![reason.len() as u8];
    data.extend_from_slice(reason);
    push_command(out, b"ERROR", &data);
}

/// Appends a PING without context. Only a peer whose version [has heartbeats](super::Version::has_heartbeats) knows it.
pub fn push_ping(out: &mut Vec<u8>) {
    push_command(out, b"PING", &[0, 0]);
}

pub(super) fn push_pong(out: &mut Vec<u8>, context: &[u8]) {
    push_command(out, b"PONG", context);
}

fn read_ready(mut data: &[u8]) -> Result<Command<'_>, WireError> {
    let (mut socket_type, mut identity) = (&b""[..], &b""[..]);
    while !data.is_empty() {
        let (name, rest) = take_short(data).ok_or(WireError::Command("truncated property name in READY"))?;
        let (value, rest) = take_long(rest).ok_or(WireError::Command("truncated property value in READY"))?;
        if name.eq_ignore_ascii_case(b"Socket-Type") {
            socket_type = value;
        } else if name.eq_ignore_ascii_case(b"Identity") {
            if value.len() > IDENTITY_BYTES_MAX {
                return Err(WireError::Command("identity of more than 255 bytes in READY"));
            }
            identity = value;
        }
        data = rest;
    }
    Ok(Command::Ready { socket_type, identity })
}

fn push_property(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(name.len() as u8);
    out.extend_from_slice(name);
    out.extend_from_slice(&(value.len() as u32).to_be_bytes());
    out.extend_from_slice(value);
}

/// A string behind a length of one byte, and what follows.
fn take_short(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = data.split_first()?;
    rest.split_at_checked(usize::from(length))
}

/// A string behind a length of four bytes, and what follows.
fn take_long(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = data.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}
