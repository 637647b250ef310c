//! What services write, through the supervisor's pipes and the log worker: prefixed, whole, followed, and not lost.

mod support;

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::process::signal;
use support::{PATIENCE, TORUS, Torus};

fn log_pid(status: &Value) -> i64 {
    let services = status["services"].as_array().unwrap();
    services.iter().find(|one| one["name"] == "log").unwrap()["pid"].as_i64().unwrap()
}

#[test]
fn supervisor_553_s6_overlay_304_each_line_says_whose_it_is_and_lines_are_never_mixed() {
    let script = "i=0; while [ $i -lt 200 ]; do printf 'a%s' $TORUS_INSTANCE; printf 'b%s' $TORUS_INSTANCE; \
                  echo c$TORUS_INSTANCE; i=$((i + 1)); done; echo done; exec sleep 1000";
    let torus = Torus::up(&format!("services: {{ talk: {{ command: [sh, -c, \"{script}\"], instances: 5 }} }}"));
    for number in 1..=5 {
        torus.until_log(&format!("talk/{number} | done"));
    }
    for number in 1..=5 {
        let line = format!("talk/{number} | a{number}b{number}c{number}");
        assert_eq!(torus.log().lines().filter(|found| *found == line).count(), 200);
    }
}

#[test]
fn json_lines_carry_their_fields() {
    let torus = Torus::up(
        "logs: { format: json }\nservices: { talk: { command: [sh, -c, 'echo hi; echo ho >&2; exec sleep 1000'] } }",
    );
    torus.until_log("\"ho\"");
    let lines: Vec<Value> = torus.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for (line, stream) in [("hi", "stdout"), ("ho", "stderr")] {
        let found = lines.iter().find(|found| found["line"] == line).unwrap();
        assert_eq!(
            (&found["service"], &found["instance"], &found["stream"]),
            (&"talk".into(), &1.into(), &stream.into())
        );
        assert!(found["pid"].as_i64().unwrap() > 0 && found["ts"].as_str().unwrap().ends_with('Z'));
    }
}

#[test]
fn the_log_worker_is_killed_under_load_and_no_line_is_torn_no_writer_harmed_and_the_rest_goes_on() {
    let script = "i=0; while [ $i -lt 20000 ]; do echo line $i end; i=$((i + 1)); done; echo all said; exec sleep 1000";
    let torus = Torus::up(&format!(
        "logs: {{ rate_lines_per_s: 0 }}\nservices: {{ talk: {{ command: [sh, -c, '{script}'] }} }}"
    ));
    for _ in 0..3 {
        let before = log_pid(&torus.status().unwrap());
        signal("KILL", before);
        torus.until("a new log worker", |status| {
            let services = status["services"].as_array().unwrap();
            services.iter().any(|one| one["name"] == "log" && one["state"] == "running" && one["pid"] != before)
        });
    }
    torus.until_log("talk/1 | all said");
    let status = torus.status().unwrap();
    let talk = status["services"].as_array().unwrap().iter().find(|one| one["name"] == "talk").unwrap();
    assert_eq!((&talk["restarts"], &talk["state"]), (&0.into(), &"running".into()), "the writer was harmed");
    let log = torus.log();
    let numbers: Vec<u32> = log
        .lines()
        .filter_map(|line| line.strip_prefix("talk/1 | line ")?.strip_suffix(" end")?.parse().ok())
        .collect();
    assert!(numbers.is_sorted() && numbers.len() > 1_000, "only {} lines", numbers.len());
    assert_eq!(numbers.last(), Some(&19_999), "what came last was lost");
}

#[test]
fn logs_shows_the_past_and_follows() {
    let torus = Torus::up(
        "services: { talk: { command: [sh, -c, 'for i in 1 2 3 4 5; do echo past $i; done; trap \"echo now\" USR1; \
         while :; do sleep 0.02; done'] }, other: { command: [sh, -c, 'echo noise; exec sleep 1000'] } }",
    );
    torus.until_log("talk/1 | past 5");
    torus.until_log("other/1 | noise");
    let (code, said) = torus.command(&["logs", "talk", "-n", "2"]);
    assert_eq!((code, said.as_str()), (Some(0), "talk/1 | past 4\ntalk/1 | past 5\n"));
    assert_eq!(torus.command(&["logs", "nobody"]).0, Some(1));
    let nobody = "error: torus refused: service \"talk\" has no instance 7, only instance 1\n";
    assert_eq!(torus.command(&["logs", "talk", "--instance", "7"]), (Some(1), nobody.to_owned()));
    assert_eq!(torus.command(&["logs", "talk", "--instance", "1", "-n", "1"]).1, "talk/1 | past 5\n");

    let mut follower = Command::new(TORUS)
        .args(["logs", "-f", "talk", "-n", "1", "--runtime-dir"])
        .arg(&torus.directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "talk/1 | past 5");
    let begin = Instant::now();
    assert_eq!(torus.command(&["signal", "talk", "USR1"]).0, Some(0));
    assert_eq!(lines.next().unwrap().unwrap(), "talk/1 | now");
    assert!(begin.elapsed() < PATIENCE);
    follower.kill().unwrap();
    follower.wait().unwrap();
}

#[test]
fn last_words_are_written_before_torus_leaves() {
    for stopped in [false, true] {
        let mut torus = Torus::up(
            "services: { talk: { command: [sh, -c, 'trap \"echo farewell; printf cut; exit 0\" TERM; echo set; \
             while :; do sleep 0.02; done'] } }",
        );
        torus.until_log("talk/1 | set");
        if stopped {
            signal("STOP", log_pid(&torus.status().unwrap()));
        }
        torus.signal("TERM");
        let (status, took) = torus.end();
        assert_eq!(status.code(), Some(0));
        let log = torus.log();
        assert!(log.contains("talk/1 | farewell\n") && log.contains("talk/1 | cut\n"), "{log}");
        assert!(took < Duration::from_secs(4), "{took:?}");
    }
}

#[test]
fn supervisor_1078_a_service_may_open_dev_stdout() {
    let torus = Torus::up(
        "services: { talk: { command: [sh, -c, 'echo one > /dev/stdout; echo two >> /dev/stderr; exec sleep 1000'] } }",
    );
    torus.until_log("talk/1 | one");
    torus.until_log("talk/1 | two");
}

/// Says that it has begun; told by SIGUSR1, writes more than a pipe holds; from then on says that it is still here.
const TALK: &str = "talk: { command: [sh, -c, 'trap go=1 USR1; echo begun; while [ -z \"$go\" ]; do sleep 0.02; done; \
                    i=0; while [ $i -lt 20000 ]; do echo line $i end; i=$((i + 1)); done; \
                    while :; do echo still here; sleep 0.05; done'] }";

#[test]
fn a_log_worker_that_has_hung_is_replaced_and_its_successor_reads_on() {
    let torus = Torus::up(&format!("logs: {{ rate_lines_per_s: 0, watchdog_ms: 1000 }}\nservices: {{ {TALK} }}"));
    torus.until_log("talk/1 | begun");
    signal("STOP", log_pid(&torus.status().unwrap()));
    assert_eq!(torus.command(&["signal", "talk", "USR1"]).0, Some(0));
    torus.until_log("talk/1 | still here");
    let status = torus.status().unwrap();
    let of = |name: &str| status["services"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap();
    assert_eq!((&of("log")["restarts"], &of("log")["last_exit"]["signal"]), (&1.into(), &6.into()));
    assert_eq!((&of("talk")["restarts"], &of("talk")["state"]), (&0.into(), &"running".into()));
    let log = torus.log();
    let lines = log.lines().filter_map(|line| line.strip_prefix("talk/1 | line ")?.strip_suffix(" end"));
    // It had nothing in hand when it stopped.
    assert!(lines.eq((0..20_000).map(|number| number.to_string())), "lines are missing or doubled");
    assert_eq!(log.matches("gave no sign of life").count(), 1);
}

#[test]
fn a_log_worker_whose_output_is_stuck_has_not_hung() {
    let configuration = "logs: { block_ms_max: 86400000, watchdog_ms: 1500 }\n\
                         services: { talk: { command: [sh, -c, 'while :; do echo line; done'] } }";
    // Nobody reads it, so pipes are not read either.
    let torus = Torus::up_with(configuration, |command| {
        command.stdout(Stdio::piped());
    });
    std::thread::sleep(Duration::from_secs(4));
    let status = torus.status().unwrap();
    let log = status["services"].as_array().unwrap().iter().find(|one| one["name"] == "log").unwrap();
    assert_eq!((&log["state"], &log["restarts"]), (&"running".into(), &0.into()), "{}", torus.log());
    assert!(status["counters"]["log"]["bytes"].as_u64() > Some(0) && status["discarded_bytes"] == 0, "{status}");
}

#[test]
fn what_nobody_can_read_is_discarded_and_counted_until_there_is_a_log_worker_again() {
    let directory = Torus::place();
    let program = directory.join("torus");
    std::fs::copy(TORUS, &program).unwrap();
    let configuration = format!("logs: {{ rate_lines_per_s: 0 }}\nservices: {{ {TALK} }}");
    let torus = Torus::start_program(&program, directory, &configuration, |_| {});
    torus.until_log("talk/1 | begun");
    let before = torus.status().unwrap();
    assert_eq!(before["discarded_bytes"], 0);
    // Workers are started from the file that the supervisor runs.
    let executable = |is| std::fs::set_permissions(&program, Permissions::from_mode(if is { 0o755 } else { 0o644 }));
    executable(false).unwrap();
    signal("KILL", log_pid(&before));
    assert_eq!(torus.command(&["signal", "talk", "USR1"]).0, Some(0));
    torus.until("most is discarded", |status| status["discarded_bytes"].as_u64() > Some(20_000 * 10));
    let (code, told) = torus.command(&["status"]);
    assert!(code == Some(0) && told.contains("\ndiscarded without a log worker: "), "{told}");

    executable(true).unwrap();
    torus.until_log("output is read again; ");
    torus.until_log("talk/1 | still here");
    let log = torus.log();
    assert_eq!(log.matches("no log worker reads what services write").count(), 1, "{log}");
    assert!(log.contains("service=log instance=1 cannot start: "), "{log}");
}
