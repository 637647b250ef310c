//! One command under an init, in the place of tini or dumb-init: every signal goes to the command, every orphan is
//! collected, and its exit code becomes ours.
//!
//! No runtime, no control socket, no thread: a loop that sleeps until a signal comes. It starts and collects processes
//! by the same hands as the supervisor of services, [`spawn`](crate::sys::spawn) and [`wait`].

mod policy;
mod start;

use std::ffi::OsString;
use std::io;

pub use policy::{Like, Policy, Rewrite, Scope};
pub use start::StartError;

use crate::sys::inbox::{Apart, Inbox};
use crate::sys::signals::{self, Whom};
use crate::sys::spawn::{Bond, Place};
use crate::sys::wait::{self, Exit};
use crate::sys::{Pid, identity, terminal};
use policy::Reaction;

/// What an init is started with.
#[derive(Clone, Debug)]
pub struct Init {
    /// The command: the program and its arguments, never empty.
    pub command: Vec<OsString>,
    /// How it treats the command.
    pub policy: Policy,
    /// Whether it collects orphans although it is not PID 1.
    pub adopt_orphans: bool,
    /// The signal that it gets, and hands on, when its own parent dies.
    pub parent_death_signal: Option<i32>,
    /// Whether each orphan that it collects is worth a warning.
    pub warn_of_orphans: bool,
}

/// Why an init could not begin, or not go on.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The system refused something.
    #[error("cannot {what}: {cause}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        cause: io::Error,
    },
    /// There is no command.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Faults of our own code: they should have their default effect, a core, instead of being handed on.
const FAULTS: [i32; 7] = [
    signals::SIGFPE,
    signals::SIGILL,
    signals::SIGSEGV,
    signals::SIGBUS,
    signals::SIGABRT,
    signals::SIGTRAP,
    signals::SIGSYS,
];
/// What a terminal sends to a background that uses it, as we do when we warn. Our command is the foreground.
const BACKGROUND: [i32; 2] = [signals::SIGTTIN, signals::SIGTTOU];

/// Runs the command to its end; answers the code to exit with. Whoever else is alive then is left to the kernel, which
/// ends them with PID 1.
pub fn run(init: &Init) -> Result<u8, InitError> {
    let system = |what| move |cause| InitError::System { what, cause };
    let policy = &init.policy;
    let apart = match policy.like {
        Like::Tini => Apart { default: &FAULTS, ignored: &BACKGROUND },
        Like::DumbInit => Apart::default(),
    };
    let inbox = Inbox::open(apart).map_err(system("take signals"))?;
    if let Some(signal) = init.parent_death_signal {
        identity::signal_when_parent_dies(signal).map_err(system("watch the parent"))?;
    }
    if init.adopt_orphans {
        identity::adopt_orphans().map_err(system("adopt orphans"))?;
    }
    if policy.like == Like::Tini && !identity::adopts_orphans() {
        tracing::warn!(
            "orphans are not collected here, since this is neither PID 1 nor a subreaper; hint: -s or TINI_SUBREAPER=1 \
             makes it one"
        );
    }
    if policy.has_session() && !terminal::leave(&inbox) {
        tracing::debug!("there is no terminal to leave to the command");
    }

    let signals = (policy.like == Like::Tini).then_some(&inbox);
    let place = match policy.like {
        Like::Tini => Place::Group,
        Like::DumbInit if policy.has_session() => Place::Session,
        Like::DumbInit => Place::Ours,
    };
    let main = start::start(&init.command, Bond::Init { place, signals })?;
    tracing::info!(pid = %main, "started");
    if policy.like == Like::DumbInit {
        // So that the file system that we were started in can be unmounted; the root is there in any case.
        let _ = std::env::set_current_dir("/");
    }
    loop {
        let signal = inbox.next().map_err(system("wait for signals"))?;
        match policy.react(signal) {
            Reaction::Collect => {
                if let Some(exit) = collect(init, main) {
                    return Ok(policy.code(exit));
                }
            }
            Reaction::Forward { signal: sent, and_stop } => {
                forward(policy, main, signal, sent);
                if and_stop {
                    signals::stop_ourselves();
                }
            }
        }
    }
}

fn forward(policy: &Policy, main: Pid, received: i32, sent: Option<i32>) {
    let Some(sent) = sent else { return tracing::debug!(received, "dropped") };
    let whom = match policy.scope {
        Scope::Process => Whom::Process(main),
        Scope::Group => Whom::Group(main),
    };
    // A command that has become another user is out of reach: no reason to end it by ending ourselves.
    match signals::send(whom, sent) {
        Ok(()) => tracing::debug!(received, sent, "handed on"),
        Err(cause) => tracing::warn!(signal = sent, pid = %main, "cannot hand on: {cause}"),
    }
}

/// Collects all that have ended; answers how the command did, if it is among them.
fn collect(init: &Init, main: Pid) -> Option<Exit> {
    let mut ended = None;
    let drained = wait::drain(|pid, exit| {
        if pid != main {
            if init.warn_of_orphans {
                tracing::warn!(%pid, "collected an orphan");
            }
            return;
        }
        tracing::info!(%pid, ?exit, "ended");
        ended = Some(exit);
        if let Some(signal) = init.policy.farewell() {
            // Nobody may be left of the group.
            let _ = signals::send(Whom::Group(main), signal);
        }
    });
    drained.unwrap_or_else(|cause| tracing::warn!("cannot collect: {cause}"));
    ended
}
