//! SIGTERM while everything starts: as soon as PID 1 is Torus and listens, no moment is too early.

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::support::inits::field;
use super::support::pid1::{Pid1, User, as_each_user};
use super::support::{PATIENCE, Torus, long};

as_each_user!(
    a_stop_in_any_phase_of_the_start_is_an_orderly_stop,
    a_stop_while_the_configuration_is_read_is_an_orderly_stop,
);

const CONFIGURATION: &str = "bus: { requests: { front: 0, back: 0 } }
services:
  hello: { worker: hello, instances: 2 }
  first: { command: [sh, -c, 'echo >&3; exec sleep 1000'], ready: { fd: 3 } }
  second: { command: [sleep, '1000'], after: [first] }
  once: { command: ['true'], restart: never }
  broken: { command: ['false'] }
";

fn a_stop_in_any_phase_of_the_start_is_an_orderly_stop(user: User) {
    let loops = if long() { 1_000 } else { 30 };
    let start = |directory| {
        let house = Pid1::start_in(directory, user, CONFIGURATION, |_| {});
        until_it_listens(&house);
        house
    };
    let begin = Instant::now();
    let house = start(Torus::place());
    house.torus.until("everything runs", |status| {
        let services = status["services"].as_array().unwrap();
        services.iter().filter(|service| service["state"] == "running").count() == 6
    });
    let whole = begin.elapsed();
    stop(house, "after the start");
    for turn in 0..loops {
        let house = start(Torus::place());
        // Moments a fraction of which is spread evenly, wherever the last one was: the golden ratio.
        let moment = whole.mul_f64((f64::from(turn) * 0.618_033_988_7).fract());
        spin(moment);
        stop(house, &format!("after {moment:?} of {whole:?}, turn {turn}"));
    }
}

fn a_stop_while_the_configuration_is_read_is_an_orderly_stop(user: User) {
    let place = Torus::place();
    let file = place.join("torus.yaml");
    let house = Pid1::start_in(place, user, "", |_| {
        fs::remove_file(&file).unwrap();
        mkfifo(&file, Mode::from_bits_truncate(0o644)).unwrap();
    });
    // This comes back when Torus has opened the other end, and then it waits for us.
    let mut text = fs::File::options().write(true).open(&file).unwrap();
    house.signal(Signal::SIGTERM);
    text.write_all(CONFIGURATION.as_bytes()).unwrap();
    drop(text);
    stop_told(house, "while it read");
}

/// Before the program has begun, the kernel keeps from PID 1 what it could not have asked for: no program can change that.
fn until_it_listens(house: &Pid1) {
    const TERM: u64 = 1 << (Signal::SIGTERM as u64 - 1);
    let begin = Instant::now();
    loop {
        let pid = house.pid();
        let has = |set: &str| field(pid, set).is_some_and(|set| u64::from_str_radix(&set, 16).unwrap() & TERM != 0);
        if field(pid, "Name").as_deref() == Some("torus") && (has("SigBlk") || has("SigCgt")) {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "it never listens; log:\n{}", house.torus.log());
    }
}

fn spin(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        std::hint::spin_loop();
    }
}

fn stop(house: Pid1, when: &str) {
    house.signal(Signal::SIGTERM);
    stop_told(house, when);
}

fn stop_told(mut house: Pid1, when: &str) {
    let (status, took) = house.torus.end();
    let log = house.torus.log();
    assert_eq!(status.code(), Some(0), "{when}:\n{log}");
    assert!(log.trim_end().ends_with("torus: stopped"), "{when}:\n{log}");
    assert!(!log.contains("killed"), "{when}: somebody did not end in order\n{log}");
    assert!(took < Duration::from_secs(8), "{when}: it took {took:?}\n{log}");
    assert!(!house.torus.directory.join("control.sock").exists(), "{when}");
}
