//! Files that a service is given the content of: read whole, with our rights, and handed over sealed.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};

/// Bytes of a secret; a larger file is refused.
pub const SECRET_BYTES_MAX: usize = 1 << 20;

/// Reads a regular file of at most `bytes_max`. Anything else would let whoever may change the path make us wait for
/// ever (a pipe), or for a device.
pub fn read(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut content = Vec::new();
    file.take(bytes_max as u64 + 1).read_to_end(&mut content)?;
    if content.len() > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {bytes_max} bytes")));
    }
    Ok(content)
}

/// The content of a file in memory that nobody can change, at its beginning.
///
/// A copy and not the file itself: to open /proc/self/fd/N again, as programs do that are told a path, takes the right
/// to open what lies behind it, and the reader has none to the file.
pub fn sealed(path: &Path, name: &str) -> io::Result<OwnedFd> {
    sealed_memory(&read(path, SECRET_BYTES_MAX)?, name)
}

/// Bytes in memory that nobody can change, at their beginning.
pub fn sealed_memory(content: &[u8], name: &str) -> io::Result<OwnedFd> {
    let mut memory = memory(content, name)?;
    memory.rewind()?;
    memory.set_permissions(Permissions::from_mode(0o444))?;
    seal(memory)
}

/// As [`sealed_memory`], but at their end, and for who is given the descriptor alone.
pub fn sealed_message(content: &[u8], name: &str) -> io::Result<OwnedFd> {
    seal(memory(content, name)?)
}

fn memory(content: &[u8], name: &str) -> io::Result<File> {
    let mut memory = File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?);
    memory.write_all(content)?;
    Ok(memory)
}

fn seal(memory: File) -> io::Result<OwnedFd> {
    let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(&memory, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(memory.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_copy_reads_as_the_file_and_cannot_be_written() {
        let path = std::env::temp_dir().join(format!("torus-sealed-{}", std::process::id()));
        std::fs::write(&path, "secret").unwrap();
        let mut copy = File::from(sealed(&path, "test").unwrap());
        let mut text = String::new();
        copy.read_to_string(&mut text).unwrap();
        assert_eq!(text, "secret");
        assert_eq!(copy.write(b"x").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert!(read(&path, 5).unwrap_err().to_string().contains("larger than 5 bytes"));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        let path = std::env::temp_dir().join(format!("torus-fifo-{}", std::process::id()));
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [path.as_path(), Path::new("/dev/zero"), Path::new("/")] {
            assert_eq!(read(path, 10).unwrap_err().to_string(), "not a regular file");
        }
        std::fs::remove_file(path).unwrap();
    }
}
