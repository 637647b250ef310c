//! What another configuration would change, service by service, and why. Pure.

use std::collections::BTreeSet;

use super::plan::{self, Unit};
use crate::config::Config;
use crate::control::{Change, What};
use crate::lifecycle::Service;

/// The changes from one configuration to another, in the order of names; what stays as it is is not told.
pub(super) fn between(before: &Config, after: &Config) -> Vec<Change> {
    let (old_units, old_plan) = plan::plan(before);
    let (new_units, new_plan) = plan::plan(after);
    // Every process is told where the bus listens.
    let moved = doors(before) != doors(after);
    let walled = before.supervisor.sandbox != after.supervisor.sandbox;
    let names: BTreeSet<&String> = old_plan.keys().chain(new_plan.keys()).collect();
    let change = |name: &&String| {
        let name = name.as_str();
        let both = |units: &plan::Units, services: &crate::lifecycle::Plan| {
            Some((units.get(name)?.clone(), services.get(name)?.clone()))
        };
        let (what, why) = match (both(&old_units, &old_plan), both(&new_units, &new_plan)) {
            (None, Some(_)) => (What::Start, "it is new".to_owned()),
            (Some(_), None) => (What::Stop, "it is no longer there".to_owned()),
            (Some(old), Some(new)) => {
                of_service(&old, &new, moved && new.0.program.knows_the_bus(), walled && new.0.program.is_built_in())?
            }
            (None, None) => return None,
        };
        Some(Change { service: name.to_owned(), what, why })
    };
    names.iter().filter_map(change).collect()
}

/// Where the bus listens by a configuration.
pub(super) fn doors(config: &Config) -> Option<(std::net::IpAddr, u16, u16)> {
    let bus = config.bus.as_ref()?;
    bus.requests.as_ref().map(|requests| (bus.bind, requests.front, requests.back))
}

fn of_service(old: &(Unit, Service), new: &(Unit, Service), moved: bool, walled: bool) -> Option<(What, String)> {
    let mut why = Vec::new();
    let mut note = |changed: bool, what: &str| {
        if changed {
            why.push(what.to_owned());
        }
    };
    note(old.0.program != new.0.program, "what it runs");
    note(old.0.confine != new.0.confine, "what it may do and have");
    note(old.0.ready != new.0.ready, "ready");
    note(old.0.watchdog != new.0.watchdog, "watchdog");
    note(moved, "where the bus listens");
    note(walled, "sandbox");
    if !why.is_empty() {
        return Some((What::Restart, format!("changed: {}", why.join(", "))));
    }
    let mut note = |changed: bool, what: &str| {
        if changed {
            why.push(what.to_owned());
        }
    };
    note(old.1.rules.restart != new.1.rules.restart || old.0.success != new.0.success, "restart");
    note(old.1.rules.stop_max != new.1.rules.stop_max || old.0.stop_signal != new.0.stop_signal, "stop");
    note(old.1.after != new.1.after, "after");
    note(old.1.essential != new.1.essential, "essential");
    let (before, after) = (old.1.instances, new.1.instances);
    match before.cmp(&after) {
        std::cmp::Ordering::Less => Some((What::Start, format!("instances: {before} to {after}"))),
        std::cmp::Ordering::Greater => Some((What::Stop, format!("instances: {before} to {after}"))),
        std::cmp::Ordering::Equal if why.is_empty() => None,
        std::cmp::Ordering::Equal => Some((What::Nothing, format!("changed in place: {}", why.join(", ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Origin, parse};

    fn told(before: &str, after: &str) -> Vec<String> {
        let parsed = |text| parse(text, &Origin::Embedded).unwrap();
        let changes = between(&parsed(before), &parsed(after));
        changes.iter().map(|change| format!("{} {}: {}", change.what.name(), change.service, change.why)).collect()
    }

    #[test]
    fn each_service_is_started_stopped_restarted_or_left_alone_and_why_is_told() {
        let before = "services:
  gone: { command: [cat] }
  less: { command: [cat], instances: 3 }
  more: { command: [cat] }
  other: { command: [cat] }
  policy: { command: [cat] }
  same: { command: [cat] }";
        let after = "services:
  less: { command: [cat], instances: 1 }
  more: { command: [cat], instances: 2 }
  new: { command: [cat] }
  other: { command: [cat, '-'], restart: never }
  policy: { command: [cat], restart: never, stop: { timeout_ms: 100 } }
  same: { command: [cat] }";
        assert_eq!(
            told(before, after),
            [
                "stop gone: it is no longer there",
                "stop less: instances: 3 to 1",
                "start more: instances: 1 to 2",
                "start new: it is new",
                "restart other: changed: what it runs",
                "nothing policy: changed in place: restart, stop",
            ]
        );
        assert_eq!(told(before, before), Vec::<String>::new());
    }

    #[test]
    fn a_bus_that_moves_restarts_everyone_who_was_told_where_it_is() {
        let services = "services: { a: { command: [cat] } }";
        let bus = |port| format!("bus: {{ requests: {{ front: {port} }} }}\n{services}");
        assert_eq!(
            told(&bus(7000), &bus(7001)),
            [
                "restart a: changed: where the bus listens",
                "restart requests: changed: what it runs, where the bus listens"
            ]
        );
    }
}
