//! The supervisor's part, played by a test: pipes whose both ends it holds, packets, a log worker's life.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use torus::sys::counters::{self, Counters};
use torus::sys::{notify, pass, pipe};

use crate::support::{PATIENCE, TORUS, process};

/// A supervisor with nothing but a log worker.
pub(crate) struct House {
    settings: String,
    stdout: OwnedFd,
    prepare: fn(&mut Command),
    counters: OwnedFd,
    command: Option<OwnedFd>,
    pub(crate) worker: Child,
    sources: Vec<Source>,
    errors: PathBuf,
}

struct Source {
    attach: Value,
    reader: OwnedFd,
    writer: OwnedFd,
}

/// The settings, with what a test wants otherwise.
pub(crate) fn settings(other: Value) -> Value {
    let mut settings = json!({
        "format": "text", "to": "stdout", "line_bytes_max": 16384, "rate_lines_per_s": 0, "burst_lines": 10000,
        "block_ms_max": 1000, "recent_bytes_max": 262144,
    });
    let Value::Object(other) = other else { panic!("settings are an object") };
    settings.as_object_mut().unwrap().extend(other);
    settings
}

impl House {
    /// With a log worker that writes to `stdout`.
    pub(crate) fn new(other: Value, stdout: impl Into<OwnedFd>) -> Self {
        Self::with(other, stdout, |_| {})
    }

    pub(crate) fn with(other: Value, stdout: impl Into<OwnedFd>, prepare: fn(&mut Command)) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let errors = std::env::temp_dir().join(format!("torus-log-{}-{number}", std::process::id()));
        let stdout = stdout.into();
        let settings = json!({ "logs": settings(other) }).to_string();
        let counters = counters::create("torus-test-log").unwrap();
        let (command, worker) = start(&settings, &stdout, &counters, &errors, prepare);
        Self { settings, stdout, prepare, counters, command: Some(command), worker, sources: Vec::new(), errors }
    }

    /// Starts another log worker in the place of one that ended, with the same pipes.
    pub(crate) fn replace(&mut self) {
        self.worker.wait().unwrap();
        let (command, worker) = start(&self.settings, &self.stdout, &self.counters, &self.errors, self.prepare);
        (self.command, self.worker) = (Some(command), worker);
        for source in &self.sources {
            self.tell(&json!({ "attach": source.attach }), &[source.reader.as_fd()]);
        }
    }

    /// A new source; its number.
    pub(crate) fn attach(&mut self, service: &str, instance: u32, stream: &str) -> usize {
        let number = self.sources.len();
        let attach = json!({"source": number, "service": service, "instance": instance, "stream": stream, "pid": 123});
        let (reader, writer) = pipe::output(64 << 10).unwrap();
        self.tell(&json!({ "attach": attach }), &[reader.as_fd()]);
        self.sources.push(Source { attach, reader, writer });
        number
    }

    pub(crate) fn tell(&self, packet: &Value, descriptors: &[BorrowedFd<'_>]) {
        pass::send(self.command.as_ref().unwrap(), packet.to_string().as_bytes(), descriptors).unwrap();
    }

    /// What the worker says next on its command socket.
    pub(crate) fn hear(&self) -> String {
        hear(self.command.as_ref().unwrap())
    }

    /// An end to write to a source.
    pub(crate) fn writer(&self, source: usize) -> File {
        self.sources[source].writer.try_clone().unwrap().into()
    }

    /// A process in shell that writes to a source.
    pub(crate) fn spawn(&self, source: usize, script: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(self.writer(source)).spawn().unwrap()
    }

    /// Somebody who reads lines.
    pub(crate) fn follow(&self, follow: &Value) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        self.tell(&json!({ "follow": follow }), &[theirs.as_fd()]);
        ours
    }

    pub(crate) fn counters(&self) -> Vec<(String, u64)> {
        Counters::open(&self.counters).unwrap().snapshot()
    }

    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.counters().into_iter().find(|(known, _)| known == name).map_or(0, |(_, value)| value)
    }

    pub(crate) fn until(&self, hope: &str, fulfilled: impl Fn(&Self) -> bool) {
        let begin = Instant::now();
        while !fulfilled(self) {
            let all = self.counters();
            assert!(begin.elapsed() < 3 * PATIENCE, "not seen: {hope}\n{all:?}\n{}", self.errors());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends the worker by the supervisor's end.
    pub(crate) fn leave(&mut self) -> ExitStatus {
        self.command = None;
        self.end()
    }

    pub(crate) fn terminate(&mut self) -> ExitStatus {
        process::signal("TERM", self.worker.id().into());
        self.end()
    }

    fn end(&mut self) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.worker.try_wait().unwrap() {
                // So that whoever reads what it wrote comes to an end.
                self.stdout = File::open("/dev/null").unwrap().into();
                return status;
            }
            assert!(begin.elapsed() < PATIENCE, "the log worker did not end");
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn errors(&self) -> String {
        std::fs::read_to_string(&self.errors).unwrap_or_default()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = self.worker.kill();
        let _ = self.worker.wait();
        let _ = std::fs::remove_file(&self.errors);
    }
}

/// Starts a log worker and waits until it is ready.
///
/// A shell moves what it inherits to the numbers agreed on: only the standard three reach a child by their number.
fn start(
    settings: &str,
    stdout: &OwnedFd,
    counters: &OwnedFd,
    errors: &PathBuf,
    prepare: fn(&mut Command),
) -> (OwnedFd, Child) {
    let (ours, theirs) = notify::command_pair().unwrap();
    let script = "exec 3<&0 4<&2 0</dev/null 2>\"$ERRORS\"; eval \"exec $RUN\"";
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(theirs).stdout(stdout.try_clone().unwrap());
    command.stderr(counters.try_clone().unwrap()).env("TORUS", TORUS).env("ERRORS", errors);
    command.env("RUN", "\"$TORUS\" worker log");
    command.env("TORUS_COMMAND_FD", "3").env("TORUS_COUNTERS_FD", "4").env("TORUS_SETTINGS", settings);
    prepare(&mut command);
    let worker = command.spawn().unwrap();
    let ours = OwnedFd::from(ours);
    assert_eq!(hear(&ours), "READY=1", "{}", std::fs::read_to_string(errors).unwrap_or_default());
    (ours, worker)
}

fn hear(command: &OwnedFd) -> String {
    let begin = Instant::now();
    let mut packet = [0; 4096];
    loop {
        match pass::receive(command, &mut packet) {
            Ok(pass::Received::Packet { length, .. }) => break String::from_utf8_lossy(&packet[..length]).into_owned(),
            Ok(other) => break format!("{other:?}"),
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
        assert!(begin.elapsed() < PATIENCE, "the log worker says nothing");
    }
}

/// A pipe for the worker's output: where it writes, and somebody who reads everything.
pub(crate) fn read_all() -> (OwnedFd, JoinHandle<Vec<u8>>) {
    let (reader, writer) = std::io::pipe().unwrap();
    (writer.into(), thread::spawn(move || drain(reader)))
}

pub(crate) fn drain(mut from: impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    from.read_to_end(&mut all).unwrap();
    all
}

/// Lines as text, without those that tell of drops; and how many were dropped by those.
pub(crate) fn lines(output: &[u8]) -> (Vec<&str>, u64) {
    let text = std::str::from_utf8(output).unwrap();
    let (told, lines): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.contains(" dropped: "));
    let dropped = told.iter().map(|line| line.split(' ').nth(2).unwrap().parse::<u64>().unwrap()).sum();
    (lines, dropped)
}
