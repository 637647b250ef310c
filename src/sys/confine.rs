//! Least privilege for one process: what is asked for, resolved before the fork into what the child can apply with bare
//! system calls.
//!
//! Whom it runs as is never approximated: a user or group that does not exist, or that we may not become, is an error.
//! Everything else that this machine or our own rights do not give is told as a warning, or is an error too where
//! [`Confinement::sandbox_required`] says so.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use caps::{CapSet, Capability, CapsHashSet};
use nix::errno::Errno;
use nix::libc;
use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid, getgrouplist, getgroups, getresgid, getresuid, getuid};

use super::limits::Resource;

/// What a process is to be held to. What is absent stays as it is with us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confinement {
    /// Whom it runs as: a name or a number.
    pub user: Option<String>,
    /// Its group; without it the user's own, or the number of a user who has no entry.
    pub group: Option<String>,
    /// Its further groups, exactly these; without it the user's.
    pub supplementary_groups: Option<Vec<String>>,
    /// Its capabilities, exactly these.
    pub capabilities: Option<Vec<String>>,
    /// Whether no program that it executes may have more privileges than it has.
    pub no_new_privs: bool,
    /// Resource limits.
    pub limits: Vec<Limit>,
    /// Its priority, -20 to 19.
    pub nice: Option<i32>,
    /// -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Permission bits that new files do not get.
    pub umask: Option<u32>,
    /// Where it starts; entered with its own rights.
    pub directory: Option<PathBuf>,
    /// Whether what cannot be had is an error.
    pub sandbox_required: bool,
}

/// A resource limit; what is absent stays, except that the soft limit never exceeds the hard one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Of what.
    pub resource: Resource,
    /// What holds; `u64::MAX` is unlimited.
    pub soft: Option<u64>,
    /// Up to where the process may raise it; `u64::MAX` is unlimited.
    pub hard: Option<u64>,
}

/// Why a process cannot be confined as asked.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// No such user.
    #[error("there is no user {0:?}")]
    NoUser(String),
    /// No such group.
    #[error("there is no group {0:?}")]
    NoGroup(String),
    /// The users or groups cannot be read.
    #[error("cannot look up {what}: {cause}")]
    Lookup {
        /// Whom.
        what: String,
        /// The system's answer.
        cause: Errno,
    },
    /// Changing takes a capability that we lack.
    #[error("cannot {what}: that takes {capability}, which the supervisor (user {uid}) does not have")]
    Privilege {
        /// What was to be done.
        what: String,
        /// What it takes.
        capability: Capability,
        /// Who we are.
        uid: Uid,
    },
    /// Somebody else's process could be started, but never signalled.
    #[error("cannot change to user {0}: without CAP_KILL the supervisor could not stop it")]
    Unstoppable(String),
    /// Something cannot be had, and nothing less is accepted.
    #[error("{0}; sandbox is required")]
    Required(String),
    /// C strings cannot carry a NUL byte.
    #[error("the directory's path contains a NUL byte")]
    Nul,
    /// Our own capabilities cannot be read.
    #[error("cannot read the supervisor's capabilities: {0}")]
    Capabilities(caps::errors::CapsError),
}

/// A user, as programs are told by the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The name; of a user without an entry the number.
    pub name: String,
    /// The home directory; of a user without an entry `/`.
    pub home: PathBuf,
}

/// A confinement in numbers, for the child to apply.
#[derive(Debug, Default)]
pub struct Confined {
    /// Whom it runs as, if that was asked for.
    pub account: Option<Account>,
    /// What cannot be had, in sentences.
    pub warnings: Vec<String>,
    pub(super) groups: Option<Vec<libc::gid_t>>,
    pub(super) gid: Option<libc::gid_t>,
    pub(super) uid: Option<libc::uid_t>,
    /// The capabilities to keep, a bit each.
    pub(super) capabilities: Option<u64>,
    pub(super) no_new_privs: bool,
    pub(super) limits: Vec<Limit>,
    pub(super) nice: Option<i32>,
    pub(super) oom_score_adj: Option<i32>,
    pub(super) umask: Option<u32>,
    pub(super) directory: Option<CString>,
    pub(super) sandbox_required: bool,
}

impl Confinement {
    /// Looks up users, groups and our own rights. It may read files (passwd(5), group(5)), so it is for before a fork.
    pub fn resolve(&self) -> Result<Confined, ConfineError> {
        let mut confined = Confined {
            no_new_privs: self.no_new_privs,
            limits: self.limits.clone(),
            nice: self.nice,
            oom_score_adj: self.oom_score_adj,
            umask: self.umask,
            sandbox_required: self.sandbox_required,
            ..Confined::default()
        };
        if let Some(directory) = &self.directory {
            let path = CString::new(directory.as_os_str().as_bytes()).map_err(|_| ConfineError::Nul)?;
            confined.directory = Some(path);
        }
        self.resolve_identity(&mut confined)?;
        if let Some(names) = &self.capabilities {
            let (kept, missing) = grantable(names, &own(CapSet::Permitted)?, &own(CapSet::Bounding)?);
            confined.capabilities = Some(kept);
            if !missing.is_empty() {
                let missing = missing.join(", ");
                confined.warn(format!("it runs without {missing}: the supervisor has no such capability to give"))?;
            }
        }
        Ok(confined)
    }

    fn resolve_identity(&self, confined: &mut Confined) -> Result<(), ConfineError> {
        let user = self.user.as_deref().map(find_user).transpose()?;
        let new_user = user.as_ref().is_some_and(|user| !is_ours(user.uid));
        if let (Some(user), Some(name)) = (&user, &self.user) {
            confined.account =
                Some(Account { name: user.name.clone().unwrap_or(name.clone()), home: user.home.clone() });
            if new_user {
                need(Capability::CAP_SETUID, || format!("change to user {name}"))?;
                let stoppable = [getuid(), geteuid()].contains(&user.uid) || has(Capability::CAP_KILL)?;
                if !stoppable {
                    return Err(ConfineError::Unstoppable(name.clone()));
                }
                confined.uid = Some(user.uid.as_raw());
            }
        }

        // A user who is ours already brings no groups of its own: ours were chosen by who started us.
        let gid = match &self.group {
            Some(name) => Some(find_group(name)?),
            None => user.as_ref().filter(|_| new_user).map(|user| user.gid),
        };
        if let Some(gid) = gid.filter(|gid| !is_our_group(*gid)) {
            need(Capability::CAP_SETGID, || match (&self.group, &self.user) {
                (Some(name), _) | (None, Some(name)) => format!("change to group {name}"),
                (None, None) => format!("change to group {gid}"),
            })?;
            confined.gid = Some(gid.as_raw());
        }

        let groups = match (&self.supplementary_groups, &user) {
            (Some(names), _) => Some(names.iter().map(|name| find_group(name)).collect::<Result<Vec<_>, _>>()?),
            (None, Some(user)) if new_user => Some(user.groups(gid.unwrap_or_else(getegid))?),
            _ => None,
        };
        if let Some(groups) = groups.filter(|groups| !are_our_groups(groups)) {
            need(Capability::CAP_SETGID, || "set the supplementary groups".to_owned())?;
            confined.groups = Some(groups.into_iter().map(Gid::as_raw).collect());
        }
        Ok(())
    }
}

impl Confined {
    /// Tells what cannot be had, or refuses to go on without it.
    pub fn warn(&mut self, sentence: String) -> Result<(), ConfineError> {
        if self.sandbox_required {
            return Err(ConfineError::Required(sentence));
        }
        self.warnings.push(sentence);
        Ok(())
    }
}

/// Whether a capability has this name, like `CAP_CHOWN`.
pub fn is_capability(name: &str) -> bool {
    name.parse::<Capability>().is_ok()
}

/// Whether there is such a user. A number stands for itself.
pub fn check_user(name: &str) -> Result<(), ConfineError> {
    if is_number(name) { Ok(()) } else { find_user(name).map(drop) }
}

/// Whether there is such a group. A number stands for itself.
pub fn check_group(name: &str) -> Result<(), ConfineError> {
    find_group(name).map(drop)
}

fn is_number(name: &str) -> bool {
    name.parse::<u32>().is_ok()
}

/// A user that exists, or a number that stands for itself.
struct Found {
    uid: Uid,
    gid: Gid,
    /// Absent for a number without an entry.
    name: Option<String>,
    home: PathBuf,
}

impl Found {
    /// The further groups of a user with an entry.
    fn groups(&self, gid: Gid) -> Result<Vec<Gid>, ConfineError> {
        let Some(name) = &self.name else { return Ok(Vec::new()) };
        let lookup = |cause| ConfineError::Lookup { what: format!("the groups of {name:?}"), cause };
        let name = CString::new(name.as_str()).map_err(|_| ConfineError::NoUser(name.clone()))?;
        getgrouplist(&name, gid).map_err(lookup)
    }
}

fn find_user(name: &str) -> Result<Found, ConfineError> {
    let number = name.parse::<u32>().ok().map(Uid::from_raw);
    let entry = match number {
        Some(uid) => User::from_uid(uid),
        None => User::from_name(name),
    };
    let entry = or_absent(entry).map_err(|cause| ConfineError::Lookup { what: format!("the user {name:?}"), cause })?;
    match (entry, number) {
        (Some(User { uid, gid, name, dir, .. }), _) => Ok(Found { uid, gid, name: Some(name), home: dir }),
        // Not group 0, which is root's.
        (None, Some(uid)) => Ok(Found { uid, gid: Gid::from_raw(uid.as_raw()), name: None, home: "/".into() }),
        (None, None) => Err(ConfineError::NoUser(name.to_owned())),
    }
}

fn find_group(name: &str) -> Result<Gid, ConfineError> {
    if let Ok(number) = name.parse::<u32>() {
        return Ok(Gid::from_raw(number));
    }
    let entry = or_absent(Group::from_name(name));
    let entry = entry.map_err(|cause| ConfineError::Lookup { what: format!("the group {name:?}"), cause })?;
    entry.map(|entry| entry.gid).ok_or_else(|| ConfineError::NoGroup(name.to_owned()))
}

/// Several errors only mean that there is no entry, as where there is no file of users at all (getpwnam(3)).
fn or_absent<T>(entry: nix::Result<Option<T>>) -> nix::Result<Option<T>> {
    match entry {
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM) => Ok(None),
        entry => entry,
    }
}

fn is_ours(uid: Uid) -> bool {
    getresuid().is_ok_and(|ours| [ours.real, ours.effective, ours.saved] == [uid; 3])
}

fn is_our_group(gid: Gid) -> bool {
    getresgid().is_ok_and(|ours| [ours.real, ours.effective, ours.saved] == [gid; 3])
}

fn are_our_groups(groups: &[Gid]) -> bool {
    let sorted = |groups: &[Gid]| {
        let mut numbers: Vec<u32> = groups.iter().map(|gid| gid.as_raw()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    };
    getgroups().is_ok_and(|ours| sorted(&ours) == sorted(groups))
}

fn own(set: CapSet) -> Result<CapsHashSet, ConfineError> {
    caps::read(None, set).map_err(ConfineError::Capabilities)
}

fn has(capability: Capability) -> Result<bool, ConfineError> {
    Ok(own(CapSet::Effective)?.contains(&capability))
}

fn need(capability: Capability, what: impl FnOnce() -> String) -> Result<(), ConfineError> {
    if has(capability)? {
        return Ok(());
    }
    Err(ConfineError::Privilege { what: what(), capability, uid: geteuid() })
}

/// Those that can be given, a bit each, and the names of those that cannot.
fn grantable(names: &[String], permitted: &CapsHashSet, bounding: &CapsHashSet) -> (u64, Vec<String>) {
    let mut missing = Vec::new();
    let kept = names.iter().fold(0, |kept, name| match name.parse::<Capability>() {
        Ok(capability) if permitted.contains(&capability) && bounding.contains(&capability) => {
            kept | capability.bitmask()
        }
        _ => {
            missing.push(name.clone());
            kept
        }
    });
    (kept, missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_or_group_that_does_not_exist_is_named() {
        let user = Confinement { user: Some("nobody-here".into()), ..Confinement::default() };
        assert_eq!(user.resolve().unwrap_err().to_string(), "there is no user \"nobody-here\"");
        let group = Confinement { group: Some("nobody-here".into()), ..Confinement::default() };
        assert_eq!(group.resolve().unwrap_err().to_string(), "there is no group \"nobody-here\"");
        let groups = Confinement { supplementary_groups: Some(vec!["nobody-here".into()]), ..Confinement::default() };
        assert_eq!(groups.resolve().unwrap_err().to_string(), "there is no group \"nobody-here\"");
    }

    #[test]
    fn who_we_are_already_changes_nothing_and_needs_no_privilege() {
        let confinement = Confinement { user: Some(geteuid().to_string()), ..Confinement::default() };
        let confined = confinement.resolve().unwrap();
        assert_eq!((confined.uid, confined.gid, confined.groups), (None, None, None));
    }

    #[test]
    fn nobody_is_started_whom_we_could_not_stop() {
        // Capabilities belong to the thread, so the rest of this process keeps its own.
        let attempt = std::thread::spawn(|| {
            caps::drop(None, CapSet::Effective, Capability::CAP_KILL).unwrap();
            let confinement = Confinement { user: Some("4000000001".into()), ..Confinement::default() };
            (has(Capability::CAP_SETUID).unwrap(), confinement.resolve().unwrap_err().to_string())
        });
        let (may_change, error) = attempt.join().unwrap();
        let expected =
            if may_change { "without CAP_KILL the supervisor could not stop it" } else { "that takes CAP_SETUID" };
        assert!(error.starts_with("cannot change to user 4000000001: ") && error.contains(expected), "{error}");
    }

    #[test]
    fn a_number_without_an_entry_stands_for_itself_and_its_group() {
        let found = find_user("4000000001").unwrap();
        assert_eq!((found.uid.as_raw(), found.gid.as_raw(), found.name), (4_000_000_001, 4_000_000_001, None));
        assert_eq!(find_user("0").unwrap().name.as_deref(), Some("root"));
        assert_eq!(find_group("4000000001").unwrap().as_raw(), 4_000_000_001);
    }

    #[test]
    fn a_capability_that_is_not_ours_to_give_is_a_warning_or_a_refusal() {
        let ours = CapsHashSet::from([Capability::CAP_CHOWN, Capability::CAP_KILL]);
        let bounding = CapsHashSet::from([Capability::CAP_CHOWN]);
        let names = ["CAP_CHOWN", "CAP_KILL", "CAP_SYS_TIME"].map(str::to_owned);
        let (kept, missing) = grantable(&names, &ours, &bounding);
        assert_eq!(kept, Capability::CAP_CHOWN.bitmask());
        assert_eq!(missing, ["CAP_KILL", "CAP_SYS_TIME"]);

        let mut confined = Confined::default();
        confined.warn("no".into()).unwrap();
        assert_eq!(confined.warnings, ["no"]);
        confined.sandbox_required = true;
        assert_eq!(confined.warn("no".into()).unwrap_err().to_string(), "no; sandbox is required");
    }
}
