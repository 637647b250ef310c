//! The supervisor becomes another build of itself while everything runs: who notices, and what happens if it cannot.
//!
//! The other build is a copy of the program whose version, which the file has in one place, says something else.

mod builds;
#[allow(dead_code, reason = "shared with the tests of survival")]
#[path = "../chaos/bus.rs"]
mod bus;
#[allow(dead_code, reason = "shared with the tests of survival")]
#[path = "../chaos/fleet.rs"]
mod fleet;
mod kept;
#[allow(dead_code, reason = "shared with the tests of survival")]
#[path = "../chaos/peer.rs"]
mod peer;
mod refused;
#[path = "../support/mod.rs"]
mod support;
