//! Who this process is, and what falls to it.

use std::ffi::CStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl;
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{Pid, geteuid, getpid};

/// The user that this process acts as.
pub fn effective_uid() -> u32 {
    geteuid().as_raw()
}

/// Names this process as ps(1) and pgrep(1) show it: by the descriptor that its program was executed from it would be
/// called a number (prctl(2), PR_SET_NAME).
pub fn be_called(name: &CStr) -> io::Result<()> {
    Ok(prctl::set_name(name)?)
}

/// The user who made the other end of a Unix socket (unix(7), SO_PEERCRED).
pub fn peer_uid(socket: &impl AsFd) -> io::Result<u32> {
    Ok(getsockopt(socket, sockopt::PeerCredentials)?.uid())
}

/// This process.
pub fn pid() -> Pid {
    getpid()
}

/// The user that a process acts as, while it lives.
pub fn user_of(pid: Pid) -> Option<u32> {
    Some(std::fs::metadata(format!("/proc/{pid}")).ok()?.uid())
}

/// Makes orphans among our descendants our children, as they are PID 1's without asking (prctl(2),
/// PR_SET_CHILD_SUBREAPER).
pub fn adopt_orphans() -> io::Result<()> {
    Ok(prctl::set_child_subreaper(true)?)
}

/// Whether orphans among our descendants become our children.
pub fn adopts_orphans() -> bool {
    getpid().as_raw() == 1 || prctl::get_child_subreaper().unwrap_or(false)
}

/// Has the kernel send us a signal when our parent dies (prctl(2), PR_SET_PDEATHSIG).
pub fn signal_when_parent_dies(signal: i32) -> io::Result<()> {
    // SAFETY: this request takes a number.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) })?;
    Ok(())
}
