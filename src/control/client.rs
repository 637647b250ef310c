//! Asks a running supervisor. Blocking, bounded in time and bytes.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::SOCKET_NAME;
use super::protocol::{Command, Status, VERSION};

/// How long one read or write may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a reply; a longer one is not believed.
const REPLY_BYTES_MAX: u64 = 16 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "no torus answers at {}: {cause}\nhint: start one with `torus run`, or name the runtime directory of the one \
         that you mean with --runtime-dir",
        path.display()
    )]
    NotRunning {
        /// The control socket.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// The conversation broke off.
    #[error("the torus at {} did not answer: {cause}", path.display())]
    Silent {
        /// The control socket.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// It answered that it will not.
    #[error("torus refused: {0}")]
    Refused(String),
    /// Its answer is not of this version of the language.
    #[error("the answer of torus is not understood: {0}")]
    Strange(String),
}

/// Asks the supervisor of that runtime directory how everything is.
pub fn status(directory: &Path) -> Result<Status, ClientError> {
    #[derive(Deserialize)]
    struct Head {
        version: u32,
        error: Option<String>,
    }
    let strange = |cause: serde_json::Error| ClientError::Strange(cause.to_string());
    let line = ask(&directory.join(SOCKET_NAME), Command::Status)?;
    let head: Head = serde_json::from_str(&line).map_err(strange)?;
    match head.error {
        Some(error) => Err(ClientError::Refused(error)),
        None if head.version != VERSION => Err(ClientError::Strange(format!("it is of version {}", head.version))),
        None => serde_json::from_str(&line).map_err(strange),
    }
}

fn ask(path: &Path, command: Command) -> Result<String, ClientError> {
    let mut socket =
        UnixStream::connect(path).map_err(|cause| ClientError::NotRunning { path: path.to_owned(), cause })?;
    let silent = |cause| ClientError::Silent { path: path.to_owned(), cause };
    socket.set_read_timeout(Some(PATIENCE)).map_err(silent)?;
    socket.set_write_timeout(Some(PATIENCE)).map_err(silent)?;
    socket.write_all(command.to_line().as_bytes()).map_err(silent)?;
    let mut line = String::new();
    BufReader::new(socket.take(REPLY_BYTES_MAX)).read_line(&mut line).map_err(silent)?;
    if line.ends_with('\n') { Ok(line) } else { Err(silent(io::ErrorKind::UnexpectedEof.into())) }
}
