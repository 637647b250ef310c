//! The control socket's server: tasks in the supervisor's own loop, one for each client.
//!
//! A client is bounded in bytes and in time, and there are few at once, so that one that is torn, huge or slow disturbs
//! nobody: neither the supervisor nor the next client.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use super::SOCKET_NAME;
use super::protocol::{Command, Follow, REQUEST_BYTES_MAX, Reply};
use crate::sys::identity::{self, effective_uid};
use crate::sys::runtime::{self, Directory, Lock, Locking, RuntimeError};
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
        /// The client's connection, open as long as somebody waits for the answer.
        connection: RawFd,
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

impl BindError {
    /// Whether the machine has no place there, rather than that somebody else is there.
    fn is_for_want_of_a_place(&self) -> bool {
        match self {
            Self::Directory(RuntimeError::Unusable { .. }) | Self::Socket { .. } => true,
            Self::Directory(RuntimeError::TooLong { .. } | RuntimeError::Unsafe { .. }) | Self::Live { .. } => false,
        }
    }
}

/// The bound socket. Dropping it takes the socket's file away.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    file: Option<(PathBuf, Lock)>,
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

    /// Returns when few enough clients are left.
    pub async fn until(&self, few_enough: impl FnMut(&usize) -> bool) {
        let _ = self.clients.subscribe().wait_for(few_enough).await;
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
    /// Listens in the runtime directory or, if nobody named it and nothing can be written there, without a file.
    pub fn bind(directory: &Directory) -> Result<Self, BindError> {
        let error = match Self::bind_in(&directory.path) {
            Err(error) if error.is_for_want_of_a_place() => error,
            bound => return bound,
        };
        let Some((address, name)) = directory.without_file(SOCKET_NAME) else { return Err(error) };
        let failed = |cause: io::Error| match cause.kind() {
            io::ErrorKind::AddrInUse => BindError::Live { directory: name.clone(), pid: None },
            _ => BindError::Socket { path: name.clone(), cause },
        };
        // The name is its own lock.
        let listener = net::UnixListener::bind_addr(&address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = UnixListener::from_std(listener).map_err(failed)?;
        let why = error.to_string();
        let why = why.lines().next().unwrap_or_default();
        tracing::warn!("{why}; listening without a file, at {}", name.display());
        Ok(Self { listener, file: None, door: Door::new() })
    }

    /// Makes the runtime directory ours and listens there, for our user alone.
    fn bind_in(directory: &Path) -> Result<Self, BindError> {
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
        Ok(Self { listener, file: Some((path, lock)), door: Door::new() })
    }

    /// Goes on with the socket that the program before us had and, if it was in a directory, with the lock there.
    pub fn adopt(directory: &Path, listener: OwnedFd, lock: Option<OwnedFd>) -> io::Result<Self> {
        let listener = net::UnixListener::from(listener);
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let lock = lock.map(Lock::adopt).transpose()?;
        Ok(Self { listener, file: lock.map(|lock| (directory.join(SOCKET_NAME), lock)), door: Door::new() })
    }

    /// The listening socket and the lock, if there is one, which stay open as long as this is there or runs.
    pub fn descriptors(&self) -> (RawFd, Option<RawFd>) {
        (self.listener.as_raw_fd(), self.file.as_ref().map(|(_, lock)| lock.as_raw_fd()))
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
            // One who may not ask takes nobody's place.
            let Some(stream) = admit(stream) else { continue };
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
        if let Some((path, _)) = &self.file {
            let _ = fs::remove_file(path);
        }
    }
}

async fn until(open: &mut watch::Receiver<bool>, wanted: bool) {
    let _ = open.wait_for(|open| *open == wanted).await;
}

/// Only root and our own user may ask.
fn admit(stream: UnixStream) -> Option<UnixStream> {
    let uid = stream.peer_cred().ok()?.uid();
    if uid == 0 || uid == effective_uid() {
        return Some(stream);
    }
    let refusal = Reply::refused(format!("uid {uid} may not ask here"));
    // Nothing was written there yet, so there is room.
    let _ = stream.try_write(refusal.to_line().as_bytes());
    None
}

/// Answers a client whose request the program before us took, if it is still there.
pub async fn answer_adopted(connection: OwnedFd, reply: Reply) -> io::Result<()> {
    let stream = net::UnixStream::from(connection);
    stream.set_nonblocking(true)?;
    let mut stream = UnixStream::from_std(stream)?;
    in_time(stream.write_all(reply.to_line().as_bytes())).await?;
    in_time(stream.shutdown()).await
}

/// One request, one reply. An error is the client's: it has left, and nobody else needs to know.
async fn serve(stream: UnixStream, queries: mpsc::Sender<Query>) -> io::Result<()> {
    let pid = stream.peer_cred()?.pid();
    let mut stream = BufReader::new(stream);
    let (reply, follow) = answer(&mut stream, pid, &queries).await?;
    in_time(stream.write_all(reply.to_line().as_bytes())).await?;
    let Some(follow) = follow else { return in_time(stream.shutdown()).await };
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
    let ours = pid.filter(|pid| *pid > 0).is_some_and(|pid| {
        // One that is gone cannot be asked whose it was. One that /proc hides from us is another user's: root's.
        let pid = Pid::from_raw(pid);
        !tree::is_hidden(pid) && (tree::is_dead(pid) || tree::descends(pid, identity::pid()))
    });
    if ours && !command.only_asks() {
        return refused("a process that torus itself started may only ask how things are".to_owned());
    }
    let (reply, answered) = oneshot::channel();
    let stopping = "torus is going down";
    let follow = match &command {
        Command::Logs(follow) => Some(follow.clone()),
        _ => None,
    };
    let connection = stream.get_ref().as_raw_fd();
    if queries.send(Query::Ask { command, reply, connection }).await.is_err() {
        return refused(stopping.to_owned());
    }
    let mut rest = [0; 64];
    let mut answered = answered;
    let answer = tokio::select! {
        biased;
        answer = &mut answered => answer,
        // It has said all that it may say. Its end may only be that of its words; more is too much.
        more = stream.read(&mut rest) => match more? {
            0 => answered.await,
            _ => return Err(io::ErrorKind::ConnectionAborted.into()),
        },
    };
    let answer = answer.unwrap_or_else(|_| Reply::refused(stopping));
    let follow = follow.filter(|_| matches!(answer, Reply::Lines { .. }));
    Ok((answer, follow))
}

async fn in_time<T>(what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(Duration::from_millis(CLIENT_MS_MAX), what)
        .await
        .unwrap_or(Err(io::ErrorKind::TimedOut.into()))
}
