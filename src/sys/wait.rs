//! The one owner of wait: every end of a child, ours by birth or by adoption, is collected here.

use std::io;

use nix::errno::Errno;
use nix::libc;
use nix::unistd::Pid;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited, with this code.
    Code(i32),
    /// A signal of this number ended it.
    Signal(i32),
}

/// Collects every child that has ended, until none is left. Where orphans end without end, that is never: see
/// [`drain_some`].
pub fn drain(on_end: impl FnMut(Pid, Exit)) -> io::Result<()> {
    drain_some(usize::MAX, on_end).map(|_| ())
}

/// Collects children that have ended, so many at most; answers whether more may be left.
///
/// `on_end` is called while the child is still a zombie: its process id, and the group that it led, cannot belong to
/// anyone else yet, so they may still be signalled.
pub fn drain_some(most: usize, mut on_end: impl FnMut(Pid, Exit)) -> io::Result<bool> {
    for _ in 0..most {
        let Some((pid, exit)) = peek()? else { return Ok(false) };
        on_end(pid, exit);
        collect(pid)?;
    }
    Ok(true)
}

/// An ended child, left uncollected. Not nix's waitid: it fails on an end by a real-time signal, which would stay
/// first in the queue for ever.
fn peek() -> io::Result<Option<(Pid, Exit)>> {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    loop {
        // SAFETY: an all-zero siginfo_t is a valid value of that plain C structure.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: `info` is a valid place for the call to write to.
        match Errno::result(unsafe { libc::waitid(libc::P_ALL, 0, &mut info, options) }) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(Errno::ECHILD) => return Ok(None),
            Err(cause) => return Err(cause.into()),
        }
        // SAFETY: waitid succeeded, so these are the fields in use; they are zero when nobody has ended.
        let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
        if pid == 0 {
            return Ok(None);
        }
        let exit = if info.si_code == libc::CLD_EXITED { Exit::Code(status) } else { Exit::Signal(status) };
        return Ok(Some((Pid::from_raw(pid), exit)));
    }
}

/// Collects one child, when it has ended.
pub(crate) fn collect(pid: Pid) -> io::Result<()> {
    loop {
        // SAFETY: waitpid accepts a null status.
        match Errno::result(unsafe { libc::waitpid(pid.as_raw(), std::ptr::null_mut(), 0) }) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(cause) => return Err(cause.into()),
        }
    }
}
