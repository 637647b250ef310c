//! The command line: one file per subcommand. Nobody imports this module but `main`.

mod check;
mod completions;
mod config;
mod control;
mod escape;
mod health;
mod init;
mod log;
mod logs;
mod request;
mod run;
mod status;
mod worker;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{ConfigError, Loaded, Origin};
use crate::control::torus_version;
use crate::supervisor;
use crate::sys::runtime;

#[derive(Debug, Parser)]
#[command(name = "torus", version = torus_version(), about, max_term_width = 100)]
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
    /// Tell by the exit code whether all that should run here runs
    Health(health::HealthArgs),
    /// Start a service that is stopped, or try one again that waits, rests or has failed
    #[command(after_help = "Example: torus start hello")]
    Start(control::ServiceArgs),
    /// Stop a service, in order, until it is started again
    #[command(after_help = "Example: torus stop hello")]
    Stop(control::ServiceArgs),
    /// Give a service new processes: one instance at a time, each ready before the next
    #[command(after_help = "Example: torus restart hello")]
    Restart(control::ServiceArgs),
    /// Send a signal to a service's processes, not to what they started
    Signal(control::SignalArgs),
    /// Show what services have written, and follow it
    Logs(logs::LogsArgs),
    /// Show what a configuration file would change, and why; changes nothing
    Plan(control::PlanArgs),
    /// Take a changed configuration: all of it or, if anything is wrong with it, nothing
    Reload(control::ReloadArgs),
    /// Have the running supervisor become another build of torus; services and the bus go on
    Upgrade(control::UpgradeArgs),
    /// Send requests and print their replies
    Request(request::RequestArgs),
    /// Check whether this machine gives what torus needs, and tell what mends what is missing
    Check(check::CheckArgs),
    /// Check a configuration file, or show what is in force
    Config(config::ConfigArgs),
    /// Run one command under an init, in the place of tini or dumb-init
    #[command(override_help = init::HELP, disable_help_flag = true)]
    Init {
        /// Options and command, in tini's syntax
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
    /// Print what a shell needs to complete the words of torus
    Completions(completions::CompletionsArgs),
    /// Write the man pages
    #[command(hide = true)]
    Man(completions::ManArgs),
    /// Be one of the supervisor's workers
    #[command(hide = true)]
    Worker(worker::WorkerArgs),
}

/// Runs the command line and returns the process's exit code.
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = init::by_name(&words) {
        return code;
    }
    let Arguments { runtime_dir, command } = Arguments::parse_from(words);
    if let Command::Init { words } = &command {
        return init::run(words);
    }
    log::install();
    let runtime_directory = || runtime::directory(runtime_dir.as_deref());
    match command {
        Command::Run(arguments) => run::run(&arguments, runtime_dir.as_deref()),
        Command::Status(arguments) => status::run(&arguments, &runtime_directory()),
        Command::Health(arguments) => health::run(&arguments, &runtime_directory()),
        Command::Start(arguments) => control::start(arguments, &runtime_directory()),
        Command::Stop(arguments) => control::stop(arguments, &runtime_directory()),
        Command::Restart(arguments) => control::restart(arguments, &runtime_directory()),
        Command::Signal(arguments) => control::signal(arguments, &runtime_directory()),
        Command::Logs(arguments) => logs::run(arguments, &runtime_directory()),
        Command::Plan(arguments) => control::plan(arguments, &runtime_directory()),
        Command::Reload(arguments) => control::reload(arguments, &runtime_directory()),
        Command::Upgrade(arguments) => control::upgrade(arguments, &runtime_directory()),
        Command::Request(arguments) => request::run(&arguments, runtime_dir.as_deref()),
        Command::Check(arguments) => check::run(arguments, &runtime_directory()),
        Command::Config(arguments) => config::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => completions::man(&arguments),
        Command::Init { .. } => unreachable!("it was run above"),
        Command::Worker(arguments) => worker::run(&arguments),
    }
}

/// Prints a result. A reader that has had enough and left is told nothing; the exit code tells that the result was lost.
fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail_output(&error),
    }
}

fn fail_output(error: &io::Error) -> ExitCode {
    match error.kind() {
        io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => fail(format_args!("cannot write to standard output: {error}")),
    }
}

/// Tells what is wrong with a configuration: problems of a file by file and line, as compilers do.
fn fail_config(error: &ConfigError) -> ExitCode {
    match error {
        ConfigError::Read { .. } => {
            fail(format_args!("{error}\nhint: is that the file you mean, and may you read it?"))
        }
        problems => {
            let _ = writeln!(io::stderr(), "{}", escape::lines(&problems.to_string()));
            ExitCode::FAILURE
        }
    }
}

/// Warns on standard error of users and groups that a configuration names and that are not here: the file may be for
/// another machine.
fn warn_of_absent(loaded: &Loaded) {
    supervisor::absent(&loaded.config.services).iter().for_each(|absent| warn(&loaded.origin, absent));
}

/// Tells on standard error what may be wrong with a configuration.
fn warn(origin: &Origin, what: impl Display) {
    let _ = writeln!(io::stderr(), "{}", escape::line(&format!("{origin}: warning: {what}")));
}

/// The endpoint as a client on this machine reaches it: a wildcard address stands for every one of its own.
fn reachable(endpoint: &str) -> String {
    endpoint.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
}

/// Tells the user what went wrong; the exit code of a thing that failed.
fn fail(error: impl Display) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: {}", escape::lines(&error.to_string()));
    ExitCode::FAILURE
}
