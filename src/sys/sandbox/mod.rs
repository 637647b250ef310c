//! Shuts a process in with what it holds, by two walls of the kernel's own: a filter of system calls (seccomp(2)) and
//! Landlock (landlock(7)).
//!
//! Whoever takes a worker over finds there the worker's connections and memory, and no way on: no file, no new
//! connection, no other process. What the process needs of these it opens before it enters; there is no way back.
//!
//! Most is behind both walls, so that a kernel without one of them, or a fault in one, still leaves the other.

mod landlock;
mod seccomp;
#[cfg(test)]
mod tests;

pub use landlock::{LandlockError, landlock_version};
pub use seccomp::{SeccompError, takes_filters};

/// What a process still does once it is inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile<'a> {
    /// It accepts from the listening sockets that it has, and serves who came: a bus worker.
    Bus,
    /// It connects to the bus by TCP, again and again: a back-end.
    BackEnd {
        /// The ports where the bus may be.
        bus: &'a [u16],
    },
    /// It reads and writes what it holds, and is given more: the log worker.
    Log {
        /// Whether it sends to the journal, from a socket that it has.
        journal: bool,
    },
}

/// A part of the sandbox that cannot be had here, with what that leaves open.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// The filter of system calls.
    #[error("system calls are not filtered: {0}")]
    Seccomp(#[from] SeccompError),
    /// Landlock as a whole.
    #[error("files and ports are not behind Landlock: {0}")]
    Landlock(#[from] LandlockError),
    /// Landlock's rules for ports, where nothing else holds a process to them.
    #[error("it may connect to any TCP port: this kernel's Landlock has version {version}, and 4 is needed")]
    Ports {
        /// The kernel's.
        version: u32,
    },
}

/// Shuts this process in, which must have one thread only; answers what of it cannot be had here.
///
/// A part counts as missing when its effect is. So a bus worker does not miss a Landlock that knows nothing of ports:
/// its filter has no call that takes one.
pub fn enter(profile: Profile<'_>) -> Vec<Missing> {
    enter_with(profile, || ()).1
}

/// As [`enter`], with what `start` starts on the way: threads, which the filter would not let start. It must return when
/// they run, for the same reason. Landlock is one thread's and of those that come after it; the filter is all threads'.
pub fn enter_with<T>(profile: Profile<'_>, start: impl FnOnce() -> T) -> (T, Vec<Missing>) {
    let mut missing = Vec::new();
    // The filter comes last: it has no room for Landlock's own calls.
    match (landlock::enter(profile), profile) {
        (Ok(version), Profile::BackEnd { .. }) if version < landlock::FIRST_WITH_PORTS => {
            missing.push(Missing::Ports { version });
        }
        (Ok(_), _) => {}
        (Err(error), _) => missing.push(error.into()),
    }
    let started = start();
    if let Err(error) = seccomp::enter(profile) {
        missing.push(error.into());
    }
    (started, missing)
}
