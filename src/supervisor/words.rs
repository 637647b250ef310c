//! What is heard from processes, and found out about them: each word goes to the supervisor's loop with the process that
//! it is about. A word of an earlier process is known by its process id.
//!
//! Who has learned the address of a service's sd_notify(3) is not believed for that. He has to be of the service's user
//! (or ours, or root), and the service's process, a descendant of it, or an orphan that was started as it was. Of a
//! sender who has ended by the time we look, or where /proc is not to be read, only the user is known, and is enough: a
//! script's `systemd-notify` would not be heard else, and who can act as that user can do the service worse.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram as StdDatagram;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::unix::pipe;
use tokio::net::{TcpStream, UnixDatagram};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::environment;
use super::logs;
use super::plan::Unit;
use crate::config::life::{Probe, ReadyBy};
use crate::lifecycle::Id;
use crate::sys::notify::Received;
use crate::sys::{Pid, identity, notify, tree};

/// Bytes of one packet; what is longer is cut.
const PACKET_BYTES_MAX: usize = 4096;
/// Characters of what a process says about itself.
const SAYS_CHARS_MAX: usize = 200;
/// Warnings of one process.
const WARNINGS_MAX: usize = 16;

/// What a probe that is a command may take; then it has failed, and is ended when the next one begins.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(10);

/// How often it is told of one process that a stranger speaks for it; then it is passed over in silence.
const STRANGERS_TOLD_MAX: usize = 4;

/// Something about a process.
#[derive(Debug)]
pub(super) enum Word {
    /// It is ready.
    Ready,
    /// It gave a sign of life.
    Alive,
    /// What it says about itself.
    Says(String),
    /// It lacks something.
    Warns(String),
    /// As the log worker, it cannot read this pipe.
    Refuses(u64),
    /// It is to be asked by this command; the answer is whether that succeeded.
    Probe(Vec<String>, oneshot::Sender<bool>),
}

/// The way of words to the loop.
#[derive(Clone, Debug)]
pub(super) struct Told {
    words: mpsc::Sender<(Id, Pid, Word)>,
    listening: watch::Receiver<bool>,
}

/// The loop's end of it.
#[derive(Debug)]
pub(super) struct Words {
    words: mpsc::Receiver<(Id, Pid, Word)>,
    listening: watch::Sender<bool>,
}

/// A way on which so many words may be; beyond it their senders wait.
pub(super) fn way(words_max: usize) -> (Told, Words) {
    let (sender, receiver) = mpsc::channel(words_max);
    let (switch, listening) = watch::channel(true);
    (Told { words: sender, listening }, Words { words: receiver, listening: switch })
}

impl Words {
    /// The next word.
    pub(super) async fn recv(&mut self) -> Option<(Id, Pid, Word)> {
        self.words.recv().await
    }

    /// Has everybody stop listening, or go on. What is said meanwhile stays in the kernel; what was heard comes still.
    pub(super) fn listen(&self, listening: bool) {
        self.listening.send_replace(listening);
    }
}

/// Where a process speaks.
#[derive(Debug)]
pub(super) enum Source {
    /// A built-in worker's command socket. Holding our end is what tells the worker that its supervisor lives.
    Command(StdDatagram),
    /// A command's sd_notify(3).
    Inbox(StdDatagram),
    /// A pipe on which it writes a line when it is ready.
    Line(OwnedFd),
}

/// Listens to a process until dropped.
#[derive(Debug)]
pub(super) struct Ears(Vec<Ear>);

/// One task that listens or probes.
#[derive(Debug)]
struct Ear {
    task: AbortHandle,
    hears: Option<Heard>,
}

/// A source by its descriptor, as another program of this process goes on with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Heard {
    /// Of a [`Source::Command`].
    Command(RawFd),
    /// Of a [`Source::Inbox`].
    Inbox(RawFd),
    /// Of a [`Source::Line`].
    Line(RawFd),
}

impl Heard {
    /// The descriptor.
    pub(super) fn descriptor(self) -> RawFd {
        match self {
            Self::Command(fd) | Self::Inbox(fd) | Self::Line(fd) => fd,
        }
    }

    /// The source, its descriptor being ours now.
    pub(super) fn source(self, fd: OwnedFd) -> Source {
        match self {
            Self::Command(_) => Source::Command(fd.into()),
            Self::Inbox(_) => Source::Inbox(fd.into()),
            Self::Line(_) => Source::Line(fd),
        }
    }
}

impl Source {
    fn heard(&self) -> Heard {
        match self {
            Self::Command(socket) => Heard::Command(socket.as_raw_fd()),
            Self::Inbox(socket) => Heard::Inbox(socket.as_raw_fd()),
            Self::Line(pipe) => Heard::Line(pipe.as_raw_fd()),
        }
    }
}

impl Drop for Ears {
    fn drop(&mut self) {
        self.0.iter().for_each(|ear| ear.task.abort());
    }
}

impl Ears {
    /// Begins to listen, and to probe if the unit asks for that.
    pub(super) fn open(of: (Id, Pid), number: u32, sources: Vec<Source>, unit: &Rc<Unit>, told: &Told) -> Self {
        Self::reopen(of, number, sources, unit, told, false)
    }

    /// The sources that are still listened to. The numbers hold until the loop goes on.
    pub(super) fn heard(&self) -> Vec<Heard> {
        self.0.iter().filter(|ear| !ear.task.is_finished()).filter_map(|ear| ear.hears).collect()
    }

    /// As [`Ears::open`], to a process that others listened to before; whether it is ready is known.
    pub(super) fn reopen(
        of: (Id, Pid),
        number: u32,
        sources: Vec<Source>,
        unit: &Rc<Unit>,
        told: &Told,
        is_ready: bool,
    ) -> Self {
        let mut ears = Vec::new();
        for source in sources {
            let hears = Some(source.heard());
            let mouth = Mouth { of, told: told.clone(), warnings: 0 };
            let marks = environment::marks(&unit.name, number);
            let task = tokio::spawn(async move {
                if let Err(cause) = listen(source, mouth, marks).await {
                    tracing::warn!(pid = %of.1, "cannot listen to the process: {cause}");
                }
            });
            ears.push(Ear { task: task.abort_handle(), hears });
        }
        let ready = match &unit.ready.by {
            _ if is_ready => None,
            ReadyBy::Tcp(address) => Some(Probe::Tcp(address.clone())),
            ReadyBy::Exec(words) => Some(Probe::Exec(words.clone())),
            ReadyBy::Started | ReadyBy::Notify | ReadyBy::Fd(_) => None,
        };
        let alive = unit.watchdog.as_ref().and_then(|watchdog| Some((watchdog.probe.clone()?, watchdog.interval_ms)));
        if ready.is_some() || alive.is_some() {
            let ready = ready.map(|probe| (probe, unit.ready.interval_ms));
            let task = tokio::spawn(probe(Mouth { of, told: told.clone(), warnings: 0 }, ready, alive));
            ears.push(Ear { task: task.abort_handle(), hears: None });
        }
        Self(ears)
    }
}

/// Says words about one process.
struct Mouth {
    of: (Id, Pid),
    told: Told,
    warnings: usize,
}

impl Mouth {
    async fn say(&self, word: Word) {
        // Without a loop there is nobody left to be told.
        let _ = self.told.words.send((self.of.0, self.of.1, word)).await;
    }

    /// Returns when there is to be listened.
    async fn until_listening(&mut self) {
        let _ = self.told.listening.wait_for(|listening| *listening).await;
    }

    /// The assignments of one packet, as sd_notify(3) has them.
    async fn pass_on(&mut self, packet: &[u8]) {
        let mut words = VecDeque::new();
        for line in String::from_utf8_lossy(packet).lines() {
            match line.split_once('=') {
                Some(("READY", "1")) => words.push_back(Word::Ready),
                Some(("WATCHDOG", "1")) => words.push_back(Word::Alive),
                Some(("STATUS", text)) => words.push_front(Word::Says(text.chars().take(SAYS_CHARS_MAX).collect())),
                Some(("X_TORUS_WARNING", text)) if self.warnings < WARNINGS_MAX => {
                    self.warnings += 1;
                    words.push_front(Word::Warns(text.chars().take(SAYS_CHARS_MAX).collect()));
                }
                Some(_) | None => {}
            }
        }
        for word in words {
            self.say(word).await;
        }
    }
}

async fn listen(source: Source, mut mouth: Mouth, marks: [String; 2]) -> io::Result<()> {
    let mut packet = [0; PACKET_BYTES_MAX];
    match source {
        Source::Command(socket) => {
            let socket = UnixDatagram::from_std(socket)?;
            loop {
                mouth.until_listening().await;
                match socket.recv(&mut packet).await {
                    Ok(0) => return Ok(()),
                    Ok(length) => match logs::refused(&packet[..length]) {
                        Some(source) => mouth.say(Word::Refuses(source)).await,
                        None => mouth.pass_on(&packet[..length]).await,
                    },
                    // It ended without having heard all that it was told.
                    Err(cause) if cause.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                    Err(cause) => return Err(cause),
                }
            }
        }
        Source::Inbox(inbox) => {
            let inbox = UnixDatagram::from_std(inbox)?;
            let mut strangers = 0;
            loop {
                inbox.readable().await?;
                mouth.until_listening().await;
                let received = match inbox.try_io(Interest::READABLE, || notify::receive(&inbox, &mut packet)) {
                    Ok(received) => received,
                    // Whatever is wrong with one datagram is its sender's: nobody may deafen us to the others.
                    Err(_) => continue,
                };
                if !says_something(&packet[..received.length]) {
                    continue;
                }
                let is_believed = is_believed(received, mouth.of.1, &marks);
                // Who it is took a look at /proc: others have their turn before the next.
                tokio::task::yield_now().await;
                if is_believed {
                    mouth.pass_on(&packet[..received.length]).await;
                } else if strangers < STRANGERS_TOLD_MAX {
                    strangers += 1;
                    tracing::warn!(pid = %mouth.of.1, "not believed: process {} speaks for it", received.pid);
                }
            }
        }
        Source::Line(pipe) => {
            let mut pipe = pipe::Receiver::from_owned_fd(pipe)?;
            loop {
                mouth.until_listening().await;
                match pipe.read(&mut packet).await? {
                    0 => return Ok(()),
                    length if packet[..length].contains(&b'\n') => mouth.say(Word::Ready).await,
                    _ => {}
                }
            }
        }
    }
}

/// Whether there is a word for us in it.
fn says_something(packet: &[u8]) -> bool {
    let ours = [&b"READY=1"[..], b"WATCHDOG=1", b"STATUS=", b"X_TORUS_WARNING="];
    packet.split(|byte| *byte == b'\n').any(|line| ours.iter().any(|word| line.starts_with(word)))
}

/// Whether who sent this may speak for the process.
fn is_believed(received: Received, of: Pid, marks: &[String; 2]) -> bool {
    let Received { pid, uid, .. } = received;
    let is_of_its_user = uid == 0 || uid == identity::effective_uid() || identity::user_of(of) == Some(uid);
    is_of_its_user && tree::belongs(pid, of, &marks.each_ref().map(String::as_str)).unwrap_or(true)
}

/// First asks until it is ready, then for signs of life.
async fn probe(mut mouth: Mouth, ready: Option<(Probe, u64)>, alive: Option<(Probe, u64)>) {
    if let Some((probe, interval_ms)) = ready {
        while !succeeds(&mut mouth, &probe, interval_ms).await {
            sleep(Duration::from_millis(interval_ms)).await;
        }
        mouth.say(Word::Ready).await;
    }
    while let Some((probe, interval_ms)) = &alive {
        if succeeds(&mut mouth, probe, *interval_ms).await {
            mouth.say(Word::Alive).await;
        }
        sleep(Duration::from_millis(*interval_ms)).await;
    }
}

/// One probe. A connection has an interval's time (a second at least), a command its own.
async fn succeeds(mouth: &mut Mouth, probe: &Probe, interval_ms: u64) -> bool {
    match probe {
        Probe::Tcp(address) => {
            let patience = Duration::from_millis(interval_ms.max(1_000));
            timeout(patience, TcpStream::connect(address)).await.is_ok_and(|connected| connected.is_ok())
        }
        Probe::Exec(words) => {
            let (answer, answered) = oneshot::channel();
            mouth.say(Word::Probe(words.clone(), answer)).await;
            match timeout(COMMAND_TIME_MAX, answered).await {
                Ok(answer) => answer == Ok(true),
                Err(_) => {
                    if mouth.warnings < WARNINGS_MAX {
                        mouth.warnings += 1;
                        let (pid, seconds) = (mouth.of.1, COMMAND_TIME_MAX.as_secs());
                        tracing::warn!(%pid, "a probe of the process took more than {seconds} s: ended, and failed");
                    }
                    false
                }
            }
        }
    }
}
