//! Tells whether any of many descriptors can be read (epoll(7), level-triggered), for who does not read them himself.
//!
//! It is a descriptor, which can be read for as long as one of them can: so it is itself waited for. Who has been told
//! puts it out of his loop until he wants to be told again, or each change would tell him anew.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A set of descriptors with a token for each.
#[derive(Debug)]
pub struct Tripwire(Epoll);

impl Tripwire {
    /// An empty set, closed on exec.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?))
    }

    /// One more descriptor.
    pub fn add(&self, descriptor: impl AsFd, token: u64) -> io::Result<()> {
        Ok(self.0.add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, token))?)
    }

    /// One descriptor less. To close it would not do while another process has the same open file.
    pub fn remove(&self, descriptor: impl AsFd) -> io::Result<()> {
        Ok(self.0.delete(descriptor)?)
    }

    /// The tokens of some that can be read now, at most `MAX`; asked again, of others first (epoll_wait(2)).
    pub fn readable<const MAX: usize>(&self) -> io::Result<impl Iterator<Item = u64>> {
        let mut events = [EpollEvent::empty(); MAX];
        let found = match self.0.wait(&mut events, EpollTimeout::ZERO) {
            Ok(found) => found,
            Err(Errno::EINTR) => 0,
            Err(cause) => return Err(cause.into()),
        };
        Ok(events.into_iter().take(found).map(|event| event.data()))
    }
}

/// A tripwire in the loop of this thread's runtime, until dropped.
#[derive(Debug)]
pub struct Set(AsyncFd<Rc<Tripwire>>);

impl Set {
    /// Puts it there.
    pub fn new(wire: &Rc<Tripwire>) -> io::Result<Self> {
        // SAFETY: a wire has one descriptor, always the same, for as long as somebody has it, which we do.
        Ok(Self(unsafe { AsyncFd::register_with_interest(wire.clone(), Interest::READABLE) }?))
    }

    /// Returns when one of the descriptors can be read, or could be a moment ago.
    pub async fn tripped(&self) {
        // It fails when there is no loop any more, and so nobody who waits.
        let _ = self.0.readable().await;
    }
}

impl AsRawFd for Tripwire {
    fn as_raw_fd(&self) -> RawFd {
        self.0.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;
    use crate::sys::pipe;

    fn readable<const MAX: usize>(wire: &Tripwire) -> Vec<u64> {
        wire.readable::<MAX>().unwrap().collect()
    }

    #[test]
    fn what_can_be_read_is_told_for_as_long_as_it_can_in_turns() {
        let wire = Tripwire::new().unwrap();
        let pipes = [1, 2, 3].map(|token| {
            let (reader, writer) = pipe::output(4096).unwrap();
            wire.add(&reader, token).unwrap();
            (reader, File::from(writer))
        });
        assert!(readable::<4>(&wire).is_empty());
        (&pipes[0].1).write_all(b"a").unwrap();
        (&pipes[2].1).write_all(b"c").unwrap();
        assert_eq!([readable::<1>(&wire), readable::<1>(&wire)], [vec![1], vec![3]]);
        pipe::read(&pipes[0].0, &mut [0; 8]).unwrap();
        assert_eq!(readable::<4>(&wire), [3]);
        // Somebody else has the pipe too: that is no reason to tell of it any more.
        let shared = pipes[2].0.try_clone().unwrap();
        wire.remove(&pipes[2].0).unwrap();
        assert!(readable::<4>(&wire).is_empty());
        drop(shared);
    }

    #[tokio::test]
    async fn once_set_it_tells_of_what_there_is_and_of_what_comes() {
        let wire = Rc::new(Tripwire::new().unwrap());
        let (reader, writer) = pipe::output(4096).unwrap();
        wire.add(&reader, 1).unwrap();
        let set = Set::new(&wire).unwrap();
        let soon = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, set.tripped()).await.is_err(), "there is nothing");
        File::from(writer).write_all(b"a").unwrap();
        set.tripped().await;
        drop(set);
        Set::new(&wire).unwrap().tripped().await;
    }
}
