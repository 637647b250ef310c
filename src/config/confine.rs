//! What a service may do and have: its user, capabilities, limits, environment and secrets, as configured.
//!
//! Names of users and groups are kept as written: whether they exist is known only where the service starts.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use super::Sandbox;

/// How one service differs from the supervisor. What is absent stays as the supervisor has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Confine {
    /// Whom it runs as: a name or a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Its group, a name or a number; without it the user's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Its further groups, exactly these; without it those of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supplementary_groups: Option<Vec<String>>,
    /// The capabilities that it has, exactly these, each one of [`CAPABILITIES`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Vec<String>>,
    /// Whether no program that it executes may have more privileges than it has (setuid, file capabilities).
    pub no_new_privs: bool,
    /// Limits that the kernel holds each of its processes to (setrlimit(2)).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<Resource, Limit>,
    /// Its priority, -20 (first) to 19.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nice: Option<i32>,
    /// How gladly the kernel kills it when memory runs out, -1000 (never) to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    /// Permissions that files which it makes do not get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub umask: Option<Umask>,
    /// Where it starts, an absolute path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Whether it gets nothing of the supervisor's own environment.
    pub clear_environment: bool,
    /// Files of variables, read at each start; a later one wins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub environment_files: Vec<String>,
    /// Variables, their values literal. They win over those of files.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Files whose content is handed over as an open descriptor, by the name that `NAME_FILE` is made of.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
    /// What all its processes together may use.
    #[serde(skip_serializing_if = "CgroupLimits::is_empty")]
    pub cgroup: CgroupLimits,
    /// What happens if the machine cannot hold it to all this.
    pub sandbox: Sandbox,
}

/// What the kernel limits by process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Open files.
    Nofile,
    /// Processes and threads of the user.
    Nproc,
    /// Bytes of a core dump.
    CoreBytes,
    /// Bytes of address space.
    AsBytes,
    /// Bytes of data: heap and writable mappings.
    DataBytes,
    /// Bytes that may be locked in memory.
    MemlockBytes,
    /// Bytes of the main thread's stack.
    StackBytes,
    /// Seconds of CPU time.
    CpuS,
    /// Bytes of one file.
    FsizeBytes,
}

impl Resource {
    /// All of them with their keys.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Nofile, "nofile"),
        (Self::Nproc, "nproc"),
        (Self::CoreBytes, "core_bytes"),
        (Self::AsBytes, "as_bytes"),
        (Self::DataBytes, "data_bytes"),
        (Self::MemlockBytes, "memlock_bytes"),
        (Self::StackBytes, "stack_bytes"),
        (Self::CpuS, "cpu_s"),
        (Self::FsizeBytes, "fsize_bytes"),
    ];
}

/// A limit's two ends; what is absent stays as the supervisor has it. The soft one is never above the hard one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// What holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft: Option<Amount>,
    /// Up to where the service may raise what holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hard: Option<Amount>,
}

/// How much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Amount {
    /// So many.
    Number(u64),
    /// No limit.
    Unlimited,
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Unlimited => serializer.serialize_str("unlimited"),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Unlimited => f.write_str("unlimited"),
        }
    }
}

/// Permission bits, up to 0777.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Umask(pub u32);

impl Serialize for Umask {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:04o}", self.0))
    }
}

/// What all processes of one instance together may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CgroupLimits {
    /// Bytes of memory, swap included; beyond it the kernel kills within the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes_max: Option<u64>,
    /// Hundredths of one CPU; beyond it the instance waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_percent_max: Option<u32>,
    /// Processes and threads; beyond it none is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids_max: Option<u32>,
}

impl CgroupLimits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The capabilities that a service may have (capabilities(7)).
pub const CAPABILITIES: [&str; 41] = [
    "CAP_AUDIT_CONTROL",
    "CAP_AUDIT_READ",
    "CAP_AUDIT_WRITE",
    "CAP_BLOCK_SUSPEND",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_KILL",
    "CAP_LEASE",
    "CAP_LINUX_IMMUTABLE",
    "CAP_MAC_ADMIN",
    "CAP_MAC_OVERRIDE",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_RAW",
    "CAP_PERFMON",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYSLOG",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_CHROOT",
    "CAP_SYS_MODULE",
    "CAP_SYS_NICE",
    "CAP_SYS_PACCT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_WAKE_ALARM",
];
