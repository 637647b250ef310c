//! Readiness, in both directions: from a worker over its command socket, and to the service manager that started us.
//!
//! Both speak sd_notify(3): assignments like `READY=1`, one to a line.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

/// A new pair of command sockets: ours, non-blocking, and the worker's.
///
/// They are of type SOCK_SEQPACKET: packets keep their bounds as datagrams do, and the end of one side is noticed by
/// the other, which a datagram socket does not promise. The standard library's datagram socket reads and writes both.
pub fn command_pair() -> io::Result<(UnixDatagram, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    let ours = UnixDatagram::from(ours);
    ours.set_nonblocking(true)?;
    Ok((ours, theirs))
}

/// Tells the service manager (NOTIFY_SOCKET) that we are ready. Without one, nothing happens.
pub fn manager_ready() -> io::Result<()> {
    tell_manager(("READY", "1"))
}

/// Tells the service manager that we have begun to stop. Without one, nothing happens.
pub fn manager_stopping() -> io::Result<()> {
    tell_manager(("STOPPING", "1"))
}

fn tell_manager(assignment: (&str, &str)) -> io::Result<()> {
    systemd::daemon::notify([assignment].iter())?;
    Ok(())
}
