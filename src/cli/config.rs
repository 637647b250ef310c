//! `torus config`: tell what is wrong with a file, or what is in force.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{fail_config, print};
use crate::config::{self, Config, ConfigError};

/// The arguments of `torus config`.
#[derive(Debug, clap::Args)]
#[command(after_help = "docs/configuration.md explains every key.")]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Tell all that is wrong with a configuration file; exit with 1 on any
    Check {
        /// The file
        file: PathBuf,
    },
    /// Print the configuration that `torus run` would use, defaults written out
    Show {
        /// The configuration file; else TORUS_CONFIG, else /etc/torus/torus.yaml, else the embedded default
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// Runs `torus config`.
pub(super) fn run(args: &ConfigArgs) -> ExitCode {
    let result = match &args.command {
        Command::Check { file } => check(file),
        Command::Show { config } => show(config.as_deref()),
    };
    match result {
        Ok(text) => print(&text),
        Err(error) => fail_config(&error),
    }
}

fn check(file: &Path) -> Result<String, ConfigError> {
    let config::Loaded { config, origin } = config::load(Some(file))?;
    let mut text = String::new();
    if let Some(address) = config.insecure_bind() {
        text.push_str(&format!("{origin}: warning: {address} is beyond loopback, and peers are not authenticated\n"));
    }
    text.push_str(&format!("{origin}: fine: {}\n", summary(&config)));
    Ok(text)
}

fn show(file: Option<&Path>) -> Result<String, ConfigError> {
    let config::Loaded { config, origin } = config::load(file)?;
    // Escaped, since a path may hold a line feed and this line is a comment.
    Ok(format!("# in force: {}\n{}", origin.to_string().escape_debug(), config.to_yaml()))
}

/// What a configuration runs: "requests and 2 services".
fn summary(config: &Config) -> String {
    let requests = config.bus.as_ref().and_then(|bus| bus.requests.as_ref()).map(|_| "requests".to_owned());
    let services = match config.services.len() {
        0 => None,
        1 => Some("1 service".to_owned()),
        count => Some(format!("{count} services")),
    };
    requests.into_iter().chain(services).collect::<Vec<_>>().join(" and ")
}
