//! `torus config`: tell what is wrong with a file, or what is in force.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{escape, fail_config, print, warn, warn_of_absent};
use crate::config::{self, Config, ConfigError, Service, ServiceKind};
use crate::sys::spawn;

/// The arguments of `torus config`.
#[derive(Debug, clap::Args)]
#[command(after_help = "docs/configuration.md explains every key.")]
pub(super) struct ConfigArgs {
    // Every command takes it; here no running torus is asked, so the help need not speak of it.
    #[arg(long, global = true, hide = true, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
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
        #[command(flatten)]
        file: ConfigFile,
    },
}

/// Which configuration is meant.
#[derive(Debug, clap::Args)]
pub(super) struct ConfigFile {
    /// The configuration [default: $TORUS_CONFIG, else /etc/torus/torus.yaml, else the embedded one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The same as --config FILE
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
}

impl ConfigFile {
    /// The file that the command line names, if any.
    pub(super) fn path(&self) -> Option<&Path> {
        self.config.as_deref().or(self.file.as_deref())
    }
}

/// Runs `torus config`.
pub(super) fn run(args: &ConfigArgs) -> ExitCode {
    let result = match &args.command {
        Command::Check { file } => check(file),
        Command::Show { file } => show(file.path()),
    };
    match result {
        Ok(text) => print(&text),
        Err(error) => fail_config(&error),
    }
}

fn check(file: &Path) -> Result<String, ConfigError> {
    let loaded = config::load(Some(file))?;
    let config::Loaded { config, origin } = &loaded;
    if let Some(address) = config.insecure_bind() {
        warn(origin, format_args!("{address} is beyond loopback, and peers are not authenticated"));
    }
    for (name, service) in &config.services {
        if let Some(why) = missing(service) {
            warn(origin, format_args!("services.{name}.command: {why}"));
        }
    }
    warn_of_absent(&loaded);
    Ok(format!("{}: fine: {}\n{}", escape::line(&origin.to_string()), summary(config), listed(config)))
}

fn show(file: Option<&Path>) -> Result<String, ConfigError> {
    let config::Loaded { config, origin } = config::load(file)?;
    // Escaped, since a path may hold a line feed and this line is a comment.
    Ok(format!("# in force: {}\n{}", origin.to_string().escape_debug(), config.to_yaml()))
}

/// Why a service's program cannot be started from here, as far as that can be seen: it may be there where torus runs.
fn missing(service: &Service) -> Option<String> {
    let ServiceKind::Command(words) = &service.kind else { return None };
    let program = words.first()?;
    match spawn::find_program(program.as_ref()) {
        Ok(file) if file.is_file() => None,
        Ok(_) => Some(format!("there is no program {program:?}, seen from this directory")),
        Err(error) => Some(error.to_string()),
    }
}

/// What a configuration runs, a line each: ports, then services.
fn listed(config: &Config) -> String {
    let mut text = String::new();
    if let Some((bus, requests)) = config.bus.as_ref().and_then(|bus| Some((bus, bus.requests.as_ref()?))) {
        for (whom, port) in [("clients", requests.front), ("back-ends", requests.back)] {
            let free = if port == 0 { " (any free port)" } else { "" };
            let _ = writeln!(text, "  requests, {whom:<10} tcp://{}{free}", SocketAddr::new(bus.bind, port));
        }
    }
    for (name, Service { kind, instances, .. }) in &config.services {
        let what = match kind {
            ServiceKind::Worker(kind) => format!("worker {kind}"),
            ServiceKind::Command(words) => format!("command {words:?}"),
        };
        let _ = writeln!(text, "  {name} × {instances}: {what}");
    }
    text
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
