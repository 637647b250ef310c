//! The valid model: what the rest of the house may rely on without checking again.
//!
//! Every bound is named with its unit. What happens when a bound is reached is said beside it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use super::confine::Confine;
use super::life::Life;

/// A whole, valid configuration. It replaces the embedded default wholly: only what it names runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Config {
    /// The bus workers; `None` runs services only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bus: Option<Bus>,
    /// Back-ends and other processes, by name.
    pub services: BTreeMap<String, Service>,
    /// When and how fast what died is started again, how long a stop may take, and what a worker must have.
    pub supervisor: RestartPolicy,
    /// What becomes of the output of all services.
    pub logs: Logs,
}

/// The bus workers and what they share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bus {
    /// The address that every listening socket binds.
    pub bind: IpAddr,
    /// Permits a `bind` beyond loopback although peers are not authenticated.
    pub allow_insecure: bool,
    /// The requests worker; `None` leaves it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<Requests>,
    /// Bounds against hostile or broken peers, the same for every bus worker.
    pub limits: Limits,
}

impl Default for Bus {
    fn default() -> Self {
        Self { bind: IpAddr::V4(Ipv4Addr::LOCALHOST), allow_insecure: false, requests: None, limits: Limits::default() }
    }
}

/// The requests worker: clients in front (REQ, DEALER), back-ends behind (REP, DEALER).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// TCP port for clients; 0 takes any free one.
    pub front: u16,
    /// TCP port for back-ends; 0 takes any free one.
    pub back: u16,
    /// Requests that one back-end may have in hand; more wait.
    pub window: u32,
    /// Whether a request whose back-end died may be given to another one (twice at most in all).
    pub idempotent: bool,
    /// Requests that wait for a back-end, all clients together; beyond it clients are not read.
    pub waiting_max: u32,
    /// Bytes of waiting requests, all clients together; beyond it clients are not read.
    pub waiting_bytes_max: u64,
    /// Milliseconds that a request waits for a back-end; then it is dropped and counted as expired.
    pub waiting_ms_max: u64,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            front: 5555,
            back: 5556,
            window: 64,
            idempotent: false,
            waiting_max: 100_000,
            waiting_bytes_max: 64 << 20,
            waiting_ms_max: 30_000,
        }
    }
}

/// Bounds on what peers may make a bus worker hold. All are checked before anything is reserved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes in one frame; a peer that announces more is disconnected.
    pub frame_bytes_max: u64,
    /// Bytes in one message, all frames and their headers; a peer that exceeds it is disconnected.
    pub message_bytes_max: u64,
    /// Frames in one message; a peer that exceeds it is disconnected.
    pub parts_max: u32,
    /// Bytes of metadata in a READY command; a peer that exceeds it is disconnected.
    pub metadata_bytes_max: u32,
    /// Milliseconds from accept to the end of the handshake; then the peer is disconnected.
    pub handshake_ms_max: u64,
    /// Connections whose handshake is unfinished; when one more comes, the oldest of them is disconnected.
    pub handshakes_max: u32,
    /// Connections of one bus worker, an eighth of them kept for back-ends; when one more comes, the oldest unfinished handshake gives way; without one, the
    /// newcomer is closed at once.
    pub connections_max: u32,
    /// Bytes queued for one peer; beyond it a client is not read, and what still comes for it is dropped and counted.
    pub queue_bytes_max: u64,
    /// Bytes that one bus worker holds for all its peers (partial messages, waiting, queued; replies may take a quarter
    /// more). Beyond it clients are not read, and who holds the most by an unfinished message, or by not reading, is
    /// disconnected, until a quarter is free. docs/configuration.md says what a worker's whole memory stays below.
    pub memory_bytes_max: u64,
    /// Milliseconds of silence after which a ZMTP 3.1 peer is sent a PING; 0 sends none.
    pub heartbeat_ms: u64,
    /// Milliseconds that a PING may stay unanswered; then the peer is disconnected.
    pub heartbeat_timeout_ms: u64,
    /// Milliseconds that a bus worker which is told to end may take to bring what it has in hand to its end; what is left
    /// then is counted as lost.
    pub drain_ms_max: u64,
    /// Milliseconds without a sign of life from a bus worker; then it counts as hung and is replaced. 0: never.
    pub watchdog_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes_max: 16 << 20,
            message_bytes_max: 16 << 20,
            parts_max: 1024,
            metadata_bytes_max: 8 << 10,
            handshake_ms_max: 10_000,
            handshakes_max: 1024,
            connections_max: 10_000,
            queue_bytes_max: 8 << 20,
            memory_bytes_max: 256 << 20,
            heartbeat_ms: 10_000,
            heartbeat_timeout_ms: 30_000,
            drain_ms_max: 1_000,
            watchdog_ms: 30_000,
        }
    }
}

/// A named service: one or more processes of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Service {
    /// What runs.
    #[serde(flatten)]
    pub kind: ServiceKind,
    /// How many processes of it, at least 1.
    pub instances: u32,
    /// How it lives.
    #[serde(flatten)]
    pub life: Life,
    /// What it may do and have.
    #[serde(flatten)]
    pub confine: Confine,
}

/// What a service runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum ServiceKind {
    /// A worker built into the `torus` binary, named by its `torus worker` kind.
    #[serde(rename = "worker")]
    Worker(String),
    /// Any program: its argument vector, never empty.
    #[serde(rename = "command")]
    Command(Vec<String>),
}

/// When and how fast a service that died is started again, how long a stop may take, and what a worker must have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RestartPolicy {
    /// Milliseconds of life after which an earlier death is forgotten.
    pub healthy_after_ms: u64,
    /// Milliseconds before the second restart in a row; it doubles with each further one. The first is immediate.
    pub backoff_ms_min: u64,
    /// Milliseconds that a restart waits at most.
    pub backoff_ms_max: u64,
    /// Milliseconds for a whole orderly stop; what still lives then is killed.
    pub stop_ms_max: u64,
    /// Whether a built-in worker starts where its sandbox cannot be whole.
    pub sandbox: Sandbox,
    /// What PID 1 makes of what it finds before it starts anything.
    pub preflight: Preflight,
}

/// What PID 1 makes of what it finds before it starts anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preflight {
    /// It tells what is amiss, and goes on.
    #[default]
    Warn,
    /// It does not start where a check fails.
    Refuse,
    /// It does not look.
    Off,
}

impl Preflight {
    /// All policies by their names.
    pub const ALL: [(&'static str, Self); 3] = [("warn", Self::Warn), ("refuse", Self::Refuse), ("off", Self::Off)];
}

/// What a built-in worker does where it cannot have its whole sandbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sandbox {
    /// It takes what there is, and warns.
    #[default]
    BestEffort,
    /// It ends, and tells what is missing.
    Required,
}

impl Sandbox {
    /// All policies by their names.
    pub const ALL: [(&'static str, Self); 2] = [("best-effort", Self::BestEffort), ("required", Self::Required)];

    /// The policy of that name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, policy)| policy)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::BestEffort => "best-effort",
            Self::Required => "required",
        }
    }
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            healthy_after_ms: 1_000,
            backoff_ms_min: 100,
            backoff_ms_max: 30_000,
            stop_ms_max: 8_000,
            sandbox: Sandbox::BestEffort,
            preflight: Preflight::Warn,
        }
    }
}

/// What becomes of the lines that services write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logs {
    /// What a line looks like on standard output.
    pub format: LogFormat,
    /// Where lines go.
    pub to: LogTarget,
    /// Bytes of one line; a longer one is split, its pieces marked and counted.
    pub line_bytes_max: u32,
    /// Lines that one service may write in a second, over time; 0 sets no bound. What exceeds it is dropped and counted.
    pub rate_lines_per_s: u32,
    /// Lines that one service may write at once before its rate counts.
    pub burst_lines: u32,
    /// Milliseconds that a service may be held back by an output that does not flow; then its lines are dropped and
    /// counted until it flows again.
    pub block_ms_max: u64,
    /// Bytes of recent lines kept for each service; the oldest give way.
    pub recent_bytes_max: u32,
    /// Milliseconds that the log worker may leave a pipe unread without a sign of life; 0 is for ever.
    #[serde(default)]
    pub watchdog_ms: u64,
}

/// What a line looks like on standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// The line with its service and instance before it.
    #[default]
    Text,
    /// An object for each line.
    Json,
}

/// Where lines go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogTarget {
    /// The journal if our output goes there anyway, else standard output.
    #[default]
    Auto,
    /// Standard output.
    Stdout,
    /// The journal, or standard output where there is none.
    Journal,
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            to: LogTarget::Auto,
            line_bytes_max: 16 << 10,
            rate_lines_per_s: 10_000,
            burst_lines: 10_000,
            block_ms_max: 1_000,
            recent_bytes_max: 256 << 10,
            watchdog_ms: 10_000,
        }
    }
}
