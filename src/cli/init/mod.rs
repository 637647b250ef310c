//! `torus init`, and this program by the name of another init: what tini and dumb-init are called with, and what is told
//! on the way.

mod dumb_init;
mod tini;
mod words;

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

use tracing::level_filters::LevelFilter;

use super::{fail, log, print};
use crate::control::torus_version;
use crate::supervisor::init::{self, Init, InitError, Like};
use words::{Given, WordsError};

pub(super) use tini::HELP;

/// The command line of an init, in the manner of one.
#[derive(Clone, Copy, Debug)]
struct Manner {
    like: Like,
    /// What it is called in messages.
    name: &'static str,
    help: &'static str,
    parse: fn(&[OsString], &Environment) -> Result<Asked, UsageError>,
}

const TORUS: Manner = Manner { like: Like::Tini, name: "torus init", help: tini::HELP, parse: tini::parse };
const TINI: Manner = Manner { name: "tini", ..TORUS };
const DUMB_INIT: Manner =
    Manner { like: Like::DumbInit, name: "dumb-init", help: dumb_init::HELP, parse: dumb_init::parse };

/// The names of programs whose place this one takes. Docker's own init, of `docker run --init`, is tini.
const NAMES: [(&str, Manner); 4] =
    [("tini", TINI), ("tini-static", TINI), ("docker-init", TINI), ("dumb-init", DUMB_INIT)];

/// Looks up a variable.
type Environment = dyn Fn(&str) -> Option<OsString>;

/// What a command line asks for.
#[derive(Debug)]
enum Asked {
    Help,
    Version,
    Licence,
    Run(Init, LevelFilter),
}

#[derive(Debug, thiserror::Error)]
enum UsageError {
    #[error(transparent)]
    Words(#[from] WordsError),
    #[error("option -{option} takes {what}, not {value:?}")]
    Value { option: char, what: &'static str, value: OsString },
    #[error("there is no command to run")]
    NoCommand,
}

/// Runs the init that this process was called as, if it was. An init lives as long as its command: nothing else of the
/// command line is set up for it.
pub(super) fn by_name(words: &[OsString]) -> Option<ExitCode> {
    let name = words.first().map(Path::new)?.file_name()?;
    let named = NAMES.iter().find(|(known, _)| OsStr::new(known) == name);
    match (named, words.get(1)) {
        (Some((_, manner)), _) => Some(run_as(manner, &words[1..])),
        (None, Some(first)) if first == "init" => Some(run_as(&TORUS, &words[2..])),
        (None, _) => None,
    }
}

/// `torus init`, after global options.
pub(super) fn run(words: &[OsString]) -> ExitCode {
    run_as(&TORUS, words)
}

fn run_as(manner: &Manner, words: &[OsString]) -> ExitCode {
    let asked = (manner.parse)(words, &|name| std::env::var_os(name));
    let (init, level) = match asked {
        Ok(Asked::Help) => return print(manner.help),
        Ok(Asked::Version) => {
            let version = torus_version();
            return print(&match manner.name {
                "torus init" => format!("torus {version}\n"),
                name => format!("torus {version}, in the place of {name}\n"),
            });
        }
        Ok(Asked::Licence) => return print(concat!(env!("CARGO_PKG_LICENSE"), ", at your choice\n")),
        Ok(Asked::Run(init, level)) => (init, level),
        Err(error) => return fail(format_args!("{error}\nhint: {} -h tells the options, with examples", manner.name)),
    };
    log::install_from(level);
    match init::run(&init) {
        Ok(code) => ExitCode::from(code),
        Err(error) => fail_with(&error, code_of(&error, manner.like)),
    }
}

fn code_of(error: &InitError, like: Like) -> u8 {
    match error {
        InitError::Start(error) => error.code(like),
        InitError::System { .. } => 1,
    }
}

fn fail_with(error: &impl Display, code: u8) -> ExitCode {
    fail(error);
    ExitCode::from(code)
}

/// The value of an option, read.
fn value<T>(given: &Given, what: &'static str, read: impl FnOnce(&str) -> Option<T>) -> Result<T, UsageError> {
    let value = given.value.to_str().and_then(read);
    value.ok_or_else(|| UsageError::Value { option: given.letter, what, value: given.value.clone() })
}
