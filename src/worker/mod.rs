//! The worker processes: each is `torus worker KIND`, started by the supervisor, which it knows by what it inherits.
//!
//! What every worker does alike is here: it gives up its privileges, maps its counters and enters its sandbox. What it
//! serves is in the file of its kind.

mod hello;
mod log;
mod requests;
mod sandbox;

use std::fmt::{self, Display};
use std::io;

use serde::de::DeserializeOwned;

use crate::sys::counters::{Counters, CountersError};
use crate::sys::inherit::{self, CommandSocket};
use crate::sys::privileges;

/// A kind of built-in worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The requests pattern of the bus.
    Requests,
    /// The seed's back-end: answers `World`.
    Hello,
    /// The output of all services.
    Log,
}

impl Kind {
    /// All kinds by their names on the command line.
    pub const ALL: [(&'static str, Self); 3] =
        [("requests", Self::Requests), ("hello", Self::Hello), ("log", Self::Log)];
}

/// Why a worker ended.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// It was started without something that it inherits.
    #[error("worker {kind} needs {what}, which it inherits from its supervisor\nhint: start it by `torus run`")]
    Orphan {
        /// Which worker.
        kind: Kind,
        /// What is missing.
        what: &'static str,
    },
    /// Its settings cannot be read.
    #[error("worker {kind} cannot read its settings: {cause}")]
    Settings {
        /// Which worker.
        kind: Kind,
        /// Why.
        cause: String,
    },
    /// Its sandbox is not whole, and it must be.
    #[error(
        "worker {kind} cannot have its whole sandbox, which supervisor.sandbox requires: {missing}\n\
         hint: docs/security.md says what kernel and container must give; with best-effort the worker goes without"
    )]
    Sandbox {
        /// Which worker.
        kind: Kind,
        /// What this place does not give.
        missing: String,
    },
    /// The counters' memory.
    #[error(transparent)]
    Counters(#[from] CountersError),
    /// The system refused.
    #[error("worker cannot {what}: {cause}")]
    System {
        /// What it tried.
        what: &'static str,
        /// Why not.
        cause: io::Error,
    },
}

impl Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.into_iter().find(|(_, kind)| kind == self).map_or("", |(name, _)| name);
        formatter.write_str(name)
    }
}

/// Runs a worker until it is told to stop or its supervisor is gone.
pub fn run(kind: Kind) -> Result<(), WorkerError> {
    // A task that panicked would leave the others running without it. The supervisor knows how to begin anew.
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!("{panic}");
        std::process::abort();
    }));
    privileges::drop_all().map_err(system("give up its privileges"))?;
    let command = inherit::named("TORUS_COMMAND_FD").map_err(system("take its command socket"))?;
    let command = command.map(CommandSocket::new).ok_or(WorkerError::Orphan { kind, what: "a command socket" })?;
    match kind {
        Kind::Requests => requests::run(command),
        Kind::Hello => hello::run(&command),
        Kind::Log => log::run(&command),
    }
}

/// The settings of this worker, which it finds as JSON in TORUS_SETTINGS.
fn settings<T: DeserializeOwned>(kind: Kind) -> Result<T, WorkerError> {
    let text = std::env::var("TORUS_SETTINGS").map_err(|_| WorkerError::Orphan { kind, what: "settings" })?;
    serde_json::from_str(&text).map_err(|error| WorkerError::Settings { kind, cause: error.to_string() })
}

/// The counters of this worker's instance: totals of those that ran before it are in there.
fn counters(kind: Kind) -> Result<&'static Counters, WorkerError> {
    let memory = inherit::named("TORUS_COUNTERS_FD").map_err(system("take its counters"))?;
    let memory = memory.ok_or(WorkerError::Orphan { kind, what: "memory for its counters" })?;
    Ok(Counters::open(memory)?.forever())
}

fn system(what: &'static str) -> impl Fn(io::Error) -> WorkerError {
    move |cause| WorkerError::System { what, cause }
}
