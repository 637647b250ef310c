//! What std does not offer of sockets.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use bytes::BytesMut;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt};

/// Has the kernel find out by itself that the other side is gone: it probes after `idle_ms` of silence and gives the
/// connection up when probes or written bytes stay unanswered for `timeout_ms`.
pub fn probe_half_open(socket: &impl AsFd, idle_ms: u64, timeout_ms: u64) -> nix::Result<()> {
    const PROBES: u32 = 3;
    let seconds = |ms: u64| u32::try_from(ms.div_ceil(1000)).unwrap_or(u32::MAX).clamp(1, 32_767);
    setsockopt(socket, sockopt::KeepAlive, &true)?;
    setsockopt(socket, sockopt::TcpKeepIdle, &seconds(idle_ms))?;
    setsockopt(socket, sockopt::TcpKeepInterval, &seconds(timeout_ms / u64::from(PROBES)))?;
    setsockopt(socket, sockopt::TcpKeepCount, &PROBES)?;
    setsockopt(socket, sockopt::TcpUserTimeout, &u32::try_from(timeout_ms).unwrap_or(u32::MAX))
}

/// Leaves urgent bytes where they stand in the stream; else the kernel takes them out of it. A read still stops before
/// one: see [`Event::drain`](super::poller::Event::drain).
pub fn keep_urgent_in_line(socket: &impl AsFd) -> nix::Result<()> {
    setsockopt(socket, sockopt::OobInline, &true)
}

/// Reads from the socket to the end of `bytes`, at most as much as there is room for; tells how many came.
pub fn read_more(socket: &impl AsFd, bytes: &mut BytesMut) -> io::Result<usize> {
    let room = bytes.spare_capacity_mut();
    // SAFETY: the room is memory of ours, and the kernel writes within it.
    let read = unsafe { libc::recv(socket.as_fd().as_raw_fd(), room.as_mut_ptr().cast(), room.len(), 0) };
    let read = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: that many bytes behind the present end have just been written.
    unsafe { bytes.set_len(bytes.len() + read) };
    Ok(read)
}

/// Connects to a Unix socket now or not at all: who does not accept, and whose queue is full, is not waited for.
pub fn connect_unix_now(path: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    let stream = UnixStream::from(fd);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Why nobody was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptFailure {
    /// Nobody waits.
    Nobody,
    /// Of the one who waited first: it has left, or its network has. The next can be accepted.
    Newcomer,
    /// Descriptors or memory have run out, of the process or of the machine.
    Exhausted,
    /// Anything else. It may be of the listening socket, and last.
    Other,
}

impl AcceptFailure {
    /// What an error of accept(2) means.
    pub fn of(error: &io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EAGAIN) => Self::Nobody,
            Some(
                Errno::ECONNABORTED
                | Errno::EPROTO
                | Errno::ENOPROTOOPT
                | Errno::ENETDOWN
                | Errno::ENETUNREACH
                | Errno::EHOSTDOWN
                | Errno::EHOSTUNREACH
                | Errno::ENONET,
            ) => Self::Newcomer,
            Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => Self::Exhausted,
            _ => Self::Other,
        }
    }
}
