//! What a configuration means in processes and in rules. Pure.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use serde::Serialize;

use crate::config::life::{self, Life, ReadyBy};
use crate::config::{Bus, Config, Confine, Limits, Logs, Requests, RestartPolicy, ServiceKind};
use crate::lifecycle::{Condition, Limit, Outcome, Plan, Restart, Rules, Service, Then, Tier, When};

/// One service as the supervisor runs it: all that its processes are started with and watched by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) name: String,
    pub(super) program: Program,
    pub(super) ready: life::Ready,
    pub(super) watchdog: Option<life::Watchdog>,
    pub(super) stop_signal: i32,
    pub(super) success: life::Success,
    pub(super) confine: Confine,
}

/// What a unit runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// The requests worker, with its settings as JSON.
    Requests { settings: String },
    /// The log worker, with its settings as JSON.
    Log { settings: String },
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
            Self::Log { .. } => "log",
            Self::Worker { kind } => kind,
            Self::Command { .. } => "command",
        }
    }

    /// Whether it is told where the bus listens.
    pub(super) fn knows_the_bus(&self) -> bool {
        !matches!(self, Self::Log { .. })
    }

    /// Whether it is one of our own workers, which count and say when they are ready.
    pub(super) fn is_built_in(&self) -> bool {
        match self {
            Self::Requests { .. } | Self::Log { .. } | Self::Worker { .. } => true,
            Self::Command { .. } => false,
        }
    }
}

impl Unit {
    /// Whether an instance is ready as soon as it runs.
    pub(super) fn is_ready_at_once(&self) -> bool {
        is_ready_at_once(&self.program, &self.ready)
    }

    /// Whether it is heard by sd_notify(3): what it says of itself is worth a socket when it is asked for.
    pub(super) fn listens(&self) -> bool {
        self.ready.by == ReadyBy::Notify || self.watchdog.as_ref().is_some_and(|watchdog| watchdog.probe.is_none())
    }

    /// What an end means to the restart rule.
    pub(super) fn outcome(&self, exit: crate::sys::wait::Exit) -> Outcome {
        use crate::sys::wait::Exit;
        let (set, number) = match exit {
            Exit::Code(code) => (&self.success.codes, code),
            Exit::Signal(signal) => (&self.success.signals, signal),
        };
        if u8::try_from(number).is_ok_and(|number| set.contains(&number)) { Outcome::Success } else { Outcome::Failure }
    }
}

fn is_ready_at_once(program: &Program, ready: &life::Ready) -> bool {
    !program.is_built_in() && ready.by == ReadyBy::Started
}

/// Units by name.
pub(super) type Units = BTreeMap<String, Unit>;

/// The units of a configuration, and the rules of their lives.
pub(super) fn plan(config: &Config) -> (Units, Plan) {
    let mut units = Units::new();
    let mut plan = Plan::new();
    let mut add = |name: &str, program, life: &Life, confine: &Confine, (tier, instances)| {
        let service = service(tier, instances, life, is_ready_at_once(&program, &life.ready));
        let unit = Unit {
            name: name.to_owned(),
            program,
            ready: life.ready.clone(),
            watchdog: life.watchdog.clone(),
            stop_signal: life.stop.signal,
            success: life.restart.success.clone(),
            confine: confine.clone(),
        };
        units.insert(name.to_owned(), unit);
        plan.insert(name.to_owned(), service);
    };
    let life = log_life();
    let program = Program::Log { settings: log_settings(&config.logs) };
    add("log", program, &life, &Confine::default(), (Tier::Log, 1));
    if let Some(Bus { requests: Some(requests), limits, .. }) = &config.bus {
        let life = bus_life(&config.supervisor, limits);
        let program = Program::Requests { settings: settings(requests, limits) };
        add("requests", program, &life, &Confine::default(), (Tier::Bus, 1));
    }
    for (name, configured) in &config.services {
        let program = match &configured.kind {
            ServiceKind::Worker(kind) => Program::Worker { kind: kind.clone() },
            ServiceKind::Command(words) => Program::Command { arguments: words.iter().map(OsString::from).collect() },
        };
        add(name, program, &configured.life, &configured.confine, (Tier::Service, configured.instances));
    }
    (units, plan)
}

/// A bus worker is started again however often it dies: without it nothing is served.
fn bus_life(policy: &RestartPolicy, limits: &Limits) -> Life {
    let backoff = life::Backoff { ms_min: policy.backoff_ms_min, ms_max: policy.backoff_ms_max };
    let healthy_after_ms = policy.healthy_after_ms;
    let timeout_ms = limits.watchdog_ms;
    let watchdog = (timeout_ms > 0).then(|| life::Watchdog { timeout_ms, ..life::Watchdog::default() });
    // What it has in hand is to have its time before it is killed.
    let stop = life::Stop { timeout_ms: limits.drain_ms_max.saturating_add(1_000).max(5_000), ..life::Stop::default() };
    Life {
        stop,
        watchdog,
        restart: life::Restart { backoff, healthy_after_ms, limit: None, ..Default::default() },
        ..Life::default()
    }
}

/// The log worker comes back at once: until it does, whoever says much waits.
fn log_life() -> Life {
    let backoff = life::Backoff { ms_min: 10, ms_max: 1_000 };
    // It waits for nobody before it is ready.
    let ready = life::Ready { timeout_ms: 10_000, ..life::Ready::default() };
    Life { ready, restart: life::Restart { backoff, limit: None, ..Default::default() }, ..Life::default() }
}

fn service(tier: Tier, instances: u32, life: &Life, ready_at_once: bool) -> Service {
    let ms = Duration::from_millis;
    let after = life.after.iter().map(|(name, after)| {
        let condition = match after {
            life::After::Started => Condition::Started,
            life::After::Ready => Condition::Ready,
            life::After::Completed => Condition::Completed,
        };
        (name.clone(), condition)
    });
    let restart = Restart {
        when: match life.restart.when {
            life::When::Always => When::Always,
            life::When::OnFailure => When::OnFailure,
            life::When::Never => When::Never,
        },
        healthy_after: ms(life.restart.healthy_after_ms),
        backoff_min: ms(life.restart.backoff.ms_min),
        backoff_max: ms(life.restart.backoff.ms_max),
        limit: life.restart.limit.as_ref().map(|limit| Limit { restarts: limit.restarts, window: ms(limit.window_ms) }),
        then: match life.restart.then {
            life::Then::Quarantine => Then::Quarantine(ms(life.restart.quarantine_ms)),
            life::Then::Fail => Then::Fail,
        },
    };
    let rules = Rules {
        restart,
        ready_at_once,
        ready_max: (life.ready.timeout_ms > 0).then(|| ms(life.ready.timeout_ms)),
        watchdog: life.watchdog.as_ref().map(|watchdog| ms(watchdog.timeout_ms)),
        stop_max: ms(life.stop.timeout_ms),
    };
    Service { tier, instances, after: after.collect(), rules, essential: life.essential }
}

fn log_settings(logs: &Logs) -> String {
    #[derive(Serialize)]
    struct Settings<'a> {
        logs: &'a Logs,
    }
    serde_json::to_string(&Settings { logs }).expect("numbers and words are always JSON")
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
    use crate::config::{Origin, parse};

    fn planned(text: &str) -> (Units, Plan) {
        plan(&parse(text, &Origin::Embedded).unwrap())
    }

    #[test]
    fn each_service_is_a_unit_and_the_bus_is_of_its_own_tier() {
        let (units, plan) = planned(
            "bus: { requests: {} }\nservices: { echo: { command: [cat] }, hello: { worker: hello, instances: 2 } }",
        );
        let shown: Vec<String> = plan
            .iter()
            .map(|(name, service)| {
                format!("{:?} {name} {} {}", service.tier, service.instances, units[name].program.kind())
            })
            .collect();
        assert_eq!(
            shown,
            ["Service echo 1 command", "Service hello 2 hello", "Log log 1 log", "Bus requests 1 requests"]
        );
    }

    #[test]
    fn a_log_worker_has_a_time_to_be_ready_and_no_watchdog_by_the_clock() {
        let rules = planned("services: { echo: { command: [cat] } }").1.remove("log").unwrap().rules;
        assert_eq!((rules.ready_max, rules.watchdog), (Some(Duration::from_secs(10)), None));
    }

    #[test]
    fn a_bus_without_requests_runs_no_bus_worker() {
        let units = plan(&Config { bus: Some(Bus::default()), ..Config::default() }).0;
        assert_eq!(units.keys().collect::<Vec<_>>(), ["log"]);
    }

    #[test]
    fn what_counts_as_a_success_is_each_services_own() {
        use crate::sys::wait::Exit;
        let units =
            planned("services: { a: { command: [cat], restart: { success: { codes: [0, 3], signals: [TERM] } } } }").0;
        let outcomes = [Exit::Code(0), Exit::Code(3), Exit::Code(4), Exit::Signal(15), Exit::Signal(9), Exit::Code(-1)];
        let outcomes = outcomes.map(|exit| units["a"].outcome(exit) == Outcome::Success);
        assert_eq!(outcomes, [true, true, false, true, false, false]);
    }
}
