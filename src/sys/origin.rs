//! What this process was started with, read before Rust's runtime changes it.
//!
//! Before `main`, the runtime ignores SIGPIPE and opens /dev/null in the place of a standard descriptor that is closed.
//! Neither can be seen afterwards, and an init hands its child what it was started with itself.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::libc;

static SIGPIPE_IGNORED: AtomicBool = AtomicBool::new(false);
static CLOSED: [AtomicBool; 3] = [const { AtomicBool::new(false) }; 3];

/// The C library calls what stands here before it calls `main`.
#[used]
#[unsafe(link_section = ".init_array")]
static RECORD: extern "C" fn() = record;

extern "C" fn record() {
    // SAFETY: an all-zero sigaction is a valid value of that plain C structure, and a valid place to write to; asking
    // whether a descriptor is open touches no memory.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let known = libc::sigaction(libc::SIGPIPE, std::ptr::null(), &mut action) == 0;
        SIGPIPE_IGNORED.store(known && action.sa_sigaction == libc::SIG_IGN, Ordering::Relaxed);
        for (descriptor, closed) in (0..).zip(&CLOSED) {
            closed.store(libc::fcntl(descriptor, libc::F_GETFD) < 0, Ordering::Relaxed);
        }
    }
}

/// Whether SIGPIPE was ignored.
pub(super) fn sigpipe_was_ignored() -> bool {
    SIGPIPE_IGNORED.load(Ordering::Relaxed)
}

/// The standard descriptors that were closed.
pub(super) fn closed_descriptors() -> impl Iterator<Item = RawFd> {
    (0..).zip(&CLOSED).filter(|(_, closed)| closed.load(Ordering::Relaxed)).map(|(descriptor, _)| descriptor)
}
