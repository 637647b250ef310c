//! `torus logs`: what services have written last, and what they write from now on.

use crate::sys::runtime::Directory;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use clap::Args;

use super::{escape, fail, fail_output};
use crate::control::Follow;
use crate::control::client;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  torus logs -f hello\n  torus logs -n 100 web --instance 2 --json")]
pub(super) struct LogsArgs {
    /// The service's name [default: all services]
    service: Option<String>,
    /// One of its instances alone
    #[arg(long, requires = "service", value_name = "NUMBER")]
    instance: Option<u32>,
    /// Go on with lines as they come, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Lines of the past
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10)]
    lines: u32,
    /// One JSON object for each line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: LogsArgs, runtime_directory: &Directory) -> ExitCode {
    let LogsArgs { service, instance, follow, lines, json } = arguments;
    let format = if json { "json" } else { "text" }.to_owned();
    let follow = Follow { service, instance, lines, follow, format };
    let mut lines = match client::logs(runtime_directory, follow) {
        Ok(lines) => lines,
        Err(error) => return fail(error),
    };
    let mut stdout = io::stdout().lock();
    let mut buffer = vec![0; 64 << 10];
    // What came at the end of one piece and is not yet whole.
    let mut begun = Vec::new();
    loop {
        match lines.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => begun.extend_from_slice(&buffer[..read]),
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => return fail(format_args!("cannot read more lines: {cause}")),
        }
        let whole = begun.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let rest = begun.split_off(whole);
        let text = escape::lines(&String::from_utf8_lossy(&begun));
        if let Err(cause) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            return fail_output(&cause);
        }
        begun = rest;
    }
    ExitCode::SUCCESS
}
