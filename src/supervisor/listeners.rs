//! The bus's listening sockets: bound before anything starts, open as long as the supervisor lives.
//!
//! A client that connects while a worker is being restarted waits in the socket's backlog instead of being refused.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use crate::config::Bus;
use crate::control::Endpoints;
use crate::sys::listen;

/// A bound socket.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: OwnedFd,
    pub(super) address: SocketAddr,
}

/// The sockets of the requests worker.
#[derive(Debug)]
pub(super) struct RequestsListeners {
    pub(super) front: Listener,
    pub(super) back: Listener,
}

/// All sockets of the bus.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    pub(super) requests: Option<RequestsListeners>,
}

/// Where the bus really listens, for clients and for back-ends; `None` without a bus.
pub(super) type Doors = Option<[SocketAddr; 2]>;

/// A port cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {whom}: {cause}\nhint: {}", self.hint())]
pub struct ListenError {
    /// The address and port.
    pub address: SocketAddr,
    /// Who was to connect there.
    pub whom: &'static str,
    /// The configuration's key of that port.
    pub key: &'static str,
    /// The system's answer.
    pub cause: io::Error,
}

impl ListenError {
    fn hint(&self) -> String {
        let port = self.address.port();
        match self.cause.kind() {
            ErrorKind::AddrInUse => format!(
                "another program holds port {port} (`ss -ltnp 'sport = :{port}'` tells which); stop it, or set \
                 {} to another port (0 takes any free one)",
                self.key
            ),
            ErrorKind::AddrNotAvailable => format!("this machine has no address {}: see bus.bind", self.address.ip()),
            ErrorKind::PermissionDenied => {
                format!("ports below 1024 are for root: set {} to a higher port", self.key)
            }
            _ => format!("see bus.bind and {}", self.key),
        }
    }
}

/// Binds everything that the configuration's bus listens on.
pub(super) fn bind(bus: Option<&Bus>) -> Result<Listeners, ListenError> {
    bind_beside(bus, &Listeners::default())
}

/// Binds another configuration's doors while these are open: one that stays where it is stays open.
pub(super) fn bind_beside(bus: Option<&Bus>, held: &Listeners) -> Result<Listeners, ListenError> {
    let Some((bus, requests)) = bus.and_then(|bus| Some((bus, bus.requests.as_ref()?))) else {
        return Ok(Listeners::default());
    };
    let one = |port, held: Option<&Listener>, whom, key| {
        let address = SocketAddr::new(bus.bind, port);
        let failed = |cause| ListenError { address, whom, key, cause };
        match held.filter(|held| held.address == address) {
            Some(held) => Ok(Listener { socket: held.socket.try_clone().map_err(failed)?, address: held.address }),
            None => listen::tcp(address).map(|(socket, address)| Listener { socket, address }).map_err(failed),
        }
    };
    let held = held.requests.as_ref();
    let front = one(requests.front, held.map(|held| &held.front), "clients", "bus.requests.front")?;
    let back = one(requests.back, held.map(|held| &held.back), "back-ends", "bus.requests.back")?;
    Ok(Listeners { requests: Some(RequestsListeners { front, back }) })
}

impl Listener {
    /// Where it listens.
    fn bound(&self) -> String {
        format!("tcp://{}", self.address)
    }

    /// Where our own children connect: an unspecified address is no place to go to, loopback is.
    pub(super) fn reachable(&self) -> String {
        let ip = match self.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        format!("tcp://{}", SocketAddr::new(ip, self.address.port()))
    }
}

impl Listeners {
    /// Where the bus really listens.
    pub(super) fn doors(&self) -> Doors {
        self.requests.as_ref().map(|requests| [requests.front.address, requests.back.address])
    }

    /// Where the bus listens, as users read it.
    pub(super) fn endpoints(&self) -> Endpoints {
        let requests = self.requests.as_ref();
        Endpoints {
            requests_front: requests.map(|requests| requests.front.bound()),
            requests_back: requests.map(|requests| requests.back.bound()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Requests;

    fn bus(front: u16) -> Bus {
        Bus { requests: Some(Requests { front, back: 0, ..Requests::default() }), ..Bus::default() }
    }

    #[test]
    fn a_taken_port_is_named_with_its_key_and_what_to_do() {
        let held = bind(Some(&bus(0))).unwrap().requests.unwrap();
        let port = held.front.address.port();
        let message = bind(Some(&bus(port))).unwrap_err().to_string();
        assert!(message.contains(&format!("cannot listen on 127.0.0.1:{port} for clients")), "{message}");
        assert!(message.contains("bus.requests.front"), "{message}");
    }

    #[test]
    fn children_reach_a_bus_on_every_address_by_loopback() {
        let mut listener = bind(Some(&bus(0))).unwrap().requests.unwrap().front;
        listener.address = "0.0.0.0:5555".parse().unwrap();
        assert_eq!(
            (listener.bound(), listener.reachable()),
            ("tcp://0.0.0.0:5555".into(), "tcp://127.0.0.1:5555".into())
        );
    }
}
