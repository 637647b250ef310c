//! One peer's side of the protocol, from the first byte to the last.
//!
//! The caller keeps the bytes that came in and calls [`Session::step`] with all of them until it answers
//! [`Step::NeedMore`]; what a step used up, the caller drops from the front. Nothing is scanned twice: the session
//! remembers how far into an unfinished message it has looked, so the front must stay where it is until a step
//! releases it.

use std::ops::Range;

use super::command::{self, Command};
use super::frame::{COMMAND, Header, MORE};
use super::greeting::{self, Greeting};
use super::{Limits, PeerInfo, SocketType, Version, WireError};

/// What a step found at the front of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing whole. `bytes` in all will be needed, as far as is known; never more than the limits allow.
    NeedMore {
        /// Bytes that the input must hold before another step can find something.
        bytes: usize,
    },
    /// Protocol bytes that concern the session alone: drop them and step on.
    Skip {
        /// How many to drop.
        bytes: usize,
    },
    /// The handshake is done: drop `bytes` and step on; [`Session::peer`] now tells who it is.
    Ready {
        /// How many to drop.
        bytes: usize,
    },
    /// A whole message lies at `range`: use it, drop everything up to its end, step on.
    Message {
        /// Where its frames are, headers included.
        range: Range<usize>,
    },
}

/// The state of one connection's protocol.
#[derive(Debug)]
pub struct Session {
    ours: SocketType,
    limits: Limits,
    stage: Stage,
    scan: Scan,
}

#[derive(Debug)]
enum Stage {
    /// Our first bytes are sent; the peer's version is unknown.
    Version,
    /// The rest of ours is sent; the peer's greeting is not whole.
    Greeting,
    /// A 3.x peer's READY is awaited.
    Handshake(Version),
    Traffic(PeerInfo),
}

/// How far an unfinished message has been looked through.
#[derive(Debug, Default)]
struct Scan {
    /// Where the next frame's header begins.
    offset: usize,
    parts: u32,
    /// Commands that came between the message's frames: libzmq may send a PING there.
    holes: Vec<Range<usize>>,
}

impl Session {
    /// Begins a session as a socket of type `ours` and appends to `out` what has to be sent first.
    pub fn new(ours: SocketType, limits: Limits, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(&greeting::FIRST);
        Self { ours, limits, stage: Stage::Version, scan: Scan::default() }
    }

    /// Who the peer is, once the handshake is done.
    pub fn peer(&self) -> Option<&PeerInfo> {
        match &self.stage {
            Stage::Traffic(peer) => Some(peer),
            _ => None,
        }
    }

    /// Appends an ERROR command that tells a 3.x peer why its handshake fails; to others nothing can be said.
    pub fn refuse(&self, reason: &str, out: &mut Vec<u8>) {
        if matches!(self.stage, Stage::Handshake(_)) {
            command::push_error(out, reason);
        }
    }

    /// Looks at the front of `input`; appends to `out` what has to be sent in answer.
    ///
    /// After an error the session is at its end and must not be stepped again.
    #[inline]
    pub fn step(&mut self, input: &mut [u8], out: &mut Vec<u8>) -> Result<Step, WireError> {
        match &self.stage {
            Stage::Traffic(_) => self.step_traffic(input, out),
            Stage::Version => self.step_version(input, out),
            Stage::Greeting => self.step_greeting(input),
            Stage::Handshake(version) => self.step_handshake(*version, input, out),
        }
    }

    #[cold]
    fn step_version(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Step, WireError> {
        match greeting::is_v3(input)? {
            None => return Ok(Step::NeedMore { bytes: greeting::FIRST.len() }),
            Some(true) => {
                greeting::push_v3_rest(out);
                // Under NULL nothing of the peer's is needed to say who we are; not waiting saves a round trip.
                command::push_ready(out, self.ours);
            }
            Some(false) => greeting::push_v2_rest(out, self.ours),
        }
        self.stage = Stage::Greeting;
        Ok(Step::Skip { bytes: 0 })
    }

    #[cold]
    fn step_greeting(&mut self, input: &[u8]) -> Result<Step, WireError> {
        match greeting::read(input)? {
            Greeting::Partial => Ok(Step::NeedMore { bytes: input.len() + 1 }),
            Greeting::V3 { version, bytes } => {
                self.stage = Stage::Handshake(version);
                Ok(Step::Skip { bytes })
            }
            Greeting::V2 { socket_type, identity, bytes } => {
                let known = SocketType::from_number(socket_type);
                let socket_type = self.checked(known, || socket_type.to_string())?;
                self.stage = Stage::Traffic(PeerInfo { version: Version::V2_0, socket_type, identity });
                Ok(Step::Ready { bytes })
            }
        }
    }

    #[cold]
    fn step_handshake(&mut self, version: Version, input: &[u8], out: &mut Vec<u8>) -> Result<Step, WireError> {
        let Some(header) = self.header(input, true)? else { return Ok(Step::NeedMore { bytes: input.len() + 1 }) };
        if header.flags & COMMAND == 0 {
            return Err(WireError::Command("a message before the handshake's end"));
        }
        let bytes = header.bytes + header.body as usize;
        let Some(body) = input.get(header.bytes..bytes) else { return Ok(Step::NeedMore { bytes }) };
        match command::read(body)? {
            Command::Ready { socket_type: name, identity } => {
                let known = SocketType::from_name(name);
                let checked = self.checked(known, || String::from_utf8_lossy(name).into_owned());
                let socket_type = checked.inspect_err(|_| self.refuse("Invalid socket type", out))?;
                self.stage = Stage::Traffic(PeerInfo { version, socket_type, identity: identity.to_vec() });
                Ok(Step::Ready { bytes })
            }
            Command::Error { reason } => Err(WireError::Refused(String::from_utf8_lossy(reason).into_owned())),
            Command::Ping { .. } | Command::Pong | Command::Other => {
                Err(WireError::Command("neither READY nor ERROR in the handshake"))
            }
        }
    }

    #[inline]
    fn step_traffic(&mut self, input: &mut [u8], out: &mut Vec<u8>) -> Result<Step, WireError> {
        loop {
            let start = self.scan.offset;
            let Some(header) = self.header(&input[start..], false)? else {
                return Ok(Step::NeedMore { bytes: input.len() + 1 });
            };
            // No overflow: `header` has checked the body against limits far below the range of usize.
            let end = start + header.bytes + header.body as usize;
            if end > input.len() {
                return Ok(Step::NeedMore { bytes: end });
            }
            self.scan.offset = end;
            if header.flags & COMMAND != 0 {
                self.answer(&input[start + header.bytes..end], out)?;
                if self.scan.parts == 0 {
                    self.scan.offset = 0;
                    return Ok(Step::Skip { bytes: end });
                }
                match self.scan.holes.last_mut() {
                    // Neighbours are one hole, so there are never more holes than frames.
                    Some(hole) if hole.end == start => hole.end = end,
                    _ => self.scan.holes.push(start..end),
                }
                continue;
            }
            self.scan.parts += 1;
            if header.flags & MORE == 0 {
                self.scan.offset = 0;
                self.scan.parts = 0;
                let start = if self.scan.holes.is_empty() { 0 } else { close_holes(input, end, &mut self.scan.holes) };
                return Ok(Step::Message { range: start..end });
            }
        }
    }

    /// Reads the header at the front of `input` and holds what it announces against every limit.
    #[inline]
    fn header(&self, input: &[u8], handshake: bool) -> Result<Option<Header>, WireError> {
        if let Some(&flags) = input.first() {
            let v2 = matches!(&self.stage, Stage::Traffic(peer) if peer.version == Version::V2_0);
            let allowed = if v2 { 0b011 } else { 0b111 };
            if flags & !allowed != 0 || flags & (COMMAND | MORE) == COMMAND | MORE {
                return Err(WireError::ReservedFlags(flags));
            }
        }
        let Some(header) = Header::read(input) else { return Ok(None) };
        let (limits, announced) = (&self.limits, header.body);
        if handshake || header.flags & COMMAND != 0 {
            if announced > u64::from(limits.metadata_bytes_max) {
                return Err(WireError::CommandTooLarge { announced, max: limits.metadata_bytes_max });
            }
        } else if announced > limits.frame_bytes_max {
            return Err(WireError::FrameTooLarge { announced, max: limits.frame_bytes_max });
        } else if self.scan.parts >= limits.parts_max {
            return Err(WireError::TooManyParts { max: limits.parts_max });
        }
        // Commands within a message count as its bytes: they are held with it.
        let total = (self.scan.offset + header.bytes) as u64 + announced;
        let in_message = !handshake && (self.scan.parts > 0 || header.flags & COMMAND == 0);
        if in_message && total > limits.message_bytes_max {
            return Err(WireError::MessageTooLarge { max: limits.message_bytes_max });
        }
        Ok(Some(header))
    }

    #[cold]
    fn answer(&self, body: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
        match command::read(body)? {
            Command::Ping { context } => command::push_pong(out, context),
            Command::Error { reason } => return Err(WireError::Refused(String::from_utf8_lossy(reason).into_owned())),
            Command::Ready { .. } => return Err(WireError::Command("READY after the handshake")),
            // A PONG has said all by its arrival.
            Command::Pong | Command::Other => {}
        }
        Ok(())
    }

    fn checked(&self, theirs: Option<SocketType>, name: impl FnOnce() -> String) -> Result<SocketType, WireError> {
        theirs.filter(|&theirs| self.ours.accepts(theirs)).ok_or_else(|| WireError::SocketType(name(), self.ours))
    }
}

/// Moves a message's frames together over the commands that lay between them, towards `end`; returns where it now
/// begins. One pass, whatever the number of holes.
fn close_holes(input: &mut [u8], end: usize, holes: &mut Vec<Range<usize>>) -> usize {
    let (mut target, mut source_end) = (end, end);
    while let Some(hole) = holes.pop() {
        let kept = hole.end..source_end;
        target -= kept.len();
        input.copy_within(kept, target);
        source_end = hole.start;
    }
    target -= source_end;
    input.copy_within(0..source_end, target);
    target
}

#[cfg(test)]
mod tests;
