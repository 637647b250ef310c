//! Takes in who comes through a door.

use std::io::ErrorKind;
use std::net::TcpListener;

use super::OpenDoor;
use super::counts::Cut;
use super::hub::Hub;
use crate::broker::{Core, Door, Millis};
use crate::sys::net;
use crate::wire::{self, SocketType};

/// Milliseconds to wait when the machine has no descriptor or memory left for another connection.
const EXHAUSTED_PAUSE_MS: Millis = 100;
/// Connections taken in through one door in one turn of the loop; then those who are here have theirs.
const ACCEPTS_MAX: usize = 64;

/// A door with what goes for all who come through it.
#[derive(Debug)]
pub(super) struct Entrance {
    pub(super) listener: TcpListener,
    pub(super) ours: SocketType,
    pub(super) limits: wire::Limits,
    pub(super) connections: usize,
    /// Whether somebody may stand before it.
    pub(super) knocked: bool,
    connections_max: usize,
    /// Until when nobody is taken in.
    shut_until: Option<Millis>,
}

impl Entrance {
    pub(super) fn new(door: OpenDoor) -> Self {
        let OpenDoor { listener, ours, limits, connections_max } = door;
        // Who came before we did is not told of.
        Self { listener, ours, limits, connections: 0, knocked: true, connections_max, shut_until: None }
    }

    pub(super) fn is_full(&self) -> bool {
        self.connections >= self.connections_max
    }

    /// Whether to look who is there.
    pub(super) fn is_waited_at(&self) -> bool {
        self.knocked && self.shut_until.is_none()
    }

    /// Opens the door again if it is time, or tells when it will be.
    pub(super) fn reopen(&mut self, now: Millis) -> Option<Millis> {
        self.shut_until = self.shut_until.filter(|&until| until > now);
        self.shut_until
    }
}

impl<C: Core> Hub<C> {
    /// Takes in those who wait at the doors, as many as make a turn.
    #[cold]
    pub(super) fn accept(&mut self) {
        for door in 0..self.entrances.len() {
            for _ in 0..ACCEPTS_MAX {
                if !self.entrances[door].is_waited_at() {
                    break;
                }
                self.accept_one(Door(door));
            }
        }
    }

    fn accept_one(&mut self, door: Door) {
        let entrance = &mut self.entrances[door.0];
        match entrance.listener.accept() {
            Ok((stream, _)) => self.admit(stream, door),
            Err(error) if error.kind() == ErrorKind::WouldBlock => entrance.knocked = false,
            // It left between its connect and our accept, or what ended it is told here (accept(2) lists more).
            Err(error) if !net::is_exhausted(&error) => {}
            Err(error) => {
                self.counts.refuse(Cut::NoDescriptors.reason());
                // An unfinished handshake holds what the newcomer needs. Without one, whoever is connected is served
                // on, and newcomers wait in the backlog.
                if !self.drop_oldest_handshake() {
                    tracing::warn!(%error, "cannot accept connections for now");
                    let until = self.now() + EXHAUSTED_PAUSE_MS;
                    self.entrances[door.0].shut_until = Some(until);
                    self.due(until);
                }
            }
        }
    }
}
