//! Who this process is, and what falls to it.

use std::ffi::CStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl;
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{Gid, Pid, Uid, geteuid, getpid, setfsgid, setfsuid};

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

/// Looks at files as another user would, for as long as `look` takes (setfsuid(2)). Who may not, looks as before.
pub fn with_eyes_of<T>(uid: u32, gid: u32, look: impl FnOnce() -> T) -> T {
    // Each change has the kernel think of us as of a program that changed its user, and forget these.
    let (dumpable, parent_death) = (prctl::get_dumpable(), prctl::get_pdeathsig());
    let before = (setfsgid(Gid::from_raw(gid)), setfsuid(Uid::from_raw(uid)));
    let seen = look();
    setfsuid(before.1);
    setfsgid(before.0);
    if let Ok(true) = dumpable {
        let _ = prctl::set_dumpable(true);
    }
    if let Ok(Some(signal)) = parent_death {
        let _ = prctl::set_pdeathsig(signal);
    }
    seen
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

#[cfg(test)]
mod tests {
    use nix::sys::signal::Signal;

    use super::*;

    #[test]
    fn who_looks_with_anothers_eyes_is_himself_again_afterwards() {
        prctl::set_pdeathsig(Signal::SIGUSR1).unwrap();
        let user = |uid: u32| with_eyes_of(uid, uid, || std::fs::read_to_string("/proc/thread-self/status").unwrap());
        let is_root = geteuid().is_root();
        let line = |status: &str, name: &str| status.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        let seen = line(&user(65_532), "Uid:");
        assert_eq!(seen.ends_with("\t65532"), is_root, "{seen}");
        let after = line(&std::fs::read_to_string("/proc/thread-self/status").unwrap(), "Uid:");
        assert!(after.ends_with(&format!("\t{}", geteuid())), "{after}");
        assert_eq!(prctl::get_pdeathsig(), Ok(Some(Signal::SIGUSR1)));
        assert_eq!(prctl::get_dumpable(), Ok(true));
        prctl::set_pdeathsig(None).unwrap();
    }
}
