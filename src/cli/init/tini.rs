//! tini's command line, which is that of `torus init`.

use std::ffi::OsString;

use tracing::level_filters::LevelFilter;

use super::words::Options;
use super::{Asked, Environment, UsageError, value};
use crate::supervisor::init::{Init, Like, Policy, Scope};
use crate::sys::signals;

pub(in crate::cli) const HELP: &str = "\
Run one command under an init: signals reach it, orphans are collected, its exit code is ours

Usage: torus init [OPTIONS] [--] COMMAND [ARGUMENTS]...

Takes the place of tini, option by option; called by the name tini or docker-init it is the same.
Called by the name dumb-init it takes the place of dumb-init: dumb-init --help.

Options:
  -g          Signal the command's whole process group [env: TINI_KILL_PROCESS_GROUP]
  -e CODE     Exit with 0 where the command exits with CODE, 0 to 255 (repeatable)
  -s          Collect orphans without being PID 1, as a subreaper [env: TINI_SUBREAPER]
  -p SIGNAL   Get SIGNAL, by name or number, when our own parent dies; it is handed on like any
  -w          Warn of each orphan that is collected
  -v          Tell more: starts and ends, then signals (repeatable) [env: TINI_VERBOSITY, default 1]
  -l          Print the licence
  -h, --help  Print this
  --version   Print the version

Exit code: the command's own; 128 + N if signal N ended it; 127 if there is no such program, 126 if
it may not be executed, 1 for a mistake in these words.

Examples:
  torus init -- nginx -g 'daemon off;'
  torus init -g -- sh -c 'worker & exec server'     every process gets docker stop's SIGTERM
  torus init -e 143 -- java -jar app.jar            a JVM that was asked to stop has not failed
  ENTRYPOINT [\"torus\", \"init\", \"--\"]                in the place of ENTRYPOINT [\"tini\", \"--\"]
  COPY torus /usr/bin/tini                          in the place of tini, for images that name it
";

const OPTIONS: Options = Options { flags: "ghlsvwV", valued: "ep", long: &[("help", 'h'), ("version", 'V')] };

pub(super) fn parse(words: &[OsString], environment: &Environment) -> Result<Asked, UsageError> {
    let (given, command) = OPTIONS.split(words)?;
    let mut policy = Policy::of(Like::Tini);
    let mut init = Init {
        command,
        policy: policy.clone(),
        adopt_orphans: environment("TINI_SUBREAPER").is_some(),
        parent_death_signal: None,
        warn_of_orphans: false,
    };
    let mut verbosity = 1;
    if environment("TINI_KILL_PROCESS_GROUP").is_some() {
        policy.signal(Scope::Group);
    }
    for given in &given {
        match given.letter {
            'h' => return Ok(Asked::Help),
            'l' => return Ok(Asked::Licence),
            'V' => return Ok(Asked::Version),
            'g' => policy.signal(Scope::Group),
            's' => init.adopt_orphans = true,
            'w' => init.warn_of_orphans = true,
            'v' => verbosity += 1,
            'e' => policy.succeed_on(value(given, "an exit code from 0 to 255", |text| text.parse().ok())?),
            'p' => init.parent_death_signal = Some(value(given, "a signal like SIGTERM", signals::number)?),
            _ => unreachable!("the options above are all that there are"),
        }
    }
    if init.command.is_empty() {
        return Err(UsageError::NoCommand);
    }
    if let Some(text) = environment("TINI_VERBOSITY") {
        // Like tini: what is no number is none, and the variable has the last word.
        verbosity = text.to_str().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    }
    init.policy = policy;
    Ok(Asked::Run(init, level(verbosity)))
}

fn level(verbosity: i32) -> LevelFilter {
    match verbosity {
        ..=0 => LevelFilter::ERROR,
        1 => LevelFilter::WARN,
        2 => LevelFilter::INFO,
        3.. => LevelFilter::DEBUG,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str, variables: &[(&str, &str)]) -> Result<Asked, String> {
        let words: Vec<OsString> = line.split(' ').filter(|word| !word.is_empty()).map(OsString::from).collect();
        let variables: Vec<(String, OsString)> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), value.into())).collect();
        let environment = move |name: &str| Some(variables.iter().find(|(known, _)| known == name)?.1.clone());
        parse(&words, &environment).map_err(|error| error.to_string())
    }

    fn run(line: &str, variables: &[(&str, &str)]) -> (Init, LevelFilter) {
        match asked(line, variables) {
            Ok(Asked::Run(init, level)) => (init, level),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn each_option_is_understood() {
        let (init, level) = run("-gsw -p SIGUSR1 -e 143 -e3 -vv -- sh -c -g", &[]);
        assert_eq!(init.command, ["sh", "-c", "-g"]);
        assert!(init.adopt_orphans && init.warn_of_orphans);
        assert_eq!(init.parent_death_signal, Some(10));
        assert_eq!(level, LevelFilter::DEBUG);
        let policy = format!("{:?}", init.policy);
        assert!(policy.contains("Group") && policy.contains("{3, 143}"), "{policy}");
    }

    #[test]
    fn without_options_it_is_quiet_and_signals_the_process_alone() {
        let (init, level) = run("true", &[]);
        assert!(!init.adopt_orphans && !init.warn_of_orphans && init.parent_death_signal.is_none());
        assert!(format!("{:?}", init.policy).contains("Process"));
        assert_eq!(level, LevelFilter::WARN);
    }

    #[test]
    fn variables_say_the_same_as_options_even_when_they_are_empty() {
        let variables = [("TINI_SUBREAPER", ""), ("TINI_KILL_PROCESS_GROUP", ""), ("TINI_VERBOSITY", "0")];
        let (init, level) = run("-vv true", &variables);
        assert!(init.adopt_orphans && format!("{:?}", init.policy).contains("Group"));
        assert_eq!(level, LevelFilter::ERROR);
        assert_eq!(run("true", &[("TINI_VERBOSITY", "3")]).1, LevelFilter::DEBUG);
        assert_eq!(run("true", &[("TINI_VERBOSITY", "much")]).1, LevelFilter::ERROR);
    }

    #[test]
    fn a_mistake_says_what_and_which() {
        let mistake = |line| asked(line, &[]).unwrap_err();
        assert_eq!(mistake("-e 256 true"), "option -e takes an exit code from 0 to 255, not \"256\"");
        assert_eq!(mistake("-p NOPE true"), "option -p takes a signal like SIGTERM, not \"NOPE\"");
        assert_eq!(mistake("-z true"), "there is no option -z");
        assert_eq!(mistake("-g --"), "there is no command to run");
        assert!(matches!(asked("--version", &[]), Ok(Asked::Version)));
        assert!(matches!(asked("--help", &[]), Ok(Asked::Help)));
        assert!(matches!(asked("-l", &[]), Ok(Asked::Licence)));
    }
}
