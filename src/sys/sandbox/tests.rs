//! Tries what is forbidden, from inside.
//!
//! Each attempt is made in a process of its own: this test binary again, told by a variable which walls to stand behind
//! and what to try. It ends with the error that the call met, or by the signal that the kernel killed it with. The
//! arguments are such that outside of the sandbox the call does no harm, and meets something else.

use std::env;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::ptr::null;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::{self, c_long};
use nix::sys::resource::{Resource, setrlimit};

use super::{Profile, landlock, seccomp};

const BUS: usize = 0;
const BACK_END: usize = 1;
/// The variable that makes a test binary an attempt: walls, profile, the attempt's name, its surroundings.
const VARIABLE: &str = "TORUS_SANDBOX_ATTEMPT";
/// The exit code of a process that could not have its walls; no error has this number.
const NO_WALLS: i32 = 200;

/// What an attempt meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Met {
    Done,
    Refused(Errno),
    Killed(i32),
}

const FILE_IN_MEMORY: &str = "make a file in memory";

const KILLED: Met = Met::Killed(libc::SIGSYS);
const EPERM: Met = Met::Refused(Errno::EPERM);
const EACCES: Met = Met::Refused(Errno::EACCES);
const ENOSYS: Met = Met::Refused(Errno::ENOSYS);

/// What an attempt finds around it, made by the test before.
struct Around {
    parent: c_long,
    /// Where the bus listens, and where something else does.
    bus: u16,
    other: u16,
    abstract_name: String,
    /// A TCP socket that is not connected.
    socket: c_long,
}

struct Attempt {
    name: &'static str,
    /// Its outcome by profile; `None` is not tried, for who has not the means to begin with.
    meets: [Option<Met>; 2],
    run: fn(&Around) -> c_long,
}

macro_rules! attempts {
    ($($name:expr, $bus:expr, $back_end:expr, |$around:pat_param| $call:expr;)*) => {
        [$(Attempt { name: $name, meets: [$bus.into(), $back_end.into()], run: |$around| $call }),*]
    };
}

/// A system call with arguments of any kind.
macro_rules! call {
    ($number:ident $(, $argument:expr)*) => {
        // SAFETY: these calls, with these arguments, touch no memory but what is passed for them to read.
        unsafe { libc::syscall(libc::$number $(, $argument)*) }
    };
}

#[rustfmt::skip]
fn attempts() -> Vec<Attempt> {
    use Met::{Done, Killed};
    const NONE: *const u8 = null();
    const TCP: c_long = (libc::SOCK_STREAM | libc::SOCK_CLOEXEC) as c_long;
    const INET: c_long = libc::AF_INET as c_long;
    const HERE: c_long = libc::AT_FDCWD as c_long;
    const READ_EXECUTE: c_long = (libc::PROT_READ | libc::PROT_EXEC) as c_long;
    const ANONYMOUS: c_long = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as c_long;
    let everywhere = attempts! {
        // name, as a bus worker, as a back-end
        "open a TCP socket", KILLED, Done, |_| call!(SYS_socket, INET, TCP, 0);
        "open a UDP socket", KILLED, EPERM, |_| call!(SYS_socket, INET, libc::SOCK_DGRAM, 0);
        "open a socket of TCP's successor", KILLED, EPERM, |_| call!(SYS_socket, INET, TCP, libc::IPPROTO_MPTCP);
        "open a Unix socket", KILLED, EPERM, |_| call!(SYS_socket, libc::AF_UNIX, TCP, 0);
        "open a pair of sockets", KILLED, KILLED, |_| call!(SYS_socketpair, libc::AF_UNIX, TCP, 0, NONE);
        "connect to the bus", KILLED, Done, |around| connect(around, around.bus);
        "connect elsewhere", KILLED, EACCES, |around| connect(around, around.other);
        "connect by a first send", None, EPERM, |around| {
            let to = address(around.bus);
            call!(SYS_sendto, around.socket, b"x", 1, libc::MSG_FASTOPEN, &raw const to, size_of_val(&to))
        };
        "bind a port", KILLED, KILLED, |around| {
            let to = address(0);
            call!(SYS_bind, around.socket, &raw const to, size_of_val(&to))
        };
        "listen", KILLED, KILLED, |around| call!(SYS_listen, around.socket, 1);
        "connect to an abstract Unix socket", KILLED, EPERM, |around| connect_abstract(&around.abstract_name);

        "signal the parent", EPERM, EPERM, |around| call!(SYS_kill, around.parent, 0);
        "signal everybody", EPERM, EPERM, |_| call!(SYS_kill, -1, 0);
        "signal a thread of the parent", EPERM, EPERM, |around| call!(SYS_tgkill, around.parent, around.parent, 0);
        "signal any thread", EPERM, EPERM, |around| call!(SYS_tkill, around.parent, 0);
        "hold the parent by a descriptor", KILLED, KILLED, |around| call!(SYS_pidfd_open, around.parent, 0);
        "have the kernel signal the parent", EPERM, EPERM, |around| {
            call!(SYS_fcntl, around.socket, libc::F_SETOWN, around.parent)
        };
        "trace the parent", KILLED, KILLED, |around| call!(SYS_ptrace, libc::PTRACE_SEIZE, around.parent, 0, 0);
        "read the parent's memory", KILLED, KILLED, |around| {
            let mut byte = 0u8;
            let ours = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
            let theirs = libc::iovec { iov_base: std::ptr::dangling_mut(), iov_len: 1 };
            call!(SYS_process_vm_readv, around.parent, &raw const ours, 1, &raw const theirs, 1, 0)
        };
        "execute", KILLED, KILLED, |_| call!(SYS_execve, c"/bin/true".as_ptr(), NONE, NONE);
        "execute by a descriptor", KILLED, KILLED, |_| call!(SYS_execveat, -1, NONE, NONE, NONE, 0);
        "fork", EPERM, EPERM, |_| call!(SYS_clone, libc::SIGCHLD, 0, 0, 0, 0);
        "fork by the newer call", ENOSYS, ENOSYS, |_| call!(SYS_clone3, NONE, 0);
        "type into the terminal", EPERM, EPERM, |_| call!(SYS_ioctl, 2, libc::TIOCSTI, NONE);

        "read a file", EPERM, EPERM, |_| call!(SYS_openat, HERE, c"/etc/passwd".as_ptr(), libc::O_RDONLY);
        "write a file", EPERM, EPERM, |_| call!(SYS_openat, HERE, c"/dev/null".as_ptr(), libc::O_WRONLY);
        "open by the newer call", EPERM, EPERM, |_| call!(SYS_openat2, HERE, c"/".as_ptr(), NONE, 0);
        FILE_IN_MEMORY, EPERM, EPERM, |_| call!(SYS_memfd_create, c"".as_ptr(), 0);
        "remove a file", EPERM, EPERM, |_| call!(SYS_unlinkat, HERE, c"/nowhere/at/all".as_ptr(), 0);
        "rename a file", EPERM, EPERM, |_| call!(SYS_renameat2, HERE, c"/nowhere".as_ptr(), HERE, c"/there".as_ptr(), 0);
        "change a file's mode", EPERM, EPERM, |_| call!(SYS_fchmodat, HERE, c"/nowhere/at/all".as_ptr(), 0);
        "look at a file", EPERM, EPERM, |_| call!(SYS_faccessat, HERE, c"/".as_ptr(), 0);
        "execute memory", EPERM, EPERM, |_| call!(SYS_mmap, 0, 4096, READ_EXECUTE, ANONYMOUS, -1, 0);
        "make memory executable", EPERM, EPERM, |_| call!(SYS_mprotect, 0, 0, READ_EXECUTE);

        "change user", EPERM, EPERM, |_| call!(SYS_setuid, nix::unistd::getuid().as_raw());
        "change group", EPERM, EPERM, |_| call!(SYS_setgid, nix::unistd::getgid().as_raw());
        "change capabilities", EPERM, EPERM, |_| call!(SYS_capset, NONE, NONE);
        "change its limits", EPERM, EPERM, |_| call!(SYS_prlimit64, 0, libc::RLIMIT_NOFILE, NONE, NONE);
        "change itself", EPERM, EPERM, |_| call!(SYS_prctl, libc::PR_GET_DUMPABLE, 0, 0, 0, 0);
        "filter once more", EPERM, EPERM, |_| {
            let action = libc::SECCOMP_RET_ALLOW;
            call!(SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action)
        };
        "mount", KILLED, KILLED, |_| call!(SYS_mount, NONE, NONE, NONE, 0, NONE);
        "unmount", KILLED, KILLED, |_| call!(SYS_umount2, NONE, 0);
        "change root", KILLED, KILLED, |_| call!(SYS_chroot, NONE);
        "leave its namespaces", KILLED, KILLED, |_| call!(SYS_unshare, 0);
        "enter another namespace", KILLED, KILLED, |_| call!(SYS_setns, -1, 0);
        "load a BPF program", KILLED, KILLED, |_| call!(SYS_bpf, -1, NONE, 0);
        "make an io_uring", KILLED, KILLED, |_| call!(SYS_io_uring_setup, 0, NONE);
        "handle page faults", KILLED, KILLED, |_| call!(SYS_userfaultfd, -1);
        "count events of the processor", KILLED, KILLED, |_| call!(SYS_perf_event_open, NONE, 0, 0, -1, 0);
        "use the kernel's keys", KILLED, KILLED, |_| call!(SYS_keyctl, -1, 0, 0, 0, 0);
        "load a kernel module", KILLED, KILLED, |_| call!(SYS_init_module, NONE, 0, NONE);

        "tell of its own process", Done, Done, |_| call!(SYS_tgkill, std::process::id(), nix::unistd::gettid().as_raw(), 0);
        "allocate much", Done, Done, |_| c_long::from(std::hint::black_box(vec![0u8; 64 << 20]).iter().sum::<u8>());
        "sleep", Done, Done, |_| { std::thread::sleep(Duration::from_millis(1)); 0 };
        "tell the time", Done, Done, |_| c_long::from(Instant::now().elapsed() > Duration::from_secs(60));
        "log", Done, Done, |_| { eprint!(""); 0 };
        "hash", Done, Done, |_| { std::hint::black_box(std::hash::RandomState::new()); 0 };
        "abort", Killed(libc::SIGABRT), Killed(libc::SIGABRT), |_| std::process::abort();
    };
    #[cfg(target_arch = "x86_64")]
    let older = attempts! {
        "read a file by the older call", EPERM, EPERM, |_| call!(SYS_open, c"/etc/passwd".as_ptr(), libc::O_RDONLY);
        "look at a file by the older call", EPERM, EPERM, |_| call!(SYS_access, c"/".as_ptr(), 0);
    };
    #[cfg(not(target_arch = "x86_64"))]
    let older = [];
    everywhere.into_iter().chain(older).collect()
}

#[test]
fn a_bus_worker_meets_what_the_documentation_says() {
    each_meets("both", "bus", BUS);
}

#[test]
fn a_back_end_meets_what_the_documentation_says() {
    each_meets("both", "back-end", BACK_END);
}

#[test]
fn a_log_worker_meets_what_a_bus_worker_does_and_may_make_files_in_memory_for_the_journal_alone() {
    each_meets("both", "log", BUS);
    each_meets("seccomp", "log", BUS);
    let house = House::new();
    assert_eq!(house.attempt("both", "journal", FILE_IN_MEMORY), Met::Done);
    for name in ["open a Unix socket", "read a file", "have the kernel signal the parent", "execute"] {
        let as_ever = attempts().into_iter().find(|attempt| attempt.name == name).unwrap().meets[BUS];
        assert_eq!(Some(house.attempt("both", "journal", name)), as_ever, "{name}");
    }
}

#[test]
fn a_thread_that_was_started_on_the_way_in_is_inside_too() {
    let house = House::new();
    for name in ["read a file", "open a Unix socket", "signal the parent"] {
        let expected = attempts().into_iter().find(|attempt| attempt.name == name).unwrap().meets[BUS].unwrap();
        assert_eq!(house.attempt("both by a thread", "log", name), expected, "{name}");
    }
    assert_eq!(house.attempt("landlock by a thread", "log", "read a file"), EACCES);
}

#[test]
fn outside_of_the_sandbox_everything_meets_something_else() {
    let house = House::new();
    for Attempt { name, meets, .. } in attempts() {
        let met = house.attempt("none", "bus", name);
        let expected = meets[BACK_END].expect("a back-end tries all");
        let is_outside = matches!(expected, Met::Done | Met::Killed(libc::SIGABRT));
        assert_eq!(met == expected, is_outside, "{name}: {met:?}");
    }
}

#[test]
fn landlock_alone_keeps_from_files_ports_and_other_processes() {
    // It is a thread's own, so the rest of this process stays outside.
    let version = std::thread::spawn(|| landlock::enter(Profile::Bus)).join().unwrap();
    let version = version.expect("this kernel has no Landlock; test where there is one (Linux 5.13, lsm=landlock)");
    let house = House::new();
    for (since, name, meets) in [
        (1, "read a file", [EACCES, EACCES]),
        (1, "write a file", [EACCES, EACCES]),
        (landlock::FIRST_WITH_PORTS, "connect to the bus", [EACCES, Met::Done]),
        (landlock::FIRST_WITH_PORTS, "connect elsewhere", [EACCES, EACCES]),
        (landlock::FIRST_WITH_PORTS, "bind a port", [EACCES, EACCES]),
        (1, "execute", [EACCES, EACCES]),
        (1, "trace the parent", [EPERM, EPERM]),
        (1, "read the parent's memory", [EPERM, EPERM]),
        (6, "signal the parent", [EPERM, EPERM]),
        (6, "connect to an abstract Unix socket", [EPERM, EPERM]),
    ] {
        // An older kernel has no such rule, and says so: that is what `Missing` is made of.
        let meets = if version < since { [Met::Done; 2] } else { meets };
        let met = ["bus", "back-end"].map(|profile| house.attempt("landlock", profile, name));
        assert_eq!(met, meets, "{name}");
    }
}

#[test]
fn the_filter_alone_keeps_a_bus_worker_from_all_that_landlock_does() {
    each_meets("seccomp", "bus", BUS);
}

/// Holds every attempt behind `walls` against the table.
fn each_meets(walls: &str, profile: &str, column: usize) {
    let house = House::new();
    for Attempt { name, meets, .. } in attempts() {
        if let Some(expected) = meets[column] {
            assert_eq!(house.attempt(walls, profile, name), expected, "{name}");
        }
    }
}

/// What the attempts find around them.
struct House {
    bus: TcpListener,
    other: TcpListener,
    abstract_name: String,
    _abstract: UnixListener,
}

impl House {
    fn new() -> Self {
        let listener = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (bus, other) = (listener(), listener());
        // The port is this test's own, so the name is too.
        let abstract_name = format!("torus-sandbox-{}", bus.local_addr().unwrap().port());
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        Self { bus, other, abstract_name, _abstract: UnixListener::bind_addr(&address).unwrap() }
    }

    fn attempt(&self, walls: &str, profile: &str, name: &str) -> Met {
        let [bus, other] = [&self.bus, &self.other].map(|listener| listener.local_addr().unwrap().port());
        let status = Command::new(env::current_exe().unwrap())
            .args(["--exact", "sys::sandbox::tests::attempt", "--nocapture", "--test-threads=1"])
            .env(VARIABLE, format!("{walls},{profile},{name},{bus},{other},{}", self.abstract_name))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        match (status.signal(), status.code()) {
            (Some(signal), _) => Met::Killed(signal),
            (None, Some(0)) => Met::Done,
            (None, Some(NO_WALLS)) => panic!("{name}: behind {walls} there is a wall missing"),
            (None, code) => Met::Refused(Errno::from_raw(code.unwrap())),
        }
    }
}

/// One attempt, when this process was started for it. By itself it is no test.
#[test]
fn attempt() {
    let Ok(told) = env::var(VARIABLE) else { return };
    let told: Vec<&str> = told.split(',').collect();
    let [walls, profile, name, bus, other, abstract_name] = told[..] else { panic!("{told:?}") };
    let run = attempts().into_iter().find(|attempt| attempt.name == name).unwrap().run;
    // A process that is killed leaves no core.
    setrlimit(Resource::RLIMIT_CORE, 0, 0).unwrap();
    let around = Around {
        parent: nix::unistd::getppid().as_raw().into(),
        bus: bus.parse().unwrap(),
        other: other.parse().unwrap(),
        abstract_name: abstract_name.to_owned(),
        socket: call!(SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0),
    };
    let ports = [around.bus];
    let profile = match profile {
        "bus" => Profile::Bus,
        "back-end" => Profile::BackEnd { bus: &ports },
        log => Profile::Log { journal: log == "journal" },
    };
    let tried = move || if run(&around) < 0 { Errno::last_raw() } else { 0 };
    let code = if let Some(walls) = walls.strip_suffix(" by a thread") {
        let (stand, walls_stand) = channel();
        let start = || {
            let (run, runs) = channel();
            let thread = std::thread::spawn(move || {
                run.send(()).unwrap();
                walls_stand.recv().map_or(NO_WALLS, |()| tried())
            });
            runs.recv().unwrap();
            thread
        };
        let thread = match walls {
            "landlock" => landlock::enter(profile).map(|_| start()).ok(),
            _ => Some(super::enter_with(profile, start)).filter(|(_, missing)| missing.is_empty()).map(|(one, _)| one),
        };
        stand.send(()).unwrap();
        thread.map_or(NO_WALLS, |thread| thread.join().unwrap())
    } else {
        let entered = match walls {
            "none" => true,
            "landlock" => landlock::enter(profile).is_ok(),
            "seccomp" => seccomp::enter(profile).is_ok(),
            _ => super::enter(profile).is_empty(),
        };
        if entered { tried() } else { NO_WALLS }
    };
    // SAFETY: ends this process, without the rest of the test's harness.
    unsafe { libc::_exit(code) }
}

fn address(port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(Ipv4Addr::LOCALHOST).to_be() },
        sin_zero: [0; 8],
    }
}

fn connect(around: &Around, port: u16) -> c_long {
    let to = address(port);
    call!(SYS_connect, around.socket, &raw const to, size_of_val(&to))
}

/// With the socket's errors as the call's own.
fn connect_abstract(name: &str) -> c_long {
    let address = SocketAddr::from_abstract_name(name).unwrap();
    match UnixStream::connect_addr(&address) {
        Ok(stream) => c_long::from(stream.as_raw_fd() < 0),
        Err(error) => {
            Errno::from_raw(error.raw_os_error().unwrap()).set();
            -1
        }
    }
}
