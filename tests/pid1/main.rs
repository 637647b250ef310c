//! Torus as PID 1 of a fresh PID namespace, as root and as uid 65532, in what containers go through. What is asked of it
//! each time: whom this does not concern is not disturbed, and the stop is in order and in time.

#[path = "../support/mod.rs"]
mod support;

mod floods;
mod limits;
mod neighbours;
mod outputs;
mod preflight;
mod starts;
mod stops;
