//! What the facts mean for a purpose: a pure function. Each check always tells what is wanted and why, whatever its outcome.

mod docker;
mod host;
mod kernel;
mod own;
#[cfg(test)]
mod tests;

use serde::Serialize;

use super::{Facts, Purpose};
use crate::config::{Config, Sandbox};

pub(super) use kernel::is_asked_for;
pub use kernel::{KERNEL_MAINTAINED, KERNEL_MIN};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It could not be made, or does not matter here.
    Skipped,
    /// All is well.
    Pass,
    /// Torus runs, with less than it should have.
    Warn,
    /// Torus cannot do here what it is configured to do.
    Fail,
}

impl State {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// What it is about: kernel, docker, host or torus.
    pub group: &'static str,
    /// The check's name, once in its group.
    pub name: String,
    /// How it came out.
    pub state: State,
    /// What was found; of a check that was skipped, why.
    pub found: String,
    /// What is wanted.
    pub wanted: String,
    /// Why that is wanted.
    pub why: String,
    /// What mends it: a command, or what to write where. Only what is not well has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// Judges the facts. Without a configuration that is valid, what depends on it is skipped.
pub fn judge(facts: &Facts, config: Option<&Config>, purpose: Purpose) -> Vec<Verdict> {
    let on = On { facts, config, purpose };
    [kernel::judge(&on), docker::judge(&on), host::judge(&on), own::judge(&on)].concat()
}

/// All that a verdict depends on.
struct On<'a> {
    facts: &'a Facts,
    config: Option<&'a Config>,
    purpose: Purpose,
}

impl On<'_> {
    fn is(&self, purposes: &[Purpose]) -> bool {
        purposes.contains(&self.purpose)
    }

    /// Whether the configuration keeps anything in the data directory. Nothing that can be configured does yet: what is
    /// wrong there hinders nobody.
    fn keeps_data(&self) -> bool {
        false
    }

    /// Whether a built-in worker refuses to start without its whole sandbox.
    fn needs_sandbox(&self) -> bool {
        let of_services =
            |config: &Config| config.services.values().any(|one| one.confine.sandbox == Sandbox::Required);
        self.config.is_some_and(|config| config.supervisor.sandbox == Sandbox::Required || of_services(config))
    }
}

/// A check before its outcome is known.
#[derive(Debug)]
struct Check {
    group: &'static str,
    name: String,
    wanted: String,
    why: String,
}

impl Check {
    fn new(group: &'static str, name: impl Into<String>, wanted: impl Into<String>, why: impl Into<String>) -> Self {
        Self { group, name: name.into(), wanted: wanted.into(), why: why.into() }
    }

    fn pass(self, found: impl Into<String>) -> Verdict {
        self.end(State::Pass, found.into(), None)
    }

    fn warn(self, found: impl Into<String>, mend: impl Into<String>) -> Verdict {
        self.end(State::Warn, found.into(), Some(mend.into()))
    }

    fn fail(self, found: impl Into<String>, mend: impl Into<String>) -> Verdict {
        self.end(State::Fail, found.into(), Some(mend.into()))
    }

    /// A failure, or a warning.
    fn fail_if(self, fails: bool, found: impl Into<String>, mend: impl Into<String>) -> Verdict {
        self.end(if fails { State::Fail } else { State::Warn }, found.into(), Some(mend.into()))
    }

    fn skipped(self, because: impl Into<String>) -> Verdict {
        self.end(State::Skipped, because.into(), None)
    }

    /// What could not be found out.
    fn unknown(self, because: &str) -> Verdict {
        self.skipped(format!("not known: {because}"))
    }

    fn end(self, state: State, found: String, mend: Option<String>) -> Verdict {
        let Self { group, name, wanted, why } = self;
        Verdict { group, name, state, found, wanted, why, mend }
    }
}

/// Bytes as people read them: in the largest unit that leaves a number of at least one.
fn bytes(count: u64) -> String {
    const UNITS: [(u32, &str); 4] = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = UNITS.into_iter().find(|(shift, _)| count >> shift > 0);
    unit.map_or_else(
        || format!("{count} bytes"),
        |(shift, name)| {
            let tenths = (u128::from(count) * 10) >> shift;
            if tenths >= 100 || tenths % 10 == 0 {
                format!("{} {name}", tenths / 10)
            } else {
                format!("{}.{} {name}", tenths / 10, tenths % 10)
            }
        },
    )
}
