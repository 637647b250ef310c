//! What the transport counts.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;

use crate::broker::Count;
use crate::wire::WireError;

/// The transport's counters, by the names that they are registered under.
#[derive(Debug)]
pub struct Counts {
    /// Connections accepted.
    pub accepted: Count,
    /// Gauge: connections whose handshake is unfinished.
    pub handshakes: Count,
    /// Peers that announced an identity which another peer at the same door has; both are served.
    pub duplicate_identities: Count,
    /// Bytes read.
    pub bytes_in: Count,
    /// Bytes written.
    pub bytes_out: Count,
    refused: HashMap<&'static str, Count>,
}

/// Why we ended a connection that obeyed the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Its handshake took too long.
    HandshakeTimeout,
    /// It was the oldest unfinished handshake when there were too many.
    HandshakesFull,
    /// There were as many connections as there may be.
    ConnectionsFull,
    /// A PING stayed unanswered.
    HeartbeatTimeout,
    /// It held the most of all when the worker's memory for peers was full, by an unfinished message or by not reading.
    MemoryFull,
    /// It went on sending PINGs without reading the answers.
    Slow,
    /// No descriptor was left for it.
    NoDescriptors,
}

impl Cut {
    const ALL: [Self; 7] = [
        Self::HandshakeTimeout,
        Self::HandshakesFull,
        Self::ConnectionsFull,
        Self::HeartbeatTimeout,
        Self::MemoryFull,
        Self::Slow,
        Self::NoDescriptors,
    ];

    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::HandshakeTimeout => "handshake_timeout",
            Self::HandshakesFull => "handshakes_full",
            Self::ConnectionsFull => "connections_full",
            Self::HeartbeatTimeout => "heartbeat_timeout",
            Self::MemoryFull => "memory_full",
            Self::Slow => "slow",
            Self::NoDescriptors => "no_descriptors",
        }
    }
}

impl Counts {
    /// Registers every counter by its name.
    pub fn register<E>(mut word: impl FnMut(&str) -> Result<&'static AtomicU64, E>) -> Result<Self, E> {
        let mut count = |name: &str| word(name).map(Count::new);
        let mut refused = HashMap::new();
        for reason in WireError::REASONS.into_iter().chain(Cut::ALL.map(Cut::reason)) {
            refused.insert(reason, count(&format!("refused.{reason}"))?);
        }
        let counts = Self {
            accepted: count("accepted")?,
            handshakes: count("handshakes")?,
            duplicate_identities: count("duplicate_identities")?,
            bytes_in: count("bytes_in")?,
            bytes_out: count("bytes_out")?,
            refused,
        };
        counts.handshakes.set(0);
        Ok(counts)
    }

    pub(super) fn refuse(&self, reason: &'static str) {
        self.refused[reason].add(1);
    }
}
