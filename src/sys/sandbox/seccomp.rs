//! The wall of seccomp: which system calls a process may still make, and what the others meet.
//!
//! - [`ALLOWED`] and the profile's own go through, whatever their arguments. That is not only simple: the kernel (5.11
//!   and newer) sees that the answer never changes, keeps it in a bitmap, and runs no filter for such a call. So none of
//!   the calls that serve a message is held against an argument.
//! - What no library does on its own, and what an attacker does first, kills the process ([`Profile::flagrant`]): it
//!   shows up at once, as signal 31 (SIGSYS) in `torus status`, and nobody goes on in a process that has been taken
//!   over.
//! - What a library may well try, and can do without, is refused with EPERM ([`REFUSED`], [`Profile::refused`]).
//! - Everything else does not exist (ENOSYS). That is what a C library takes as the word of an older kernel: one that is
//!   newer than this list falls back to the calls that it made before, where EPERM would make it fail.
//!
//! A call of another architecture (on x86_64, of a 32-bit program) kills too; the numbers here are not its numbers.

use std::env::consts::ARCH;
use std::io;

use nix::errno::Errno;
use nix::libc::{self, c_long};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter_all_threads,
};

use super::Profile;

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// This architecture has no filter, or ours is at fault.
    #[error("{0}")]
    Filter(#[from] BackendError),
    /// The kernel refused, or does not know seccomp.
    #[error("{0}")]
    Refused(#[from] seccompiler::Error),
}

/// What every profile may do: use what it holds, have memory, know the time, and end.
const ALLOWED: &[c_long] = &[
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_shutdown,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    // The bare question whether a descriptor is open, see `refused_by_argument`.
    libc::SYS_fcntl,
    libc::SYS_ioctl,
    libc::SYS_ppoll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_getrandom,
    // Where the clock cannot be read without the kernel.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // abort(3) signals its own thread.
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// What a bus worker does beside.
const ALLOWED_BUS: &[c_long] = &[
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_accept4,
];

/// What a back-end does beside.
const ALLOWED_BACK_END: &[c_long] = &[libc::SYS_socket, libc::SYS_connect];

/// What the log worker does beside. Descriptors come with packets, and who follows is asked what it is.
const ALLOWED_LOG: &[c_long] = &[
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_timerfd_settime,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_getsockname,
];

/// What it does for the journal: an entry that is too large for a packet goes there as a file in memory.
const ALLOWED_JOURNAL: &[c_long] = &[libc::SYS_memfd_create];

/// The calls that install a filter. The last filter takes them back.
const INSTALLING: [c_long; 2] = [libc::SYS_prctl, libc::SYS_seccomp];

/// Files, processes, users, signals: whoever tries is told that it is not permitted.
const REFUSED: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_open_by_handle_at,
    libc::SYS_memfd_create,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_truncate,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_unlinkat,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_renameat2,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_clone,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_setpgid,
    libc::SYS_setsid,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    libc::SYS_personality,
    libc::SYS_prlimit64,
    libc::SYS_setpriority,
    libc::SYS_sched_setaffinity,
];

/// The older calls for the same, which newer architectures never had.
#[cfg(target_arch = "x86_64")]
const REFUSED_OLDER: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_creat,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_mknod,
    libc::SYS_unlink,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utimes,
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_setrlimit,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_OLDER: &[c_long] = &[];

/// Another program, another process's memory, another namespace or mount, code in the kernel: nothing here has any
/// business with them.
const FLAGRANT: &[c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kcmp,
    libc::SYS_socketpair,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
];

/// What is flagrant in who never connects.
const FLAGRANT_NEVER_CONNECTS: &[c_long] = &[libc::SYS_socket, libc::SYS_connect];

/// Calls with the arguments that a rule of theirs catches; without a rule, all.
type Calls = Vec<(c_long, Vec<SeccompRule>)>;

/// Filters the calls of this process from here on.
///
/// Three filters, since each has two answers; the kernel takes the strictest, and among equals the last one's. The first
/// one shuts out most and still lets the others be installed.
pub(super) fn enter(profile: Profile<'_>) -> Result<(), SeccompError> {
    let allowed = filter(profile.allowed(), SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32))?;
    let flagrant = filter(profile.flagrant(), SeccompAction::KillProcess, SeccompAction::Allow)?;
    let refused = filter(profile.refused()?, SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow)?;
    for program in [allowed, flagrant, refused] {
        apply_filter_all_threads(&program)?;
    }
    Ok(())
}

/// Whether the kernel takes filters of system calls (seccomp(2)): asked with a filter that is nowhere, it says so by EFAULT.
pub fn takes_filters() -> io::Result<bool> {
    let nowhere = std::ptr::null::<libc::sock_fprog>();
    // SAFETY: the kernel reads the structure, finds none and changes nothing.
    let answer = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, nowhere) };
    match Errno::result(answer) {
        Ok(_) | Err(Errno::EFAULT) => Ok(true),
        Err(Errno::EINVAL) => Ok(false),
        Err(cause) => Err(cause.into()),
    }
}

fn filter(calls: Calls, these: SeccompAction, others: SeccompAction) -> Result<BpfProgram, BackendError> {
    SeccompFilter::new(calls.into_iter().collect(), others, these, ARCH.try_into()?)?.try_into()
}

impl Profile<'_> {
    fn allowed(self) -> Calls {
        let own = match self {
            Self::Bus => ALLOWED_BUS,
            Self::BackEnd { .. } => ALLOWED_BACK_END,
            Self::Log { .. } => ALLOWED_LOG,
        };
        all([ALLOWED, own, self.allowed_journal(), &INSTALLING])
    }

    fn allowed_journal(self) -> &'static [c_long] {
        match self {
            Self::Log { journal: true } => ALLOWED_JOURNAL,
            Self::Log { journal: false } | Self::Bus | Self::BackEnd { .. } => &[],
        }
    }

    fn flagrant(self) -> Calls {
        let own = match self {
            Self::Bus | Self::Log { .. } => FLAGRANT_NEVER_CONNECTS,
            Self::BackEnd { .. } => &[],
        };
        all([FLAGRANT, own])
    }

    fn refused(self) -> Result<Calls, BackendError> {
        let mut calls = all([REFUSED, REFUSED_OLDER, &INSTALLING]);
        calls.retain(|(call, _)| !self.allowed_journal().contains(call));
        // A file in memory for the journal is sealed.
        let seal: &[i32] = if self.allowed_journal().is_empty() { &[] } else { &[libc::F_ADD_SEALS] };
        calls.extend(refused_by_argument(seal)?);
        match self {
            Self::Bus | Self::Log { .. } => {}
            Self::BackEnd { .. } => calls.extend(refused_connections()?),
        }
        Ok(calls)
    }
}

fn all<const LISTS: usize>(lists: [&[c_long]; LISTS]) -> Calls {
    lists.concat().into_iter().map(|call| (call, Vec::new())).collect()
}

/// Allowed calls that have another use. Each is rare. Beside the bare questions, `fcntl` may do what is told.
fn refused_by_argument(fcntl: &[i32]) -> Result<Calls, BackendError> {
    let this_process = u64::from(std::process::id());
    let executable = SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64);
    Ok(vec![
        (libc::SYS_tgkill, vec![rule(&[(0, SeccompCmpOp::Ne, this_process)])?]),
        // Memory that is written and then executed.
        (libc::SYS_mmap, vec![rule(&[(2, executable.clone(), libc::PROT_EXEC as u64)])?]),
        (libc::SYS_mprotect, vec![rule(&[(2, executable, libc::PROT_EXEC as u64)])?]),
        // F_SETOWN would have the kernel signal others; TIOCSTI would type into the terminal of whoever started us.
        (libc::SYS_fcntl, vec![none_of(1, &[&[libc::F_GETFD, libc::F_GETFL], fcntl].concat())?]),
        (libc::SYS_ioctl, vec![none_of(1, &[libc::FIONBIO as i32])?]),
    ])
}

/// All but plain TCP: Landlock's rules for ports know no other protocol, and not the connect that a first send makes.
fn refused_connections() -> Result<Calls, BackendError> {
    let socket = vec![
        none_of(0, &[libc::AF_INET, libc::AF_INET6])?,
        none_of(1, &[libc::SOCK_STREAM | libc::SOCK_CLOEXEC])?,
        none_of(2, &[0])?,
    ];
    let to_an_address = SeccompCondition::new(4, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?;
    let sendto = vec![SeccompRule::new(vec![to_an_address])?];
    Ok(vec![(libc::SYS_socket, socket), (libc::SYS_sendto, sendto)])
}

/// Catches what has none of `values` as its argument.
fn none_of(argument: u8, values: &[i32]) -> Result<SeccompRule, BackendError> {
    // An int's bits, as the kernel sees them.
    let conditions: Vec<_> =
        values.iter().map(|&value| (argument, SeccompCmpOp::Ne, u64::from(value as u32))).collect();
    rule(&conditions)
}

/// Catches what fulfils all conditions on the low 32 bits of arguments.
fn rule(conditions: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule, BackendError> {
    let conditions = conditions.iter().cloned();
    SeccompRule::new(
        conditions
            .map(|(argument, op, value)| SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value))
            .collect::<Result<_, _>>()?,
    )
}
