//! `torus start`, `stop`, `restart`, `signal`, `plan`, `reload`, `upgrade`: what changes a running torus, and what would.
//!
//! Exit codes: 0 when what was asked for is reached, 1 when it is not or was refused, 2 for a wrong command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{escape, fail, print, status};
use crate::config;
use crate::control::client::{self, ClientError};
use crate::control::{Command, Done, Plan};
use crate::sys::runtime::Directory;

#[derive(Debug, Args)]
pub(super) struct ServiceArgs {
    /// The service's name, as `torus status` shows it before the slash
    service: String,
    #[command(flatten)]
    answer: AnswerArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: torus signal nginx HUP")]
pub(super) struct SignalArgs {
    /// The service's name, as `torus status` shows it before the slash
    service: String,
    /// The signal, by name or number: HUP, SIGHUP, 1
    signal: String,
    #[command(flatten)]
    answer: AnswerArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: torus plan new.yaml && torus reload new.yaml")]
pub(super) struct PlanArgs {
    /// The configuration [default: the file that the running torus read last]
    file: Option<PathBuf>,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: torus plan && torus reload")]
pub(super) struct ReloadArgs {
    /// The configuration [default: the file that the running torus read last]
    file: Option<PathBuf>,
    #[command(flatten)]
    answer: AnswerArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: install -m 755 torus.new /usr/local/bin/torus && torus upgrade")]
pub(super) struct UpgradeArgs {
    /// The new build [default: what is installed now where the running torus was started from]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    #[command(flatten)]
    answer: AnswerArgs,
}

#[derive(Debug, Args)]
struct AnswerArgs {
    /// Seconds to wait until it is reached
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    wait: u64,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn start(arguments: ServiceArgs, runtime_directory: &Directory) -> ExitCode {
    change(Command::Start { service: arguments.service }, &arguments.answer, runtime_directory)
}

pub(super) fn stop(arguments: ServiceArgs, runtime_directory: &Directory) -> ExitCode {
    change(Command::Stop { service: arguments.service }, &arguments.answer, runtime_directory)
}

pub(super) fn restart(arguments: ServiceArgs, runtime_directory: &Directory) -> ExitCode {
    change(Command::Restart { service: arguments.service }, &arguments.answer, runtime_directory)
}

pub(super) fn signal(arguments: SignalArgs, runtime_directory: &Directory) -> ExitCode {
    let command = Command::Signal { service: arguments.service, signal: arguments.signal };
    change(command, &arguments.answer, runtime_directory)
}

pub(super) fn reload(arguments: ReloadArgs, runtime_directory: &Directory) -> ExitCode {
    match file(arguments.file.as_deref()) {
        Ok(file) => change(Command::Reload { file }, &arguments.answer, runtime_directory),
        Err(error) => fail(error),
    }
}

pub(super) fn upgrade(arguments: UpgradeArgs, runtime_directory: &Directory) -> ExitCode {
    match file(arguments.binary.as_deref()) {
        Ok(binary) => change(Command::Upgrade { binary }, &arguments.answer, runtime_directory),
        Err(error) => fail(error),
    }
}

pub(super) fn plan(arguments: PlanArgs, runtime_directory: &Directory) -> ExitCode {
    let file = match file(arguments.file.as_deref()) {
        Ok(file) => file,
        Err(error) => return fail(error),
    };
    match client::plan(runtime_directory, file) {
        Ok(plan) => {
            warn_of_absent(&plan);
            print(&if arguments.json { json(&plan) } else { told(&plan) })
        }
        Err(error) => fail(error),
    }
}

/// Looks up here whom the planned file names: it may take a while, and everybody may ask for a plan, so the supervisor
/// does not. Who may not read the file is not warned.
fn warn_of_absent(plan: &Plan) {
    let Some(file) = plan.file.as_deref().map(Path::new).filter(|file| file.is_file()) else { return };
    if let Ok(loaded) = config::load(Some(file)) {
        super::warn_of_absent(&loaded);
    }
}

fn change(command: Command, answer: &AnswerArgs, runtime_directory: &Directory) -> ExitCode {
    match client::change(runtime_directory, &command, Duration::from_secs(answer.wait)) {
        Ok(done) => {
            let text = if answer.json { json(&done) } else { reached(&done) };
            let printed = print(&text);
            if done.reached { printed } else { ExitCode::FAILURE }
        }
        Err(ClientError::Refused(error)) => fail(escape::lines(&error)),
        Err(error) => fail(error),
    }
}

/// The file's whole path: the supervisor may live in another directory.
fn file(named: Option<&Path>) -> Result<Option<String>, String> {
    let Some(named) = named else { return Ok(None) };
    let whole = std::path::absolute(named).map_err(|cause| format!("cannot find {}: {cause}", named.display()))?;
    match whole.into_os_string().into_string() {
        Ok(text) => Ok(Some(text)),
        Err(name) => Err(format!("the file's name {name:?} is not UTF-8, which the control socket speaks")),
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("text and numbers are always JSON") + "\n"
}

fn told(plan: &Plan) -> String {
    if plan.changes.is_empty() {
        return "nothing changes\n".to_owned();
    }
    let width = plan.changes.iter().map(|change| change.service.chars().count()).max().unwrap_or(0);
    let line = |change: &crate::control::Change| {
        let text = format!("{:<7}  {:<width$}  {}", change.what.name(), change.service, change.why);
        escape::line(&text).to_string() + "\n"
    };
    plan.changes.iter().map(line).collect()
}

fn reached(done: &Done) -> String {
    if let Some(version) = &done.torus {
        return format!("{}\n", escape::line(&format!("torus {version} runs")));
    }
    let table = if done.services.is_empty() { "done\n".to_owned() } else { status::services(&done.services) };
    if done.reached {
        return table;
    }
    const LOG: &str = "what torus itself says (its standard error, the journal under systemd)";
    if done.because.is_empty() {
        return format!("{table}\nnot reached: {LOG} tells why\n");
    }
    let because = done.because.iter().map(|who| escape::line(&format!("not reached: {who}")) + "\n");
    format!("{table}\n{}hint: {LOG} tells more, and so may `torus logs`\n", because.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Change, VERSION, What};

    #[test]
    fn a_plan_is_a_table_of_what_happens_to_whom_and_why() {
        let change = |service: &str, what, why: &str| Change { service: service.into(), what, why: why.into() };
        let plan = Plan {
            version: VERSION,
            file: None,
            changes: vec![
                change("hello", What::Restart, "changed: what it runs"),
                change("web-server", What::Nothing, "changed in place: stop"),
            ],
        };
        insta::assert_snapshot!(told(&plan), @r"
        restart  hello       changed: what it runs
        nothing  web-server  changed in place: stop
        ");
        assert_eq!(told(&Plan { version: VERSION, file: None, changes: Vec::new() }), "nothing changes\n");
    }
}
