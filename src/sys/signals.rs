//! Signals to process groups, and their names. Each child leads a group of its own, see [`spawn`](super::spawn).

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

/// The name of a signal, like `SIGKILL`; real-time signals have none.
pub fn name(number: i32) -> Option<&'static str> {
    Signal::try_from(number).ok().map(Signal::as_str)
}
