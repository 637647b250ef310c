//! The supervisor with real processes: what lives, what dies, what is started again, and how everything ends.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::process::{Talker, lives, signal};
use support::{BUS, PATIENCE, TORUS, Torus};

fn pid(status: &Value, index: usize) -> i64 {
    status["services"][index]["pid"].as_i64().unwrap()
}

#[test]
fn a_service_that_is_killed_is_started_again_at_once_and_the_death_is_told() {
    let torus = Torus::up("services: { idle: { command: [sleep, '1000'], instances: 2 } }");
    let first = pid(&torus.status().unwrap(), 1);
    signal("KILL", first);
    let status = torus.until("a restart", |status| status["services"][1]["restarts"] == 1);
    assert_ne!(pid(&status, 1), first);
    assert_eq!(status["services"][1]["last_exit"]["signal"], 9);
    assert_eq!(status["services"][0]["restarts"], 0);
    let line = format!("torus: service=idle instance=2 pid={first} exited signal=9; restarting now");
    assert!(torus.log().contains(&line), "{}", torus.log());
}

#[test]
fn a_service_that_dies_again_and_again_waits_longer_each_time() {
    let torus = Torus::start(
        "services: { broken: { command: [sh, -c, 'exit 3'] } }
supervisor: { backoff_ms_min: 60, backoff_ms_max: 200 }",
    );
    let status = torus.until("five restarts", |status| status["services"][0]["restarts"].as_u64() >= Some(5));
    assert_eq!(status["services"][0]["last_exit"]["code"], 3);
    let log = torus.log();
    let endings: Vec<&str> = log.lines().filter_map(|line| Some(line.split_once("exited code=3; ")?.1)).collect();
    assert_eq!(endings[0], "restarting now");
    let waits: Vec<u64> = endings[1..5]
        .iter()
        .map(|ending| ending.trim_start_matches("restarting in ").trim_end_matches(" ms").parse().unwrap())
        .collect();
    // Up to a quarter is jitter, and a millisecond is lost to rounding.
    for (wait, full) in waits.iter().zip([60, 120, 200, 200]) {
        assert!((full * 3 / 4 - 2..=full).contains(wait), "{waits:?}");
    }
}

#[test]
fn a_program_that_does_not_exist_is_a_death_with_its_reason_and_disturbs_no_other_service() {
    let torus =
        Torus::start("services: { idle: { command: [sleep, '1000'] }, missing: { command: [no-such-program-here] } }");
    let status = torus.until("two attempts", |status| status["services"][1]["restarts"].as_u64() >= Some(1));
    let reason = status["services"][1]["last_exit"]["not_started"].as_str().unwrap();
    assert_eq!(reason, "there is no program \"no-such-program-here\" on the PATH");
    assert_eq!(status["services"][0]["state"], "running");
    assert_eq!(status["services"][0]["restarts"], 0);
}

#[test]
fn a_service_that_cannot_start_does_not_hide_that_the_bus_serves() {
    let services = "services: { hello: { worker: hello }, missing: { command: [no-such-program-here] } }";
    let mut torus = Torus::start_with(&format!("{BUS}{services}"), |command| {
        command.stdout(Stdio::piped());
    });
    let mut banner = String::new();
    let mut output = BufReader::new(torus.child.stdout.take().unwrap());
    while !banner.contains("Ctrl-C") {
        assert_ne!(output.read_line(&mut banner).unwrap(), 0, "{banner}\n{}", torus.log());
    }
    assert!(banner.contains("Torus is running") && banner.contains("Not every service is"), "{banner}");
    let status = torus.status().unwrap();
    assert_eq!(status["state"], "degraded");
    assert_eq!(status["services"][1]["state"], "running");

    let mut request = Command::new(TORUS);
    request.args(["request", "Hello", "--runtime-dir"]).arg(&torus.directory);
    let output = request.output().unwrap();
    let transcript = String::from_utf8(output.stdout).unwrap();
    assert!(transcript.ends_with("Received reply 1: World\n"), "{transcript}");
}

#[test]
fn an_orphan_is_reaped_without_restarting_any_service() {
    let torus = Torus::up("services: { parent: { command: [sh, -c, '(setsid sleep 0.05 &); exec sleep 1000'] } }");
    let status = torus.until("a reaped orphan", |status| status["orphans_reaped"].as_u64() >= Some(1));
    assert_eq!(status["services"][0]["restarts"], 0);
}

#[test]
fn what_a_dead_service_left_behind_is_gone_before_its_successor_works() {
    let path = std::env::temp_dir().join(format!("torus-left-{}", std::process::id()));
    let script = format!("sleep 1000 & echo $! >> {}; wait", path.display());
    let mut torus = Torus::up(&format!("services: {{ parent: {{ command: [sh, -c, '{script}'] }} }}"));
    let left = || -> Vec<i64> {
        fs::read_to_string(&path).unwrap_or_default().lines().filter_map(|line| line.parse().ok()).collect()
    };
    torus.until("a grandchild", |_| left().len() == 1);
    signal("KILL", pid(&torus.status().unwrap(), 0));
    torus.until("a new grandchild", |_| left().len() == 2);
    torus.until("the end of the old one", |_| !lives(left()[0]));
    assert!(lives(left()[1]));
    torus.signal("TERM");
    torus.end();
    assert!(!lives(left()[1]), "a stop left a grandchild behind");
    fs::remove_file(path).unwrap();
}

#[test]
fn sigterm_and_sigint_stop_everything_in_order_with_exit_code_0() {
    for name in ["TERM", "INT"] {
        let mut torus = Torus::up("services: { idle: { command: [sleep, '1000'], instances: 3 } }");
        let status = torus.status().unwrap();
        torus.signal(name);
        assert_eq!(torus.end().0.code(), Some(0));
        assert!((0..3).all(|index| !lives(pid(&status, index))));
        assert!(!torus.directory.join("control.sock").exists());
        assert!(torus.log().trim_end().ends_with("torus: stopped"), "{}", torus.log());
    }
}

#[test]
fn a_service_that_refuses_to_end_is_killed_at_its_deadline_and_the_stop_is_still_orderly() {
    let mut torus = Torus::up(
        "services: { deaf: { command: [sh, -c, 'trap \"\" TERM; while :; do sleep 1000; done'] } }
supervisor: { stop_ms_max: 800 }",
    );
    let deaf = pid(&torus.status().unwrap(), 0);
    // The shell needs a moment to become deaf; it is when its own child runs.
    torus.until("a deaf shell", |_| {
        !fs::read_to_string(format!("/proc/{deaf}/task/{deaf}/children")).unwrap_or_default().is_empty()
    });
    torus.signal("TERM");
    let (status, took) = torus.end();
    assert_eq!(status.code(), Some(0));
    assert!(took >= Duration::from_millis(550), "killed too early, after {took:?}");
    let line = format!("torus: service=deaf instance=1 pid={deaf} did not stop in time: killed");
    assert!(torus.log().contains(&line), "{}", torus.log());
    assert!(!lives(deaf));
}

#[test]
fn a_second_signal_hurries_and_a_third_kills_at_once() {
    let mut torus = Torus::up(
        "services: { deaf: { command: [sh, -c, 'trap \"\" TERM; while :; do sleep 1000; done'] } }
supervisor: { stop_ms_max: 60000 }",
    );
    let deaf = pid(&torus.status().unwrap(), 0);
    torus.until("a deaf shell", |_| {
        !fs::read_to_string(format!("/proc/{deaf}/task/{deaf}/children")).unwrap_or_default().is_empty()
    });
    torus.signal("TERM");
    torus.until("a stop under way", |status| status["state"] == "stopping");
    torus.signal("INT");
    torus.until_log("SIGINT again: hurrying");
    torus.signal("TERM");
    assert_eq!(torus.end().0.code(), Some(0));
    assert!(torus.log().contains(&format!("service=deaf instance=1 pid={deaf} killed")), "{}", torus.log());
}

#[test]
fn supervisor_892_children_die_with_a_killed_supervisor_and_its_successor_takes_the_stale_socket() {
    let configuration = "services: { idle: { command: [sleep, '1000'] } }";
    let mut torus = Torus::up(configuration);
    let child = pid(&torus.status().unwrap(), 0);
    torus.signal("KILL");
    torus.end();
    let begin = Instant::now();
    while lives(child) {
        assert!(begin.elapsed() < PATIENCE, "the child outlived its supervisor");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(torus.directory.join("control.sock").exists());
    let successor = Torus::start_in(torus.directory.clone(), configuration, |_| {});
    successor.until("everything runs", |status| status["state"] == "running");
}

#[test]
fn a_second_torus_in_the_same_runtime_directory_is_refused_with_the_first_ones_pid() {
    let configuration = "services: { idle: { command: [sleep, '1000'] } }";
    let torus = Torus::up(configuration);
    let file = torus.directory.join("torus.yaml");
    let mut second = Command::new(TORUS);
    second.arg("run").arg("--config").arg(file).arg("--runtime-dir").arg(&torus.directory);
    let output = second.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains(&format!("another torus (pid {}) runs", torus.child.id())), "{message}");
    assert_eq!(torus.status().unwrap()["state"], "running");
}

#[test]
fn a_taken_port_is_a_clear_error_and_nothing_is_started() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let mut torus = Torus::start(&format!("bus: {{ requests: {{ front: 0, back: {port} }} }}"));
    assert_eq!(torus.end().0.code(), Some(1));
    let log = torus.log();
    assert!(log.contains(&format!("cannot listen on 127.0.0.1:{port} for back-ends")), "{log}");
    assert!(log.contains("bus.requests.back"), "{log}");
    assert!(!log.contains("started"), "{log}");
}

#[test]
fn clients_may_connect_to_the_bus_before_and_between_its_workers() {
    let torus = Torus::start("bus: { requests: { front: 0, back: 0 } }");
    let status = torus.until("endpoints", |status| status["endpoints"]["requests_front"].is_string());
    let endpoint = status["endpoints"]["requests_front"].as_str().unwrap().trim_start_matches("tcp://").to_owned();
    assert!(!endpoint.ends_with(":0"));
    TcpStream::connect(&endpoint).unwrap();
}

#[test]
fn a_command_is_told_its_name_and_the_bus_and_inherits_nothing_else() {
    let notify = std::env::temp_dir().join(format!("torus-notify-{}", std::process::id()));
    let socket = std::os::unix::net::UnixDatagram::bind(&notify).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    // The shell itself reads what is blocked: while it starts another program, it blocks everything.
    let script = "env > $DIR/env; ls /proc/$$/fd > $DIR/fds; \
                  while read -r name set; do case $name in SigBlk:|SigIgn:) echo $name $set;; esac; done \
                  < /proc/$$/status > $DIR/signals; \
                  ulimit -Sn > $DIR/files; mv $DIR/env $DIR/told; exec sleep 1000";
    let configuration = format!("services: {{ curious: {{ command: [sh, -c, '{script}'] }} }}");
    let mut torus = Torus::start_with(&configuration, |command| {
        let directory = command.get_args().last().unwrap().to_owned();
        command.env("DIR", directory).env("NOTIFY_SOCKET", &notify).env("LISTEN_FDS", "7").env("LISTEN_PID", "1");
    });
    let mut told = [0; 64];
    let length = socket.recv(&mut told).unwrap();
    assert_eq!(&told[..length], b"READY=1");
    torus.until("the script's end", |_| torus.directory.join("told").exists());
    let environment = torus.file("told");
    let names: Vec<&str> = environment.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    assert!(environment.contains("TORUS_SERVICE=curious\n") && environment.contains("TORUS_INSTANCE=1\n"));
    assert!(!names.contains(&"NOTIFY_SOCKET") && !names.contains(&"LISTEN_FDS"), "{names:?}");
    let descriptors = torus.file("fds");
    // The shell itself may hold its script or a saved descriptor at 10 and above.
    let inherited = descriptors.lines().filter(|number| number.parse::<u32>().is_ok_and(|number| number < 10));
    assert_eq!(inherited.collect::<Vec<_>>().len(), 3, "{descriptors}");
    let signals = torus.file("signals");
    let sets: Vec<&str> = signals.split_whitespace().collect();
    assert_eq!(sets, ["SigBlk:", "0000000000000000", "SigIgn:", "0000000000000000"]);

    torus.signal("TERM");
    let length = socket.recv(&mut told).unwrap();
    assert_eq!(&told[..length], b"STOPPING=1");
    assert_eq!(torus.end().0.code(), Some(0));
    fs::remove_file(notify).unwrap();
}

#[test]
fn torn_huge_slow_and_foolish_control_clients_disturb_nobody() {
    let torus = Torus::up("services: { idle: { command: [sleep, '1000'] } }");
    let slow: Vec<UnixStream> = (0..40).map(|_| torus.ask(b"{\"version\":1,")).collect();
    drop(torus.ask(b"{\"ver"));
    drop(torus.ask(&[b'x'; 1 << 20]));
    let mut reply = String::new();
    BufReader::new(torus.ask(b"GET / HTTP/1.1\r\n")).read_line(&mut reply).unwrap();
    assert!(reply.starts_with("{\"version\":1,\"error\":\"not a request: "), "{reply}");
    reply.clear();
    torus.ask(b"{\"version\":1,\"command\":\"status\"}\n").read_to_string(&mut reply).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&reply).unwrap()["state"], "running");
    drop(slow);
}

#[test]
fn status_without_a_torus_says_so_and_fails() {
    let nowhere = std::env::temp_dir().join("torus-nowhere");
    let output = Command::new(TORUS).args(["status", "--runtime-dir"]).arg(nowhere).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.starts_with("error: no torus answers at ") && message.contains("hint: "), "{message}");
}

#[test]
fn request_asks_the_torus_whose_directory_was_named_and_no_other() {
    let torus = Torus::up(&format!("{BUS}services: {{ hello: {{ worker: hello }} }}"));
    let nowhere = std::env::temp_dir().join("torus-nowhere");
    let ask = |variable: &Path, arguments: &[&str]| {
        let mut command = Command::new(TORUS);
        command.args(["request", "Hello"]).args(arguments).env("TORUS_RUNTIME_DIR", variable);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let by_option = ask(&torus.directory, &["--runtime-dir", nowhere.to_str().unwrap()]);
    let by_variable = ask(&nowhere, &[]);
    for (code, stdout, message) in [by_option, by_variable] {
        assert_eq!((code, stdout.as_str()), (Some(1), ""));
        assert!(message.starts_with("error: no torus answers at ") && message.contains("torus-nowhere"), "{message}");
    }
    let (code, stdout, _) = ask(&torus.directory, &[]);
    assert!(code == Some(0) && stdout.ends_with("Received reply 1: World\n"), "{stdout}");
    // Its back-ends' port is known, and is no place to ask.
    let back = torus.back();
    let (code, stdout, message) = ask(&torus.directory, &["--endpoint", &back]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(message.contains(&format!("{back} is where back-ends connect")), "{message}");
    assert!(message.ends_with(&format!("hint: clients connect to {}\n", torus.front())), "{message}");

    let without = Torus::up("services: { idle: { command: [sleep, '1000'] } }");
    let (code, _, message) = ask(&without.directory, &[]);
    assert!(code == Some(1) && message.contains("takes no requests"), "{message}");
}

#[test]
fn a_request_that_nobody_serves_is_told_what_has_become_of_the_worker() {
    let torus = Torus::up(BUS);
    assert_eq!(torus.command(&["stop", "requests"]).0, Some(0));
    let front = torus.front();
    for arguments in
        [&["request", "Hello", "--timeout", "1"][..], &["request", "x", "--timeout", "1", "--endpoint", &front]]
    {
        let (code, said) = torus.command(arguments);
        let told = format!(
            "Connecting to server...\nerror: {front} is not served: requests/1 is stopped\n\
             hint: `torus start requests` starts it\n"
        );
        assert_eq!((code, said), (Some(1), told));
    }
    // Another endpoint is not this worker's affair.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let elsewhere = format!("tcp://{}", silent.local_addr().unwrap());
    let (code, said) = torus.command(&["request", "Hello", "--timeout", "1", "--endpoint", &elsewhere]);
    assert!(code == Some(1) && said.contains("something listens there and does not speak ZMTP"), "{said}");
}

#[test]
fn numbers_that_request_does_not_take_are_told_with_those_that_it_takes() {
    for (arguments, told) in [
        (["--count", "-1"], "it takes a whole number from 1 to 4294967295"),
        (["--timeout", "0.5"], "it takes a whole number of seconds from 1 to 86400"),
    ] {
        let output = Command::new(TORUS).args(["request", "Hello"]).args(arguments).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && message.contains(told), "{message}");
    }
}

#[test]
fn a_hello_that_finds_no_bus_says_what_it_waits_for() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // Started by hand: any descriptor will do for its command socket while there is nothing to tell.
    let mut hello = Talker::start(
        Command::new("sh")
            .args(["-c", "exec \"$0\" worker hello 3</dev/null 2>&1", TORUS])
            .env("TORUS_COMMAND_FD", "3")
            .env("TORUS_REQUESTS_BACK", format!("tcp://{nobody}")),
    );
    let line = hello.line();
    assert!(line.contains(&format!("waiting for tcp://{nobody}, ")), "{line}");
}

#[test]
fn an_idle_supervisor_does_not_wake_up() {
    let service = "idle: { command: [sh, -c, 'echo up; exec sleep 1000'] }";
    let torus = Torus::up(&format!("logs: {{ watchdog_ms: 100 }}\nservices: {{ {service} }}"));
    torus.until_log("idle/1 | up");
    assert_eq!(wakeups(&torus), 0);
    // Whether its log worker has hung is no question while nobody has anything to say.
    signal("STOP", pid(&torus.status().unwrap(), 1));
    assert_eq!(wakeups(&torus), 0);
}

#[test]
fn output_that_flows_wakes_the_supervisor_seldom() {
    let torus = Torus::up("services: { talk: { command: [sh, -c, 'while :; do echo line; sleep 0.002; done'] } }");
    let lines = || torus.status().unwrap()["counters"]["log"]["lines"].as_u64().unwrap();
    let before = lines();
    let wakeups = wakeups(&torus);
    assert!(wakeups < 25 && lines() > before + 50, "{wakeups} for {} lines", lines() - before);
}

/// How often the supervisor wakes up in a second and a half.
fn wakeups(torus: &Torus) -> u64 {
    // Switches of its own accord: each time that it went to sleep again.
    let sleeps = || {
        let status = fs::read_to_string(format!("/proc/{}/status", torus.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
        line.split_whitespace().last().unwrap().parse::<u64>().unwrap()
    };
    // The last status client's task ends a moment after its reply.
    std::thread::sleep(Duration::from_millis(300));
    let before = sleeps();
    std::thread::sleep(Duration::from_millis(1_500));
    sleeps() - before
}

#[test]
fn a_torus_whose_output_is_closed_goes_on() {
    let mut torus = Torus::start_with("services: { idle: { command: [sleep, '1000'] } }", |command| {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
    });
    drop((torus.child.stdout.take(), torus.child.stderr.take()));
    let status = torus.until("everything runs", |status| status["state"] == "running");
    signal("KILL", pid(&status, 0));
    torus.until("a restart", |status| status["services"][0]["restarts"] == 1);
    torus.signal("TERM");
    assert_eq!(torus.end().0.code(), Some(0));
}

#[test]
fn a_reader_that_has_stopped_reading_does_not_stop_the_supervisor() {
    let mut torus = Torus::start_with(
        "services: { broken: { command: ['false'], restart: { limit: none } } }\nsupervisor: { backoff_ms_min: 1, backoff_ms_max: 1 }",
        |command| {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        },
    );
    // Two lines for each start: the pipe is full long before that, and nobody reads it.
    torus.until("many restarts", |status| status["services"][0]["restarts"].as_u64() > Some(2_000));
    torus.signal("TERM");
    assert_eq!(torus.end().0.code(), Some(0));
    let mut said = Vec::new();
    torus.child.stderr.take().unwrap().read_to_end(&mut said).unwrap();
    assert!(said.len() >= 4096);
}

#[test]
fn a_supervisor_that_did_not_run_for_a_time_takes_nobody_for_hung() {
    let pulse = "import os, socket, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
n = 0
while True:
    s.sendto(b\"READY=1\\nWATCHDOG=1\\nSTATUS=%d\" % n, chr(0) + os.environ[\"NOTIFY_SOCKET\"][1:])
    n += 1
    time.sleep(.1)";
    let torus = Torus::up(&format!(
        "services: {{ a: {{ command: [python3, -c, {pulse:?}], ready: notify, watchdog: {{ timeout_ms: 1000 }} }} }}"
    ));
    let before = pid(&torus.status().unwrap(), 0);
    torus.signal("STOP");
    // Far beyond its time.
    std::thread::sleep(Duration::from_millis(2_500));
    torus.signal("CONT");
    torus.until_log("torus did not run for a time");
    let said = |status: &Value| status["services"][0]["says"].as_str().and_then(|says| says.parse::<u64>().ok());
    let heard = said(&torus.status().unwrap());
    let after = torus.until("it goes on", |status| said(status) > heard.map(|said| said + 5));
    assert_eq!((pid(&after, 0), after["services"][0]["restarts"].as_u64()), (before, Some(0)), "{}", torus.log());
}
