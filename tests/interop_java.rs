//! The client in Java, on Debian's JeroMQ 0.3.6: ZMTP 2.0, and hangs up on a 3.x greeting that arrives at once.

mod support;

use std::path::Path;
use std::process::Command;

use support::hello::{five_replies, in_flight_at_once};
use support::process::printed;
use support::programs;

const JEROMQ: &str = "/usr/share/java/jeromq.jar";

five_replies!(java, java_client);

#[test]
fn the_client_in_java_has_its_five_requests_in_flight_at_once() {
    in_flight_at_once(java_client);
}

fn java_client(endpoint: &str) -> String {
    assert!(
        Path::new(JEROMQ).exists(),
        "there is no {JEROMQ}; install libjeromq-java, or run scripts/test, which does"
    );
    let client = programs::example("clients/java/Client.java");
    printed("the client in Java", Command::new("java").args(["-cp", JEROMQ]).arg(client).arg(endpoint))
}
