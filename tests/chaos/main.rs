//! Survival: real processes killed with -9 under load, and every request accounted for.
//!
//! `deaths` kills what serves again and again and holds the clients' own numbers against the counters; `lost` brings
//! about each reason why a request may be lost, one at a time.

mod bus;
mod deaths;
mod fleet;
mod lost;
mod peer;
#[path = "../support/mod.rs"]
mod support;
