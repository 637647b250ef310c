//! What several test binaries share: a torus of one's own, processes that end with their test, peers, the transcript.
//!
//! Each binary uses a part of it, so what one leaves unused is not dead.
#![allow(dead_code, unused_imports, unused_macros)]

pub(crate) mod hello;
pub(crate) mod inits;
pub(crate) mod peer;
pub(crate) mod pid1;
pub(crate) mod process;
pub(crate) mod programs;
mod torus;

use std::time::Duration;

pub(crate) use torus::{BUS, TORUS, Torus};

/// Whether the long forms of tests are asked for, as `scripts/test --long` does.
pub(crate) fn long() -> bool {
    std::env::var_os("TORUS_TEST_LONG").is_some_and(|long| long == "1")
}

/// No event that a test waits for takes longer, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
