//! What std does not offer of TCP sockets.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::sys::socket::{Shutdown, setsockopt, shutdown, sockopt};

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

/// Ends both directions of a connection; whoever waits on it wakes up. One that is at its end already stays so.
pub fn shut_down(socket: &impl AsFd) {
    let _ = shutdown(socket.as_fd().as_raw_fd(), Shutdown::Both);
}

/// Whether the error says that descriptors or memory have run out, of the process or of the machine.
pub fn is_exhausted(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM))
}
