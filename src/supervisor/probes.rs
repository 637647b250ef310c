//! Probes that are commands: started, collected and ended like everything else that the supervisor starts.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::AsFd;

use tokio::sync::oneshot;

use super::environment;
use super::instance::Ground;
use crate::sys::confine::Confined;
use crate::sys::spawn::{self, Command, Started};
use crate::sys::wait::Exit;
use crate::sys::{Pid, signals};

/// The probes that run, by their process id.
#[derive(Debug, Default)]
pub(super) struct Probes(BTreeMap<Pid, Probe>);

#[derive(Debug)]
struct Probe {
    /// The process that it asks about.
    of: Pid,
    answer: Option<oneshot::Sender<bool>>,
}

impl Probes {
    /// Starts a probe of a process. One of the same process that still runs has taken too long, and is ended.
    pub(super) fn begin(&mut self, of: Pid, words: &[String], answer: oneshot::Sender<bool>, ground: &Ground) {
        self.forget(of);
        let arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
        let started = spawn::find_program(&arguments[0]).and_then(|program| {
            spawn::spawn(&Command {
                program: &program,
                arguments: &arguments,
                environment: environment::inherited(),
                stdin: ground.stdin.as_fd(),
                output: None,
                descriptors: Vec::new(),
                listen_pid: false,
                open_files: ground.open_files,
                confined: &Confined::default(),
                entrances: Vec::new(),
            })
        });
        match started {
            Ok(Started { pid, .. }) => drop(self.0.insert(pid, Probe { of, answer: Some(answer) })),
            Err(cause) => {
                tracing::warn!(pid = %of, "cannot probe the process: {cause}");
                let _ = answer.send(false);
            }
        }
    }

    /// Takes note of an end; `false` when that was no probe.
    pub(super) fn end(&mut self, pid: Pid, exit: Exit) -> bool {
        let Some(probe) = self.0.remove(&pid) else { return false };
        signals::kill_group(pid);
        if let Some(answer) = probe.answer {
            let _ = answer.send(exit == Exit::Code(0));
        }
        true
    }

    /// Ends the probes of a process; their ends are still to come.
    pub(super) fn forget(&mut self, of: Pid) {
        for (pid, probe) in self.0.iter_mut().filter(|(_, probe)| probe.of == of) {
            probe.answer = None;
            signals::kill_group(*pid);
        }
    }

    /// Those that run, each with whom it asks about.
    pub(super) fn record(&self) -> Vec<(Pid, Pid)> {
        self.0.iter().map(|(pid, probe)| (*pid, probe.of)).collect()
    }

    /// Ends probes that others began: nobody waits for their answers. Their ends are still to come.
    pub(super) fn adopt(others: impl IntoIterator<Item = (Pid, Pid)>) -> Self {
        let end = |(pid, of)| {
            signals::kill_group(pid);
            (pid, Probe { of, answer: None })
        };
        Self(others.into_iter().map(end).collect())
    }

    /// Whether this process is a probe.
    pub(super) fn knows(&self, pid: Pid) -> bool {
        self.0.contains_key(&pid)
    }
}
