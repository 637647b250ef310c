//! Takes in who comes through a door.

use std::io;
use std::net::TcpListener;

use super::OpenDoor;
use super::counts::Cut;
use super::hub::Hub;
use crate::broker::{Core, Door, Millis};
use crate::sys::net::AcceptFailure;
use crate::wire::{self, SocketType};

/// Milliseconds for which a door stays shut when nobody can be accepted: there is no descriptor or memory left for
/// another connection, or the listening socket itself fails. Without it the loop would try without end.
const SHUT_MS: Millis = 100;
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
        let error = match entrance.listener.accept() {
            Ok((stream, _)) => return self.admit(stream, door),
            Err(error) => error,
        };
        match AcceptFailure::of(&error) {
            AcceptFailure::Nobody => entrance.knocked = false,
            AcceptFailure::Newcomer => {}
            AcceptFailure::Exhausted => {
                self.counts.refuse(Cut::NoDescriptors.reason());
                // An unfinished handshake holds what the newcomer needs. Without one, whoever is connected is served
                // on, and newcomers wait in the backlog.
                if !self.drop_oldest_handshake() {
                    self.shut(door, &error);
                }
            }
            AcceptFailure::Other => self.shut(door, &error),
        }
    }

    /// Takes nobody in for a while.
    fn shut(&mut self, door: Door, error: &io::Error) {
        if self.may_warn() {
            tracing::warn!(%error, "cannot accept connections for now");
        }
        let until = self.now() + SHUT_MS;
        self.entrances[door.0].shut_until = Some(until);
        self.due(until);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::transport::hub::tests::hub;

    #[test]
    fn a_listening_socket_that_fails_shuts_its_door_for_a_while_instead_of_being_tried_without_end() {
        let real = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        // accept(2) answers EINVAL for a socket that does not listen.
        let connected = TcpStream::connect(real.local_addr().unwrap()).unwrap();
        let mut hub = hub(OwnedFd::from(connected).into());
        hub.accept();
        assert!(!hub.entrances[0].is_waited_at());
        assert!(hub.due <= hub.now() + SHUT_MS, "the timer opens it again");
        let reopened = hub.now() + SHUT_MS;
        assert_eq!(hub.entrances[0].reopen(reopened - 1), Some(reopened));
        assert_eq!(hub.entrances[0].reopen(reopened), None);
        assert!(hub.entrances[0].is_waited_at());
    }
}
