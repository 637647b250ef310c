//! What tells a worker to stop: SIGTERM, or the end of its supervisor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::inherit::CommandSocket;

/// SIGTERM, as a descriptor.
#[derive(Debug)]
pub struct Terminate(SignalFd);

impl Terminate {
    /// Takes SIGTERM off this thread, which must be the process's only one: it now arrives at a descriptor.
    pub fn new() -> io::Result<Self> {
        let terminate = SigSet::from(Signal::SIGTERM);
        terminate.thread_block()?;
        Ok(Self(SignalFd::with_flags(&terminate, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// Whether the signal came since this was asked last.
    pub fn has_come(&self) -> bool {
        match self.0.read_signal() {
            Ok(signal) => signal.is_some(),
            Err(cause) => cause != Errno::EINTR,
        }
    }
}

impl AsFd for Terminate {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The descriptors on which a worker is told to stop.
#[derive(Debug)]
pub struct Stop<'a> {
    signals: Terminate,
    command: &'a CommandSocket,
}

impl<'a> Stop<'a> {
    /// See [`Terminate::new`].
    pub fn new(command: &'a CommandSocket) -> io::Result<Self> {
        let signals = Terminate::new()?;
        command.set_nonblocking()?;
        Ok(Self { signals, command })
    }

    /// The descriptors to be waited for. Whenever one can be read, [`Stop::is_due`] knows more.
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.signals.as_fd(), self.command.as_fd()]
    }

    /// Whether the worker has been told to stop.
    pub fn is_due(&self) -> bool {
        self.signals.has_come() || self.is_final()
    }

    /// Whether nobody is left to stop for: the supervisor is gone.
    pub fn is_final(&self) -> bool {
        self.command.is_ended()
    }

    /// Tells the supervisor that the worker lives. One that does not listen just now hears the next sign.
    pub fn tell_alive(&self) {
        let _ = self.command.alive();
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::raise;
    use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_signal_and_the_supervisors_end_mean_stop_and_an_unknown_command_does_not() {
        let pair = || socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        let (theirs, ours) = pair();
        let command = CommandSocket::new(ours);
        let stop = Stop::new(&command).unwrap();
        assert!(!stop.is_due());
        send(theirs.as_raw_fd(), b"of a later version", MsgFlags::empty()).unwrap();
        assert!(!stop.is_due());
        // To this thread: the signal is blocked here, and here alone.
        raise(Signal::SIGTERM).unwrap();
        assert!(stop.is_due());
        assert!(!stop.is_due(), "the signal was taken");
        drop(theirs);
        assert!(stop.is_due());
    }
}
