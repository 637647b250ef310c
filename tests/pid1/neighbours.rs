//! A crash loop beside a healthy service: requests do not wait for it.

use std::time::{Duration, Instant};

use super::support::long;
use super::support::peer::{Kind, Peer, Version};
use super::support::pid1::{Pid1, User, as_each_user};

as_each_user!(a_crash_loop_does_not_slow_its_healthy_neighbour_down);

/// The slowest of a hundred requests takes so many times as long beside a crash loop, by the median of the rounds.
const RATIO_MAX: f64 = 1.2;
/// What the plain run accepts: it measures a machine that does other things as well.
const RATIO_MAX_OF_A_BUSY_MACHINE: f64 = 10.0;
const REQUESTS: usize = 3_000;

fn a_crash_loop_does_not_slow_its_healthy_neighbour_down(user: User) {
    let rounds = if long() { 31 } else { 5 };
    // Ten deaths a second for ever, since nothing slows it down and no limit ends it.
    let house = Pid1::up(
        user,
        "bus: { requests: { front: 0, back: 0 } }
services:
  broken: { command: ['false'], restart: { backoff: { ms_min: 100, ms_max: 100 }, limit: none, when: on-failure } }",
    );
    let endpoint = |which: &str| house.torus.status().unwrap()["endpoints"][which].as_str().unwrap().to_owned();
    Peer::connect(&endpoint("requests_back"), Version::V3_1, Kind::Rep).echo();
    let mut client = Peer::connect(&endpoint("requests_front"), Version::V3_1, Kind::Req);
    round_trips(&mut client);
    let mut ratios: Vec<f64> = (0..rounds)
        .map(|_| {
            house.torus.command(&["stop", "broken"]);
            let alone = p99(round_trips(&mut client));
            house.torus.command(&["start", "broken", "--wait", "1"]);
            let before = restarts(&house);
            let mut times = round_trips(&mut client);
            // A fast machine is through before there was a death.
            while restarts(&house) == before {
                times.extend(round_trips(&mut client));
            }
            let beside = p99(times);
            beside.as_secs_f64() / alone.as_secs_f64()
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let median = ratios[rounds / 2];
    let most = if long() { RATIO_MAX } else { RATIO_MAX_OF_A_BUSY_MACHINE };
    assert!(median <= most, "the median of {ratios:.2?} is more than {most}");
}

fn restarts(house: &Pid1) -> u64 {
    let status = house.torus.status().unwrap();
    let services = status["services"].as_array().unwrap();
    services.iter().find(|one| one["name"] == "broken").unwrap()["restarts"].as_u64().unwrap()
}

fn round_trips(client: &mut Peer) -> Vec<Duration> {
    (0..REQUESTS)
        .map(|_| {
            let begin = Instant::now();
            client.send(&[b"".to_vec(), b"Hello".to_vec()]);
            client.receive();
            begin.elapsed()
        })
        .collect()
}

fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() * 99 / 100]
}
