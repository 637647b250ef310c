//! Waits for many descriptors at once (epoll(7), edge-triggered).
//!
//! A descriptor is reported when something changes about it, not for as long as it is so: whoever is told that there
//! are bytes must remember it until a read finds none. So a turn of an event loop costs one call, and neither a busy
//! nor a paused descriptor costs more.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Events that one wait reports at most; the others come with the next.
const EVENTS_MAX: usize = 1024;
/// What stands in the way of a read that would bring all there is.
const DRAIN: EpollFlags = EpollFlags::EPOLLRDHUP.union(EpollFlags::EPOLLPRI);

/// A set of descriptors with a token for each. A descriptor leaves it by being closed, unless another process has the
/// same open file: then by [`Poller::forget`].
#[derive(Debug)]
pub struct Poller {
    epoll: Epoll,
    events: Vec<EpollEvent>,
    found: usize,
}

/// What has changed about a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whose it is.
    pub token: u64,
    /// A read would find bytes, or an end.
    pub readable: bool,
    /// A write would be taken, or fail.
    pub writable: bool,
    /// Reads must go on until one finds nothing: behind what one brings may be the end, or urgent bytes, before which
    /// a read stops. Neither is reported again.
    pub drain: bool,
    /// The connection is at its end in both directions.
    pub ended: bool,
}

impl Poller {
    /// An empty set.
    pub fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Self { epoll, events: vec![EpollEvent::empty(); EVENTS_MAX], found: 0 })
    }

    /// Reports from now on when the descriptor, which must be non-blocking, can be read.
    pub fn watch_reads(&self, descriptor: impl AsFd, token: u64) -> io::Result<()> {
        self.watch(descriptor, token, EpollFlags::empty())
    }

    /// Reports from now on when the socket, which must be non-blocking, can be read, or written again.
    pub fn watch_both(&self, socket: impl AsFd, token: u64) -> io::Result<()> {
        self.watch(socket, token, EpollFlags::EPOLLOUT)
    }

    /// Reports nothing more about a descriptor.
    pub fn forget(&self, descriptor: impl AsFd) -> io::Result<()> {
        Ok(self.epoll.delete(descriptor)?)
    }

    fn watch(&self, descriptor: impl AsFd, token: u64, more: EpollFlags) -> io::Result<()> {
        let flags = EpollFlags::EPOLLIN | DRAIN | EpollFlags::EPOLLET | more;
        Ok(self.epoll.add(descriptor, EpollEvent::new(flags, token))?)
    }

    /// Waits until something has changed, or only looks whether something has; see [`Poller::event`].
    pub fn wait(&mut self, block: bool) -> io::Result<()> {
        let timeout = if block { EpollTimeout::NONE } else { EpollTimeout::ZERO };
        self.found = match self.epoll.wait(&mut self.events, timeout) {
            Ok(found) => found,
            Err(Errno::EINTR) => 0,
            Err(cause) => return Err(cause.into()),
        };
        Ok(())
    }

    /// How many events the last wait found.
    pub fn found(&self) -> usize {
        self.found
    }

    /// One of the events that the last wait found, in the order in which they happened.
    pub fn event(&self, place: usize) -> Event {
        let event = &self.events[..self.found][place];
        let flags = event.events();
        let ended = flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
        let drain = ended || flags.intersects(DRAIN);
        Event {
            token: event.data(),
            readable: drain || flags.contains(EpollFlags::EPOLLIN),
            writable: ended || flags.contains(EpollFlags::EPOLLOUT),
            drain,
            ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn events(poller: &Poller) -> Vec<Event> {
        (0..poller.found()).map(|place| poller.event(place)).collect()
    }

    #[test]
    fn a_change_is_reported_once() {
        let mut poller = Poller::new().unwrap();
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        poller.watch_reads(&ours, 7).unwrap();
        theirs.write_all(b"ab").unwrap();
        poller.wait(true).unwrap();
        let bytes = Event { token: 7, readable: true, writable: false, drain: false, ended: false };
        assert_eq!(events(&poller), [bytes]);
        ours.read_exact(&mut [0]).unwrap();
        poller.wait(false).unwrap();
        assert_eq!(events(&poller), [], "what is left is known already");
        theirs.write_all(b"c").unwrap();
        poller.wait(true).unwrap();
        assert_eq!(events(&poller), [bytes]);
    }

    #[test]
    fn a_descriptor_that_others_hold_too_is_forgotten() {
        let mut poller = Poller::new().unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let held = ours.try_clone().unwrap();
        poller.watch_reads(&ours, 7).unwrap();
        poller.forget(&ours).unwrap();
        drop(ours);
        theirs.write_all(b"a").unwrap();
        poller.wait(false).unwrap();
        assert_eq!(events(&poller), []);
        drop(held);
    }

    #[test]
    fn an_end_and_room_to_write_are_told_apart() {
        let mut poller = Poller::new().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        poller.watch_both(&ours, 7).unwrap();
        poller.wait(true).unwrap();
        assert_eq!(events(&poller), [Event { token: 7, readable: false, writable: true, drain: false, ended: false }]);
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        poller.wait(true).unwrap();
        assert_eq!(events(&poller), [Event { token: 7, readable: true, writable: true, drain: true, ended: false }]);
        drop(theirs);
        poller.wait(true).unwrap();
        assert_eq!(events(&poller), [Event { token: 7, readable: true, writable: true, drain: true, ended: true }]);
    }
}
