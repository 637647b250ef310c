//! The old build's part: everything is written down, and the process becomes the new build.
//!
//! Nothing is closed, stopped or taken back before the exec, so if that fails the loop simply goes on.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use super::question::resume_arguments;
use super::state::{
    InstanceState, LaunchedState, LeavingUnit, ListenerState, OutputState, ProcessState, STATE_VERSION, State,
};
use super::{Binary, Client, LOG_MS_MAX};
use crate::config::Config;
use crate::control::torus_version;
use crate::lifecycle::{Health, Id, Moment};
use crate::supervisor::changes::Launched;
use crate::supervisor::event_loop::{Queries, Signals, Supervisor, a_moment};
use crate::supervisor::instance::Instance;
use crate::supervisor::listeners::Listener;
use crate::sys::program::{OWN, ProgramFile};
use crate::sys::{exec, identity};

/// The descriptors that are to stay open.
#[derive(Debug, Default)]
pub(super) struct Kept(Vec<RawFd>);

impl Kept {
    /// One more; answers its number, to be written down.
    fn keep(&mut self, descriptor: RawFd) -> RawFd {
        self.0.push(descriptor);
        descriptor
    }
}

impl Supervisor {
    /// Becomes the new build. Returns only if that fails, with the reason.
    pub(super) async fn hand_over(
        &mut self,
        binary: &Binary,
        version: &str,
        client: &Client,
        signals: &mut Signals,
        queries: &mut Queries,
    ) -> String {
        let held = match exec::hold_signals() {
            Ok(held) => held,
            Err(cause) => return format!("cannot hold signals: {cause}"),
        };
        // What is said from now on stays in the sockets, for the next build.
        self.words.listen(false);
        let why = self.try_to_become(binary, version, client, signals, queries).await;
        self.words.listen(true);
        drop(held);
        why
    }

    async fn try_to_become(
        &mut self,
        binary: &Binary,
        version: &str,
        client: &Client,
        signals: &mut Signals,
        queries: &mut Queries,
    ) -> String {
        if let Err(why) = self.come_to_rest(signals, queries).await {
            return why;
        }
        if matches!(self.house.health(), Health::Stopping | Health::Down) {
            return "torus is going down".to_owned();
        }
        let asker = (!client.reply.is_closed()).then_some(client.connection);
        let written = self.gather(asker).and_then(|(state, kept)| Ok((state.write()?, kept)));
        let (memory, mut kept) = match written {
            Ok(written) => written,
            Err(cause) => return format!("cannot write the state: {cause}"),
        };
        let own = match ProgramFile::open(Path::new(OWN)) {
            Ok(own) => own,
            Err(cause) => return format!("cannot open the file of this build, for the way back: {cause}"),
        };
        if !binary.is_as_asked() {
            return "its file was written to after it was asked".to_owned();
        }
        self.manager.beat();
        let (descriptor, back) = (kept.keep(memory.as_raw_fd()), kept.keep(own.as_fd().as_raw_fd()));
        let path = binary.file.path();
        tracing::info!("becoming {}, version {version}", path.display());
        let mut arguments = resume_arguments(path, descriptor);
        arguments.extend(["--back".into(), back.to_string().into()]);
        let cause = exec::become_program(&binary.file, &arguments, &kept.0);
        format!("cannot execute it: {cause}")
    }

    /// What was told before signals were held is on its way to us, and to the log worker, and would be lost.
    async fn come_to_rest(&mut self, signals: &mut Signals, queries: &mut Queries) -> Result<(), String> {
        let until = Instant::now() + Duration::from_millis(LOG_MS_MAX);
        // Everybody has at most one word left to pass on, so this ends.
        loop {
            if self.take_what_is_there(signals, queries).await {
                continue;
            }
            if self.logs.is_said() {
                return Ok(());
            }
            if timeout_at(until.into(), self.logs.until_said()).await.is_err() {
                return Err(format!("the log worker has not listened for {LOG_MS_MAX} ms"));
            }
        }
    }

    /// Takes one thing that has happened already; `false` when there is none.
    async fn take_what_is_there(&mut self, signals: &mut Signals, queries: &mut Queries) -> bool {
        tokio::select! {
            biased;
            happened = signals.next() => self.happened(happened).await,
            Some((id, pid, word)) = self.words.recv() => self.hear(id, pid, word),
            Some(query) = queries.recv() => self.answer(query),
            () = a_moment() => return false,
        }
        true
    }

    /// Writes everything down.
    pub(super) fn gather(&self, asker: Option<RawFd>) -> std::io::Result<(State, Kept)> {
        let mut kept = Kept::default();
        let (origin, taken) = (Instant::now(), exec::monotonic()?);
        let control = self.upgrade.control.as_ref().ok_or(std::io::ErrorKind::NotConnected)?;
        let mut listener = |listener: &Listener| ListenerState {
            socket: kept.keep(listener.socket.as_raw_fd()),
            address: listener.address,
            passed: listener.passed,
        };
        let requests = self.ground.listeners.requests.as_ref();
        let requests = requests.map(|requests| [listener(&requests.front), listener(&requests.back)]);
        let retired = self.ground.listeners.retired.iter().map(listener).collect();
        let mut older = Vec::new();
        let instances = self
            .instances
            .iter()
            .map(|(id, instance)| self.write_down(*id, instance, origin, &mut kept, &mut older))
            .collect();
        let state = State {
            version: STATE_VERSION,
            torus: torus_version().to_owned(),
            pid: identity::pid().as_raw(),
            installed: self.upgrade.installed.clone().into(),
            inherited: self.upgrade.inherited.clone(),
            taken,
            config: self.config.to_yaml(),
            older: older.iter().map(|config| config.to_yaml()).collect(),
            file: self.file.clone().map(Into::into),
            runtime_directory: self.upgrade.runtime_directory.clone(),
            announced: self.upgrade.announced,
            since: Moment::of(self.since, origin),
            orphans_reaped: self.orphans_reaped,
            discarded_bytes: self.unread.discarded_bytes,
            reload_due: self.hangups.due().is_some(),
            open_files: self.ground.open_files,
            cgroups: self.ground.cgroups.record(),
            house: self.house.snapshot(origin),
            instances,
            requests,
            retired,
            control: control.listener,
            lock: control.lock,
            asker,
            probes: self.probes.record().into_iter().map(|(pid, of)| (pid.as_raw(), of.as_raw())).collect(),
        };
        let inherited = self.upgrade.inherited.iter().copied();
        for descriptor in [control.listener].into_iter().chain(control.lock).chain(asker).chain(inherited) {
            kept.keep(descriptor);
        }
        Ok((state, kept))
    }

    /// One instance; what its process was started from is put among the older configurations, if it is one.
    fn write_down(
        &self,
        id: Id,
        instance: &Instance,
        origin: Instant,
        kept: &mut Kept,
        older: &mut Vec<Rc<Config>>,
    ) -> InstanceState {
        let unit = &instance.unit;
        let process = instance.process.as_ref().map(|process| {
            let heard = process.ears.heard();
            for source in &heard {
                kept.keep(source.descriptor());
            }
            let launched = Some(self.write_launched(&process.launched, older));
            ProcessState { pid: process.pid.as_raw(), since: Moment::of(process.since, origin), launched, heard }
        });
        let leaving = (!self.units.contains_key(&unit.name)).then(|| LeavingUnit {
            kind: unit.program.kind().to_owned(),
            built_in: unit.program.is_built_in(),
            stop_signal: unit.stop_signal,
            success_codes: unit.success.codes.iter().copied().collect(),
            success_signals: unit.success.signals.iter().copied().collect(),
        });
        let output = instance.output.as_ref().map(|output| OutputState {
            readers: output.readers.each_ref().map(|reader| kept.keep(reader.as_raw_fd())),
            writers: output.writers.each_ref().map(|writer| kept.keep(writer.as_raw_fd())),
        });
        InstanceState {
            id,
            starts: instance.starts,
            process,
            last_pid: instance.last_pid.map(|pid| pid.as_raw()),
            last_exit: instance.last_exit.clone(),
            says: instance.says.clone(),
            warnings: instance.warnings.clone(),
            counters: instance.counters.as_ref().map(|counters| kept.keep(counters.fd.as_raw_fd())),
            group: instance.group.as_ref().map(|group| group.record()),
            output,
            leaving,
        }
    }

    fn write_launched(&self, launched: &Launched, older: &mut Vec<Rc<Config>>) -> LaunchedState {
        let Launched { config, doors } = launched;
        let is_in_force = Rc::ptr_eq(config, &self.config);
        let place = (!is_in_force).then(|| {
            older.iter().position(|known| Rc::ptr_eq(known, config)).unwrap_or_else(|| {
                older.push(config.clone());
                older.len() - 1
            })
        });
        LaunchedState { older: place, doors: *doors }
    }
}
