//! The host, or the container's share of it: limits, memory, clock, and who holds the ports.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

use super::{number, plain, text};
use crate::config::Config;
use crate::preflight::{Fact, Host, Passed, Port, PortState, overlap};
use crate::sys::{inherit, limits, listen, machine};

/// What is quick.
pub(super) fn gather() -> Host {
    Host {
        passed: passed(),
        open_files_max: limits::open_files_max().map_err(|cause| plain(&cause)).into(),
        somaxconn: number("/proc/sys/net/core/somaxconn").into(),
        memory_bytes: machine::memory_bytes().map_err(|cause| plain(&cause)).into(),
        ..Host::default()
    }
}

/// What is the host's alone.
pub(super) fn more(host: &mut Host) {
    host.overcommit = number("/proc/sys/vm/overcommit_memory").into();
    host.huge_pages = text("/sys/kernel/mm/transparent_hugepage/enabled").map(|text| chosen(&text)).into();
    host.clock_synchronized = machine::is_clock_synchronized().map_err(|cause| plain(&cause)).into();
    host.random_ready = machine::is_random_ready().map_err(|cause| plain(&cause)).into();
}

/// The ports that the configuration asks for.
pub(super) fn ports(host: &mut Host, config: Option<&Config>, listening: &[Listening]) {
    let bus = config.and_then(|config| config.bus.as_ref());
    let Some((bus, requests)) = bus.and_then(|bus| Some((bus, bus.requests.as_ref()?))) else { return };
    for (side, port) in [("front", requests.front), ("back", requests.back)] {
        let address = SocketAddr::new(bus.bind, port);
        let (name, key) = (format!("requests-{side}"), format!("bus.requests.{side}"));
        let root_listens = listening.iter().any(|one| one.address == address && one.uid == 0);
        host.ports.push(Port { name, key, address, state: state(address, listening), root_listens });
    }
}

fn passed() -> Vec<Passed> {
    let told = |address: std::io::Result<_>| Fact::from(address.map_err(|cause| plain(&cause)));
    inherit::passed_addresses().into_iter().map(|(name, address)| Passed { name, address: told(address) }).collect()
}

/// The word in brackets: `always [madvise] never`.
fn chosen(text: &str) -> String {
    text.split(['[', ']']).nth(1).unwrap_or(text).to_owned()
}

fn state(address: SocketAddr, listening: &[Listening]) -> PortState {
    let holder = listening.iter().find(|one| overlap(one.address, address));
    let cause = match listen::is_free(address) {
        Ok(()) => return PortState::Free,
        // Who may not bind a port below 1024 is told just that, whoever holds it.
        Err(cause) if cause.kind() == ErrorKind::AddrInUse || holder.is_some() => {
            let process = holder.and_then(|holder| holder.process());
            let (pid, program) = process.unzip();
            return PortState::Held { uid: holder.map(|holder| holder.uid), pid, program };
        }
        Err(cause) => cause,
    };
    PortState::Refused(plain(&cause))
}

/// A TCP socket that is listened on, of this network namespace.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listening {
    pub(super) address: SocketAddr,
    pub(super) uid: u32,
    inode: u64,
}

impl Listening {
    /// Who has it open, as far as we may see: the process and the name of its program.
    fn process(&self) -> Option<(i32, String)> {
        let link = format!("socket:[{}]", self.inode);
        let holds = |pid: i32| {
            let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            let mut links = descriptors.filter_map(|one| std::fs::read_link(one.path()).ok());
            links.any(|found| found.as_os_str() == link.as_str())
        };
        let processes = std::fs::read_dir("/proc").ok()?.flatten();
        let mut pids: Vec<i32> = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        pids.sort_unstable();
        let pid = pids.into_iter().find(|pid| holds(*pid))?;
        Some((pid, text(format!("/proc/{pid}/comm")).unwrap_or_default()))
    }
}

/// Who listens where (proc_pid_net(5)). By way of our own process: a service may be shown no other part of /proc.
pub(super) fn listening() -> Vec<Listening> {
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"].map(|path| text(path).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines()).filter_map(listener).collect()
}

fn listener(line: &str) -> Option<Listening> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, state, uid, inode) = (fields.get(1)?, fields.get(3)?, fields.get(7)?, fields.get(9)?);
    let (ip, port) = local.split_once(':')?;
    let address = SocketAddr::new(address(ip)?, u16::from_str_radix(port, 16).ok()?);
    (*state == LISTEN).then_some(Listening { address, uid: uid.parse().ok()?, inode: inode.parse().ok()? })
}

/// An address as the kernel prints it: words of 32 bits, each as the machine has it in memory.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(IpAddr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let mut bytes = [0; 16];
            bytes.copy_from_slice(words.as_flattened());
            Some(IpAddr::from(bytes))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn who_listens_is_found_with_his_program() {
        for ip in ["127.0.0.1", "::1"] {
            let Ok(held) = TcpListener::bind((ip, 0)) else { continue };
            let address = held.local_addr().unwrap();
            let PortState::Held { pid, uid, program } = state(address, &listening()) else {
                panic!("{address} is said to be free")
            };
            assert_eq!((pid, uid.is_some()), (Some(std::process::id().cast_signed()), true), "{program:?}");
            drop(held);
            assert_eq!(state(address, &listening()), PortState::Free);
        }
    }

    #[test]
    fn who_holds_a_port_is_told_where_it_may_not_be_bound_either() {
        let address = "192.0.2.1:5555".parse().unwrap();
        let refused = state(address, &[]);
        assert!(matches!(refused, PortState::Refused(_)), "{refused:?}");
        let root = Listening { address, uid: 0, inode: 0 };
        assert_eq!(state(address, &[root]), PortState::Held { uid: Some(0), pid: None, program: None });
    }

    #[test]
    fn a_wildcard_address_is_in_everybodys_way() {
        let at = |text: &str| text.parse().unwrap();
        assert!(overlap(at("0.0.0.0:5555"), at("127.0.0.1:5555")));
        assert!(overlap(at("[::]:5555"), at("127.0.0.1:5555")));
        assert!(overlap(at("[::1]:5555"), at("[::]:5555")));
        assert!(!overlap(at("[::1]:5555"), at("0.0.0.0:5555")));
        assert!(!overlap(at("127.0.0.2:5555"), at("127.0.0.1:5555")));
        assert!(!overlap(at("0.0.0.0:5556"), at("127.0.0.1:5555")));
    }

    #[test]
    fn the_chosen_word_is_in_brackets() {
        assert_eq!(chosen("always [madvise] never"), "madvise");
    }
}
