//! `torus worker KIND`: what the supervisor starts.

use std::process::ExitCode;

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::fail;
use crate::sys::identity;
use crate::worker::{self, Kind};

#[derive(Debug, Args)]
#[command(after_help = "This is internal: the supervisor starts its workers so. `torus run` starts the supervisor.")]
pub(super) struct WorkerArgs {
    /// Which worker
    #[arg(value_parser = PossibleValuesParser::new(Kind::ALL.map(|(name, _)| name)))]
    kind: String,
}

pub(super) fn run(arguments: &WorkerArgs) -> ExitCode {
    let kind = Kind::ALL.into_iter().find(|(name, _)| *name == arguments.kind);
    let (_, kind) = kind.expect("the parser lets only known kinds through");
    // Where it is refused, ps(1) shows another name.
    let _ = identity::be_called(c"torus");
    match worker::run(kind) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error),
    }
}
