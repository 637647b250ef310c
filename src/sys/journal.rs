//! The journal of systemd: whether our output goes there anyway, and entries with fields.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::sys::stat::fstat;

/// Where the journal takes entries (sd_journal_print(3)).
const SOCKET: &str = "/run/systemd/journal/socket";

/// Whether there is a journal on this machine. Sending to one that is not there would be no error.
pub fn is_there() -> bool {
    Path::new(SOCKET).exists()
}

/// Whether standard output or standard error is connected to the journal: JOURNAL_STREAM (systemd.exec(5)) names its
/// device and inode.
pub fn is_our_output() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    is_named(&stream, io::stdout().as_fd()) || is_named(&stream, io::stderr().as_fd())
}

/// Sends one entry; each field is `NAME=value`. It waits while the journal is busy.
pub fn send(fields: &[&str]) -> io::Result<()> {
    systemd::journal::send(fields).map_err(io::Error::other)
}

fn is_named(stream: &str, fd: BorrowedFd<'_>) -> bool {
    let Some((device, inode)) = stream.split_once(':') else { return false };
    fstat(fd).is_ok_and(|stat| device.parse() == Ok(stat.st_dev) && inode.parse() == Ok(stat.st_ino))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_stream_is_known_by_device_and_inode() {
        let file = File::open("/dev/null").unwrap();
        let metadata = file.metadata().unwrap();
        let (device, inode) = (metadata.dev(), metadata.ino());
        assert!(is_named(&format!("{device}:{inode}"), file.as_fd()));
        for other in [format!("{device}:{}", inode + 1), format!("{inode}"), String::new(), ":".into()] {
            assert!(!is_named(&other, file.as_fd()), "{other}");
        }
    }
}
