//! What several test binaries share: a torus of one's own, processes that end with their test, peers, the transcript.
//!
//! Each binary uses a part of it, so what one leaves unused is not dead.
#![allow(dead_code, unused_imports, unused_macros)]

pub(crate) mod hello;
pub(crate) mod inits;
pub(crate) mod peer;
pub(crate) mod process;
pub(crate) mod programs;
mod torus;

use std::time::Duration;

pub(crate) use torus::{BUS, TORUS, Torus};

/// No event that a test waits for takes longer, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
