//! A timer that wakes a task at a time.
//!
//! It is a descriptor of its own (timerfd). The runtime's timers would be part of every wait for events: each wait would
//! arm and disarm a timer in the kernel and read the clock twice, whether anything is due or not.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A timer that is armed for one time, or for none.
#[derive(Debug)]
pub struct Timer(AsyncFd<Descriptor>);

#[derive(Debug)]
struct Descriptor(TimerFd);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Timer {
    /// A timer that is not armed. Needs a tokio runtime.
    pub fn new() -> io::Result<Self> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        // SAFETY: the registration owns the descriptor, so it stays open, and the same, while it is registered.
        let registered = unsafe { AsyncFd::register_with_interest(Descriptor(timer), Interest::READABLE) };
        Ok(Self(registered?))
    }

    /// Arms the timer, whatever it was armed for.
    pub fn arm(&self, after: Duration) -> io::Result<()> {
        // Zero would disarm it.
        let after = TimeSpec::from(after.max(Duration::from_nanos(1)));
        Ok(self.0.get_ref().0.set(Expiration::OneShot(after), TimerSetTimeFlags::empty())?)
    }

    /// Disarms the timer.
    pub fn disarm(&self) -> io::Result<()> {
        Ok(self.0.get_ref().0.unset()?)
    }

    /// Waits until the time has come that the timer is armed for.
    pub async fn expired(&self) -> io::Result<()> {
        loop {
            let mut guard = self.0.readable().await?;
            if let Ok(outcome) = guard.try_io(|timer| Ok(timer.get_ref().0.wait()?)) {
                return outcome;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_expires_once_for_each_time_that_it_is_armed() {
        let timer = Timer::new().unwrap();
        for after in [Duration::ZERO, Duration::from_millis(1)] {
            timer.arm(after).unwrap();
            timer.expired().await.unwrap();
        }
        timer.arm(Duration::ZERO).unwrap();
        timer.disarm().unwrap();
        tokio::select! {
            biased;
            _ = timer.expired() => panic!("it was disarmed"),
            () = tokio::task::yield_now() => {}
        }
    }
}
