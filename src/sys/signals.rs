//! Signals to process groups, and their names. Each child leads a group of its own, see [`spawn`](super::spawn).

use nix::libc;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// Sends a signal, by its number, to a child and what it started. A group that is already gone is no error: its end is
/// on its way to us.
pub fn signal_group(leader: Pid, number: i32) {
    // SAFETY: killpg touches no memory. Not nix's: it knows no real-time signals.
    unsafe { libc::killpg(leader.as_raw(), number) };
}

/// Sends a signal to one process.
pub fn signal_one(process: Pid, signal: Signal) {
    let _ = kill(process, signal);
}

/// The signal that asks to end.
pub const TERM: Signal = Signal::SIGTERM;
/// The signal that cannot be refused.
pub const KILL: Signal = Signal::SIGKILL;
/// The signal that ends with a trace of where the process was.
pub const ABORT: i32 = libc::SIGABRT;

/// A signal's number by its name, with or without `SIG`, or by the number itself.
pub fn number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    name.parse::<Signal>().ok().map(|signal| signal as i32)
}

/// Ends a child and what it started at once.
pub fn kill_group(leader: Pid) {
    let _ = killpg(leader, Signal::SIGKILL);
}

/// The name of a signal, like `SIGKILL`; real-time signals have none.
pub fn name(number: i32) -> Option<&'static str> {
    Signal::try_from(number).ok().map(Signal::as_str)
}
