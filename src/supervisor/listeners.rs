//! The bus's listening sockets: bound before anything starts, open as long as the supervisor lives.
//!
//! A client that connects while a worker is being restarted waits in the socket's backlog instead of being refused.
//!
//! Another configuration's doors are bound while these are open, so that nothing has changed if that fails. A socket that
//! no configuration names any more is kept as long as a worker listens on it, in case its door comes back.
//!
//! The service manager may hold sockets for us and pass them (sd_listen_fds(3)). It goes on listening there whatever we do,
//! so a door whose socket was passed stays where it is: a configuration that wants it elsewhere is refused.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::config::Bus;
use crate::control::Endpoints;
use crate::sys::inherit::Passed;
use crate::sys::listen;

/// A bound socket.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: OwnedFd,
    pub(super) address: SocketAddr,
    /// The door for which the service manager passed it.
    pub(super) passed: Option<Door>,
}

/// What peers connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Door {
    /// Where clients send requests.
    RequestsFront,
    /// Where back-ends wait for them.
    RequestsBack,
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

/// The bus cannot listen where it is to.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// A port cannot be bound.
    #[error("cannot listen on {address} for {whom}: {cause}\nhint: {}", hint(*address, key, cause.kind()))]
    Bind {
        /// The address and port.
        address: SocketAddr,
        /// Who was to connect there.
        whom: &'static str,
        /// The configuration's key of that port.
        key: &'static str,
        /// The system's answer.
        cause: io::Error,
    },
    /// A door's socket was passed, and is not where the configuration has the door.
    #[error(
        "cannot listen on {wanted} for {whom}: systemd holds the socket \"{name}\" and passed it at {passed}\n\
         hint: set bus.bind and {key} to {passed}, or ListenStream= of that socket's unit to {wanted} (systemctl edit, \
         then restart the socket)"
    )]
    Passed {
        /// The name by which it was passed.
        name: &'static str,
        /// Where it listens.
        passed: SocketAddr,
        /// Where it is to.
        wanted: SocketAddr,
        /// Who was to connect there.
        whom: &'static str,
        /// The configuration's key of that port.
        key: &'static str,
    },
}

fn hint(address: SocketAddr, key: &str, cause: ErrorKind) -> String {
    let port = address.port();
    match cause {
        ErrorKind::AddrInUse => format!(
            "another program holds port {port} (`ss -ltnp 'sport = :{port}'` tells which); stop it, or set {key} to \
             another port (0 takes any free one)"
        ),
        ErrorKind::AddrNotAvailable => format!("this machine has no address {}: see bus.bind", address.ip()),
        ErrorKind::PermissionDenied => format!("ports below 1024 are for root: set {key} to a higher port"),
        _ => format!("see bus.bind and {key}"),
    }
}

impl Door {
    const ALL: [Self; 2] = [Self::RequestsFront, Self::RequestsBack];

    /// The name by which its socket is passed (systemd.socket(5), FileDescriptorName=).
    fn name(self) -> &'static str {
        match self {
            Self::RequestsFront => "requests-front",
            Self::RequestsBack => "requests-back",
        }
    }

    /// Who connects there.
    fn whom(self) -> &'static str {
        match self {
            Self::RequestsFront => "clients",
            Self::RequestsBack => "back-ends",
        }
    }

    /// The configuration's key of its port.
    fn key(self) -> &'static str {
        match self {
            Self::RequestsFront => "bus.requests.front",
            Self::RequestsBack => "bus.requests.back",
        }
    }
}

/// Opens everything that the configuration's bus listens on: with the sockets that were passed, the others bound. A passed
/// one that nothing wants is closed.
pub(super) fn open(bus: Option<&Bus>, passed: Vec<Passed>) -> Result<Listeners, ListenError> {
    let held = Listeners { requests: None, retired: adopted(passed) };
    let listeners = bind_beside(bus, &held)?;
    for unwanted in held.retired.iter().filter(|one| listeners.all().all(|other| other.address != one.address)) {
        let name = unwanted.passed.map_or("", Door::name);
        tracing::warn!(
            "systemd passed the socket \"{name}\" at {}, and the bus does not listen there: closed",
            unwanted.address
        );
    }
    Ok(listeners)
}

/// The passed sockets that doors may have: those by their names, the first of each.
fn adopted(passed: Vec<Passed>) -> Vec<Listener> {
    let mut adopted: Vec<Listener> = Vec::new();
    for Passed { name, socket } in passed {
        let door = Door::ALL.into_iter().find(|door| door.name() == name);
        let door = door.filter(|door| adopted.iter().all(|other| other.passed != Some(*door)));
        match (door, listen::address_of(&socket)) {
            (Some(door), Ok(address)) => adopted.push(Listener { socket, address, passed: Some(door) }),
            (Some(_), Err(cause)) => {
                tracing::warn!("systemd passed \"{name}\", which is no socket for the bus ({cause}): closed")
            }
            (None, _) => {
                let [front, back] = Door::ALL.map(Door::name);
                tracing::warn!(
                    "systemd passed a socket \"{name}\" that nothing wants: closed (the bus takes one {front} and one {back})"
                );
            }
        }
    }
    adopted
}

/// Binds another configuration's doors while these are open. What listens there already, whoever it was for, stays open.
pub(super) fn bind_beside(bus: Option<&Bus>, held: &Listeners) -> Result<Listeners, ListenError> {
    let Some((bus, requests)) = bus.and_then(|bus| Some((bus, bus.requests.as_ref()?))) else {
        return Ok(Listeners::default());
    };
    let one = |port, door: Door| {
        let wanted = SocketAddr::new(bus.bind, port);
        let passed = held.all().find(|held| held.passed == Some(door));
        if let Some(held) = passed
            && !(held.address == wanted || (port == 0 && held.address.ip() == bus.bind))
        {
            let (name, passed, whom, key) = (door.name(), held.address, door.whom(), door.key());
            return Err(ListenError::Passed { name, passed, wanted, whom, key });
        }
        let listener = match passed.or_else(|| held.all().find(|held| held.address == wanted)) {
            Some(held) => held.again(),
            None => {
                let ours: Vec<&OwnedFd> =
                    held.all().filter(|held| held.address.port() == port).map(|held| &held.socket).collect();
                let bound = if ours.is_empty() { listen::tcp(wanted) } else { listen::tcp_beside(wanted, &ours) };
                bound.map(|(socket, address)| Listener { socket, address, passed: None })
            }
        };
        listener.map_err(|cause| ListenError::Bind { address: wanted, whom: door.whom(), key: door.key(), cause })
    };
    let front = one(requests.front, Door::RequestsFront)?;
    let back = one(requests.back, Door::RequestsBack)?;
    Ok(Listeners { requests: Some(RequestsListeners { front, back }), retired: Vec::new() })
}

impl Listener {
    /// The same socket once more.
    fn again(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, address: self.address, passed: self.passed })
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
        for held in gone.iter().filter(|one| one.passed.is_some()) {
            tracing::warn!("the bus does not listen at {}, where systemd does: who connects there waits", held.address);
        }
        self.retired.extend(gone);
        self
    }

    /// Closes what is no longer listened on; `doors` are those of the living workers. What was passed stays, as it does at
    /// who passed it: in case its door comes back, which could not be bound then.
    pub(super) fn close_retired<'a>(&mut self, doors: impl Iterator<Item = &'a SocketAddr> + Clone) {
        self.retired.retain(|retired| retired.passed.is_some() || doors.clone().any(|door| *door == retired.address));
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
        let held = open(Some(&bus(0)), Vec::new()).unwrap().requests.unwrap();
        let port = held.front.address.port();
        let message = open(Some(&bus(port)), Vec::new()).unwrap_err().to_string();
        assert!(message.contains(&format!("cannot listen on 127.0.0.1:{port} for clients")), "{message}");
        assert!(message.contains("bus.requests.front"), "{message}");
    }

    #[test]
    fn children_reach_a_bus_on_every_address_by_loopback() {
        let mut listener = open(Some(&bus(0)), Vec::new()).unwrap().requests.unwrap().front;
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
        let held = open(Some(&at("127.0.0.1", [0, 0])), Vec::new()).unwrap();
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
        let held = open(Some(&at("127.0.0.1", [0, 0])), Vec::new()).unwrap();
        let [front, back] = held.doors().unwrap();
        let client = std::net::TcpStream::connect(back).unwrap();
        let swapped = bind_beside(Some(&at("127.0.0.1", [back.port(), front.port()])), &held).unwrap().succeed(held);
        assert_eq!((swapped.doors(), swapped.retired.len()), (Some([back, front]), 0));
        assert_eq!(accept_one(&swapped.requests.unwrap().front), client.local_addr().unwrap());
    }

    #[test]
    fn a_door_that_cannot_be_bound_leaves_all_as_they_were() {
        let held = open(Some(&at("127.0.0.1", [0, 0])), Vec::new()).unwrap();
        let doors = held.doors().unwrap();
        let _taken = std::net::TcpListener::bind(("127.0.0.2", doors[1].port())).unwrap();
        let error = bind_beside(Some(&at("0.0.0.0", doors.map(|door| door.port()))), &held).unwrap_err();
        let ListenError::Bind { key, cause, .. } = error else { panic!("{error}") };
        assert_eq!((key, cause.kind()), ("bus.requests.back", ErrorKind::AddrInUse));
        let client = std::net::TcpStream::connect(doors[0]).unwrap();
        assert_eq!(accept_one(&held.requests.as_ref().unwrap().front), client.local_addr().unwrap());
        assert!(doors.into_iter().all(|door| listen::tcp(door).is_err()), "a port is anybody's");
    }

    fn passed(name: &str, address: &str) -> (Passed, SocketAddr) {
        let (socket, address) = listen::tcp(address.parse().unwrap()).unwrap();
        (Passed { name: name.to_owned(), socket }, address)
    }

    #[test]
    fn a_passed_socket_is_the_door_of_its_name_and_the_other_is_bound() {
        let (back, address) = passed("requests-back", "127.0.0.1:0");
        let (other, _) = passed("torus.socket", "127.0.0.1:0");
        let listeners = open(Some(&at("127.0.0.1", [0, address.port()])), vec![other, back]).unwrap();
        let doors = listeners.doors().unwrap();
        assert_eq!(doors[1], address);
        let client = std::net::TcpStream::connect(address).unwrap();
        assert_eq!(accept_one(&listeners.requests.as_ref().unwrap().back), client.local_addr().unwrap());

        // It is not left for another address, the other door is.
        let error = bind_beside(Some(&at("127.0.0.1", [0, 1])), &listeners).unwrap_err().to_string();
        assert!(error.contains(&address.to_string()) && error.contains("127.0.0.1:1 for back-ends"), "{error}");
        let moved = bind_beside(Some(&at("127.0.0.1", [0, address.port()])), &listeners).unwrap().succeed(listeners);
        assert_eq!(moved.doors().unwrap()[1], address);
    }

    #[test]
    fn a_passed_socket_elsewhere_is_an_error_that_names_both() {
        let (front, address) = passed("requests-front", "127.0.0.2:0");
        let error = open(Some(&at("127.0.0.1", [0, 0])), vec![front]).unwrap_err().to_string();
        let words = format!(
            "cannot listen on 127.0.0.1:0 for clients: systemd holds the socket \"requests-front\" and passed it at {address}"
        );
        assert!(error.starts_with(&words), "{error}");
    }

    #[test]
    fn a_passed_socket_is_kept_for_a_bus_that_comes_back() {
        let (front, address) = passed("requests-front", "127.0.0.1:0");
        let listeners = open(Some(&at("127.0.0.1", [0, 0])), vec![front]).unwrap();
        let mut without = bind_beside(None, &listeners).unwrap().succeed(listeners);
        without.close_retired([].iter());
        assert_eq!(without.retired.len(), 1, "only what was passed stays");
        let again = bind_beside(Some(&at("127.0.0.1", [address.port(), 0])), &without).unwrap();
        assert_eq!(again.doors().unwrap()[0], address);
    }
}
