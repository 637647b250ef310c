//! Finds out what is so, within bounds: no file is read beyond [`FILE_BYTES_MAX`], nobody is waited for beyond the deadline
//! of `docker`, and nothing is changed.

mod docker;
mod host;
mod kernel;
mod own;
mod units;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{Facts, Purpose, Running};
use crate::config::Config;
use crate::sys::identity;
use crate::sys::runtime::Directory;

/// Bytes of any file that is read whole; what is beyond is not looked at.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What the facts are to be about.
#[derive(Debug)]
pub struct Asked<'a> {
    /// What for.
    pub purpose: Purpose,
    /// The configuration and where it came from, or what is wrong with it.
    pub configuration: Result<(&'a Config, String), String>,
    /// Where the control socket is to be.
    pub runtime_directory: &'a Directory,
    /// Where data are kept; `None`: where systemd says (`STATE_DIRECTORY`), else /var/lib/torus.
    pub data_directory: Option<PathBuf>,
    /// The torus that answered there.
    pub running: Option<Running>,
}

/// Gathers all that the purpose needs.
pub fn gather(asked: &Asked<'_>) -> Facts {
    let mut facts = container(asked);
    if asked.purpose != Purpose::Container {
        kernel::more(&mut facts.kernel);
        host::more(&mut facts.host);
    }
    if !matches!(asked.purpose, Purpose::Container | Purpose::Service) {
        facts.docker = docker::gather();
        let root = facts.docker.engine.known().map_or(Path::new("/var/lib/docker"), |engine| &engine.root);
        facts.host.build_free_bytes = own::free_bytes(root).into();
    }
    if matches!(asked.purpose, Purpose::Container | Purpose::Host | Purpose::Vm | Purpose::Service) {
        let listening = host::listening();
        host::ports(&mut facts.host, asked.configuration.as_ref().ok().map(|(config, _)| *config), &listening);
        facts.host.units = units::gather(asked.purpose == Purpose::Service, &listening);
    }
    facts.torus.running = asked.running.clone();
    facts
}

/// Gathers what PID 1 of a container needs: what is quick, and what the container can be blamed for. Ports are left out:
/// they are bound a moment later, and that says more.
pub fn container(asked: &Asked<'_>) -> Facts {
    Facts { kernel: kernel::gather(), host: host::gather(), torus: own::gather(asked), ..Facts::default() }
}

/// What this machine is good for, as far as can be seen: a container or a host.
///
/// A mark alone may be left from an image that became a machine's disk: who is in the first namespace of processes is in
/// no container, or sees all that its host sees.
pub fn purpose_here() -> Purpose {
    // The kernel's number of it, the same since 3.8 (PROC_PID_INIT_INO).
    const FIRST: &str = "pid:[4026531836]";
    if std::fs::read_link("/proc/self/ns/pid").is_ok_and(|found| found.as_os_str() == FIRST) {
        return Purpose::Host;
    }
    // Docker's, Podman's, and what systemd-nspawn and systemd's own container interface tell.
    let marks = ["/.dockerenv", "/run/.containerenv", "/run/systemd/container"];
    let is_told = std::env::var_os("container").is_some_and(|value| !value.is_empty());
    let is_container = identity::pid().as_raw() == 1 || is_told || marks.iter().any(|mark| Path::new(mark).exists());
    if is_container { Purpose::Container } else { Purpose::Host }
}

/// A file's bytes, up to the bound.
fn bytes(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let path = path.as_ref();
    let named = |cause: io::Error| io::Error::new(cause.kind(), format!("{}: {}", path.display(), plain(&cause)));
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)).map_err(named)?;
    Ok(bytes)
}

/// A file's text, without blanks around it.
fn text(path: impl AsRef<Path>) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&bytes(path)?).trim().to_owned())
}

/// A file that holds a number.
fn number(path: &str) -> Result<u64, String> {
    let text = text(path).map_err(|cause| cause.to_string())?;
    text.parse().map_err(|_| format!("{path}: {text:?} is no number"))
}

/// The system's words without their number.
fn plain(cause: &io::Error) -> String {
    let text = cause.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
