//! Readiness, in both directions: from a worker over its command socket, and to the service manager that started us.
//!
//! Both speak sd_notify(3): assignments like `READY=1`, one to a line.

use std::env;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, bind, getsockname, setsockopt, socket, socketpair, sockopt,
};
use nix::unistd::{Pid, pipe2};

use super::pass;

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

/// A new socket for a child's sd_notify(3), non-blocking, and its address as NOTIFY_SOCKET has it. The kernel chooses an
/// abstract one, which needs no file system and no permission; that of the sender's user comes with each datagram.
pub fn inbox() -> io::Result<(UnixDatagram, String)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
    setsockopt(&socket, sockopt::PassCred, &true)?;
    bind(socket.as_raw_fd(), &UnixAddr::new_unnamed())?;
    let bound: UnixAddr = getsockname(socket.as_raw_fd())?;
    let name = bound.as_abstract().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let address = format!("@{}", String::from_utf8_lossy(name));
    Ok((socket.into(), address))
}

/// A datagram that was received, and who sent it, by the kernel's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes in the buffer.
    pub length: usize,
    /// The sending process; 0 if it is not of our process namespace.
    pub pid: Pid,
    /// The user as whom it acts.
    pub uid: u32,
}

/// The next datagram of an [`inbox`]; `WouldBlock` when there is none. What is longer than the buffer is cut.
pub fn receive(inbox: &impl AsFd, buffer: &mut [u8]) -> io::Result<Received> {
    // What may come along (FDSTORE=1, BARRIER=1) is closed, which is what a barrier waits for.
    let (length, sender) = pass::receive_words(inbox, buffer)?;
    let sender = sender.ok_or(io::ErrorKind::InvalidData)?;
    Ok(Received { length, pid: Pid::from_raw(sender.pid), uid: sender.uid })
}

/// A pipe for a child's word of readiness, as s6 has it: our end, non-blocking, and the child's.
pub fn line_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((ours, theirs))
}

/// Tells the service manager (NOTIFY_SOCKET) that we are ready. Without one, nothing happens.
pub fn manager_ready() -> io::Result<()> {
    tell_manager("READY=1")
}

/// Tells the service manager that we have begun to stop. Without one, nothing happens.
pub fn manager_stopping() -> io::Result<()> {
    tell_manager("STOPPING=1")
}

/// Tells the service manager that we live.
pub fn manager_alive() -> io::Result<()> {
    tell_manager("WATCHDOG=1")
}

/// After how long without a sign of life the service manager takes us for dead (`WATCHDOG_USEC`, if `WATCHDOG_PID` is us);
/// `None` if it does not.
pub fn watchdog() -> Option<Duration> {
    match systemd::daemon::watchdog_enabled() {
        Ok(us) if us > 0 => Some(Duration::from_micros(us)),
        _ => None,
    }
}

/// libsystemd would wait where the service manager does not read. We do not: what it has no room for is an error.
fn tell_manager(word: &str) -> io::Result<()> {
    let Some(address) = env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(&address)?,
        _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "NOTIFY_SOCKET names no socket of this machine")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(word.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use nix::unistd::{getpid, getuid};

    use super::*;

    #[test]
    fn who_speaks_is_known_and_descriptors_that_come_along_are_closed() {
        let (inbox, address) = inbox().unwrap();
        let speaker = UnixDatagram::unbound().unwrap();
        speaker.connect_addr(&SocketAddr::from_abstract_name(&address[1..]).unwrap()).unwrap();
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
        pass::send(&speaker, b"BARRIER=1", &[writer.as_fd(); pass::DESCRIPTORS_MAX]).unwrap();
        drop(writer);
        let mut buffer = [0; 64];
        let received = receive(&inbox, &mut buffer).unwrap();
        assert_eq!((received.pid, received.uid), (getpid(), getuid().as_raw()));
        assert_eq!(&buffer[..received.length], b"BARRIER=1");
        assert_eq!(std::fs::File::from(reader).read(&mut buffer).unwrap(), 0, "somebody has its other end");
        assert_eq!(receive(&inbox, &mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
