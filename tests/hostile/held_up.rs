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
