//! Becoming another program without ending (execve(2)): same process id, same children, and the descriptors that are to
//! stay open.
//!
//! What the kernel keeps over exec by itself: children, what they were told about our death, who adopts orphans, limits,
//! pending and blocked signals, locks of open files. What it does not keep is our memory, and every descriptor that is
//! closed on exec, as all of ours are. Handlers of signals are gone until the new program has its own, so all signals are
//! blocked meanwhile ([`hold_signals`]): none is lost, and none does to us what it does to those who never asked.

use std::env;
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use nix::fcntl::AtFlags;
use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::execveat;

use super::program;
use super::spawn;

/// All signals are blocked while this is there. Exec keeps them so.
#[derive(Debug)]
pub struct Held {
    before: SigSet,
}

/// Blocks all signals; what comes stays pending.
pub fn hold_signals() -> io::Result<Held> {
    Ok(Held { before: SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)? })
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.before.thread_set_mask();
    }
}

/// Lets in the signals that the program before us held; what is pending comes at once.
pub fn release_signals() -> io::Result<()> {
    Ok(SigSet::empty().thread_set_mask()?)
}

/// Becomes another program, with this process's environment and with these descriptors open. Returns only if that fails;
/// then the descriptors are closed on exec again, and nothing has changed. A script fails: its interpreter would look for
/// it at a path.
pub fn become_program(program: impl AsFd, arguments: &[OsString], keep: &[RawFd]) -> io::Error {
    let terminated = |text: Vec<u8>| CString::new(text).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let arguments: io::Result<Vec<CString>> =
        arguments.iter().map(|argument| terminated(argument.clone().into_vec())).collect();
    let variable = |(name, value): (OsString, OsString)| terminated([name.as_bytes(), b"=", value.as_bytes()].concat());
    let environment: io::Result<Vec<CString>> = env::vars_os().map(variable).collect();
    let (arguments, environment) = match (arguments, environment) {
        (Ok(arguments), Ok(environment)) => (arguments, environment),
        (Err(cause), _) | (_, Err(cause)) => return cause,
    };
    let outcome = keep.iter().try_for_each(|fd| close_on_exec(*fd, false));
    let cause = match outcome {
        Ok(()) => match execveat(program, c"", &arguments, &environment, AtFlags::AT_EMPTY_PATH) {
            Ok(never) => match never {},
            Err(cause) => cause.into(),
        },
        Err(cause) => cause,
    };
    for fd in keep {
        let _ = close_on_exec(*fd, true);
    }
    cause
}

fn close_on_exec(fd: RawFd, closed: bool) -> io::Result<()> {
    // SAFETY: setting a flag of a descriptor touches no memory; one that is not open is an error.
    let set = unsafe { libc::fcntl(fd, libc::F_SETFD, if closed { libc::FD_CLOEXEC } else { 0 }) };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Takes a descriptor that the program before us kept open for us; children of ours do not get it. Each number is taken
/// once, before anything else could have been opened at it.
pub fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    if number < spawn::FIRST_DESCRIPTOR {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("descriptor {number} is not ours to take")));
    }
    close_on_exec(number, true)?;
    // SAFETY: it is open, and whoever handed it over left it to us, once, as the contract says.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Where this program was started from: as it was called, if that leads to it, else where the kernel found it. What is
/// installed at that path later, by a rename or by another symbolic link, is found there.
pub fn installed_path() -> io::Result<PathBuf> {
    let found = env::current_exe()?;
    let named = env::args_os().next().and_then(|name| spawn::find_program(&name).ok());
    let named = named.and_then(|path| std::path::absolute(path).ok());
    Ok(named.filter(|path| program::is_own(path)).unwrap_or(found))
}

/// The clock that goes on over exec (CLOCK_MONOTONIC, time since the machine's start).
pub fn monotonic() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC)?.into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsRawFd;
    use std::path::Path;

    use nix::fcntl::{FcntlArg, FdFlag, fcntl};

    use super::*;
    use crate::sys::program::ProgramFile;

    #[test]
    fn an_exec_that_fails_leaves_everything_as_it_was() {
        let file = fs::File::open("/dev/null").unwrap();
        let open = |path| ProgramFile::open(Path::new(path)).unwrap();
        let cause = become_program(open("/etc/passwd"), &["x".into()], &[file.as_raw_fd()]);
        assert_eq!(cause.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(fcntl(&file, FcntlArg::F_GETFD).unwrap(), FdFlag::FD_CLOEXEC.bits());
        let closed = 1 << 20;
        let cause = become_program(open("/bin/true"), &["true".into()], &[closed]);
        assert_eq!(cause.raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn signals_are_held_and_come_back() {
        let before = SigSet::thread_get_mask().unwrap();
        let held = hold_signals().unwrap();
        assert!(SigSet::thread_get_mask().unwrap().contains(nix::sys::signal::Signal::SIGTERM));
        drop(held);
        assert_eq!(SigSet::thread_get_mask().unwrap(), before);
    }

    #[test]
    fn what_is_not_open_or_standard_is_not_adopted() {
        assert!(adopt(2).is_err());
        assert!(adopt(1 << 20).is_err());
    }

    #[test]
    fn this_program_knows_where_it_is_installed() {
        assert_eq!(fs::canonicalize(installed_path().unwrap()).unwrap(), env::current_exe().unwrap());
    }
}
