//! Probes that are commands: collected and ended like everything else that the supervisor starts.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

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
    /// Takes note of a probe of a process. One of the same process that still runs has taken too long, and is ended.
    pub(super) fn begin(&mut self, of: Pid, probe: Pid, answer: oneshot::Sender<bool>) {
        self.forget(of);
        self.0.insert(probe, Probe { of, answer: Some(answer) });
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
