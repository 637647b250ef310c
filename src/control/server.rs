//! The control socket's server: tasks in the supervisor's own loop, one for each client.
//!
//! A client is bounded in bytes and in time, and there are few at once, so that one that is torn, huge or slow disturbs
//! nobody: neither the supervisor nor the next client.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::SOCKET_NAME;
use super::protocol::{Command, Follow, REQUEST_BYTES_MAX, Reply};
use crate::sys::identity::{self, effective_uid};
use crate::sys::runtime::{self, Lock, Locking, RuntimeError};
use crate::sys::{Pid, tree};

/// Clients at once; when one more comes, the oldest is cut.
pub const CLIENTS_MAX: usize = 16;
/// Milliseconds that a client may take to say what it wants, and again to take the answer; then it is cut. In between
/// it waits as long as it likes.
pub const CLIENT_MS_MAX: u64 = 2_000;

/// How long accepting rests after the system refused it, for want of descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A request on its way to the supervisor.
#[derive(Debug)]
pub enum Query {
    /// A command, and the way back.
    Ask {
        /// What is asked.
        command: Command,
        /// Takes the answer; the client may be gone.
        reply: oneshot::Sender<Reply>,
    },
    /// A client that has been told that lines follow.
    Follow {
        /// Which lines.
        follow: Follow,
        /// Where they go.
        reader: OwnedFd,
    },
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The runtime directory will not do.
    #[error(transparent)]
    Directory(#[from] RuntimeError),
    /// Another supervisor has the runtime directory.
    #[error(
        "another torus{} runs with the runtime directory {}\nhint: stop it, or give this one a directory and ports of \
         its own, by --runtime-dir and --config",
        .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default(),
        directory.display()
    )]
    Live {
        /// The directory of both.
        directory: PathBuf,
        /// The other's process id, if known.
        pid: Option<u32>,
    },
    /// The socket cannot be made.
    #[error("cannot listen on {}: {cause}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
}

/// The bound socket. Dropping it takes the socket's file away.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    _lock: Lock,
}

impl Server {
    /// Makes the runtime directory ours and listens there, for our user alone.
    pub fn bind(directory: &Path) -> Result<Self, BindError> {
        runtime::prepare(directory, SOCKET_NAME)?;
        let path = directory.join(SOCKET_NAME);
        let failed = |cause| BindError::Socket { path: path.clone(), cause };
        let lock = match runtime::lock(directory).map_err(failed)? {
            Locking::Ours(lock) => lock,
            Locking::Held { by } => return Err(BindError::Live { directory: directory.to_owned(), pid: by }),
        };
        // The lock is ours, so a socket that is there was left by a supervisor that is gone.
        if fs::symlink_metadata(&path).is_ok_and(|found| found.file_type().is_socket()) {
            fs::remove_file(&path).map_err(failed)?;
        }
        let listener = UnixListener::bind(&path).map_err(failed)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { listener, path, _lock: lock })
    }

    /// Serves clients until it is dropped.
    pub async fn run(self, queries: mpsc::Sender<Query>) {
        let mut clients: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            clients.retain(|client| !client.is_finished());
            if clients.len() >= CLIENTS_MAX
                && let Some(oldest) = clients.pop_front()
            {
                oldest.abort();
            }
            clients.push_back(tokio::spawn(serve(stream, queries.clone())).abort_handle());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// One request, one reply. An error is the client's: it has left, and nobody else needs to know.
async fn serve(stream: UnixStream, queries: mpsc::Sender<Query>) -> io::Result<()> {
    let peer = stream.peer_cred()?;
    let mut stream = BufReader::new(stream);
    let reply = if peer.uid() == 0 || peer.uid() == effective_uid() {
        answer(&mut stream, peer.pid(), &queries).await?
    } else {
        (Reply::refused(format!("uid {} may not ask here", peer.uid())), None)
    };
    in_time(stream.write_all(reply.0.to_line().as_bytes())).await?;
    let Some(follow) = reply.1 else { return in_time(stream.shutdown()).await };
    let reader = OwnedFd::from(stream.into_inner().into_std()?);
    let _ = queries.send(Query::Follow { follow, reader }).await;
    Ok(())
}

async fn answer(
    stream: &mut BufReader<UnixStream>,
    pid: Option<i32>,
    queries: &mpsc::Sender<Query>,
) -> io::Result<(Reply, Option<Follow>)> {
    let refused = |why: String| Ok((Reply::refused(why), None));
    let mut line = Vec::new();
    in_time((&mut *stream).take(REQUEST_BYTES_MAX as u64).read_until(b'\n', &mut line)).await?;
    if line.last() != Some(&b'\n') {
        return refused(format!("a request is one line of at most {REQUEST_BYTES_MAX} bytes"));
    }
    let command = match Command::parse(&line) {
        Ok(command) => command,
        Err(why) => return refused(why),
    };
    // What we run must not run us. A process of another namespace has no number here, and is none of ours.
    let ours = pid.filter(|pid| *pid > 0).is_some_and(|pid| tree::descends(Pid::from_raw(pid), identity::pid()));
    if ours && !command.only_asks() {
        return refused("a process that torus itself started may only ask how things are".to_owned());
    }
    let (reply, answered) = oneshot::channel();
    let stopping = "torus is going down";
    let follow = match &command {
        Command::Logs(follow) => Some(follow.clone()),
        _ => None,
    };
    if queries.send(Query::Ask { command, reply }).await.is_err() {
        return refused(stopping.to_owned());
    }
    let mut rest = [0; 64];
    tokio::select! {
        answer = answered => {
            let answer = answer.unwrap_or_else(|_| Reply::refused(stopping));
            let follow = follow.filter(|_| matches!(answer, Reply::Lines { .. }));
            Ok((answer, follow))
        }
        // It has said all that it may say: what comes now is its end, or too much.
        _ = stream.read(&mut rest) => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

async fn in_time<T>(what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(Duration::from_millis(CLIENT_MS_MAX), what)
        .await
        .unwrap_or(Err(io::ErrorKind::TimedOut.into()))
}
