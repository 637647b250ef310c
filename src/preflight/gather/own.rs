//! Torus itself: configuration, data directory, the place of the control socket.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Asked, plain};
use crate::preflight::{Control, Data, DataLock, Fact, Own};
use crate::sys::runtime::Directory;
use crate::sys::{identity, machine};

/// Where data are kept if nobody says.
const DATA: &str = "/var/lib/torus";

pub(super) fn gather(asked: &Asked<'_>) -> Own {
    Own {
        uid: identity::effective_uid(),
        configuration: asked.configuration.as_ref().map(|(_, origin)| origin.clone()).into(),
        data: data(asked.data_directory.clone().unwrap_or_else(data_directory)),
        control: control(asked.runtime_directory),
        running: None,
    }
}

/// Bytes that may still be written where a path is, or would be.
pub(super) fn free_bytes(path: &Path) -> Result<u64, String> {
    machine::filesystem(present(path)).map(|found| found.free_bytes).map_err(|cause| plain(&cause))
}

fn data_directory() -> PathBuf {
    let told = std::env::var("STATE_DIRECTORY").unwrap_or_default();
    let first = told.split(':').next().filter(|first| !first.is_empty());
    PathBuf::from(first.unwrap_or(DATA))
}

fn data(path: PathBuf) -> Data {
    let exists = path.is_dir();
    let present = present(&path).to_owned();
    let metadata = present.metadata().ok();
    let filesystem = machine::filesystem(&present).map_err(|cause| plain(&cause));
    Data {
        exists,
        owner: metadata.as_ref().map_or(0, MetadataExt::uid),
        mode: metadata.map_or(0, |metadata| metadata.mode() & 0o7777),
        writable: machine::may_write(&present),
        lock: if exists { lock(&path).into() } else { Fact::unknown("it is not there") },
        filesystem: filesystem.clone().map(|found| found.kind).into(),
        free_bytes: filesystem.map(|found| found.free_bytes).into(),
        path,
    }
}

fn lock(directory: &Path) -> Result<DataLock, String> {
    let free = machine::is_lockable(directory).map_err(|cause| plain(&cause))?;
    Ok(if free { DataLock::Free } else { DataLock::Held })
}

/// The nearest directory above a path, or the path itself, that is there.
fn present(path: &Path) -> &Path {
    path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"))
}

fn control(directory: &Directory) -> Control {
    let problem = usable(&directory.path).err().map(|cause| plain(&cause));
    Control { directory: directory.path.clone(), is_named: directory.is_named, problem }
}

/// Whether a control socket can be made there, as [`crate::sys::runtime::prepare`] would find; nothing is made.
fn usable(path: &Path) -> io::Result<()> {
    let refused = |why: String| Err(io::Error::other(why));
    let present = present(path);
    let metadata = present.metadata()?;
    if present == path && (metadata.uid() != identity::effective_uid() || metadata.mode() & 0o022 != 0) {
        return refused(format!("it belongs to uid {}, mode {:o}", metadata.uid(), metadata.mode() & 0o7777));
    }
    if !machine::may_write(present) {
        return refused(format!("{} is not writable by uid {}", present.display(), identity::effective_uid()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_is_not_there_the_nearest_directory_is_looked_at() {
        assert_eq!(present(Path::new("/proc/self/nowhere/deeper")), Path::new("/proc/self"));
        let found = data("/proc/self/nowhere".into());
        assert!(!found.exists && !found.writable && found.lock.known().is_err());
        assert_eq!(free_bytes(Path::new("/proc/self/nowhere")), Ok(0));
    }

    #[test]
    fn a_place_that_others_may_write_is_none_for_the_control_socket() {
        assert!(usable(Path::new("/tmp")).unwrap_err().to_string().starts_with("it belongs to uid 0, mode 1777"));
        assert!(usable(&std::env::temp_dir().join("torus-nowhere")).is_ok());
    }
}
