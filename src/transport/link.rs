//! One connection, and the table of all.

use std::net::TcpStream;

use super::intake::Intake;
use crate::broker::{Door, Millis, PeerId};
use crate::wire::Session;

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) peer: PeerId,
    pub(super) door: Door,
    pub(super) stream: TcpStream,
    pub(super) session: Session,
    pub(super) intake: Intake,
    /// Whether a read may find bytes, or the end.
    pub(super) readable: bool,
    /// Whether reads go on until one finds nothing, since one may stop short of what is there.
    pub(super) drain: bool,
    /// Whether it is at its end in both directions; what has come can still be read.
    pub(super) ended: bool,
    /// Whether it stands in the list of those to be read.
    pub(super) listed: bool,
    /// Whether the socket takes no bytes for now.
    pub(super) blocked: bool,
    /// Whether it is not read until the core says so.
    pub(super) paused: bool,
    /// Whether bytes were read that are not used yet and are not a mere piece of a message.
    pub(super) unused: bool,
    /// Whether writing has failed, so that the connection ends when those are used.
    pub(super) gone: bool,
    /// Whether it may be sent a PING.
    pub(super) heartbeats: bool,
    pub(super) silence: Silence,
    /// Bytes of an unfinished message that are accounted for.
    pub(super) charged: u64,
    pub(super) began: Millis,
    /// Its place among the unfinished handshakes.
    pub(super) handshake: Option<u64>,
}

/// Since when nothing has come from a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// Something has come since the timer last looked.
    None,
    /// The timer noticed it then.
    Since(Millis),
    /// Then a PING was sent into it.
    Pinged(Millis),
}

impl Link {
    pub(super) fn new(peer: PeerId, door: Door, stream: TcpStream, session: Session, now: Millis, place: u64) -> Self {
        Self {
            peer,
            door,
            stream,
            session,
            intake: Intake::default(),
            readable: false,
            drain: false,
            ended: false,
            listed: false,
            blocked: false,
            paused: false,
            unused: false,
            gone: false,
            heartbeats: false,
            silence: Silence::None,
            charged: 0,
            began: now,
            handshake: Some(place),
        }
    }

    /// What it calls itself, if it has joined and calls itself anything.
    pub(super) fn identity(&self) -> Option<&[u8]> {
        let identity = self.session.peer()?.identity.as_slice();
        (!identity.is_empty()).then_some(identity)
    }
}

/// All connections, by the slots of their peers.
#[derive(Debug, Default)]
pub(super) struct Links {
    table: Vec<Option<Box<Link>>>,
    len: usize,
}

impl Links {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, link: Link) {
        let slot = link.peer.slot();
        if self.table.len() <= slot {
            self.table.resize_with(slot + 1, || None);
        }
        self.table[slot] = Some(Box::new(link));
        self.len += 1;
    }

    /// Takes the peer's connection out; `None` when it is gone, though its slot may be another peer's by now.
    pub(super) fn remove(&mut self, peer: PeerId) -> Option<Box<Link>> {
        let removed = self.table.get_mut(peer.slot())?.take_if(|link| link.peer == peer)?;
        self.len -= 1;
        Some(removed)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, peer: PeerId) -> Option<&mut Link> {
        self.table.get_mut(peer.slot())?.as_deref_mut().filter(|link| link.peer == peer)
    }

    pub(super) fn get(&self, peer: PeerId) -> Option<&Link> {
        self.table.get(peer.slot())?.as_deref().filter(|link| link.peer == peer)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.table.iter().flatten().map(Box::as_ref)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Link> {
        self.table.iter_mut().flatten().map(Box::as_mut)
    }
}
