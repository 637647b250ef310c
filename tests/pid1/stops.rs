//! Whoever does not want to end, and whoever nobody knows any more.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::support::inits::until;
use super::support::pid1::{Pid1, User, as_each_user, send};
use super::support::process::lives;

as_each_user!(
    supervisor_1101_tini_236_no_grandchild_survives_a_stop,
    daemons_of_a_service_end_with_it,
    what_nobody_owns_is_asked_to_end_and_ends_pid_1s_wait,
    what_nobody_owns_and_refuses_to_end_holds_the_stop_up_no_longer_than_its_deadline,
    what_nobody_owns_is_hurried_as_everybody_is_and_commands_are_answered_meanwhile,
    who_came_in_from_outside_is_asked_to_end_and_waited_for,
    a_stopped_service_ends_in_order,
    a_stopped_bus_worker_does_not_cost_the_stop_its_order,
);

fn supervisor_1101_tini_236_no_grandchild_survives_a_stop(user: User) {
    let script = "(trap \"\" TERM; while :; do sleep 1000; done) & (trap \"\" TERM; setsid sh -c \"sleep 1000; :\") & \
                  exec sleep 1000";
    let house = Pid1::up(user, &format!("services: {{ parent: {{ command: [sh, -c, '{script}'] }} }}"));
    // The service, two shells, and the sleep of each.
    until("grandchildren", || house.others().len() == 5);
    let (code, said) = house.torus.command(&["restart", "parent"]);
    assert_eq!(code, Some(0), "{said}");
    until("the new grandchildren alone", || house.others().len() == 5);
    ends(house, 0);
}

fn daemons_of_a_service_end_with_it(user: User) {
    let script = "(setsid sh -c \"(setsid sleep 1000 &)\" &); exec sleep 1001";
    let house = Pid1::up(user, &format!("services: {{ parent: {{ command: [sh, -c, '{script}'] }} }}"));
    until("a daemon alone", || house.others().len() == 2);
    let before = house.others();
    send(house.pid_of("parent"), Signal::SIGKILL);
    house.torus.until("a restart", |status| status["services"][0]["restarts"] == 1);
    until("the end of the old daemon", || !before.iter().any(|pid| lives(*pid)));
    ends(house, 0);
}

/// A service with a daemon that nothing connects with it, and that says when it is there.
fn stray(deaf: bool) -> String {
    let trap = if deaf { "trap \"\" TERM; " } else { "" };
    let daemon = format!("{trap}echo >&3; exec 3>&-; while :; do sleep 0.05; done");
    let script = format!("(env -i setsid sh -c ''{daemon}'' &); exec sleep 1000");
    format!("services: {{ parent: {{ command: [sh, -c, '{script}'], ready: {{ fd: 3 }} }} }}")
}

fn what_nobody_owns_is_asked_to_end_and_ends_pid_1s_wait(user: User) {
    let house = Pid1::up(user, &stray(false));
    let log = ends(house, 0);
    assert!(log.contains("that no service owns: asked to end") && !log.contains("killed"), "{log}");
}

fn what_nobody_owns_and_refuses_to_end_holds_the_stop_up_no_longer_than_its_deadline(user: User) {
    let house = Pid1::up(user, &format!("{}\nsupervisor: {{ stop_ms_max: 1000 }}", stray(true)));
    let log = ends(house, 900);
    assert!(log.contains("that no service owns did not end in time: killed"), "{log}");
}

fn what_nobody_owns_is_hurried_as_everybody_is_and_commands_are_answered_meanwhile(user: User) {
    let mut house = Pid1::up(user, &format!("{}\nsupervisor: {{ stop_ms_max: 600000 }}", stray(true)));
    house.signal(Signal::SIGTERM);
    house.torus.until_log("that no service owns: asked to end");
    assert_eq!(house.torus.status().unwrap()["state"], "down");
    let (code, said) = house.torus.command(&["start", "parent"]);
    assert_eq!((code, said.as_str()), (Some(1), "error: torus is going down\n"));
    house.signal(Signal::SIGTERM);
    let (status, took) = house.torus.end();
    let log = house.torus.log();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(took < Duration::from_secs(8), "{took:?}\n{log}");
    assert!(log.contains("SIGTERM again: hurrying") && log.contains("did not end in time: killed"), "{log}");
}

fn who_came_in_from_outside_is_asked_to_end_and_waited_for(user: User) {
    let house = Pid1::up(user, "services: { idle: { command: [sleep, '1000'] } }");
    let told = house.torus.directory.join("told");
    let script = "trap 'echo ended in order; exit 0' TERM; echo here; while :; do sleep 0.02; done";
    let mut visitor = house.enter();
    let file = fs::File::create(&told).unwrap();
    let mut visitor = visitor.args(["sh", "-c", script]).stdout(file).stderr(Stdio::inherit()).spawn().unwrap();
    until("a visitor", || fs::read_to_string(&told).unwrap() == "here\n");
    house.signal(Signal::SIGTERM);
    let mut house = house;
    let (status, _) = house.torus.end();
    assert_eq!(status.code(), Some(0));
    assert_eq!(fs::read_to_string(&told).unwrap(), "here\nended in order\n", "{}", house.torus.log());
    visitor.wait().unwrap();
}

fn a_stopped_service_ends_in_order(user: User) {
    let script = "trap \"echo in order > told; exit 0\" TERM; echo >&3; while :; do sleep 0.02; done";
    let configuration = "services: { one: { command: [sh, -c, 'cd \"$HERE\"; SCRIPT'], ready: { fd: 3 } } }";
    let house = start_here(user, &configuration.replace("SCRIPT", script));
    send(house.pid_of("one"), Signal::SIGSTOP);
    let told = house.torus.directory.join("told");
    let (code, said) = house.torus.command(&["stop", "one"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(fs::read_to_string(&told).unwrap(), "in order\n");
    assert_eq!(house.torus.command(&["start", "one"]).0, Some(0));
    fs::remove_file(&told).unwrap();
    send(house.pid_of("one"), Signal::SIGSTOP);
    let log = ends(house, 0);
    assert!(!log.contains("killed"), "{log}");
}

fn a_stopped_bus_worker_does_not_cost_the_stop_its_order(user: User) {
    let house = Pid1::up(user, "bus: { requests: { front: 0, back: 0 } }\nservices: { hello: { worker: hello } }");
    for worker in ["requests", "hello"] {
        send(house.pid_of(worker), Signal::SIGSTOP);
    }
    let log = ends(house, 0);
    assert!(!log.contains("killed"), "{log}");
}

/// Starts it with its directory in HERE.
fn start_here(user: User, configuration: &str) -> Pid1 {
    Pid1::up_with(user, configuration, |command| {
        let here = command.get_args().last().unwrap().to_owned();
        command.env("HERE", here);
    })
}

/// Ends it in order, not before so many milliseconds; nobody survives. Its log.
fn ends(mut house: Pid1, least_ms: u64) -> String {
    let all = house.others();
    house.signal(Signal::SIGTERM);
    let (status, took) = house.torus.end();
    let log = house.torus.log();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(took >= Duration::from_millis(least_ms), "{took:?}\n{log}");
    assert!(took < Duration::from_secs(8), "{took:?}\n{log}");
    assert!(!all.iter().any(|pid| lives(*pid)), "{log}");
    log
}
