//! New processes for old ones, one instance after the other: the next when the one before is ready. One that fails stops
//! the roll, and leaves the others alone.
//!
//! Where a process is ready as soon as it runs, that says little about it. So there the next instance waits until the new
//! process has lived as long as its restart rule calls healthy, and a death before that stops the roll. If nobody waits
//! for the last one, it is not waited for: a roll takes no longer than it must.
//!
//! The rolls that one plan brings go in the order of the start: a service is renewed when what it comes after has been,
//! and is as it asks. Where that fails, it keeps its processes, and has stalled too.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::house::{Condition, Goal, House, Id, Member, Turn};
use super::instance::{Event, State};
use super::restart::{WAIT_MAX, When};

/// A service whose instances get new processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rolling {
    pub(super) service: String,
    pub(super) current: Option<Id>,
    pub(super) rest: VecDeque<Id>,
    /// Services that are to be renewed before it.
    #[serde(default)]
    pub(super) behind: BTreeSet<String>,
}

/// How far it is, what a roll waits for.
enum Stand {
    /// What follows may begin.
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

    /// Services whose last roll stopped before its end, and that no order has reached since.
    pub fn stalled(&self) -> &BTreeSet<String> {
        &self.stalled
    }

    pub(super) fn restart_service(&mut self, name: String) {
        let rest = self.of(&name).into();
        self.begin_roll(name, rest, BTreeSet::new());
    }

    /// New processes for these instances, one service after the other. What is stopped by order stays so.
    pub(super) fn renew_all(&mut self, mut renewed: BTreeMap<String, BTreeSet<u32>>) {
        renewed.retain(|name, _| !self.is_stopped(name));
        // Rolls that are under way go on in the order of this plan: by two orders each could wait for the other.
        let orders: Vec<BTreeSet<String>> = self.rolling.iter().map(|rolling| self.before(&rolling.service)).collect();
        for (rolling, before) in self.rolling.iter_mut().zip(orders) {
            rolling.behind.retain(|other| before.contains(other));
        }
        // What they come after and fails is tried anew before them.
        let names: Vec<&str> = renewed.keys().map(String::as_str).collect();
        let lost: Vec<String> =
            names.into_iter().flat_map(|name| self.after_all(name)).filter(|name| self.is_lost(name)).collect();
        for name in lost {
            renewed.entry(name).or_default();
        }
        for (name, numbers) in &renewed {
            let before = self.before(name);
            let mut behind: BTreeSet<String> =
                renewed.keys().filter(|other| before.contains(*other)).cloned().collect();
            // What an earlier plan has begun to renew is not done yet.
            behind.extend(self.after_all(name).into_iter().filter(|other| self.is_rolling(other)));
            self.renew(name.clone(), numbers, behind);
        }
    }

    /// Whether a service has instances that fail and will be tried again.
    fn is_lost(&self, name: &str) -> bool {
        let lost =
            |member: &Member| matches!(member.instance.state(), State::Waiting { .. } | State::Quarantined { .. });
        let mut members = self.members.values().filter(|member| member.service == name && member.goal == Goal::Up);
        members.any(lost)
    }

    /// What a service says that it comes after, directly or not.
    fn after_all(&self, name: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut next = vec![name];
        while let Some(name) = next.pop() {
            for before in self.plan.get(name).iter().flat_map(|service| service.after.keys()) {
                if found.insert(before.clone()) {
                    next.push(before);
                }
            }
        }
        found
    }

    /// Everything that a service comes after, directly or not.
    fn before(&self, name: &str) -> BTreeSet<String> {
        let Some(service) = self.plan.get(name) else { return BTreeSet::new() };
        let tiers = self.plan.iter().filter(|(_, other)| other.tier < service.tier);
        tiers.map(|(other, _)| other.clone()).chain(self.after_all(name)).collect()
    }

    /// As a restart, of those instances alone. Before them those are tried that want a process and have none: what is
    /// wrong with them may be wrong with all.
    fn renew(&mut self, name: String, numbers: &BTreeSet<u32>, behind: BTreeSet<String>) {
        let mut rest = VecDeque::new();
        for id in self.of(&name) {
            let member = &self.members[&id];
            match member.instance.state() {
                State::Waiting { .. } | State::Quarantined { .. } | State::Failed => rest.push_front(id),
                _ if numbers.contains(&member.number) => rest.push_back(id),
                _ => {}
            }
        }
        self.begin_roll(name, rest, behind);
    }

    /// Who is on trial in a roll that this one replaces is waited for, or is the first to be tried anew: of those who serve
    /// nobody makes room meanwhile.
    fn begin_roll(&mut self, name: String, mut rest: VecDeque<Id>, behind: BTreeSet<String>) {
        self.stalled.remove(&name);
        let before = self.rolling.iter().position(|rolling| rolling.service == name);
        let mut current = before.and_then(|place| self.rolling.remove(place).current);
        if let Some(place) = current.and_then(|id| rest.iter().position(|other| *other == id)) {
            current = None;
            let first = rest.remove(place);
            rest.extend(first);
            rest.rotate_right(1);
        }
        rest.retain(|id| {
            self.members.get_mut(id).is_some_and(|member| {
                let stays = member.goal != Goal::Gone;
                if stays {
                    member.goal = Goal::Up;
                }
                stays
            })
        });
        self.rolling.push(Rolling { service: name, current, rest, behind });
    }

    /// Takes every roll as far as it goes now.
    pub(super) fn roll(&mut self, turn: &mut Turn) {
        // The end of one may be what another waits for.
        while let Some(over) = (0..self.rolling.len()).find(|place| self.roll_on(*place, turn)) {
            self.rolling.remove(over);
        }
    }

    /// Answers whether the roll is over.
    fn roll_on(&mut self, place: usize, turn: &mut Turn) -> bool {
        loop {
            if matches!(self.stand_of_current(&self.rolling[place], turn.now), Stand::Good) {
                // Nobody waits for it any more.
                self.rolling[place].current = None;
            }
            match self.stand(&self.rolling[place], turn.now) {
                Stand::Good => {}
                Stand::Open => return false,
                Stand::Bad => {
                    self.stalled.insert(self.rolling[place].service.clone());
                    return true;
                }
            }
            let rolling = &mut self.rolling[place];
            // From now on what it came after is its own affair.
            rolling.behind.clear();
            let Some(next) = rolling.rest.pop_front() else { return true };
            rolling.current = Some(next);
            self.tell(next, Event::Restart, turn);
        }
    }

    fn stand(&self, rolling: &Rolling, now: Instant) -> Stand {
        match self.stand_of_current(rolling, now) {
            Stand::Good => self.stand_before(rolling),
            stand => stand,
        }
    }

    /// How far the instance is that it was about last.
    fn stand_of_current(&self, rolling: &Rolling, now: Instant) -> Stand {
        let Some(member) = rolling.current.and_then(|current| self.members.get(&current)) else { return Stand::Good };
        match member.instance.state() {
            State::Pending if self.has_settled(member) => Stand::Bad,
            State::Pending | State::Starting { .. } | State::Stopping { .. } => Stand::Open,
            State::Running { .. } if self.trial_end(rolling).is_some_and(|end| now < end) => Stand::Open,
            State::Running { .. } | State::Completed => Stand::Good,
            State::Waiting { .. } | State::Quarantined { .. } | State::Stopped | State::Failed => Stand::Bad,
        }
    }

    /// How far all is that is to be renewed before.
    fn stand_before(&self, rolling: &Rolling) -> Stand {
        let mut all = Stand::Good;
        for name in &rolling.behind {
            let asked = self.plan.get(&rolling.service).and_then(|service| service.after.get(name));
            match self.stand_of(name, asked == Some(&Condition::Completed)) {
                Stand::Good => {}
                Stand::Open => all = Stand::Open,
                Stand::Bad => return Stand::Bad,
            }
        }
        all
    }

    /// How far a service is with being renewed, and ready or completed then.
    fn stand_of(&self, name: &str, completed: bool) -> Stand {
        let is_lost = |member: &Member| match member.instance.state() {
            _ if member.goal == Goal::Down => true,
            State::Waiting { .. } | State::Quarantined { .. } | State::Stopped | State::Failed => true,
            State::Pending => self.has_settled(member),
            // It would have to end, and never does for good.
            State::Running { .. } => completed && member.rules.restart.when == When::Always,
            State::Starting { .. } | State::Stopping { .. } | State::Completed => false,
        };
        let mut members = self.members.values().filter(|member| member.service == name && member.goal != Goal::Gone);
        if self.stalled.contains(name) {
            Stand::Bad
        } else if self.is_rolling(name) {
            Stand::Open
        } else if self.holds(name, if completed { Condition::Completed } else { Condition::Ready }) {
            Stand::Good
        } else if members.any(is_lost) {
            Stand::Bad
        } else {
            Stand::Open
        }
    }

    /// When the present instance of a roll has lived long enough, if somebody waits for that.
    fn trial_end(&self, rolling: &Rolling) -> Option<Instant> {
        let member = self.members.get(&rolling.current?)?;
        let waits = |other: &Rolling| other.behind.contains(&rolling.service);
        match member.instance.state() {
            State::Running { since, .. }
                if member.rules.ready_at_once && (!rolling.rest.is_empty() || self.rolling.iter().any(waits)) =>
            {
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
