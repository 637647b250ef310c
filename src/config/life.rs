//! How a service lives: what it comes after, when it is ready, when it counts as hung, whether it is started again, how
//! it is told to end.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// The life of one service, beside what it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Life {
    /// What it comes after, by name.
    pub after: BTreeMap<String, After>,
    /// When it is ready.
    pub ready: Ready,
    /// When a process that is ready counts as hung; `None` never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watchdog: Option<Watchdog>,
    /// Whether and when it is started again.
    pub restart: Restart,
    /// How it is told to end.
    pub stop: Stop,
    /// Whether everything stops when it has ended for good.
    pub essential: bool,
}

/// What a service waits for in another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum After {
    /// It has a process.
    Started,
    /// It is ready.
    Ready,
    /// It has ended well.
    Completed,
}

/// When a service is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ready {
    /// What tells.
    #[serde(flatten)]
    pub by: ReadyBy,
    /// Milliseconds that it may take; then the process is told to end, and that is a failure. 0 is for ever.
    pub timeout_ms: u64,
    /// Milliseconds between two probes.
    pub interval_ms: u64,
}

/// What tells that a service is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadyBy {
    /// It runs; a built-in worker says so itself.
    #[serde(serialize_with = "as_true")]
    Started,
    /// It says `READY=1` (sd_notify(3)).
    #[serde(serialize_with = "as_true")]
    Notify,
    /// It writes a line to this descriptor, as programs for s6 do.
    Fd(u32),
    /// A probe succeeds.
    Tcp(String),
    /// A command succeeds.
    Exec(Vec<String>),
}

/// When a process counts as hung.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Watchdog {
    /// Milliseconds without a sign of life.
    pub timeout_ms: u64,
    /// Milliseconds between two probes.
    pub interval_ms: u64,
    /// What counts as a sign of life; without one: `WATCHDOG=1` (sd_notify(3)).
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
}

/// Asks a service whether it serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Probe {
    /// A connection to this address and port is accepted.
    Tcp(String),
    /// This command exits with 0.
    Exec(Vec<String>),
}

/// Whether and when a service is started again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Restart {
    /// After which ends.
    pub when: When,
    /// What counts as a success.
    pub success: Success,
    /// Milliseconds of life after which an earlier death is forgotten.
    pub healthy_after_ms: u64,
    /// The waits before restarts.
    pub backoff: Backoff,
    /// The budget; `None` is no limit.
    #[serde(serialize_with = "or_none")]
    pub limit: Option<Budget>,
    /// What follows when the budget is spent.
    pub then: Then,
    /// Milliseconds of quarantine before the one try that follows it.
    pub quarantine_ms: u64,
}

/// After which ends a service is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// Every one.
    #[default]
    Always,
    /// Those that are no success.
    OnFailure,
    /// None.
    Never,
}

/// Which ends are a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Success {
    /// Exit codes.
    pub codes: BTreeSet<u8>,
    /// Signals, by number.
    pub signals: BTreeSet<u8>,
}

/// The waits before restarts, from the second one in a row on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Backoff {
    /// Milliseconds before the second restart in a row; it doubles with each further one. The first is immediate.
    pub ms_min: u64,
    /// Milliseconds that a restart waits at most.
    pub ms_max: u64,
}

/// How many restarts there may be in a sliding window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// Restarts.
    pub restarts: u32,
    /// The window in milliseconds.
    pub window_ms: u64,
}

/// What follows when the budget is spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Then {
    /// A rest, and then one try.
    #[default]
    Quarantine,
    /// It has failed for good.
    Fail,
}

/// How a service is told to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stop {
    /// The signal's number.
    pub signal: i32,
    /// Milliseconds until what still lives is killed.
    pub timeout_ms: u64,
}

impl Default for Ready {
    fn default() -> Self {
        Self { by: ReadyBy::Started, timeout_ms: 60_000, interval_ms: 200 }
    }
}

impl Default for Watchdog {
    fn default() -> Self {
        Self { timeout_ms: 10_000, interval_ms: 2_000, probe: None }
    }
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            when: When::Always,
            success: Success { codes: [0].into(), signals: BTreeSet::new() },
            healthy_after_ms: 1_000,
            backoff: Backoff { ms_min: 100, ms_max: 30_000 },
            limit: Some(Budget { restarts: 60, window_ms: 60_000 }),
            then: Then::Quarantine,
            quarantine_ms: 60_000,
        }
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self { signal: 15, timeout_ms: 5_000 }
    }
}

fn or_none<S: serde::Serializer>(limit: &Option<Budget>, serializer: S) -> Result<S::Ok, S::Error> {
    match limit {
        Some(limit) => limit.serialize(serializer),
        None => serializer.serialize_str("none"),
    }
}

fn as_true<S: serde::Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(true)
}
