//! What the control socket asks for, and the answers.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::changes::{Changes, Present, Target};
use super::event_loop::{Supervisor, send};
use super::instance::Instance;
use super::operations::{Aim, Operation};
use super::upgrade::ASK_AGAIN;
use super::{changes, confine, listeners, plan};
use crate::config::{self, Loaded, Origin};
use crate::control::{Command, Done, Plan, Reply, ServiceStatus, VERSION, What};
use crate::lifecycle::{Health, HouseEvent, Id};
use crate::sys::signals::{self, Whom};

/// The services that an order moves, each with where to.
type Moved = Vec<(String, Aim)>;

impl Supervisor {
    /// Begins what a command asks for; the answer comes when it is reached.
    pub(super) fn begin(&mut self, command: Command, reply: oneshot::Sender<Reply>, connection: RawFd) {
        let configures = matches!(command, Command::Reload { .. });
        let moved = match command {
            Command::Status => {
                let _ = reply.send(Reply::Status(Box::new(self.status())));
                return;
            }
            Command::Plan { file } => {
                let _ = reply.send(match self.planned(file.as_deref()) {
                    Ok((loaded, changes)) => {
                        let file = match loaded.origin {
                            Origin::File(file) => file.into_os_string().into_string().ok(),
                            Origin::Embedded => None,
                        };
                        Reply::Plan(Plan { version: VERSION, file, changes: changes.told })
                    }
                    Err(error) => Reply::refused(error),
                });
                return;
            }
            Command::Logs(follow) => {
                let known = follow.service.as_deref().map_or(Ok(()), |service| self.known(service));
                let of_it = |()| follow.service.as_deref().zip(follow.instance).map_or(Ok(()), |one| self.has(one));
                let _ = reply.send(match known.and_then(of_it) {
                    Ok(()) => Reply::Lines { version: VERSION, lines: true },
                    Err(error) => Reply::refused(error),
                });
                return;
            }
            _ if self.is_going_down() => Err("torus is going down".to_owned()),
            Command::Upgrade { binary } => return self.upgrade(binary, reply, connection),
            _ if self.upgrade.is_closing() => Err(ASK_AGAIN.to_owned()),
            Command::Reload { .. } if self.upgrade.is_under_way() => Err(ASK_AGAIN.to_owned()),
            Command::Start { service } => self.order(service, Aim::Up, HouseEvent::StartService),
            Command::Stop { service } if service == "log" => {
                Err("the log worker ends last of all: without it every service would wait to be read".to_owned())
            }
            Command::Stop { service } => self.order(service, Aim::Down, HouseEvent::StopService),
            Command::Restart { service } => self.order(service, Aim::Up, HouseEvent::RestartService),
            Command::Signal { service, signal } => self.signal(service, &signal),
            Command::Reload { file } => self.reload(file.as_deref()),
        };
        match moved {
            Ok(services) => {
                let config = configures.then(|| self.config.clone());
                self.operations.add(Operation { services, config, reply });
            }
            Err(error) => drop(reply.send(Reply::refused(error))),
        }
    }

    /// Answers the commands that have reached what they asked for, or can no longer.
    pub(super) fn answer_what_is_over(&mut self) {
        for (operation, verdict) in self.operations.take_over(&self.house, &self.config) {
            let of_it = |service: &ServiceStatus| operation.moves(&service.name);
            let reply = match verdict {
                Ok(reached) => {
                    let services = self.services();
                    let because = if reached { Vec::new() } else { self.because(&operation, &services) };
                    let services = services.into_iter().filter(of_it).collect();
                    Reply::Done(Done { version: VERSION, reached, services, because, torus: None })
                }
                Err(contrary) => Reply::refused(contrary),
            };
            let _ = operation.reply.send(reply);
        }
    }

    fn order(&mut self, service: String, aim: Aim, event: fn(String) -> HouseEvent) -> Result<Moved, String> {
        self.known(&service)?;
        self.take(event(service.clone()));
        Ok(vec![(service, aim)])
    }

    fn known(&self, service: &str) -> Result<(), String> {
        if self.house.knows(service) {
            return Ok(());
        }
        let names: Vec<&str> = self.units.keys().map(String::as_str).collect();
        Err(format!("there is no service {service:?}; there are: {}", names.join(", ")))
    }

    fn has(&self, (service, number): (&str, u32)) -> Result<(), String> {
        let members = self.house.members().filter(|(_, name, ..)| *name == service);
        let numbers: BTreeSet<u32> = members.map(|(_, _, number, _)| number).collect();
        if numbers.contains(&number) {
            return Ok(());
        }
        Err(format!("service {service:?} has no instance {number}, only {}", changes::listed(&numbers)))
    }

    fn signal(&mut self, service: String, signal: &str) -> Result<Moved, String> {
        self.known(&service)?;
        let number = signals::number(signal).ok_or_else(|| format!("{signal:?} is not a signal"))?;
        let processes = self.instances.values().filter(|instance| instance.unit.name == service);
        let pids: Vec<_> = processes.filter_map(|instance| Some(instance.process.as_ref()?.pid)).collect();
        if pids.is_empty() {
            return Err(format!("service {service:?} has no process"));
        }
        for pid in pids {
            tracing::info!(service, %pid, "signalled {number} by order");
            // To the one that knows what to do with it: what it started may die of it.
            send(Whom::Process(pid), number);
        }
        Ok(Vec::new())
    }

    fn is_going_down(&self) -> bool {
        matches!(self.house.health(), Health::Stopping | Health::Down)
    }

    /// SIGHUP: what the control socket's reload does, told in the log.
    pub(super) fn reload_by_signal(&mut self) {
        if self.is_going_down() {
            return tracing::info!("SIGHUP: torus is going down: nothing is changed");
        }
        match self.reload(None) {
            Ok(services) => tracing::info!("SIGHUP: reloaded; {} services change", services.len()),
            // A line for each problem: within one, ends of lines would be escaped.
            Err(error) => error.lines().for_each(|line| tracing::error!("SIGHUP: nothing is changed: {line}")),
        }
    }

    /// Reads a configuration and tells what it would change.
    fn planned(&self, file: Option<&str>) -> Result<(Loaded, Changes), String> {
        let file = file.map(PathBuf::from).or_else(|| self.file.clone());
        // Nothing else may be waited for here: a pipe would hold PID 1 up until somebody writes to it.
        if let Some(file) = file.as_deref().filter(|file| fs::metadata(file).is_ok_and(|found| !found.is_file())) {
            return Err(format!("{} is not a regular file", file.display()));
        }
        let loaded = config::load(file.as_deref()).map_err(|error| error.to_string())?;
        let changes = changes::between(&self.present(), &loaded.config);
        Ok((loaded, changes))
    }

    /// How things are, to be held against another configuration.
    fn present(&self) -> Present<'_> {
        // Who is on his way out may have a namesake that is to come.
        let stays = |(id, _): &(&Id, &Instance)| !self.house.is_leaving(**id);
        let living = self.instances.iter().filter(stays).filter_map(|(_, instance)| {
            let launched = &instance.process.as_ref()?.launched;
            Some(((instance.unit.name.as_str(), instance.number), launched))
        });
        Present {
            config: &self.config,
            doors: self.ground.listeners.doors(),
            living: living.collect(),
            stopped: self.units.keys().map(String::as_str).filter(|name| self.house.is_stopped(name)).collect(),
        }
    }

    /// Takes note of the processes that the configuration in force would start as they are: what they were started from
    /// need not be kept for them.
    fn forget_old_configurations(&mut self) {
        let mut target = Target::present(&self.config, self.ground.listeners.doors());
        for instance in self.instances.values_mut() {
            let Some(process) = &mut instance.process else { continue };
            // Of one on its way out no other configuration tells how it is watched.
            if !self.units.contains_key(&instance.unit.name) {
                continue;
            }
            if !target.differs(&instance.unit.name, &process.launched).any() {
                process.launched.config = self.config.clone();
            }
        }
    }

    /// Takes another configuration: all of it or, if anything is wrong with it, nothing.
    fn reload(&mut self, file: Option<&str>) -> Result<Moved, String> {
        let (loaded, changes) = self.planned(file)?;
        everybody_is_there(&loaded, &changes)?;
        let config = loaded.config;
        let same_doors = changes::doors(&self.config) == changes::doors(&config);
        let listeners = if same_doors {
            None
        } else {
            Some(
                listeners::bind_beside(config.bus.as_ref(), &self.ground.listeners)
                    .map_err(|error| error.to_string())?,
            )
        };
        // From here on nothing fails.
        if let Some(listeners) = listeners {
            self.ground.listeners = listeners.succeed(std::mem::take(&mut self.ground.listeners));
            self.close_retired_doors();
        }
        self.ground.sandbox = config.supervisor.sandbox;
        let (units, plan) = plan::plan(&config);
        self.units = units;
        self.house.set_stop_max(Duration::from_millis(config.supervisor.stop_ms_max));
        self.config = Rc::new(config);
        self.forget_old_configurations();
        if let Some(file) = file {
            self.file = Some(std::path::absolute(Path::new(file)).unwrap_or_else(|_| file.into()));
        }
        for change in &changes.told {
            tracing::info!(service = change.service, "reload: {}: {}", change.what.name(), change.why);
        }
        let moved = changes.told.into_iter().filter(|change| change.moves()).map(|change| {
            let rests = !self.units.contains_key(&change.service) || self.house.is_stopped(&change.service);
            (change.service, if rests { Aim::Down } else { Aim::Up })
        });
        let moved = moved.collect();
        self.take(HouseEvent::Replace(plan, changes.renewed));
        Ok(moved)
    }
}

/// Whether there are the users and groups of those whom a configuration changes. Who stays as he is was started when there
/// were, or was refused then.
fn everybody_is_there(loaded: &Loaded, changes: &Changes) -> Result<(), String> {
    let changed = changes.told.iter().filter(|change| change.what != What::Stop);
    let services = changed.filter_map(|change| loaded.config.services.get_key_value(&change.service));
    let absent = confine::absent(services);
    let problems: Vec<String> = absent.iter().map(|absent| format!("{}: {absent}", loaded.origin)).collect();
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}
