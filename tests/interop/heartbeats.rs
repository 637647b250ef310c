//! Silence: who may be silent for as long as it likes, and who is dropped for it.

use std::process::Command;
use std::time::Duration;

use crate::support::peer::{Kind, Peer, Version};
use crate::support::process::{Talker, signal};
use crate::support::{Torus, programs};

#[test]
fn an_idle_peer_of_an_older_version_stays_while_silent_ones_of_3_1_are_dropped_and_counted() {
    let torus = bus("{ heartbeat_ms: 50, heartbeat_timeout_ms: 100 }");
    let front = torus.front();
    let older = [Version::V2_0, Version::V3_0];
    let mut idle = older.map(|version| Peer::connect(&front, version, Kind::Dealer));
    let mut backends = older.map(|version| Peer::connect(&torus.back(), version, Kind::Rep));
    // One after the other: the older ones are silent for all that time.
    for _ in 0..3 {
        Peer::connect(&front, Version::V3_1, Kind::Dealer).be_silent_until_dropped();
    }
    torus.until_counter("refused.heartbeat_timeout", 3);
    torus.until_counter("clients", 2);
    for client in &mut idle {
        client.send(&["", "Hello"]);
    }
    // Two requests, none answered yet, two free back-ends: each gets one.
    for backend in &mut backends {
        let request = backend.receive();
        backend.answer(request, |_| vec![b"World".to_vec()]);
    }
    for client in &mut idle {
        assert_eq!(client.receive(), [&b""[..], b"World"]);
    }
}

#[test]
fn a_stopped_libzmq_peer_is_dropped_and_counted_while_an_idle_one_stays() {
    let torus = bus("{ heartbeat_ms: 100, heartbeat_timeout_ms: 1000 }");
    Peer::connect(&torus.back(), Version::V3_0, Kind::Rep).echo();
    let [mut idle, mut stopped] = [(); 2].map(|()| libzmq(&["idle", &torus.front()]));
    idle.says("Hello");
    stopped.says("Hello");
    signal("STOP", stopped.pid());
    torus.until_counter("refused.heartbeat_timeout", 1);
    torus.until_counter("clients", 1);
    idle.go_on();
    idle.says("Hello");
    assert_eq!(torus.counter("accepted"), 3, "somebody had to connect again");
}

#[test]
fn a_libzmq_client_with_heartbeats_stays_connected_while_it_is_idle() {
    // Ours are off: the only sign of life is that we answer its.
    let torus = bus("{ heartbeat_ms: 0 }");
    Peer::connect(&torus.back(), Version::V3_1, Kind::Rep).echo();
    let mut client = libzmq(&["idle", &torus.front(), "20"]);
    client.says("Hello");
    let before = torus.counter("bytes_in");
    // A PING of libzmq is a frame of 9 bytes. So many are sent only if those before were answered.
    torus.until("twenty PINGs", |status| status["counters"]["requests"]["bytes_in"].as_u64() >= Some(before + 20 * 9));
    client.go_on();
    client.says("Hello");
    assert_eq!(torus.counter("accepted"), 2, "it had to connect again");
}

#[test]
fn a_worker_that_was_held_up_for_longer_than_the_timeout_drops_nobody_who_answered() {
    let torus = bus("{ heartbeat_ms: 50, heartbeat_timeout_ms: 1500 }");
    Peer::connect(&torus.back(), Version::V3_0, Kind::Rep).echo();
    let mut client = Peer::connect(&torus.front(), Version::V3_1, Kind::Dealer);
    let status = torus.until("a worker", |status| status["services"][0]["pid"].is_i64());
    assert_eq!(status["services"][0]["name"], "requests");
    let worker = status["services"][0]["pid"].as_i64().unwrap();
    client.answer_a_ping_after(|| signal("STOP", worker));
    // Nothing can happen meanwhile; it is time itself that has to pass.
    std::thread::sleep(Duration::from_millis(1700));
    signal("CONT", worker);
    client.send(&["", "Hello"]);
    assert_eq!(client.receive(), [&b""[..], b"Hello"]);
    assert_eq!(torus.counter("refused.heartbeat_timeout"), 0);
}

fn bus(limits: &str) -> Torus {
    Torus::up(&format!("bus: {{ requests: {{ front: 0, back: 0 }}, limits: {limits} }}"))
}

fn libzmq(arguments: &[&str]) -> Talker {
    Talker::start(Command::new(programs::python()).arg(programs::libzmq()).args(arguments))
}
