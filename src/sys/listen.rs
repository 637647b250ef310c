//! Listening TCP sockets, bound once by the supervisor and handed to workers.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::sockopt::{AcceptConn, ReuseAddr, ReusePort};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, getsockopt, listen, setsockopt, socket,
};

/// Connections that the kernel holds until a worker accepts them; beyond it their SYN is dropped and tried again by
/// the client. The system's `net.core.somaxconn` may lower it.
pub const BACKLOG: i32 = 4096;

/// Binds and listens on `address` (port 0: any free one); answers the socket and where it really listens.
///
/// The socket is non-blocking and closed on exec. The standard library's listener would have a backlog of 128.
pub fn tcp(address: SocketAddr) -> io::Result<(OwnedFd, SocketAddr)> {
    bound(address, false)
}

/// As [`tcp`], though sockets of ours hold the same port at addresses that overlap this one, as 127.0.0.1 and 0.0.0.0 do.
///
/// They share the port (socket(7), SO_REUSEPORT) for this moment alone; whoever else has it stands in the way as ever.
/// (The kernel remembers that the port was shared, so that a program of our own user which asks for the same may share
/// it later; one of another user may not.) A connection goes to the socket with the more exact address.
pub fn tcp_beside(address: SocketAddr, ours: &[&OwnedFd]) -> io::Result<(OwnedFd, SocketAddr)> {
    let share = |socket: &OwnedFd, shared| {
        // Where it cannot be shared, the port counts as taken.
        let _ = setsockopt(socket, ReusePort, &shared);
    };
    ours.iter().for_each(|socket| share(socket, true));
    let bound = bound(address, true);
    ours.iter().copied().chain(bound.iter().map(|(socket, _)| socket)).for_each(|socket| share(socket, false));
    bound
}

/// Asks whether [`tcp`] could have that address. Nobody can connect meanwhile: it is bound, and not listened on.
pub fn is_free(address: SocketAddr) -> io::Result<()> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, ReuseAddr, &true)?;
    Ok(bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?)
}

/// Where a socket listens that somebody else has bound, as a TCP socket.
pub fn address_of(socket: &OwnedFd) -> io::Result<SocketAddr> {
    if !getsockopt(socket, AcceptConn)? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it does not listen"));
    }
    TcpListener::from(socket.try_clone()?).local_addr()
}

fn bound(address: SocketAddr, shared: bool) -> io::Result<(OwnedFd, SocketAddr)> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Stream, flags, None)?;
    setsockopt(&fd, ReuseAddr, &true)?;
    if shared {
        setsockopt(&fd, ReusePort, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&fd, Backlog::new(BACKLOG)?)?;
    let listener = TcpListener::from(fd);
    let bound = listener.local_addr()?;
    Ok((listener.into(), bound))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn any_free_port_is_told_and_cannot_be_taken_twice() {
        let (_held, bound) = tcp((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        assert_ne!(bound.port(), 0);
        assert_eq!(tcp(bound).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(is_free(bound).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(_held);
        is_free(bound).unwrap();
    }
}
