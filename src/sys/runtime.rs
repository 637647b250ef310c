//! The runtime directory: where the control socket lives, and the lock that makes its supervisor the only one; and what
//! stands in for it where nothing can be written.

use std::env;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::identity::effective_uid;

/// Bytes of a socket's path: `sun_path` without its closing zero (unix(7)).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Why a runtime directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// It cannot be made or looked at.
    #[error(
        "cannot use the runtime directory {}: {cause}\nhint: name another one with --runtime-dir or TORUS_RUNTIME_DIR",
        path.display()
    )]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// A socket's address has room for 107 bytes (unix(7)).
    #[error(
        "the runtime directory {} has too long a name: its socket's path would have {bytes} bytes, \
         {SOCKET_PATH_BYTES_MAX} is the most\nhint: name a shorter one with --runtime-dir or TORUS_RUNTIME_DIR",
        path.display()
    )]
    TooLong {
        /// The directory.
        path: PathBuf,
        /// Bytes of the socket's path.
        bytes: usize,
    },
    /// Another user could put a socket of his own there.
    #[error(
        "the runtime directory {} is not safe: it belongs to uid {owner}, mode {mode:o}\nhint: use a directory of your \
         own that nobody else may write, by --runtime-dir or TORUS_RUNTIME_DIR",
        path.display()
    )]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Its permissions.
        mode: u32,
    },
}

/// A lock on a runtime directory. The kernel gives it up when this process ends, however it ends.
#[derive(Debug)]
pub struct Lock(Flock<File>);

impl Lock {
    /// Goes on with a lock that the program before us took. It is of the open file, so it was never given up.
    pub fn adopt(file: OwnedFd) -> io::Result<Self> {
        Flock::lock(File::from(file), FlockArg::LockExclusiveNonblock).map(Self).map_err(|(_, cause)| cause.into())
    }
}

impl AsRawFd for Lock {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// What came of asking for a lock.
#[derive(Debug)]
pub enum Locking {
    /// It is ours until it is dropped.
    Ours(Lock),
    /// Another process has it.
    Held {
        /// Its process id, if it has written it already.
        by: Option<u32>,
    },
}

/// Where a supervisor is to be found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// The runtime directory.
    pub path: PathBuf,
    /// Whether the user named it. Then it is meant, and nothing else.
    pub is_named: bool,
}

impl Directory {
    /// The address that serves where there is no place for a directory, as in a container whose root is read-only: a name
    /// without a file (unix(7), abstract sockets), by user. The system frees it when its owner ends. Anybody may take or
    /// ask such a name: both sides look at whom they talk to. With it goes how it is told. `None` if a directory was
    /// named.
    pub fn without_file(&self, socket: &str) -> Option<(SocketAddr, PathBuf)> {
        let name = format!("torus-{}/{socket}", effective_uid());
        let address = (!self.is_named).then(|| SocketAddr::from_abstract_name(&name).ok()).flatten()?;
        Some((address, PathBuf::from(format!("@{name}"))))
    }
}

/// The runtime directory: the explicit one, else TORUS_RUNTIME_DIR, else /run/torus for root, else
/// XDG_RUNTIME_DIR/torus, else /tmp/torus-UID.
pub fn directory(explicit: Option<&Path>) -> Directory {
    if let Some(path) = named(explicit) {
        return Directory { path, is_named: true };
    }
    let path = (effective_uid() == 0)
        .then(|| PathBuf::from("/run/torus"))
        .or_else(|| variable("XDG_RUNTIME_DIR").map(|parent| parent.join("torus")))
        .unwrap_or_else(fallback);
    Directory { path, is_named: false }
}

/// The runtime directory that the user named: the explicit one, else TORUS_RUNTIME_DIR.
fn named(explicit: Option<&Path>) -> Option<PathBuf> {
    explicit.map(Path::to_owned).or_else(|| variable("TORUS_RUNTIME_DIR"))
}

/// A path in the environment; empty counts as unset.
fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn fallback() -> PathBuf {
    PathBuf::from(format!("/tmp/torus-{}", effective_uid()))
}

/// Makes the directory for its owner alone, or finds it made and safe, with room for a socket of that name.
pub fn prepare(path: &Path, socket: &str) -> Result<(), RuntimeError> {
    let bytes = path.join(socket).as_os_str().len();
    if bytes > SOCKET_PATH_BYTES_MAX {
        return Err(RuntimeError::TooLong { path: path.to_owned(), bytes });
    }
    // Anybody may have put a link of that name into /tmp; every other directory is of the user's own choice.
    make(path, path != fallback())
}

fn make(path: &Path, may_be_link: bool) -> Result<(), RuntimeError> {
    let unusable = |cause| RuntimeError::Unusable { path: path.to_owned(), cause };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
    let found = if may_be_link { path.metadata() } else { path.symlink_metadata() }.map_err(unusable)?;
    if !found.is_dir() {
        return Err(unusable(io::ErrorKind::NotADirectory.into()));
    }
    let mode = found.mode() & 0o7777;
    // A sticky directory is no safer: others may put there what is missing.
    if found.uid() != effective_uid() || mode & 0o022 != 0 {
        return Err(RuntimeError::Unsafe { path: path.to_owned(), owner: found.uid(), mode });
    }
    Ok(())
}

/// Takes the directory's lock and notes our process id in it.
pub fn lock(directory: &Path) -> io::Result<Locking> {
    let path = directory.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            lock.set_len(0)?;
            writeln!(lock, "{}", std::process::id())?;
            Ok(Locking::Ours(Lock(lock)))
        }
        Err((mut file, Errno::EWOULDBLOCK)) => {
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            Ok(Locking::Held { by: text.trim().parse().ok() })
        }
        Err((_, cause)) => Err(cause.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            Self(env::temp_dir().join(format!("torus-runtime-{name}-{}", std::process::id())))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_directory_is_made_for_its_owner_alone() {
        let scratch = Scratch::new("private");
        prepare(&scratch.0.join("deeper"), "socket").unwrap();
        assert_eq!(scratch.0.join("deeper").metadata().unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_directory_that_others_may_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = Scratch::new("open");
        prepare(&scratch.0, "socket").unwrap();
        for mode in [0o777, 0o1777, 0o770, 0o702] {
            std::fs::set_permissions(&scratch.0, std::fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(prepare(&scratch.0, "socket"), Err(RuntimeError::Unsafe { .. })), "{mode:o}");
        }
    }

    #[test]
    fn a_link_will_do_only_where_nobody_else_can_have_put_it() {
        let scratch = Scratch::new("link");
        prepare(&scratch.0.join("real"), "socket").unwrap();
        let link = scratch.0.join("link");
        std::os::unix::fs::symlink("real", &link).unwrap();
        make(&link, true).unwrap();
        assert!(matches!(make(&link, false), Err(RuntimeError::Unusable { .. })));
    }

    #[test]
    fn a_directory_with_no_room_for_the_socket_in_its_name_is_refused_before_it_is_made() {
        let scratch = Scratch::new("long");
        let room = SOCKET_PATH_BYTES_MAX - scratch.0.as_os_str().len() - "//socket".len();
        prepare(&scratch.0.join("x".repeat(room)), "socket").unwrap();
        let long = scratch.0.join("x".repeat(room + 1));
        assert!(matches!(prepare(&long, "socket"), Err(RuntimeError::TooLong { bytes: 108, .. })));
        assert!(!long.exists());
    }

    #[test]
    fn the_lock_is_had_by_one_at_a_time() {
        let scratch = Scratch::new("lock");
        prepare(&scratch.0, "socket").unwrap();
        let held = lock(&scratch.0).unwrap();
        assert!(matches!(held, Locking::Ours(_)));
        let us = std::process::id();
        assert!(matches!(lock(&scratch.0).unwrap(), Locking::Held { by: Some(pid) } if pid == us));
        drop(held);
        assert!(matches!(lock(&scratch.0).unwrap(), Locking::Ours(_)));
    }
}
