//! What people and programs read of verdicts.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Purpose, State, Verdict};

/// The version of the JSON; new fields do not change it.
pub const REPORT_VERSION: u32 = 1;

/// Verdicts for a purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What the machine is to be good for.
    pub purpose: Purpose,
    /// What came of each check.
    pub verdicts: Vec<Verdict>,
}

impl Report {
    /// How many checks came out so.
    pub fn count(&self, state: State) -> usize {
        self.verdicts.iter().filter(|verdict| verdict.state == state).count()
    }

    /// 1 if a check failed; 2 if one warned and warnings count; else 0.
    pub fn exit_code(&self, strict: bool) -> u8 {
        match (self.count(State::Fail), self.count(State::Warn)) {
            (0, 0) => 0,
            (0, _) if strict => 2,
            (0, _) => 0,
            _ => 1,
        }
    }

    /// One line of JSON.
    pub fn json(&self) -> String {
        #[derive(Serialize)]
        struct Counts {
            pass: usize,
            warn: usize,
            fail: usize,
            skipped: usize,
        }
        #[derive(Serialize)]
        struct Whole<'a> {
            version: u32,
            purpose: &'a str,
            counts: Counts,
            checks: &'a [Verdict],
        }
        let counts = Counts {
            pass: self.count(State::Pass),
            warn: self.count(State::Warn),
            fail: self.count(State::Fail),
            skipped: self.count(State::Skipped),
        };
        let whole = Whole { version: REPORT_VERSION, purpose: self.purpose.name(), counts, checks: &self.verdicts };
        serde_json::to_string(&whole).expect("text and numbers are always JSON") + "\n"
    }

    /// A line for each check, and below what is not well what is wanted, why, and what mends it. `show` prepares what came
    /// from outside.
    pub fn table(&self, colored: bool, show: impl Fn(&str) -> String) -> String {
        let width = self.verdicts.iter().map(|verdict| verdict.name.chars().count()).max().unwrap_or_default();
        let mut text = String::new();
        let mut group = "";
        for verdict in &self.verdicts {
            if verdict.group != group {
                let gap = if group.is_empty() { "" } else { "\n" };
                let _ = writeln!(text, "{gap}{}", verdict.group);
                group = verdict.group;
            }
            let state = painted(verdict.state, colored);
            let _ = writeln!(text, "  {state}  {:width$}  {}", show(&verdict.name), show(&verdict.found));
            if matches!(verdict.state, State::Warn | State::Fail) {
                let mend = verdict.mend.as_deref().unwrap_or_default();
                for (word, said) in [("wanted", &*verdict.wanted), ("why", &*verdict.why), ("mend", mend)] {
                    let _ = writeln!(text, "           {word:<6}  {}", show(said));
                }
            }
        }
        let _ = writeln!(text, "\nfor {}: {}", self.purpose.name(), self.sum());
        text
    }

    /// "1 failed, 2 warned, 12 passed, 3 skipped".
    pub fn sum(&self) -> String {
        let words =
            [(State::Fail, "failed"), (State::Warn, "warned"), (State::Pass, "passed"), (State::Skipped, "skipped")];
        let counts = words.map(|(state, word)| (self.count(state), word));
        let told = counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}"));
        told.collect::<Vec<_>>().join(", ")
    }

    /// What is not well, a line each, worst first; empty if all is.
    pub fn complaints(&self) -> Vec<String> {
        let of = |state: State| {
            self.verdicts.iter().filter(move |verdict| verdict.state == state).map(move |verdict| {
                let Verdict { group, name, found, wanted, why, mend, .. } = verdict;
                let mend = mend.as_deref().unwrap_or_default();
                format!("{}: {group}, {name}: {found}; wanted: {wanted}, since {why}; mend: {mend}", state.name())
            })
        };
        of(State::Fail).chain(of(State::Warn)).collect()
    }
}

/// The state, as wide as the longest, in its colour.
fn painted(state: State, colored: bool) -> String {
    let name = format!("{:<7}", state.name());
    let color = match state {
        State::Pass => 32,
        State::Warn => 33,
        State::Fail => 31,
        State::Skipped => 2,
    };
    if colored { format!("\x1b[{color}m{name}\x1b[0m") } else { name }
}
