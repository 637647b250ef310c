//! `torus check`: whether this machine gives what Torus and its setup need, and what mends what is missing.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::config::ConfigFile;
use super::{escape, print};
use crate::config::{self, Config, Loaded, Preflight};
use crate::control::client;
use crate::preflight::{self, Asked, Purpose, Report, Running, State, judge};
use crate::sys::runtime::{self, Directory};

/// The arguments of `torus check`.
#[derive(Debug, Args)]
#[command(after_help = "Exits with 0, with 1 if a check fails, and under --strict with 2 if one warns.\n\
                        docs/check.md explains every check.\n\n\
                        Example: torus check --for host --strict")]
pub(super) struct CheckArgs {
    /// What this machine is to be good for [default: container inside of one, else host]
    #[arg(long = "for", value_name = "PURPOSE", value_parser = Purpose::ALL.map(|(name, _)| name))]
    purpose: Option<String>,
    /// Exit with 2 if a check warns
    #[arg(long)]
    strict: bool,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    /// Print the facts that the checks judge, as JSON, instead of verdicts
    #[arg(long, conflicts_with = "json")]
    facts: bool,
    /// Where data are kept [default: $STATE_DIRECTORY, else /var/lib/torus]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    file: ConfigFile,
}

/// Runs `torus check`.
pub(super) fn run(arguments: CheckArgs, directory: &Directory) -> ExitCode {
    let purpose = arguments.purpose.as_deref().and_then(Purpose::of_name).unwrap_or_else(preflight::purpose_here);
    let loaded = config::load(arguments.file.path());
    let asked = Asked {
        purpose,
        configuration: match &loaded {
            Ok(Loaded { config, origin }) => Ok((config, origin.to_string())),
            Err(error) => Err(error.to_string()),
        },
        runtime_directory: directory,
        data_directory: arguments.data_dir,
        running: running(directory),
    };
    let facts = preflight::gather(&asked);
    if arguments.facts {
        return print(&(serde_json::to_string_pretty(&facts).expect("text and numbers are always JSON") + "\n"));
    }
    let report =
        Report { purpose, verdicts: judge(&facts, loaded.as_ref().ok().map(|loaded| &loaded.config), purpose) };
    let colored = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let printed = print(&if arguments.json { report.json() } else { report.table(colored, escape::line) });
    match report.exit_code(arguments.strict) {
        0 => printed,
        code => ExitCode::from(code),
    }
}

/// The torus that runs here, if it answers.
fn running(directory: &Directory) -> Option<Running> {
    let status = client::status(directory).ok()?;
    let endpoints = [status.endpoints.requests_front, status.endpoints.requests_back];
    Some(Running { pid: status.pid, version: status.torus, endpoints: endpoints.into_iter().flatten().collect() })
}

/// What PID 1 looks at before it starts anything; answers whether it may start.
pub(super) fn before_start(config: &Config, origin: &str, runtime_dir: Option<&Path>) -> bool {
    if config.supervisor.preflight == Preflight::Off {
        return true;
    }
    let purpose = Purpose::Container;
    let runtime_directory = &runtime::directory(runtime_dir);
    let configuration = Ok((config, origin.to_owned()));
    let asked = Asked { purpose, configuration, runtime_directory, data_directory: None, running: None };
    let facts = preflight::container(&asked);
    let report = Report { purpose, verdicts: judge(&facts, Some(config), purpose) };
    let complaints = report.complaints();
    let refuses = config.supervisor.preflight == Preflight::Refuse && report.count(State::Fail) > 0;
    if complaints.is_empty() {
        return true;
    }
    let goes_on = if refuses { "torus does not start (supervisor.preflight)" } else { "torus goes on" };
    tracing::warn!("preflight: {}; {goes_on}", report.sum());
    for complaint in complaints {
        tracing::warn!("preflight: {complaint}");
    }
    !refuses
}
