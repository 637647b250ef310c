//! How things are, as `torus status` tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Instant;

use super::changes::{Reasons, Target};
use super::event_loop::Supervisor;
use super::hearing::REFUSED;
use super::operations::Operation;
use crate::control::{ServiceStatus, Status, VERSION, torus_version};
use crate::lifecycle::{Condition, State};
use crate::sys::identity;

impl Supervisor {
    pub(super) fn status(&self) -> Status {
        let mut counters: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for instance in self.instances.values() {
            for (name, value) in instance.counters() {
                let total = counters.entry(instance.unit.name.clone()).or_default().entry(name).or_default();
                *total = total.saturating_add(value);
            }
        }
        Status {
            version: VERSION,
            torus: torus_version().to_owned(),
            pid: identity::pid().as_raw(),
            uptime_ms: ms_since(self.since),
            state: self.house.health().name().to_owned(),
            endpoints: self.ground.listeners.endpoints(),
            services: self.services(),
            counters,
            orphans_reaped: self.orphans_reaped,
            discarded_bytes: self.unread.discarded_bytes,
        }
    }

    /// Who keeps a command from reaching what it asked for: those of its services that get no further, by whose end a roll
    /// stopped, and those whom they wait for. `services` is how everybody is.
    pub(super) fn because(&self, operation: &Operation, services: &[ServiceStatus]) -> Vec<String> {
        let mut names: Vec<&str> = operation.names().collect();
        let mut guilty: BTreeSet<(&str, u32)> = BTreeSet::new();
        let mut next = 0;
        while let Some(name) = names.get(next).copied() {
            next += 1;
            let stopper = self.stoppers.get(name);
            for (id, service, number, state) in self.house.members() {
                let is_stuck =
                    matches!(state, State::Pending | State::Waiting { .. } | State::Quarantined { .. } | State::Failed);
                if stopper == Some(&id) || (service == name && is_stuck) {
                    guilty.insert((service, number));
                    let other = self.house.waits_for(id).map(|(other, _)| other);
                    names.extend(other.filter(|other| !names.contains(other)));
                }
            }
        }
        let is_guilty = |one: &&ServiceStatus| guilty.contains(&(one.name.as_str(), one.instance));
        services.iter().filter(is_guilty).map(ServiceStatus::sentence).collect()
    }

    /// Bus workers first, then by name and number.
    pub(super) fn services(&self) -> Vec<ServiceStatus> {
        let mut services = Vec::new();
        let mut target = None;
        for (id, name, number, state) in self.house.members() {
            let Some(instance) = self.instances.get(&id) else { continue };
            let waits_for = self.house.waits_for(id).map(|(name, condition)| match condition {
                Condition::Started => format!("{name} to be started"),
                Condition::Ready => format!("{name} to be ready"),
                Condition::Completed => format!("{name} to be completed"),
            });
            let due_in_ms = match state {
                State::Waiting { until } | State::Quarantined { until } => Some(ms_until(until)),
                _ => None,
            };
            let old = instance.process.as_ref().map(|process| &process.launched);
            let old_configuration =
                old.filter(|launched| !Rc::ptr_eq(&launched.config, &self.config)).and_then(|old| {
                    let doors = self.ground.listeners.doors();
                    let target = target.get_or_insert_with(|| Target::present(&self.config, doors));
                    Some(target.differs(name, old)).filter(|why| why.any()).map(Reasons::told)
                });
            let refused = instance.is_refused.then(|| REFUSED.to_owned());
            services.push(ServiceStatus {
                old_configuration,
                due_in_ms,
                name: name.to_owned(),
                instance: number,
                kind: instance.unit.program.kind().to_owned(),
                state: state.name().to_owned(),
                pid: instance.process.as_ref().map(|process| process.pid.as_raw()),
                uptime_ms: instance.process.as_ref().map(|process| ms_since(process.since)),
                restarts: instance.starts.saturating_sub(1),
                last_exit: instance.last_exit.clone(),
                waits_for,
                says: instance.says.clone(),
                warnings: instance.warnings.iter().cloned().chain(refused).collect(),
            });
        }
        services.sort_by_cached_key(|one| (one.kind == "log", one.kind != "requests", one.name.clone(), one.instance));
        services
    }
}

fn ms_until(then: Instant) -> u64 {
    then.saturating_duration_since(Instant::now()).as_millis() as u64
}

fn ms_since(then: Instant) -> u64 {
    Instant::now().saturating_duration_since(then).as_millis() as u64
}
