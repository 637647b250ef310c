//! Services that treat their output badly.

use std::io::Read;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::signal::Signal;

use super::support::inits::{field, until};
use super::support::pid1::{Pid1, User, as_each_user};

as_each_user!(a_service_that_closes_its_output_lives_on, a_service_that_writes_as_fast_as_it_can_disturbs_nobody,);

/// More than any second of the writer's brings.
const ENOUGH_BYTES: u64 = 100 << 20;
/// KiB of memory that the supervisor has at most, whatever is written.
const MEMORY_KIB_MAX: u64 = 64 << 10;

fn a_service_that_closes_its_output_lives_on(user: User) {
    let script = "exec >&- 2>&-; exec sleep 1000";
    let mut house = Pid1::up(user, &format!("services: {{ mute: {{ command: [sh, -c, '{script}'] }} }}"));
    let mute = house.pid_of("mute");
    until("a closed output", || std::fs::read_link(format!("/proc/{mute}/fd/1")).is_err());
    let status = house.torus.status().unwrap();
    assert_eq!((&status["state"], &status["services"][0]["restarts"]), (&"running".into(), &0.into()));
    house.signal(Signal::SIGTERM);
    assert_eq!(house.torus.end().0.code(), Some(0), "{}", house.torus.log());
}

fn a_service_that_writes_as_fast_as_it_can_disturbs_nobody(user: User) {
    let configuration = "logs: { rate_lines_per_s: 0 }
services:
  neighbour: { command: [sleep, '1000'] }
  loud: { command: [sh, -c, 'exec yes \"$(printf %1000s)\"'] }";
    let mut house = Pid1::start_with(user, configuration, |command| {
        command.stdout(Stdio::piped());
    });
    let read = Arc::new(AtomicU64::new(0));
    let mut output = house.torus.child.stdout.take().unwrap();
    let counts = Arc::clone(&read);
    let reader = std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 20];
        while let Ok(length @ 1..) = output.read(&mut buffer) {
            counts.fetch_add(length as u64, Ordering::Relaxed);
        }
    });
    until("a hundred megabytes", || read.load(Ordering::Relaxed) > ENOUGH_BYTES);
    let status = house.torus.until("an answer", |status| status["state"] == "running");
    assert!(status["services"].as_array().unwrap().iter().all(|service| service["restarts"] == 0), "{status}");
    let memory = field(house.pid(), "VmRSS").unwrap();
    let memory: u64 = memory.split_whitespace().next().unwrap().parse().unwrap();
    assert!(memory < MEMORY_KIB_MAX, "the supervisor has {memory} KiB");
    house.signal(Signal::SIGTERM);
    assert_eq!(house.torus.end().0.code(), Some(0), "{}", house.torus.log());
    reader.join().unwrap();
}
