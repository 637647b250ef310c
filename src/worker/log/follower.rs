//! Somebody who reads lines: `torus logs`. Lines wait for them in a bounded number of bytes; who is too slow misses some
//! and is told how many.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use super::commands::Follow;
use super::lines::Line;
use super::origin::{Origin, Reason, Time, write_dropped};
use super::recent::Kept;

/// Bytes that wait for one follower; a line that comes then is dropped for it.
const PENDING_BYTES_MAX: usize = 256 << 10;

/// One who reads.
#[derive(Debug)]
pub(super) struct Follower {
    wants: Follow,
    socket: UnixStream,
    pending: Vec<u8>,
    sent: usize,
    /// Whether the socket takes nothing before it says that it does.
    pub(super) is_full: bool,
    dropped: u64,
}

impl Follower {
    /// The descriptor must be a stream socket.
    pub(super) fn new(wants: Follow, socket: OwnedFd) -> io::Result<Self> {
        let socket = UnixStream::from(socket);
        socket.local_addr()?;
        socket.set_nonblocking(true)?;
        Ok(Self { wants, socket, pending: Vec::new(), sent: 0, is_full: false, dropped: 0 })
    }

    pub(super) fn wants(&self) -> &Follow {
        &self.wants
    }

    /// Whether lines of that origin are for this one.
    pub(super) fn wants_of(&self, service: &str, instance: u32) -> bool {
        self.wants.service.as_deref().is_none_or(|wanted| wanted == service)
            && self.wants.instance.is_none_or(|wanted| wanted == instance)
    }

    /// Gives the recent lines, which come before all others. They are bounded already.
    pub(super) fn begin(&mut self, service: &str, kept: &Kept) {
        let origin = Origin::new(service, kept.instance, kept.stream, kept.pid);
        let line = Line { text: &kept.text, continued: kept.continued, more: kept.more };
        origin.write(self.wants.format, &Time::from_us(kept.time_us), line, &mut self.pending);
    }

    /// Offers a line; tells whether there was room for it.
    pub(super) fn offer(&mut self, origin: &Origin, time: &Time, line: Line<'_>) -> bool {
        let has_room = self.wants.follow && self.pending.len() - self.sent < PENDING_BYTES_MAX;
        if has_room {
            origin.write(self.wants.format, time, line, &mut self.pending);
        } else {
            self.dropped += u64::from(self.wants.follow);
        }
        has_room
    }

    /// Sends what the socket takes; tells whether there is more to come for this one.
    pub(super) fn flush(&mut self, time: &Time) -> bool {
        while !self.is_full {
            if self.sent == self.pending.len() {
                self.pending.clear();
                self.sent = 0;
                if self.dropped == 0 {
                    self.pending.shrink_to(PENDING_BYTES_MAX);
                    return self.wants.follow;
                }
                let service = self.wants.service.as_deref().unwrap_or("torus");
                let dropped = std::mem::take(&mut self.dropped);
                write_dropped(self.wants.format, time, service, dropped, Reason::Slow, &mut self.pending);
            }
            match self.socket.write(&self.pending[self.sent..]) {
                Ok(0) => return false,
                Ok(sent) => self.sent += sent,
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => {
                        // What was sent needs no memory.
                        self.pending.drain(..self.sent);
                        self.sent = 0;
                        self.is_full = true;
                    }
                    _ => return false,
                },
            }
        }
        true
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // The supervisor may still have the socket; the reader's end is to come now.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

impl AsFd for Follower {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
