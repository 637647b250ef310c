//! Resource limits.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The limit of open files as this process found it.
#[derive(Clone, Copy, Debug)]
pub struct OpenFiles {
    pub(super) soft: u64,
    pub(super) hard: u64,
}

/// Raises the soft limit of open files to the hard one, for this process and what it starts; answers what it was.
///
/// Programs that still use select(2) break beyond 1024 descriptors: give them back what was found, see
/// [`Command::open_files`](super::spawn::Command::open_files).
pub fn raise_open_files() -> io::Result<OpenFiles> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(OpenFiles { soft, hard })
}

/// How many files this process may have open.
pub fn open_files() -> u64 {
    // Asking for one's own limit does not fail; if it did, what POSIX guarantees is safe to assume.
    getrlimit(Resource::RLIMIT_NOFILE).map_or(20, |(soft, _)| soft)
}
