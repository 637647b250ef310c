//! Asks a running supervisor. Blocking, bounded in time and bytes.

use std::io::{self, BufRead, BufReader, Read, Take, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::SOCKET_NAME;
use super::protocol::{Command, Done, Follow, Plan, Status, VERSION};
use crate::sys::identity;
use crate::sys::runtime::Directory;

/// How long one read or write may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a reply; a longer one is not believed.
const REPLY_BYTES_MAX: u64 = 16 << 20;

/// Where the service of systemd has its control socket while it runs, and root any other.
const SERVICE_DIRECTORY: &str = "/run/torus";
/// Its unit, by whom it was installed.
const SERVICE_UNITS: [&str; 2] = ["/usr/lib/systemd/system/torus.service", "/etc/systemd/system/torus.service"];

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "no torus answers at {}: {cause}\nhint: {hint}, or name the runtime directory of the one that you mean with \
         --runtime-dir",
        path.display()
    )]
    NotRunning {
        /// The control socket.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
        /// What to do about it.
        hint: &'static str,
    },
    /// The system keeps us out.
    #[error(
        "cannot reach the torus at {}: {cause}\nhint: it belongs to another user: run this as root or as that user",
        path.display()
    )]
    Forbidden {
        /// The control socket.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// Somebody listens there whom we have no reason to believe.
    #[error(
        "the socket {} belongs to somebody else, uid {uid}: it is not asked\nhint: name the runtime directory of your \
         own torus with --runtime-dir",
        path.display()
    )]
    Stranger {
        /// The control socket.
        path: PathBuf,
        /// Who listens there.
        uid: u32,
    },
    /// The conversation broke off.
    #[error("the torus at {} did not answer: {cause}", path.display())]
    Silent {
        /// The control socket.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// There is no answer yet.
    #[error("torus has not answered within {} s; what was asked for goes on\nhint: `torus status` tells how far it is", patience.as_secs())]
    NotYet {
        /// How long was waited.
        patience: Duration,
    },
    /// It answered that it will not.
    #[error("torus refused: {0}")]
    Refused(String),
    /// Its answer is not of this version of the language.
    #[error("the answer of torus is not understood: {0}")]
    Strange(String),
}

/// Asks the supervisor of that runtime directory how everything is.
pub fn status(directory: &Directory) -> Result<Status, ClientError> {
    ask(directory, &Command::Status, PATIENCE)
}

/// The same, for who would rather do without than wait longer.
pub fn status_within(directory: &Directory, patience: Duration) -> Result<Status, ClientError> {
    ask(directory, &Command::Status, patience)
}

/// Asks for what another configuration would change.
pub fn plan(directory: &Directory, file: Option<String>) -> Result<Plan, ClientError> {
    ask(directory, &Command::Plan { file }, PATIENCE)
}

/// Asks for a change, and waits so long until it is reached.
pub fn change(directory: &Directory, command: &Command, patience: Duration) -> Result<Done, ClientError> {
    ask(directory, command, patience)
}

/// Asks for lines of services; they can be read from what is returned until the other side, or the reader, has enough.
pub fn logs(directory: &Directory, follow: Follow) -> Result<impl Read, ClientError> {
    #[derive(Deserialize)]
    struct Lines {}
    let (line, rest) = converse(directory, &Command::Logs(follow), PATIENCE)?;
    understood::<Lines>(&line)?;
    let silent = |cause| ClientError::Silent { path: directory.path.join(SOCKET_NAME), cause };
    rest.get_ref().get_ref().set_read_timeout(None).map_err(silent)?;
    Ok(rest)
}

fn ask<T: DeserializeOwned>(directory: &Directory, command: &Command, patience: Duration) -> Result<T, ClientError> {
    understood(&converse(directory, command, patience)?.0)
}

fn understood<T: DeserializeOwned>(line: &str) -> Result<T, ClientError> {
    #[derive(Deserialize)]
    struct Head {
        version: u32,
        error: Option<String>,
    }
    let strange = |cause: serde_json::Error| ClientError::Strange(cause.to_string());
    let head: Head = serde_json::from_str(line).map_err(strange)?;
    match head.error {
        Some(error) => Err(ClientError::Refused(error)),
        None if head.version != VERSION => Err(ClientError::Strange(format!("it is of version {}", head.version))),
        None => serde_json::from_str(line).map_err(strange),
    }
}

/// Asks, and reads one line of the answer; what follows it can be read from the rest.
fn converse(
    directory: &Directory,
    command: &Command,
    patience: Duration,
) -> Result<(String, BufReader<Take<UnixStream>>), ClientError> {
    let (mut socket, path) = connect(directory)?;
    let silent = |cause: io::Error| match cause.kind() {
        io::ErrorKind::WouldBlock => ClientError::NotYet { patience },
        _ => ClientError::Silent { path: path.clone(), cause },
    };
    let uid = identity::peer_uid(&socket).map_err(silent)?;
    if !is_believed(uid, identity::effective_uid()) {
        return Err(ClientError::Stranger { path, uid });
    }
    socket.set_read_timeout(Some(patience)).map_err(silent)?;
    socket.set_write_timeout(Some(PATIENCE)).map_err(silent)?;
    socket.write_all(command.to_line().as_bytes()).map_err(silent)?;
    let mut line = String::new();
    let mut answer = BufReader::new(socket.take(REPLY_BYTES_MAX));
    answer.read_line(&mut line).map_err(silent)?;
    answer.get_mut().set_limit(u64::MAX);
    if line.ends_with('\n') { Ok((line, answer)) } else { Err(silent(io::ErrorKind::UnexpectedEof.into())) }
}

/// Connects to the supervisor where it is, by the same rule by which it chose the place; answers where that was.
fn connect(directory: &Directory) -> Result<(UnixStream, PathBuf), ClientError> {
    let path = directory.path.join(SOCKET_NAME);
    let error = match UnixStream::connect(&path) {
        Ok(socket) => return Ok((socket, path)),
        Err(cause) => unreached(path, cause),
    };
    match directory.without_file(SOCKET_NAME) {
        Some((address, name)) => UnixStream::connect_addr(&address).map(|socket| (socket, name)).map_err(|_| error),
        None => Err(error),
    }
}

fn unreached(path: PathBuf, cause: io::Error) -> ClientError {
    match cause.kind() {
        io::ErrorKind::PermissionDenied => ClientError::Forbidden { path, cause },
        _ => {
            let is_service_up = Path::new(SERVICE_DIRECTORY).is_dir();
            let is_service_here = SERVICE_UNITS.iter().any(|unit| Path::new(unit).exists());
            let hint = what_next(path.starts_with(SERVICE_DIRECTORY), is_service_up, is_service_here);
            ClientError::NotRunning { path, cause, hint }
        }
    }
}

/// What to do where nobody answers, by whether the service was asked, whether it runs, and whether it is installed.
fn what_next(was_asked: bool, is_up: bool, is_here: bool) -> &'static str {
    match (was_asked, is_up, is_here) {
        (false, true, _) => "the service runs as another user: ask it as root",
        (_, _, true) => "start the service with `systemctl start torus`, as root",
        (_, _, false) => "start one with `torus run`",
    }
}

/// Whether `own` believes what `listener` says: it is the same user or root. Root asks whom it likes, as it names the
/// directory itself.
fn is_believed(listener: u32, own: u32) -> bool {
    listener == 0 || listener == own || own == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_our_own_user_are_believed() {
        let own = 1_000;
        assert!(is_believed(own, own) && is_believed(0, own) && is_believed(own, 0));
        assert!(!is_believed(1_001, own));
    }

    #[test]
    fn the_user_at_the_other_end_of_a_socket_is_known() {
        let (_there, here) = UnixStream::pair().unwrap();
        assert_eq!(identity::peer_uid(&here).unwrap(), identity::effective_uid());
    }

    #[test]
    fn a_socket_of_another_user_is_no_sign_that_nothing_runs() {
        let denied = io::Error::from_raw_os_error(13);
        let text = unreached("/run/torus/control.sock".into(), denied).to_string();
        assert!(text.starts_with("cannot reach the torus at /run/torus/control.sock: Permission denied"), "{text}");
        assert!(text.ends_with("run this as root or as that user"), "{text}");
    }

    #[test]
    fn who_finds_nobody_is_sent_to_the_service_where_there_is_one() {
        assert!(what_next(false, true, true).contains("as root"), "a user beside the service");
        assert!(what_next(true, false, true).contains("systemctl start torus"));
        assert!(what_next(false, false, true).contains("systemctl start torus"));
        assert!(what_next(true, true, false).contains("torus run"), "a directory that somebody left");
        assert!(what_next(false, false, false).contains("torus run"));
    }
}
