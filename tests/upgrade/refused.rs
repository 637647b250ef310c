//! What is refused: the build that runs goes on, and says why.

use std::fs;

use super::builds::{VERSION, script, upgrade};
use super::support::Torus;

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
    refused(&torus, &missing, &cannot(&missing, "ENOENT: No such file or directory"));
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
fn a_build_that_is_gone_when_it_is_to_be_executed_changes_nothing() {
    let torus = Torus::up(IDLE);
    let binary = script(&torus, "liar", "rm \"$0\"; echo '{\"torus\":\"9.0.0\",\"state\":1}'");
    refused(&torus, &binary, "cannot execute it: No such file or directory (os error 2)");
    let (code, said) = torus.command(&["restart", "idle"]);
    assert_eq!(code, Some(0), "{said}");
    // Descriptors are closed on exec again: a child has its standard ones alone.
    let pid = torus.status().unwrap()["services"][0]["pid"].as_i64().unwrap();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    assert_eq!(open, 3, "log:\n{}", torus.log());
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
