//! The supervisor becomes another build of itself, and nobody else notices: same process id, same children, sockets,
//! pipes, counters, budgets and times.
//!
//! Four steps. `question`: the new build is started as a child with the state in its hands, and says whether it
//! understands it; if not, nothing has happened. Then clients of the control socket are answered and newcomers wait
//! before its door. `handover`: signals are held, the state is written to sealed memory, and the process executes the
//! very file that was asked. `takeover`: the new build reads the state, owns the descriptors that are named in it, and
//! goes on; if it cannot make sense of the state after all, it executes the build before, which it was handed too.
//!
//! What is handed over is in `state`, the one place to extend. Workers are not restarted here: they go on as the build
//! that started them.

mod handover;
mod question;
mod state;
mod takeover;

use std::fmt::Display;
use std::future::pending;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout_at;

use super::event_loop::{Queries, Signals, Supervisor};
use crate::control::{Door, Reply, torus_version};
use crate::sys::program::{ProgramFile, Stamp};
use crate::sys::runtime::Directory;
use crate::sys::wait::Exit;
use crate::sys::{Pid, signals};

pub use question::answer;
pub use state::{STATE_VERSION, StateError};
pub use takeover::Handover;

/// Seconds that a build may take to say whether it understands the state; then it is refused.
const ANSWER_S_MAX: u64 = 5;
/// Seconds that clients of the control socket have to take their answers; who is left then is cut.
const FAREWELL_S_MAX: u64 = 3;
/// Milliseconds that the log worker may take to hear what it is to know; then there is no upgrade.
const LOG_MS_MAX: u64 = 1_000;
/// What is said to who named no build, where none can be executed.
const ELSEWHERE: &str = "\nhint: that is where the running torus was started from; `torus upgrade --binary FILE` takes a build from elsewhere";
/// What other clients are told meanwhile.
pub(super) const ASK_AGAIN: &str = "torus is being upgraded; ask again";

/// How far an upgrade is, and what it needs to know.
#[derive(Debug)]
pub(super) struct Upgrade {
    /// Where this program was started from.
    installed: PathBuf,
    /// Descriptors that it was started with and that are not its own: whoever waits for their end is to go on waiting.
    inherited: Vec<RawFd>,
    runtime_directory: Directory,
    /// Whether the end of the start was told.
    pub(super) announced: bool,
    /// What is to be said when the loop runs, if this process took over from another build.
    after: Option<After>,
    control: Option<Control>,
    stage: Stage,
    /// The build that is asked, until it has ended.
    asked: Option<(Pid, oneshot::Sender<Exit>)>,
}

/// What a new build says first.
#[derive(Debug)]
struct After {
    /// The version before.
    from: String,
    /// Why the build in between could not go on, if there was one: then this is the version before.
    returned: Option<String>,
    /// The connection of who asked for the upgrade.
    asker: Option<std::os::fd::OwnedFd>,
}

/// The control socket while its server runs.
#[derive(Debug)]
struct Control {
    listener: RawFd,
    /// None where there is no file.
    lock: Option<RawFd>,
    door: Door,
}

#[derive(Debug)]
enum Stage {
    /// Nobody asks for an upgrade.
    Rest,
    /// A build is asked.
    Asking { binary: Binary, client: Client, answer: oneshot::Receiver<Result<String, String>>, until: Instant },
    /// It understands; clients are let out.
    Closing { binary: Binary, client: Client, version: String, until: Instant },
}

/// The file of the build that is to be.
#[derive(Debug)]
struct Binary {
    file: ProgramFile,
    /// As it was when the build was asked.
    asked: Stamp,
}

/// Who asked for the upgrade.
#[derive(Debug)]
struct Client {
    reply: oneshot::Sender<Reply>,
    connection: RawFd,
}

/// What happens next in an upgrade.
#[derive(Debug)]
pub(super) enum Step {
    /// The build that was asked says its version, or somebody why it is not taken.
    Answered(Result<String, String>),
    /// Nobody is left to be answered.
    Quiet,
}

impl Upgrade {
    pub(super) fn new(installed: PathBuf, inherited: Vec<RawFd>, runtime_directory: Directory) -> Self {
        let (announced, after, control, asked) = (false, None, None, None);
        Self { installed, inherited, runtime_directory, announced, after, control, stage: Stage::Rest, asked }
    }

    /// The control socket's descriptors and its door, once it is served.
    pub(super) fn control_is(&mut self, (listener, lock): (RawFd, Option<RawFd>), door: Door) {
        self.control = Some(Control { listener, lock, door });
    }

    /// Whether this process took over from another build, and has not gone on yet.
    pub(super) fn is_after(&self) -> bool {
        self.after.is_some()
    }

    /// Whether orders have to wait for the next build.
    pub(super) fn is_closing(&self) -> bool {
        matches!(self.stage, Stage::Closing { .. })
    }

    /// Whether a build was asked about the configuration in force, which is to stay until it has taken over.
    pub(super) fn is_under_way(&self) -> bool {
        !matches!(self.stage, Stage::Rest)
    }

    /// Takes note of an end; `false` when that was not the build that is asked.
    pub(super) fn end(&mut self, pid: Pid, exit: Exit) -> bool {
        match self.asked.take_if(|(asked, _)| *asked == pid) {
            Some((_, ended)) => {
                signals::kill_group(pid);
                let _ = ended.send(exit);
                true
            }
            None => false,
        }
    }

    /// The next step; never while nobody asks for an upgrade. May be dropped and asked for again.
    pub(super) async fn next(&mut self) -> Step {
        match (&mut self.stage, &self.control) {
            (Stage::Rest, _) => pending().await,
            (Stage::Asking { answer, until, .. }, _) => match timeout_at((*until).into(), answer).await {
                Ok(answer) => Step::Answered(answer.unwrap_or_else(|_| Err("it cannot be heard".to_owned()))),
                Err(_) => Step::Answered(Err(format!("it did not answer within {ANSWER_S_MAX} s"))),
            },
            (Stage::Closing { client, until, .. }, Some(control)) => {
                // Who asked for the upgrade, unless he has left, is answered by the new build.
                let few_enough = |clients: &usize| *clients <= usize::from(!client.reply.is_closed());
                let _ = timeout_at((*until).into(), control.door.until(few_enough)).await;
                Step::Quiet
            }
            (Stage::Closing { .. }, None) => Step::Quiet,
        }
    }
}

impl Supervisor {
    /// Begins an upgrade: the new build is asked.
    pub(super) fn upgrade(&mut self, binary: Option<String>, reply: oneshot::Sender<Reply>, connection: RawFd) {
        if !matches!(self.upgrade.stage, Stage::Rest) || self.upgrade.asked.is_some() {
            let _ = reply.send(Reply::refused("another upgrade is under way"));
            return;
        }
        let is_named = binary.is_some();
        let path = binary.map_or_else(|| self.upgrade.installed.clone(), PathBuf::from);
        // It will be called by it wherever this process is then.
        let path = std::path::absolute(&path).unwrap_or(path);
        let client = Client { reply, connection };
        let asked = Binary::open(&path).and_then(|binary| Ok((self.ask(&binary.file)?, binary)));
        match asked {
            Ok(((pid, ended, answer), binary)) => {
                self.upgrade.asked = Some((pid, ended));
                let until = Instant::now() + Duration::from_secs(ANSWER_S_MAX);
                self.upgrade.stage = Stage::Asking { binary, client, answer, until };
            }
            Err(why) if is_named => refuse(client, &path, &why),
            Err(why) => refuse_with(client, &path, &why, ELSEWHERE),
        }
    }

    /// Performs the next step. When an upgrade succeeds, this does not return: the process is another build then.
    pub(super) async fn go_on_with_upgrade(&mut self, step: Step, signals: &mut Signals, queries: &mut Queries) {
        match (std::mem::replace(&mut self.upgrade.stage, Stage::Rest), step) {
            (Stage::Asking { binary, client, .. }, Step::Answered(Ok(_))) if binary.file.is_script() => {
                refuse(client, binary.file.path(), "it is a script, and a process becomes programs alone");
            }
            (Stage::Asking { binary, client, .. }, Step::Answered(Ok(version))) => {
                self.operations.refuse_all(ASK_AGAIN);
                if let Some(control) = &self.upgrade.control {
                    control.door.close();
                }
                let until = Instant::now() + Duration::from_secs(FAREWELL_S_MAX);
                self.upgrade.stage = Stage::Closing { binary, client, version, until };
            }
            (Stage::Asking { binary, client, .. }, Step::Answered(Err(why))) => {
                if let Some((pid, _)) = &self.upgrade.asked {
                    signals::kill_group(*pid);
                }
                refuse(client, binary.file.path(), &why);
            }
            (Stage::Closing { binary, client, version, .. }, Step::Quiet) => {
                let why = self.hand_over(&binary, &version, &client, signals, queries).await;
                if let Some(control) = &self.upgrade.control {
                    control.door.open();
                }
                refuse(client, binary.file.path(), &why);
            }
            (stage, _) => self.upgrade.stage = stage,
        }
    }
}

impl Binary {
    fn open(path: &Path) -> Result<Self, String> {
        let opened = ProgramFile::open(path).and_then(|file| Ok(Self { asked: file.stamp()?, file }));
        opened.map_err(|cause| format!("cannot execute {}: {cause}", path.display()))
    }

    /// Whether it is what was asked, to the byte.
    fn is_as_asked(&self) -> bool {
        self.file.stamp().is_ok_and(|stamp| stamp == self.asked)
    }
}

/// What a build says that cannot become another one, and in whose stead the one before goes on.
fn cannot_become(binary: &Path, why: &dyn Display) -> String {
    format!("cannot become {}: {why}", binary.display())
}

fn refuse(client: Client, binary: &Path, why: &str) {
    refuse_with(client, binary, why, "");
}

/// Refuses with a further line for who asked.
fn refuse_with(client: Client, binary: &Path, why: &str, hint: &str) {
    let error = format!("{}; version {} goes on", cannot_become(binary, &why), torus_version());
    tracing::error!("{error}");
    let _ = client.reply.send(Reply::refused(error + hint));
}
