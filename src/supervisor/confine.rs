//! What a service may do and have, made ready for one start: its configuration in terms of [`sys`](crate::sys), the
//! files that it names read, everything afresh each time.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::environment::{self, pair};
use crate::config::{
    Amount, BadLine, CgroupLimits, Confine, Limit, Resource, Sandbox, Service, VARIABLES_BYTES_MAX, parse_variables,
};
use crate::sys::cgroup::{Cgroups, Group, Limits};
use crate::sys::confine::{self, ConfineError, Confined, Confinement};
use crate::sys::spawn::FIRST_DESCRIPTOR;
use crate::sys::{files, limits};

/// How much more gladly than the supervisor the kernel kills what it runs, unless the configuration says otherwise.
const OOM_SCORE_ABOVE: i32 = 100;

/// All that one process is started with beyond its program.
#[derive(Debug)]
pub(super) struct Outfit {
    pub(super) confined: Confined,
    /// Its cgroup, if its configuration asks for one.
    pub(super) group: Option<Group>,
    /// Its environment but for what it is told by us.
    pub(super) environment: Vec<(OsString, OsString)>,
    /// The contents of its secrets, by name.
    secrets: Vec<(String, OwnedFd)>,
    entrances: Vec<File>,
}

/// Why a service cannot have what its configuration says.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutfitError {
    #[error(transparent)]
    Confine(#[from] ConfineError),
    #[error("cannot read environment file {file}: {cause}")]
    EnvironmentFile { file: String, cause: io::Error },
    #[error("environment file {file}: {cause}")]
    EnvironmentLine { file: String, cause: BadLine },
    #[error("cannot read secret {name} from {file}: {cause}")]
    Secret { name: String, file: String, cause: io::Error },
}

/// A user or a group that a configuration names and that is not there, so that its service would not be started.
#[derive(Debug, thiserror::Error)]
#[error("services.{service}.{key}: {cause}")]
pub struct Absent {
    service: String,
    key: &'static str,
    cause: ConfineError,
}

/// The users and groups that services name and that are not there. To look them up reads files and may wait, as a start
/// does.
pub fn absent<'a>(services: impl IntoIterator<Item = (&'a String, &'a Service)>) -> Vec<Absent> {
    services.into_iter().flat_map(|(name, service)| absent_of(name, &service.confine)).collect()
}

fn absent_of(service: &str, confine: &Confine) -> Vec<Absent> {
    let Confine { user, group, supplementary_groups, .. } = confine;
    let user = user.iter().map(|name| ("user", confine::check_user(name)));
    let group = group.iter().map(|name| ("group", confine::check_group(name)));
    let groups = supplementary_groups.iter().flatten();
    let groups = groups.map(|name| ("supplementary_groups", confine::check_group(name)));
    let absent =
        |(key, found): (_, Result<(), _>)| Some(Absent { service: service.to_owned(), key, cause: found.err()? });
    user.chain(group).chain(groups).filter_map(absent).collect()
}

impl Outfit {
    /// `name` is the instance's, for its cgroup; `earlier` is the cgroup of the process before.
    pub(super) fn new(
        confine: &Confine,
        name: &str,
        cgroups: &Cgroups,
        earlier: Option<Group>,
    ) -> Result<Self, OutfitError> {
        let mut confined = confinement(confine).resolve()?;
        let mut environment = if confine.clear_environment { Vec::new() } else { environment::inherited() };
        if let Some(account) = &confined.account {
            environment.push(("HOME".into(), account.home.clone().into()));
            environment.extend(["USER", "LOGNAME"].map(|variable| pair(variable, &account.name)));
        }
        for file in &confine.environment_files {
            environment.extend(variables_of(file)?);
        }
        environment.extend(confine.environment.iter().map(|(name, value)| pair(name, value)));
        let secrets = confine.secrets.iter().map(|(name, file)| {
            let copy = files::sealed(Path::new(file), name);
            let copy = copy.map_err(|cause| OutfitError::Secret { name: name.clone(), file: file.clone(), cause })?;
            Ok((name.clone(), copy))
        });
        let secrets = secrets.collect::<Result<_, OutfitError>>()?;

        let group = (!confine.cgroup.is_empty()).then(|| {
            let earlier = earlier.filter(Group::exists);
            earlier.unwrap_or_else(|| cgroups.group(name, &cgroup_limits(&confine.cgroup)))
        });
        let mut entrances = Vec::new();
        if let Some(group) = &group {
            for sentence in &group.warnings {
                confined.warn(sentence.clone())?;
            }
            match group.entrances() {
                Ok(files) => entrances = files,
                Err(cause) => confined.warn(format!("cannot enter its cgroup: {cause}"))?,
            }
        }
        Ok(Self { confined, group, environment, secrets, entrances })
    }

    /// The descriptors to hand over after `descriptors`; the environment tells where each is. Programs know the form
    /// `NAME_FILE`, and read a path.
    pub(super) fn hand_secrets<'a>(
        &'a self,
        descriptors: &mut Vec<(i32, BorrowedFd<'a>)>,
        environment: &mut Vec<(OsString, OsString)>,
    ) {
        for (name, content) in &self.secrets {
            let number = descriptors.iter().map(|(place, _)| place + 1).max().unwrap_or(FIRST_DESCRIPTOR);
            environment.push(pair(&format!("{name}_FILE"), format!("/proc/self/fd/{number}")));
            descriptors.push((number, content.as_fd()));
        }
    }

    /// What the process writes itself into.
    pub(super) fn entrances(&self) -> Vec<BorrowedFd<'_>> {
        self.entrances.iter().map(AsFd::as_fd).collect()
    }
}

/// What all instances of a service together are held to.
pub(super) fn cgroup_limits(configured: &CgroupLimits) -> Limits {
    let CgroupLimits { memory_bytes_max, cpu_percent_max, pids_max } = *configured;
    Limits { memory_bytes_max, cpu_percent_max, pids_max }
}

fn variables_of(file: &str) -> Result<Vec<(OsString, OsString)>, OutfitError> {
    let text = files::read(Path::new(file), VARIABLES_BYTES_MAX);
    let text = text.map_err(|cause| OutfitError::EnvironmentFile { file: file.to_owned(), cause })?;
    parse_variables(&text).map_err(|cause| OutfitError::EnvironmentLine { file: file.to_owned(), cause })
}

fn confinement(configured: &Confine) -> Confinement {
    Confinement {
        user: configured.user.clone(),
        group: configured.group.clone(),
        supplementary_groups: configured.supplementary_groups.clone(),
        capabilities: configured.capabilities.clone(),
        no_new_privs: configured.no_new_privs,
        limits: configured.limits.iter().map(|(resource, limit)| limit_of(*resource, limit)).collect(),
        nice: configured.nice,
        oom_score_adj: configured.oom_score_adj.or_else(above_ours),
        umask: configured.umask.map(|umask| umask.0),
        directory: configured.directory.as_ref().map(Into::into),
        sandbox_required: configured.sandbox == Sandbox::Required,
    }
}

/// When memory runs out, everything that we run goes before us, with whom it would all go.
fn above_ours() -> Option<i32> {
    limits::oom_score_adj().map(|ours| (ours + OOM_SCORE_ABOVE).min(limits::OOM_SCORE_MAX))
}

fn limit_of(resource: Resource, limit: &Limit) -> confine::Limit {
    let resource = match resource {
        Resource::Nofile => limits::Resource::OpenFiles,
        Resource::Nproc => limits::Resource::Processes,
        Resource::CoreBytes => limits::Resource::Core,
        Resource::AsBytes => limits::Resource::AddressSpace,
        Resource::DataBytes => limits::Resource::Data,
        Resource::MemlockBytes => limits::Resource::LockedMemory,
        Resource::StackBytes => limits::Resource::Stack,
        Resource::CpuS => limits::Resource::Cpu,
        Resource::FsizeBytes => limits::Resource::FileSize,
    };
    let amount = |amount| match amount {
        Amount::Number(number) => number,
        Amount::Unlimited => u64::MAX,
    };
    confine::Limit { resource, soft: limit.soft.map(amount), hard: limit.hard.map(amount) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CAPABILITIES;

    #[test]
    fn every_capability_that_a_configuration_may_name_is_known_here() {
        for name in CAPABILITIES {
            assert!(confine::is_capability(name), "{name}");
        }
        assert!(!confine::is_capability("CAP_NOTHING"));
    }
}
