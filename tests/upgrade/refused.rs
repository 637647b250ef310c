//! What is refused: the build that runs goes on, and says why.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::builds::{VERSION, copy, liar, other, script, upgrade};
use super::support::{TORUS, Torus};

const IDLE: &str = "services: { idle: { command: [sleep, '1000'] } }";

/// Has an upgrade refused; the same torus must serve afterwards.
fn refused(torus: &Torus, binary: &std::path::Path, why: &str) {
    let before = torus.status().unwrap();
    let (code, said) = upgrade(torus, binary);
    let expected = format!("error: cannot become {}: {why}; version {VERSION} goes on\n", binary.display());
    assert_eq!((code, said), (Some(1), expected), "log:\n{}", torus.log());
    let after = torus.status().unwrap();
    for key in ["pid", "torus", "state"] {
        assert_eq!(after[key], before[key]);
    }
    assert_eq!(after["services"][0]["pid"], before["services"][0]["pid"]);
}

#[test]
fn a_build_that_does_not_understand_the_state_is_refused_in_its_own_words() {
    let torus = Torus::up(IDLE);
    let sentence = "torus 9.0.0 understands version 2 of the state, not version 1";
    let binary = script(&torus, "newer", &format!("echo 'error: {sentence}' >&2; exit 1"));
    refused(&torus, &binary, sentence);
    assert!(torus.log().contains(sentence));
    let binary = script(&torus, "mute", "exit 3");
    refused(&torus, &binary, "asked whether it understands the state, it said nothing (code 3)");
    assert_eq!(torus.command(&["restart", "idle"]).0, Some(0));
}

#[test]
fn what_cannot_be_executed_or_is_no_torus_is_refused() {
    let torus = Torus::up(IDLE);
    let missing = torus.directory.join("missing");
    let cannot = |path: &std::path::Path, cause: &str| format!("cannot execute {}: {cause}", path.display());
    refused(&torus, &missing, &cannot(&missing, "No such file or directory (os error 2)"));
    let plain = torus.directory.join("plain");
    fs::write(&plain, "text").unwrap();
    refused(&torus, &plain, &cannot(&plain, "EACCES: Permission denied"));
    refused(&torus, "/bin/true".as_ref(), "it does not answer as a torus does");
    let binary = script(&torus, "slow", "exec sleep 1000");
    refused(&torus, &binary, "it did not answer within 5 s");
    // It was ended, and is nobody's orphan; until that is seen, no other build is asked.
    torus.until("another one is taken", |_| upgrade(&torus, super::builds::other()).0 == Some(0));
    assert_eq!(torus.status().unwrap()["orphans_reaped"], 0);
}

#[test]
fn where_torus_was_started_from_and_is_no_more_is_told_with_how_to_name_another_build() {
    let directory = Torus::place();
    let program = directory.join("torus");
    copy(Path::new(TORUS), &program);
    let torus = Torus::start_program(&program, directory, IDLE, |_| {});
    torus.until("everything runs", |status| status["state"] == "running");
    let cannot = |cause: &str| {
        let path = program.display();
        format!(
            "error: cannot become {path}: cannot execute {path}: {cause}; version {VERSION} goes on\nhint: that is where the \
             running torus was started from; `torus upgrade --binary FILE` takes a build from elsewhere\n"
        )
    };
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(torus.command(&["upgrade"]), (Some(1), cannot("EACCES: Permission denied")));
    fs::remove_file(&program).unwrap();
    assert_eq!(torus.command(&["upgrade"]), (Some(1), cannot("No such file or directory (os error 2)")));
    assert!(!torus.log().contains("hint"), "{}", torus.log());
    assert_eq!(upgrade(&torus, other()).0, Some(0), "log:\n{}", torus.log());
}

#[test]
fn a_script_is_refused_though_a_torus_answers_for_it() {
    let torus = Torus::up(IDLE);
    let binary = script(&torus, "child", &format!("{TORUS} \"$@\""));
    let why = "it had another process answer; only a program that answers itself can go on as this one";
    refused(&torus, &binary, why);
    let binary = script(&torus, "wrapper", &format!("exec {TORUS} \"$@\""));
    refused(&torus, &binary, "it is a script, and a process becomes programs alone");
}

#[test]
fn a_build_that_cannot_be_executed_after_all_changes_nothing() {
    let torus = Torus::up(IDLE);
    // It says yes, and is written to.
    let binary = liar(&torus, "chmod(\"/proc/self/exe\", 0700);", "");
    refused(&torus, &binary, "its file was written to after it was asked");
    // It says yes, and may not be executed any more: the change of its mode is one of its file too.
    let binary = liar(&torus, "chmod(\"/proc/self/exe\", 0600);", "");
    refused(&torus, &binary, "its file was written to after it was asked");
    let (code, said) = torus.command(&["restart", "idle"]);
    assert_eq!(code, Some(0), "{said}");
    // Descriptors are closed on exec again: a child has its standard ones alone.
    let pid = torus.status().unwrap()["services"][0]["pid"].as_i64().unwrap();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    assert_eq!(open, 3, "log:\n{}", torus.log());
}

#[test]
fn a_build_that_cannot_go_on_after_all_gives_the_process_back() {
    let torus = Torus::up(
        "services: { idle: { command: [sleep, '1000'] }, talk: { command: [sh, -c, 'while :; do echo on; sleep 0.1; done'] } }",
    );
    let returns = "char *back[] = {\"torus\", \"run\", \"--resume\", argv[3], \"--returned\", \"it is unwell\", NULL}; \
                   return fexecve(atoi(argv[5]), back, environ);";
    for _ in 0..3 {
        let binary = liar(&torus, "", returns);
        let before = torus.status().unwrap();
        let (code, said) = upgrade(&torus, &binary);
        assert_eq!((code, said), (Some(1), format!("error: it is unwell; version {VERSION} goes on\n")));
        let after = torus.status().unwrap();
        assert_eq!((&after["pid"], &after["services"][0]["pid"]), (&before["pid"], &before["services"][0]["pid"]));
    }
    // It still knows where it was started from, and reads what is written.
    let lines = torus.log().matches("talk/1 | on\n").count();
    torus.until("lines go on", |_| torus.log().matches("talk/1 | on\n").count() > lines + 3);
    assert_eq!(torus.command(&["upgrade"]), (Some(0), format!("torus {VERSION} runs\n")));
    assert_eq!(torus.command(&["restart", "idle"]).0, Some(0));
}

#[test]
fn who_cannot_read_the_state_executes_the_build_before() {
    let state = std::env::temp_dir().join(format!("torus-state-{}", std::process::id()));
    fs::write(&state, r#"{"version":99}"#).unwrap();
    // It prints what it is called with.
    let script = "exec \"$1\" run --resume 3 --back 4 3<\"$2\" 4</bin/echo";
    let output = std::process::Command::new("sh").args(["-c", script, "sh", TORUS]).arg(&state).output().unwrap();
    let why = format!("torus {VERSION} understands version 1 of the state, not version 99");
    let said = format!("run --resume 3 --returned cannot become {TORUS}: {why}\n");
    assert_eq!((String::from_utf8(output.stdout).unwrap(), output.status.code()), (said, Some(0)));
    fs::remove_file(state).unwrap();
}

#[test]
fn whatever_takes_the_files_place_meanwhile_is_not_executed() {
    let torus = Torus::up(IDLE);
    let path = torus.directory.join("installed");
    let before = torus.status().unwrap();
    let upgrading = AtomicBool::new(true);
    let outcomes = std::thread::scope(|scope| {
        scope.spawn(|| {
            while upgrading.load(Ordering::Relaxed) {
                copy(Path::new("/bin/true"), &path);
                copy(other(), &path);
            }
        });
        let ends = (0..20).map(|_| upgrade(&torus, &path).0).collect::<Vec<_>>();
        upgrading.store(false, Ordering::Relaxed);
        ends
    });
    // Both are met: one is no torus, the other is.
    assert!(outcomes.iter().all(|code| matches!(code, Some(0 | 1))), "{outcomes:?}");
    let after = torus.status().unwrap();
    assert_eq!((&after["pid"], &after["services"][0]["pid"]), (&before["pid"], &before["services"][0]["pid"]));
}

#[test]
fn the_configuration_that_a_build_was_asked_about_stays_until_it_has_taken_over() {
    let mut torus = Torus::up(IDLE);
    let asked = torus.directory.join("asked");
    let binary = script(&torus, "slow", &format!("echo > {}; exec sleep 1000", asked.display()));
    let request = json!({"version": 1, "command": "upgrade", "binary": binary}).to_string() + "\n";
    let waiting = torus.ask(request.as_bytes());
    torus.until("it is asked", |_| asked.exists());
    let (code, said) = torus.command(&["reload"]);
    assert_eq!((code, said.as_str()), (Some(1), "error: torus is being upgraded; ask again\n"));
    torus.signal("HUP");
    drop(waiting);
    torus.until_log("it did not answer within 5 s");
    torus.until_log("SIGHUP: reloaded");
    torus.signal("TERM");
    assert_eq!(torus.end().0.code(), Some(0));
    let log = torus.log();
    assert!(log.find("did not answer") < log.find("SIGHUP: reloaded"), "{log}");
}

#[test]
fn orders_meanwhile_are_refused_and_who_waits_is_told_to_ask_again() {
    let deaf = "trap \"\" TERM; echo >&3; while :; do sleep 0.1; done";
    let torus = Torus::up(&format!("services: {{ a: {{ command: [sh, -c, '{deaf}'], ready: {{ fd: 3 }} }} }}"));
    let mut waiting = torus.ask(b"{\"version\":1,\"command\":\"stop\",\"service\":\"a\"}\n");
    torus.until("it ends", |status| status["services"][0]["state"] == "stopping");
    assert_eq!(upgrade(&torus, super::builds::other()).0, Some(0));
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut waiting, &mut answer).unwrap();
    assert_eq!(answer, "{\"version\":1,\"error\":\"torus is being upgraded; ask again\"}\n");
    // The order itself was taken, and holds.
    torus.until("it is stopped", |status| status["services"][0]["state"] == "stopped");
}
