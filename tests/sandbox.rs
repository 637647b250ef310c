//! The sandbox as it is seen from outside, around real workers; and what they do where it cannot be had.
//!
//! What it keeps from whom is tried from inside, in `src/sys/sandbox/tests.rs`.

mod support;

use std::collections::BTreeMap;
use std::fs;

use nix::libc::{self, c_long};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use serde_json::Value;

use support::hello::TRANSCRIPT;
use support::{BUS, TORUS, Torus, process};

const HELLO: &str = "services: { hello: { worker: hello, instances: 2 } }\n";
const REQUIRED: &str = "supervisor: { sandbox: required }\n";

#[test]
fn every_worker_runs_behind_its_filter_with_one_thread_and_without_privileges() {
    let torus = Torus::up(&format!("{BUS}{HELLO}{REQUIRED}"));
    let pids = pids(&torus.status().unwrap());
    assert_eq!(pids.len(), 3);
    for pid in pids {
        let status = status_of(pid);
        let field = |name: &str| status[name].as_str();
        assert_eq!((field("Seccomp"), field("NoNewPrivs"), field("Threads")), ("2", "1", "1"));
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(field(set), "0000000000000000", "{set} of {pid}");
        }
    }
    assert_eq!(warnings(&torus), Vec::<String>::new());
    serves(&torus);
}

#[test]
fn a_worker_without_landlock_or_without_a_filter_warns_and_serves() {
    for (call, missing) in [
        (libc::SYS_landlock_create_ruleset, "files and ports are not behind Landlock: this kernel has no Landlock"),
        (libc::SYS_seccomp, "system calls are not filtered: "),
    ] {
        let torus = on_a_kernel_without(call, || Torus::start(&format!("{BUS}{HELLO}")));
        torus.until("everything runs", |status| status["state"] == "running");
        let warnings = warnings(&torus);
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(warnings.iter().all(|warning| warning.contains(missing)), "{warnings:?}");
        serves(&torus);
    }
}

#[test]
fn a_worker_that_must_have_its_sandbox_tells_what_is_missing_and_does_not_start() {
    for (call, missing) in [
        (libc::SYS_landlock_create_ruleset, "files and ports are not behind Landlock: "),
        (libc::SYS_seccomp, "system calls are not filtered: "),
    ] {
        let torus = on_a_kernel_without(call, || Torus::start(&format!("{BUS}{HELLO}{REQUIRED}")));
        for worker in ["requests", "hello"] {
            let error = format!("worker {worker} cannot have its whole sandbox");
            torus.until(&error, |_| torus.log().lines().any(|line| line.contains(&error) && line.contains(missing)));
        }
        let status = torus.until("an end with an error", |status| status["services"][0]["last_exit"]["code"] == 1);
        assert_ne!(status["state"], "running");
    }
}

/// Runs `start` where the kernel does not know a call. Filters are a thread's own, and inherited by what it starts.
fn on_a_kernel_without<T: Send>(call: c_long, start: impl FnOnce() -> T + Send) -> T {
    let unknown = SeccompAction::Errno(libc::ENOSYS as u32);
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new([(call, Vec::new())].into(), SeccompAction::Allow, unknown, architecture).unwrap();
    let filter: BpfProgram = filter.try_into().unwrap();
    let older = || {
        apply_filter(&filter).unwrap();
        start()
    };
    std::thread::scope(|scope| scope.spawn(older).join().unwrap())
}

fn serves(torus: &Torus) {
    let mut client = std::process::Command::new(TORUS);
    client.args(["request", "Hello", "--count", "5", "--endpoint", &torus.front()]);
    assert_eq!(process::printed("torus request", &mut client), TRANSCRIPT);
}

fn warnings(torus: &Torus) -> Vec<String> {
    let log = torus.log();
    log.lines().filter(|line| line.contains("the sandbox is not whole")).map(str::to_owned).collect()
}

fn pids(status: &Value) -> Vec<i64> {
    // The log worker speaks to nobody from outside, and has no sandbox.
    let workers = status["services"].as_array().unwrap().iter().filter(|service| service["name"] != "log");
    workers.map(|service| service["pid"].as_i64().unwrap()).collect()
}

/// What the kernel tells of a process.
fn status_of(pid: i64) -> BTreeMap<String, String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let fields = status.lines().filter_map(|line| line.split_once(":\t"));
    fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}
