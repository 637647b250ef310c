//! Ends of processes: collected, what was left behind ended too, told to the house and to the log.

use std::time::Instant;

use super::environment;
use super::event_loop::Supervisor;
use super::instance::Instance;
use crate::control::LastExit;
use crate::lifecycle::{HouseEvent, Id, Next, State};
use crate::sys::{Pid, signals, tree, wait};

/// How many dead are collected before others have their turn; in a storm of forks there are always more.
const DEAD_MAX: usize = 256;
/// How often in a row orphans of one dead process are looked for. Whoever still escapes, by forking and ending all the time,
/// is looked for again each time that one of his has ended.
const STRAY_ROUNDS_MAX: usize = 32;

impl Supervisor {
    /// The only place where ends of processes are noticed.
    pub(super) fn collect_the_dead(&mut self) {
        let mut owners: Vec<(Pid, Id)> =
            self.instances.iter().filter_map(|(id, instance)| Some((instance.process.as_ref()?.pid, *id))).collect();
        // A table that is made for each death at a stop of a thousand is to cost little.
        owners.sort_unstable();
        let mut died = Vec::new();
        let reaped_before = self.orphans_reaped;
        let drained =
            wait::drain_some(DEAD_MAX, |pid, exit| match owners.binary_search_by_key(&pid, |(owned, _)| *owned) {
                Ok(at) => {
                    // What it started and left behind must not stand in the way of its successor.
                    signals::kill_group(pid);
                    died.push((owners[at].1, pid, exit));
                }
                Err(_) if self.probes.end(pid, exit) || self.upgrade.end(pid, exit) => {}
                Err(_) => self.orphans_reaped += 1,
            });
        self.more_dead = drained.unwrap_or_else(|cause| {
            tracing::error!("cannot wait for children: {cause}");
            false
        });
        if self.orphans_reaped > reaped_before {
            self.hunt();
        }
        if died.is_empty() {
            return;
        }
        // Who has just been collected has left its own among our children already.
        let mut orphans = tree::children();
        orphans.retain(|child| {
            owners.binary_search_by_key(child, |(owned, _)| *owned).is_err() && !self.probes.knows(*child)
        });
        let talked = died.iter().map(|(id, ..)| *id);
        let talked = talked.filter(|id| self.instances.get(id).is_some_and(|instance| instance.output.is_some()));
        self.logs.ended(talked);
        for (id, pid, exit) in died {
            self.probes.forget(pid);
            let Some(instance) = self.instances.get_mut(&id) else { continue };
            instance.kill_cgroup();
            instance.process = None;
            if instance.is_log() {
                self.logs.disconnect();
                self.unread.reader_left();
            }
            instance.last_exit = Some(match exit {
                wait::Exit::Code(code) => LastExit::Code(code),
                wait::Exit::Signal(number) => LastExit::Signal(number),
            });
            let outcome = instance.unit.outcome(exit);
            self.close_retired_doors();
            if !self.kill_strays_of(id, &orphans) {
                self.haunted.insert(id);
            }
            self.take(HouseEvent::Died(id, outcome));
        }
    }

    /// Goes on with those who escaped before. Once there is a successor, what is his cannot be told from what is theirs.
    fn hunt(&mut self) {
        if self.haunted.is_empty() {
            return;
        }
        let mut haunted = std::mem::take(&mut self.haunted);
        haunted.retain(|id| {
            let is_alone = self.instances.get(id).is_some_and(|instance| instance.process.is_none());
            is_alone && !self.kill_strays_of(*id, &self.orphans())
        });
        self.haunted = haunted;
    }

    /// Our children whom we have not started.
    fn orphans(&self) -> Vec<Pid> {
        let known = |pid: &Pid| {
            self.instances.values().any(|one| one.process.as_ref().is_some_and(|process| process.pid == *pid))
        };
        let mut children = tree::children();
        children.retain(|child| !known(child) && !self.probes.knows(*child));
        children
    }

    /// Ends what a dead process left behind outside its group: those of the orphans that were started as it was. Answers
    /// whether none is left.
    fn kill_strays_of(&self, id: Id, orphans: &[Pid]) -> bool {
        let Some(instance) = self.instances.get(&id) else { return true };
        let marks = environment::marks(&instance.unit.name, instance.number);
        let marks: Vec<&str> = marks.iter().map(String::as_str).collect();
        // One that forks and ends at once has a successor which the list does not know yet.
        let mut listed = orphans.to_vec();
        for _ in 0..STRAY_ROUNDS_MAX {
            listed.retain(|orphan| tree::has_variables(*orphan, &marks) && !tree::is_dead(*orphan));
            if listed.is_empty() {
                return true;
            }
            listed.iter().copied().for_each(tree::kill_all_of);
            listed = self.orphans();
        }
        false
    }

    /// Whether an instance's process was told to end, and not because it hung.
    pub(super) fn ends_by_order(&self, id: Id) -> bool {
        match self.house.state(id) {
            Some(State::Stopping { next: Next::Rest | Next::Start, .. }) => true,
            Some(State::Stopping { next: Next::Judgement, .. }) => false,
            Some(
                State::Pending
                | State::Starting { .. }
                | State::Running { .. }
                | State::Waiting { .. }
                | State::Quarantined { .. }
                | State::Stopped
                | State::Completed
                | State::Failed,
            )
            | None => false,
        }
    }

    /// Says how an instance ended and what comes next; the house has decided that already.
    pub(super) fn log_death(&self, id: Id, by_order: bool) {
        let Some(Instance { unit, number, last_exit, last_pid, .. }) = self.instances.get(&id) else { return };
        let in_ms = |until: Instant| until.saturating_duration_since(Instant::now()).as_millis();
        let next = match self.house.state(id) {
            Some(State::Starting { .. }) => "; restarting now".to_owned(),
            Some(State::Waiting { until }) => format!("; restarting in {} ms", in_ms(until)),
            Some(State::Quarantined { until }) => {
                format!("; too many restarts: quarantined, tried again in {} ms", in_ms(until))
            }
            Some(State::Failed) => "; failed: not started again".to_owned(),
            Some(
                State::Pending | State::Running { .. } | State::Stopping { .. } | State::Stopped | State::Completed,
            )
            | None => String::new(),
        };
        let (service, instance) = (unit.name.as_str(), number);
        let pid = last_pid.map(tracing::field::display);
        let how = if by_order { "stopped" } else { "exited" };
        match last_exit {
            Some(LastExit::Code(code)) => tracing::info!(service, instance, pid, "{how} code={code}{next}"),
            Some(LastExit::Signal(number)) => tracing::info!(service, instance, pid, "{how} signal={number}{next}"),
            Some(LastExit::NotStarted(cause)) => tracing::error!(service, instance, "cannot start: {cause}{next}"),
            None => {}
        }
    }
}
