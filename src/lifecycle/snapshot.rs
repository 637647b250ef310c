//! A house as it is written down, so that another process of the same machine can go on with it: a supervisor that is
//! replaced by a newer one keeps every state, budget and time.
//!
//! Instants mean nothing outside their process, so times are written as distances from an instant that both processes
//! know. What follows from the plan is not written; whoever reads it has the plan. These types are a format: they
//! change only with the version of the state that they are part of, whatever becomes of the types that they mirror.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::house::{Goal, House, Id, Member, Phase, Plan, Tier};
use super::instance::{Instance, Next, Rules, State};
use super::restart::Record;
use super::rolling::Rolling;

/// Nanoseconds from the common instant, before it if negative; 292 years at most either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(i64);

impl Moment {
    /// Where an instant lies.
    pub fn of(at: Instant, origin: Instant) -> Self {
        let nanos = |distance: Duration| i64::try_from(distance.as_nanos()).unwrap_or(i64::MAX);
        match at.checked_duration_since(origin) {
            Some(after) => Self(nanos(after)),
            None => Self(-nanos(origin.duration_since(at))),
        }
    }

    /// The instant there; the common one if this process's clock does not reach so far.
    pub fn instant(self, origin: Instant) -> Instant {
        let distance = Duration::from_nanos(self.0.unsigned_abs());
        let at = if self.0 < 0 { origin.checked_sub(distance) } else { origin.checked_add(distance) };
        at.unwrap_or(origin)
    }
}

/// A house, written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    members: BTreeMap<Id, MemberSnapshot>,
    next_id: Id,
    phase: PhaseSnapshot,
    rolling: Vec<Rolling>,
    #[serde(default)]
    stalled: BTreeSet<String>,
    stop_max: Duration,
    culprit: Option<Id>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct MemberSnapshot {
    service: String,
    number: u32,
    state: StateSnapshot,
    deaths: u32,
    recent: Vec<Moment>,
    probation: bool,
    goal: Goal,
    /// What it was started with, or what an earlier plan said of it: the present plan may say something else.
    rules: Rules,
    after: BTreeSet<String>,
    tier: Tier,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StateSnapshot {
    Pending,
    Starting { since: Moment },
    Running { since: Moment, heard: Moment },
    Waiting { until: Moment },
    Quarantined { until: Moment },
    Stopping { kill_at: Option<Moment>, next: Next },
    Stopped,
    Completed,
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PhaseSnapshot {
    Fresh,
    Up { settled: bool },
    Stopping { since: Moment, max: Duration, hurried: bool },
    Down,
}

impl House {
    /// Writes the house down, times as distances from `origin`.
    pub fn snapshot(&self, origin: Instant) -> Snapshot {
        let moment = |at: Instant| Moment::of(at, origin);
        let phase = match self.phase {
            Phase::Fresh => PhaseSnapshot::Fresh,
            Phase::Up { settled } => PhaseSnapshot::Up { settled },
            Phase::Stopping { since, max, hurried } => PhaseSnapshot::Stopping { since: moment(since), max, hurried },
            Phase::Down => PhaseSnapshot::Down,
        };
        Snapshot {
            members: self.members.iter().map(|(id, member)| (*id, member_snapshot(member, origin))).collect(),
            next_id: self.next_id,
            phase,
            rolling: self.rolling.clone(),
            stalled: self.stalled.clone(),
            stop_max: self.stop_max,
            culprit: self.culprit,
        }
    }

    /// The house of a snapshot that was taken under the same plan.
    pub fn restore(plan: Plan, snapshot: Snapshot, origin: Instant) -> Self {
        let instant = |moment: Moment| moment.instant(origin);
        let phase = match snapshot.phase {
            PhaseSnapshot::Fresh => Phase::Fresh,
            PhaseSnapshot::Up { settled } => Phase::Up { settled },
            PhaseSnapshot::Stopping { since, max, hurried } => Phase::Stopping { since: instant(since), max, hurried },
            PhaseSnapshot::Down => Phase::Down,
        };
        Self {
            members: snapshot.members.into_iter().map(|(id, written)| (id, member(written, origin))).collect(),
            next_id: snapshot.next_id,
            phase,
            rolling: snapshot.rolling,
            stalled: snapshot.stalled,
            stop_max: snapshot.stop_max,
            culprit: snapshot.culprit,
            plan,
        }
    }
}

fn member_snapshot(member: &Member, origin: Instant) -> MemberSnapshot {
    let Instance { state, record: Record { deaths, recent, probation } } = &member.instance;
    MemberSnapshot {
        service: member.service.clone(),
        number: member.number,
        state: state_snapshot(*state, origin),
        deaths: *deaths,
        recent: recent.iter().map(|at| Moment::of(*at, origin)).collect(),
        probation: *probation,
        goal: member.goal,
        rules: member.rules.clone(),
        after: member.after.clone(),
        tier: member.tier,
    }
}

fn member(written: MemberSnapshot, origin: Instant) -> Member {
    let record = Record {
        deaths: written.deaths,
        recent: written.recent.iter().map(|at| at.instant(origin)).collect(),
        probation: written.probation,
    };
    Member {
        service: written.service,
        number: written.number,
        instance: Instance { state: state(written.state, origin), record },
        goal: written.goal,
        rules: written.rules,
        after: written.after,
        tier: written.tier,
    }
}

fn state_snapshot(state: State, origin: Instant) -> StateSnapshot {
    let moment = |at: Instant| Moment::of(at, origin);
    match state {
        State::Pending => StateSnapshot::Pending,
        State::Starting { since } => StateSnapshot::Starting { since: moment(since) },
        State::Running { since, heard } => StateSnapshot::Running { since: moment(since), heard: moment(heard) },
        State::Waiting { until } => StateSnapshot::Waiting { until: moment(until) },
        State::Quarantined { until } => StateSnapshot::Quarantined { until: moment(until) },
        State::Stopping { kill_at, next } => StateSnapshot::Stopping { kill_at: kill_at.map(moment), next },
        State::Stopped => StateSnapshot::Stopped,
        State::Completed => StateSnapshot::Completed,
        State::Failed => StateSnapshot::Failed,
    }
}

fn state(written: StateSnapshot, origin: Instant) -> State {
    let instant = |moment: Moment| moment.instant(origin);
    match written {
        StateSnapshot::Pending => State::Pending,
        StateSnapshot::Starting { since } => State::Starting { since: instant(since) },
        StateSnapshot::Running { since, heard } => State::Running { since: instant(since), heard: instant(heard) },
        StateSnapshot::Waiting { until } => State::Waiting { until: instant(until) },
        StateSnapshot::Quarantined { until } => State::Quarantined { until: instant(until) },
        StateSnapshot::Stopping { kill_at, next } => State::Stopping { kill_at: kill_at.map(instant), next },
        StateSnapshot::Stopped => State::Stopped,
        StateSnapshot::Completed => State::Completed,
        StateSnapshot::Failed => State::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_the_same_distance_from_another_clocks_origin() {
        let (ours, distance) = (Instant::now(), Duration::from_nanos(1_234_567_891));
        let theirs = ours + Duration::from_secs(100);
        assert_eq!(Moment::of(ours + distance, ours).instant(theirs), theirs + distance);
        assert_eq!(Moment::of(ours - distance, ours).instant(theirs), theirs - distance);
        assert_eq!(Moment::of(ours, ours), Moment(0));
    }
}
