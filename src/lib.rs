//! Torus, the event bus of a ReactiveGrid cluster: the map of the house.
//!
//! The pure rooms decide and never touch the world: no IO, no clock, no randomness; time and jitter arrive as
//! arguments. The edges act and decide nothing. `tests/tidy.rs` holds the rule of who may import whom;
//! ARCHITECTURE.md tells the journeys through these rooms.

// Pure.
pub mod broker;
pub mod config;
pub mod lifecycle;
pub mod wire;

// Edges.
pub mod cli;
pub mod control;
pub mod preflight;
pub mod supervisor;
pub mod sys;
pub mod transport;
pub mod worker;
