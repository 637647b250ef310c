//! A million random steps through a house, on a virtual clock: what must hold whatever happens.
//!
//! The world here keeps its own books of processes, and believes nothing that the house says about them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::*;

const STEPS: u64 = 1_000_000;
const INSTANCES_MAX: u32 = 3;
const STOP_MAX: Duration = Duration::from_millis(8_000);
const HEALTHY_AFTER: Duration = Duration::from_millis(1_000);
const NAMES: [&str; 7] = ["log", "bus", "a", "b", "c", "d", "e"];

/// Steele, Lea and Flood's SplitMix64: a seed gives the same run on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// A process as the world knows it.
#[derive(Debug)]
struct Process {
    who: (String, u32),
    since: Instant,
    ready: bool,
    ready_at_once: bool,
    /// It was told to end.
    told: bool,
    /// When it obeys the order to end; `None` if it does not.
    ends_at: Option<Instant>,
    killed: bool,
    /// It is no longer in the plan, and comes after what an earlier plan said.
    leaving: bool,
}

/// New processes for old ones, as the world sees them ordered.
#[derive(Debug)]
struct Roll {
    /// Who may be told to make room.
    whom: BTreeSet<u32>,
    /// Who was told last.
    last: Option<Id>,
    /// Who has still the process that he had at the order.
    unchanged: BTreeSet<Id>,
    /// Which plan brought it; none if an order did.
    plan: Option<u64>,
    /// What the same plan renews and is to be renewed before, until the first of this service was touched.
    behind: BTreeSet<String>,
}

struct World {
    random: Random,
    house: House,
    plan: Plan,
    now: Instant,
    alive: BTreeMap<Id, Process>,
    /// What the world has seen of each instance since it was last to be started: was it ever started, did it end well?
    completed: BTreeSet<(String, u32)>,
    /// When each instance was started again without an order.
    restarts: BTreeMap<Id, Vec<Instant>>,
    /// Services that an order stopped.
    stopped: BTreeSet<String>,
    /// Services whose instances are to get new processes.
    rolls: BTreeMap<String, Roll>,
    stop_asked: Option<(Instant, u32)>,
    /// How many plans there were.
    plans: u64,
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A plan without circles: each service comes after some of those named before it.
fn any_plan(random: &mut Random) -> Plan {
    let mut plan = Plan::new();
    for (index, name) in NAMES.iter().enumerate() {
        if index > 1 && random.chance(30) {
            continue;
        }
        let mut after = BTreeMap::new();
        for earlier in NAMES[2..index.max(2)].iter().filter(|earlier| plan.contains_key(**earlier)) {
            if random.chance(30) {
                let condition = random.pick(&[Condition::Started, Condition::Ready, Condition::Completed]);
                after.insert((*earlier).to_owned(), condition);
            }
        }
        let limit = random.chance(60).then(|| Limit { restarts: random.below(5) as u32, window: ms(10_000) });
        let then = if random.chance(70) { Then::Quarantine(ms(10_000 + random.below(5_000))) } else { Then::Fail };
        let restart = Restart {
            when: if index < 2 { When::Always } else { random.pick(&[When::Always, When::OnFailure, When::Never]) },
            healthy_after: HEALTHY_AFTER,
            backoff_min: ms(100),
            backoff_max: ms(1_500),
            limit: limit.filter(|_| index > 1),
            then,
        };
        let rules = Rules {
            restart,
            ready_at_once: random.chance(40),
            ready_max: random.chance(50).then(|| ms(500 + random.below(2_000))),
            watchdog: random.chance(30).then(|| ms(300 + random.below(2_000))),
            stop_max: ms(50 + random.below(10_000)),
        };
        let tier = [Tier::Log, Tier::Bus].get(index).copied().unwrap_or(Tier::Service);
        let instances = 1 + random.below(INSTANCES_MAX.into()) as u32;
        plan.insert((*name).to_owned(), Service { tier, instances, after, rules, essential: random.chance(5) });
    }
    plan
}

/// What a service comes after, directly or not, whole tiers included.
fn comes_after(plan: &Plan, name: &str) -> BTreeSet<String> {
    let service = &plan[name];
    let tiers = plan.iter().filter(|(_, other)| other.tier < service.tier).map(|(other, _)| other.clone());
    let named = service.after.keys().filter(|name| plan.contains_key(*name));
    let further = named.clone().flat_map(|name| comes_after(plan, name));
    tiers.chain(named.cloned()).chain(further).collect()
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let plan = any_plan(&mut random);
        let mut world = Self {
            random,
            house: House::new(plan.clone(), STOP_MAX),
            plan,
            now: Instant::now(),
            alive: BTreeMap::new(),
            completed: BTreeSet::new(),
            restarts: BTreeMap::new(),
            stopped: BTreeSet::new(),
            rolls: BTreeMap::new(),
            stop_asked: None,
            plans: 0,
        };
        world.tell(HouseEvent::Start);
        world
    }

    fn who(&self, id: Id) -> (String, u32) {
        let (_, service, number, _) = self.house.members().find(|(other, ..)| *other == id).expect("a member");
        (service.to_owned(), number)
    }

    /// Gives the house an event, and does what it answers.
    fn tell(&mut self, event: HouseEvent) {
        // Whose start is a restart that nobody ordered, if it happens in this step.
        let unordered = |id, state| match (&event, state) {
            (HouseEvent::Died(who, _), state) => {
                *who == id && !matches!(state, State::Stopping { next: Next::Start, .. })
            }
            // Who is not due yet can only be started by a roll.
            (HouseEvent::Tick, State::Waiting { until } | State::Quarantined { until }) => until <= self.now,
            _ => false,
        };
        let unordered: BTreeSet<Id> =
            self.house.members().filter(|(id, .., state)| unordered(*id, *state)).map(|(id, ..)| id).collect();
        if event == HouseEvent::Stop {
            let (since, times) = self.stop_asked.unwrap_or((self.now, 0));
            self.stop_asked = Some((since, times + 1));
        }
        let was_stopping = self.house.health() == Health::Stopping;
        if !was_stopping {
            self.note_order(&event);
        }
        let condition_before = self.conditions();
        // Who hangs is told to end whoever needs it.
        let in_order = !matches!(event, HouseEvent::Tick | HouseEvent::Hung(_));
        let jitter = self.random.next() as u16;
        let actions = self.house.step(event, self.now, jitter);
        if self.house.health() == Health::Stopping && !was_stopping && self.stop_asked.is_none() {
            self.stop_asked = Some((self.now, 1));
        }
        let mut failed_to_start = Vec::new();
        for (id, action) in actions {
            match action {
                Action::Spawn => {
                    // A death may start its successor and, by what it means to others, end everything in one step.
                    assert!(!was_stopping, "started during a stop");
                    self.check_spawn(id, &condition_before, !unordered.contains(&id));
                    let who = self.who(id);
                    self.completed.remove(&who);
                    // Who is started by order may be the roll's next one, or not: nothing is known of it then.
                    if let Some(roll) = self.rolls.get_mut(&who.0).filter(|_| !unordered.contains(&id)) {
                        roll.last.take_if(|last| *last != id);
                        roll.behind.clear();
                    }
                    let ready_at_once = self.plan[&who.0].rules.ready_at_once;
                    let process = Process {
                        who,
                        since: self.now,
                        ready: false,
                        ready_at_once,
                        told: false,
                        ends_at: None,
                        killed: false,
                        leaving: false,
                    };
                    assert!(self.alive.insert(id, process).is_none(), "a second process beside a living one");
                    if self.random.chance(3) {
                        failed_to_start.push(id);
                    }
                }
                Action::Terminate | Action::Abort => {
                    if in_order {
                        self.check_order(id);
                    }
                    if action == Action::Terminate
                        && matches!(self.house.health(), Health::Starting | Health::Running | Health::Degraded)
                    {
                        self.check_roll(id);
                    }
                    let obeys = self.random.chance(85);
                    let at = self.now + ms(self.random.below(300));
                    let process = self.alive.get_mut(&id).expect("a signal to nobody");
                    (process.told, process.ends_at) = (true, obeys.then_some(at));
                }
                Action::Kill => {
                    let process = self.alive.get_mut(&id).expect("a kill of nobody");
                    assert!(!process.killed, "killed twice");
                    (process.killed, process.ends_at) = (true, Some(self.now + ms(1)));
                }
            }
        }
        for id in failed_to_start {
            self.die(id, Outcome::Failure);
        }
        self.check();
    }

    fn die(&mut self, id: Id, outcome: Outcome) {
        let process = self.alive.remove(&id).expect("it lived");
        let name = &process.who.0;
        let is_done = outcome == Outcome::Success
            && self.plan.get(name).is_some_and(|service| service.rules.restart.when != When::Always);
        let by_itself = process.ready_at_once && !process.told && !process.leaving && !is_done;
        if let Some(roll) = self.rolls.get_mut(name) {
            roll.unchanged.remove(&id);
        }
        if let Some(roll) = self.rolls.get_mut(name).filter(|roll| by_itself && roll.last == Some(id)) {
            // Whether the roll has gone on since, to one that needs no order, is not known.
            roll.last = None;
            if self.now - process.since < HEALTHY_AFTER {
                // Who waits for it waits in vain.
                let plan = self.rolls.remove(name).and_then(|roll| roll.plan);
                self.rolls.retain(|_, roll| plan.is_none() || roll.plan != plan || !roll.behind.contains(name));
            }
        }
        if outcome == Outcome::Success {
            self.completed.insert(process.who);
        }
        self.tell(HouseEvent::Died(id, outcome));
    }

    /// Which services are started, ready and completed, by the world's own books.
    fn conditions(&self) -> BTreeMap<String, [bool; 3]> {
        let of = |name: &String, service: &Service| {
            let each = |number: u32| {
                let who = (name.clone(), number);
                let process = self.alive.values().find(|process| process.who == who);
                let done = self.completed.contains(&who) && process.is_none();
                [process.is_some() || done, process.is_some_and(|process| process.ready) || done, done]
            };
            (1..=service.instances).map(each).fold([true; 3], |all, one| std::array::from_fn(|i| all[i] && one[i]))
        };
        self.plan.iter().map(|(name, service)| (name.clone(), of(name, service))).collect()
    }

    fn check_spawn(&mut self, id: Id, before: &BTreeMap<String, [bool; 3]>, ordered: bool) {
        let who = self.who(id);
        assert!(!self.alive.values().any(|process| process.who == who), "{who:?} in two states");
        let first = !self.restarts.contains_key(&id);
        let restarts = self.restarts.entry(id).or_default();
        let Some(service) = self.plan.get(&who.0) else { panic!("{who:?} is not in the plan") };
        if first {
            for (name, condition) in &service.after {
                // What was started or became ready in this very step is in the books of now.
                let now = self.alive.values().any(|process| process.who.0 == *name);
                let held = before[name][*condition as usize];
                assert!(held || (*condition == Condition::Started && now), "{who:?} before {name} {condition:?}");
            }
        } else if ordered {
            restarts.clear();
        } else if let Some(limit) = service.rules.restart.limit {
            restarts.push(self.now);
            let window = restarts.iter().rev().take_while(|then| self.now - **then < limit.window);
            // A half-open try is one more.
            assert!(window.count() as u32 <= limit.restarts + 1, "{who:?} exceeds its budget");
        }
    }

    /// Who is told to end in an unhurried stop is no longer needed by anybody.
    fn check_order(&self, id: Id) {
        let Some((since, 1)) = self.stop_asked else { return };
        let (name, _) = self.who(id);
        if self.now - since >= STOP_MAX / 4 * 3 {
            return;
        }
        for process in self.alive.values().filter(|process| !process.leaving) {
            let service = &self.plan[&process.who.0];
            assert!(!service.after.contains_key(&name), "{name} was told to end before {:?}", process.who);
            let tier = self.plan.get(&name).map_or(Tier::Service, |service| service.tier);
            assert!(service.tier <= tier, "{name} was told to end before {:?}", process.who);
        }
    }

    fn note_order(&mut self, event: &HouseEvent) {
        match event {
            HouseEvent::StopService(name) if self.plan.contains_key(name) => {
                self.rolls.remove(name);
                self.stopped.insert(name.clone());
            }
            HouseEvent::StartService(name) => drop(self.stopped.remove(name)),
            HouseEvent::RestartService(name) => self.begin_roll(name, &(1..=INSTANCES_MAX).collect(), None),
            HouseEvent::Replace(plan, renewed) => {
                self.rolls.retain(|name, _| plan.contains_key(name));
                self.stopped.retain(|name| plan.contains_key(name));
                let renewed = renewed.iter().filter(|(name, _)| !self.stopped.contains(*name)).collect::<Vec<_>>();
                self.plans += 1;
                renewed.iter().for_each(|(name, numbers)| self.begin_roll(name, numbers, Some(self.plans)));
                let names: BTreeSet<String> = renewed.iter().map(|(name, _)| (*name).clone()).collect();
                for name in &names {
                    let before = comes_after(plan, name);
                    let roll = self.rolls.get_mut(name).expect("it has begun");
                    roll.behind = names.intersection(&before).cloned().collect();
                }
            }
            _ => {}
        }
    }

    fn begin_roll(&mut self, name: &str, numbers: &BTreeSet<u32>, plan: Option<u64>) {
        // Who has no process may be tried too.
        let lives = |number: &u32| self.alive.values().any(|process| process.who == (name.to_owned(), *number));
        let whom = (1..=INSTANCES_MAX).filter(|number| numbers.contains(number) || !lives(number)).collect();
        self.stopped.remove(name);
        let stays = |process: &Process| process.who.0 == name && numbers.contains(&process.who.1) && !process.leaving;
        let unchanged = self.alive.iter().filter(|(_, process)| stays(process)).map(|(id, _)| *id).collect();
        self.rolls.insert(name.to_owned(), Roll { whom, last: None, unchanged, plan, behind: BTreeSet::new() });
    }

    /// Who is ready and told to end, though it is to run, makes room for a new process; the one before it has shown
    /// that it may.
    fn check_roll(&mut self, id: Id) {
        let process = &self.alive[&id];
        let who = &process.who;
        if !process.ready || process.leaving || self.stopped.contains(&who.0) {
            return;
        }
        let roll = self.rolls.get_mut(&who.0).filter(|roll| roll.whom.contains(&who.1));
        let roll = roll.unwrap_or_else(|| panic!("nobody ordered {who:?} to make room"));
        roll.unchanged.remove(&id);
        let (plan, behind) = (roll.plan, std::mem::take(&mut roll.behind));
        let before = roll.last.replace(id);
        for name in &behind {
            let Some(roll) = self.rolls.get(name).filter(|roll| roll.plan == plan) else { continue };
            assert!(roll.unchanged.is_empty(), "{who:?} makes room before {name} is renewed");
            let told = self.alive.values().any(|process| process.who.0 == *name && process.told && !process.leaving);
            assert!(!told && self.conditions()[name][1], "{who:?} makes room before {name} is ready");
        }
        let Some(before) = before else { return };
        match self.alive.get(&before) {
            Some(process) if process.leaving => {}
            Some(process) => {
                assert!(process.ready && !process.told, "{who:?} makes room before {:?} is ready", process.who);
                let is_tried = !process.ready_at_once || self.now - process.since >= HEALTHY_AFTER;
                assert!(is_tried, "{who:?} makes room before {:?} has lived", process.who);
            }
            None => {
                let state = self.house.state(before);
                assert!(matches!(state, None | Some(State::Completed)), "{who:?} makes room though {before} failed");
            }
        }
    }

    /// What holds after every step.
    fn check(&self) {
        let mut seen = BTreeSet::new();
        for (id, service, number, state) in self.house.members() {
            assert_eq!(self.alive.contains_key(&id), state.has_process(), "{service}/{number} is {}", state.name());
            assert!(!state.has_process() || seen.insert((service, number)), "{service}/{number} twice");
        }
        assert!(self.alive.keys().all(|id| self.house.state(*id).is_some()), "a process without an owner");
        if let Some((since, _)) = self.stop_asked {
            assert!(self.now - since <= STOP_MAX + ms(10), "a stop without an end");
        }
    }

    /// The next thing that happens by itself: a process obeys or dies by a kill, or a time has come.
    fn let_time_pass(&mut self) {
        let ending = self.alive.iter().filter_map(|(id, process)| Some((process.ends_at?, *id))).min();
        let until = self.now + ms(self.random.below(2_000));
        match (ending, self.house.deadline()) {
            (Some((at, id)), deadline) if at <= until && deadline.is_none_or(|deadline| at <= deadline) => {
                self.now = self.now.max(at);
                let outcome = if self.random.chance(50) { Outcome::Success } else { Outcome::Failure };
                self.die(id, outcome);
            }
            (_, Some(deadline)) if deadline <= until => {
                self.now = self.now.max(deadline);
                self.tell(HouseEvent::Tick);
                let next = self.house.deadline();
                assert!(next.is_none_or(|next| next > self.now), "a time without an owner");
            }
            _ => self.now = until,
        }
    }

    /// Another process takes the house over, by what is written about it; its clock began some other time.
    fn move_house(&mut self) {
        let written = serde_json::to_string(&self.house.snapshot(self.now)).expect("numbers and names");
        let snapshot: Snapshot = serde_json::from_str(&written).expect("what was written");
        let moved = House::restore(self.plan.clone(), snapshot, self.now);
        assert_eq!(moved, self.house);
        self.house = moved;
    }

    fn something_happens(&mut self) {
        if self.random.chance(1) {
            self.move_house();
        }
        let alive: Vec<Id> = self.alive.keys().copied().collect();
        match self.random.below(100) {
            0..40 => self.let_time_pass(),
            40..75 if !alive.is_empty() => {
                let id = self.random.pick(&alive);
                let process = self.alive.get_mut(&id).expect("it lives");
                if process.ready {
                    let hung = self.random.chance(5);
                    self.tell(if hung { HouseEvent::Hung(id) } else { HouseEvent::Alive(id) });
                } else {
                    process.ready = true;
                    self.tell(HouseEvent::Ready(id));
                }
            }
            75..90 if !alive.is_empty() => {
                let id = self.random.pick(&alive);
                let outcome = if self.random.chance(30) { Outcome::Success } else { Outcome::Failure };
                self.die(id, outcome);
            }
            90..97 => {
                let name = self.random.pick(&NAMES).to_owned();
                if self.random.chance(40) {
                    self.tell(HouseEvent::RestartService(name));
                } else if self.random.chance(50) {
                    self.tell(HouseEvent::StopService(name));
                } else {
                    self.tell(HouseEvent::StartService(name));
                }
            }
            97 if self.stop_asked.is_none() => {
                let plan = any_plan(&mut self.random);
                let renewed: BTreeSet<String> = plan.keys().filter(|_| self.random.chance(30)).cloned().collect();
                let mut some = || (1..=INSTANCES_MAX).filter(|_| self.random.chance(70)).collect();
                let renewed = renewed.into_iter().map(|name| (name, some())).collect();
                self.plan = plan.clone();
                for process in self.alive.values_mut() {
                    let (name, number) = &process.who;
                    process.leaving |= self.plan.get(name).is_none_or(|service| *number > service.instances);
                }
                // Other rules, other budgets.
                self.restarts.values_mut().for_each(Vec::clear);
                self.tell(HouseEvent::Replace(plan, renewed));
            }
            98 if self.random.chance(20) => self.tell(HouseEvent::Stop),
            _ => self.tell(HouseEvent::Tick),
        }
    }
}

#[test]
fn a_million_random_steps_break_no_rule() {
    let (mut steps, mut stops, mut seed) = (0, 0, 1);
    while steps < STEPS {
        let mut world = World::new(seed);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..5_000 {
                steps += 1;
                world.something_happens();
                if world.house.health() == Health::Down {
                    stops += 1;
                    assert!(world.alive.is_empty(), "it left before its processes");
                    return;
                }
            }
        }));
        if let Err(cause) = outcome {
            eprintln!("seed {seed} replays this");
            std::panic::resume_unwind(cause);
        }
        seed += 1;
    }
    assert!(stops > 1_000, "only {stops} stops were seen");
}
