//! One pipe that is read: its lines, and what is to happen to it once it has been read so far. It owns no decision.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::Instant;

use super::lines::Lines;
use super::origin::Origin;

/// Bytes that are read before a mark holds at the latest: as much as a pipe may hold, so that all that was written
/// before the mark was set is read by then, even where somebody goes on writing.
const MARK_BYTES_MAX: usize = 1 << 20;
/// Marks that wait; with one more the first holds at once.
const MARKS_MAX: usize = 8;

/// What happens at a point of the stream: behind all that was in the pipe when it was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// The process that wrote has ended.
    Ended,
    /// Another one writes now. It may have begun before this is said, so it holds at once, or together with the end of
    /// the process before it.
    Pid(u32),
    /// Nobody writes any more.
    Detach,
}

/// A pipe.
#[derive(Debug)]
pub(super) struct Source {
    /// The supervisor's number for it.
    pub(super) number: u64,
    pub(super) pipe: OwnedFd,
    pub(super) origin: Origin,
    pub(super) lines: Lines,
    /// Since when it may have something to read, while it may.
    pub(super) ready_since: Option<Instant>,
    marks: VecDeque<Mark>,
    mark_bytes_left: usize,
}

impl Source {
    pub(super) fn new(number: u64, pipe: OwnedFd, origin: Origin, lines: Lines) -> Self {
        Self { number, pipe, origin, lines, ready_since: None, marks: VecDeque::new(), mark_bytes_left: 0 }
    }

    /// Sets a mark behind what is in the pipe now; answers those that hold at once.
    pub(super) fn mark(&mut self, mark: Mark) -> Option<Mark> {
        if matches!(mark, Mark::Pid(_)) && self.marks.is_empty() {
            return Some(mark);
        }
        self.marks.push_back(mark);
        self.mark_bytes_left = MARK_BYTES_MAX;
        if self.marks.len() > MARKS_MAX { self.marks.pop_front() } else { None }
    }

    /// The marks that hold now that so many more bytes were read; 0 if the pipe was empty.
    pub(super) fn passed(&mut self, bytes: usize) -> VecDeque<Mark> {
        self.mark_bytes_left = self.mark_bytes_left.saturating_sub(bytes);
        if bytes == 0 || self.mark_bytes_left == 0 { std::mem::take(&mut self.marks) } else { VecDeque::new() }
    }
}
