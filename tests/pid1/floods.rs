//! Zombies, forks and signals, more than anybody has any use for.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::support::PATIENCE;
use super::support::inits::until;
use super::support::pid1::{Pid1, User, as_each_user, send};

as_each_user!(
    ochinchina_60_moby_47583_zombies_do_not_pile_up,
    a_storm_of_forks_holds_nobody_up_and_ends_with_its_service,
    a_storm_of_signals_changes_nothing,
);

const ZOMBIES: u64 = 10_000;
const SIGNALS: usize = 100_000;

/// Makes children that end at once, and ends when told: they are PID 1's then, all together.
/// Where the machine has no more processes just now, it tries again.
const FLOOD: &str = "import os, sys, time
left = int(sys.argv[1])
while left > 0:
    try: os.fork() or os._exit(0)
    except OSError: time.sleep(0.01)
    else: left -= 1";

fn ochinchina_60_moby_47583_zombies_do_not_pile_up(user: User) {
    // All namespaces share the machine's process ids, 32768 by default: floods take turns.
    let turn = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("flood.lock")).unwrap();
    turn.lock().unwrap();
    let flood =
        format!("while ! test -e $HERE/go; do sleep 0.01; done; python3 -ISc \"$FLOOD\" {ZOMBIES}; exec sleep 1000");
    let house = Pid1::start_with(user, &services(&format!("  flood: {{ command: [sh, -c, '{flood}'] }}")), |command| {
        let here = command.get_args().last().unwrap().to_owned();
        command.env("FLOOD", FLOOD).env("HERE", here);
    });
    house.torus.until("everything runs", |status| status["state"] == "running");
    let neighbour = house.pid_of("neighbour");
    // Nobody is collected before all are there.
    house.signal(Signal::SIGSTOP);
    fs::write(house.torus.directory.join("go"), "").unwrap();
    until_flooded(&house);
    house.signal(Signal::SIGCONT);
    let status = house.torus.until("all collected", |status| status["orphans_reaped"].as_u64() >= Some(ZOMBIES));
    until("an empty house", || house.population() <= 4);
    assert!(status["services"].as_array().unwrap().iter().all(|service| service["restarts"] == 0), "{status}");
    assert_eq!(house.pid_of("neighbour"), neighbour);
    ends_in_order(house);
}

/// Waits as long as the flood rises.
fn until_flooded(house: &Pid1) {
    let (mut highest, mut risen) = (0, Instant::now());
    while highest <= ZOMBIES as usize {
        let now = house.population();
        if now > highest {
            (highest, risen) = (now, Instant::now());
        }
        assert!(risen.elapsed() < PATIENCE, "the flood stands at {highest}; log:\n{}", house.torus.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Each process starts its successor in a session of its own and ends; none lives long enough to be looked up and killed
/// in peace. Sixteen such lines run until they are told to end.
const STORM: &str = "import os, signal
lines = 16
while lines > 0 and os.fork(): lines -= 1
while lines > 0:
    os.setsid()
    if os.fork(): os._exit(0)
signal.pause()";

fn a_storm_of_forks_holds_nobody_up_and_ends_with_its_service(user: User) {
    let house =
        Pid1::up_with(user, &services("  storm: { command: [sh, -c, 'exec python3 -c \"$STORM\"'] }"), |command| {
            command.env("STORM", STORM);
        });
    let neighbour = house.pid_of("neighbour");
    house.torus.until("a storm", |status| status["orphans_reaped"].as_u64() >= Some(1_000));
    let (code, said) = house.torus.command(&["stop", "storm"]);
    assert_eq!(code, Some(0), "{said}");
    until("the end of the storm", || house.others().len() == 1);
    let (code, said) = house.torus.command(&["start", "storm"]);
    assert_eq!(code, Some(0), "{said}");
    let before = house.torus.status().unwrap()["orphans_reaped"].as_u64().unwrap();
    house.torus.until("a storm", |status| status["orphans_reaped"].as_u64() >= Some(before + 1_000));
    assert_eq!(house.pid_of("neighbour"), neighbour);
    // Now it ends in the storm.
    ends_in_order(house);
}

fn a_storm_of_signals_changes_nothing(user: User) {
    let house = Pid1::up(user, &services(""));
    let neighbour = house.pid_of("neighbour");
    let pid_1 = house.pid();
    let begin = Instant::now();
    // Orders are meant, KILL and STOP are the kernel's, and Rust's runtime takes two for faults of ours.
    let left_out = [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGKILL,
        Signal::SIGSTOP,
        Signal::SIGSEGV,
        Signal::SIGBUS,
    ];
    let signals: Vec<Signal> = Signal::iterator().filter(|signal| !left_out.contains(signal)).collect();
    for at in 0..SIGNALS {
        // Half of them ask for a reload, or tell of a death that was none.
        let signal = match at % 4 {
            0 => Signal::SIGHUP,
            1 => Signal::SIGCHLD,
            _ => signals[at / 4 % signals.len()],
        };
        send(pid_1, signal);
    }
    house.torus.until("an answer", |status| status["state"] == "running");
    let reloads = house.torus.log().matches("SIGHUP: reloaded").count() as u128;
    let most = begin.elapsed().as_millis() / 250 + 2;
    assert!((1..=most).contains(&reloads), "{reloads} reloads, {most} would do");
    assert_eq!(house.pid_of("neighbour"), neighbour);
    let status = house.torus.status().unwrap();
    assert_eq!(status["services"][0]["restarts"], 0, "{status}");
    ends_in_order(house);
}

/// A configuration with somebody who must not be disturbed.
fn services(others: &str) -> String {
    format!("services:\n  neighbour: {{ command: [sleep, '1000'] }}\n{others}")
}

fn ends_in_order(mut house: Pid1) {
    house.signal(Signal::SIGTERM);
    let (status, _) = house.torus.end();
    assert_eq!(status.code(), Some(0), "{}", house.torus.log());
    assert!(house.torus.log().trim_end().ends_with("torus: stopped"), "{}", house.torus.log());
}
