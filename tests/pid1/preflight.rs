//! What PID 1 looks at before it starts anything: it tells, refuses, or does not look, as it is configured.

use std::os::unix::process::CommandExt;

use nix::sys::resource::{Resource, setrlimit};

use super::support::pid1::{Pid1, User, as_each_user};

as_each_user!(
    what_is_amiss_is_told_before_anything_starts,
    a_failed_check_is_a_reason_not_to_start_where_that_is_configured,
    nobody_looks_where_that_is_configured,
);

/// Open files that are fewer than any bus should have, and enough for this one.
const FILES: u64 = 100;

/// Starts a torus with a bus that nobody outside can reach, a warning, and with too few open files, a failure.
fn start(user: User, preflight: &str) -> Pid1 {
    let configuration = format!(
        "supervisor: {{ preflight: {preflight} }}\nbus: {{ requests: {{ front: 0, back: 0 }} }}\n\
         services: {{ hello: {{ worker: hello }} }}\n"
    );
    Pid1::start_with(user, &configuration, |command| {
        // SAFETY: the child of a fork makes one system call, which allocates nothing.
        unsafe { command.pre_exec(|| Ok(setrlimit(Resource::RLIMIT_NOFILE, FILES, FILES)?)) };
    })
}

fn what_is_amiss_is_told_before_anything_starts(user: User) {
    let house = start(user, "warn");
    house.torus.until("everything runs", |status| status["state"] == "running");
    let log = house.torus.log();
    let at = |text: &str| log.find(text).unwrap_or_else(|| panic!("no {text:?} in\n{log}"));
    let block = ["1 failed, ", "fail: host, open files: 100", "warn: torus, reach: 127.0.0.1"];
    let block = block.map(|text| at(&format!("preflight: {text}")));
    assert!(block.is_sorted() && block[2] < at(" started"), "{log}");
    assert!(log.contains("; torus goes on"), "{log}");
}

fn a_failed_check_is_a_reason_not_to_start_where_that_is_configured(user: User) {
    let mut house = start(user, "refuse");
    let status = house.torus.child.wait().unwrap();
    let log = house.torus.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("preflight: fail: host, open files: 100"), "{log}");
    assert!(log.contains("mend: docker run --ulimit nofile="), "{log}");
    assert!(log.contains("error: a check of this container failed, and supervisor.preflight is refuse"), "{log}");
    assert!(!log.contains(" started"), "{log}");
}

fn nobody_looks_where_that_is_configured(user: User) {
    let house = start(user, "off");
    house.torus.until("everything runs", |status| status["state"] == "running");
    assert!(!house.torus.log().contains("preflight"), "{}", house.torus.log());
}
