//! The child between fork and exec: everything that it needs is allocated before, and it only makes system calls that
//! are safe there (signal-safety(7)).
//!
//! The order of the steps matters. What takes privileges comes before they go (cgroup, scores, limits, bounding set);
//! groups go before the user, who could not change them any more; what the change of user undoes comes after it
//! (parent-death signal, capabilities).

use std::ffi::CString;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{Pid, getpid};

use super::{Bond, Command, FIRST_DESCRIPTOR, SpawnError};
use crate::sys::confine::{Confined, Limit};
use crate::sys::limits::OpenFiles;

/// What a child does before it is the program that it was started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Process group, parent-death signal.
    Attach,
    /// Descriptors into their places.
    Descriptors,
    /// Into its cgroup.
    Cgroup,
    /// The score by which the kernel chooses whom to kill.
    OomScore,
    /// Priority.
    Nice,
    /// The limit of open files as it was found.
    OpenFiles,
    /// A resource limit, by its place in the list.
    Limit,
    /// The bounding set of capabilities.
    Bounding,
    /// Supplementary groups.
    Groups,
    /// Group.
    Group,
    /// User.
    User,
    /// Capabilities.
    Capabilities,
    /// No new privileges.
    NoNewPrivs,
    /// Working directory.
    Directory,
    /// The exec itself.
    Execute,
}

impl Step {
    const ALL: [Self; 15] = [
        Self::Attach,
        Self::Descriptors,
        Self::Cgroup,
        Self::OomScore,
        Self::Nice,
        Self::OpenFiles,
        Self::Limit,
        Self::Bounding,
        Self::Groups,
        Self::Group,
        Self::User,
        Self::Capabilities,
        Self::NoNewPrivs,
        Self::Directory,
        Self::Execute,
    ];
}

/// What a child says of a step that failed: four words on a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) step: Step,
    /// Which of several, for the steps that are several.
    pub(super) index: usize,
    pub(super) cause: Errno,
    /// Whether the child goes on without.
    pub(super) goes_on: bool,
}

impl Report {
    const BYTES: usize = 16;

    /// All that a child said, in order.
    pub(super) fn read(bytes: &[u8]) -> Vec<Self> {
        let word = |bytes: &[u8]| i32::from_ne_bytes(bytes.try_into().expect("a word"));
        let reports = bytes.chunks_exact(Self::BYTES).map(|report| {
            let step = word(&report[..4]);
            Self {
                step: Step::ALL.into_iter().find(|known| *known as i32 == step).unwrap_or(Step::Execute),
                index: usize::try_from(word(&report[4..8])).unwrap_or_default(),
                cause: Errno::from_raw(word(&report[8..12])),
                goes_on: word(&report[12..]) != 0,
            }
        });
        reports.collect()
    }
}

/// All that the child needs, allocated before the fork.
pub(super) struct Prepared<'a> {
    bond: Bond<'a>,
    program: CString,
    /// NUL-terminated strings; `argv` and `envp` point into them.
    _strings: Vec<Vec<u8>>,
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
    /// Where the digits of LISTEN_PID go.
    listen_pid: Option<*mut u8>,
    stdin: RawFd,
    output: Option<[RawFd; 2]>,
    /// Where each is to be, and where it is.
    descriptors: Vec<(RawFd, RawFd)>,
    entrances: Vec<RawFd>,
    report: RawFd,
    open_files: Option<libc::rlimit>,
    confined: &'a Confined,
    oom_score_adj: Option<Vec<u8>>,
    parent: Pid,
}

/// Room for the digits of a process id and a NUL.
const PID_ROOM: usize = 12;
/// Capabilities that the kernel's interface has room for.
const CAPABILITIES_MAX: libc::c_ulong = 64;

/// The kernel's structures of capset(2), which the C library does not declare.
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
struct CapabilityWords {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// _LINUX_CAPABILITY_VERSION_3: two words for each set.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// A step that failed, with its cause in errno.
type Failed = (Step, usize);

impl<'a> Prepared<'a> {
    pub(super) fn new(command: &'a Command<'_>, bond: Bond<'a>, report: RawFd) -> Result<Self, SpawnError> {
        let terminated = |mut bytes: Vec<u8>| {
            if bytes.contains(&0) {
                return Err(SpawnError::Nul);
            }
            bytes.push(0);
            Ok(bytes)
        };
        let arguments: Vec<_> = command.arguments.iter().map(|text| terminated(text.clone().into_vec())).collect();
        let variables = command
            .environment
            .iter()
            .map(|(name, value)| terminated([name.as_bytes(), b"=", value.as_bytes()].concat()));
        let mut strings = arguments.into_iter().chain(variables).collect::<Result<Vec<_>, _>>()?;
        if command.listen_pid {
            strings.push([b"LISTEN_PID=".as_slice(), &[0; PID_ROOM]].concat());
        }
        let listen_pid = command.listen_pid.then(|| {
            let text = strings.last_mut().expect("it was pushed just now");
            // SAFETY: the room for digits is the string's last PID_ROOM bytes.
            unsafe { text.as_mut_ptr().add(text.len() - PID_ROOM) }
        });
        let pointers = |strings: &[Vec<u8>]| {
            strings.iter().map(|text| text.as_ptr().cast()).chain([std::ptr::null()]).collect::<Vec<_>>()
        };
        let (argv, envp) = strings.split_at(command.arguments.len());
        Ok(Self {
            program: CString::new(command.program.as_os_str().as_bytes()).map_err(|_| SpawnError::Nul)?,
            argv: pointers(argv),
            envp: bond.environment().unwrap_or_else(|| pointers(envp)),
            bond,
            listen_pid,
            _strings: strings,
            stdin: command.stdin.as_raw_fd(),
            output: command.output.map(|both| both.map(|fd| fd.as_raw_fd())),
            descriptors: command.descriptors.iter().map(|(place, fd)| (*place, fd.as_raw_fd())).collect(),
            entrances: command.entrances.iter().map(AsRawFd::as_raw_fd).collect(),
            report,
            open_files: command
                .open_files
                .map(|OpenFiles { soft, hard }| libc::rlimit { rlim_cur: soft, rlim_max: hard }),
            confined: command.confined,
            oom_score_adj: command.confined.oom_score_adj.map(|score| score.to_string().into_bytes()),
            parent: getpid(),
        })
    }

    /// Whether the child will not have the rights that we have.
    pub(super) fn changes_rights(&self) -> bool {
        let Confined { groups, gid, uid, capabilities, .. } = self.confined;
        groups.is_some() || gid.is_some() || uid.is_some() || capabilities.is_some()
    }

    /// The child's whole life before exec.
    pub(super) fn become_program(&mut self) -> ! {
        let (step, index) = match self.prepare() {
            Ok(()) => {
                // SAFETY: the strings are NUL-terminated and the vectors end with a null pointer.
                unsafe { libc::execve(self.program.as_ptr(), self.argv.as_ptr(), self.envp.as_ptr()) };
                (Step::Execute, 0)
            }
            Err(failed) => failed,
        };
        self.tell(step, index, false);
        // SAFETY: ends the child without running anything of ours.
        unsafe { libc::_exit(127) }
    }

    /// Writes a report of what errno holds.
    fn tell(&self, step: Step, index: usize, goes_on: bool) {
        let report = [step as i32, index as i32, Errno::last_raw(), goes_on.into()];
        // SAFETY: writes words that live on this stack.
        unsafe { libc::write(self.report, report.as_ptr().cast(), size_of_val(&report)) };
    }

    /// A step that failed and that the program can do without, unless it may not.
    fn without(&self, step: Step, index: usize) -> Result<(), Failed> {
        if self.confined.sandbox_required {
            return Err((step, index));
        }
        self.tell(step, index, true);
        Ok(())
    }

    fn prepare(&mut self) -> Result<(), Failed> {
        // SAFETY: this and what it calls make only system calls that signal-safety(7) allows, on memory that was
        // allocated before the fork and that nobody else uses meanwhile.
        unsafe {
            self.bond.attach().map_err(|_| (Step::Attach, 0))?;
            self.place_descriptors()?;
            self.join_cgroups()?;
            self.set_scores()?;
            self.set_limits()?;
            if let Some(umask) = self.confined.umask {
                libc::umask(umask as libc::mode_t);
            }
            self.lower_privileges()?;
            if let Some(directory) = &self.confined.directory {
                check(libc::chdir(directory.as_ptr()), Step::Directory)?;
            }

            // Only now: a change of user takes it back.
            self.bond.tie(self.parent).map_err(|_| (Step::Attach, 0))?;
            if let Some(room) = self.listen_pid {
                write_digits(libc::getpid(), std::slice::from_raw_parts_mut(room, PID_ROOM));
            }
            self.bond.release();
        }
        Ok(())
    }

    /// # Safety
    /// The descriptors are open, and this is the child.
    unsafe fn place_descriptors(&mut self) -> Result<(), Failed> {
        // First everything out of the way of the places that are agreed on, then into them.
        let free = self.descriptors.iter().map(|(place, _)| place + 1).max().unwrap_or(FIRST_DESCRIPTOR);
        let named = self.descriptors.iter_mut().map(|(_, from)| from);
        for descriptor in named.chain(&mut self.entrances).chain([&mut self.report]) {
            // SAFETY: duplicating a number touches no memory.
            let moved = unsafe { libc::fcntl(*descriptor, libc::F_DUPFD_CLOEXEC, free) };
            check(moved, Step::Descriptors)?;
            *descriptor = moved;
        }
        let places = self.descriptors.iter().map(|(place, from)| (*from, *place));
        let output = self.output.map(|[out, err]| [(out, libc::STDOUT_FILENO), (err, libc::STDERR_FILENO)]);
        let standard = [(self.stdin, libc::STDIN_FILENO)].into_iter().chain(output.into_iter().flatten());
        for (from, place) in standard.chain(places) {
            // SAFETY: as above.
            check(unsafe { libc::dup2(from, place) }, Step::Descriptors)?;
        }
        Ok(())
    }

    fn join_cgroups(&self) -> Result<(), Failed> {
        for (index, entrance) in self.entrances.iter().enumerate() {
            // SAFETY: writes a constant; 0 is the process that writes (cgroups(7)).
            if unsafe { libc::write(*entrance, c"0".as_ptr().cast(), 1) } < 0 {
                self.without(Step::Cgroup, index)?;
            }
        }
        Ok(())
    }

    fn set_scores(&self) -> Result<(), Failed> {
        if let Some(score) = &self.oom_score_adj {
            // SAFETY: the path is a constant and the text outlives the call.
            let written = unsafe {
                let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
                if file < 0 { -1 } else { libc::write(file, score.as_ptr().cast(), score.len()) }
            };
            if written < 0 {
                self.without(Step::OomScore, 0)?;
            }
        }
        if let Some(nice) = self.confined.nice {
            // SAFETY: touches no memory.
            if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) } < 0 {
                self.without(Step::Nice, 0)?;
            }
        }
        Ok(())
    }

    fn set_limits(&self) -> Result<(), Failed> {
        if let Some(limit) = &self.open_files {
            // SAFETY: the limit outlives the call.
            check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, limit) }, Step::OpenFiles)?;
        }
        for (index, Limit { resource, soft, hard }) in self.confined.limits.iter().enumerate() {
            let number = resource.number();
            let mut found = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: `found` is a valid place for the call to write to.
            check_limit(unsafe { libc::getrlimit(number, &mut found) }, index)?;
            let hard = hard.unwrap_or(found.rlim_max);
            let wanted = libc::rlimit { rlim_cur: soft.unwrap_or(found.rlim_cur).min(hard), rlim_max: hard };
            // SAFETY: the limit outlives the call.
            if unsafe { libc::setrlimit(number, &wanted) } == 0 {
                continue;
            }
            // Above what we may give: up to there.
            self.without(Step::Limit, index)?;
            let hard = wanted.rlim_max.min(found.rlim_max);
            let nearest = libc::rlimit { rlim_cur: wanted.rlim_cur.min(hard), rlim_max: hard };
            // SAFETY: as above.
            check_limit(unsafe { libc::setrlimit(number, &nearest) }, index)?;
        }
        Ok(())
    }

    fn lower_privileges(&self) -> Result<(), Failed> {
        let Confined { groups, gid, uid, capabilities, no_new_privs, .. } = self.confined;
        if let Some(kept) = capabilities {
            // While we may: it takes CAP_SETPCAP. What stays in reach of exec does no harm under no_new_privs.
            if !drop_bounding(*kept) && !no_new_privs {
                self.without(Step::Bounding, 0)?;
            }
        }
        // Bare system calls: the C library's functions would signal the threads of the process that we were.
        // SAFETY: the groups outlive the call; the other calls touch no memory.
        unsafe {
            if let Some(groups) = groups {
                check_long(libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()), Step::Groups)?;
            }
            if let Some(gid) = gid {
                check_long(libc::syscall(libc::SYS_setresgid, *gid, *gid, *gid), Step::Group)?;
            }
            if capabilities.is_some_and(|kept| kept != 0) {
                check(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0), Step::Capabilities)?;
            }
            if let Some(uid) = uid {
                check_long(libc::syscall(libc::SYS_setresuid, *uid, *uid, *uid), Step::User)?;
            }
        }
        if let Some(kept) = capabilities {
            set_capabilities(*kept)?;
        }
        if *no_new_privs {
            // SAFETY: touches no memory.
            check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, Step::NoNewPrivs)?;
        }
        Ok(())
    }
}

fn check(result: libc::c_int, step: Step) -> Result<(), Failed> {
    if result < 0 { Err((step, 0)) } else { Ok(()) }
}

fn check_long(result: libc::c_long, step: Step) -> Result<(), Failed> {
    if result < 0 { Err((step, 0)) } else { Ok(()) }
}

fn check_limit(result: libc::c_int, index: usize) -> Result<(), Failed> {
    if result < 0 { Err((Step::Limit, index)) } else { Ok(()) }
}

/// Takes all but `kept` out of the bounding set; answers whether none is left, and errno says why not.
fn drop_bounding(kept: u64) -> bool {
    for capability in 0..CAPABILITIES_MAX {
        // SAFETY: these calls touch no memory.
        unsafe {
            // Below zero: there are no more.
            match libc::prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0) {
                ..0 => return true,
                0 => continue,
                _ if kept & (1 << capability) != 0 => continue,
                _ if libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 => return false,
                _ => {}
            }
        }
    }
    true
}

/// Sets the other sets to exactly `kept`: permitted, effective, inheritable, and ambient, so that they survive an exec
/// by a user other than root.
fn set_capabilities(kept: u64) -> Result<(), Failed> {
    let header = CapabilityHeader { version: CAPABILITY_VERSION, pid: 0 };
    let words = [kept as u32, (kept >> 32) as u32].map(|word| CapabilityWords {
        effective: word,
        permitted: word,
        inheritable: word,
    });
    // SAFETY: the structures are those of capset(2) and outlive the call; the other calls touch no memory.
    unsafe {
        let ambient = |what: libc::c_int, capability: libc::c_ulong| {
            libc::prctl(libc::PR_CAP_AMBIENT, libc::c_ulong::from(what as u32), capability, 0, 0)
        };
        // A kernel without ambient capabilities (before 4.3) has none to clear; raising one fails then.
        ambient(libc::PR_CAP_AMBIENT_CLEAR_ALL, 0);
        check_long(libc::syscall(libc::SYS_capset, &header, words.as_ptr()), Step::Capabilities)?;
        for capability in (0..CAPABILITIES_MAX).filter(|capability| kept & (1 << capability) != 0) {
            check(ambient(libc::PR_CAP_AMBIENT_RAISE, capability), Step::Capabilities)?;
        }
    }
    Ok(())
}

/// Writes a positive number in decimal, at the start of a room of zeros.
fn write_digits(number: i32, room: &mut [u8]) {
    let digits = std::iter::successors(Some(number), |rest| (*rest >= 10).then_some(rest / 10)).count();
    let mut rest = number;
    for place in room[..digits].iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_id_is_written_in_decimal() {
        for number in [1, 9, 10, 4_194_304, i32::MAX] {
            let mut room = [0; PID_ROOM];
            write_digits(number, &mut room);
            assert_eq!(String::from_utf8_lossy(&room).trim_end_matches('\0'), number.to_string());
        }
    }

    #[test]
    fn every_report_of_a_child_is_understood() {
        let words = [Step::Nice as i32, 0, Errno::EACCES as i32, 1, Step::Limit as i32, 3, Errno::EPERM as i32, 0];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let expected = [
            Report { step: Step::Nice, index: 0, cause: Errno::EACCES, goes_on: true },
            Report { step: Step::Limit, index: 3, cause: Errno::EPERM, goes_on: false },
        ];
        assert_eq!(Report::read(&bytes), expected);
    }
}
