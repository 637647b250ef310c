//! What another configuration would change, service by service and instance by instance, and why. Pure.
//!
//! A process is held against what it was started from, not against the configuration in force: after a roll that stopped
//! half-way some processes live on as an older configuration started them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;

use super::listeners::Doors;
use super::plan::{self, Unit, Units};
use crate::config::Config;
use crate::control::{Change, What};
use crate::lifecycle::{Plan, Service};

/// What a process was started from.
#[derive(Clone, Debug)]
pub(super) struct Launched {
    pub(super) config: Rc<Config>,
    /// Where the bus listened.
    pub(super) doors: Doors,
}

/// How things are.
pub(super) struct Present<'a> {
    /// What is in force.
    pub(super) config: &'a Rc<Config>,
    /// Where the bus listens.
    pub(super) doors: Doors,
    /// Processes that are to go on: each one's service, its number, and what it was started from.
    pub(super) living: BTreeMap<(&'a str, u32), &'a Launched>,
    /// Services that are stopped by order.
    pub(super) stopped: BTreeSet<&'a str>,
}

/// All that changes.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Service by service, in the order of names; what stays as it is is not told.
    pub(super) told: Vec<Change>,
    /// The instances that get new processes.
    pub(super) renewed: BTreeMap<String, BTreeSet<u32>>,
}

/// The changes from how things are to another configuration.
pub(super) fn between(present: &Present<'_>, after: &Config) -> Changes {
    let Present { config: before, doors, living, stopped } = present;
    let (old_units, old_plan) = plan::plan(before);
    let mut target = Target::new(before, *doors, after);
    let now = Launched { config: (*before).clone(), doors: *doors };
    let names: BTreeSet<String> = old_plan.keys().chain(target.plan.keys()).cloned().collect();
    let mut changes = Changes::default();
    for name in names {
        let (what, why) = match (old_plan.get(&name), target.plan.get(&name).cloned()) {
            (None, Some(_)) => (What::Start, "it is new".to_owned()),
            (Some(_), None) => (What::Stop, "it is no longer there".to_owned()),
            (Some(old), Some(new)) => {
                let stay = old.instances.min(new.instances);
                let by = |number| living.get(&(name.as_str(), number)).copied().unwrap_or(&now);
                let (renewed, why) = target.renewed(&name, (1..=stay).map(|number| (number, by(number))));
                let whom =
                    if renewed.len() == stay as usize { String::new() } else { format!("{}: ", listed(&renewed)) };
                match in_place((&old_units[&name], old), (&target.units[&name], &new)) {
                    _ if !renewed.is_empty() && stopped.contains(name.as_str()) => {
                        (What::Nothing, format!("{}; it is stopped", why.told()))
                    }
                    _ if !renewed.is_empty() => {
                        changes.renewed.insert(name.clone(), renewed);
                        (What::Restart, format!("{whom}{}", why.told()))
                    }
                    Some((What::Start, why)) if stopped.contains(name.as_str()) => {
                        (What::Nothing, format!("{why}; it is stopped"))
                    }
                    Some(change) => change,
                    None => continue,
                }
            }
            (None, None) => continue,
        };
        changes.told.push(Change { service: name, what, why });
    }
    changes
}

/// Where the bus listens by a configuration.
pub(super) fn doors(config: &Config) -> Option<(std::net::IpAddr, u16, u16)> {
    let bus = config.bus.as_ref()?;
    bus.requests.as_ref().map(|requests| (bus.bind, requests.front, requests.back))
}

/// What processes are to be like.
pub(super) struct Target {
    config: Rc<Config>,
    units: Units,
    plan: Plan,
    /// Where the bus will listen; a port that is still to be found is nobody's yet.
    doors: Option<[Option<SocketAddr>; 2]>,
    /// The units of other configurations.
    known: Vec<(Rc<Config>, Units)>,
}

impl Target {
    /// As a configuration has them that takes the place of the one in force, with the bus listening there.
    fn new(before: &Config, bound: Doors, after: &Config) -> Self {
        let doors = match doors(after) {
            doors_after if doors_after == doors(before) => bound.map(|doors| doors.map(Some)),
            doors_after => doors_after
                .map(|(ip, front, back)| [front, back].map(|port| (port != 0).then(|| SocketAddr::new(ip, port)))),
        };
        let (units, plan) = plan::plan(after);
        Self { config: Rc::new(after.clone()), units, plan, doors, known: Vec::new() }
    }

    /// As the configuration in force has them.
    pub(super) fn present(config: &Rc<Config>, bound: Doors) -> Self {
        let doors = bound.map(|doors| doors.map(Some));
        let (units, plan) = plan::plan(config);
        Self { config: config.clone(), units, plan, doors, known: Vec::new() }
    }

    /// Which of these instances of a service have to make room, and why.
    fn renewed<'a>(
        &mut self,
        name: &str,
        launched: impl Iterator<Item = (u32, &'a Launched)>,
    ) -> (BTreeSet<u32>, Reasons) {
        let (mut renewed, mut why) = (BTreeSet::new(), Reasons::default());
        for (number, launched) in launched {
            let reasons = self.differs(name, launched);
            if reasons.any() {
                why = why.and(reasons);
                renewed.insert(number);
            }
        }
        (renewed, why)
    }

    /// Why a process of a service has to make room for another one.
    pub(super) fn differs(&mut self, name: &str, launched: &Launched) -> Reasons {
        let moved = launched.doors.map(|doors| doors.map(Some)) != self.doors;
        let is_known = |(config, _): &&(Rc<Config>, Units)| Rc::ptr_eq(config, &launched.config);
        if !Rc::ptr_eq(&self.config, &launched.config) && !self.known.iter().any(|known| is_known(&known)) {
            self.known.push((launched.config.clone(), plan::plan(&launched.config).0));
        }
        let units = self.known.iter().find(is_known).map_or(&self.units, |(_, units)| units);
        let (Some(old), Some(new)) = (units.get(name), self.units.get(name)) else { return Reasons::default() };
        let walled = self.config.supervisor.sandbox != launched.config.supervisor.sandbox;
        Reasons([
            old.program != new.program,
            old.confine != new.confine,
            old.ready != new.ready,
            old.watchdog != new.watchdog,
            // Every process but the log's is told where the bus listens.
            moved && new.program.knows_the_bus(),
            walled && new.program.is_built_in(),
        ])
    }
}

/// What a process was started from that is no longer so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reasons([bool; REASONS.len()]);

const REASONS: [&str; 6] =
    ["what it runs", "what it may do and have", "ready", "watchdog", "where the bus listens", "sandbox"];

impl Reasons {
    /// Whether there are any.
    pub(super) fn any(self) -> bool {
        self.0.contains(&true)
    }

    fn and(self, other: Self) -> Self {
        Self(std::array::from_fn(|index| self.0[index] || other.0[index]))
    }

    /// In words.
    pub(super) fn told(self) -> String {
        let words: Vec<&str> =
            REASONS.into_iter().zip(self.0).filter_map(|(word, holds)| holds.then_some(word)).collect();
        format!("changed: {}", words.join(", "))
    }
}

/// `instance 2`, `instances 2, 4 to 7`.
pub(super) fn listed(numbers: &BTreeSet<u32>) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => runs.push((*number, *number)),
        }
    }
    let run = |(first, last): &(u32, u32)| match last - first {
        0 => first.to_string(),
        1 => format!("{first}, {last}"),
        _ => format!("{first} to {last}"),
    };
    let runs: Vec<String> = runs.iter().map(run).collect();
    format!("instance{} {}", if numbers.len() == 1 { "" } else { "s" }, runs.join(", "))
}

/// What changes without any process being replaced.
fn in_place(old: (&Unit, &Service), new: (&Unit, &Service)) -> Option<(What, String)> {
    let mut why = Vec::new();
    let mut note = |changed: bool, what: &str| {
        if changed {
            why.push(what.to_owned());
        }
    };
    note(old.1.rules.restart != new.1.rules.restart || old.0.success != new.0.success, "restart");
    note(old.1.rules.stop_max != new.1.rules.stop_max || old.0.stop_signal != new.0.stop_signal, "stop");
    note(old.1.after != new.1.after, "after");
    note(old.1.essential != new.1.essential, "essential");
    let (before, after) = (old.1.instances, new.1.instances);
    match before.cmp(&after) {
        std::cmp::Ordering::Less => Some((What::Start, format!("instances: {before} to {after}"))),
        std::cmp::Ordering::Greater => Some((What::Stop, format!("instances: {before} to {after}"))),
        std::cmp::Ordering::Equal if why.is_empty() => None,
        std::cmp::Ordering::Equal => Some((What::Nothing, format!("changed in place: {}", why.join(", ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Origin, parse};

    fn present<'a, const N: usize>(
        config: &'a Rc<Config>,
        doors: Doors,
        living: [((&'a str, u32), &'a Launched); N],
    ) -> Present<'a> {
        Present { config, doors, living: living.into(), stopped: BTreeSet::new() }
    }

    fn told(before: &str, after: &str) -> Vec<String> {
        let parsed = |text| parse(text, &Origin::Embedded).unwrap();
        let before = Rc::new(parsed(before));
        let changes = between(&present(&before, None, []), &parsed(after));
        changes.told.iter().map(|change| format!("{} {}: {}", change.what.name(), change.service, change.why)).collect()
    }

    #[test]
    fn each_service_is_started_stopped_restarted_or_left_alone_and_why_is_told() {
        let before = "services:
  gone: { command: [cat] }
  less: { command: [cat], instances: 3 }
  more: { command: [cat] }
  other: { command: [cat] }
  policy: { command: [cat] }
  same: { command: [cat] }";
        let after = "services:
  less: { command: [cat], instances: 1 }
  more: { command: [cat], instances: 2 }
  new: { command: [cat] }
  other: { command: [cat, '-'], restart: never }
  policy: { command: [cat], restart: never, stop: { timeout_ms: 100 } }
  same: { command: [cat] }";
        assert_eq!(
            told(before, after),
            [
                "stop gone: it is no longer there",
                "stop less: instances: 3 to 1",
                "start more: instances: 1 to 2",
                "start new: it is new",
                "restart other: changed: what it runs",
                "nothing policy: changed in place: restart, stop",
            ]
        );
        assert_eq!(told(before, before), Vec::<String>::new());
    }

    #[test]
    fn a_bus_that_moves_restarts_everyone_who_was_told_where_it_is() {
        let services = "services: { a: { command: [cat] } }";
        let bus = |port| format!("bus: {{ requests: {{ front: {port} }} }}\n{services}");
        assert_eq!(
            told(&bus(7000), &bus(7001)),
            [
                "restart a: changed: where the bus listens",
                "restart requests: changed: what it runs, where the bus listens"
            ]
        );
    }

    const A: &str = "services: { a: { command: [cat], instances: 4 } }";
    const OTHER_A: &str = "services: { a: { command: [cat, '-'], instances: 4 } }";

    /// The changes from A to another configuration while these instances live by yet another one.
    fn told_of(old: &[u32], by: &str, after: &str) -> Vec<String> {
        let parsed = |text| Rc::new(parse(text, &Origin::Embedded).unwrap());
        let [old_one, new_one] = [by, A].map(|text| Launched { config: parsed(text), doors: None });
        let by = |number| if old.contains(&number) { &old_one } else { &new_one };
        let living = [1, 2, 3, 4].map(|number| (("a", number), by(number)));
        let changes = between(&present(&new_one.config, None, living), &parsed(after));
        changes.told.iter().map(|change| format!("{} {}: {}", change.what.name(), change.service, change.why)).collect()
    }

    #[test]
    fn a_process_is_held_against_what_it_was_started_from() {
        assert_eq!(told_of(&[], OTHER_A, A), Vec::<String>::new());
        assert_eq!(told_of(&[3], OTHER_A, A), ["restart a: instance 3: changed: what it runs"]);
        assert_eq!(told_of(&[1, 3, 4], OTHER_A, A), ["restart a: instances 1, 3, 4: changed: what it runs"]);
        assert_eq!(told_of(&[1, 2, 3, 4], OTHER_A, A), ["restart a: changed: what it runs"]);
        // Back to what some were started from.
        assert_eq!(told_of(&[2, 3, 4], OTHER_A, OTHER_A), ["restart a: instance 1: changed: what it runs"]);
        assert_eq!(told_of(&[1, 2, 3, 4], OTHER_A, OTHER_A), Vec::<String>::new());
    }

    #[test]
    fn what_is_stopped_stays_so_and_that_is_told() {
        let [before, after] = [A, OTHER_A].map(|text| Rc::new(parse(text, &Origin::Embedded).unwrap()));
        let changes = between(&Present { stopped: ["a"].into(), ..present(&before, None, []) }, &after);
        let told = &changes.told[0];
        assert_eq!((told.what, told.why.as_str()), (What::Nothing, "changed: what it runs; it is stopped"));
        assert!(changes.renewed.is_empty());
    }

    #[test]
    fn a_port_is_where_it_was_really_bound() {
        let bus = |front| {
            format!("bus: {{ requests: {{ front: {front}, back: 7001 }} }}\nservices: {{ a: {{ command: [cat] }} }}")
        };
        let parsed = |text: String| Rc::new(parse(&text, &Origin::Embedded).unwrap());
        let doors = |port| Some([port, 7001].map(|port| SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), port)));
        let launched = Launched { config: parsed(bus(0)), doors: doors(40_000) };
        let why = |bound, after| {
            let changes = between(&present(&parsed(bus(0)), bound, [(("a", 1), &launched)]), &parsed(bus(after)));
            changes.told.into_iter().find(|change| change.service == "a").map(|change| change.why)
        };
        assert_eq!(why(doors(40_000), 0), None, "it stays where it is");
        assert_eq!(why(doors(41_000), 0).as_deref(), Some("changed: where the bus listens"), "it was elsewhere since");
        assert_eq!(why(doors(41_000), 40_000), None, "it comes back to where this one was told that it is");
    }

    #[test]
    fn many_instances_are_listed_in_short() {
        let numbers = |numbers: &[u32]| listed(&numbers.iter().copied().collect());
        assert_eq!(numbers(&[7]), "instance 7");
        assert_eq!(numbers(&[1, 2, 4, 6, 7, 8]), "instances 1, 2, 4, 6 to 8");
    }
}
