//! The socket units of Torus that systemd knows: read from their files, since nobody else may be asked by a service that
//! is shut in.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::host::listening;
use super::text;
use crate::preflight::Unit;

/// Where units are, those that win last (systemd.unit(5)).
const PLACES: [&str; 4] =
    ["/usr/lib/systemd/system", "/lib/systemd/system", "/run/systemd/system", "/etc/systemd/system"];

/// The socket units by the name of Torus. Where systemd does not run, only a service asks for them.
pub(super) fn gather(is_service: bool) -> Vec<Unit> {
    if !is_service && !Path::new("/run/systemd/system").exists() {
        return Vec::new();
    }
    let files = PLACES.into_iter().flat_map(|place| std::fs::read_dir(place).into_iter().flatten().flatten());
    let files = files.filter_map(|entry| Some((entry.file_name().to_str()?.to_owned(), entry.path())));
    let files: BTreeMap<String, PathBuf> = files.filter(|(name, _)| is_ours(name)).collect();
    let listening = listening();
    let active = |listens: &[SocketAddr]| {
        listens.iter().any(|address| listening.iter().any(|one| one.address == *address && one.uid == 0))
    };
    let unit = |(unit, file): (String, PathBuf)| {
        let texts = std::iter::once(file).chain(additions(&unit)).filter_map(|file| text(file).ok());
        let (name, listens) = read(&texts.collect::<Vec<_>>().join("\n"))?;
        let name = name.unwrap_or_else(|| unit.clone());
        Some(Unit { unit, name, active: active(&listens), listens })
    };
    files.into_iter().filter_map(unit).collect()
}

fn is_ours(unit: &str) -> bool {
    unit.strip_suffix(".socket").is_some_and(|name| name == "torus" || name.starts_with("torus-"))
}

/// The files that add to a unit, in the order of their names.
fn additions(unit: &str) -> Vec<PathBuf> {
    let places = PLACES.map(|place| Path::new(place).join(format!("{unit}.d")));
    let entries = places.iter().flat_map(|place| std::fs::read_dir(place).into_iter().flatten().flatten());
    let files = entries.map(|entry| (entry.file_name(), entry.path()));
    let files = files.filter(|(name, _)| Path::new(name).extension().is_some_and(|extension| extension == "conf"));
    files.collect::<BTreeMap<_, _>>().into_values().collect()
}

/// The name that a unit's sockets are passed by, if it says one, and where they listen by TCP; `None` if nowhere.
fn read(text: &str) -> Option<(Option<String>, Vec<SocketAddr>)> {
    let (mut name, mut listens) = (None, Vec::new());
    for line in text.lines() {
        match line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
            // An empty value takes back those before it.
            Some(("ListenStream", "")) => listens.clear(),
            Some(("ListenStream", value)) => listens.extend(address(value)),
            Some(("FileDescriptorName", value)) => name = Some(value.to_owned()),
            _ => {}
        }
    }
    (!listens.is_empty()).then_some((name, listens))
}

/// An address of TCP; a port alone is that of every address.
fn address(value: &str) -> Option<SocketAddr> {
    match value.parse::<u16>() {
        Ok(port) => Some(SocketAddr::from(([0_u16; 8], port))),
        Err(_) => value.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_tells_its_name_and_addresses() {
        let text = "[Socket]\nListenStream=5555\nListenStream=/run/x\nFileDescriptorName = requests-front\n";
        let expected = (Some("requests-front".to_owned()), vec!["[::]:5555".parse().unwrap()]);
        assert_eq!(read(text), Some(expected));
        let changed = format!("{text}\n[Socket]\nListenStream=\nListenStream=127.0.0.1:7000\n");
        assert_eq!(read(&changed).unwrap().1, ["127.0.0.1:7000".parse().unwrap()]);
        assert_eq!(read("[Socket]\nListenDatagram=5555\n"), None);
    }

    #[test]
    fn only_sockets_by_the_name_of_torus_are_ours() {
        assert!(is_ours("torus-requests-front.socket") && is_ours("torus.socket"));
        assert!(!is_ours("torus.service") && !is_ours("docker.socket") && !is_ours("torusx.socket"));
    }
}
