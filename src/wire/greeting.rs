//! The greeting, in stages: what we send first fits every version, the rest follows once the peer's version is known.
//!
//! A 2.0 peer may hang up on a full 3.x greeting that arrives at once (JeroMQ 0.3 does), so eleven bytes go first:
//! signature and version. They are the same in all versions from 2.0 on.

use super::frame::Header;
use super::{SocketType, Version, WireError};

/// Signature and major version.
pub(super) const FIRST: [u8; 11] = [0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3];

/// Bytes of a whole 3.x greeting.
const V3_BYTES: usize = 64;
const MECHANISM: std::ops::Range<usize> = 12..32;

/// What the peer's greeting, as far as it has arrived, tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    /// Not whole yet.
    Partial,
    /// A whole 3.x greeting of `bytes`.
    V3 { version: Version, bytes: usize },
    /// A whole 2.0 greeting of `bytes`.
    V2 { socket_type: u8, identity: Vec<u8>, bytes: usize },
}

/// Whether the peer speaks 3.x; `None` until its version has arrived. An error as soon as any byte is wrong.
pub(super) fn is_v3(input: &[u8]) -> Result<Option<bool>, WireError> {
    let wrong_first = input.first().is_some_and(|&byte| byte != FIRST[0]);
    let wrong_last = input.get(9).is_some_and(|&byte| byte != FIRST[9]);
    if wrong_first || wrong_last {
        return Err(WireError::BadSignature);
    }
    match input.get(10) {
        None => Ok(None),
        Some(0) => Err(WireError::Version(1)),
        Some(1 | 2) => Ok(Some(false)),
        Some(_) => Ok(Some(true)),
    }
}

/// Reads the greeting at the start of `input`.
pub(super) fn read(input: &[u8]) -> Result<Greeting, WireError> {
    match is_v3(input)? {
        None => Ok(Greeting::Partial),
        Some(true) => read_v3(input),
        Some(false) => read_v2(input),
    }
}

/// Appends what follows [`FIRST`] to a 3.x peer.
pub(super) fn push_v3_rest(out: &mut Vec<u8>) {
    let mut rest = [0u8; V3_BYTES - FIRST.len()];
    rest[0] = 1; // minor version: 3.1
    rest[MECHANISM.start - FIRST.len()..][..4].copy_from_slice(b"NULL");
    out.extend_from_slice(&rest);
}

/// Appends what follows [`FIRST`] to a 2.0 peer: our socket type and an empty identity.
pub(super) fn push_v2_rest(out: &mut Vec<u8>, ours: SocketType) {
    out.extend_from_slice(&[ours.number(), 0, 0]);
}

fn read_v3(input: &[u8]) -> Result<Greeting, WireError> {
    let Some(greeting) = input.get(..V3_BYTES) else { return Ok(Greeting::Partial) };
    let mechanism = &greeting[MECHANISM];
    let name = &mechanism[..mechanism.iter().position(|&b| b == 0).unwrap_or(mechanism.len())];
    if name != b"NULL" {
        return Err(WireError::Mechanism(String::from_utf8_lossy(name).into_owned()));
    }
    // A later major version is expected to step down to ours, 3.1 (RFC 37, "Version Negotiation").
    let version = if greeting[10] == 3 && greeting[11] == 0 { Version::V3_0 } else { Version::V3_1 };
    Ok(Greeting::V3 { version, bytes: V3_BYTES })
}

fn read_v2(input: &[u8]) -> Result<Greeting, WireError> {
    let Some(&socket_type) = input.get(FIRST.len()) else { return Ok(Greeting::Partial) };
    let identity = &input[FIRST.len() + 1..];
    if identity.first().is_some_and(|&flags| flags != 0) {
        return Err(WireError::Command("a ZMTP 2.0 identity is one short, final frame"));
    }
    let Some(header) = Header::read(identity) else { return Ok(Greeting::Partial) };
    let end = header.bytes + header.body as usize;
    match identity.get(header.bytes..end) {
        None => Ok(Greeting::Partial),
        Some(body) => Ok(Greeting::V2 { socket_type, identity: body.to_vec(), bytes: FIRST.len() + 1 + end }),
    }
}
