//! What is heard: words about processes, and that nobody reads what they write.

use std::os::fd::AsFd;

use super::event_loop::{Supervisor, a_moment};
use super::instance::Instance;
use super::logs;
use super::unread::Due;
use super::words::Word;
use crate::lifecycle::{HouseEvent, Id, State};
use crate::sys::Pid;

/// Words that are heard before an end is looked at; what is said later is heard as ever.
const WORDS_MAX: usize = 1_000;

/// What the log worker's refusal means.
pub(super) const REFUSED: &str = "the log worker has no room to read its output; restart it (torus restart log)";

impl Supervisor {
    /// Hears all that was said until now. Nobody can hold us up here by talking on.
    pub(super) async fn hear_what_was_said(&mut self) {
        for _ in 0..WORDS_MAX {
            tokio::select! {
                biased;
                Some((id, pid, word)) = self.words.recv() => self.hear(id, pid, word),
                () = a_moment() => return,
            }
        }
    }

    pub(super) fn hear(&mut self, id: Id, pid: Pid, word: Word) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        // The word of an earlier process says nothing about this one.
        if instance.process.as_ref().is_none_or(|process| process.pid != pid) {
            return;
        }
        let is_log = instance.is_log();
        match word {
            Word::Ready => {
                if is_log {
                    self.unread.reader_came();
                }
                self.take(HouseEvent::Ready(id));
            }
            Word::Alive => {
                if is_log {
                    self.unread.answered();
                }
                self.take(HouseEvent::Alive(id));
            }
            Word::Says(text) => instance.says = Some(text),
            // It has logged that itself.
            Word::Warns(text) => instance.warnings.push(text),
            Word::Refuses(source) => {
                let instance = self.instances.get_mut(&logs::pipe_of(source).0);
                if let Some(instance) = instance.filter(|instance| !instance.is_refused) {
                    instance.is_refused = true;
                    tracing::error!(service = instance.unit.name, instance = instance.number, "{REFUSED}");
                }
            }
            Word::Probe(words, answer) => match instance.start_probe(&words, &self.ground) {
                Ok(probe) => self.probes.begin(pid, probe, answer),
                Err(cause) => {
                    tracing::warn!(service = instance.unit.name, %pid, "cannot probe the process: {cause}");
                    let _ = answer.send(false);
                }
            },
        }
    }

    /// Whether what an instance's process says makes it ready now, and is news: one that is ready as soon as it runs was
    /// told by its start.
    pub(super) fn gets_ready(&self, id: Id) -> bool {
        let process = self.instances.get(&id).and_then(|instance| instance.process.as_ref());
        process.is_some_and(|process| !process.unit.is_ready_at_once())
            && matches!(self.house.state(id), Some(State::Starting { .. }))
    }

    pub(super) fn log_ready(&self, id: Id) {
        let Some(Instance { unit, number, process, .. }) = self.instances.get(&id) else { return };
        let pid = process.as_ref().map(|process| tracing::field::display(process.pid));
        tracing::info!(service = unit.name, instance = number, pid, "ready");
    }

    /// Does what services that are not read make necessary.
    pub(super) fn attend(&mut self, due: Due) {
        match due {
            Due::Ask => self.logs.ask(),
            Due::Hung => {
                let log = self.instances.iter().find(|(_, instance)| instance.is_log());
                if let Some(id) = log.map(|(id, _)| *id) {
                    self.take(HouseEvent::Hung(id));
                }
            }
            Due::BeginToDiscard => {
                tracing::warn!("no log worker reads what services write: it is discarded until one does");
                self.discard();
            }
            Due::Discard => self.discard(),
        }
    }

    fn discard(&mut self) {
        let Self { unread, instances, .. } = self;
        unread.discard(|source| {
            let (id, place) = logs::pipe_of(source);
            Some(instances.get(&id)?.output.as_ref()?.readers[place].as_fd())
        });
    }
}
