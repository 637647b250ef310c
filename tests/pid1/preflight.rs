//! What PID 1 looks at before it starts anything: it tells, refuses, or does not look, as it is configured.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use super::support::Torus;
use super::support::pid1::{Pid1, User, as_each_user};

as_each_user!(
    what_is_amiss_is_told_before_anything_starts,
    a_failed_check_is_a_reason_not_to_start_where_that_is_configured,
    nobody_looks_where_that_is_configured,
);

/// Starts a torus with a bus that nobody outside can reach, a warning, and with data where anybody may write, a failure.
fn start(user: User, preflight: &str) -> Pid1 {
    let place = Torus::place();
    let data = place.join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, Permissions::from_mode(0o777)).unwrap();
    let configuration = format!(
        "supervisor: {{ preflight: {preflight} }}\nbus: {{ requests: {{ front: 0, back: 0 }} }}\n\
         services: {{ hello: {{ worker: hello }} }}\n"
    );
    Pid1::start_in(place, user, &configuration, |command| {
        command.env("STATE_DIRECTORY", data);
    })
}

fn what_is_amiss_is_told_before_anything_starts(user: User) {
    let house = start(user, "warn");
    house.torus.until("everything runs", |status| status["state"] == "running");
    let log = house.torus.log();
    let at = |text: &str| log.find(text).unwrap_or_else(|| panic!("no {text:?} in\n{log}"));
    let block = ["1 failed, ", "fail: torus, data directory: ", "warn: torus, reach: 127.0.0.1"];
    let block = block.map(|text| at(&format!("preflight: {text}")));
    assert!(block.is_sorted() && block[2] < at(" started"), "{log}");
    assert!(log.contains("; torus goes on"), "{log}");
}

fn a_failed_check_is_a_reason_not_to_start_where_that_is_configured(user: User) {
    let mut house = start(user, "refuse");
    let status = house.torus.child.wait().unwrap();
    let log = house.torus.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("preflight: fail: torus, data directory: "), "{log}");
    assert!(log.contains("mend: give the volume at "), "{log}");
    assert!(log.contains("error: a check of this container failed, and supervisor.preflight is refuse"), "{log}");
    assert!(!log.contains(" started"), "{log}");
}

fn nobody_looks_where_that_is_configured(user: User) {
    let house = start(user, "off");
    house.torus.until("everything runs", |status| status["state"] == "running");
    assert!(!house.torus.log().contains("preflight"), "{}", house.torus.log());
}
