//! The requests worker and back-ends in three languages die by SIGKILL in turns, while 64 clients send.
//!
//! After each death of a back-end the load is held until everything has come to its end: all connections lived, so the
//! clients' sums and the counters must be equal. A death of the requests worker cuts every client: what each of them
//! misses is a part of the one burst that it had in hand, and the counters go on from where they stood.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::bus::{Bus, Totals, instance, signal};
use super::fleet::{BURST, Fleet, Tally, until};
use super::peer::Peer;
use super::support::programs;

const CLIENTS: usize = 64;
const BACKENDS: [&str; 3] = ["hello", "c", "python"];
/// A new connection is answered within it, counted from the kill; the median of all kills of one target.
const ANSWERED_WITHIN: Duration = Duration::from_millis(200);
/// A new connection whose request was lost gets no answer; this counts as its time.
const UNANSWERED: Duration = Duration::from_secs(1);
/// The supervisor's default for `healthy_after_ms`: who lived that long is started again at once.
const HEALTHY_AFTER_MS: u64 = 1_000;
/// Kills of each target, enough for a median that nothing else decides.
const MANY_KILLS: usize = 20;
/// Requests that a back-end has in hand at most, by default.
const WINDOW: u64 = 64;

#[test]
fn every_request_is_accounted_for_while_back_ends_and_the_requests_worker_are_killed_again_and_again() {
    let kills = if std::env::var_os("TORUS_TEST_LONG").is_some_and(|long| long == "1") { MANY_KILLS } else { 3 };
    let mut chaos = Chaos::begin();
    for _ in 0..kills {
        for backend in BACKENDS {
            chaos.kill_a_back_end(backend);
        }
        chaos.kill_the_requests_worker();
    }
    chaos.end(kills);
}

struct Chaos {
    bus: Bus,
    fleet: Fleet,
    front: String,
    /// What the clients and the counters said when last all was quiet.
    quiet: (Tally, Totals),
    /// By target, how long a new connection waited for its answer after each kill.
    answered: BTreeMap<&'static str, Vec<Duration>>,
    worker_deaths: usize,
    lost_while_connected: u64,
}

/// A client that came after a kill.
struct Newcomer {
    tally: Tally,
    answered: Duration,
}

impl Chaos {
    fn begin() -> Self {
        let bus = Bus::up(&configuration());
        let front = bus.endpoints().0;
        bus.until_totals("all back-ends", |totals| totals.get("backends") == BACKENDS.len() as u64);
        let fleet = Fleet::connect(&front, CLIENTS);
        let quiet = (fleet.tally(), bus.until_totals("no request", |totals| totals.get("requests") == 0));
        fleet.go();
        Self { bus, fleet, front, quiet, answered: BTreeMap::new(), worker_deaths: 0, lost_while_connected: 0 }
    }

    fn kill_a_back_end(&mut self, backend: &'static str) {
        self.wait_until_all_is_well(backend);
        let (pid, newcomer) = self.kill(backend);
        self.bus.until_restarted(backend, pid);
        self.fleet.hold();
        self.settle(newcomer.tally);
        self.fleet.go();
    }

    fn kill_the_requests_worker(&mut self) {
        self.wait_until_all_is_well("requests");
        self.check_that_every_request_has_its_place();
        let (pid, newcomer) = self.kill("requests");
        self.worker_deaths += 1;
        self.bus.until_restarted("requests", pid);
        self.fleet.until_connected(1 + self.worker_deaths);
        let totals = self.bus.until_totals("the newcomer's reply counted", |totals| totals.in_flight() == 0);

        let (before, counted) = (&self.quiet.0, &self.quiet.1);
        let now = self.fleet.tally();
        let sent = now.sent - before.sent + newcomer.tally.sent;
        let replied = now.replied - before.replied + newcomer.tally.replied;
        let requests = totals.get("requests") - counted.get("requests");
        let replies = totals.get("replies") - counted.get("replies");
        let lost = totals.lost_since(counted);
        let story = format!("sent {sent}, counted {requests}; replied {replied}, counted {replies}; lost {lost:?}");
        // What the worker had not read is lost with the connection, and never was a request.
        assert!(requests <= sent, "{story}");
        // Of the replies that were written, those of one write may not have been counted yet.
        assert!((replies..=replies + BURST).contains(&replied), "{story}");
        assert!(lost.keys().all(|reason| reason == "worker_died"), "{story}");
        assert_eq!(requests, replies + lost.values().sum::<u64>(), "{story}");

        self.quiet = (now, totals);
        self.fleet.go();
    }

    fn end(mut self, kills: usize) {
        self.wait_until_all_is_well("requests");
        self.fleet.hold();
        self.settle(Tally::default());
        let (tally, totals) = &self.quiet;
        let cut = self.fleet.check_every_number(self.worker_deaths);
        println!("{} clients sent {}, got {} replies", CLIENTS, tally.sent, tally.replied);
        println!("{} lost while connected, {cut} in hand when cut", self.lost_while_connected);
        let lost: BTreeMap<_, _> = totals.lost().collect();
        println!("counted: {} requests, {} replies, lost {lost:?}", totals.get("requests"), totals.get("replies"));
        println!("dropped: {} replies that nobody waited for", totals.get("dropped.unsolicited_reply"));
        assert_eq!(tally.sent, tally.replied + self.lost_while_connected + cut);
        for (target, mut times) in self.answered {
            assert_eq!(times.len(), kills);
            times.sort();
            if kills < MANY_KILLS {
                // Of few kills too many may take the newcomer's own request along, which is counted as lost above.
                times.retain(|time| *time < UNANSWERED);
                assert!(!times.is_empty(), "{target}: no new connection was answered");
            }
            let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
            println!(
                "{target} killed {kills} times: a new connection answered after {median:?} (median), {slowest:?} (slowest)"
            );
            assert!(median <= ANSWERED_WITHIN, "{target}: {times:?}");
        }
    }

    /// Waits until the target may be killed: it has lived long enough, all back-ends serve, and all clients are served.
    fn wait_until_all_is_well(&self, target: &str) {
        let before = self.fleet.tally().replied;
        let enough = before + 2 * BURST * CLIENTS as u64;
        until("replies to all clients", || self.fleet.tally().replied >= enough);
        self.bus.until("a healthy house", |status| {
            status.state == "running"
                && Totals::of(status).get("backends") == BACKENDS.len() as u64
                && instance(status, target).uptime_ms > Some(HEALTHY_AFTER_MS)
        });
    }

    /// Kills the target and has a newcomer connect at once.
    fn kill(&mut self, target: &'static str) -> (Pid, Newcomer) {
        let pid = self.bus.pid(target);
        let begin = Instant::now();
        signal(pid, Signal::SIGKILL);
        let newcomer = newcomer(&self.front, begin);
        self.answered.entry(target).or_default().push(newcomer.answered);
        (pid, newcomer)
    }

    /// Nobody sends: waits until all has come to its end, and holds the clients' sums against the counters. All
    /// connections have lived since the last time.
    fn settle(&mut self, newcomer: Tally) {
        let (before, counted) = &self.quiet;
        let sent = self.fleet.tally().sent - before.sent + newcomer.sent;
        let totals = self.bus.until_totals("every request at its end", |totals| {
            totals.get("requests") - counted.get("requests") >= sent && totals.in_flight() == 0
        });
        assert_eq!(totals.placed(), 0, "{totals:?}");
        let replies = totals.get("replies") - counted.get("replies");
        until(&format!("{replies} replies at the clients"), || {
            self.fleet.tally().replied - before.replied + newcomer.replied >= replies
        });
        let missing = self.fleet.give_up();
        self.lost_while_connected += missing;
        let now = self.fleet.tally();
        assert_eq!(totals.get("requests") - counted.get("requests"), sent);
        assert_eq!(now.replied - before.replied + newcomer.replied, replies);
        let mut lost = totals.lost_since(counted);
        assert_eq!(lost.remove("backend_gone").unwrap_or(0), missing + newcomer.sent - newcomer.replied);
        assert!(missing <= WINDOW, "more was lost than one back-end may have in hand: {missing}");
        assert!(lost.is_empty(), "{lost:?}");
        self.quiet = (now, totals);
    }

    /// The worker stands still for a moment amid the load. That may fall between two steps of one movement, so a
    /// difference counts only if it is still there the next times.
    fn check_that_every_request_has_its_place(&self) {
        let mut stops = (0..3).map(|_| self.bus.totals_of_a_stopped_worker());
        assert!(
            stops.any(|totals| totals.in_flight() == totals.placed()),
            "three times not every request had its place"
        );
    }
}

/// Connects and asks until it is answered: a worker that is just dying may still take a connection with it.
fn newcomer(front: &str, begin: Instant) -> Newcomer {
    let mut tally = Tally::default();
    while begin.elapsed() < UNANSWERED {
        let Ok(mut peer) = Peer::connect(front) else { continue };
        tally.sent += 1;
        if peer.send([&[&b""[..], b"Hello"][..]]).is_err() {
            continue;
        }
        loop {
            match peer.receive(UNANSWERED.saturating_sub(begin.elapsed()).max(Duration::from_millis(1))) {
                Ok(Some(reply)) => {
                    assert_eq!(reply, [&b""[..], b"World"]);
                    tally.replied += 1;
                    return Newcomer { tally, answered: begin.elapsed() };
                }
                Ok(None) if begin.elapsed() < UNANSWERED => {}
                Ok(None) => return Newcomer { tally, answered: UNANSWERED },
                Err(_) => break,
            }
        }
    }
    Newcomer { tally, answered: UNANSWERED }
}

/// One bus, and a service of each back-end that there is.
fn configuration() -> String {
    let c = programs::c("backends/c", "server");
    let python = [Path::new(programs::python()), &programs::example("backends/python/server.py")];
    format!(
        "bus: {{ requests: {{ front: 0, back: 0 }} }}
services: {{ hello: {{ worker: hello }}, c: {{ command: [{c:?}] }}, python: {{ command: {python:?} }} }}"
    )
}
