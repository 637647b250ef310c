//! New processes for old ones, one instance after the other: the next when the one before is ready. One that fails stops
//! the roll, and leaves the others alone.
//!
//! Where a process is ready as soon as it runs, that says little about it. So there the next instance waits until the new
//! process has lived as long as its restart rule calls healthy, and a death before that stops the roll. The last one has
//! nobody who waits for it: a roll takes no longer than it must.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::house::{Goal, House, Id, Turn};
use super::instance::{Event, State};
use super::restart::WAIT_MAX;

/// A service whose instances get new processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rolling {
    pub(super) service: String,
    pub(super) current: Option<Id>,
    pub(super) rest: VecDeque<Id>,
}

/// How far a roll's present instance is.
enum Stand {
    /// The next one may follow.
    Good,
    /// It is still open.
    Open,
    /// It has failed.
    Bad,
}

impl House {
    /// Whether a restart of this service is under way.
    pub fn is_rolling(&self, service: &str) -> bool {
        self.rolling.iter().any(|rolling| rolling.service == service)
    }

    /// Whether a roll of this service stopped before its end, and no order has come since.
    pub fn has_stalled(&self, service: &str) -> bool {
        self.stalled.contains(service)
    }

    pub(super) fn restart_service(&mut self, name: String) {
        let rest = self.of(&name).into();
        self.begin_roll(name, rest);
    }

    /// As a restart, of those instances alone, and not of a service that is stopped by order. Before them those are tried
    /// that want a process and have none: what is wrong with them may be wrong with all.
    pub(super) fn renew(&mut self, name: String, numbers: &BTreeSet<u32>) {
        if self.is_stopped(&name) {
            return;
        }
        let mut rest = VecDeque::new();
        for id in self.of(&name) {
            let member = &self.members[&id];
            match member.instance.state() {
                State::Waiting { .. } | State::Quarantined { .. } | State::Failed => rest.push_front(id),
                _ if numbers.contains(&member.number) => rest.push_back(id),
                _ => {}
            }
        }
        self.begin_roll(name, rest);
    }

    fn begin_roll(&mut self, name: String, mut rest: VecDeque<Id>) {
        self.stalled.remove(&name);
        self.rolling.retain(|rolling| rolling.service != name);
        rest.retain(|id| {
            self.members.get_mut(id).is_some_and(|member| {
                let stays = member.goal != Goal::Gone;
                if stays {
                    member.goal = Goal::Up;
                }
                stays
            })
        });
        self.rolling.push(Rolling { service: name, current: None, rest });
    }

    /// Takes every roll as far as it goes now.
    pub(super) fn roll(&mut self, turn: &mut Turn) {
        let mut rolling = std::mem::take(&mut self.rolling);
        rolling.retain_mut(|rolling| self.roll_on(rolling, turn));
        self.rolling = rolling;
    }

    /// Answers whether the roll is still under way.
    fn roll_on(&mut self, rolling: &mut Rolling, turn: &mut Turn) -> bool {
        loop {
            match self.stand(rolling, turn.now) {
                Stand::Good => {}
                Stand::Open => return true,
                Stand::Bad => {
                    self.stalled.insert(rolling.service.clone());
                    return false;
                }
            }
            let Some(next) = rolling.rest.pop_front() else { return false };
            rolling.current = Some(next);
            self.tell(next, Event::Restart, turn);
        }
    }

    fn stand(&self, rolling: &Rolling, now: Instant) -> Stand {
        let Some(member) = rolling.current.and_then(|id| self.members.get(&id)) else { return Stand::Good };
        match member.instance.state() {
            State::Pending if self.has_settled(member) => Stand::Bad,
            State::Pending | State::Starting { .. } | State::Stopping { .. } => Stand::Open,
            State::Running { .. } if self.trial_end(rolling).is_some_and(|end| now < end) => Stand::Open,
            State::Running { .. } | State::Completed => Stand::Good,
            State::Waiting { .. } | State::Quarantined { .. } | State::Stopped | State::Failed => Stand::Bad,
        }
    }

    /// When the present instance of a roll has lived long enough, if that is what the next one waits for.
    fn trial_end(&self, rolling: &Rolling) -> Option<Instant> {
        let member = self.members.get(&rolling.current?)?;
        match member.instance.state() {
            State::Running { since, .. } if member.rules.ready_at_once && !rolling.rest.is_empty() => {
                Some(since + member.rules.restart.healthy_after.min(WAIT_MAX))
            }
            _ => None,
        }
    }

    /// When the next roll goes on because a process has lived long enough.
    pub(super) fn trial_deadline(&self) -> Option<Instant> {
        self.rolling.iter().filter_map(|rolling| self.trial_end(rolling)).min()
    }

    /// The service whose roll waits for this instance's process to show that it lives.
    pub(super) fn trial_of(&self, id: Id, now: Instant) -> Option<String> {
        let rolling = self.rolling.iter().find(|rolling| rolling.current == Some(id))?;
        let member = self.members.get(&id).filter(|member| member.goal == Goal::Up && member.rules.ready_at_once)?;
        let is_new = match member.instance.state() {
            // It could not even be started.
            State::Starting { .. } => true,
            State::Running { .. } => self.trial_end(rolling).is_some_and(|end| now < end),
            _ => false,
        };
        is_new.then(|| rolling.service.clone())
    }

    /// Stops a roll where it is.
    pub(super) fn stall(&mut self, service: &str) {
        self.rolling.retain(|rolling| rolling.service != service);
        self.stalled.insert(service.to_owned());
    }
}
