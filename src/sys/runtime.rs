//! The runtime directory: where the control socket lives, and the lock that makes its supervisor the only one.

use std::env;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::identity::effective_uid;

/// Why a runtime directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// It cannot be made or looked at.
    #[error("cannot use the runtime directory {}: {cause}", path.display())]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
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
pub struct Lock(#[expect(dead_code, reason = "held, never looked at")] Flock<File>);

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

/// The runtime directory: the explicit one, else TORUS_RUNTIME_DIR, else /run/torus for root, else
/// XDG_RUNTIME_DIR/torus, else /tmp/torus-UID.
pub fn directory(explicit: Option<&Path>) -> PathBuf {
    let from = |variable: &str| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let uid = effective_uid();
    explicit
        .map(Path::to_owned)
        .or_else(|| from("TORUS_RUNTIME_DIR"))
        .or_else(|| (uid == 0).then(|| PathBuf::from("/run/torus")))
        .or_else(|| from("XDG_RUNTIME_DIR").map(|parent| parent.join("torus")))
        .unwrap_or_else(|| PathBuf::from(format!("/tmp/torus-{uid}")))
}

/// Makes the directory for its owner alone, or finds it made and safe.
pub fn prepare(path: &Path) -> Result<(), RuntimeError> {
    let unusable = |cause| RuntimeError::Unusable { path: path.to_owned(), cause };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
    let found = path.metadata().map_err(unusable)?;
    let mode = found.mode() & 0o7777;
    let sticky_or_private = mode & 0o1000 != 0 || mode & 0o022 == 0;
    if ![0, effective_uid()].contains(&found.uid()) || !sticky_or_private {
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
        prepare(&scratch.0.join("deeper")).unwrap();
        assert_eq!(scratch.0.join("deeper").metadata().unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_directory_that_others_may_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = Scratch::new("open");
        prepare(&scratch.0).unwrap();
        std::fs::set_permissions(&scratch.0, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(prepare(&scratch.0), Err(RuntimeError::Unsafe { .. })));
    }

    #[test]
    fn the_lock_is_had_by_one_at_a_time() {
        let scratch = Scratch::new("lock");
        prepare(&scratch.0).unwrap();
        let held = lock(&scratch.0).unwrap();
        assert!(matches!(held, Locking::Ours(_)));
        let us = std::process::id();
        assert!(matches!(lock(&scratch.0).unwrap(), Locking::Held { by: Some(pid) } if pid == us));
        drop(held);
        assert!(matches!(lock(&scratch.0).unwrap(), Locking::Ours(_)));
    }
}
