//! The journal of systemd: whether our output goes there anyway, and entries with fields.
//!
//! Entries are sent by its native protocol (systemd.io, "Native Journal Protocol") from a socket that is opened before,
//! and not by libsystemd, which opens files and sockets on its way: a sandbox has none.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, setsockopt, socket, sockopt,
};
use nix::sys::stat::fstat;

use super::files;

/// Where the journal takes entries.
const SOCKET: &str = "/run/systemd/journal/socket";
/// What may be on its way to the journal, if the system grants it (net.core.wmem_max); as libsystemd asks for.
const ON_THE_WAY_BYTES: usize = 8 << 20;

/// Whether there is a journal on this machine.
pub fn is_there() -> bool {
    Path::new(SOCKET).exists()
}

/// Whether standard output or standard error is connected to the journal: JOURNAL_STREAM (systemd.exec(5)) names its
/// device and inode.
pub fn is_our_output() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    is_named(&stream, io::stdout().as_fd()) || is_named(&stream, io::stderr().as_fd())
}

fn is_named(stream: &str, fd: BorrowedFd<'_>) -> bool {
    let Some((device, inode)) = stream.split_once(':') else { return false };
    fstat(fd).is_ok_and(|stat| device.parse() == Ok(stat.st_dev) && inode.parse() == Ok(stat.st_ino))
}

/// A way to the journal. Each entry is sent to the socket of that name, so a journal that comes back is found again.
#[derive(Debug)]
pub struct Journal {
    socket: OwnedFd,
    address: UnixAddr,
}

impl Journal {
    /// To this machine's journal, whether it is there or not.
    pub fn open() -> io::Result<Self> {
        Self::at(Path::new(SOCKET))
    }

    fn at(path: &Path) -> io::Result<Self> {
        let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        let _ = setsockopt(&socket, sockopt::SndBuf, &ON_THE_WAY_BYTES);
        Ok(Self { socket, address: UnixAddr::new(path)? })
    }

    /// Sends one entry; each field is `NAME=value`. It waits while the journal is busy.
    pub fn send(&self, fields: &[&str]) -> io::Result<()> {
        let entry = encoded(fields);
        match self.send_packet(&entry, &[]) {
            // It is too large for a packet.
            Err(Errno::EMSGSIZE | Errno::ENOBUFS) => {
                let memory = files::sealed_message(&entry, "journal-entry")?;
                Ok(self.send_packet(&[], &[ControlMessage::ScmRights(&[memory.as_raw_fd()])])?)
            }
            sent => Ok(sent?),
        }
    }

    fn send_packet(&self, packet: &[u8], with: &[ControlMessage<'_>]) -> nix::Result<()> {
        let parts = [IoSlice::new(packet)];
        loop {
            match sendmsg(self.socket.as_raw_fd(), &parts, with, MsgFlags::MSG_NOSIGNAL, Some(&self.address)) {
                Err(Errno::EINTR) => {}
                sent => return sent.map(|_| ()),
            }
        }
    }
}

/// Fields in lines; a value that has lines itself comes with its length before it.
fn encoded(fields: &[&str]) -> Vec<u8> {
    let mut entry = Vec::with_capacity(fields.iter().map(|field| field.len() + 10).sum());
    for field in fields {
        match field.split_once('=') {
            Some((name, value)) if value.contains('\n') => {
                entry.extend_from_slice(name.as_bytes());
                entry.push(b'\n');
                entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
                entry.extend_from_slice(value.as_bytes());
            }
            _ => entry.extend_from_slice(field.as_bytes()),
        }
        entry.push(b'\n');
    }
    entry
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek};
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::sys::pass::{self, Received};

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

    #[test]
    fn an_entry_is_its_fields_in_lines_and_what_has_lines_comes_with_its_length() {
        let expected = b"A=b=c\nMESSAGE\n\x03\0\0\0\0\0\0\0x\ny\nEMPTY=\n";
        assert_eq!(encoded(&["A=b=c", "MESSAGE=x\ny", "EMPTY="]), expected);
    }

    #[test]
    fn a_small_entry_is_a_packet_and_a_large_one_a_file_and_a_journal_that_is_gone_is_an_error() {
        let path = std::env::temp_dir().join(format!("torus-journal-{}", std::process::id()));
        let journal = Journal::at(&path).unwrap();
        assert_eq!(journal.send(&["A=b"]).unwrap_err().kind(), io::ErrorKind::NotFound);
        let receiver = UnixDatagram::bind(&path).unwrap();
        journal.send(&["A=b"]).unwrap();
        let mut packet = [0; 64];
        assert_eq!(receiver.recv(&mut packet).unwrap(), 4);
        assert_eq!(&packet[..4], b"A=b\n");

        let large = format!("MESSAGE={}", "x".repeat(32 << 20));
        journal.send(&[&large]).unwrap();
        let Received::Packet { length: 0, descriptors } = pass::receive(&receiver, &mut packet).unwrap() else {
            panic!("no file")
        };
        let mut memory = File::from(descriptors.into_iter().next().unwrap());
        let mut text = String::new();
        memory.rewind().unwrap();
        memory.read_to_string(&mut text).unwrap();
        assert_eq!(text, large + "\n");

        drop(receiver);
        assert_eq!(journal.send(&["A=b"]).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        std::fs::remove_file(path).unwrap();
    }
}
