//! The log worker as a process: lines stay whole, nothing is lost silently, and no writer is hurt by its death.

#[path = "log/deaths.rs"]
mod deaths;
#[path = "log/followers.rs"]
mod followers;
#[path = "log/house.rs"]
mod house;
#[path = "log/lines.rs"]
mod lines;
#[path = "log/outputs.rs"]
mod outputs;

mod support;
