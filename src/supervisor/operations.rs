//! Commands under way: each is answered when what it asked for is reached, or can no longer be.
//!
//! What it asked for is remembered: a contrary order that comes meanwhile ends the wait, since what is reached then is
//! not what was asked for, or is never reached.

use std::rc::Rc;

use tokio::sync::oneshot;

use crate::config::Config;
use crate::control::Reply;
use crate::lifecycle::{Health, House};

/// A command that somebody waits for.
#[derive(Debug)]
pub(super) struct Operation {
    /// The services that it moves, each with where to.
    pub(super) services: Vec<(String, Aim)>,
    /// The configuration that it brought.
    pub(super) config: Option<Rc<Config>>,
    pub(super) reply: oneshot::Sender<Reply>,
}

/// Where a command wants a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// It is to run.
    Up,
    /// It is to be down, and to stay in the configuration or not.
    Down,
}

/// How a command ended: whether it reached what it asked for, or what came in between.
pub(super) type Verdict = Result<bool, String>;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Operations(Vec<Operation>);

impl Operations {
    /// Waits for one more.
    pub(super) fn add(&mut self, operation: Operation) {
        self.0.push(operation);
    }

    /// Answers all with a refusal.
    pub(super) fn refuse_all(&mut self, why: &str) {
        for operation in self.0.drain(..) {
            let _ = operation.reply.send(Reply::refused(why));
        }
    }

    /// Takes out those that are over. Who has left is forgotten.
    pub(super) fn take_over(&mut self, house: &House, config: &Rc<Config>) -> Vec<(Operation, Verdict)> {
        self.0.retain(|operation| !operation.reply.is_closed());
        let mut over = Vec::new();
        for operation in std::mem::take(&mut self.0) {
            match operation.verdict(house, config) {
                Some(verdict) => over.push((operation, verdict)),
                None => self.0.push(operation),
            }
        }
        over
    }
}

impl Operation {
    /// The services that it moves.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.services.iter().map(|(name, _)| name.as_str())
    }

    /// Whether it moves a service.
    pub(super) fn moves(&self, service: &str) -> bool {
        self.services.iter().any(|(name, _)| name == service)
    }

    fn verdict(&self, house: &House, config: &Rc<Config>) -> Option<Verdict> {
        if let Some(contrary) = self.contrary(house, config) {
            return Some(Err(contrary));
        }
        let outcomes = self.services.iter().map(|(service, _)| house.outcome(service));
        outcomes.collect::<Option<Vec<bool>>>().map(|reached| Ok(reached.into_iter().all(|reached| reached)))
    }

    /// What was ordered meanwhile that is not what this asked for.
    fn contrary(&self, house: &House, config: &Rc<Config>) -> Option<String> {
        if self.config.as_ref().is_some_and(|own| !Rc::ptr_eq(own, config) && own != config) {
            return Some("another configuration was taken meanwhile".to_owned());
        }
        let is_down = matches!(house.health(), Health::Stopping | Health::Down);
        self.services.iter().find_map(|(service, aim)| match aim {
            Aim::Up if is_down => Some("torus is going down".to_owned()),
            Aim::Up if !house.knows(service) => Some(format!("service {service:?} is no longer configured")),
            Aim::Up if house.is_stopped(service) => Some(format!("service {service:?} was told to stop meanwhile")),
            Aim::Down if !house.is_to_be_down(service) => {
                Some(format!("service {service:?} was told to run meanwhile"))
            }
            Aim::Up | Aim::Down => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::config::{Origin, parse};
    use crate::lifecycle::{HouseEvent, Id};
    use crate::supervisor::plan;

    const A: &str = "services: { a: { command: [cat], instances: 2 }, b: { command: [cat] } }";

    fn config(text: &str) -> Rc<Config> {
        Rc::new(parse(text, &Origin::Embedded).unwrap())
    }

    /// A house in which everything runs.
    fn house() -> House {
        let mut house = House::new(plan::plan(&config(A)).1, Duration::from_secs(8));
        house.step(HouseEvent::Start, Instant::now(), 0);
        while let Some(id) = starting(&house) {
            house.step(HouseEvent::Ready(id), Instant::now(), 0);
        }
        assert_eq!(house.health(), Health::Running);
        house
    }

    fn starting(house: &House) -> Option<Id> {
        house.members().find(|(.., state)| state.name() == "starting").map(|(id, ..)| id)
    }

    /// What an order and then another one make of who waits for the first.
    fn after(first: HouseEvent, aim: Aim, second: HouseEvent) -> Option<Verdict> {
        let mut house = house();
        house.step(first, Instant::now(), 0);
        let (reply, _waits) = oneshot::channel();
        let operation = Operation { services: vec![("a".to_owned(), aim)], config: None, reply };
        assert_eq!(operation.verdict(&house, &config(A)), None, "it is under way");
        house.step(second, Instant::now(), 0);
        operation.verdict(&house, &config(A))
    }

    #[test]
    fn a_contrary_order_ends_the_wait_and_one_to_the_same_end_does_not() {
        use HouseEvent::{RestartService, StartService, Stop, StopService};
        let a = || "a".to_owned();
        let told = |what: &str| Some(Err(format!("service \"a\" was told to {what} meanwhile")));
        assert_eq!(after(RestartService(a()), Aim::Up, StopService(a())), told("stop"));
        assert_eq!(after(StopService(a()), Aim::Down, StartService(a())), told("run"));
        assert_eq!(after(StopService(a()), Aim::Down, RestartService(a())), told("run"));
        assert_eq!(after(RestartService(a()), Aim::Up, Stop), Some(Err("torus is going down".to_owned())));
        for same in [RestartService(a()), StartService(a()), StopService("b".to_owned())] {
            assert_eq!(after(RestartService(a()), Aim::Up, same), None);
        }
        for same in [StopService(a()), Stop] {
            assert_eq!(after(StopService(a()), Aim::Down, same), None);
        }
    }

    #[test]
    fn a_service_that_leaves_the_configuration_is_down_and_nothing_else() {
        let without =
            || HouseEvent::Replace(plan::plan(&config("services: { b: { command: [cat] } }")).1, BTreeMap::new());
        let up = after(HouseEvent::RestartService("a".to_owned()), Aim::Up, without());
        assert_eq!(up, Some(Err("service \"a\" is no longer configured".to_owned())));
        assert_eq!(after(HouseEvent::StopService("a".to_owned()), Aim::Down, without()), None);
    }

    #[test]
    fn who_brought_a_configuration_is_told_that_another_one_was_taken() {
        let house = house();
        let (reply, _waits) = oneshot::channel();
        let operation = Operation { services: Vec::new(), config: Some(config(A)), reply };
        assert_eq!(operation.verdict(&house, &config(A)), Some(Ok(true)), "read again, it is the same one");
        let other = operation.verdict(&house, &config("services: { b: { command: [cat] } }"));
        assert_eq!(other, Some(Err("another configuration was taken meanwhile".to_owned())));
    }
}
