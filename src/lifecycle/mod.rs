//! The life of services as pure state machines: events and the time go in, actions come out.
//!
//! [`step`] is one instance's life, [`House`] puts the instances of a configuration together: the order of start and
//! stop, and the deadlines. Nothing here runs a process, reads a clock or draws a random number: the supervisor owns
//! the world, tells what happened, and performs what is answered. So every rule is tested on a virtual clock.

mod house;
mod restart;
mod service;

pub use house::{Condition, House, HouseEvent, Id, Tier};
pub use restart::{Jitter, Policy};
pub use service::{Action, Event, Service, State, step};
