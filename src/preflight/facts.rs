//! What was found on a machine: plain data, so that a file of it is a test's fixture and can be sent along with a report.
//!
//! Nothing is judged here. What could not be found out says why, and is no reason for anything else to be missing.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::sys::cgroup::Survey;

/// Something that was found, or why it was not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Fact<T> {
    /// It could not be found out.
    Unknown {
        /// Because.
        unknown: String,
    },
    /// It is so.
    Known(T),
}

impl<T> Default for Fact<T> {
    fn default() -> Self {
        Self::unknown("it was not looked at")
    }
}

impl<T> Fact<T> {
    /// What could not be found out.
    pub fn unknown(why: impl ToString) -> Self {
        Self::Unknown { unknown: why.to_string() }
    }

    /// The fact, or the reason.
    pub fn known(&self) -> Result<&T, &str> {
        match self {
            Self::Known(value) => Ok(value),
            Self::Unknown { unknown } => Err(unknown),
        }
    }
}

impl<T, E: ToString> From<Result<T, E>> for Fact<T> {
    fn from(result: Result<T, E>) -> Self {
        result.map_or_else(Self::unknown, Self::Known)
    }
}

/// All that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Facts {
    /// The kernel, and what of it reaches us here.
    pub kernel: Kernel,
    /// Docker's engine.
    pub docker: Docker,
    /// The machine, or the container's share of it.
    pub host: Host,
    /// Torus itself.
    pub torus: Own,
}

/// The kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kernel {
    /// Its release, as `uname -r` tells it.
    pub release: Fact<String>,
    /// The options that it was built with, as far as they are asked for.
    pub options: Fact<Options>,
    /// The kinds of namespaces that it has.
    pub namespaces: Fact<Vec<String>>,
    /// The file systems that it knows now; a module that is not loaded is not among them.
    pub filesystems: Fact<Vec<String>>,
    /// Whether packets that cross a bridge meet the rules of iptables; unknown where br_netfilter is not loaded.
    pub bridge_netfilter: Fact<bool>,
    /// Control groups, as they look from here.
    pub cgroups: Fact<Survey>,
    /// Whether it takes filters of system calls.
    pub seccomp: Fact<bool>,
    /// Its version of Landlock.
    pub landlock_version: Fact<u32>,
}

/// Options that the kernel was built with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The file that says so.
    pub file: PathBuf,
    /// `y` or `m` by name, without `CONFIG_`; what is not here is not set.
    pub set: BTreeMap<String, String>,
}

/// Docker's engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Docker {
    /// The engine's program, if one is installed.
    pub program: Option<PathBuf>,
    /// The socket that was asked.
    pub socket: PathBuf,
    /// What it answered.
    pub engine: Fact<Engine>,
}

/// What Docker's engine tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Engine {
    /// Its version.
    pub version: String,
    /// The newest version of its interface.
    pub api_version: String,
    /// How it stores images and containers.
    pub storage_driver: String,
    /// The file system below that, if it tells.
    pub backing_filesystem: Option<String>,
    /// Who makes the cgroups of containers.
    pub cgroup_driver: String,
    /// Which version of cgroups it uses.
    pub cgroup_version: String,
    /// Whether it runs without root's rights.
    pub rootless: bool,
    /// Whether containers outlive a restart of it.
    pub live_restore: bool,
    /// Whether it confines containers by seccomp.
    pub seccomp: bool,
    /// Where it keeps images and containers.
    pub root: PathBuf,
}

/// The machine, or the container's share of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Host {
    /// The ports of the configuration, each with who stands in the way.
    pub ports: Vec<Port>,
    /// Listening sockets that this process inherited by systemd's convention.
    pub passed: Vec<Passed>,
    /// The socket units of Torus that systemd knows.
    pub units: Vec<Unit>,
    /// How many files a process may have open, at the most.
    pub open_files_max: Fact<u64>,
    /// Connections that may wait to be accepted, at the most.
    pub somaxconn: Fact<u64>,
    /// Bytes of memory.
    pub memory_bytes: Fact<u64>,
    /// `vm.overcommit_memory`.
    pub overcommit: Fact<u64>,
    /// When memory is given in huge pages: `always`, `madvise` or `never`.
    pub huge_pages: Fact<String>,
    /// Whether the clock follows a better one.
    pub clock_synchronized: Fact<bool>,
    /// Whether random numbers can be had at once.
    pub random_ready: Fact<bool>,
    /// Where images are built, or data are kept: free bytes.
    pub build_free_bytes: Fact<u64>,
}

/// One port of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// The name of its socket where systemd holds it: `requests-front`.
    pub name: String,
    /// The configuration's key.
    pub key: String,
    /// Where it is to be.
    pub address: SocketAddr,
    /// Whether it can be had.
    pub state: PortState,
    /// Whether root listens at just that address, as systemd does.
    #[serde(default)]
    pub root_listens: bool,
}

/// Whether who listens at one address is in the way of who wants the other: the same port, of the same address or of all.
/// `[::]` is every address of IPv4 too.
pub fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |wide: IpAddr, narrow: IpAddr| wide.is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4());
    let (ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
    one.port() == other.port() && (ip == other_ip || covers(ip, other_ip) || covers(other_ip, ip))
}

/// Whether a port can be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PortState {
    /// It is free.
    Free,
    /// Somebody listens there.
    Held {
        /// The user whose socket it is.
        uid: Option<u32>,
        /// His process, where we may see that.
        pid: Option<i32>,
        /// The name of its program.
        program: Option<String>,
    },
    /// The system refuses it.
    Refused(String),
}

/// A listening socket that this process inherited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passed {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: Fact<SocketAddr>,
}

/// A socket unit of systemd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unit {
    /// The unit.
    pub unit: String,
    /// The name that its sockets are passed by.
    pub name: String,
    /// Where it listens, or would.
    pub listens: Vec<SocketAddr>,
    /// Whether root listens there now.
    pub active: bool,
}

/// Torus itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Own {
    /// The user that we run as.
    pub uid: u32,
    /// Where the configuration came from, or what is wrong with it.
    pub configuration: Fact<String>,
    /// Where data are kept.
    pub data: Data,
    /// Where the control socket is to be.
    pub control: Control,
    /// The torus that runs here already.
    pub running: Option<Running>,
}

/// A directory for data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Data {
    /// The directory.
    pub path: PathBuf,
    /// Whether it is there. If not, the rest is of the nearest directory above it that is.
    pub exists: bool,
    /// Whose it is.
    pub owner: u32,
    /// Its permissions.
    pub mode: u32,
    /// Whether this user may write there.
    pub writable: bool,
    /// Whether it can be locked.
    pub lock: Fact<DataLock>,
    /// The kind of file system.
    pub filesystem: Fact<String>,
    /// Bytes that this user may still write.
    pub free_bytes: Fact<u64>,
}

/// Whether the data directory can be locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataLock {
    /// Nobody holds its lock.
    Free,
    /// Somebody does.
    Held,
}

/// The place of the control socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Control {
    /// The runtime directory.
    pub directory: PathBuf,
    /// Whether the user named it, so that nothing else will do.
    pub is_named: bool,
    /// Why it cannot be used or made, if it cannot.
    pub problem: Option<String>,
}

/// A torus that answers on the control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Running {
    /// Its process.
    pub pid: i32,
    /// Its version.
    pub version: String,
    /// Where its bus listens: `tcp://ADDRESS:PORT`.
    pub endpoints: Vec<String>,
}
