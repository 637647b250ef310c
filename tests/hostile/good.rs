//! Good clients: they ask and are answered, one request after the other, while others misbehave.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::house::House;
use crate::peer::{Door, Peer, message};

/// What a good client's round trip may take, whatever others do.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(100);
/// What connecting and the handshake may take: behind a crowd of thousands they are a while in the backlog.
const JOINING_MAX: Duration = Duration::from_secs(1);
/// A breath between two requests, so that good clients are no flood themselves.
const PAUSE: Duration = Duration::from_millis(1);

/// Runs the attack while good clients are served: one that was there before, and newcomers, one after the other. Every
/// round trip of theirs is in time, and afterwards the house is unharmed.
pub(crate) fn under_attack(house: &House, attack: impl FnOnce()) {
    attacked(house, true, attack);
}

/// The same for an attack that keeps newcomers out, as limits on connections must.
pub(crate) fn under_siege(house: &House, attack: impl FnOnce()) {
    attacked(house, false, attack);
}

fn attacked(house: &House, newcomers: bool, attack: impl FnOnce()) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (mut old, over_yet) = (Peer::joined(house, Door::Front, b"good"), &over);
        let mut good = vec![scope.spawn(move || {
            until(over_yet, || {
                timed(house, ROUND_TRIP_MAX, || ask(&mut old));
            });
        })];
        if newcomers {
            good.push(scope.spawn(move || {
                until(over_yet, || {
                    let mut new = timed(house, JOINING_MAX, || Peer::joined(house, Door::Front, b""));
                    timed(house, ROUND_TRIP_MAX, || ask(&mut new));
                });
            }));
        }
        // A panic in the attack must not leave the others waiting for its end.
        let ended = catch_unwind(AssertUnwindSafe(attack));
        over.store(true, Ordering::Relaxed);
        for client in good {
            client.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
        ended.unwrap_or_else(|panic| resume_unwind(panic));
    });
    house.assert_unharmed();
}

/// Does it again and again until the attack is over, at least once.
fn until(over: &AtomicBool, mut round: impl FnMut()) {
    loop {
        round();
        if over.load(Ordering::Relaxed) {
            return;
        }
        std::thread::sleep(PAUSE);
    }
}

/// One request and its reply.
fn ask(client: &mut Peer) {
    client.say(&message(&[b"", b"Hello"]));
    assert_eq!(client.message(), [&b""[..], b"World"]);
}

/// Does something that must not take longer. What the machine gave to others, tests beside this one among them, is not
/// the bus's delay.
fn timed<T>(house: &House, max: Duration, deed: impl FnOnce() -> T) -> T {
    let (begin, waited_before) = (Instant::now(), waited(house));
    let done = deed();
    let took = begin.elapsed().saturating_sub(waited(house) - waited_before);
    assert!(took < max, "took {took:?}, {max:?} are allowed");
    done
}

/// How long those that a round trip passes one after the other have been ready to run but were given no processor: this
/// client, the worker, and one of the back-ends.
fn waited(house: &House) -> Duration {
    let of = |path: String| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let nanoseconds = text.split_whitespace().nth(1).and_then(|word| word.parse().ok());
        Duration::from_nanos(nanoseconds.unwrap_or(0))
    };
    let mut processes = house.processes().map(|pid| of(format!("/proc/{pid}/schedstat")));
    let worker = processes.next().unwrap_or_default();
    worker + processes.max().unwrap_or_default() + of("/proc/thread-self/schedstat".to_owned())
}
