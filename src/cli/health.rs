//! `torus health`: whether the torus that runs here is well, in an exit code and one line, as Docker's HEALTHCHECK and
//! other watchers ask every few seconds. It asks once, and changes nothing.

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{escape, fail, print};
use crate::control::client::{self, ClientError};
use crate::control::{ServiceStatus, Status};
use crate::sys::runtime::Directory;

/// How many instances are named; of more only the number is told.
const NAMED_MAX: usize = 3;
/// Whom container engines put before what they were told to run (`docker run --init`).
const ENGINES_INITS: [&[u8]; 3] = [b"docker-init", b"tini", b"catatonit"];

#[derive(Debug, Args)]
#[command(after_help = "Exit code 0: all that should run runs and is ready; or PID 1 is `torus init`, whose command \
                        runs as long as it does. 1: something is not, or nobody answered.")]
pub(super) struct HealthArgs {
    /// Seconds to wait for the answer
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    timeout: u64,
}

pub(super) fn run(arguments: &HealthArgs, runtime_directory: &Directory) -> ExitCode {
    let patience = Duration::from_secs(arguments.timeout);
    match client::status_within(runtime_directory, patience) {
        Ok(status) => match complaint(&status) {
            None => print("healthy\n"),
            Some(complaint) => fail(escape::line(&complaint)),
        },
        Err(ClientError::NotRunning { .. }) if init_runs() => print("healthy: torus init runs its command\n"),
        Err(ClientError::NotYet { .. }) => fail(format_args!("torus has not answered within {} s", patience.as_secs())),
        Err(error) => fail(error.to_string().lines().next().unwrap_or_default()),
    }
}

/// What is not well, in one line.
fn complaint(status: &Status) -> Option<String> {
    let because = match status.state.as_str() {
        "running" => return None,
        // Nothing that runs now is to go on.
        "stopping" | "down" => String::new(),
        _ => culprits(&status.services),
    };
    let colon = if because.is_empty() { "" } else { ": " };
    Some(format!("torus is {}{colon}{because}", status.state))
}

/// Those that are not as they should be. What is down by order is as it should be.
fn culprits(services: &[ServiceStatus]) -> String {
    let is_fine = |one: &&ServiceStatus| matches!(one.state.as_str(), "running" | "completed" | "stopped");
    let mut told: Vec<String> = services.iter().filter(|one| !is_fine(one)).map(ServiceStatus::sentence).collect();
    let more = told.len().saturating_sub(NAMED_MAX);
    if more > 0 {
        told.truncate(NAMED_MAX);
        told.push(format!("and {more} more"));
    }
    told.join("; ")
}

/// Whether PID 1 is `torus init`, or an engine's init with that below it. It lives as long as its command, so that it is
/// there says all.
fn init_runs() -> bool {
    let words = |pid: &str| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let first = words("1");
    is_init(&first)
        || ENGINES_INITS.contains(&program(&first))
            && fs::read_to_string("/proc/1/task/1/children")
                .is_ok_and(|children| children.split_whitespace().any(|child| is_init(&words(child))))
}

/// The name of the program that a process was started as.
fn program(words: &[u8]) -> &[u8] {
    let path = words.split(|byte| *byte == 0).next().unwrap_or_default();
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// Whether this is how `torus init` is started.
fn is_init(words: &[u8]) -> bool {
    program(words) == b"torus" && words.split(|byte| *byte == 0).nth(1) == Some(b"init")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Endpoints, LastExit, VERSION};

    fn service(instance: u32, state: &str, last_exit: Option<LastExit>) -> ServiceStatus {
        ServiceStatus {
            name: "web".into(),
            instance,
            kind: "command".into(),
            state: state.into(),
            pid: None,
            uptime_ms: None,
            restarts: 0,
            last_exit,
            due_in_ms: None,
            waits_for: None,
            old_configuration: None,
            says: None,
            warnings: Vec::new(),
        }
    }

    fn complaint_of(state: &str, services: Vec<ServiceStatus>) -> Option<String> {
        complaint(&Status {
            version: VERSION,
            torus: "1.2.3".into(),
            pid: 1,
            uptime_ms: 0,
            state: state.into(),
            endpoints: Endpoints::default(),
            services,
            counters: [].into(),
            orphans_reaped: 0,
            discarded_bytes: 0,
        })
    }

    #[test]
    fn who_is_not_well_is_named_and_what_is_down_by_order_is_not() {
        assert_eq!(complaint_of("running", vec![service(1, "running", None), service(2, "stopped", None)]), None);
        let services = vec![
            service(1, "running", None),
            service(2, "stopped", None),
            service(3, "completed", Some(LastExit::Code(0))),
            service(4, "waiting", Some(LastExit::Signal(9))),
            service(5, "failed", Some(LastExit::NotStarted("no such file".into()))),
        ];
        assert_eq!(
            complaint_of("degraded", services).unwrap(),
            "torus is degraded: web/4 is waiting, ended last with signal 9 (SIGKILL); web/5 is failed, cannot be \
             started: no such file"
        );
        assert_eq!(complaint_of("stopping", vec![service(1, "stopping", None)]).unwrap(), "torus is stopping");
    }

    #[test]
    fn the_line_is_bounded() {
        let services = (1..=9).map(|number| service(number, "starting", None)).collect();
        assert_eq!(
            complaint_of("starting", services).unwrap(),
            "torus is starting: web/1 is starting; web/2 is starting; web/3 is starting; and 6 more"
        );
    }

    #[test]
    fn torus_init_is_known_by_how_it_was_started() {
        for words in ["/torus\0init\0--\0/server/server\0", "torus\0init\0x\0"] {
            assert!(is_init(words.as_bytes()), "{words:?}");
        }
        for words in ["/torus\0run\0", "/torus\0", "/sbin/init\0", "/tini\0init\0", ""] {
            assert!(!is_init(words.as_bytes()), "{words:?}");
        }
    }
}
