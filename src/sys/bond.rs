//! What a child is to us and to the terminal: the part of its life before exec in which a service and the one child of
//! an init differ.
//!
//! All of it runs between fork and exec: only system calls that signal-safety(7) allows, on memory that was allocated
//! before the fork.

use std::io;

use nix::errno::Errno;
use nix::libc;
use nix::unistd::Pid;

use super::inbox::Inbox;
use super::origin;

/// How a child is bound.
#[derive(Clone, Copy)]
pub enum Bond<'a> {
    /// It leads a process group, is killed by the kernel when its supervisor dies, and has the default dispositions of
    /// signals and none blocked.
    Service,
    /// As a service, but when its supervisor dies it is only asked to end (SIGTERM): what it holds is to be said first.
    LastWords,
    /// It has the environment, the standard descriptors and all others that we were started with ourselves, and lives
    /// on when we die, as if nobody stood between.
    Init {
        /// Whose process group and session it is in.
        place: Place,
        /// The signals as this inbox found them; without one they are as a service has them.
        signals: Option<&'a Inbox>,
    },
}

/// The process group and the session of the child of an init.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Ours.
    Ours,
    /// A group of its own, which becomes the foreground of the terminal if standard input is one.
    Group,
    /// A session of its own, which gets the terminal if standard input is one and nobody's.
    Session,
}

/// Signals that the kernel has, numbered from 1; a bit each in its signal sets.
const KERNEL_SIGNALS: usize = 64;

impl Bond<'_> {
    /// The variables of our own environment, when the child is to have just those: as they are, since what has no `=`
    /// or stands there twice is not ours to correct.
    pub(super) fn environment(&self) -> Option<Vec<*const libc::c_char>> {
        unsafe extern "C" {
            static environ: *const *const libc::c_char;
        }
        match self {
            Self::Service | Self::LastWords => None,
            // SAFETY: `environ` is null, or an array of strings that ends with a null; nothing here changes it.
            Self::Init { .. } => unsafe {
                let variables = (0..).map(|at| *environ.add(at)).take_while(|variable| !variable.is_null());
                let variables: Vec<_> = if environ.is_null() { Vec::new() } else { variables.collect() };
                Some(variables.into_iter().chain([std::ptr::null()]).collect())
            },
        }
    }

    /// Puts the process that calls where it is to be; on failure errno tells why.
    pub(super) fn attach(&self) -> io::Result<()> {
        // SAFETY: only system calls that take numbers.
        unsafe {
            match self {
                Self::Service | Self::LastWords => drop(Errno::result(libc::setpgid(0, 0))?),
                Self::Init { place: Place::Ours, .. } => {}
                Self::Init { place: Place::Group, .. } => {
                    Errno::result(libc::setpgid(0, 0))?;
                    // Without a terminal there is nothing to do, and no reason not to go on. It is done here and not
                    // by the parent, since an init below an init would come too late. SIGTTOU is blocked here.
                    libc::tcsetpgrp(libc::STDIN_FILENO, libc::getpgrp());
                }
                Self::Init { place: Place::Session, .. } => {
                    Errno::result(libc::setsid())?;
                    libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0);
                }
            }
        }
        Ok(())
    }

    /// Ties the life of the process that calls to its supervisor's; a change of user would untie it.
    pub(super) fn tie(&self, parent: Pid) -> io::Result<()> {
        let signal = match self {
            Self::Service => libc::SIGKILL,
            Self::LastWords => libc::SIGTERM,
            Self::Init { .. } => return Ok(()),
        };
        // SAFETY: only system calls that take numbers.
        unsafe {
            Errno::result(libc::prctl(libc::PR_SET_PDEATHSIG, signal))?;
            // The supervisor may have died before the kernel was told to watch it.
            if libc::getppid() != parent.as_raw() {
                libc::_exit(127);
            }
        }
        Ok(())
    }

    /// The last thing before exec: the descriptors that the runtime opened go, and signals are what they should be.
    pub(super) fn release(&self) {
        if let Self::Init { .. } = self {
            for descriptor in origin::closed_descriptors() {
                // SAFETY: nothing here uses it any more.
                unsafe { libc::close(descriptor) };
            }
        }
        match self {
            Self::Init { signals: Some(inbox), .. } => inbox.give_back(),
            Self::Service | Self::LastWords | Self::Init { signals: None, .. } => default_signals(),
        }
    }
}

/// SIGPIPE for one is ignored by us, and what is ignored stays so over exec.
fn default_signals() {
    // SAFETY: the bare system call, since the C library hides two signals; a kernel's sigaction of zeros is the
    // default. KILL and STOP refuse. The set is initialised before it is used.
    unsafe {
        let default = [0u64; 8];
        for signal in 1..=KERNEL_SIGNALS {
            let old = std::ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), old, KERNEL_SIGNALS / 8);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}
