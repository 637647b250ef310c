//! All that is due at a time: handshakes, heartbeats, the core's own. The timer sleeps until then, and without end when
//! nothing is.

use super::counts::Cut;
use super::hub::Hub;
use super::link::Silence;
use crate::broker::{Clock, Core, Millis};
use crate::wire;

/// Looks at all peers within the silence that is answered with a PING: noting when each was last heard would cost every
/// message, looking when each falls silent would cost every peer. So a PING may come half of that silence later.
pub(super) const HEARTBEAT_LOOKS: Millis = 4;

impl<C: Core> Hub<C> {
    /// Does what is due, and finds out when something is again.
    #[cold]
    pub(super) fn expire(&mut self) {
        (self.due, self.armed) = (Millis::MAX, Millis::MAX);
        let now = self.now();
        let shut = self.entrances.iter_mut().filter_map(|entrance| entrance.reopen(now)).min();
        let next = [shut, self.expire_handshakes(), self.heartbeats(), self.tick()];
        if let Some(at) = next.into_iter().flatten().min() {
            self.due(at);
        }
    }

    /// Ends the handshakes that have taken too long; tells when the next will have.
    fn expire_handshakes(&mut self) -> Option<Millis> {
        loop {
            let (peer, began) = self.oldest_handshake()?;
            let due = began + self.options.handshake_ms_max;
            if due > self.now() {
                return Some(due);
            }
            // Its bytes may have come while this process was held up; then they are there to be read.
            self.read_one(peer);
            if self.links.get(peer).is_some_and(|link| link.handshake.is_some()) {
                self.drop_peer(peer, Some(Cut::HandshakeTimeout.reason()));
            }
        }
    }

    /// Sends PINGs into silence and ends the connections where one stayed unanswered. A peer that is not read now cannot
    /// be heard, so it is not judged.
    fn heartbeats(&mut self) -> Option<Millis> {
        let (silence, timeout) = (self.options.heartbeat_ms, self.options.heartbeat_timeout_ms);
        if silence == 0 {
            return None;
        }
        let pause = silence / HEARTBEAT_LOOKS;
        let (now, mut next, mut silent) = (self.now(), None::<Millis>, Vec::new());
        for link in self.links.iter_mut().filter(|link| link.heartbeats) {
            let due = match link.silence {
                // What cannot be written cannot be answered, and who is not read cannot be heard.
                _ if link.paused || link.blocked => now + timeout,
                Silence::None => {
                    link.silence = Silence::Since(now);
                    now + pause
                }
                Silence::Pinged(pinged) if now >= pinged + timeout => {
                    silent.push(link.peer);
                    continue;
                }
                Silence::Pinged(pinged) => pinged + timeout,
                Silence::Since(since) if now >= since + silence => {
                    let mut ping = Vec::new();
                    wire::push_ping(&mut ping);
                    self.core.peers().push_raw(link.peer, &ping);
                    link.silence = Silence::Pinged(now);
                    now + pause
                }
                Silence::Since(_) => now + pause,
            };
            next = Some(next.map_or(due, |next| next.min(due)));
        }
        if !silent.is_empty() {
            next = Some(now);
        }
        for peer in silent {
            // Its answer may have come while this process was held up; then it is there to be read.
            self.read_one(peer);
            if self.links.get(peer).is_some_and(|link| !link.paused && matches!(link.silence, Silence::Pinged(_))) {
                self.drop_peer(peer, Some(Cut::HeartbeatTimeout.reason()));
            }
        }
        next.map(|next| next.max(now + pause))
    }

    fn tick(&mut self) -> Option<Millis> {
        if self.core.deadline().is_some_and(|deadline| deadline <= self.now()) {
            self.core.tick(self.clock.now());
        }
        self.core.deadline()
    }
}
