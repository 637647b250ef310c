//! The new build's part: the state is read, its descriptors are owned, and everything goes on.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::question::resume_arguments;
use super::state::{InstanceState, LaunchedState, LeavingUnit, ListenerState, Model, OutputState, ProcessState, State};
use super::{After, StateError, Upgrade, cannot_become};
use crate::config::{Config, Confine, life};
use crate::control::{Done, Reply, Server, VERSION, answer_adopted, torus_version};
use crate::lifecycle::{Id, State as LifeState};
use crate::supervisor::changes::Launched;
use crate::supervisor::event_loop::Supervisor;
use crate::supervisor::instance::{CountersMemory, Ground, Instance, Output, Process, line_to_log};
use crate::supervisor::listeners::{Listener, Listeners, RequestsListeners};
use crate::supervisor::plan::{self, Program, Unit};
use crate::supervisor::probes::Probes;
use crate::supervisor::words::{Ears, Source, Told};
use crate::supervisor::{Ended, StartError, Up, looped};
use crate::sys::cgroup::{Cgroups, Group};
use crate::sys::counters::Counters;
use crate::sys::program::OWN;
use crate::sys::runtime::Directory;
use crate::sys::{Pid, exec, identity, spawn};

/// What another build of this process left for us.
#[derive(Debug)]
pub struct Handover {
    state: State,
    model: Model,
    /// Where this program was started from.
    installed: PathBuf,
    /// Why the build in between could not go on, if there was one.
    returned: Option<String>,
}

impl Handover {
    /// Takes the state at a descriptor. If it cannot be gone on with, the build before, whose file is at `back`, goes on
    /// in our stead. `returned` says that we are that build, and why.
    ///
    /// # Errors
    /// Why neither goes on.
    pub fn adopt(descriptor: RawFd, back: Option<RawFd>, returned: Option<String>) -> Result<Self, StateError> {
        let memory = exec::adopt(descriptor).map_err(StateError::Read)?;
        let back = back.map(exec::adopt).transpose().map_err(StateError::Read)?;
        let called = PathBuf::from(std::env::args_os().next().unwrap_or_default());
        let understood = State::read(&memory).and_then(|state| {
            let model = state.model()?;
            state.is_for(identity::pid())?;
            Ok((state, model))
        });
        match (understood, back) {
            (Ok((state, model)), _) => {
                let installed = if returned.is_some() { PathBuf::from(&state.installed) } else { called };
                Ok(Self { state, model, installed, returned })
            }
            (Err(error), Some(back)) => {
                let mut arguments = resume_arguments(&called, descriptor);
                arguments.extend(["--returned".into(), cannot_become(&called, &error).into()]);
                // The state's descriptor is the only one that we have taken.
                let cause = exec::become_program(back, &arguments, &[memory.as_raw_fd()]);
                tracing::error!("the build before cannot go on either: {cause}");
                Err(error)
            }
            (Err(error), None) => Err(error),
        }
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.model.config
    }

    /// The file that it was read from.
    pub fn file(&self) -> Option<&Path> {
        self.state.file.as_ref().map(Path::new)
    }

    /// Where the control socket is.
    pub fn runtime_directory(&self) -> &Directory {
        &self.state.runtime_directory
    }

    /// Goes on supervising; as [`run`](super::super::run) from there.
    pub fn resume(self, on_up: impl FnOnce(&Up)) -> Result<Ended, StartError> {
        let system = |what| move |cause| StartError::System { what, cause };
        if let Err(cause) = spawn::seal_descriptors() {
            tracing::warn!("cannot look for inherited descriptors: {cause}");
        }
        identity::adopt_orphans().unwrap_or_else(|cause| tracing::warn!("cannot adopt orphans: {cause}"));
        looped(async {
            let (supervisor, control) = self.take_over().map_err(system("go on with what was handed over"))?;
            supervisor.run(control, on_up).await.map_err(system("watch signals"))
        })
    }

    fn take_over(self) -> io::Result<(Supervisor, Server)> {
        let Self { state, model, installed, returned } = self;
        let Model { config, older, units, house, origin } = model;
        let lock = state.lock.map(exec::adopt).transpose()?;
        let control = Server::adopt(&state.runtime_directory.path, exec::adopt(state.control)?, lock)?;
        let requests = match state.requests {
            Some([front, back]) => Some(RequestsListeners { front: listener(front)?, back: listener(back)? }),
            None => None,
        };
        let retired = state.retired.into_iter().map(listener).collect::<io::Result<_>>()?;
        let ground = Ground {
            executable: PathBuf::from(OWN),
            stdin: std::fs::File::open("/dev/null")?.into(),
            open_files: state.open_files,
            listeners: Listeners { requests, retired },
            sandbox: config.supervisor.sandbox,
            cgroups: Cgroups::adopt(state.cgroups),
        };
        let mut upgrade = Upgrade::new(installed, state.inherited, state.runtime_directory);
        upgrade.announced = state.announced;
        let asker = state.asker.and_then(|number| exec::adopt(number).ok());
        upgrade.after = Some(After { from: state.torus, returned, asker });

        let doors = ground.listeners.doors();
        let launched = |written: Option<LaunchedState>| match written {
            Some(LaunchedState { older: place, doors }) => {
                let config = place.and_then(|place| older.get(place)).unwrap_or(&config);
                Launched { config: config.clone(), doors }
            }
            None => Launched { config: config.clone(), doors },
        };
        let file = state.file.map(PathBuf::from);
        let mut supervisor = Supervisor::standing(house, units, config.clone(), file, ground, upgrade)?;
        supervisor.since = state.since.instant(origin);
        supervisor.orphans_reaped = state.orphans_reaped;
        supervisor.unread.discarded_bytes = state.discarded_bytes;
        if state.reload_due {
            supervisor.hangups.note(Instant::now());
        }
        let pid = Pid::from_raw;
        supervisor.probes = Probes::adopt(state.probes.into_iter().map(|(probe, of)| (pid(probe), pid(of))));
        let mut written: BTreeMap<Id, InstanceState> =
            state.instances.into_iter().map(|instance| (instance.id, instance)).collect();
        let members: Vec<_> =
            supervisor.house.members().map(|(id, name, number, state)| (id, name.to_owned(), number, state)).collect();
        for (id, name, number, state) in members {
            let Some(mut written) = written.remove(&id) else { continue };
            let unit = supervisor.units.get(&name).cloned();
            let unit = unit.or_else(|| written.leaving.take().map(|leaving| leaving_unit(name, leaving)));
            let Some(unit) = unit else { continue };
            let mut instance =
                instance(Rc::new(unit), (id, number, state), written, origin, &launched, &config, &supervisor.told);
            if let Some(process) = &mut instance.process
                && let Some(command) = process.command.take()
            {
                supervisor.logs.resume(process.pid, command, supervisor.house.size());
                if !matches!(state, LifeState::Starting { .. }) {
                    supervisor.unread.reader_came();
                }
            }
            instance.output.iter().for_each(|output| supervisor.unread.add(id, output));
            supervisor.instances.insert(id, instance);
        }
        supervisor.fit_instances();
        Ok((supervisor, control))
    }
}

fn listener(written: ListenerState) -> io::Result<Listener> {
    Ok(Listener { socket: exec::adopt(written.socket)?, address: written.address, passed: written.passed })
}

/// What cannot be gone on with is told and left out: the process itself lives in any case.
fn instance(
    unit: Rc<Unit>,
    (id, number, state): (Id, u32, LifeState),
    written: InstanceState,
    origin: Instant,
    launched: &dyn Fn(Option<LaunchedState>) -> Launched,
    config: &Rc<Config>,
    told: &Told,
) -> Instance {
    let counters = written.counters.and_then(|descriptor| {
        let opened = exec::adopt(descriptor).and_then(|fd| {
            let table = Counters::open(&fd).map_err(io::Error::other)?;
            Ok(CountersMemory { fd, table })
        });
        let anew = |cause: &io::Error| {
            tracing::error!(
                service = unit.name,
                "cannot go on with its counters, which its successor begins anew: {cause}"
            );
        };
        opened.inspect_err(anew).ok()
    });
    let output = written.output.and_then(|OutputState { readers, writers }| {
        let adopted = adopt_both(readers).map(|readers| readers.map(Arc::new));
        let adopted = adopted.and_then(|readers| Ok(Output { readers, writers: adopt_both(writers)? }));
        let failed = |cause: &io::Error| tracing::error!(service = unit.name, "cannot go on with its output: {cause}");
        adopted.inspect_err(failed).ok()
    });
    let process = written.process.map(|ProcessState { pid, since, launched: by, heard }| {
        let pid = Pid::from_raw(pid);
        let sources = heard.into_iter().filter_map(|heard| {
            let adopted: io::Result<OwnedFd> = exec::adopt(heard.descriptor());
            let failed = |cause: &io::Error| tracing::error!(service = unit.name, "cannot listen to it: {cause}");
            Some(heard.source(adopted.inspect_err(failed).ok()?))
        });
        let sources: Vec<Source> = sources.collect();
        let failed = |cause: &io::Error| tracing::error!("cannot speak to the log worker: {cause}");
        let command =
            line_to_log(&sources, matches!(unit.program, Program::Log { .. })).inspect_err(failed).ok().flatten();
        let is_ready = !matches!(state, LifeState::Starting { .. });
        let launched = launched(by);
        // It is judged by the rules that it was started by, so it is probed by them.
        let then = match Rc::ptr_eq(&launched.config, config) {
            true => None,
            false => plan::plan(&launched.config).0.remove(&unit.name).map(Rc::new),
        };
        let then = then.unwrap_or_else(|| unit.clone());
        let ears = Ears::reopen((id, pid), number, sources, &then, told, is_ready);
        Process { pid, since: since.instant(origin), launched, unit: then, ears, command }
    });
    Instance {
        number,
        starts: written.starts,
        process,
        last_pid: written.last_pid.map(Pid::from_raw),
        last_exit: written.last_exit,
        says: written.says,
        is_refused: false,
        warnings: written.warnings,
        counters,
        group: written.group.map(Group::adopt),
        output,
        unit,
    }
}

fn adopt_both([one, other]: [RawFd; 2]) -> io::Result<[OwnedFd; 2]> {
    Ok([exec::adopt(one)?, exec::adopt(other)?])
}

fn leaving_unit(name: String, leaving: LeavingUnit) -> Unit {
    let program = match leaving.kind {
        _ if !leaving.built_in => Program::Command { arguments: Vec::new() },
        kind => Program::Worker { kind },
    };
    let success = life::Success {
        codes: leaving.success_codes.into_iter().collect(),
        signals: leaving.success_signals.into_iter().collect(),
    };
    Unit {
        name,
        program,
        ready: life::Ready::default(),
        watchdog: None,
        stop_signal: leaving.stop_signal,
        success,
        confine: Confine::default(),
    }
}

impl Supervisor {
    /// Goes on where the other build stopped, now that signals are watched: lets in what was held, collects who ended
    /// meanwhile, and answers who asked for the upgrade.
    pub(in crate::supervisor) async fn go_on(&mut self) {
        // Signs of life that came while nobody listened are older than the deadlines that have passed meanwhile.
        self.hear_what_was_said().await;
        exec::release_signals().unwrap_or_else(|cause| tracing::error!("cannot let signals in: {cause}"));
        self.collect_the_dead();
        let Some(After { from, returned, asker }) = self.upgrade.after.take() else { return };
        let torus = torus_version();
        let reply = match returned {
            None => {
                tracing::info!("upgraded from {from} to {torus}");
                let torus = Some(torus.to_owned());
                Reply::Done(Done { version: VERSION, reached: true, services: Vec::new(), because: Vec::new(), torus })
            }
            Some(why) => {
                let error = format!("{why}; version {torus} goes on");
                tracing::error!("{error}");
                Reply::refused(error)
            }
        };
        if let Some(asker) = asker {
            tokio::spawn(answer_adopted(asker, reply));
        }
    }
}
