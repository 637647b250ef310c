//! The signals of a process that waits for nothing else: blocked, so that none is lost, and taken one by one.
//!
//! For a process with one thread. Waiting has no time limit, so that whoever gets no signal does not wake up.

use std::io;

use nix::errno::Errno;
use nix::libc::{self, c_int, sigaction, sigset_t};

use super::origin;

/// Signals that come by here instead of doing what they would, and what is needed to undo that for a child.
pub struct Inbox {
    wanted: sigset_t,
    mask_found: sigset_t,
    actions_found: Vec<(c_int, sigaction)>,
}

/// What happens to the signals that do not come by the inbox.
#[derive(Clone, Copy, Debug, Default)]
pub struct Apart<'a> {
    /// They do to us what they do to anyone.
    pub default: &'a [i32],
    /// They do nothing.
    pub ignored: &'a [i32],
}

impl Inbox {
    /// Takes all signals but those that are set apart.
    pub fn open(apart: Apart<'_>) -> io::Result<Self> {
        let mut inbox = Self { wanted: all(), mask_found: empty(), actions_found: Vec::new() };
        for signal in apart.default.iter().chain(apart.ignored) {
            // SAFETY: the set is ours, and was initialised by `all`.
            unsafe { libc::sigdelset(&mut inbox.wanted, *signal) };
        }
        // SAFETY: both sets are valid.
        Errno::result(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &inbox.wanted, &mut inbox.mask_found) })?;
        inbox.found(libc::SIGPIPE, if origin::sigpipe_was_ignored() { libc::SIG_IGN } else { libc::SIG_DFL });
        // Whoever was started with SIGCHLD ignored would never be told of an end, nor find a code to exit with.
        for signal in apart.default.iter().chain(&[libc::SIGCHLD]) {
            inbox.replace(*signal, libc::SIG_DFL)?;
        }
        for signal in apart.ignored {
            inbox.replace(*signal, libc::SIG_IGN)?;
        }
        Ok(inbox)
    }

    /// Waits for the next signal. One that we brought upon ourselves by writing to a pipe without reader is none.
    pub fn next(&self) -> io::Result<i32> {
        loop {
            // SAFETY: an all-zero siginfo_t is a valid value of that plain C structure, and a valid place to write to.
            let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
            // SAFETY: both pointers are valid.
            match Errno::result(unsafe { libc::sigwaitinfo(&self.wanted, &mut info) }) {
                // SAFETY: a SIGPIPE always has the process that caused it.
                Ok(libc::SIGPIPE) if unsafe { info.si_pid() } == nix::unistd::getpid().as_raw() => {}
                Ok(signal) => return Ok(signal),
                Err(Errno::EINTR) => {}
                Err(cause) => return Err(cause.into()),
            }
        }
    }

    /// Forgets a signal that has arrived and was not taken yet.
    pub fn forget(&self, signal: i32) {
        let mut set = empty();
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the set was initialised by `empty`; a null siginfo_t is allowed.
        unsafe {
            libc::sigaddset(&mut set, signal);
            libc::sigtimedwait(&set, std::ptr::null_mut(), &now);
        }
    }

    /// Puts everything back as it was found. Between fork and exec: only calls that signal-safety(7) allows.
    pub(super) fn give_back(&self) {
        for (signal, action) in &self.actions_found {
            // SAFETY: the action is what the kernel told, or a disposition without handler.
            unsafe { libc::sigaction(*signal, action, std::ptr::null_mut()) };
        }
        // SAFETY: the set is what the kernel told.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &self.mask_found, std::ptr::null_mut()) };
    }

    fn found(&mut self, signal: c_int, disposition: libc::sighandler_t) {
        self.actions_found.push((signal, without_handler(disposition)));
    }

    fn replace(&mut self, signal: c_int, disposition: libc::sighandler_t) -> io::Result<()> {
        let mut found = without_handler(libc::SIG_DFL);
        // SAFETY: both actions are valid, and the new one has no handler.
        Errno::result(unsafe { sigaction(signal, &without_handler(disposition), &mut found) })?;
        self.actions_found.push((signal, found));
        Ok(())
    }
}

fn without_handler(disposition: libc::sighandler_t) -> sigaction {
    // SAFETY: an all-zero sigaction is a valid value of that plain C structure.
    let mut action: sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = disposition;
    action
}

fn empty() -> sigset_t {
    // SAFETY: an all-zero sigset_t is a valid place to write to, and sigemptyset makes it a set.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        set
    }
}

fn all() -> sigset_t {
    let mut set = empty();
    // SAFETY: the set is valid.
    unsafe { libc::sigfillset(&mut set) };
    set
}
