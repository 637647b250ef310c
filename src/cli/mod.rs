//! The command line: one file per subcommand. Nobody imports this module but `main`.

mod config;
mod log;
mod request;
mod run;
mod status;
mod worker;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::sys::runtime;

#[derive(Debug, Parser)]
#[command(name = "torus", version, about, max_term_width = 100)]
struct Arguments {
    /// Where the control socket is [default: $TORUS_RUNTIME_DIR, else /run/torus for root, else
    /// $XDG_RUNTIME_DIR/torus, else /tmp/torus-UID]
    #[arg(long, global = true, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the bus and its services in the foreground, until SIGTERM or SIGINT
    Run(run::RunArgs),
    /// Show the services and counters of the torus that runs here
    Status(status::StatusArgs),
    /// Send requests and print their replies
    Request(request::RequestArgs),
    /// Check a configuration file, or show what is in force
    Config(config::ConfigArgs),
    /// Be one of the supervisor's workers
    #[command(hide = true)]
    Worker(worker::WorkerArgs),
}

/// Runs the command line and returns the process's exit code.
pub fn main() -> ExitCode {
    let Arguments { runtime_dir, command } = Arguments::parse();
    log::install();
    let runtime_directory = || runtime::directory(runtime_dir.as_deref());
    match command {
        Command::Run(arguments) => run::run(&arguments, runtime_dir.as_deref()),
        Command::Status(arguments) => status::run(&arguments, &runtime_directory()),
        Command::Request(arguments) => request::run(&arguments),
        Command::Config(arguments) => config::run(&arguments),
        Command::Worker(arguments) => worker::run(&arguments),
    }
}

/// Tells the user what went wrong; the exit code of a thing that failed.
fn fail(error: impl Display) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: {error}");
    ExitCode::FAILURE
}
