//! The controlling terminal.

use nix::libc;
use nix::unistd::{getpid, getsid};

use super::inbox::Inbox;

/// Leaves the terminal that is our standard input, so that a child's session can have it (tty_ioctl(4), TIOCNOTTY).
/// Answers whether there was one to leave.
///
/// When a session's leader leaves, the kernel sends the whole foreground SIGHUP and SIGCONT. Those are about us, and
/// arrive before the call returns: they are forgotten here, or the child would be hung up on before it began.
pub fn leave(inbox: &Inbox) -> bool {
    // SAFETY: this request takes no argument.
    let left = unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCNOTTY) } == 0;
    if left && getsid(None) == Ok(getpid()) {
        inbox.forget(libc::SIGHUP);
        inbox.forget(libc::SIGCONT);
    }
    left
}
