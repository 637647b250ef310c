//! The host, or the container's share of it: ports, limits, memory, disk, clock.

use std::net::SocketAddr;

use super::{Check, On, Verdict, bytes};
use crate::config::{Bus, Config, ServiceKind};
use crate::preflight::{Fact, Passed, Port, PortState, Purpose, Unit, overlap};
use crate::sys::listen::BACKLOG;

/// Files that a bus worker has open beside its connections.
const FILES_BESIDE: u64 = 64;
/// With fewer, not even the workers start.
const FILES_MIN: u64 = 128;
/// Processes and threads beside the services: the supervisor, the bus worker, the log worker and its thread, and who
/// probes or is looked at from outside.
const PROCESSES_BESIDE: u64 = 12;
/// What the rest of Torus takes beside the bus worker.
const MEMORY_BESIDE: u64 = 32 << 20;
/// Free bytes for data: below the first it is told, below the second nothing works for long that keeps data.
const DATA_FREE_WARN: u64 = 1 << 30;
const DATA_FREE_FAIL: u64 = 64 << 20;
/// The same where images are built: the toolchain, the dependencies, the layers.
const BUILD_FREE_WARN: u64 = 5 << 30;
const BUILD_FREE_FAIL: u64 = 2 << 30;

pub(super) fn judge(on: &On<'_>) -> Vec<Verdict> {
    if on.purpose == Purpose::Build {
        return vec![build_space(on), clock(on), memory(on)];
    }
    let mut verdicts: Vec<Verdict> = on.facts.host.ports.iter().map(|one| port(one, on)).collect();
    verdicts.extend(sockets(on));
    verdicts.extend([open_files(on), somaxconn(on), processes(on), filesystem(on), disk(on), clock(on), entropy(on)]);
    verdicts.extend([memory(on), overcommit(on), huge_pages(on)]);
    verdicts
}

/// The bus that the configuration runs.
fn bus(config: Option<&Config>) -> Option<&Bus> {
    config.and_then(|config| config.bus.as_ref()).filter(|bus| bus.requests.is_some())
}

/// A check that a container leaves to its host.
fn of_the_host(on: &On<'_>, check: Check, judged: impl FnOnce(Check) -> Verdict) -> Verdict {
    match on.purpose {
        Purpose::Container => check.skipped("it is the host's: run torus check there"),
        Purpose::Host | Purpose::Vm | Purpose::Build | Purpose::Service => judged(check),
    }
}

fn port(port: &Port, on: &On<'_>) -> Verdict {
    let Port { name, key, address, state, .. } = port;
    let number = address.port();
    let check = Check::new(
        "host",
        format!("port of {name}"),
        format!("tcp://{address}, free or held by us"),
        format!("{key} is where {} connect", if name.ends_with("front") { "clients" } else { "back-ends" }),
    );
    if number == 0 {
        return check.pass("any free port will do");
    }
    // Whoever may not bind a port is told that before he is told that it is held.
    if let Some(ours) = holder_of_ours(on, port).filter(|_| *state != PortState::Free) {
        return check.pass(format!("held by {ours}"));
    }
    match state {
        PortState::Free => check.pass("free"),
        PortState::Refused(because) if address.ip().is_loopback() || because.contains("denied") => {
            check.fail(because, format!("set {key} to a port from 1024 on"))
        }
        PortState::Refused(because) => {
            check.fail(because, format!("set bus.bind to an address of this machine ({key})"))
        }
        PortState::Held { uid, pid, program } => {
            let who = match (program, pid, uid) {
                (Some(program), Some(pid), _) => format!("{program}, pid {pid}"),
                (_, _, Some(uid)) => format!("a process of uid {uid}"),
                _ => "somebody who cannot be seen from here".to_owned(),
            };
            let mend = format!("stop it (sudo ss -ltnp 'sport = :{number}' tells more), or set {key} to another port");
            check.fail(format!("held by {who}"), mend)
        }
    }
}

/// Who of ours is in the way of a port.
fn holder_of_ours(on: &On<'_>, port: &Port) -> Option<String> {
    let host = &on.facts.host;
    let passed = |passed: &&Passed| passed.address.known().is_ok_and(|address| overlap(*address, port.address));
    if let Some(passed) = host.passed.iter().find(passed) {
        return Some(format!("systemd, which passes it as {}", passed.name));
    }
    let running = on.facts.torus.running.as_ref();
    let address = |endpoint: &String| endpoint.strip_prefix("tcp://")?.parse().ok();
    let is_there = |endpoint: &String| address(endpoint).is_some_and(|address| overlap(address, port.address));
    if let Some(running) = running.filter(|running| running.endpoints.iter().any(is_there)) {
        return Some(format!("the torus that runs here, pid {}", running.pid));
    }
    let listens = |unit: &Unit| unit.active && unit.listens.iter().any(|at| overlap(*at, port.address));
    let unit = |unit: &&Unit| unit.name == port.name && (port.root_listens || listens(unit));
    host.units.iter().find(unit).map(|unit| format!("systemd for {}", unit.unit))
}

/// Sockets that systemd passes, or will, against what the configuration names.
fn sockets(on: &On<'_>) -> Vec<Verdict> {
    let host = &on.facts.host;
    let check = |name: &str| {
        Check::new(
            "host",
            format!("socket {name}"),
            "the address and port of the configuration",
            "a socket that systemd holds wins over the configuration: clients would find nobody where they look",
        )
    };
    let passed = host.passed.iter().map(|passed| match passed.address.known() {
        Ok(address) => socket(check(&passed.name), on, &passed.name, &[*address], Told::ByItself),
        Err(because) => check(&passed.name).fail(because, "pass TCP sockets only: ListenStream=ADDRESS:PORT"),
    });
    // What is passed says more than the file of a unit does.
    let units = host.units.iter().filter(|unit| {
        (unit.active || on.purpose == Purpose::Service) && host.passed.iter().all(|passed| passed.name != unit.name)
    });
    let units = units.map(|unit| socket(check(&unit.name), on, &unit.name, &unit.listens, Told::ByFile(&unit.unit)));
    passed.chain(units).collect()
}

/// How it is known where a socket is.
#[derive(Clone, Copy)]
enum Told<'a> {
    /// It was passed.
    ByItself,
    /// The file of that unit says so, which may be newer than what systemd holds.
    ByFile(&'a str),
}

fn socket(check: Check, on: &On<'_>, name: &str, listens: &[SocketAddr], told: Told<'_>) -> Verdict {
    let who = match told {
        Told::ByItself => "passed by systemd",
        Told::ByFile(unit) => unit,
    };
    let there: Vec<String> = listens.iter().map(ToString::to_string).collect();
    let there = there.join(" and ");
    let Some(bus) = bus(on.config) else {
        return if on.config.is_some() {
            check.warn(
                format!("{there} ({who}), and the configuration has no bus"),
                "sudo systemctl disable --now its socket unit, or configure bus.requests",
            )
        } else {
            check.skipped("the configuration is wrong")
        };
    };
    let Some(port) = on.facts.host.ports.iter().find(|port| port.name == name) else {
        return check.warn(
            format!("{there} ({who}), and nobody takes a socket of that name"),
            "name it by FileDescriptorName=requests-front or requests-back",
        );
    };
    if matches!(listens, [there] if is_taken(*there, port.address)) {
        return check.pass(format!("{there} ({who})"));
    }
    let (key, address) = (&port.key, port.address);
    let mend = format!(
        "make them the same: ListenStream={address} in the socket unit, or bus.bind: {} and {key}: {}",
        listens.first().map_or(bus.bind, SocketAddr::ip),
        listens.first().map_or(0, SocketAddr::port)
    );
    let found = format!("{there} ({who}), but {key} is {address}");
    match told {
        Told::ByFile(unit) if port.root_listens => check.warn(
            format!("{found}, where root listens now; the file counts from the unit's next start on"),
            format!("{mend}; then sudo systemctl daemon-reload, and restart {unit}"),
        ),
        Told::ByItself | Told::ByFile(_) => check.fail(found, mend),
    }
}

/// Whether the supervisor takes a socket for an address of the configuration: port 0 is any.
fn is_taken(socket: SocketAddr, wanted: SocketAddr) -> bool {
    socket == wanted || (wanted.port() == 0 && socket.ip() == wanted.ip())
}

fn open_files(on: &On<'_>) -> Verdict {
    let connections = bus(on.config).map_or(0, |bus| u64::from(bus.limits.connections_max));
    let wanted = connections + FILES_BESIDE;
    let check = Check::new(
        "host",
        "open files",
        format!("{wanted} or more (the hard limit)"),
        "each connection is an open file: bus.limits.connections_max and some for the worker itself",
    );
    let mend = match on.purpose {
        Purpose::Container => format!("docker run --ulimit nofile={wanted}:{wanted}"),
        Purpose::Service => format!("LimitNOFILE={wanted} in the unit"),
        Purpose::Host | Purpose::Vm | Purpose::Build => {
            format!("sudo scripts/prepare-host, or ulimit -n {wanted}; else lower bus.limits.connections_max")
        }
    };
    match on.facts.host.open_files_max.known() {
        Err(because) => check.unknown(because),
        Ok(max) if *max >= wanted => check.pass(files(*max)),
        Ok(max) => check.fail_if(*max < FILES_MIN, files(*max), mend),
    }
}

fn files(max: u64) -> String {
    if max == u64::MAX { "no limit".to_owned() } else { max.to_string() }
}

fn somaxconn(on: &On<'_>) -> Verdict {
    let wanted = u64::from(BACKLOG.unsigned_abs());
    let check = Check::new(
        "host",
        "somaxconn",
        format!("{wanted} or more"),
        "so many clients may wait while a worker is being replaced; the others try again a second later",
    );
    let mend = match on.purpose {
        Purpose::Container => format!("docker run --sysctl net.core.somaxconn={wanted}"),
        _ => format!("sudo scripts/prepare-host, or sudo sysctl net.core.somaxconn={wanted}"),
    };
    match on.facts.host.somaxconn.known() {
        Err(because) => check.unknown(because),
        Ok(max) if *max >= wanted => check.pass(max.to_string()),
        Ok(max) => check.warn(max.to_string(), mend),
    }
}

fn processes(on: &On<'_>) -> Verdict {
    let instances = |config: &Config| config.services.values().map(|service| u64::from(service.instances)).sum::<u64>();
    let wanted = on.config.map_or(0, instances) + PROCESSES_BESIDE;
    let check = Check::new(
        "host",
        "processes",
        format!("{wanted} or more"),
        "each instance is a process, and what it starts are more",
    );
    let mend = match on.purpose {
        Purpose::Container => format!("docker run --pids-limit {wanted}"),
        Purpose::Service => format!("TasksMax={wanted} in the unit"),
        _ => format!("raise pids.max of this cgroup to {wanted}"),
    };
    match on.facts.kernel.cgroups.known().map(|survey| survey.pids_max) {
        Err(because) => check.unknown(because),
        Ok(None) => check.pass("no limit"),
        Ok(Some(max)) if max >= wanted => check.pass(max.to_string()),
        Ok(Some(max)) => check.warn(max.to_string(), mend),
    }
}

fn filesystem(on: &On<'_>) -> Verdict {
    let data = &on.facts.torus.data;
    let check = Check::new(
        "host",
        "data file system",
        "one of this machine's disks",
        "data must outlive a reboot, and locks and fsync must be this machine's word",
    );
    let path = data.path.display();
    if !data.exists && on.purpose == Purpose::Container {
        return check.skipped(format!("there is no {path}"));
    }
    let volume = match on.purpose {
        Purpose::Container => format!("docker run -v torus:{path}"),
        _ => format!("mount a disk at {path}"),
    };
    match data.filesystem.known().map(String::as_str) {
        Err(because) => check.unknown(because),
        Ok(kind @ ("tmpfs" | "ramfs")) => check.warn(format!("{kind}: it is gone with a reboot"), volume),
        Ok(kind @ "overlay") if on.purpose == Purpose::Container => {
            check.warn(format!("{kind}: it is gone with the container"), volume)
        }
        Ok(kind @ ("nfs" | "cifs" | "smb2" | "9p" | "ceph" | "fuse")) => {
            check.warn(format!("{kind}: another machine or program answers for it"), volume)
        }
        Ok(kind) => check.pass(kind),
    }
}

fn disk(on: &On<'_>) -> Verdict {
    let data = &on.facts.torus.data;
    let check = Check::new(
        "host",
        "disk space",
        format!("{} or more free for {}", bytes(DATA_FREE_WARN), data.path.display()),
        "what is to be kept needs room, and a full disk stops others too",
    );
    if !data.exists && on.purpose == Purpose::Container {
        return check.skipped(format!("there is no {}", data.path.display()));
    }
    let least = if on.keeps_data() { DATA_FREE_FAIL } else { 0 };
    space(check, &data.free_bytes, (DATA_FREE_WARN, least), "sudo du -xh / | sort -h | tail tells what takes it")
}

fn build_space(on: &On<'_>) -> Verdict {
    let check = Check::new(
        "host",
        "disk space",
        format!("{} or more free for the engine", bytes(BUILD_FREE_WARN)),
        "a build keeps the toolchain, the dependencies and the layers",
    );
    space(check, &on.facts.host.build_free_bytes, (BUILD_FREE_WARN, BUILD_FREE_FAIL), "docker system prune")
}

fn space(check: Check, free: &Fact<u64>, (enough, least): (u64, u64), mend: &str) -> Verdict {
    match free.known() {
        Err(because) => check.unknown(because),
        Ok(free) if *free >= enough => check.pass(format!("{} free", bytes(*free))),
        Ok(free) => check.fail_if(*free < least, format!("{} free", bytes(*free)), mend),
    }
}

fn clock(on: &On<'_>) -> Verdict {
    let check = Check::new(
        "host",
        "clock",
        "in sync",
        "lines of logs, and messages of several machines, are put in order by it",
    );
    of_the_host(on, check, |check| match on.facts.host.clock_synchronized.known() {
        Ok(true) => check.pass("in sync"),
        Ok(false) => check.warn(
            "nobody keeps it in sync",
            "sudo apt-get install chrony, or where systemd runs: sudo timedatectl set-ntp true",
        ),
        Err(because) => check.unknown(because),
    })
}

fn entropy(on: &On<'_>) -> Verdict {
    let check = Check::new(
        "host",
        "entropy",
        "random numbers at once",
        "programs wait at their start until the kernel has gathered some, on machines that have just booted",
    );
    of_the_host(on, check, |check| match on.facts.host.random_ready.known() {
        Ok(true) => check.pass("ready"),
        Ok(false) => check.warn("not yet", "give the virtual machine a virtio-rng device, or wait"),
        Err(because) => check.unknown(because),
    })
}

/// What the bus worker may hold at the most, as docs/configuration.md promises, and the rest beside it.
fn memory_wanted(config: Option<&Config>) -> u64 {
    let bus = bus(config).map_or(0, |bus| {
        let limits = &bus.limits;
        limits.memory_bytes_max / 4 * 5 + (u64::from(limits.connections_max) << 14) + (32 << 20)
    });
    bus + MEMORY_BESIDE
}

fn memory(on: &On<'_>) -> Verdict {
    let services = on.config.map_or(0, |config| {
        config.services.values().filter(|service| matches!(service.kind, ServiceKind::Command(_))).count()
    });
    let beside = if services == 0 { "" } else { ", services of your own not counted" };
    let wanted = memory_wanted(on.config);
    let check = Check::new(
        "host",
        "memory",
        format!("{} or more", bytes(wanted)),
        format!("the bus worker may hold as much under attack (bus.limits){beside}"),
    );
    if on.purpose == Purpose::Build {
        let check = Check::new("host", "memory", "2 GiB or more", "the linker of a release build takes that much");
        return match on.facts.host.memory_bytes.known() {
            Ok(found) if *found >= 2 << 30 => check.pass(bytes(*found)),
            Ok(found) => {
                check.warn(bytes(*found), "add memory or swap: fallocate -l 4G /swap; mkswap /swap; swapon /swap")
            }
            Err(because) => check.unknown(because),
        };
    }
    let limit = on.facts.kernel.cgroups.known().ok().and_then(|survey| survey.memory_bytes_max);
    let (found, of) = match (limit, on.facts.host.memory_bytes.known()) {
        (Some(limit), Ok(machine)) if limit < *machine => (limit, "limit of this cgroup"),
        (_, Ok(machine)) => (*machine, "the machine's"),
        (Some(limit), Err(_)) => (limit, "limit of this cgroup"),
        (None, Err(because)) => return check.unknown(because),
    };
    let text = format!("{} ({of})", bytes(found));
    if found >= wanted {
        return check.pass(text);
    }
    let mend = match on.purpose {
        Purpose::Container => format!(
            "docker run --memory {}m, or lower bus.limits.memory_bytes_max and connections_max",
            wanted.div_ceil(1 << 20)
        ),
        Purpose::Service => {
            format!("MemoryMax={} in the unit, or lower bus.limits.memory_bytes_max and connections_max", wanted)
        }
        _ => "lower bus.limits.memory_bytes_max and bus.limits.connections_max".to_owned(),
    };
    check.warn(text, mend)
}

fn overcommit(on: &On<'_>) -> Verdict {
    let check = Check::new(
        "host",
        "overcommit",
        "vm.overcommit_memory = 0 or 1",
        "with 2 the kernel counts what programs reserve and never use, and refuses memory that is there",
    );
    of_the_host(on, check, |check| match on.facts.host.overcommit.known() {
        Ok(2) => check.warn("2", "sudo sysctl vm.overcommit_memory=0"),
        Ok(other) => check.pass(other.to_string()),
        Err(because) => check.unknown(because),
    })
}

fn huge_pages(on: &On<'_>) -> Verdict {
    let check = Check::new(
        "host",
        "huge pages",
        "transparent huge pages: madvise or never",
        "with always, small buffers take 2 MiB each, and the kernel stops processes to make room for that",
    );
    of_the_host(on, check, |check| match on.facts.host.huge_pages.known().map(String::as_str) {
        Ok("always") => check.warn("always", "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled"),
        Ok(other) => check.pass(other),
        Err(because) => check.unknown(because),
    })
}
