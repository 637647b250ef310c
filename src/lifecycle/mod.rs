//! The life of services as pure state machines: events and the time go in, actions come out.
//!
//! [`Instance`] is one instance's life, [`House`] puts the instances of a plan together: what starts after what, what
//! ends before what, and by when. Nothing here runs a process, reads a clock or draws a random number: the supervisor
//! owns the world, tells what happened, and performs what is answered. So every rule is tested on a virtual clock.

mod house;
mod instance;
mod restart;
mod rolling;
#[cfg(test)]
mod simulation;
mod snapshot;
#[cfg(test)]
mod tests;

pub use house::{Condition, HURRY, Health, House, HouseEvent, Id, Plan, Service, Tier};
pub use instance::{Action, Event, Instance, Next, Rules, State};
pub use restart::{Jitter, Limit, Outcome, Restart, Then, When};
pub use snapshot::{Moment, Snapshot};
