//! The command line: one file per subcommand. Nobody imports this module but `main`.

mod config;

use std::process::ExitCode;

use clap::Parser;

#[derive(Debug, Parser)]
#[command(name = "torus", version, about)]
enum Torus {
    /// Check a configuration file, or show what is in force
    Config(config::ConfigArgs),
}

/// Runs the command line and returns the process's exit code.
pub fn main() -> ExitCode {
    match Torus::parse() {
        Torus::Config(args) => config::run(&args),
    }
}
