//! Clients that send numbered requests and keep a ledger of every number.
//!
//! The number travels in the envelope, before the empty frame: whatever the back-end answers, a REP returns it. A
//! client sends a burst and waits until all of it is answered, so that what it has in hand is always a part of one
//! contiguous range of numbers. A reply that it does not wait for fails the test.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::bus::PATIENCE;
use super::peer::Peer;

/// Requests that a client has in flight at most.
pub(crate) const BURST: u64 = 8;
/// From one burst's beginning to the next one's, at least: it bounds the rate.
const PACE: Duration = Duration::from_millis(40);
/// How soon a client that waits for replies notices that it may send, or is to end.
const NOTICE: Duration = Duration::from_millis(10);

/// Clients, each with a thread of its own.
pub(crate) struct Fleet {
    clients: Vec<Client>,
}

struct Client {
    ledger: Arc<Mutex<Ledger>>,
    thread: Option<JoinHandle<()>>,
}

/// What one client knows.
#[derive(Default)]
struct Ledger {
    may_send: bool,
    over: bool,
    /// Connections that it has had; the last one lives.
    connections: usize,
    /// The number of its next request.
    next: u64,
    /// Numbers that were sent and not answered.
    in_hand: BTreeSet<u64>,
    /// Numbers that were answered, in the order of the answers.
    replied: Vec<u64>,
    /// Numbers that were lost on a connection that lived.
    lost: Vec<u64>,
    cuts: Vec<Cut>,
}

/// The end of a connection that its client did not end.
struct Cut {
    /// The burst that was under way.
    burst: Range<u64>,
    /// The numbers in it that were not answered.
    missing: BTreeSet<u64>,
}

/// Sums over all clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) sent: u64,
    pub(crate) replied: u64,
}

impl Fleet {
    /// Connects `clients` to `front`; they wait for a word before they send.
    pub(crate) fn connect(front: &str, clients: usize) -> Self {
        let start = |_| {
            let (ledger, front) = (Arc::new(Mutex::new(Ledger::default())), front.to_owned());
            let thread = std::thread::spawn({
                let ledger = ledger.clone();
                move || live(&front, &ledger)
            });
            Client { ledger, thread: Some(thread) }
        };
        let fleet = Self { clients: (0..clients).map(start).collect() };
        fleet.until_connected(1);
        fleet
    }

    /// Lets all send.
    pub(crate) fn go(&self) {
        self.ledgers().for_each(|mut ledger| ledger.may_send = true);
    }

    /// When this returns, nobody sends any more; what is in hand may still be answered.
    pub(crate) fn hold(&self) {
        self.ledgers().for_each(|mut ledger| ledger.may_send = false);
    }

    /// Waits until every client has had that many connections.
    pub(crate) fn until_connected(&self, connections: usize) {
        until("all clients connected", || self.ledgers().all(|ledger| ledger.connections == connections));
    }

    /// Sums up to now.
    pub(crate) fn tally(&self) -> Tally {
        self.ledgers().fold(Tally::default(), |sum, ledger| Tally {
            sent: sum.sent + ledger.next,
            replied: sum.replied + ledger.replied.len() as u64,
        })
    }

    /// Gives up what is in hand; tells how many requests that is. An answer to one of them would be one too many.
    pub(crate) fn give_up(&self) -> u64 {
        let give_up = |mut ledger: MutexGuard<Ledger>| {
            let lost = std::mem::take(&mut ledger.in_hand);
            ledger.lost.extend(&lost);
            lost.len() as u64
        };
        self.ledgers().map(give_up).sum()
    }

    /// Ends all clients and goes through every number that was ever sent: it was answered once, or lost once while its
    /// connection lived, or in hand when its connection was cut. Tells how many numbers the cuts took.
    pub(crate) fn check_every_number(mut self, cuts: usize) -> u64 {
        self.end();
        let mut gaps = 0;
        for client in &self.clients {
            let ledger = client.ledger.lock().unwrap();
            assert_eq!(ledger.cuts.len(), cuts);
            for cut in &ledger.cuts {
                assert!(cut.burst.end - cut.burst.start <= BURST);
                assert!(
                    cut.missing.iter().all(|number| cut.burst.contains(number)),
                    "a gap is more than what was in hand"
                );
                gaps += cut.missing.len() as u64;
            }
            let missing = ledger.cuts.iter().flat_map(|cut| &cut.missing);
            let mut ends: Vec<u64> = ledger.replied.iter().chain(&ledger.lost).chain(missing).copied().collect();
            ends.sort_unstable();
            assert!(ends.into_iter().eq(0..ledger.next), "not every number has come to exactly one end");
        }
        gaps
    }

    fn end(&mut self) {
        self.ledgers().for_each(|mut ledger| ledger.over = true);
        for client in &mut self.clients {
            if let Some(thread) = client.thread.take() {
                thread.join().expect("a client without complaint");
            }
        }
    }

    fn ledgers(&self) -> impl Iterator<Item = MutexGuard<'_, Ledger>> {
        self.clients.iter().map(|client| client.ledger.lock().expect("a client without complaint"))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for client in &self.clients {
            // Poisoned is what a client that complained leaves.
            client.ledger.lock().unwrap_or_else(PoisonError::into_inner).over = true;
        }
    }
}

/// A client's whole life.
fn live(front: &str, ledger: &Mutex<Ledger>) {
    while !ledger.lock().unwrap().over {
        // A worker that dies takes those with it who are greeting it.
        let Ok(mut peer) = Peer::connect(front) else { continue };
        ledger.lock().unwrap().connections += 1;
        if serve(&mut peer, ledger).is_err() {
            ledger.lock().unwrap().cut();
        }
    }
}

/// Sends and receives until told to end, or, with an error, until the connection is cut.
fn serve(peer: &mut Peer, ledger: &Mutex<Ledger>) -> std::io::Result<()> {
    let mut due = Instant::now();
    loop {
        {
            let mut ledger = ledger.lock().unwrap();
            if ledger.over {
                return Ok(());
            }
            if ledger.may_send && ledger.in_hand.is_empty() && due <= Instant::now() {
                due = Instant::now() + PACE;
                // The ledger stays locked: whoever reads it finds what was sent, all of it.
                ledger.send_burst(peer)?;
            }
        }
        let idle = due.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(1), NOTICE);
        if let Some(reply) = peer.receive(idle)? {
            ledger.lock().unwrap().take(&reply);
        }
    }
}

impl Ledger {
    fn send_burst(&mut self, peer: &mut Peer) -> std::io::Result<()> {
        let burst = self.next..self.next + BURST;
        self.next = burst.end;
        self.in_hand.extend(burst.clone());
        let numbers: Vec<[u8; 8]> = burst.map(u64::to_be_bytes).collect();
        let messages: Vec<[&[u8]; 3]> = numbers.iter().map(|number| [&number[..], b"", b"Hello"]).collect();
        peer.send(messages.iter().map(|message| &message[..]))
    }

    fn take(&mut self, reply: &[Vec<u8>]) {
        let [number, empty, body] = reply else { panic!("a reply of {} frames", reply.len()) };
        assert_eq!((&empty[..], &body[..]), (&b""[..], &b"World"[..]));
        let number = u64::from_be_bytes(number[..].try_into().expect("a number of eight bytes"));
        assert!(self.in_hand.remove(&number), "reply {number} came, which nobody waits for");
        self.replied.push(number);
    }

    fn cut(&mut self) {
        // Not before the harness says so: it first reads where the counters stand.
        self.may_send = false;
        let missing = std::mem::take(&mut self.in_hand);
        let burst = if missing.is_empty() { self.next..self.next } else { self.next - BURST..self.next };
        self.cuts.push(Cut { burst, missing });
    }
}

/// Looks until it is so.
pub(crate) fn until(hope: &str, mut fulfilled: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !fulfilled() {
        assert!(begin.elapsed() < PATIENCE, "not seen: {hope}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
