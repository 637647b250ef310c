//! The requests worker is replaced while it serves: by order, and because it hung.

use std::thread;

use super::support::peer::{Kind, Peer, Version};
use super::support::process::signal;
use super::support::{BUS, Torus};

#[test]
fn a_worker_that_is_restarted_first_brings_what_it_has_in_hand_to_its_end() {
    let torus = Torus::up(BUS);
    let mut back_end = Peer::connect(&torus.back(), Version::V3_1, Kind::Rep);
    let mut client = Peer::connect(&torus.front(), Version::V3_1, Kind::Dealer);
    client.send(&["", "Hello"]);
    let request = back_end.receive();
    thread::scope(|scope| {
        let restart = scope.spawn(|| torus.command(&["restart", "requests"]));
        // The worker has been told, and waits for this answer alone.
        torus.until("a stop under way", |status| status["services"][0]["state"] == "stopping");
        back_end.answer(request, |_| vec![b"World".to_vec()]);
        assert_eq!(client.receive(), [&b""[..], b"World"]);
        assert_eq!(restart.join().unwrap().0, Some(0));
    });
    torus.until_counter("replies", 1);
    assert_eq!(torus.counter("lost.stopped"), 0);
    assert_eq!(torus.status().unwrap()["services"][0]["last_exit"]["code"], 0);
}

#[test]
fn what_is_not_answered_in_the_time_of_a_restart_is_counted_as_lost() {
    let torus = Torus::up("bus: { requests: { front: 0, back: 0 }, limits: { drain_ms_max: 50 } }");
    let mut back_end = Peer::connect(&torus.back(), Version::V3_1, Kind::Rep);
    let mut client = Peer::connect(&torus.front(), Version::V3_1, Kind::Dealer);
    client.send(&["", "Hello"]);
    back_end.receive();
    assert_eq!(torus.command(&["restart", "requests"]).0, Some(0));
    torus.until("a loss", |status| {
        let counters = status["counters"]["requests"].as_object().unwrap();
        counters
            .iter()
            .filter(|(name, _)| name.starts_with("lost."))
            .map(|(_, value)| value.as_u64().unwrap())
            .sum::<u64>()
            == 1
    });
}

#[test]
fn a_worker_that_hangs_is_replaced() {
    let torus = Torus::up(
        "bus: { requests: { front: 0, back: 0 }, limits: { watchdog_ms: 300 } }\nservices: { hello: { worker: hello } }",
    );
    let status = torus.status().unwrap();
    let worker = status["services"][0]["pid"].as_i64().unwrap();
    signal("STOP", worker);
    torus.until_log("gave no sign of life: aborted");
    let status =
        torus.until("a new worker", |status| status["services"][0]["restarts"] == 1 && status["state"] == "running");
    assert_eq!(status["services"][0]["last_exit"]["signal"], 6);
    let mut client = Peer::connect(&torus.front(), Version::V3_1, Kind::Dealer);
    client.send(&["", "Hello"]);
    assert_eq!(client.receive(), [&b""[..], b"World"]);
}
