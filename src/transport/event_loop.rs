//! The loop: waits until something happens, then gives everybody concerned one turn.
//!
//! It is our own, on epoll, and knows nothing but what happens here: a descriptor is a door, a connection, the timer or
//! the order to stop. A turn ends with the writes, so a burst of messages for one peer, from
//! however many others, leaves in one system call.

use std::io;
use std::os::fd::AsFd;

use super::hub::Hub;
use super::link::Silence;
use crate::broker::{Core, Millis, PeerId};
use crate::sys::poller::Event;
use crate::sys::stop::Stop;

/// Tokens that no peer's number has: it would be that of more connections than there are descriptors.
const TIMER: u64 = u64::MAX;
const STOP: u64 = u64::MAX - 1;
const FIRST_DOOR: u64 = u64::MAX - 64;

impl<C: Core> Hub<C> {
    /// Serves until it is told to stop.
    pub(super) fn run(&mut self, stop: &Stop) -> io::Result<()> {
        self.poller.watch_reads(&self.timer, TIMER)?;
        for descriptor in stop.descriptors() {
            self.poller.watch_reads(descriptor, STOP)?;
        }
        for (entrance, token) in self.entrances.iter().zip(FIRST_DOOR..STOP) {
            self.poller.watch_reads(entrance.listener.as_fd(), token)?;
        }
        let mut accepting = true;
        // When what is still in hand is given up.
        let mut leave_at: Option<Millis> = None;
        self.alive(stop);
        loop {
            let idle = self.ready.is_empty() && !accepting && !self.core.peers().has_dirty();
            self.poller.wait(idle)?;
            self.clock.begin_turn();
            let (mut timed, mut stopping) = (false, false);
            for place in 0..self.poller.found() {
                let event = self.poller.event(place);
                match event.token {
                    TIMER => timed = true,
                    STOP => stopping |= stop.is_due(),
                    FIRST_DOOR.. => {
                        self.entrances[(event.token - FIRST_DOOR) as usize].knocked = true;
                        accepting = true;
                    }
                    peer => self.note(PeerId::from_u64(peer), event),
                }
            }
            if stopping {
                // A second order waits for nothing.
                let patience = if leave_at.is_some() || stop.is_final() { 0 } else { self.options.drain_ms_max };
                leave_at = Some(self.now() + patience);
                self.core.drain();
            }
            // Who comes from now on waits in the backlog for the next worker.
            accepting &= leave_at.is_none();
            if accepting {
                self.accept();
            }
            self.read_ready();
            if timed {
                self.expire();
                self.alive(stop);
            }
            self.flush();
            if let Some(at) = leave_at {
                if self.core.is_drained() || self.now() >= at {
                    self.core.stop();
                    return Ok(());
                }
                self.due(at);
            }
            self.settle()?;
            if accepting || timed {
                accepting = self.entrances.iter().any(|entrance| entrance.is_waited_at());
            }
        }
    }

    /// Tells the supervisor that this loop turns, when that is due.
    fn alive(&mut self, stop: &Stop) {
        let pause = self.options.alive_ms;
        if pause == 0 {
            return;
        }
        if self.now() >= self.alive_at {
            stop.tell_alive();
            self.alive_at = self.now() + pause;
        }
        self.due(self.alive_at);
    }

    /// Notes what has changed about a connection.
    #[inline]
    fn note(&mut self, peer: PeerId, event: Event) {
        let Some(link) = self.links.get_mut(peer) else { return };
        link.readable |= event.readable;
        link.drain |= event.drain;
        link.ended |= event.ended;
        if link.ended && link.paused {
            return self.drop_peer(peer, None);
        }
        if event.writable && link.blocked && !link.gone {
            link.blocked = false;
            // What it was asked before may not have left until now.
            link.silence = Silence::None;
            self.core.peers().mark_dirty(peer);
        }
        if event.readable && !link.paused && !std::mem::replace(&mut link.listed, true) {
            self.ready.push(peer);
        }
    }

    /// What is to be done between the writes and the next wait.
    #[inline]
    fn settle(&mut self) -> io::Result<()> {
        self.relieve_memory();
        self.resume();
        if let Some(deadline) = self.core.deadline() {
            self.due(deadline);
        }
        if self.due < self.armed {
            self.armed = self.due;
            self.timer.arm(self.clock.until(self.due))?;
        }
        Ok(())
    }
}
