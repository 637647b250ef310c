//! The control socket's server: tasks in the supervisor's own loop, one for each client.
//!
//! A client is bounded in bytes and in time, and there are few at once, so that one that is torn, huge or slow disturbs
//! nobody: neither the supervisor nor the next client.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use super::SOCKET_NAME;
use super::protocol::{Command, REQUEST_BYTES_MAX, Reply};
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

/// A request on its way to the supervisor, and the way back.
#[derive(Debug)]
pub struct Query {
    /// What is asked.
    pub command: Command,
    /// Takes the answer; the client may be gone.
    pub reply: oneshot::Sender<Reply>,
    /// The client's connection, open as long as somebody waits for the answer.
    pub connection: RawFd,
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
    lock: Lock,
    door: Door,
}

/// Lets clients in, or has them wait in the socket's backlog, and knows how many are there.
#[derive(Clone, Debug)]
pub struct Door {
    open: Arc<watch::Sender<bool>>,
    clients: Arc<watch::Sender<usize>>,
}

impl Door {
    fn new() -> Self {
        Self { open: Arc::new(watch::Sender::new(true)), clients: Arc::new(watch::Sender::new(0)) }
    }

    /// Has new clients wait.
    pub fn close(&self) {
        self.open.send_replace(false);
    }

    /// Lets clients in again.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Returns when no more than `count` clients are left.
    pub async fn until_at_most(&self, count: usize) {
        let _ = self.clients.subscribe().wait_for(|clients| *clients <= count).await;
    }

    fn enter(&self) -> Present {
        self.clients.send_modify(|clients| *clients += 1);
        Present(self.clients.clone())
    }
}

/// A client that is there until this is dropped.
struct Present(Arc<watch::Sender<usize>>);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.send_modify(|clients| *clients -= 1);
    }
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
        Ok(Self { listener, path, lock, door: Door::new() })
    }

    /// Goes on with the socket and the lock that the program before us had.
    pub fn adopt(directory: &Path, listener: OwnedFd, lock: OwnedFd) -> io::Result<Self> {
        let listener = std::os::unix::net::UnixListener::from(listener);
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let path = directory.join(SOCKET_NAME);
        Ok(Self { listener, path, lock: Lock::adopt(lock)?, door: Door::new() })
    }

    /// The listening socket and the lock, which stay open as long as this is there or runs.
    pub fn descriptors(&self) -> (RawFd, RawFd) {
        (self.listener.as_raw_fd(), self.lock.as_raw_fd())
    }

    /// Who lets clients in while this runs.
    pub fn door(&self) -> Door {
        self.door.clone()
    }

    /// Serves clients until it is dropped.
    pub async fn run(self, queries: mpsc::Sender<Query>) {
        let mut clients: VecDeque<AbortHandle> = VecDeque::new();
        let mut open = self.door.open.subscribe();
        loop {
            let accepted = tokio::select! {
                biased;
                () = until(&mut open, false) => {
                    until(&mut open, true).await;
                    continue;
                }
                accepted = self.listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            clients.retain(|client| !client.is_finished());
            if clients.len() >= CLIENTS_MAX
                && let Some(oldest) = clients.pop_front()
            {
                oldest.abort();
            }
            let (present, queries) = (self.door.enter(), queries.clone());
            let client = async move {
                let _present = present;
                serve(stream, queries).await
            };
            clients.push_back(tokio::spawn(client).abort_handle());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

async fn until(open: &mut watch::Receiver<bool>, wanted: bool) {
    let _ = open.wait_for(|open| *open == wanted).await;
}

/// Answers a client whose request the program before us took, if it is still there.
pub async fn answer_adopted(connection: OwnedFd, reply: Reply) -> io::Result<()> {
    let stream = std::os::unix::net::UnixStream::from(connection);
    stream.set_nonblocking(true)?;
    let mut stream = UnixStream::from_std(stream)?;
    farewell(&mut stream, &reply).await
}

/// One request, one reply. An error is the client's: it has left, and nobody else needs to know.
async fn serve(stream: UnixStream, queries: mpsc::Sender<Query>) -> io::Result<()> {
    let peer = stream.peer_cred()?;
    let mut stream = BufReader::new(stream);
    let reply = if peer.uid() == 0 || peer.uid() == effective_uid() {
        answer(&mut stream, peer.pid(), queries).await?
    } else {
        Reply::refused(format!("uid {} may not ask here", peer.uid()))
    };
    farewell(stream.get_mut(), &reply).await
}

async fn farewell(stream: &mut UnixStream, reply: &Reply) -> io::Result<()> {
    in_time(async {
        stream.write_all(reply.to_line().as_bytes()).await?;
        stream.shutdown().await
    })
    .await
}

async fn answer(
    stream: &mut BufReader<UnixStream>,
    pid: Option<i32>,
    queries: mpsc::Sender<Query>,
) -> io::Result<Reply> {
    let mut line = Vec::new();
    in_time((&mut *stream).take(REQUEST_BYTES_MAX as u64).read_until(b'\n', &mut line)).await?;
    if line.last() != Some(&b'\n') {
        return Ok(Reply::refused(format!("a request is one line of at most {REQUEST_BYTES_MAX} bytes")));
    }
    let command = match Command::parse(&line) {
        Ok(command) => command,
        Err(why) => return Ok(Reply::refused(why)),
    };
    // What we run must not run us. A process of another namespace has no number here, and is none of ours.
    let ours = pid.filter(|pid| *pid > 0).is_some_and(|pid| tree::descends(Pid::from_raw(pid), identity::pid()));
    if ours && !command.only_asks() {
        return Ok(Reply::refused("a process that torus itself started may only ask how things are"));
    }
    let (reply, answered) = oneshot::channel();
    let stopping = || Reply::refused("torus is going down");
    let connection = stream.get_ref().as_raw_fd();
    if queries.send(Query { command, reply, connection }).await.is_err() {
        return Ok(stopping());
    }
    let mut rest = [0; 64];
    tokio::select! {
        answer = answered => Ok(answer.unwrap_or_else(|_| stopping())),
        // It has said all that it may say: what comes now is its end, or too much.
        _ = stream.read(&mut rest) => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

async fn in_time<T>(what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(Duration::from_millis(CLIENT_MS_MAX), what)
        .await
        .unwrap_or(Err(io::ErrorKind::TimedOut.into()))
}
