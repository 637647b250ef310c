//! The environment of children: what was given to us, without what was meant for us alone, and what we tell them.

use std::collections::HashMap;
use std::env;
use std::ffi::OsString;

use super::listeners::Listeners;
use super::plan::{Program, Unit};
use crate::config::Sandbox;

/// Meant for this process (by its service manager), or ours to give: never passed on as found.
const OWN: [&str; 16] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "MAINPID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PIDFDID",
    "TORUS_COMMAND_FD",
    "TORUS_COUNTERS_FD",
    "TORUS_SETTINGS",
    "TORUS_SANDBOX",
    "TORUS_SERVICE",
    "TORUS_INSTANCE",
    "TORUS_REQUESTS_FRONT",
    "TORUS_REQUESTS_BACK",
];

/// What a child may inherit of our own environment.
pub(super) fn inherited() -> Vec<(OsString, OsString)> {
    env::vars_os().filter(|(name, _)| !OWN.iter().any(|own| name == own)).collect()
}

/// The variables by which a process that lost its parent is known.
pub(super) fn marks(service: &str, number: u32) -> [String; 2] {
    [format!("TORUS_SERVICE={service}"), format!("TORUS_INSTANCE={number}")]
}

/// What a child is told: its name, and where the bus listens; a built-in worker, whether it must have its sandbox.
pub(super) fn told(unit: &Unit, number: u32, listeners: &Listeners, sandbox: Sandbox) -> Vec<(OsString, OsString)> {
    let mut told = vec![pair("TORUS_SERVICE", &unit.name), pair("TORUS_INSTANCE", number.to_string())];
    if let Some(requests) = listeners.requests.as_ref().filter(|_| unit.program.knows_the_bus()) {
        told.push(pair("TORUS_REQUESTS_FRONT", requests.front.reachable()));
        told.push(pair("TORUS_REQUESTS_BACK", requests.back.reachable()));
    }
    if let Program::Requests { settings } | Program::Log { settings } = &unit.program {
        told.push(pair("TORUS_SETTINGS", settings));
    }
    if unit.program.is_built_in() {
        told.push(pair("TORUS_SANDBOX", sandbox.name()));
    }
    told
}

/// One value for each name, the last.
pub(super) fn last_wins(variables: Vec<(OsString, OsString)>) -> Vec<(OsString, OsString)> {
    let mut places = HashMap::new();
    let mut kept: Vec<(OsString, OsString)> = Vec::with_capacity(variables.len());
    for (name, value) in variables {
        match places.get(&name) {
            Some(&place) => {
                let (_, old): &mut (OsString, OsString) = &mut kept[place];
                *old = value;
            }
            None => {
                places.insert(name.clone(), kept.len());
                kept.push((name, value));
            }
        }
    }
    kept
}

/// A variable.
pub(super) fn pair(name: &str, value: impl AsRef<str>) -> (OsString, OsString) {
    (name.into(), value.as_ref().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_values_the_last_holds() {
        let variables = [("A", "1"), ("B", "2"), ("A", "3")].map(|(name, value)| pair(name, value));
        assert_eq!(last_wins(variables.into()), [pair("A", "3"), pair("B", "2")]);
    }
}
