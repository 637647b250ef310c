//! Resource limits.

use std::io;

use nix::libc;
use nix::sys::resource::{Resource as Kind, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

/// The limit of open files as this process found it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct OpenFiles {
    pub(super) soft: u64,
    pub(super) hard: u64,
}

/// Raises the soft limit of open files to the hard one, for this process and what it starts; answers what it was.
///
/// Programs that still use select(2) break beyond 1024 descriptors: give them back what was found, see
/// [`Command::open_files`](super::spawn::Command::open_files).
pub fn raise_open_files() -> io::Result<OpenFiles> {
    let (soft, hard) = getrlimit(Kind::RLIMIT_NOFILE)?;
    setrlimit(Kind::RLIMIT_NOFILE, hard, hard)?;
    Ok(OpenFiles { soft, hard })
}

/// How many files this process may have open at the most: what [`raise_open_files`] raises to.
pub fn open_files_max() -> io::Result<u64> {
    Ok(getrlimit(Kind::RLIMIT_NOFILE)?.1)
}

/// The score of whom the kernel kills first when memory runs out (proc_pid_oom_score_adj(5)).
pub const OOM_SCORE_MAX: i32 = 1_000;

/// This process's own score; `None` where it cannot be read.
pub fn oom_score_adj() -> Option<i32> {
    std::fs::read_to_string("/proc/self/oom_score_adj").ok()?.trim().parse().ok()
}

/// What the kernel limits by process (setrlimit(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Open files.
    OpenFiles,
    /// Processes and threads of the user.
    Processes,
    /// Bytes of a core dump.
    Core,
    /// Bytes of address space.
    AddressSpace,
    /// Bytes of data.
    Data,
    /// Bytes locked in memory.
    LockedMemory,
    /// Bytes of the main thread's stack.
    Stack,
    /// Seconds of CPU time.
    Cpu,
    /// Bytes of one file.
    FileSize,
}

impl Resource {
    /// The kernel's number of it.
    pub(super) fn number(self) -> libc::__rlimit_resource_t {
        match self {
            Self::OpenFiles => libc::RLIMIT_NOFILE,
            Self::Processes => libc::RLIMIT_NPROC,
            Self::Core => libc::RLIMIT_CORE,
            Self::AddressSpace => libc::RLIMIT_AS,
            Self::Data => libc::RLIMIT_DATA,
            Self::LockedMemory => libc::RLIMIT_MEMLOCK,
            Self::Stack => libc::RLIMIT_STACK,
            Self::Cpu => libc::RLIMIT_CPU,
            Self::FileSize => libc::RLIMIT_FSIZE,
        }
    }
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::OpenFiles => "open files",
            Self::Processes => "processes",
            Self::Core => "bytes of a core dump",
            Self::AddressSpace => "bytes of address space",
            Self::Data => "bytes of data",
            Self::LockedMemory => "bytes of locked memory",
            Self::Stack => "bytes of stack",
            Self::Cpu => "seconds of CPU time",
            Self::FileSize => "bytes of a file",
        })
    }
}

/// How many files this process may have open.
pub fn open_files() -> u64 {
    // Asking for one's own limit does not fail; if it did, what POSIX guarantees is safe to assume.
    getrlimit(Kind::RLIMIT_NOFILE).map_or(20, |(soft, _)| soft)
}
