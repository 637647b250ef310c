//! Listening TCP sockets, bound once by the supervisor and handed to workers.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::sockopt::ReuseAddr;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket};

/// Connections that the kernel holds until a worker accepts them; beyond it their SYN is dropped and tried again by
/// the client. The system's `net.core.somaxconn` may lower it.
pub const BACKLOG: i32 = 4096;

/// Binds and listens on `address` (port 0: any free one); answers the socket and where it really listens.
///
/// The socket is non-blocking and closed on exec. The standard library's listener would have a backlog of 128.
pub fn tcp(address: SocketAddr) -> io::Result<(OwnedFd, SocketAddr)> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Stream, flags, None)?;
    setsockopt(&fd, ReuseAddr, &true)?;
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
    }
}
