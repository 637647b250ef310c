//! Readiness, in both directions: from a worker over its command socket, and to the service manager that started us.
//!
//! Both speak sd_notify(3): assignments like `READY=1`, one to a line.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, socketpair};

/// Bytes of one packet on a command socket; what is longer is cut.
pub const PACKET_BYTES_MAX: usize = 4096;

/// A new pair of command sockets: ours, non-blocking, and the worker's.
pub fn command_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    nix::fcntl::fcntl(&ours, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
    Ok((ours, theirs))
}

/// Receives one packet; an empty one is the end.
pub fn receive(socket: impl AsFd, buffer: &mut [u8; PACKET_BYTES_MAX]) -> io::Result<&[u8]> {
    let length = recv(socket.as_fd().as_raw_fd(), buffer, MsgFlags::empty())?;
    Ok(&buffer[..length])
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
