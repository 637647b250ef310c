//! A worker's way into its sandbox: what the supervisor's policy makes of what this place does not give.

use std::fmt::Display;

use super::{Kind, WorkerError, system};
use crate::config::Sandbox;
use crate::sys::inherit::CommandSocket;
use crate::sys::sandbox::{self, Profile};

/// Shuts this process in. It comes after everything that is to be opened, and before the first byte of a peer.
pub(super) fn enter(kind: Kind, profile: Profile<'_>, command: &CommandSocket) -> Result<(), WorkerError> {
    enter_with(kind, profile, command, || ())
}

/// As [`enter`], with what `start` starts on the way: threads, which there are none to be had of inside.
pub(super) fn enter_with<T>(
    kind: Kind,
    profile: Profile<'_>,
    command: &CommandSocket,
    start: impl FnOnce() -> T,
) -> Result<T, WorkerError> {
    let policy = policy(kind)?;
    let (started, missing) = sandbox::enter_with(profile, start);
    if policy == Sandbox::Required && !missing.is_empty() {
        return Err(WorkerError::Sandbox { kind, missing: joined(missing) });
    }
    for missing in missing {
        tracing::warn!(worker = %kind, "the sandbox is not whole: {missing}");
        let warning = format!("the sandbox is not whole: {missing}");
        command.warn(&warning).map_err(system("warn its supervisor"))?;
    }
    Ok(started)
}

fn policy(kind: Kind) -> Result<Sandbox, WorkerError> {
    let Some(name) = std::env::var_os("TORUS_SANDBOX") else { return Ok(Sandbox::default()) };
    name.to_str().and_then(Sandbox::of_name).ok_or_else(|| WorkerError::Settings {
        kind,
        cause: format!("TORUS_SANDBOX={} names no policy", name.display()),
    })
}

fn joined(missing: Vec<impl Display>) -> String {
    missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
