//! The rules of the house by example, each on a virtual clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::*;

const STOP_MAX: Duration = Duration::from_millis(8_000);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn rules() -> Rules {
    Rules {
        restart: Restart {
            when: When::Always,
            healthy_after: ms(1_000),
            backoff_min: ms(100),
            backoff_max: ms(1_500),
            limit: None,
            then: Then::Quarantine(ms(60_000)),
        },
        ready_at_once: false,
        ready_max: None,
        watchdog: None,
        stop_max: ms(20_000),
    }
}

fn service(after: &[(&str, Condition)]) -> Service {
    let after = after.iter().map(|(name, condition)| ((*name).to_owned(), *condition)).collect();
    Service { tier: Tier::Service, instances: 1, after, rules: rules(), essential: false }
}

fn bus() -> Service {
    Service { tier: Tier::Bus, ..service(&[]) }
}

fn plan<const N: usize>(services: [(&str, Service); N]) -> Plan {
    services.into_iter().map(|(name, service)| (name.to_owned(), service)).collect()
}

/// A house on a virtual clock. Instances are called `name/number`.
struct Sim {
    house: House,
    now: Instant,
}

impl Sim {
    /// A house whose start has begun, and what that did.
    fn begin(plan: Plan) -> (Self, Vec<String>) {
        let mut sim = Self { house: House::new(plan, STOP_MAX), now: Instant::now() };
        let done = sim.after(0, HouseEvent::Start);
        (sim, done)
    }

    /// A house in which everything is ready.
    fn up(plan: Plan) -> Self {
        let mut sim = Self::begin(plan).0;
        let starting = |sim: &Self| {
            let mut members = sim.house.members();
            members.find(|(.., state)| matches!(state, State::Starting { .. })).map(|(id, ..)| id)
        };
        while let Some(id) = starting(&sim) {
            sim.after(0, HouseEvent::Ready(id));
        }
        assert_eq!(sim.house.health(), Health::Running);
        sim
    }

    fn id(&self, name: &str) -> Id {
        let is_called = |service: &str, number: u32| format!("{service}/{number}") == name;
        let found = self.house.members().filter(|(_, service, number, _)| is_called(service, *number)).last();
        found.unwrap_or_else(|| panic!("there is no {name}")).0
    }

    fn state(&self, name: &str) -> &'static str {
        self.house.state(self.id(name)).unwrap().name()
    }

    fn after(&mut self, after_ms: u64, event: HouseEvent) -> Vec<String> {
        self.now += ms(after_ms);
        let names: BTreeMap<Id, String> = self.names();
        let actions = self.house.step(event, self.now, 0);
        let names: BTreeMap<Id, String> = names.into_iter().chain(self.names()).collect();
        actions.into_iter().map(|(id, action)| format!("{action:?} {}", names[&id])).collect()
    }

    fn names(&self) -> BTreeMap<Id, String> {
        self.house.members().map(|(id, service, number, _)| (id, format!("{service}/{number}"))).collect()
    }

    fn ready(&mut self, name: &str) -> Vec<String> {
        self.after(1, HouseEvent::Ready(self.id(name)))
    }

    fn dies(&mut self, name: &str) -> Vec<String> {
        self.after(1, HouseEvent::Died(self.id(name), Outcome::Failure))
    }

    fn ends_well(&mut self, name: &str) -> Vec<String> {
        self.after(1, HouseEvent::Died(self.id(name), Outcome::Success))
    }

    fn tick_after(&mut self, after_ms: u64) -> Vec<String> {
        self.after(after_ms, HouseEvent::Tick)
    }

    fn stop(&mut self) -> Vec<String> {
        self.after(0, HouseEvent::Stop)
    }
}

const NOTHING: [&str; 0] = [];

fn renewed(name: &str, numbers: &[u32]) -> BTreeMap<String, BTreeSet<u32>> {
    BTreeMap::from([(name.to_owned(), numbers.iter().copied().collect())])
}

#[test]
fn the_bus_is_started_before_the_services() {
    let (_, done) = Sim::begin(plan([("a", service(&[])), ("requests", bus()), ("z", service(&[]))]));
    assert_eq!(done, ["Spawn requests/1", "Spawn a/1", "Spawn z/1"]);
}

#[test]
fn a_service_starts_when_what_it_comes_after_is_as_it_asks() {
    let (mut sim, done) = Sim::begin(plan([
        ("a-started", service(&[("db", Condition::Started)])),
        ("b-ready", service(&[("db", Condition::Ready)])),
        ("c-completed", service(&[("migrate", Condition::Completed)])),
        ("db", service(&[])),
        ("migrate", Service { rules: once(), ..service(&[("db", Condition::Ready)]) }),
    ]));
    assert_eq!(done, ["Spawn db/1", "Spawn a-started/1"]);
    assert_eq!(sim.house.waits_for(sim.id("b-ready/1")), Some(("db", Condition::Ready)));
    assert_eq!(sim.ready("db/1"), ["Spawn b-ready/1", "Spawn migrate/1"]);
    assert_eq!(sim.ready("migrate/1"), NOTHING);
    assert_eq!(sim.ends_well("migrate/1"), ["Spawn c-completed/1"]);
    assert_eq!(sim.dies("db/1"), ["Spawn db/1"], "who has started does not look back");
}

fn once() -> Rules {
    Rules { restart: Restart { when: When::Never, ..rules().restart }, ..rules() }
}

#[test]
fn what_waits_for_a_task_that_failed_never_starts_and_the_start_is_over_all_the_same() {
    let (mut sim, _) = Sim::begin(plan([
        ("migrate", Service { rules: once(), ..service(&[]) }),
        ("other", service(&[])),
        ("web", service(&[("migrate", Condition::Completed)])),
    ]));
    sim.ready("other/1");
    assert!(!sim.house.is_settled());
    assert_eq!(sim.dies("migrate/1"), NOTHING);
    assert_eq!((sim.state("migrate/1"), sim.state("web/1")), ("failed", "pending"));
    assert_eq!((sim.house.is_settled(), sim.house.health()), (true, Health::Degraded));
}

#[test]
fn a_stop_goes_backwards_through_what_comes_after_what_and_the_bus_is_last() {
    let mut sim = Sim::up(plan([
        ("db", service(&[])),
        ("requests", bus()),
        ("side", service(&[])),
        ("web", service(&[("db", Condition::Ready)])),
    ]));
    assert_eq!(sim.stop(), ["Terminate side/1", "Terminate web/1"]);
    assert_eq!(sim.dies("side/1"), NOTHING);
    assert_eq!(sim.dies("web/1"), ["Terminate db/1"]);
    assert_eq!(sim.dies("db/1"), ["Terminate requests/1"]);
    assert_eq!(sim.house.health(), Health::Stopping);
    sim.dies("requests/1");
    assert_eq!((sim.house.health(), sim.house.deadline()), (Health::Down, None));
}

#[test]
fn what_dies_while_it_waits_for_its_turn_to_stop_is_not_started_again() {
    let mut sim = Sim::up(plan([("requests", bus()), ("web", service(&[]))]));
    sim.stop();
    assert_eq!(sim.dies("requests/1"), NOTHING);
    sim.dies("web/1");
    assert_eq!(sim.house.health(), Health::Down);
}

#[test]
fn a_service_that_refuses_to_end_is_killed_in_time_for_the_bus_to_end_in_order() {
    let mut sim = Sim::up(plan([("deaf", service(&[])), ("requests", bus())]));
    sim.stop();
    assert_eq!(sim.tick_after(5_999), NOTHING);
    assert_eq!(sim.tick_after(1), ["Kill deaf/1"]);
    assert_eq!(sim.dies("deaf/1"), ["Terminate requests/1"]);
    assert_eq!(sim.tick_after(998), NOTHING);
    assert_eq!(sim.tick_after(1), ["Kill requests/1"]);
}

#[test]
fn the_log_is_there_before_the_bus_and_ends_after_it() {
    let log = Service { tier: Tier::Log, ..service(&[]) };
    let all = plan([("a", service(&[])), ("log", log), ("requests", bus())]);
    assert_eq!(Sim::begin(all.clone()).1, ["Spawn log/1", "Spawn requests/1", "Spawn a/1"]);
    let mut sim = Sim::up(all);
    assert_eq!(sim.stop(), ["Terminate a/1"]);
    assert_eq!(sim.dies("a/1"), ["Terminate requests/1"]);
    assert_eq!(sim.dies("requests/1"), ["Terminate log/1"]);
    assert_eq!(sim.tick_after(7_000), NOTHING);
    assert_eq!(sim.tick_after(1_000), ["Kill log/1"]);
}

#[test]
fn a_log_alone_is_nothing_to_stay_for() {
    let log = Service { tier: Tier::Log, ..service(&[]) };
    let mut sim = Sim::up(plan([("log", log), ("task", Service { rules: once(), ..service(&[]) })]));
    assert_eq!(sim.ends_well("task/1"), ["Terminate log/1"]);
}

#[test]
fn a_service_has_its_own_time_to_end() {
    let rules = Rules { stop_max: ms(300), ..rules() };
    let mut sim = Sim::up(plan([("deaf", Service { rules, ..service(&[]) })]));
    sim.stop();
    assert_eq!(sim.house.deadline(), Some(sim.now + ms(300)));
    assert_eq!(sim.tick_after(300), ["Kill deaf/1"]);
    assert_eq!(sim.house.deadline(), None, "a kill cannot be refused");
}

#[test]
fn a_second_order_to_stop_hurries_and_a_third_kills() {
    let mut sim = Sim::up(plan([("a", service(&[])), ("requests", bus())]));
    assert_eq!(sim.stop(), ["Terminate a/1"]);
    assert_eq!(sim.stop(), ["Terminate requests/1"], "nobody waits for anybody any more");
    assert_eq!(sim.house.deadline(), Some(sim.now + HURRY / 4 * 3));
    assert_eq!(sim.stop(), ["Kill a/1", "Kill requests/1"]);
    sim.dies("a/1");
    sim.dies("requests/1");
    assert_eq!(sim.house.health(), Health::Down);
}

#[test]
fn a_stop_in_the_midst_of_the_start_starts_nobody_any_more() {
    let (mut sim, _) = Sim::begin(plan([("db", service(&[])), ("web", service(&[("db", Condition::Ready)]))]));
    assert_eq!(sim.stop(), ["Terminate db/1"]);
    assert_eq!(sim.ready("db/1"), NOTHING);
    sim.dies("db/1");
    assert_eq!((sim.state("web/1"), sim.house.health()), ("stopped", Health::Down));
}

#[test]
fn nothing_asks_for_time_while_everything_runs() {
    let mut sim = Sim::up(plan([("a", service(&[])), ("requests", bus())]));
    assert_eq!(sim.house.deadline(), None);
    assert_eq!(sim.dies("a/1"), ["Spawn a/1"]);
    assert_eq!(sim.dies("a/1"), NOTHING);
    assert_eq!(sim.house.health(), Health::Degraded);
    assert_eq!(sim.house.deadline(), Some(sim.now + ms(100)));
    assert_eq!(sim.tick_after(99), NOTHING);
    assert_eq!(sim.tick_after(1), ["Spawn a/1"]);
}

#[test]
fn a_healthy_life_makes_earlier_deaths_forgotten() {
    let (mut sim, _) = Sim::begin(plan([("a", service(&[]))]));
    sim.dies("a/1");
    sim.dies("a/1");
    sim.tick_after(100);
    sim.ready("a/1");
    sim.now += ms(1_000);
    assert_eq!(sim.dies("a/1"), ["Spawn a/1"]);
}

#[test]
fn a_long_life_that_never_became_ready_is_not_healthy() {
    let (mut sim, _) = Sim::begin(plan([("a", service(&[]))]));
    sim.dies("a/1");
    sim.now += ms(60_000);
    assert_eq!(sim.dies("a/1"), NOTHING);
    assert_eq!(sim.state("a/1"), "waiting");
}

#[test]
fn a_service_that_cannot_start_leaves_the_house_degraded_once_the_bus_runs() {
    let (mut sim, _) = Sim::begin(plan([("a", service(&[])), ("b", service(&[])), ("requests", bus())]));
    sim.dies("a/1");
    assert!(!sim.house.is_settled(), "one that died once is still waited for");
    sim.dies("a/1");
    sim.ready("b/1");
    assert_eq!((sim.house.health(), sim.house.is_settled()), (Health::Starting, false));
    sim.ready("requests/1");
    assert_eq!((sim.house.health(), sim.house.is_settled()), (Health::Degraded, true));
    sim.tick_after(100);
    sim.ready("a/1");
    assert_eq!(sim.house.health(), Health::Running);
}

#[test]
fn a_process_that_is_not_ready_in_time_is_told_to_end_and_that_is_a_failure() {
    let rules = Rules { ready_max: Some(ms(500)), stop_max: ms(50), ..rules() };
    let (mut sim, _) = Sim::begin(plan([("slow", Service { rules, ..service(&[]) })]));
    assert_eq!(sim.tick_after(500), ["Terminate slow/1"]);
    assert_eq!(sim.tick_after(50), ["Kill slow/1"]);
    assert_eq!(sim.dies("slow/1"), ["Spawn slow/1"]);
}

#[test]
fn a_ready_process_that_says_nothing_is_aborted_then_killed_then_started_again() {
    let rules = Rules { watchdog: Some(ms(500)), stop_max: ms(50), ..rules() };
    let mut sim = Sim::up(plan([("hung", Service { rules, ..service(&[]) })]));
    sim.after(400, HouseEvent::Alive(sim.id("hung/1")));
    assert_eq!(sim.tick_after(400), NOTHING);
    assert_eq!(sim.tick_after(100), ["Abort hung/1"]);
    assert_eq!(sim.tick_after(50), ["Kill hung/1"]);
    assert_eq!(sim.dies("hung/1"), ["Spawn hung/1"]);
}

#[test]
fn silence_says_nothing_while_nobody_ran() {
    let rules = Rules { watchdog: Some(ms(500)), ready_max: Some(ms(500)), ..rules() };
    let mut sim = Sim::up(plan([("watched", Service { rules, ..service(&[]) })]));
    assert_eq!(sim.after(5_000, HouseEvent::Paused), NOTHING);
    assert_eq!(sim.tick_after(0), NOTHING);
    assert_eq!(sim.tick_after(500), ["Abort watched/1"], "it has its whole time anew, and no more");
    sim.dies("watched/1");
    assert_eq!(sim.state("watched/1"), "starting");
    assert_eq!(sim.after(5_000, HouseEvent::Paused), NOTHING);
    assert_eq!(sim.tick_after(499), NOTHING);
    assert_eq!(sim.tick_after(1), ["Terminate watched/1"]);
}

#[test]
fn a_process_that_was_found_to_have_hung_is_aborted_then_killed_then_started_again() {
    let rules = Rules { stop_max: ms(50), ..rules() };
    let mut sim = Sim::begin(plan([("hung", Service { rules, ..service(&[]) })])).0;
    assert_eq!(sim.after(0, HouseEvent::Hung(sim.id("hung/1"))), NOTHING, "it is not ready yet");
    sim.ready("hung/1");
    assert_eq!(sim.after(0, HouseEvent::Hung(sim.id("hung/1"))), ["Abort hung/1"]);
    assert_eq!(sim.after(0, HouseEvent::Hung(sim.id("hung/1"))), NOTHING, "that is known");
    assert_eq!(sim.tick_after(50), ["Kill hung/1"]);
    assert_eq!(sim.dies("hung/1"), ["Spawn hung/1"]);
}

#[test]
fn an_essential_service_that_has_ended_for_good_ends_everything() {
    let essential = Service { rules: once(), essential: true, ..service(&[]) };
    let mut sim = Sim::up(plan([("main", essential), ("requests", bus()), ("side", service(&[]))]));
    let main = sim.id("main/1");
    assert_eq!(sim.dies("main/1"), ["Terminate side/1"]);
    assert_eq!((sim.house.culprit(), sim.house.health()), (Some(main), Health::Stopping));
}

#[test]
fn a_spent_budget_of_an_essential_service_ends_everything() {
    let limit = Some(Limit { restarts: 1, window: ms(60_000) });
    let rules = Rules { restart: Restart { limit, then: Then::Fail, ..rules().restart }, ..rules() };
    let mut sim = Sim::up(plan([("main", Service { rules, essential: true, ..service(&[]) }), ("side", service(&[]))]));
    assert_eq!(sim.dies("main/1"), ["Spawn main/1"]);
    assert_eq!(sim.dies("main/1"), ["Terminate side/1"]);
}

#[test]
fn when_all_tasks_are_over_nothing_is_left_to_stay_for() {
    let task = Service { rules: once(), ..service(&[]) };
    let mut sim = Sim::up(plan([("a", task.clone()), ("b", task)]));
    sim.ends_well("a/1");
    assert_eq!(sim.house.health(), Health::Running);
    let b = sim.id("b/1");
    sim.dies("b/1");
    assert_eq!((sim.house.culprit(), sim.house.health()), (Some(b), Health::Down));
}

#[test]
fn a_service_is_stopped_and_started_by_order() {
    let mut sim = Sim::up(plan([("a", service(&[])), ("b", service(&[]))]));
    assert_eq!(sim.after(0, HouseEvent::StopService("a".into())), ["Terminate a/1"]);
    assert_eq!(sim.dies("a/1"), NOTHING);
    assert_eq!((sim.state("a/1"), sim.house.health()), ("stopped", Health::Running));
    assert_eq!(sim.after(0, HouseEvent::StartService("a".into())), ["Spawn a/1"]);
}

#[test]
fn instances_are_restarted_one_at_a_time_each_ready_before_the_next() {
    let mut sim = Sim::up(plan([("a", Service { instances: 3, ..service(&[]) })]));
    assert_eq!(sim.after(0, HouseEvent::RestartService("a".into())), ["Terminate a/1"]);
    for (number, next) in [(1, "Terminate a/2"), (2, "Terminate a/3")] {
        assert_eq!(sim.dies(&format!("a/{number}")), [format!("Spawn a/{number}")]);
        assert_eq!(sim.ready(&format!("a/{number}")), [next]);
    }
    assert!(sim.house.is_rolling("a"));
    sim.dies("a/3");
    sim.ready("a/3");
    assert!(!sim.house.is_rolling("a"));
}

#[test]
fn a_restart_that_fails_leaves_the_other_instances_alone() {
    let mut sim = Sim::up(plan([("a", Service { instances: 2, ..service(&[]) })]));
    sim.after(0, HouseEvent::RestartService("a".into()));
    assert_eq!(sim.dies("a/1"), ["Spawn a/1"]);
    assert_eq!(sim.dies("a/1"), ["Spawn a/1"]);
    assert_eq!(sim.dies("a/1"), NOTHING);
    assert_eq!((sim.house.is_rolling("a"), sim.state("a/2")), (false, "running"));
}

/// A service of three instances that are ready as soon as they run; a healthy life has a second.
fn silent() -> Service {
    Service { instances: 3, rules: Rules { ready_at_once: true, ..rules() }, ..service(&[]) }
}

#[test]
fn where_readiness_says_nothing_the_next_instance_waits_for_a_healthy_life() {
    let mut sim = Sim::up(plan([("a", silent())]));
    assert_eq!(sim.after(0, HouseEvent::RestartService("a".into())), ["Terminate a/1"]);
    assert_eq!(sim.house.deadline(), Some(sim.now + ms(20_000)));
    sim.dies("a/1");
    assert_eq!(sim.ready("a/1"), NOTHING);
    assert_eq!(sim.house.deadline(), Some(sim.now + ms(999)));
    assert_eq!(sim.tick_after(998), NOTHING);
    assert_eq!(sim.tick_after(1), ["Terminate a/2"]);
    sim.dies("a/2");
    sim.ready("a/2");
    assert_eq!(sim.tick_after(1_000), ["Terminate a/3"]);
    sim.dies("a/3");
    assert!(sim.house.is_rolling("a"));
    sim.ready("a/3");
    assert_eq!((sim.house.outcome("a"), sim.house.deadline()), (Some(true), None), "nobody waits for the last one");
}

#[test]
fn a_new_process_that_dies_young_stops_the_roll_where_readiness_says_nothing() {
    let mut sim = Sim::up(plan([("a", silent())]));
    sim.after(0, HouseEvent::RestartService("a".into()));
    sim.dies("a/1");
    sim.ready("a/1");
    assert_eq!(sim.dies("a/1"), ["Spawn a/1"]);
    assert_eq!((sim.house.is_rolling("a"), sim.house.outcome("a")), (false, Some(false)));
    sim.ready("a/1");
    assert_eq!(sim.tick_after(60_000), NOTHING, "the others keep their processes");
    assert_eq!(sim.after(0, HouseEvent::RestartService("a".into())), ["Terminate a/1"]);
    assert_eq!(sim.house.outcome("a"), None, "another order, another roll");
}

#[test]
fn a_new_process_that_cannot_be_started_stops_the_roll_at_once() {
    let mut sim = Sim::up(plan([("a", silent())]));
    sim.after(0, HouseEvent::RestartService("a".into()));
    assert_eq!(sim.dies("a/1"), ["Spawn a/1"], "the old one ends by order");
    assert!(sim.house.is_rolling("a"));
    sim.dies("a/1");
    assert_eq!((sim.house.is_rolling("a"), sim.state("a/2")), (false, "running"));
}

#[test]
fn a_task_that_ends_well_lets_the_roll_go_on() {
    let rules = Rules { ready_at_once: true, ..once() };
    let mut sim = Sim::up(plan([("a", Service { instances: 2, rules, ..service(&[]) }), ("b", service(&[]))]));
    sim.after(0, HouseEvent::RestartService("a".into()));
    sim.dies("a/1");
    sim.ready("a/1");
    assert_eq!(sim.ends_well("a/1"), ["Terminate a/2"]);
}

#[test]
fn of_a_service_those_are_renewed_that_are_named_and_those_that_fail_are_tried_first() {
    let all = plan([("a", Service { instances: 3, ..service(&[]) })]);
    let mut sim = Sim::up(all.clone());
    sim.dies("a/2");
    sim.dies("a/2");
    assert_eq!(sim.state("a/2"), "waiting");
    assert_eq!(sim.after(0, HouseEvent::Replace(all.clone(), renewed("a", &[3]))), ["Spawn a/2"]);
    assert_eq!(sim.ready("a/2"), ["Terminate a/3"]);
    sim.dies("a/3");
    assert_eq!(sim.ready("a/3"), NOTHING);
    assert_eq!(sim.house.outcome("a"), Some(true));
}

#[test]
fn what_is_stopped_by_order_stays_so_when_its_service_changes() {
    let all = plan([("a", service(&[])), ("b", service(&[]))]);
    let mut sim = Sim::up(all.clone());
    sim.after(0, HouseEvent::StopService("a".into()));
    sim.dies("a/1");
    assert_eq!(sim.after(0, HouseEvent::Replace(all, renewed("a", &[1]))), NOTHING);
    assert_eq!((sim.state("a/1"), sim.house.is_rolling("a")), ("stopped", false));
}

#[test]
fn a_roll_that_is_ordered_again_takes_nobody_more_away() {
    let all = plan([("a", Service { instances: 3, ..service(&[]) })]);
    let restart = || HouseEvent::RestartService("a".into());
    let mut sim = Sim::up(all.clone());
    sim.after(0, restart());
    sim.dies("a/1");
    assert_eq!(sim.ready("a/1"), ["Terminate a/2"]);
    assert_eq!(sim.after(0, restart()), NOTHING, "the second is the first to be tried anew, and is under way");
    assert_eq!(sim.dies("a/2"), ["Spawn a/2"]);
    // The same plan again: what was renewed by it need not be once more, but is waited for.
    assert_eq!(sim.after(0, HouseEvent::Replace(all.clone(), renewed("a", &[1, 3]))), NOTHING);
    assert_eq!(sim.after(0, HouseEvent::Replace(all, renewed("a", &[3]))), NOTHING);
    assert_eq!(sim.ready("a/2"), ["Terminate a/3"]);
    sim.dies("a/3");
    sim.ready("a/3");
    assert_eq!(sim.house.outcome("a"), Some(true));
}

#[test]
fn two_plans_that_order_the_same_services_in_two_ways_do_not_stop_each_other() {
    let one = plan([("a", service(&[])), ("b", service(&[("a", Condition::Ready)]))]);
    let other = plan([("a", service(&[("b", Condition::Ready)])), ("b", service(&[]))]);
    let mut sim = Sim::up(one.clone());
    let both = [("a", [1]), ("b", [1])].map(|(name, to)| (name.to_owned(), to.into()));
    assert_eq!(sim.after(0, HouseEvent::Replace(one, both.into())), ["Terminate a/1"]);
    assert_eq!(sim.after(0, HouseEvent::Replace(other, renewed("a", &[1]))), ["Terminate b/1"]);
    sim.dies("a/1");
    sim.dies("b/1");
    for _ in 0..3 {
        for name in ["a/1", "b/1"] {
            match sim.state(name) {
                "starting" => drop(sim.ready(name)),
                "stopping" => drop(sim.dies(name)),
                _ => {}
            }
        }
    }
    assert_eq!(["a", "b"].map(|name| (sim.house.outcome(name), sim.house.is_rolling(name))), [(Some(true), false); 2]);
}

#[test]
fn what_comes_after_what_an_earlier_plan_renewed_in_vain_keeps_its_processes() {
    let all = plan([("b", service(&[("a", Condition::Ready)])), ("a", service(&[]))]);
    let mut sim = Sim::up(all.clone());
    let both = [("a", [1]), ("b", [1])].map(|(name, to)| (name.to_owned(), to.into()));
    assert_eq!(sim.after(0, HouseEvent::Replace(all.clone(), both.into())), ["Terminate a/1"]);
    sim.dies("a/1");
    let again = || HouseEvent::Replace(all.clone(), renewed("b", &[1]));
    assert_eq!(sim.after(0, again()), NOTHING, "it is still being renewed");
    sim.dies("a/1");
    assert_eq!(sim.dies("a/1"), NOTHING);
    assert_eq!(sim.state("a/1"), "waiting");
    assert_eq!(sim.after(0, again()), ["Spawn a/1"], "it is tried first");
    assert_eq!(sim.dies("a/1"), ["Spawn a/1"]);
    assert_eq!(sim.dies("a/1"), NOTHING);
    assert_eq!(sim.house.outcome("b"), Some(false));
    assert_eq!(sim.after(0, again()), ["Spawn a/1"]);
    assert_eq!(sim.ready("a/1"), ["Terminate b/1"]);
}

/// A database, what uses it, and what uses that; each restarted by a plan that renews all.
fn chain(db: Service) -> (Sim, Vec<String>) {
    let all = plan([
        ("app", Service { instances: 2, ..service(&[("cache", Condition::Started)]) }),
        ("cache", service(&[("db", Condition::Ready)])),
        ("db", db),
        ("side", service(&[])),
    ]);
    let mut sim = Sim::up(all.clone());
    let renewed = [("app", 2), ("db", 1), ("side", 1)].map(|(name, to)| (name.to_owned(), (1..=to).collect()));
    let done = sim.after(0, HouseEvent::Replace(all, renewed.into()));
    (sim, done)
}

#[test]
fn the_rolls_of_one_plan_go_in_the_order_of_the_start() {
    let (mut sim, done) = chain(service(&[]));
    assert_eq!(done, ["Terminate db/1", "Terminate side/1"]);
    assert_eq!(sim.dies("db/1"), ["Spawn db/1"]);
    assert_eq!(sim.house.outcome("app"), None, "its turn is still to come");
    assert_eq!(sim.ready("db/1"), ["Terminate app/1"], "what stands between them need not be renewed");
    sim.dies("app/1");
    assert_eq!(sim.ready("app/1"), ["Terminate app/2"]);
}

#[test]
fn what_comes_after_a_roll_that_failed_keeps_its_processes() {
    let (mut sim, _) = chain(service(&[]));
    sim.dies("db/1");
    sim.dies("db/1");
    assert_eq!(sim.dies("db/1"), NOTHING);
    assert_eq!(sim.house.stalled(), &BTreeSet::from(["app".into(), "db".into()]));
    assert_eq!((sim.house.outcome("app"), sim.house.outcome("side")), (Some(false), None));
    sim.tick_after(100);
    assert_eq!(sim.ready("db/1"), NOTHING, "that it came back by itself says nothing about what was asked");
}

#[test]
fn whom_others_wait_for_has_to_live_where_readiness_says_nothing() {
    let (mut sim, _) = chain(Service { instances: 1, ..silent() });
    sim.dies("side/1");
    sim.ready("side/1");
    sim.dies("db/1");
    assert_eq!(sim.ready("db/1"), NOTHING);
    assert_eq!(sim.tick_after(1_000), ["Terminate app/1"]);
    let (mut sim, _) = chain(Service { instances: 1, ..silent() });
    sim.dies("db/1");
    sim.ready("db/1");
    assert_eq!(sim.dies("db/1"), ["Spawn db/1"]);
    assert!(sim.house.stalled().contains("app"));
}

#[test]
fn what_comes_after_a_task_is_renewed_when_the_task_has_ended_well_and_not_if_it_has_failed() {
    let all = plan([
        ("app", service(&[("migrate", Condition::Completed)])),
        ("migrate", Service { rules: Rules { ready_at_once: true, ..once() }, ..service(&[]) }),
    ]);
    for ends_well in [true, false] {
        let (mut sim, _) = Sim::begin(all.clone());
        sim.ready("migrate/1");
        sim.ends_well("migrate/1");
        sim.ready("app/1");
        let both = [("app".to_owned(), [1].into()), ("migrate".to_owned(), [1].into())];
        assert_eq!(sim.after(0, HouseEvent::Replace(all.clone(), both.into())), ["Spawn migrate/1"]);
        sim.ready("migrate/1");
        assert_eq!(sim.tick_after(5_000), NOTHING, "it is under way");
        if ends_well {
            assert_eq!(sim.ends_well("migrate/1"), ["Terminate app/1"]);
        } else {
            assert_eq!(sim.dies("migrate/1"), NOTHING);
            assert_eq!((sim.house.outcome("app"), sim.state("app/1")), (Some(false), "running"));
        }
    }
}

#[test]
fn who_waits_for_a_roll_that_an_order_stops_keeps_its_processes() {
    let (mut sim, _) = chain(service(&[]));
    sim.after(0, HouseEvent::StopService("db".into()));
    assert_eq!(sim.dies("db/1"), NOTHING);
    assert_eq!(sim.house.outcome("app"), Some(false));
}

#[test]
fn another_plan_touches_only_what_it_changes() {
    let three = plan([("a", service(&[])), ("b", service(&[])), ("c", service(&[]))]);
    let mut sim = Sim::up(three.clone());
    let mut other = three;
    other.remove("a");
    other.insert("b".into(), Service { rules: once(), ..service(&[]) });
    other.get_mut("c").unwrap().instances = 2;
    other.insert("d".into(), service(&[]));
    let done = sim.after(0, HouseEvent::Replace(other.clone(), BTreeMap::new()));
    assert_eq!(done, ["Spawn c/2", "Spawn d/1", "Terminate a/1"]);
    let a = sim.id("a/1");
    sim.dies("a/1");
    assert_eq!(sim.house.state(a), None, "it is forgotten");
    assert_eq!(sim.after(0, HouseEvent::Replace(other, renewed("b", &[1]))), ["Terminate b/1"]);
    assert_eq!(sim.dies("b/1"), ["Spawn b/1"]);
    sim.dies("b/1");
    assert_eq!(sim.state("b/1"), "failed", "by the new rules");
}

#[test]
fn what_left_the_plan_and_came_back_waits_for_its_old_process_to_be_gone() {
    let both = plan([("a", service(&[])), ("b", service(&[]))]);
    let mut sim = Sim::up(both.clone());
    let old = sim.id("a/1");
    sim.after(0, HouseEvent::Replace(plan([("b", service(&[]))]), BTreeMap::new()));
    assert_eq!(sim.after(0, HouseEvent::Replace(both, BTreeMap::new())), NOTHING);
    assert_eq!(sim.after(0, HouseEvent::Died(old, Outcome::Failure)), ["Spawn a/1"]);
}

#[test]
fn a_process_is_watched_by_what_it_was_started_with() {
    let watched = |ms_max| {
        let rules = Rules { watchdog: Some(ms(ms_max)), ..rules() };
        plan([("a", Service { instances: 2, rules, ..service(&[]) })])
    };
    let mut sim = Sim::up(watched(10_000));
    sim.now += ms(1_000);
    assert_eq!(sim.after(0, HouseEvent::Replace(watched(500), renewed("a", &[1, 2]))), ["Terminate a/1"]);
    assert_eq!(sim.tick_after(0), NOTHING, "a/2 was promised ten seconds");
    sim.dies("a/1");
    assert_eq!(sim.ready("a/1"), ["Terminate a/2"]);
    assert_eq!(sim.tick_after(500), ["Abort a/1"]);
}

#[test]
fn a_task_that_is_to_run_again_is_not_over() {
    let task = Service { rules: once(), ..service(&[]) };
    let mut sim = Sim::up(plan([("a", task.clone()), ("c", task)]));
    sim.ends_well("c/1");
    sim.after(0, HouseEvent::StopService("c".into()));
    sim.ends_well("a/1");
    assert_eq!(sim.after(0, HouseEvent::RestartService("c".into())), ["Spawn c/1"]);
    assert_eq!((sim.state("c/1"), sim.house.culprit()), ("starting", None));
}

#[test]
fn a_restart_of_what_waits_for_a_failed_task_is_answered() {
    let web = service(&[("migrate", Condition::Completed)]);
    let (mut sim, _) = Sim::begin(plan([
        ("migrate", Service { rules: once(), ..service(&[]) }),
        ("other", service(&[])),
        ("web", web),
    ]));
    sim.dies("migrate/1");
    sim.after(0, HouseEvent::RestartService("web".into()));
    assert_eq!(sim.house.outcome("web"), Some(false));
}

#[test]
fn a_deep_chain_of_many_instances_is_judged_at_once() {
    let names: Vec<String> = (0..12).map(|level| format!("level-{level:02}")).collect();
    let mut all = plan([("level-00", Service { rules: once(), ..service(&[]) })]);
    for (before, name) in names.iter().zip(&names[1..]) {
        all.insert(name.clone(), Service { instances: 20, ..service(&[(before, Condition::Completed)]) });
    }
    let (mut sim, _) = Sim::begin(all);
    sim.dies("level-00/1");
    assert!(sim.house.is_settled());
}
