//! The stop of everything: by when it is to be over, and who is ended last, whom no service owns.

use std::time::{Duration, Instant};

use super::Ended;
use super::event_loop::{Happened, Queries, Signals, Supervisor, ask, send, until};
use crate::lifecycle::HURRY;
use crate::sys::signals::Whom;
use crate::sys::{Pid, identity, signals, tree};

/// How often PID 1 looks, at the end, whether those have gone whose end nobody tells it: they are not its children.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// What those whom no service owns have at least, from being asked to being killed, unless there is no time left at all.
const FAREWELL: Duration = Duration::from_millis(100);

/// A stop that was ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stopping {
    /// When it is to be over.
    by: Instant,
    /// How often it was ordered.
    orders: u32,
}

impl Stopping {
    /// It is ordered for the first time.
    pub(super) fn begin(now: Instant, max: Duration) -> Self {
        Self { by: now + max, orders: 1 }
    }

    /// It is ordered again: soon; told a third time: at once.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.orders += 1;
        self.by = self.by.min(if self.orders == 2 { now + HURRY } else { now });
    }

    /// When it is over although it has not ended: a kill cannot be refused, but there are processes that the kernel does
    /// not let go, and users whose processes are not ours to kill.
    pub(super) fn give_up_at(&self) -> Instant {
        self.by + 2 * HURRY
    }

    /// When those are killed who were asked just now.
    fn kill_at(&self, asked: Instant) -> Instant {
        if self.orders > 2 { asked } else { self.by.max(asked + FAREWELL) }
    }
}

impl Supervisor {
    /// Tells who cannot be ended.
    pub(super) fn give_up(&self) -> Ended {
        for instance in self.instances.values() {
            if let Some(process) = &instance.process {
                let (service, instance) = (instance.unit.name.as_str(), instance.number);
                tracing::error!(service, instance, pid = %process.pid, "cannot be ended: left behind");
            }
        }
        Ended { code: 1 }
    }

    /// Waits for what no service owns any more, as long as the stop has time; leaves when the last process is gone.
    pub(super) async fn end_leftovers(&mut self, signals: &mut Signals, queries: &mut Queries) {
        self.collect_the_dead();
        let left = tree::everybody_else();
        if left.is_empty() {
            return;
        }
        tracing::info!("{} processes that no service owns: asked to end", left.len());
        let is_pid_1 = identity::pid().as_raw() == 1;
        if is_pid_1 {
            ask(Whom::Everybody, signals::SIGTERM);
        } else {
            left.iter().for_each(|process| ask(Whom::Process(*process), signals::SIGTERM));
        }
        let asked = Instant::now();
        let mut stopping = self.stopping.unwrap_or_else(|| Stopping::begin(asked, Duration::ZERO));
        let mut kill_at = stopping.kill_at(asked);
        let mut give_up_at = None;
        // What a kill cannot end within this time, nobody can.
        while give_up_at.is_none_or(|at| Instant::now() < at) {
            tokio::select! {
                happened = signals.next() => match happened {
                    Happened::ChildEnded => self.collect_the_dead(),
                    Happened::StopAsked(name) => {
                        tracing::info!("{name} again: hurrying");
                        stopping.hurry(Instant::now());
                        kill_at = kill_at.min(stopping.kill_at(asked));
                    }
                    Happened::ReloadAsked => {}
                },
                Some(query) = queries.recv() => self.answer(query),
                () = tokio::time::sleep_until(kill_at.into()) => {
                    kill(tree::everybody_else(), is_pid_1);
                    kill_at = Instant::now() + HURRY / 2;
                    give_up_at.get_or_insert(Instant::now() + HURRY);
                }
                () = tokio::task::yield_now(), if self.more_dead => self.collect_the_dead(),
                () = until(self.manager.due()) => self.manager.tell_due(),
                () = tokio::time::sleep(LOOK_AGAIN), if is_pid_1 => {}
            }
            if tree::everybody_else().is_empty() {
                return;
            }
        }
    }
}

fn kill(left: Vec<Pid>, is_pid_1: bool) {
    tracing::warn!("{} processes that no service owns did not end in time: killed", left.len());
    if is_pid_1 {
        send(Whom::Everybody, signals::SIGKILL);
    } else {
        left.into_iter().for_each(tree::kill_all_of);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_order_leaves_a_second_and_a_third_none() {
        let now = Instant::now();
        let mut stopping = Stopping::begin(now, Duration::from_secs(8));
        assert_eq!(stopping.kill_at(now), now + Duration::from_secs(8));
        stopping.hurry(now);
        assert_eq!(stopping.kill_at(now), now + HURRY);
        let late = now + HURRY;
        assert_eq!(stopping.kill_at(late), late + FAREWELL, "who is asked is given a moment");
        stopping.hurry(late);
        assert_eq!((stopping.kill_at(late), stopping.give_up_at()), (late, late + 2 * HURRY));
    }
}
