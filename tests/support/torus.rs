//! A running torus with a directory of its own.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{PATIENCE, process};

pub(crate) const TORUS: &str = env!("CARGO_BIN_EXE_torus");
/// A configuration: the bus on free ports, with no back-end. Services may follow.
pub(crate) const BUS: &str = "bus: { requests: { front: 0, back: 0 } }\n";

/// A running torus; it and its directory go when this is dropped.
pub(crate) struct Torus {
    pub(crate) child: Child,
    pub(crate) directory: PathBuf,
}

impl Torus {
    /// Starts a torus, without waiting for anything.
    pub(crate) fn start(configuration: &str) -> Self {
        Self::start_with(configuration, |_| {})
    }

    pub(crate) fn start_with(configuration: &str, prepare: impl FnOnce(&mut Command)) -> Self {
        Self::start_in(Self::place(), configuration, prepare)
    }

    pub(crate) fn start_in(directory: PathBuf, configuration: &str, prepare: impl FnOnce(&mut Command)) -> Self {
        Self::start_program(Path::new(TORUS), directory, configuration, prepare)
    }

    /// Starts another file than the one that was built.
    pub(crate) fn start_program(
        program: &Path,
        directory: PathBuf,
        configuration: &str,
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let words = Self::words(program, &directory, configuration);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        Self::outputs(&mut command, &directory);
        prepare(&mut command);
        Self { child: command.spawn().unwrap(), directory }
    }

    /// Starts a torus below other words, as in `tini -- torus run`.
    pub(crate) fn start_below(before: &[&str], configuration: &str, prepare: impl FnOnce(&mut Command)) -> Self {
        let directory = Self::place();
        let mut command = Command::new(before[0]);
        command.args(&before[1..]).args(Self::words(Path::new(TORUS), &directory, configuration));
        Self::outputs(&mut command, &directory);
        prepare(&mut command);
        Self { child: command.spawn().unwrap(), directory }
    }

    /// A directory that no other test has.
    pub(crate) fn place() -> PathBuf {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("torus-test-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    /// The words that start it, once its configuration is written.
    pub(super) fn words(program: &Path, directory: &Path, configuration: &str) -> Vec<OsString> {
        let file = directory.join("torus.yaml");
        fs::write(&file, configuration).unwrap();
        let words: [&OsStr; 6] = [
            program.as_os_str(),
            "run".as_ref(),
            "--config".as_ref(),
            file.as_ref(),
            "--runtime-dir".as_ref(),
            directory.as_ref(),
        ];
        words.map(OsStr::to_owned).to_vec()
    }

    /// Where it reads and writes.
    pub(super) fn outputs(command: &mut Command, directory: &Path) {
        let log = fs::File::create(directory.join("log")).unwrap();
        // What services write comes by standard output, in the same file.
        let output = log.try_clone().unwrap();
        command.env_remove("NOTIFY_SOCKET").stdin(Stdio::null()).stdout(output).stderr(log);
    }

    /// Starts a torus and waits until everything runs.
    pub(crate) fn up(configuration: &str) -> Self {
        Self::up_with(configuration, |_| {})
    }

    pub(crate) fn up_with(configuration: &str, prepare: impl FnOnce(&mut Command)) -> Self {
        let torus = Self::start_with(configuration, prepare);
        torus.until("everything runs", |status| status["state"] == "running");
        torus
    }

    pub(crate) fn status(&self) -> Option<Value> {
        let output = Command::new(TORUS).args(["status", "--json", "--runtime-dir"]).arg(&self.directory).output();
        serde_json::from_slice(&output.unwrap().stdout).ok()
    }

    /// Asks until the answer is as hoped.
    pub(crate) fn until(&self, hope: &str, fulfilled: impl Fn(&Value) -> bool) -> Value {
        let begin = Instant::now();
        loop {
            let status = self.status();
            if let Some(status) = status.as_ref().filter(|status| fulfilled(status)) {
                return status.clone();
            }
            assert!(begin.elapsed() < PATIENCE, "not seen: {hope}\nstatus: {status:?}\nlog:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Where clients connect.
    pub(crate) fn front(&self) -> String {
        self.status().unwrap()["endpoints"]["requests_front"].as_str().unwrap().to_owned()
    }

    /// Where back-ends connect.
    pub(crate) fn back(&self) -> String {
        self.status().unwrap()["endpoints"]["requests_back"].as_str().unwrap().to_owned()
    }

    /// One of the requests worker's counters.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let status = self.status().unwrap();
        status["counters"]["requests"][name].as_u64().unwrap_or_else(|| panic!("there is no counter {name}"))
    }

    /// Asks until a counter of the requests worker has the value.
    pub(crate) fn until_counter(&self, name: &str, value: u64) {
        self.until(&format!("{name} {value}"), |status| status["counters"]["requests"][name] == value);
    }

    /// Asks the log until it has the text.
    pub(crate) fn until_log(&self, text: &str) {
        let begin = Instant::now();
        while !self.log().contains(text) {
            assert!(begin.elapsed() < PATIENCE, "not logged: {text}\nlog:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Runs one of the commands that speak to this torus: its exit code, and all that it said.
    pub(crate) fn command(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(TORUS).args(arguments).arg("--runtime-dir").arg(&self.directory).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    }

    /// Writes its configuration anew.
    pub(crate) fn rewrite(&self, configuration: &str) {
        fs::write(self.directory.join("torus.yaml"), configuration).unwrap();
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap()
    }

    pub(crate) fn file(&self, name: &str) -> String {
        fs::read_to_string(self.directory.join(name)).unwrap_or_default()
    }

    pub(crate) fn signal(&self, name: &str) {
        process::signal(name, self.child.id().into());
    }

    /// How it ended, and how long that took.
    pub(crate) fn end(&mut self) -> (ExitStatus, Duration) {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, begin.elapsed());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("torus did not end; log:\n{}", self.log());
    }

    pub(crate) fn ask(&self, bytes: &[u8]) -> UnixStream {
        let mut socket = UnixStream::connect(self.directory.join("control.sock")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = socket.write_all(bytes);
        socket
    }
}

impl Drop for Torus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}
