//! The supervisor: a single-threaded loop that takes events, asks [`lifecycle`](crate::lifecycle) what they mean, and
//! performs the answer through [`sys`](crate::sys).
//!
//! It owns every listening socket, every worker's counters and every child's process id. It parses no network byte and
//! no line of a service's output, and while nothing happens it does not wake up. Workers are met only at their argument
//! vector, environment and inherited descriptors; see `instance`.

mod changes;
mod commands;
mod confine;
mod deaths;
mod environment;
mod event_loop;
mod hangups;
mod hearing;
pub mod init;
mod instance;
mod listeners;
mod logs;
mod manager;
mod operations;
mod plan;
mod probes;
mod report;
mod stopping;
mod unread;
mod upgrade;
mod words;

use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use crate::config::Config;
use crate::control::{BindError, Endpoints, Server};
use crate::sys::cgroup::Cgroups;
use crate::sys::{exec, identity, inherit, limits, program, runtime, signals, spawn};

pub use confine::{Absent, absent};
pub use listeners::ListenError;
pub use upgrade::{Handover, STATE_VERSION, StateError, answer as answer_upgrade};

/// What a supervisor is started with.
#[derive(Debug)]
pub struct Options {
    /// What runs.
    pub config: Config,
    /// The file that says so, to be read again at a reload.
    pub file: Option<PathBuf>,
    /// Where the control socket is to be.
    pub runtime_directory: runtime::Directory,
}

/// What is there when the start is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Up {
    /// Where the bus is reached.
    pub endpoints: Endpoints,
    /// Whether every service runs; the bus does in any case.
    pub complete: bool,
}

/// How everything ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The exit code that tells it: 0 after a stop by order, else that of the service whose end was everything's end
    /// (128 and the number of the signal that ended it).
    pub code: u8,
}

/// Why a supervisor could not begin. Nothing was started then.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system refused something that nothing works without.
    #[error("cannot {what}: {cause}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        cause: io::Error,
    },
    /// There is no control socket to be had.
    #[error(transparent)]
    Control(#[from] BindError),
    /// The bus cannot listen.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// Supervises until an orderly stop is complete: by a signal, or because an essential service has ended for good.
///
/// `on_up` is called once, when the bus serves and every service either runs or has died again after its first restart.
pub fn run(options: Options, on_up: impl FnOnce(&Up)) -> Result<Ended, StartError> {
    let system = |what| move |cause| StartError::System { what, cause };
    signals::hold_orders().map_err(system("hold signals"))?;
    let installed = exec::installed_path().map_err(system("find the file of this program"))?;
    let stdin = std::fs::File::open("/dev/null").map_err(system("open /dev/null"))?;
    let mut inherited = spawn::seal_descriptors().unwrap_or_else(|cause| {
        tracing::warn!("cannot look for inherited descriptors: {cause}");
        Vec::new()
    });
    let passed = inherit::passed().map_err(system("take the sockets that were passed (LISTEN_FDS)"))?;
    inherited.retain(|number| passed.iter().all(|passed| passed.socket.as_raw_fd() != *number));
    identity::adopt_orphans().unwrap_or_else(|cause| tracing::warn!("cannot adopt orphans: {cause}"));
    let open_files = limits::raise_open_files()
        .inspect_err(|cause| tracing::warn!("cannot raise the limit of open files: {cause}"))
        .ok();
    let limited = options.config.services.values().map(|service| confine::cgroup_limits(&service.confine.cgroup));
    let cgroups = Cgroups::prepare(&limited.collect::<Vec<_>>());

    looped(async {
        // The control socket first: that another torus runs here says more than that its ports are taken.
        let control = Server::bind(&options.runtime_directory)?;
        let listeners = listeners::open(options.config.bus.as_ref(), passed)?;
        let sandbox = options.config.supervisor.sandbox;
        let executable = PathBuf::from(program::OWN);
        let ground = instance::Ground { executable, stdin: stdin.into(), open_files, listeners, sandbox, cgroups };
        let upgrade = upgrade::Upgrade::new(installed, inherited, options.runtime_directory);
        event_loop::Supervisor::new(options.config, options.file, ground, upgrade)
            .map_err(system("prepare the workers"))?
            .run(control, on_up)
            .await
            .map_err(system("watch signals"))
    })
}

/// Runs the supervisor's loop in this thread.
fn looped(supervising: impl Future<Output = Result<Ended, StartError>>) -> Result<Ended, StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let failed = |cause| StartError::System { what: "make the supervisor's loop", cause };
    runtime.map_err(failed)?.block_on(supervising)
}
