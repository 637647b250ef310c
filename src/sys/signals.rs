//! Signals to processes and groups, their numbers and names. A service leads a group of its own, see
//! [`spawn`](super::spawn).

use std::io;

use nix::errno::Errno;
use nix::libc;
pub use nix::libc::{
    SIGABRT, SIGBUS, SIGCHLD, SIGCONT, SIGFPE, SIGILL, SIGKILL, SIGSEGV, SIGSTOP, SIGSYS, SIGTERM, SIGTRAP, SIGTSTP,
    SIGTTIN, SIGTTOU,
};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::Pid;

/// Ends a child and what it started at once.
pub fn kill_group(leader: Pid) {
    let _ = killpg(leader, Signal::SIGKILL);
}

/// The signals that tell a supervisor what to do.
const ORDERS: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP];

/// Has orders wait until [`release_orders`]. Without it, one that comes before its handler is there ends us, or is lost if
/// we are PID 1: for that process the kernel drops what would have its default effect. To be called by the only thread.
pub fn hold_orders() -> io::Result<()> {
    Ok(ORDERS.into_iter().collect::<SigSet>().thread_block()?)
}

/// Takes the orders that waited, and those to come.
pub fn release_orders() -> io::Result<()> {
    Ok(ORDERS.into_iter().collect::<SigSet>().thread_unblock()?)
}

/// The name of a signal, like `SIGKILL`; real-time signals have none.
pub fn name(number: i32) -> Option<&'static str> {
    Signal::try_from(number).ok().map(Signal::as_str)
}

/// The number of a signal that is told by its name, like `SIGTERM`, `TERM` or `term`, or by its number.
pub fn number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse() {
        return (1..=libc::SIGRTMAX()).contains(&number).then_some(number);
    }
    let text = text.to_ascii_uppercase();
    let name = if text.starts_with("SIG") { text } else { format!("SIG{text}") };
    name.parse().ok().map(|signal: Signal| signal as i32)
}

/// Who gets a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// One process.
    Process(Pid),
    /// All of the group that this process leads.
    Group(Pid),
    /// Everybody whom we may signal, but us: for PID 1 those of its namespace, in one stroke that no fork escapes.
    Everybody,
}

/// Sends any signal, real-time ones too.
pub fn send(whom: Whom, signal: i32) -> io::Result<()> {
    let target = match whom {
        Whom::Process(pid) => pid.as_raw(),
        Whom::Group(leader) => -leader.as_raw(),
        Whom::Everybody => -1,
    };
    // SAFETY: this call takes numbers.
    Errno::result(unsafe { libc::kill(target, signal) })?;
    Ok(())
}

/// Stops this process until it is told to continue. The kernel does not stop PID 1.
pub fn stop_ourselves() {
    let _ = nix::sys::signal::raise(Signal::SIGSTOP);
}
