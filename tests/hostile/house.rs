//! A running torus whose worker is under attack: what it counts, what it holds, and that it is still the same one.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::Value;

use crate::peer::Door;
pub(crate) use crate::support::PATIENCE;
use crate::support::process::signal;
use crate::support::{TORUS, Torus};

/// What the worker may hold for a connection besides what `memory_bytes_max` bounds: docs/configuration.md says so.
pub(crate) const CONNECTION_BYTES_MAX: u64 = 16 << 10;
/// What the worker may hold besides: the program, its buffers, its lists.
const FIXED_BYTES_MAX: u64 = 32 << 20;

/// A running torus, mostly with two back-ends, and a directory of its own; all go when it is dropped.
pub(crate) struct House {
    torus: Torus,
    front: SocketAddr,
    back: SocketAddr,
    worker: i64,
    processes: Vec<i64>,
    limits: Value,
}

impl House {
    /// Starts one with the given `limits`, a YAML flow mapping, and waits until everything in it runs.
    pub(crate) fn with_limits(limits: &str) -> Self {
        Self::with("front: 0, back: 0, idempotent: true", limits)
    }

    pub(crate) fn with(requests: &str, limits: &str) -> Self {
        Self::start(requests, limits, "{ hello: { worker: hello, instances: 2 } }", 2)
    }

    pub(crate) fn without_backends(requests: &str, limits: &str) -> Self {
        Self::start(requests, limits, "{}", 0)
    }

    fn start(requests: &str, limits: &str, services: &str, backends: u64) -> Self {
        // Thousands of peers: the bus takes the hard limit too, of its own accord.
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
        let bus = format!("bus: {{ requests: {{ {requests} }}, limits: {limits} }}");
        let torus = Torus::start(&format!("{bus}\nservices: {services}\n"));
        let limits = in_force(&torus.directory.join("torus.yaml"));
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut house = Self { torus, front: unknown, back: unknown, worker: 0, processes: Vec::new(), limits };
        let status = house.torus.until("everything runs", |status| {
            status["state"] == "running" && status["counters"]["requests"]["backends"] == backends
        });
        house.front = address(&status["endpoints"]["requests_front"]);
        house.back = address(&status["endpoints"]["requests_back"]);
        house.worker = requests_service(&status)["pid"].as_i64().unwrap();
        let services = status["services"].as_array().unwrap();
        house.processes = services.iter().map(|service| service["pid"].as_i64().unwrap()).collect();
        house
    }

    pub(crate) fn address(&self, door: Door) -> SocketAddr {
        match door {
            Door::Front => self.front,
            Door::Back => self.back,
        }
    }

    /// One of the worker's counters, by the name that `torus status --json` gives it.
    pub(crate) fn count(&self, name: &str) -> u64 {
        count(&self.torus.status().expect("a torus that answers"), name)
    }

    /// Waits until a counter is as hoped.
    pub(crate) fn until_count(&self, name: &str, hoped: impl Fn(u64) -> bool) {
        self.torus.until(name, |status| hoped(count(status, name)));
    }

    /// Does something while the worker is stopped, as if the machine gave it no time.
    pub(crate) fn hold_up(&self, meanwhile: impl FnOnce()) {
        signal("STOP", self.worker);
        meanwhile();
        signal("CONT", self.worker);
    }

    /// What no attack may change: the worker is the one that it was, and it has kept its promise about memory.
    pub(crate) fn assert_unharmed(&self) {
        let status = self.torus.status().expect("a torus that answers");
        let service = requests_service(&status);
        assert_eq!(service["pid"], self.worker, "the worker was started again; log:\n{}", self.torus.log());
        assert_eq!(service["restarts"], 0);
        let (peak, bound) = (self.peak_bytes(), self.bound_bytes());
        println!("memory: peak {} KiB of {} KiB", peak >> 10, bound >> 10);
        assert!(peak <= bound, "the worker held {peak} bytes at its peak, its bound is {bound}");
    }

    /// The most that the worker has ever had in memory, its program included.
    pub(crate) fn peak_bytes(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.worker)).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// The worker and the back-ends.
    pub(crate) fn processes(&self) -> impl Iterator<Item = i64> {
        self.processes.iter().copied()
    }

    /// The bound that docs/configuration.md states beside `memory_bytes_max`.
    fn bound_bytes(&self) -> u64 {
        let limit = |name: &str| self.limits[name].as_u64().unwrap();
        limit("memory_bytes_max") * 5 / 4 + limit("connections_max") * CONNECTION_BYTES_MAX + FIXED_BYTES_MAX
    }
}

fn count(status: &Value, name: &str) -> u64 {
    status["counters"]["requests"][name].as_u64().unwrap_or_else(|| panic!("no counter {name} in {status}"))
}

fn requests_service(status: &Value) -> &Value {
    let services = status["services"].as_array().unwrap();
    services.iter().find(|service| service["name"] == "requests").expect("the requests worker")
}

fn address(endpoint: &Value) -> SocketAddr {
    endpoint.as_str().unwrap().trim_start_matches("tcp://").parse().unwrap()
}

/// The limits in force, with their defaults.
fn in_force(file: &Path) -> Value {
    let output = Command::new(TORUS).args(["config", "show", "--config"]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let whole: Value = serde_yaml::from_str(&String::from_utf8(output.stdout).unwrap()).unwrap();
    whole["bus"]["limits"].clone()
}
