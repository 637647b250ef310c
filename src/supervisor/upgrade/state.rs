//! The state that one build hands to the next: JSON in sealed memory, its version first. docs/upgrade.md describes it.
//!
//! Descriptors stand in it by their numbers, which exec keeps. Times are [`Moment`]s: distances from the instant at which
//! the state was taken, which is told by the clock that goes on over exec.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::config::{self, Config, Origin};
use crate::control::LastExit;
use crate::lifecycle::{House, Id, Moment, Snapshot};
use crate::supervisor::listeners::{Door, Doors};
use crate::supervisor::plan::{self, Units};
use crate::supervisor::words::Heard;
use crate::sys::cgroup::{CgroupsRecord, GroupRecord};
use crate::sys::limits::OpenFiles;
use crate::sys::runtime::Directory;
use crate::sys::{Pid, exec, files};

/// The version of the state. It changes when a build that reads this version would misunderstand; a new field that may be
/// absent does not change it. What is said between supervisor and workers belongs to it: workers of the build before go on.
pub const STATE_VERSION: u32 = 1;
/// Bytes of a state; a larger one is cut, and not understood then.
pub(super) const STATE_BYTES_MAX: u64 = 64 << 20;

/// All that a supervisor is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) version: u32,
    /// The version of the build that wrote it.
    pub(super) torus: String,
    /// The process that is to go on with it.
    pub(super) pid: i32,
    /// Where that build was started from.
    pub(super) installed: OsString,
    /// Descriptors that it was started with and that are not its own.
    pub(super) inherited: Vec<RawFd>,
    /// When it was taken, since the machine's start.
    pub(super) taken: Duration,
    /// The configuration in force, as YAML.
    pub(super) config: String,
    /// Configurations from which processes were started that it would start in another way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) older: Vec<String>,
    /// The file that it was read from.
    pub(super) file: Option<OsString>,
    /// Where the control socket is, or would be if it had a file.
    pub(super) runtime_directory: Directory,
    /// Whether the end of the start was told.
    pub(super) announced: bool,
    /// When the first of these builds started.
    pub(super) since: Moment,
    pub(super) orphans_reaped: u64,
    /// Bytes that services wrote and that nobody read.
    #[serde(default)]
    pub(super) discarded_bytes: u64,
    /// Whether a hangup asked for a reload that is still to come.
    pub(super) reload_due: bool,
    /// The limit of open files as the first build found it.
    pub(super) open_files: Option<OpenFiles>,
    pub(super) cgroups: CgroupsRecord,
    pub(super) house: Snapshot,
    pub(super) instances: Vec<InstanceState>,
    /// The doors of the requests worker, front and back.
    pub(super) requests: Option<[ListenerState; 2]>,
    /// Doors that are to be closed when no worker listens there any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) retired: Vec<ListenerState>,
    /// The control socket's descriptor.
    pub(super) control: RawFd,
    /// That of the runtime directory's lock; none where the control socket has no file.
    pub(super) lock: Option<RawFd>,
    /// The connection of who asked for the upgrade.
    pub(super) asker: Option<RawFd>,
    /// Probes that run, each with whom it asks about.
    pub(super) probes: Vec<(i32, i32)>,
}

/// A listening socket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ListenerState {
    pub(super) socket: RawFd,
    pub(super) address: SocketAddr,
    /// The door for which the service manager passed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) passed: Option<Door>,
}

/// What the house does not know of an instance.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct InstanceState {
    pub(super) id: Id,
    pub(super) starts: u64,
    pub(super) process: Option<ProcessState>,
    pub(super) last_pid: Option<i32>,
    pub(super) last_exit: Option<LastExit>,
    pub(super) says: Option<String>,
    pub(super) warnings: Vec<String>,
    /// The memory of its counters.
    pub(super) counters: Option<RawFd>,
    pub(super) group: Option<GroupRecord>,
    /// The pipes that it writes to.
    pub(super) output: Option<OutputState>,
    /// What no configuration tells any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) leaving: Option<LeavingUnit>,
}

/// The ends of the pipes for its standard output and its standard error.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OutputState {
    pub(super) readers: [RawFd; 2],
    pub(super) writers: [RawFd; 2],
}

/// A living process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ProcessState {
    pub(super) pid: i32,
    pub(super) since: Moment,
    /// What it was started from; without it, what is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) launched: Option<LaunchedState>,
    /// Where it speaks.
    pub(super) heard: Vec<Heard>,
}

/// What a process was started from.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LaunchedState {
    /// Which of the older configurations; without it, that in force.
    pub(super) older: Option<usize>,
    /// Where the bus listened, for clients and for back-ends.
    pub(super) doors: Doors,
}

/// A unit that is no longer configured, as far as its end needs it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LeavingUnit {
    pub(super) kind: String,
    pub(super) built_in: bool,
    pub(super) stop_signal: i32,
    pub(super) success_codes: Vec<u8>,
    pub(super) success_signals: Vec<u8>,
}

/// What a state means by this build's rules.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) config: Rc<Config>,
    pub(super) older: Vec<Rc<Config>>,
    pub(super) units: Units,
    pub(super) house: House,
    /// The instant at which the state was taken.
    pub(super) origin: Instant,
}

/// Why a state cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be read at all.
    #[error("the state cannot be read: {0}")]
    Read(io::Error),
    /// It is of another version.
    #[error(
        "torus {} understands version {STATE_VERSION} of the state, not version {version}",
        crate::control::torus_version()
    )]
    Version {
        /// Its version.
        version: u32,
    },
    /// It is of this version and makes no sense.
    #[error("torus {} cannot make sense of the state: {cause}", crate::control::torus_version())]
    Senseless {
        /// What is wrong.
        cause: String,
    },
}

impl State {
    /// Puts it into memory that nobody can change.
    pub(super) fn write(&self) -> io::Result<OwnedFd> {
        files::sealed_memory(&serde_json::to_vec(self)?, "torus-state")
    }

    /// Reads it from there.
    pub(super) fn read(memory: &OwnedFd) -> Result<Self, StateError> {
        let mut file = File::from(memory.try_clone().map_err(StateError::Read)?);
        let mut text = String::new();
        file.rewind().map_err(StateError::Read)?;
        file.take(STATE_BYTES_MAX).read_to_string(&mut text).map_err(StateError::Read)?;
        Self::parse(&text)
    }

    /// Looks at the version first, and at nothing else of another one.
    fn parse(text: &str) -> Result<Self, StateError> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let senseless = |cause: serde_json::Error| StateError::Senseless { cause: cause.to_string() };
        let Head { version } = serde_json::from_str(text).map_err(senseless)?;
        if version != STATE_VERSION {
            return Err(StateError::Version { version });
        }
        serde_json::from_str(text).map_err(senseless)
    }

    /// Whether it is this process that is to go on with it: not one that was started in its stead.
    pub(super) fn is_for(&self, process: Pid) -> Result<(), StateError> {
        if self.pid == process.as_raw() {
            return Ok(());
        }
        let cause = format!("process {} is to go on with it, and this is process {process}", self.pid);
        Err(StateError::Senseless { cause })
    }

    /// What it means: the configuration is validated by this build's rules, and the house stands again.
    pub(super) fn model(&self) -> Result<Model, StateError> {
        let parsed = |text: &str, which: &str| match config::parse(text, &Origin::Embedded) {
            Ok(config) => Ok(Rc::new(config)),
            Err(error) => Err(StateError::Senseless { cause: format!("{which}: {error}") }),
        };
        let config = parsed(&self.config, "the configuration in force")?;
        let older = self.older.iter().map(|text| parsed(text, "an older configuration"));
        let older = older.collect::<Result<_, _>>()?;
        let (units, plan) = plan::plan(&config);
        let elapsed = exec::monotonic().map_err(StateError::Read)?.saturating_sub(self.taken);
        let now = Instant::now();
        let origin = now.checked_sub(elapsed).unwrap_or(now);
        let house = House::restore(plan, self.house.clone(), origin);
        Ok(Model { config, older, units, house, origin })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_another_versions_state_nothing_but_the_version_is_looked_at() {
        let error = State::parse(r#"{"version":2,"anything":"else"}"#).unwrap_err().to_string();
        assert!(error.ends_with("understands version 1 of the state, not version 2"), "{error}");
        assert!(matches!(State::parse(r#"{"version":1}"#), Err(StateError::Senseless { .. })));
        assert!(matches!(State::parse("nonsense"), Err(StateError::Senseless { .. })));
    }
}
