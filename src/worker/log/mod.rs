//! The log worker: reads what all services write, line by line, and passes it on to standard output or to the journal.
//!
//! The supervisor holds both ends of every pipe and hands the reading end over (see `commands`), so that neither this
//! worker's death nor a service's breaks a pipe. One thread owns everything but the writing (see `output`). It starts
//! nothing, opens nothing (its sandbox sees to that), and writes nothing to standard error while it runs: that may be
//! the very terminal that is stuck. docs/logs.md tells what users see.

mod collector;
mod commands;
mod counts;
mod entry;
mod follower;
mod lines;
mod origin;
mod outlet;
mod output;
mod pressure;
mod rate;
mod recent;
mod source;

use std::io;

use serde::Deserialize;

use super::{Kind, WorkerError, counters, sandbox, settings, system};
use crate::config::{LogFormat, LogTarget, Logs};
use crate::sys::inherit::CommandSocket;
use crate::sys::journal::{self, Journal};
use crate::sys::memory::Mappings;
use crate::sys::output::Output;
use crate::sys::sandbox::Profile;
use crate::sys::stop::Terminate;
use collector::Collector;
use counts::Counts;
use origin::Format;
use outlet::Outlet;
use output::{Queue, Sink};

#[derive(Deserialize)]
struct Inherited {
    logs: Logs,
}

pub(super) fn run(command: &CommandSocket) -> Result<(), WorkerError> {
    let Inherited { logs } = settings(Kind::Log)?;
    let counters = counters(Kind::Log)?;
    let counts = Counts::register(|name| counters.register(name))?;
    // Before there is a second thread: both are to leave the signal alone.
    let terminate = Terminate::new().map_err(system("listen for signals"))?;
    let stdout = Output::stdout().map_err(system("take its standard output"))?;
    let (sink, format) = way_out(&logs, stdout).map_err(system("open a way to the journal"))?;
    let profile = Profile::Log { journal: matches!(sink, Sink::Journal(..)) };
    let mappings = Mappings::open();
    let prepare = || {
        let queue = Queue::start(sink, counts).map_err(system("start the thread that writes"))?;
        let outlet = Outlet::new(&logs, format, queue, counts, counters);
        Collector::new(command, &terminate, outlet, &logs).map_err(system("prepare its loop"))
    };
    let collector = sandbox::enter_with(Kind::Log, profile, command, prepare)??;
    command.ready().map_err(system("tell its supervisor that it is ready"))?;
    // Where /proc is not to be read, it stays mapped.
    let _ = mappings.and_then(Mappings::let_go);
    collector.run().map_err(system("collect lines"))
}

/// Where lines go, and as what.
fn way_out(logs: &Logs, stdout: Output) -> io::Result<(Sink, Format)> {
    let to_journal = match logs.to {
        LogTarget::Stdout => false,
        LogTarget::Journal => true,
        LogTarget::Auto => journal::is_our_output(),
    };
    if to_journal && journal::is_there() {
        return Ok((Sink::Journal(Journal::open()?, stdout), Format::Journal));
    }
    if logs.to == LogTarget::Journal {
        tracing::warn!("there is no journal here; logs go to standard output");
    }
    let format = match logs.format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    Ok((Sink::Stdout(stdout), format))
}
