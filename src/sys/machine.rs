//! Questions about the machine that the files of /proc do not answer, or are kept from a service that is shut in. Nothing is
//! changed by asking.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, Flock, FlockArg};
use nix::libc;
use nix::sys::statvfs::statvfs;
use nix::sys::sysinfo::sysinfo;
use nix::sys::utsname::uname;
use nix::unistd::{AccessFlags, faccessat};

/// The file system that a path is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filesystem {
    /// Its kind, as mount(8) names it; a number in hexadecimal digits if it is a rare one.
    pub kind: String,
    /// Bytes that users without privileges may still write.
    pub free_bytes: u64,
}

/// File systems by their magic number (statfs(2)).
const KINDS: [(u64, &str); 16] = [
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x2fc1_2fc1, "zfs"),
    (0xf2f5_2010, "f2fs"),
    (0x0102_1994, "tmpfs"),
    (0x8584_58f6, "ramfs"),
    (0x794c_7630, "overlay"),
    (0x7371_7368, "squashfs"),
    (0x6969, "nfs"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb2"),
    (0x0102_1997, "9p"),
    (0x6573_5546, "fuse"),
    (0x00c3_6400, "ceph"),
    (0xca45_1a4e, "bcachefs"),
];

/// The file system that `path` is on.
pub fn filesystem(path: &Path) -> io::Result<Filesystem> {
    let magic = nix::sys::statfs::statfs(path)?.filesystem_type().0 as u64 & 0xffff_ffff;
    let kind = KINDS.iter().find(|(known, _)| *known == magic);
    let kind = kind.map_or_else(|| format!("{magic:#x}"), |(_, name)| (*name).to_owned());
    let space = statvfs(path)?;
    Ok(Filesystem { kind, free_bytes: space.blocks_available().saturating_mul(space.fragment_size()) })
}

/// Whether this process may write in a directory, as the kernel sees it: modes, capabilities, read-only mounts.
pub fn may_write(directory: &Path) -> bool {
    faccessat(AT_FDCWD, directory, AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::AT_EACCESS).is_ok()
}

/// Whether a directory can be locked (flock(2)): asked by a shared lock, so that nobody who asks at the same time is in
/// the way, and given back at once.
pub fn is_lockable(directory: &Path) -> io::Result<bool> {
    let options = File::options().read(true).custom_flags(libc::O_DIRECTORY).open(directory)?;
    match Flock::lock(options, FlockArg::LockSharedNonblock) {
        Ok(_) => Ok(true),
        Err((_, Errno::EWOULDBLOCK)) => Ok(false),
        Err((_, cause)) => Err(cause.into()),
    }
}

/// The kernel's release (uname(2)).
pub fn release() -> io::Result<String> {
    Ok(uname()?.release().to_string_lossy().into_owned())
}

/// Bytes of memory that the kernel has to give (sysinfo(2)).
pub fn memory_bytes() -> io::Result<u64> {
    Ok(sysinfo()?.ram_total())
}

/// Whether the kernel's clock follows a better one (adjtimex(2)).
pub fn is_clock_synchronized() -> io::Result<bool> {
    // SAFETY: an all-zero timex is a valid value of that plain C structure, and asks for no change.
    let mut asked: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is ours, and lives as long as the call.
    Errno::result(unsafe { libc::adjtimex(&mut asked) })?;
    Ok(asked.status & libc::STA_UNSYNC == 0)
}

/// Whether random numbers can be had without waiting (getrandom(2)).
pub fn is_random_ready() -> io::Result<bool> {
    let mut byte = [0_u8];
    // SAFETY: the buffer is ours, and the kernel writes within it.
    let got = unsafe { libc::getrandom(byte.as_mut_ptr().cast(), byte.len(), libc::GRND_NONBLOCK) };
    match Errno::result(got) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN) => Ok(false),
        Err(cause) => Err(cause.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_lockable_unless_somebody_holds_its_lock() {
        let directory = std::env::temp_dir().join(format!("torus-lockable-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        assert!(is_lockable(&directory).unwrap() && is_lockable(&directory).unwrap());
        let held = Flock::lock(File::open(&directory).unwrap(), FlockArg::LockExclusiveNonblock).unwrap();
        assert!(!is_lockable(&directory).unwrap());
        drop(held);
        let asked = Flock::lock(File::open(&directory).unwrap(), FlockArg::LockSharedNonblock).unwrap();
        assert!(is_lockable(&directory).unwrap(), "who asks is in nobody's way");
        drop(asked);
        std::fs::remove_dir(&directory).unwrap();
    }

    #[test]
    fn the_file_system_of_proc_has_no_room() {
        assert_eq!(filesystem(Path::new("/proc")).unwrap().free_bytes, 0);
        assert!(!may_write(Path::new("/proc/sys/kernel/nowhere")));
    }
}
