//! Commands under way: each is answered when what it asked for is reached, or can no longer be.

use tokio::sync::oneshot;

use crate::control::Reply;
use crate::lifecycle::House;

/// A command that somebody waits for.
#[derive(Debug)]
pub(super) struct Operation {
    /// The services that it moves.
    pub(super) services: Vec<String>,
    pub(super) reply: oneshot::Sender<Reply>,
}

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

    /// Takes out those that are over, each with whether it reached what it asked for. Who has left is forgotten.
    pub(super) fn take_over(&mut self, house: &House) -> Vec<(Operation, bool)> {
        self.0.retain(|operation| !operation.reply.is_closed());
        let mut over = Vec::new();
        let (done, open): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.0).into_iter().partition(|one| outcome(one, house).is_some());
        self.0 = open;
        for operation in done {
            let reached = outcome(&operation, house).unwrap_or(false);
            over.push((operation, reached));
        }
        over
    }
}

fn outcome(operation: &Operation, house: &House) -> Option<bool> {
    let outcomes = operation.services.iter().map(|service| house.outcome(service));
    outcomes.collect::<Option<Vec<bool>>>().map(|reached| reached.into_iter().all(|reached| reached))
}
