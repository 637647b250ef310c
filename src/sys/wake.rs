//! One thread wakes another that waits for descriptors (eventfd(2)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// A descriptor that can be read from the first wake on. Nobody has to read it: each wake is a change of its own.
#[derive(Debug)]
pub struct Wake(EventFd);

impl Wake {
    /// One that was not woken yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?))
    }

    /// Wakes who waits.
    pub fn wake(&self) {
        // It is refused only when 2^64 wakes have gone unread.
        let _ = self.0.write(1);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::poller::Poller;

    #[test]
    fn each_wake_is_told_though_none_is_read() {
        let (wake, mut poller) = (Wake::new().unwrap(), Poller::new().unwrap());
        poller.watch_reads(&wake, 7).unwrap();
        for _ in 0..2 {
            wake.wake();
            poller.wait(true).unwrap();
            assert_eq!(poller.event(0).token, 7);
            poller.wait(false).unwrap();
            assert_eq!(poller.found(), 0);
        }
    }
}
