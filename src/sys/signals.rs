//! Signals to process groups. Each child leads a group of its own, see [`spawn`](super::spawn).

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Asks a child and what it started to end. A group that is already gone is no error: its end is on its way to us.
pub fn terminate_group(leader: Pid) {
    let _ = killpg(leader, Signal::SIGTERM);
}

/// Ends a child and what it started at once.
pub fn kill_group(leader: Pid) {
    let _ = killpg(leader, Signal::SIGKILL);
}
