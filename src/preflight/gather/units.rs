//! The socket units of our own service: read from their files, since nobody else may be asked by a service that is shut in.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::host::Listening;
use super::text;
use crate::preflight::Unit;

/// Where units are, those that win last (systemd.unit(5)).
const PLACES: [&str; 4] =
    ["/usr/lib/systemd/system", "/lib/systemd/system", "/run/systemd/system", "/etc/systemd/system"];

/// The service whose sockets are looked at where nobody is one.
const SERVICE: &str = "torus.service";

/// The socket units of our service. Where systemd does not run, only a service asks for them.
pub(super) fn gather(is_service: bool, listening: &[Listening]) -> Vec<Unit> {
    if !is_service && !Path::new("/run/systemd/system").exists() {
        return Vec::new();
    }
    let files = PLACES.into_iter().flat_map(|place| std::fs::read_dir(place).into_iter().flatten().flatten());
    let files = files.filter_map(|entry| Some((entry.file_name().to_str()?.to_owned(), entry.path())));
    let files: BTreeMap<String, PathBuf> = files.filter(|(name, _)| name.ends_with(".socket")).collect();
    let groups = text("/proc/self/cgroup").unwrap_or_default();
    let service = own_service(&groups).filter(|_| is_service).unwrap_or(SERVICE);
    // As systemd itself finds it out.
    let has_ipv6 = Path::new("/proc/self/net/if_inet6").exists();
    let active = |listens: &[SocketAddr]| {
        listens.iter().any(|address| listening.iter().any(|one| one.address == *address && one.uid == 0))
    };
    let unit = |(unit, file): (String, PathBuf)| {
        let texts = std::iter::once(file).chain(additions(&unit)).filter_map(|file| text(file).ok());
        let read = read(&unit, &texts.collect::<Vec<_>>().join("\n"), has_ipv6)?;
        (read.service == service).then(|| Unit {
            unit,
            name: read.name,
            active: active(&read.listens),
            listens: read.listens,
        })
    };
    files.into_iter().filter_map(unit).collect()
}

/// The service of systemd that a process is in, by its control groups (cgroups(7)). A user's manager is a service too, and
/// no one's own.
fn own_service(groups: &str) -> Option<&str> {
    let paths = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let is_service = |name: &&str| name.ends_with(".service") && !name.starts_with("user@");
    paths.filter_map(|path| path.rsplit('/').find(is_service)).next()
}

/// The files that add to a unit, in the order of their names.
fn additions(unit: &str) -> Vec<PathBuf> {
    let places = PLACES.map(|place| Path::new(place).join(format!("{unit}.d")));
    let entries = places.iter().flat_map(|place| std::fs::read_dir(place).into_iter().flatten().flatten());
    let files = entries.map(|entry| (entry.file_name(), entry.path()));
    let files = files.filter(|(name, _)| Path::new(name).extension().is_some_and(|extension| extension == "conf"));
    files.collect::<BTreeMap<_, _>>().into_values().collect()
}

/// What a socket unit says.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    /// The name that its sockets are passed by.
    name: String,
    /// Where they listen by TCP.
    listens: Vec<SocketAddr>,
    /// Whom they are passed to.
    service: String,
}

/// Reads a socket unit (systemd.socket(5)); `None` if it listens nowhere by TCP.
fn read(unit: &str, text: &str, has_ipv6: bool) -> Option<Read> {
    let (mut name, mut service, mut listens) = ("", "", Vec::new());
    for line in text.lines() {
        match line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
            // An empty value takes back those before it.
            Some(("ListenStream", "")) => listens.clear(),
            Some(("ListenStream", value)) => listens.extend(address(value, has_ipv6)),
            Some(("FileDescriptorName", value)) => name = value,
            Some(("Service", value)) => service = value,
            _ => {}
        }
    }
    let or = |value: &str, default: String| if value.is_empty() { default } else { value.to_owned() };
    let service = or(service, format!("{}.service", unit.trim_end_matches(".socket")));
    (!listens.is_empty()).then(|| Read { name: or(name, unit.to_owned()), listens, service })
}

/// An address of TCP; a port alone is that of every address, of IPv6 where there is any.
fn address(value: &str, has_ipv6: bool) -> Option<SocketAddr> {
    match value.parse::<u16>() {
        Ok(port) if has_ipv6 => Some(SocketAddr::from(([0_u16; 8], port))),
        Ok(port) => Some(SocketAddr::from(([0_u8; 4], port))),
        Err(_) => value.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = "torus-requests-front.socket";

    #[test]
    fn a_unit_tells_its_name_addresses_and_service() {
        let text = "[Socket]\nListenStream=5555\nListenStream=/run/x\nFileDescriptorName = requests-front\n";
        let found = read(UNIT, text, true).unwrap();
        assert_eq!((&*found.name, &*found.service), ("requests-front", "torus-requests-front.service"));
        assert_eq!(found.listens, ["[::]:5555".parse().unwrap()]);
        let changed = format!("{text}\n[Socket]\nListenStream=\nListenStream=127.0.0.1:7000\nService=torus.service");
        let found = read(UNIT, &changed, true).unwrap();
        assert_eq!((found.listens, &*found.service), (vec!["127.0.0.1:7000".parse().unwrap()], "torus.service"));
        assert_eq!(read(UNIT, "[Socket]\nListenStream=1\n", true).unwrap().name, UNIT);
        assert_eq!(read(UNIT, "[Socket]\nListenDatagram=5555\n", true), None);
    }

    #[test]
    fn a_port_alone_is_every_address_of_what_the_machine_has() {
        let found = read(UNIT, "ListenStream=5555", false).unwrap();
        assert_eq!(found.listens, ["0.0.0.0:5555".parse().unwrap()]);
    }

    #[test]
    fn a_process_knows_its_own_service_by_its_control_group() {
        for (groups, expected) in [
            ("0::/system.slice/torus.service", Some("torus.service")),
            ("0::/bus.slice/torus-2.service/supervisor", Some("torus-2.service")),
            ("12:pids:/\n1:name=systemd:/system.slice/mine.service\n0::/", Some("mine.service")),
            ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope", None),
            ("0::/", None),
        ] {
            assert_eq!(own_service(groups), expected, "{groups}");
        }
    }
}
