//! The sandbox as it is seen from outside, around real workers; and what they do where it cannot be had.
//!
//! What it keeps from whom is tried from inside, in `src/sys/sandbox/tests.rs`.

mod support;

use std::collections::BTreeMap;
use std::fs;

use nix::libc::{self, c_long};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use support::hello::TRANSCRIPT;
use support::{BUS, TORUS, Torus, process};

const HELLO: &str = "services: { hello: { worker: hello, instances: 2 } }\n";
const REQUIRED: &str = "supervisor: { sandbox: required }\n";

#[test]
fn every_thread_of_every_worker_runs_behind_its_filter_and_without_privileges() {
    let torus = Torus::up(&format!("{BUS}{HELLO}{REQUIRED}"));
    let status = torus.status().unwrap();
    let workers = status["services"].as_array().unwrap();
    assert_eq!(workers.len(), 4);
    for worker in workers {
        let threads = threads_of(worker["pid"].as_i64().unwrap());
        assert_eq!(threads.len(), if worker["name"] == "log" { 2 } else { 1 }, "{worker}");
        for status in threads {
            let field = |name: &str| status[name].as_str();
            assert_eq!((field("Seccomp"), field("NoNewPrivs")), ("2", "1"), "{worker}");
            for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
                assert_eq!(field(set), "0000000000000000", "{set} of {worker}");
            }
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
        assert_eq!(warnings.len(), 4, "{warnings:?}");
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
        // The others say so to a log worker, which there is none of.
        let error = "worker log cannot have its whole sandbox";
        torus.until(error, |_| torus.log().lines().any(|line| line.contains(error) && line.contains(missing)));
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

/// What the kernel tells of each thread of a process.
fn threads_of(pid: i64) -> Vec<BTreeMap<String, String>> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).unwrap();
        let fields = status.lines().filter_map(|line| line.split_once(":\t"));
        fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
    };
    tasks.map(|task| of(task.unwrap())).collect()
}
