//! `torus run`: supervises in the foreground.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::config::ConfigFile;
use super::{check, escape, fail, fail_config, log, print, reachable};
use crate::config::{self, ConfigError, Loaded, LogFormat, Origin};
use crate::supervisor::{self, Handover, Options, StateError, Up};
use crate::sys::stderr::Stderr;
use crate::sys::{identity, runtime, signals};

#[derive(Debug, Args)]
#[command(after_help = "SIGTERM, SIGINT and SIGQUIT stop everything in order; a second one hurries, a third kills.\n\
                        SIGHUP reads the configuration again.")]
pub(super) struct RunArgs {
    #[command(flatten)]
    file: ConfigFile,
    /// Go on with the state that another build of this process left at a descriptor
    #[arg(long, value_name = "FD", hide = true)]
    resume: Option<i32>,
    /// Only tell whether that state is understood
    #[arg(long, hide = true, requires = "resume")]
    ask: bool,
    /// The file of the build before, which goes on if this one cannot
    #[arg(long, value_name = "FD", hide = true, requires = "resume")]
    back: Option<i32>,
    /// Why this build goes on again
    #[arg(long, value_name = "REASON", hide = true, requires = "resume")]
    returned: Option<String>,
}

pub(super) fn run(arguments: &RunArgs, runtime_dir: Option<&Path>) -> ExitCode {
    match arguments.resume {
        Some(descriptor) if arguments.ask => return answer(descriptor),
        Some(descriptor) => return resume(Handover::adopt(descriptor, arguments.back, arguments.returned.clone())),
        None => {}
    }
    // From the first moment: what PID 1 is told before it listens would be lost. Anybody else may be ended until then.
    if identity::pid().as_raw() == 1
        && let Err(cause) = signals::hold_orders()
    {
        tracing::warn!("cannot hold signals: {cause}");
    }
    let Loaded { config, origin } = match config::load(arguments.file.path()) {
        Ok(loaded) => loaded,
        Err(error) => return refuse(&error),
    };
    if let Some(address) = config.insecure_bind() {
        tracing::warn!("peers on {address} are served without authentication (bus.allow_insecure)");
    }
    log::never_wait();
    if identity::pid().as_raw() == 1 && !check::before_start(&config, &origin.to_string(), runtime_dir) {
        return fail("a check of this container failed, and supervisor.preflight is refuse");
    }
    let served = !config.services.is_empty();
    let runtime_directory = runtime::directory(runtime_dir);
    let named = runtime_directory.is_named.then(|| runtime_directory.path.clone());
    let format = config.logs.format;
    let announce = |up: &Up| announce(up, served, format, named.as_deref(), &origin);
    let file = match &origin {
        Origin::File(path) => Some(std::path::absolute(path).unwrap_or_else(|_| path.clone())),
        Origin::Embedded => None,
    };
    let options = Options { config, file, runtime_directory };
    match supervisor::run(options, announce) {
        Ok(ended) => ExitCode::from(ended.code),
        Err(error) => fail(error),
    }
}

/// As another build of this process, which went on until now.
fn resume(handover: Result<Handover, StateError>) -> ExitCode {
    // Where it is refused, ps(1) shows a number.
    let _ = identity::be_called(c"torus");
    let handover = match handover {
        Ok(handover) => handover,
        Err(error) => return fail(error),
    };
    log::never_wait();
    let served = !handover.config().services.is_empty();
    let origin = handover.file().map_or(Origin::Embedded, |file| Origin::File(file.to_owned()));
    let directory = handover.runtime_directory().clone();
    let named = directory.is_named.then_some(directory.path.as_path());
    let format = handover.config().logs.format;
    match handover.resume(|up: &Up| announce(up, served, format, named, &origin)) {
        Ok(ended) => ExitCode::from(ended.code),
        Err(error) => fail(error),
    }
}

/// Tells another build whether this one could go on with its state.
fn answer(descriptor: i32) -> ExitCode {
    match supervisor::answer_upgrade(descriptor) {
        Ok(line) => print(&line),
        Err(error) => fail(error),
    }
}

fn announce(up: &Up, served: bool, format: LogFormat, runtime_dir: Option<&Path>, origin: &Origin) {
    // Standard output is a stream of objects then.
    if format == LogFormat::Json {
        return tracing::info!("running, configured by {origin}");
    }
    let program = std::env::args().next().unwrap_or_else(|| "torus".to_owned());
    let text = announcement(up, served, &program, runtime_dir, &origin.to_string());
    // Who does not read it has none: nobody is waited for here.
    let told = Stderr::stdout().and_then(|stdout| stdout.write(text.as_bytes()));
    told.unwrap_or_else(|cause| tracing::warn!("cannot tell on standard output that all is up: {cause}"));
}

/// Tells what is wrong with a configuration, and that it is why nothing runs.
fn refuse(error: &ConfigError) -> ExitCode {
    let text = error.to_string();
    let (problems, count) = match error {
        ConfigError::Read { .. } => return fail_config(error),
        ConfigError::Invalid { .. } => text.rsplit_once('\n').unwrap_or((&text, "")),
        ConfigError::TooLarge { .. } | ConfigError::NotUtf8 { .. } | ConfigError::Syntax { .. } => (&*text, ""),
    };
    let _ = writeln!(io::stderr(), "{}", escape::lines(problems));
    let colon = if count.is_empty() { "" } else { ": " };
    fail(format_args!("this configuration cannot be run{colon}{count}"))
}

/// What the user reads when everything runs. `served` says whether this torus runs anything that may be a back-end:
/// without one a request would only wait. `program` and `runtime_dir` are what this torus was called by, so that the
/// commands to try can be copied as they are.
fn announcement(up: &Up, served: bool, program: &str, runtime_dir: Option<&Path>, origin: &str) -> String {
    let endpoints = &up.endpoints;
    let mut text = format!("\nTorus is running, configured by {origin}.\n");
    if !up.complete {
        text.push_str("Not every service is: the lines above and `status` tell which, and why.\n");
    }
    let listed = [("clients", &endpoints.requests_front), ("back-ends", &endpoints.requests_back)];
    let listed: String = listed
        .into_iter()
        .filter_map(|(whom, endpoint)| Some(format!("  requests, {whom:<10} {}\n", endpoint.as_ref()?)))
        .collect();
    if !listed.is_empty() {
        let _ = write!(text, "\n{listed}");
    }
    if let Some(back) = endpoints.requests_back.as_ref().filter(|_| !served) {
        let _ = writeln!(text, "\nThis torus runs no back-end: connect one, a REP socket, to {}.", reachable(back));
    }
    text.push_str("\nTry, in another terminal:\n\n");
    if let Some(front) = endpoints.requests_front.as_ref().filter(|_| served) {
        let endpoint = match front.as_str() {
            "tcp://127.0.0.1:5555" => String::new(),
            other => format!(" --endpoint {}", reachable(other)),
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
    use crate::control::Endpoints;

    #[test]
    fn the_announcement_tells_the_endpoints_and_what_to_try() {
        let endpoints = Endpoints {
            requests_front: Some("tcp://0.0.0.0:7000".into()),
            requests_back: Some("tcp://0.0.0.0:7001".into()),
        };
        let up = Up { endpoints, complete: true };
        let text = announcement(&up, true, "target/release/torus", Some(Path::new("here")), "torus.yaml");
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

    #[test]
    fn the_announcement_tells_when_not_every_service_runs() {
        let endpoints = Endpoints { requests_front: Some("tcp://127.0.0.1:5555".into()), requests_back: None };
        let text = announcement(&Up { endpoints, complete: false }, true, "torus", None, "torus.yaml");
        insta::assert_snapshot!(text.trim_start(), @r"
        Torus is running, configured by torus.yaml.
        Not every service is: the lines above and `status` tell which, and why.

          requests, clients    tcp://127.0.0.1:5555

        Try, in another terminal:

          torus request Hello --count 5
          torus status

        Ctrl-C stops everything in order.
        ");
    }
    #[test]
    fn the_announcement_asks_for_a_back_end_where_none_is_run() {
        let endpoints = Endpoints {
            requests_front: Some("tcp://0.0.0.0:5555".into()),
            requests_back: Some("tcp://0.0.0.0:5556".into()),
        };
        let text = announcement(&Up { endpoints, complete: true }, false, "torus", None, "torus.yaml");
        insta::assert_snapshot!(text.trim_start(), @r"
        Torus is running, configured by torus.yaml.

          requests, clients    tcp://0.0.0.0:5555
          requests, back-ends  tcp://0.0.0.0:5556

        This torus runs no back-end: connect one, a REP socket, to tcp://127.0.0.1:5556.

        Try, in another terminal:

          torus status

        Ctrl-C stops everything in order.
        ");
    }
}
