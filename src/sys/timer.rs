//! A timer that is a descriptor (timerfd): what waits for descriptors waits for it too, and a wait without a time limit
//! costs nothing to arm.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// A timer that is armed for one time, or for none. Its descriptor can be read when that time has come; nobody has to
/// read it, since arming the timer again makes that undone.
#[derive(Debug)]
pub struct Timer(TimerFd);

impl Timer {
    /// A timer that is not armed.
    pub fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        Ok(Self(TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?))
    }

    /// Arms the timer, whatever it was armed for.
    pub fn arm(&self, after: Duration) -> io::Result<()> {
        // Zero would disarm it.
        let after = TimeSpec::from(after.max(Duration::from_nanos(1)));
        Ok(self.0.set(Expiration::OneShot(after), TimerSetTimeFlags::empty())?)
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::sys::poller::Poller;

    #[test]
    fn it_wakes_once_when_it_is_time_and_not_before() {
        let timer = Timer::new().unwrap();
        let mut poller = Poller::new().unwrap();
        poller.watch_reads(&timer, 7).unwrap();
        for _ in 0..2 {
            let armed = Instant::now();
            timer.arm(Duration::from_secs(60)).unwrap();
            timer.arm(Duration::from_millis(20)).unwrap();
            poller.wait(true).unwrap();
            assert_eq!((poller.found(), poller.event(0).token), (1, 7));
            assert!(armed.elapsed() >= Duration::from_millis(20));
            poller.wait(false).unwrap();
            assert_eq!(poller.found(), 0);
        }
    }
}
