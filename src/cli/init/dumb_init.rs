//! dumb-init's command line.

use std::ffi::OsString;

use tracing::level_filters::LevelFilter;

use super::words::Options;
use super::{Asked, Environment, UsageError, value};
use crate::supervisor::init::{Init, Like, Policy, Rewrite, Scope};

pub(super) const HELP: &str = "\
Run one command under an init, in a session of its own: signals reach all of it, orphans are
collected, its exit code is ours. This is Torus in the place of dumb-init; see also torus init --help

Usage: dumb-init [OPTIONS] [--] COMMAND [ARGUMENTS]...

Options:
  -c, --single-child  Signal the command alone, which stays in our session [env: DUMB_INIT_SETSID=0]
  -r, --rewrite S:R   Send R for a received S, by number or name; for 0 nothing (repeatable)
  -v, --verbose       Tell starts, ends and signals [env: DUMB_INIT_DEBUG=1]
  -V, --version       Print the version
  -h, --help          Print this

When the command ends, the rest of its session gets SIGTERM, or what that is rewritten to.
Exit code: the command's own; 128 + N if signal N ended it; 2 if it cannot be executed, 1 for a
mistake in these words.

Examples:
  dumb-init -- python3 server.py
  dumb-init -r 15:3 -- nginx -g 'daemon off;'    docker stop lets nginx finish its requests
  dumb-init -r TERM:0 -- sh run.sh               nothing is told of SIGTERM
  ln -s torus /usr/bin/dumb-init                 how Torus comes by this name
";

const OPTIONS: Options = Options {
    flags: "chvV",
    valued: "r",
    long: &[("single-child", 'c'), ("rewrite", 'r'), ("verbose", 'v'), ("version", 'V'), ("help", 'h')],
};

pub(super) fn parse(words: &[OsString], environment: &Environment) -> Result<Asked, UsageError> {
    let (given, command) = OPTIONS.split(words)?;
    let mut policy = Policy::of(Like::DumbInit);
    let is = |name, expected: &str| environment(name).is_some_and(|value| value == expected);
    let mut verbose = is("DUMB_INIT_DEBUG", "1");
    if is("DUMB_INIT_SETSID", "0") {
        policy.signal(Scope::Process);
    }
    for given in &given {
        match given.letter {
            'h' => return Ok(Asked::Help),
            'V' => return Ok(Asked::Version),
            'v' => verbose = true,
            'c' => policy.signal(Scope::Process),
            'r' => policy.rewrite(value(given, "two signals like 15:3 or TERM:0", Rewrite::parse)?),
            _ => unreachable!("the options above are all that there are"),
        }
    }
    if command.is_empty() {
        return Err(UsageError::NoCommand);
    }
    let init = Init { command, policy, adopt_orphans: false, parent_death_signal: None, warn_of_orphans: false };
    Ok(Asked::Run(init, if verbose { LevelFilter::DEBUG } else { LevelFilter::WARN }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a command line asks for, as text.
    fn asked(line: &str, variable: &'static str) -> String {
        let words: Vec<OsString> = line.split(' ').filter(|word| !word.is_empty()).map(OsString::from).collect();
        let environment = move |name: &str| variable.strip_prefix(name)?.strip_prefix('=').map(OsString::from);
        match parse(&words, &environment) {
            Ok(Asked::Run(init, level)) => {
                let policy = format!("{:?}", init.policy);
                let scope = if policy.contains("Group") { "session" } else { "single" };
                format!("{scope} {} {level} {:?}", policy.matches("Rewrite {").count(), init.command)
            }
            Ok(other) => format!("{other:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn options_and_variables_are_understood() {
        for (line, variable, expected) in [
            ("-- sh -c x", "", r#"session 0 warn ["sh", "-c", "x"]"#),
            ("-c sh -v", "", r#"single 0 warn ["sh", "-v"]"#),
            ("sh", "DUMB_INIT_SETSID=0", r#"single 0 warn ["sh"]"#),
            ("sh", "DUMB_INIT_SETSID=1", r#"session 0 warn ["sh"]"#),
            ("sh", "DUMB_INIT_DEBUG=1", r#"session 0 debug ["sh"]"#),
            ("-v --rewrite=15:3 -r 1:0 --rew TERM:HUP sh", "", r#"session 3 debug ["sh"]"#),
            ("-V", "", "Version"),
            ("--help", "", "Help"),
            ("", "", "there is no command to run"),
            ("-r 15 sh", "", r#"option -r takes two signals like 15:3 or TERM:0, not "15""#),
        ] {
            assert_eq!(asked(line, variable), expected, "{line} {variable}");
        }
    }
}
