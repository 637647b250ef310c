//! A torus with real processes, and what its status says.
//!
//! Every status that is asked for is held against the one before: what counts must never go back, whoever died between.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use torus::control::{ServiceStatus, Status};

pub(crate) use super::support::PATIENCE;
use super::support::Torus;

/// The requests worker's, all of them; whatever else it shows is a counter.
const GAUGES: [&str; 6] = ["clients", "backends", "waiting", "in_hand", "replies_queued", "handshakes"];

/// A running torus, whose status is never asked for without being checked.
pub(crate) struct Bus {
    pub(crate) torus: Torus,
    last: RefCell<Totals>,
}

/// The counters and gauges of the requests worker at one instant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals(BTreeMap<String, u64>);

impl Bus {
    /// Starts a torus and waits until all that it names runs.
    pub(crate) fn up(configuration: &str) -> Self {
        let bus = Self::of(Torus::start(configuration));
        bus.until("everything runs", |status| status.state == "running");
        bus
    }

    /// A torus that was started already.
    pub(crate) fn of(torus: Torus) -> Self {
        Self { torus, last: RefCell::default() }
    }

    /// What `torus status --json` says, if anything.
    fn status(&self) -> Option<Status> {
        let status: Status = serde_json::from_value(self.torus.status()?).ok()?;
        let totals = Totals::of(&status);
        for (name, before) in &self.last.borrow().0 {
            let now = totals.get(name);
            assert!(GAUGES.contains(&&**name) || now >= *before, "{name} went back from {before} to {now}");
        }
        *self.last.borrow_mut() = totals;
        Some(status)
    }

    /// Asks until the answer is as hoped.
    pub(crate) fn until(&self, hope: &str, fulfilled: impl Fn(&Status) -> bool) -> Status {
        let begin = Instant::now();
        loop {
            let status = self.status();
            if let Some(status) = status.as_ref().filter(|status| fulfilled(status)) {
                return status.clone();
            }
            assert!(begin.elapsed() < PATIENCE, "not seen: {hope}\nstatus: {status:#?}\nlog:\n{}", self.torus.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// [`Bus::until`] for the requests worker's counters.
    pub(crate) fn until_totals(&self, hope: &str, fulfilled: impl Fn(&Totals) -> bool) -> Totals {
        Totals::of(&self.until(hope, |status| fulfilled(&Totals::of(status))))
    }

    /// Where clients connect, and where back-ends do.
    pub(crate) fn endpoints(&self) -> (String, String) {
        let endpoints = self.until("endpoints", |status| status.endpoints.requests_back.is_some()).endpoints;
        let address = |endpoint: Option<String>| endpoint.unwrap().trim_start_matches("tcp://").to_owned();
        (address(endpoints.requests_front), address(endpoints.requests_back))
    }

    /// The process of a service with one instance.
    pub(crate) fn pid(&self, service: &str) -> Pid {
        let status = self.until("a process", |status| instance(status, service).pid.is_some());
        Pid::from_raw(instance(&status, service).pid.unwrap())
    }

    /// The requests worker's counters while it stands still, so that they are all of one instant.
    pub(crate) fn totals_of_a_stopped_worker(&self) -> Totals {
        let worker = self.pid("requests");
        signal(worker, Signal::SIGSTOP);
        self.until("a stopped worker", |_| process_state(worker) == Some('T'));
        let totals = self.until_totals("its counters", |_| true);
        signal(worker, Signal::SIGCONT);
        totals
    }

    /// Waits until a process that was killed has a running successor.
    pub(crate) fn until_restarted(&self, service: &str, killed: Pid) -> Status {
        self.until("a successor", |status| {
            let instance = instance(status, service);
            instance.state == "running" && instance.pid.is_some_and(|pid| pid != killed.as_raw())
        })
    }
}

impl Totals {
    /// The requests worker's part of a status.
    pub(crate) fn of(status: &Status) -> Self {
        Self(status.counters.get("requests").cloned().unwrap_or_default())
    }

    /// One of them; 0 if it is not there (yet).
    pub(crate) fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// What was lost, by reason.
    pub(crate) fn lost(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().filter_map(|(name, count)| Some((name.strip_prefix("lost.")?, *count)))
    }

    /// Requests that are neither replied nor lost; negative if more ended than began.
    pub(crate) fn in_flight(&self) -> i64 {
        let lost: u64 = self.lost().map(|(_, count)| count).sum();
        self.get("requests") as i64 - self.get("replies") as i64 - lost as i64
    }

    /// Requests that the gauges know the place of.
    pub(crate) fn placed(&self) -> i64 {
        ["waiting", "in_hand", "replies_queued"].iter().map(|gauge| self.get(gauge) as i64).sum()
    }

    /// What was lost since `before`, by those reasons that anything was lost by.
    pub(crate) fn lost_since(&self, before: &Self) -> BTreeMap<String, u64> {
        let since = |(reason, count): (&str, u64)| (reason.to_owned(), count - before.get(&format!("lost.{reason}")));
        self.lost().map(since).filter(|(_, count)| *count > 0).collect()
    }
}

/// The first instance of a service.
pub(crate) fn instance<'a>(status: &'a Status, service: &str) -> &'a ServiceStatus {
    status.services.iter().find(|instance| instance.name == service).expect("the service is configured")
}

/// Sends a signal to a process that lives.
pub(crate) fn signal(pid: Pid, signal: Signal) {
    nix::sys::signal::kill(pid, signal).expect("the process lives");
}

/// The letter that proc(5) has for what a process does.
pub(crate) fn process_state(pid: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.trim_start().chars().next()
}
