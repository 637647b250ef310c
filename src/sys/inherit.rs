//! What a worker inherits from its supervisor, and the supervisor from its service manager: listening sockets by systemd's
//! convention; a worker, other descriptors by name.
//!
//! Each is taken once, at the start of the process, before it has threads or descriptors of its own.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{MsgFlags, SockaddrStorage, getsockname, recv, send};

/// Bytes of a warning's line.
const WARNING_BYTES_MAX: usize = 1024;
/// The first descriptor that is passed by systemd's convention, and how many are looked at.
const FIRST_PASSED: RawFd = 3;
const PASSED_MAX: RawFd = 64;

/// A descriptor that was passed.
#[derive(Debug)]
pub struct Passed {
    /// Its name.
    pub name: String,
    /// The descriptor; whether it is a socket, nobody has looked.
    pub socket: OwnedFd,
}

/// What was passed to this process (`LISTEN_FDS`, if `LISTEN_PID` is us), with its names (`LISTEN_FDNAMES`), in order. What
/// was meant for another process is not taken.
pub fn passed() -> io::Result<Vec<Passed>> {
    let passed = systemd::daemon::listen_fds_with_names()?;
    let take = |(fd, name): (RawFd, &std::ffi::CStr)| {
        Ok(Passed { name: name.to_string_lossy().into_owned(), socket: take(fd)? })
    };
    passed.iter().map(take).collect()
}

/// The listening sockets that were passed.
pub fn listeners() -> io::Result<Vec<(String, TcpListener)>> {
    let listener = |Passed { name, socket }| {
        let listener = TcpListener::from(socket);
        listener.set_nonblocking(true)?;
        Ok((name, listener))
    };
    passed()?.into_iter().map(listener).collect()
}

/// The addresses of the listening sockets that were passed to this very process, with their names; they stay where they
/// are (sd_listen_fds(3)).
pub fn passed_addresses() -> Vec<(String, io::Result<SocketAddr>)> {
    let variable = |name| std::env::var(name).unwrap_or_default();
    if variable("LISTEN_PID") != std::process::id().to_string() {
        return Vec::new();
    }
    let count = variable("LISTEN_FDS").parse::<RawFd>().unwrap_or_default().clamp(0, PASSED_MAX);
    let names = variable("LISTEN_FDNAMES");
    let names = names.split(':').chain(std::iter::repeat("unknown"));
    (FIRST_PASSED..FIRST_PASSED + count).zip(names).map(|(fd, name)| (name.to_owned(), address_of(fd))).collect()
}

/// Where a socket is bound.
fn address_of(fd: RawFd) -> io::Result<SocketAddr> {
    let bound = getsockname::<SockaddrStorage>(fd)?;
    let v4 = bound.as_sockaddr_in().map(|v4| SocketAddr::from((v4.ip(), v4.port())));
    let v6 = || bound.as_sockaddr_in6().map(|v6| SocketAddr::from((v6.ip(), v6.port())));
    v4.or_else(v6).ok_or_else(|| io::Error::other("it is no TCP socket"))
}

/// The descriptor whose number the environment variable holds; `None` when there is no such variable.
pub fn named(variable: &str) -> io::Result<Option<OwnedFd>> {
    let Ok(number) = std::env::var(variable) else { return Ok(None) };
    let number: RawFd = number.parse().ok().filter(|&fd| fd > 2).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{variable}={number} names no descriptor"))
    })?;
    take(number).map(Some)
}

/// The worker's end of its command socket.
#[derive(Debug)]
pub struct CommandSocket(OwnedFd);

impl CommandSocket {
    /// Over a connected SOCK_SEQPACKET socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Tells the supervisor that the worker serves.
    pub fn ready(&self) -> io::Result<()> {
        send(self.0.as_raw_fd(), b"READY=1", MsgFlags::MSG_NOSIGNAL)?;
        Ok(())
    }

    /// Tells the supervisor what users should know, as a line of its own kind among those of sd_notify(3):
    /// `X_TORUS_WARNING=...`. Line ends become blanks; what is longer than a packet may be is cut.
    pub fn warn(&self, warning: &str) -> io::Result<()> {
        let mut line = format!("X_TORUS_WARNING={}", warning.replace(['\n', '\r'], " "));
        let mut length = line.len().min(WARNING_BYTES_MAX);
        while !line.is_char_boundary(length) {
            length -= 1;
        }
        line.truncate(length);
        send(self.0.as_raw_fd(), line.as_bytes(), MsgFlags::MSG_NOSIGNAL)?;
        Ok(())
    }

    /// Tells the supervisor that the worker lives.
    pub(super) fn alive(&self) -> io::Result<()> {
        send(self.0.as_raw_fd(), b"WATCHDOG=1", MsgFlags::MSG_NOSIGNAL)?;
        Ok(())
    }

    /// Has [`CommandSocket::is_ended`] return at once.
    pub(super) fn set_nonblocking(&self) -> io::Result<()> {
        fcntl(&self.0, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(())
    }

    /// Whether the supervisor is gone.
    pub(super) fn is_ended(&self) -> bool {
        let mut packet = [0; 64];
        loop {
            match recv(self.0.as_raw_fd(), &mut packet, MsgFlags::empty()) {
                Ok(0) => return true,
                // No command is defined yet; one from a later supervisor is not for us.
                Ok(_) | Err(Errno::EINTR) => {}
                Err(cause) => return cause != Errno::EAGAIN,
            }
        }
    }
}

impl AsFd for CommandSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Owns an inherited descriptor; children of ours do not get it.
fn take(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: only the number is used, to ask whether such a descriptor is open.
    let open = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl(open, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: it is open, it was passed for us to take, and each is taken once, as the module says.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;

    #[test]
    fn a_warning_is_one_line_of_bounded_length() {
        let (theirs, ours) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        let command = CommandSocket::new(ours);
        let mut packet = [0; 2 * WARNING_BYTES_MAX];
        let mut told = |warning: &str| {
            command.warn(warning).unwrap();
            let length = recv(theirs.as_raw_fd(), &mut packet, MsgFlags::empty()).unwrap();
            String::from_utf8(packet[..length].to_vec()).unwrap()
        };
        assert_eq!(told("no\nREADY=1"), "X_TORUS_WARNING=no READY=1");
        assert_eq!(told(&"ä".repeat(WARNING_BYTES_MAX)).len(), WARNING_BYTES_MAX);
    }
}
