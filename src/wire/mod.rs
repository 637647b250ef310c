//! ZMTP as a sans-IO codec: bytes in, events and bytes out; no socket, no clock, no queue.
//!
//! A [`Session`] is one peer's side of the protocol: greeting (3.1, 3.0, and 2.0 in stages), the NULL handshake,
//! messages and commands. It owns nothing but its own progress: the caller keeps the bytes and tells the time. Every
//! announced length is checked against [`Limits`] before anybody may reserve for it.
//!
//! Sources: RFC 23 (ZMTP 3.0), RFC 37 (ZMTP 3.1), RFC 15 (ZMTP 2.0), RFC 28 (which socket types talk to which).

mod command;
mod frame;
mod greeting;
mod session;
mod socket_type;

pub use command::push_ping;
pub use frame::{Frame, Frames, push_frame, push_header};
pub use session::{Session, Step};
pub use socket_type::SocketType;

/// Bounds on what a peer may announce. The peer that exceeds one gets a [`WireError`] and should be disconnected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one frame's body.
    pub frame_bytes_max: u64,
    /// Bytes of one message: all its frames with their headers.
    pub message_bytes_max: u64,
    /// Frames in one message.
    pub parts_max: u32,
    /// Bytes of one command, READY's metadata included.
    pub metadata_bytes_max: u32,
}

/// The protocol version that two peers agreed on: the lower of theirs and ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// RFC 15: no mechanism, no commands, no heartbeats.
    V2_0,
    /// RFC 23: no heartbeats.
    V3_0,
    /// RFC 37.
    V3_1,
}

impl Version {
    /// Whether such a peer may be sent a PING.
    pub fn has_heartbeats(self) -> bool {
        self >= Self::V3_1
    }
}

/// What a peer said of itself. Its identity serves logs alone: nothing is routed by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// The version spoken with it.
    pub version: Version,
    /// Its socket type.
    pub socket_type: SocketType,
    /// Its announced identity, often empty.
    pub identity: Vec<u8>,
}

/// Why a peer cannot be talked with any further. All are the peer's mistakes; none leaves this side in doubt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The first bytes are not a ZMTP signature: another protocol, or ZMTP 1.0.
    #[error("greeting does not begin with a ZMTP signature")]
    BadSignature,
    /// A version before 2.0.
    #[error("ZMTP version {0} is not supported")]
    Version(u8),
    /// Another mechanism than NULL.
    #[error("mechanism {0:?} is not supported")]
    Mechanism(String),
    /// A socket type that does not exist or must not talk with ours.
    #[error("socket type {0:?} cannot talk with {1:?} here")]
    SocketType(String, SocketType),
    /// A command that breaks its grammar, or comes at the wrong time.
    #[error("malformed command: {0}")]
    Command(&'static str),
    /// The peer ended the handshake with an ERROR command.
    #[error("peer refused us: {0:?}")]
    Refused(String),
    /// Reserved bits of a frame's flags are set.
    #[error("frame flags {0:#04x} are reserved")]
    ReservedFlags(u8),
    /// An announced frame is larger than the limit.
    #[error("frame of {announced} bytes announced, {max} are allowed")]
    FrameTooLarge {
        /// What the peer announced.
        announced: u64,
        /// [`Limits::frame_bytes_max`].
        max: u64,
    },
    /// A message grew, or announced to grow, over the limit.
    #[error("message of more than {max} bytes")]
    MessageTooLarge {
        /// [`Limits::message_bytes_max`].
        max: u64,
    },
    /// A message has more frames than the limit.
    #[error("message of more than {max} frames")]
    TooManyParts {
        /// [`Limits::parts_max`].
        max: u32,
    },
    /// A command is larger than the limit.
    #[error("command of {announced} bytes announced, {max} are allowed")]
    CommandTooLarge {
        /// What the peer announced.
        announced: u64,
        /// [`Limits::metadata_bytes_max`].
        max: u32,
    },
}

impl WireError {
    /// One word for a counter: why the peer was turned away.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BadSignature => "bad_signature",
            Self::Version(_) => "version",
            Self::Mechanism(_) => "mechanism",
            Self::SocketType(..) => "socket_type",
            Self::Command(_) => "bad_command",
            Self::Refused(_) => "refused_by_peer",
            Self::ReservedFlags(_) => "reserved_flags",
            Self::FrameTooLarge { .. } => "frame_too_large",
            Self::MessageTooLarge { .. } => "message_too_large",
            Self::TooManyParts { .. } => "too_many_parts",
            Self::CommandTooLarge { .. } => "command_too_large",
        }
    }

    /// All that [`WireError::reason`] may say, for whoever registers counters beforehand.
    pub const REASONS: [&'static str; 11] = [
        "bad_signature",
        "version",
        "mechanism",
        "socket_type",
        "bad_command",
        "refused_by_peer",
        "reserved_flags",
        "frame_too_large",
        "message_too_large",
        "too_many_parts",
        "command_too_large",
    ];
}
