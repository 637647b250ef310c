//! The bus's listening sockets: bound before anything starts, open as long as the supervisor lives.
//!
//! A client that connects while a worker is being restarted waits in the socket's backlog instead of being refused.
//!
//! Another configuration's doors are bound while these are open, so that nothing has changed if that fails. A socket that
//! no configuration names any more is kept as long as a worker listens on it, in case its door comes back.

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
    /// Sockets that workers still listen on, though none is to any more.
    pub(super) retired: Vec<Listener>,
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

/// Binds another configuration's doors while these are open. What listens there already, whoever it was for, stays open.
pub(super) fn bind_beside(bus: Option<&Bus>, held: &Listeners) -> Result<Listeners, ListenError> {
    let Some((bus, requests)) = bus.and_then(|bus| Some((bus, bus.requests.as_ref()?))) else {
        return Ok(Listeners::default());
    };
    let one = |port, whom, key| {
        let address = SocketAddr::new(bus.bind, port);
        let listener = match held.all().find(|held| held.address == address) {
            Some(held) => held.again(),
            None => {
                let ours: Vec<&OwnedFd> =
                    held.all().filter(|held| held.address.port() == port).map(|held| &held.socket).collect();
                let bound = if ours.is_empty() { listen::tcp(address) } else { listen::tcp_beside(address, &ours) };
                bound.map(|(socket, address)| Listener { socket, address })
            }
        };
        listener.map_err(|cause| ListenError { address, whom, key, cause })
    };
    let front = one(requests.front, "clients", "bus.requests.front")?;
    let back = one(requests.back, "back-ends", "bus.requests.back")?;
    Ok(Listeners { requests: Some(RequestsListeners { front, back }), retired: Vec::new() })
}

impl Listener {
    /// The same socket once more.
    fn again(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, address: self.address })
    }

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

    fn all(&self) -> impl Iterator<Item = &Listener> {
        self.requests.iter().flat_map(|requests| [&requests.front, &requests.back]).chain(&self.retired)
    }

    /// Takes others' place.
    pub(super) fn succeed(mut self, before: Self) -> Self {
        let Self { requests, retired } = before;
        let open = requests.into_iter().flat_map(|requests| [requests.front, requests.back]).chain(retired);
        let gone: Vec<Listener> = open.filter(|one| self.all().all(|other| other.address != one.address)).collect();
        self.retired.extend(gone);
        self
    }

    /// Closes what is no longer listened on; `doors` are those of the living workers.
    pub(super) fn close_retired<'a>(&mut self, doors: impl Iterator<Item = &'a SocketAddr> + Clone) {
        self.retired.retain(|retired| doors.clone().any(|door| *door == retired.address));
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

    fn at(bind: &str, [front, back]: [u16; 2]) -> Bus {
        let requests = Some(Requests { front, back, ..Requests::default() });
        Bus { bind: bind.parse().unwrap(), requests, ..Bus::default() }
    }

    fn accept_one(listener: &Listener) -> SocketAddr {
        let listener = std::net::TcpListener::from(listener.socket.try_clone().unwrap());
        listener.set_nonblocking(false).unwrap();
        listener.accept().unwrap().1
    }

    #[test]
    fn the_same_ports_at_a_wider_address_and_back() {
        let held = bind(Some(&at("127.0.0.1", [0, 0]))).unwrap();
        let doors = held.doors().unwrap();
        let wide = bind_beside(Some(&at("0.0.0.0", doors.map(|door| door.port()))), &held).unwrap().succeed(held);
        assert_eq!(wide.doors().unwrap(), doors.map(|door| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), door.port())));
        assert_eq!(wide.retired.len(), 2, "a worker still listens there");
        let in_use = |address| listen::tcp(address).is_err_and(|cause| cause.kind() == ErrorKind::AddrInUse);
        assert!(wide.doors().unwrap().into_iter().chain(doors).all(in_use), "the ports are anybody's");

        let narrow = bind_beside(Some(&at("127.0.0.1", doors.map(|door| door.port()))), &wide).unwrap().succeed(wide);
        let client = std::net::TcpStream::connect(doors[0]).unwrap();
        assert_eq!(accept_one(&narrow.requests.as_ref().unwrap().front), client.local_addr().unwrap());
        let mut narrow = narrow;
        narrow.close_retired([].iter());
        assert!(narrow.retired.is_empty() && std::net::TcpListener::bind(("127.0.0.2", doors[0].port())).is_ok());
    }

    #[test]
    fn ports_that_change_places_stay_open() {
        let held = bind(Some(&at("127.0.0.1", [0, 0]))).unwrap();
        let [front, back] = held.doors().unwrap();
        let client = std::net::TcpStream::connect(back).unwrap();
        let swapped = bind_beside(Some(&at("127.0.0.1", [back.port(), front.port()])), &held).unwrap().succeed(held);
        assert_eq!((swapped.doors(), swapped.retired.len()), (Some([back, front]), 0));
        assert_eq!(accept_one(&swapped.requests.unwrap().front), client.local_addr().unwrap());
    }

    #[test]
    fn a_door_that_cannot_be_bound_leaves_all_as_they_were() {
        let held = bind(Some(&at("127.0.0.1", [0, 0]))).unwrap();
        let doors = held.doors().unwrap();
        let _taken = std::net::TcpListener::bind(("127.0.0.2", doors[1].port())).unwrap();
        let error = bind_beside(Some(&at("0.0.0.0", doors.map(|door| door.port()))), &held).unwrap_err();
        assert_eq!((error.key, error.cause.kind()), ("bus.requests.back", ErrorKind::AddrInUse));
        let client = std::net::TcpStream::connect(doors[0]).unwrap();
        assert_eq!(accept_one(&held.requests.as_ref().unwrap().front), client.local_addr().unwrap());
        assert!(doors.into_iter().all(|door| listen::tcp(door).is_err()), "a port is anybody's");
    }
}
