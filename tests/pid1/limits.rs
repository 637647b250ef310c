//! A service that runs into its limits does so alone. Where cgroups are not this user's to make, the limits of single
//! processes stand in for them.

use nix::sys::signal::Signal;

use super::support::pid1::{Pid1, User, as_each_user};

as_each_user!(a_service_beyond_its_memory_ends_alone, a_service_beyond_its_processes_is_refused_more_of_them,);

fn a_service_beyond_its_memory_ends_alone(user: User) {
    let (limits, alone) = run(
        user,
        "cgroup: { memory_bytes_max: 33554432 }, limits: { as_bytes: 268435456 }",
        "command: [tail, /dev/zero]",
    );
    // By the kernel where its cgroup has a bound, else by its own hand: memory is refused to it.
    assert!(limits.as_i64().is_some_and(|code| code != 0), "{alone}");
}

fn a_service_beyond_its_processes_is_refused_more_of_them(user: User) {
    let script = "import os, time
try:
    for _ in range(200): os.fork() or time.sleep(1000)
except BlockingIOError: os._exit(7)";
    let limits = "cgroup: { pids_max: 30 }, limits: { nproc: 30 }";
    // Nothing of the kind binds root if there are no cgroups to be had.
    let (code, told) = run(user, limits, &format!("command: [python3, -c, {:?}]", script));
    assert_eq!(code, 7, "{told}");
}

/// Runs a service beside another one until it has ended twice; how it ended last.
fn run(user: User, limits: &str, command: &str) -> (serde_json::Value, String) {
    let configuration = format!(
        "services:\n  neighbour: {{ command: [sleep, '1000'] }}\n  greedy: {{ {command}, {limits}, restart: {{ limit: none }} }}"
    );
    let mut house = Pid1::start(user, &configuration);
    let status = house.torus.until("two ends", |status| status["services"][0]["restarts"].as_u64() >= Some(2));
    assert_eq!(status["services"][1]["name"], "neighbour");
    assert_eq!((&status["services"][1]["restarts"], &status["services"][1]["state"]), (&0.into(), &"running".into()));
    house.signal(Signal::SIGTERM);
    assert_eq!(house.torus.end().0.code(), Some(0), "{}", house.torus.log());
    let end = &status["services"][0]["last_exit"];
    (end.get("code").or(end.get("signal")).cloned().unwrap_or_default(), status.to_string())
}
