//! What a configuration means in processes: one [`Unit`] for each instance. Pure.

use std::ffi::OsString;

use serde::Serialize;

use crate::config::{Bus, Config, Confine, Limits, Requests, RestartPolicy, ServiceKind};
use crate::lifecycle::{Policy, Tier};

/// One process that is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) name: String,
    /// Which of the service's instances, from 1.
    pub(super) instance: u32,
    pub(super) tier: Tier,
    pub(super) program: Program,
    pub(super) confine: Confine,
}

/// What a unit runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// The requests worker, with its settings as JSON.
    Requests { settings: String },
    /// Another built-in worker, by its kind.
    Worker { kind: String },
    /// An argument vector.
    Command { arguments: Vec<OsString> },
}

impl Program {
    /// What users read about it: a built-in worker's kind, or `command`.
    pub(super) fn kind(&self) -> &str {
        match self {
            Self::Requests { .. } => "requests",
            Self::Worker { kind } => kind,
            Self::Command { .. } => "command",
        }
    }

    /// Whether it is one of our own workers, which count and say when they are ready.
    pub(super) fn is_built_in(&self) -> bool {
        match self {
            Self::Requests { .. } | Self::Worker { .. } => true,
            Self::Command { .. } => false,
        }
    }
}

/// Every process of a configuration, the bus first.
pub(super) fn units(config: &Config) -> Vec<Unit> {
    let requests = config.bus.iter().filter_map(|Bus { requests, limits, .. }| {
        let program = Program::Requests { settings: settings(requests.as_ref()?, limits) };
        Some(Unit { name: "requests".into(), instance: 1, tier: Tier::Bus, program, confine: Confine::default() })
    });
    let services = config.services.iter().flat_map(|(name, service)| {
        let program = match &service.kind {
            ServiceKind::Worker(kind) => Program::Worker { kind: kind.clone() },
            ServiceKind::Command(words) => Program::Command { arguments: words.iter().map(OsString::from).collect() },
        };
        (1..=service.instances).map(move |instance| Unit {
            name: name.clone(),
            instance,
            tier: Tier::Service,
            program: program.clone(),
            confine: service.confine.clone(),
        })
    });
    requests.chain(services).collect()
}

/// The configuration's restart policy, in the lifecycle's terms.
pub(super) fn policy(configured: &RestartPolicy) -> Policy {
    let ms = std::time::Duration::from_millis;
    Policy {
        healthy_after: ms(configured.healthy_after_ms),
        backoff_min: ms(configured.backoff_ms_min),
        backoff_max: ms(configured.backoff_ms_max),
        stop_max: ms(configured.stop_ms_max),
    }
}

fn settings(requests: &Requests, limits: &Limits) -> String {
    #[derive(Serialize)]
    struct Settings<'a> {
        requests: &'a Requests,
        limits: &'a Limits,
    }
    serde_json::to_string(&Settings { requests, limits }).expect("numbers and flags are always JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Service;

    #[test]
    fn each_instance_is_a_unit_and_the_bus_comes_first() {
        let config = Config {
            bus: Some(Bus { requests: Some(Requests::default()), ..Bus::default() }),
            services: [
                (
                    "echo".into(),
                    Service {
                        kind: ServiceKind::Command(vec!["cat".into()]),
                        instances: 1,
                        confine: Confine::default(),
                    },
                ),
                (
                    "hello".into(),
                    Service { kind: ServiceKind::Worker("hello".into()), instances: 2, confine: Confine::default() },
                ),
            ]
            .into(),
            ..Config::default()
        };
        let shown: Vec<String> = units(&config)
            .iter()
            .map(|unit| format!("{:?} {} {} {}", unit.tier, unit.name, unit.instance, unit.program.kind()))
            .collect();
        assert_eq!(
            shown,
            ["Bus requests 1 requests", "Service echo 1 command", "Service hello 1 hello", "Service hello 2 hello"]
        );
    }

    #[test]
    fn a_bus_without_requests_runs_no_worker() {
        assert_eq!(units(&Config { bus: Some(Bus::default()), ..Config::default() }), []);
    }
}
