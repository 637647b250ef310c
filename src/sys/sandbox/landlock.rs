//! The wall of Landlock: no file is opened, no TCP port is bound, none but the bus's is connected to; on newer kernels
//! no signal and no abstract Unix socket leads out either.
//!
//! Descriptors that are open already go on as before.

use std::io;

use ::landlock::{
    ABI, Access, AccessFs, AccessNet, CreateRulesetError, LandlockStatus, NetPort, RestrictSelfError, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};

use nix::errno::Errno;
use nix::libc;

use super::Profile;

/// The first version that knows TCP ports (Linux 6.7).
pub(super) const FIRST_WITH_PORTS: u32 = 4;
/// The newest version whose rights are all refused here, as far as the kernel has them (Linux 6.12).
const KNOWN: ABI = ABI::V6;

/// Why there is no Landlock.
#[derive(Debug, thiserror::Error)]
pub enum LandlockError {
    /// The kernel was built without it, or a container's filter hides it.
    #[error("this kernel has no Landlock, or a container hides it")]
    Absent,
    /// The kernel was started without it.
    #[error("this kernel was started without Landlock (see its parameter lsm=)")]
    Off,
    /// The kernel refused.
    #[error("the kernel refused it: {0}")]
    Refused(io::Error),
    /// Our rules are at fault.
    #[error("{0}")]
    Rules(RulesetError),
}

/// Restricts this thread for good; answers the kernel's version of Landlock.
pub(super) fn enter(profile: Profile<'_>) -> Result<u32, LandlockError> {
    let status = restrict(profile).map_err(|error| match error {
        RulesetError::CreateRuleset(CreateRulesetError::CreateRulesetCall { source, .. })
        | RulesetError::RestrictSelf(
            RestrictSelfError::RestrictSelfCall { source, .. } | RestrictSelfError::SetNoNewPrivsCall { source, .. },
        ) => LandlockError::Refused(source),
        other => LandlockError::Rules(other),
    })?;
    match status {
        LandlockStatus::Available { effective_abi, .. } => Ok(effective_abi as u32),
        LandlockStatus::NotEnabled => Err(LandlockError::Off),
        LandlockStatus::NotImplemented => Err(LandlockError::Absent),
    }
}

/// The kernel's version of Landlock (landlock_create_ruleset(2)).
pub fn landlock_version() -> Result<u32, LandlockError> {
    const VERSION: libc::c_uint = 1;
    // SAFETY: with this flag and without a structure the call only answers a number.
    let answer = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, VERSION) };
    match Errno::result(answer) {
        Ok(version) => Ok(u32::try_from(version).unwrap_or_default()),
        Err(Errno::EOPNOTSUPP) => Err(LandlockError::Off),
        Err(Errno::ENOSYS | Errno::EPERM) => Err(LandlockError::Absent),
        Err(cause) => Err(LandlockError::Refused(cause.into())),
    }
}

/// Every right that the kernel knows needs a rule from here on, and there is none but for the bus's ports.
fn restrict(profile: Profile<'_>) -> Result<LandlockStatus, RulesetError> {
    let ports = match profile {
        Profile::Bus | Profile::Log { .. } => &[],
        Profile::BackEnd { bus } => bus,
    };
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?;
    let rules =
        ports.iter().try_fold(rules, |rules, port| rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp)))?;
    Ok(rules.restrict_self()?.landlock)
}
