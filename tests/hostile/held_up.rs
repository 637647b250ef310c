//! A worker that was held up, by the machine or by a debugger: what came meanwhile came in time.

use std::time::{Duration, Instant};

use crate::house::House;
use crate::peer::*;

/// Peers: more than the worker is told of in one wait, so that it looks at the time before it has read them all.
const CROWD: usize = 1200;

/// Waits for nothing but a time: what happens then happens in the kernel and in a process that is stopped.
fn sleep_until(time: Instant) {
    std::thread::sleep(time.saturating_duration_since(Instant::now()));
}

#[test]
fn no_handshake_is_cut_whose_bytes_came_while_the_worker_was_held_up() {
    const HANDSHAKE_MAX: Duration = Duration::from_millis(2000);
    let house = House::without_backends("front: 0, back: 0", "{ handshake_ms_max: 2000, handshakes_max: 2000 }");
    let mut mute = Peer::connect(&house, Door::Front);
    house.until_count("handshakes", |count| count == 1);
    let mute_since = Instant::now();
    sleep_until(mute_since + HANDSHAKE_MAX / 2);
    let mut crowd: Vec<Peer> = (0..CROWD).map(|_| Peer::connect(&house, Door::Front)).collect();
    house.until_count("handshakes", |count| count >= CROWD as u64);
    let all_since = Instant::now();
    house.hold_up(|| {
        // The timer comes first of all that the worker will be told of, then the crowd.
        sleep_until(mute_since + HANDSHAKE_MAX + Duration::from_millis(50));
        crowd.iter_mut().for_each(|peer| peer.say(&hello(Door::Front, b"")));
        sleep_until(all_since + HANDSHAKE_MAX + Duration::from_millis(50));
    });
    crowd.iter_mut().for_each(Peer::skip_greeting);
    mute.until_hung_up();
    assert_eq!(house.count("refused.handshake_timeout"), 1);
    house.assert_unharmed();
}

#[test]
fn looks_at_silence_go_on_when_an_answer_came_while_the_worker_was_held_up() {
    const TIMEOUT: Duration = Duration::from_millis(1000);
    let house = House::without_backends("front: 0, back: 0", "{ heartbeat_ms: 100, heartbeat_timeout_ms: 1000 }");
    // Peers of 3.0 are sent no PING, so all looks are at one.
    let mut crowd: Vec<Peer> = (0..CROWD).map(|_| joined_as_3_0(&house)).collect();
    let mut judged = Peer::joined(&house, Door::Front, b"");
    assert_eq!(judged.frame(), ping());
    let pinged = Instant::now();
    house.hold_up(|| {
        // Again the timer comes first, then the crowd, and what would acquit the one last.
        sleep_until(pinged + TIMEOUT + Duration::from_millis(50));
        crowd.iter_mut().for_each(|peer| peer.say(&frame(MORE, b"")));
        judged.say(&pong());
    });
    for _ in 0..3 {
        assert_eq!(judged.frame(), ping());
        judged.say(&pong());
    }
    assert_eq!(house.count("refused.heartbeat_timeout"), 0);
    judged.until_hung_up();
    assert_eq!(house.count("refused.heartbeat_timeout"), 1);
    assert_eq!(house.count("clients"), CROWD as u64);
    house.assert_unharmed();
}

fn joined_as_3_0(house: &House) -> Peer {
    let mut peer = Peer::connect(house, Door::Front);
    peer.say(&[greeting(3, 0, b"NULL"), ready(b"DEALER", b"")].concat());
    peer.skip_greeting();
    peer
}

/// A PING as the bus sends it, read as a frame.
fn ping() -> (u8, Vec<u8>) {
    (COMMAND, b"\x04PING\0\0".to_vec())
}

fn pong() -> Vec<u8> {
    command(b"PONG", b"")
}
