//! The fork itself, in two ways.
//!
//! A child that becomes another program a moment later needs no memory of its own until then. So it shares ours, and
//! we stand still until its exec, as with vfork(2). That saves a copy of our page tables, and the faults by which each
//! page is written anew afterwards, for every start of a service.
//!
//! It runs on a stack of its own: vfork(2) itself returns twice on one stack, which no Rust function is compiled for.
//! posix_spawn(3) of the C library does the same.
//!
//! A child that gives up rights gets memory of its own: else whoever may trace its new user could write into ours, and
//! the kernel would mark our own memory as not to be looked into (PR_SET_DUMPABLE).

use std::ffi::{c_int, c_void};

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{ForkResult, Pid};

use super::prepared::Prepared;

/// Bytes of the child's stack. What runs there has no more on it than a few words and one path.
const STACK_BYTES: usize = 64 * 1024;

/// Starts the child. All signals are blocked meanwhile.
pub(super) fn fork(prepared: &mut Prepared<'_>) -> Result<Pid, Errno> {
    if prepared.changes_rights() { apart(prepared) } else { together(prepared) }
}

fn apart(prepared: &mut Prepared<'_>) -> Result<Pid, Errno> {
    // SAFETY: the child calls nothing but `become_program`, which keeps to signal-safety(7).
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Child => prepared.become_program(),
        ForkResult::Parent { child } => Ok(child),
    }
}

fn together(prepared: &mut Prepared<'_>) -> Result<Pid, Errno> {
    // Left as it is found: only the few pages that are used come to be.
    let mut stack = Vec::<u128>::with_capacity(STACK_BYTES / size_of::<u128>());
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let prepared: *mut Prepared<'_> = prepared;
    // SAFETY: the stack is the child's alone and aligned to 16 bytes, and it grows downwards on all machines that we
    // are built for. What it points to outlives the child's use: CLONE_VFORK holds us here until its exec or its end.
    // Descriptors, signal handlers and the working directory are copies, since nothing asks to share them.
    let pid = unsafe {
        let top = stack.as_mut_ptr().add(stack.capacity());
        libc::clone(child, top.cast(), flags, prepared.cast())
    };
    Errno::result(pid).map(Pid::from_raw)
}

extern "C" fn child(prepared: *mut c_void) -> c_int {
    // SAFETY: it is what `together` passed, which waits and does not touch it.
    let prepared = unsafe { &mut *prepared.cast::<Prepared<'_>>() };
    prepared.become_program()
}
