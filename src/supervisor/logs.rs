//! What the log worker is told: which pipes there are, whose they are, and who wants to follow. docs/logs.md has the
//! packets.
//!
//! The supervisor never waits for the log worker. What it has to say waits in a line of bounded length; a worker that
//! lets it grow full has hung, and is ended, as is one that cannot be spoken to: its successor is told everything anew.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram as StdDatagram;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::net::UnixDatagram;
use tokio::sync::{mpsc, watch};

use super::instance::Instance;
use crate::control::Follow;
use crate::lifecycle::Id;
use crate::sys::signals::{self, Whom};
use crate::sys::{Pid, pass};

/// Packets on their way to the log worker, beside those that its sources may need at once; one more ends it.
const PACKETS_MAX: usize = 8_192;
/// Packets that one source may need at once: to go, to come anew, and to change its process some times.
const PACKETS_OF_A_SOURCE: usize = 8;
/// Sources that one packet names: as many as there is room for, were their numbers the largest.
const SOURCES_MAX: usize = 128;
const STREAMS: [&str; 2] = ["stdout", "stderr"];

/// The line to the log worker, while there is one.
#[derive(Debug, Default)]
pub(super) struct Logs {
    worker: Option<Line>,
}

#[derive(Debug)]
struct Line {
    worker: Pid,
    orders: mpsc::UnboundedSender<Order>,
    /// Packets that are not said yet.
    unsaid: Arc<watch::Sender<usize>>,
    /// Sources that it knows of, and how many there were at most.
    sources: usize,
    sources_once: usize,
}

#[derive(Debug)]
enum Order {
    Say {
        packet: Vec<u8>,
        with: Option<Arc<OwnedFd>>,
    },
    /// When all is said, it is to end.
    End,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Packet<'a> {
    Attach { source: u64, service: &'a str, instance: u32, stream: &'a str, pid: Option<i32> },
    Pid { source: u64, pid: i32 },
    Ended { sources: &'a [u64] },
    Detach { source: u64 },
    Ping {},
    Follow(&'a Follow),
}

impl Logs {
    /// Takes a new log worker, and tells it all that there is.
    pub(super) fn connect(&mut self, pid: Pid, socket: StdDatagram, instances: &BTreeMap<Id, Instance>) {
        self.resume(pid, socket, 0);
        for (id, instance) in instances {
            self.attach(*id, instance);
        }
    }

    /// Goes on with a log worker that knows all that there is, of so many instances.
    pub(super) fn resume(&mut self, pid: Pid, socket: StdDatagram, instances: usize) {
        let (orders, line) = mpsc::unbounded_channel();
        let unsaid = Arc::new(watch::Sender::new(0));
        let said = unsaid.clone();
        tokio::spawn(async move {
            match speak(socket, pid, line, &said).await {
                // It has ended; that is told elsewhere.
                Err(cause) if matches!(cause.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {}
                Err(cause) => {
                    tracing::error!(%pid, "cannot speak to the log worker: {cause}; killed");
                    signals::kill_group(pid);
                }
                Ok(()) => {}
            }
            // What is left has nobody to be said to.
            said.send_replace(0);
        });
        let sources = instances * STREAMS.len();
        self.worker = Some(Line { worker: pid, orders, unsaid, sources, sources_once: sources });
    }

    /// Whether the log worker was told all that it is to know.
    pub(super) fn is_said(&self) -> bool {
        self.worker.as_ref().is_none_or(|line| *line.unsaid.borrow() == 0)
    }

    /// Returns when the log worker was told all that it is to know.
    pub(super) async fn until_said(&self) {
        if let Some(line) = &self.worker {
            let _ = line.unsaid.subscribe().wait_for(|unsaid| *unsaid == 0).await;
        }
    }

    /// Forgets a log worker that has ended.
    pub(super) fn disconnect(&mut self) {
        self.worker = None;
    }

    /// There are pipes to be read.
    pub(super) fn attach(&mut self, id: Id, instance: &Instance) {
        let Some(output) = &instance.output else { return };
        let pid = instance.process.as_ref().map(|process| process.pid.as_raw());
        if let Some(line) = &mut self.worker {
            line.sources += STREAMS.len();
            line.sources_once = line.sources_once.max(line.sources);
        }
        for (index, (stream, reader)) in STREAMS.into_iter().zip(&output.readers).enumerate() {
            let (service, instance) = (instance.unit.name.as_str(), instance.number);
            self.say(
                &Packet::Attach { source: source(id, index), service, instance, stream, pid },
                Some(reader.clone()),
            );
        }
    }

    /// A process has the pipes from now on.
    pub(super) fn began(&mut self, id: Id, pid: Pid) {
        (0..STREAMS.len()).for_each(|index| {
            self.say(&Packet::Pid { source: source(id, index), pid: pid.as_raw() }, None);
        });
    }

    /// Processes have ended: what they began to say is all. A stop of hundreds is told in few packets.
    pub(super) fn ended(&mut self, ids: impl Iterator<Item = Id>) {
        let sources: Vec<u64> = ids.flat_map(|id| (0..STREAMS.len()).map(move |index| source(id, index))).collect();
        sources.chunks(SOURCES_MAX).for_each(|sources| self.say(&Packet::Ended { sources }, None));
    }

    /// An instance is gone for good.
    pub(super) fn detach(&mut self, id: Id) {
        if let Some(line) = &mut self.worker {
            line.sources = line.sources.saturating_sub(STREAMS.len());
        }
        (0..STREAMS.len()).for_each(|index| self.say(&Packet::Detach { source: source(id, index) }, None));
    }

    /// It is to give a sign of life.
    pub(super) fn ask(&mut self) {
        self.say(&Packet::Ping {}, None);
    }

    /// Somebody wants to read along.
    pub(super) fn follow(&mut self, follow: &Follow, reader: OwnedFd) {
        self.say(&Packet::Follow(follow), Some(Arc::new(reader)));
    }

    /// Asks the worker to end when it has been told all; `false` when this is not it.
    pub(super) fn end(&mut self, pid: Pid) -> bool {
        let Some(line) = self.worker.as_ref().filter(|line| line.worker == pid) else { return false };
        line.send(Order::End)
    }

    fn say(&mut self, packet: &Packet<'_>, with: Option<Arc<OwnedFd>>) {
        let Some(line) = &self.worker else { return };
        if line.is_full() {
            let pid = line.worker;
            tracing::error!(%pid, "the log worker does not listen any more: killed");
            signals::kill_group(pid);
            self.worker = None;
            return;
        }
        let packet = serde_json::to_vec(packet).expect("numbers and words are always JSON");
        line.send(Order::Say { packet, with });
    }
}

impl Line {
    fn is_full(&self) -> bool {
        *self.unsaid.borrow() >= PACKETS_MAX + self.sources_once * PACKETS_OF_A_SOURCE
    }

    /// `false` when nobody says it: the worker has ended, or was.
    fn send(&self, order: Order) -> bool {
        let sent = self.orders.send(order).is_ok();
        if sent {
            self.unsaid.send_modify(|unsaid| *unsaid += 1);
        }
        sent
    }
}

/// The number of a pipe, by its instance and its place there.
pub(super) fn source(id: Id, stream: usize) -> u64 {
    id * STREAMS.len() as u64 + stream as u64
}

/// Whose pipe has that number, and its place there.
pub(super) fn pipe_of(source: u64) -> (Id, usize) {
    let streams = STREAMS.len() as u64;
    (source / streams, (source % streams) as usize)
}

/// The pipe that the log worker says it cannot read, if that is what it says.
pub(super) fn refused(packet: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Word {
        refused: Which,
    }
    #[derive(Deserialize)]
    struct Which {
        source: u64,
    }
    // Other words are assignments.
    packet.starts_with(b"{").then(|| serde_json::from_slice::<Word>(packet).ok())?.map(|word| word.refused.source)
}

/// Sends what is ordered, in that order, each when the worker has room for it.
async fn speak(
    socket: StdDatagram,
    pid: Pid,
    mut line: mpsc::UnboundedReceiver<Order>,
    unsaid: &watch::Sender<usize>,
) -> io::Result<()> {
    let socket = UnixDatagram::from_std(socket)?;
    while let Some(order) = line.recv().await {
        match order {
            Order::Say { packet, with } => send(&socket, &packet, with.as_deref()).await?,
            Order::End => {
                let _ = signals::send(Whom::Group(pid), signals::SIGTERM);
                // One that is stopped would not hear it.
                let _ = signals::send(Whom::Group(pid), signals::SIGCONT);
            }
        }
        unsaid.send_modify(|unsaid| *unsaid = unsaid.saturating_sub(1));
    }
    Ok(())
}

async fn send(socket: &UnixDatagram, packet: &[u8], with: Option<&OwnedFd>) -> io::Result<()> {
    let with: Vec<_> = with.into_iter().map(AsFd::as_fd).collect();
    loop {
        socket.writable().await?;
        match socket.try_io(tokio::io::Interest::WRITABLE, || pass::send(socket, packet, &with)) {
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {}
            sent => return sent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_pipe_and_other_words_are_none() {
        assert_eq!(refused(br#"{"refused":{"source":7}}"#), Some(7));
        assert_eq!(pipe_of(source(3, 1)), (3, 1));
        for other in [&b"READY=1"[..], b"{}", b"{", b""] {
            assert_eq!(refused(other), None);
        }
    }
}
