//! A program's file, opened once: what is asked is what is executed, whatever stands at its path by then.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat};

/// Where a process finds the file of the program that it runs: the very file, also when another one stands at its path.
pub const OWN: &str = "/proc/self/exe";

/// A file that may be executed.
#[derive(Debug)]
pub struct ProgramFile {
    path: PathBuf,
    file: OwnedFd,
}

/// What changes when a file is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    bytes: i64,
    changed: (i64, i64),
}

impl ProgramFile {
    /// The file at a path. It need not be readable.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Where it was found.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells whether it was written to, beside an earlier answer.
    pub fn stamp(&self) -> io::Result<Stamp> {
        let found = fstat(&self.file)?;
        Ok(Stamp { bytes: found.st_size, changed: (found.st_ctime, found.st_ctime_nsec) })
    }

    /// Whether another program is to interpret it. `false` where that cannot be read.
    pub fn is_script(&self) -> bool {
        let mut begin = [0; 2];
        let read = File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        read.and_then(|mut file| file.read_exact(&mut begin)).is_ok() && &begin == b"#!"
    }
}

impl AsFd for ProgramFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Whether a path leads to the file of the program that this process runs.
pub(super) fn is_own(path: &Path) -> bool {
    match (fs::metadata(path), fs::metadata(OWN)) {
        (Ok(there), Ok(here)) => (there.dev(), there.ino()) == (here.dev(), here.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_stays_what_it_is_when_another_one_takes_its_path_and_tells_when_it_is_written_to() {
        let directory = std::env::temp_dir().join(format!("torus-program-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("program");
        fs::write(&path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        let file = ProgramFile::open(&path).unwrap();
        let stamp = file.stamp().unwrap();
        assert!(file.is_script() && file.path() == path);
        fs::write(directory.join("other"), "\x7fELF").unwrap();
        fs::rename(directory.join("other"), &path).unwrap();
        assert!(file.is_script());
        let file = ProgramFile::open(&path).unwrap();
        assert!(!file.is_script() && file.stamp().unwrap() != stamp);
        assert!(ProgramFile::open(&directory.join("none")).is_err());
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn the_own_file_is_known_by_any_name() {
        assert!(is_own(&std::env::current_exe().unwrap()));
        assert!(!is_own(Path::new("/bin/sh")));
    }
}
