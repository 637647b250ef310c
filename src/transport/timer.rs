//! The timer: one task for all that is due at a time. It sleeps until then, and without end when nothing is.

use std::rc::Rc;

use super::counts::Cut;
use super::hub::Hub;
use crate::broker::{Core, Millis};
use crate::sys::timer::Timer;
use crate::wire;

pub(super) async fn run<C: Core + 'static>(hub: Rc<Hub<C>>, timer: Timer) {
    loop {
        // A timer that the kernel cannot arm (it always can) would be late, not fatal.
        let _ = match hub.armed.get() {
            Millis::MAX => timer.disarm(),
            armed => timer.arm(hub.until(armed)),
        };
        tokio::select! {
            _ = timer.expired() => {}
            () = hub.timer.heard() => continue,
        }
        hub.armed.set(Millis::MAX);
        let now = hub.now();
        let next = [hub.expire_handshakes(now), heartbeats(&hub, now), tick(&hub, now)];
        if let Some(at) = next.into_iter().flatten().min() {
            hub.due(at);
        }
        hub.flush.ring();
    }
}

fn tick<C: Core + 'static>(hub: &Hub<C>, now: Millis) -> Option<Millis> {
    let mut core = hub.core.borrow_mut();
    if core.deadline().is_some_and(|deadline| deadline <= now) {
        core.tick(now);
    }
    core.deadline()
}

/// Sends PINGs into silence and ends the connections where one stayed unanswered. A peer that is not read now cannot
/// be heard, so it is not judged.
fn heartbeats<C: Core + 'static>(hub: &Hub<C>, now: Millis) -> Option<Millis> {
    let (silence, timeout) = (hub.options.heartbeat_ms, hub.options.heartbeat_timeout_ms);
    if silence == 0 {
        return None;
    }
    let mut next: Option<Millis> = None;
    for link in hub.links().filter(|link| link.heartbeats.get()) {
        let due = match link.pinged.get() {
            // What cannot be written cannot be answered, and who is not read cannot be heard.
            _ if link.paused.get() || link.blocked.get() => now + timeout,
            Some(pinged) if now >= pinged + timeout => {
                hub.drop_peer(&link, Some(Cut::HeartbeatTimeout.reason()));
                continue;
            }
            Some(pinged) => pinged + timeout,
            None if now >= link.heard.get() + silence => {
                let mut ping = Vec::new();
                wire::push_ping(&mut ping);
                hub.core.borrow_mut().peers().push_raw(link.peer, &ping);
                link.pinged.set(Some(now));
                now + timeout
            }
            None => link.heard.get() + silence,
        };
        next = Some(next.map_or(due, |next| next.min(due)));
    }
    // Many peers fall silent at many times; looking at all of them for each would cost more than being a little late.
    next.map(|next| next.max(now + silence / 4))
}
