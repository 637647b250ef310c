//! `torus completions SHELL`, and `torus man DIRECTORY` for who makes a package: both are made from the command line's own
//! description, so they tell what this build has.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Arguments, fail, print};

#[derive(Debug, Args)]
#[command(after_help = "Example: torus completions bash > /etc/bash_completion.d/torus")]
pub(super) struct CompletionsArgs {
    shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Where they are written: torus.1, and a page for each subcommand
    directory: PathBuf,
}

pub(super) fn run(arguments: &CompletionsArgs) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "torus", &mut script);
    print(&String::from_utf8_lossy(&script))
}

pub(super) fn man(arguments: &ManArgs) -> ExitCode {
    match write_pages(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(format_args!("cannot write man pages to {}: {error}", arguments.directory.display())),
    }
}

fn write_pages(ManArgs { directory }: &ManArgs) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    clap_mangen::generate_to(Arguments::command().disable_help_subcommand(true), directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_what_users_call_and_none_for_what_they_do_not() {
        let directory = std::env::temp_dir().join(format!("torus-man-{}", std::process::id()));
        write_pages(&ManArgs { directory: directory.clone() }).unwrap();
        let page = fs::read_to_string(directory.join("torus.1")).unwrap();
        assert!(page.contains("torus\\-upgrade(1)") && !page.contains("torus\\-worker"), "{page}");
        let exists = |name: &str| directory.join(name).exists();
        assert!(exists("torus-upgrade.1") && exists("torus-config-check.1") && !exists("torus-worker.1"));
        fs::remove_dir_all(directory).unwrap();
    }
}
