//! `torus run`: supervises in the foreground.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::fail;
use crate::config::{self, Loaded};
use crate::control::Endpoints;
use crate::supervisor::{self, Options};
use crate::sys::runtime;

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The configuration [default: $TORUS_CONFIG, else /etc/torus/torus.yaml, else the embedded one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(arguments: &RunArgs, runtime_dir: Option<&Path>) -> ExitCode {
    let Loaded { config, origin } = match config::load(arguments.config.as_deref()) {
        Ok(loaded) => loaded,
        Err(error) => return fail(error),
    };
    if let Some(address) = config.insecure_bind() {
        tracing::warn!("peers on {address} are served without authentication (bus.allow_insecure)");
    }
    let announce = |endpoints: &Endpoints| {
        let program = std::env::args().next().unwrap_or_else(|| "torus".to_owned());
        let text = announcement(&program, runtime_dir, &origin.to_string(), endpoints);
        let _ = io::stdout().write_all(text.as_bytes());
    };
    match supervisor::run(Options { config, runtime_directory: runtime::directory(runtime_dir) }, announce) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error),
    }
}

/// What the user reads when everything runs. `program` and `runtime_dir` are what this torus was called by, so that the
/// commands to try can be copied as they are.
fn announcement(program: &str, runtime_dir: Option<&Path>, origin: &str, endpoints: &Endpoints) -> String {
    let mut text = format!("\nTorus is running, configured by {origin}.\n");
    let listed = [("clients", &endpoints.requests_front), ("back-ends", &endpoints.requests_back)];
    let listed: String = listed
        .into_iter()
        .filter_map(|(whom, endpoint)| Some(format!("  requests, {whom:<10} {}\n", endpoint.as_ref()?)))
        .collect();
    if !listed.is_empty() {
        let _ = write!(text, "\n{listed}");
    }
    text.push_str("\nTry, in another terminal:\n\n");
    if let Some(front) = &endpoints.requests_front {
        let endpoint = match front.as_str() {
            "tcp://127.0.0.1:5555" => String::new(),
            other => {
                format!(" --endpoint {}", other.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:"))
            }
        };
        let _ = writeln!(text, "  {program} request Hello --count 5{endpoint}");
    }
    let runtime_dir = runtime_dir.map(|path| format!(" --runtime-dir {}", path.display())).unwrap_or_default();
    let _ = write!(text, "  {program} status{runtime_dir}\n\nCtrl-C stops everything in order.\n\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_announcement_tells_the_endpoints_and_what_to_try() {
        let endpoints = Endpoints {
            requests_front: Some("tcp://0.0.0.0:7000".into()),
            requests_back: Some("tcp://0.0.0.0:7001".into()),
        };
        let text = announcement("target/release/torus", Some(Path::new("here")), "torus.yaml", &endpoints);
        insta::assert_snapshot!(text.trim_start(), @r"
        Torus is running, configured by torus.yaml.

          requests, clients    tcp://0.0.0.0:7000
          requests, back-ends  tcp://0.0.0.0:7001

        Try, in another terminal:

          target/release/torus request Hello --count 5 --endpoint tcp://127.0.0.1:7000
          target/release/torus status --runtime-dir here

        Ctrl-C stops everything in order.
        ");
    }
}
