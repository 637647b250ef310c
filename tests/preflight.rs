//! What `torus check` makes of whole machines: facts that were recorded, or composed as such machines are known to be, judged
//! without that machine; and the command itself, on this one.
//!
//! A fixture says where its facts come from (`_source`) and what for they are judged (`_for`). `torus check --facts` records
//! them; what becomes of them is a snapshot beside it, read and approved by a human being once.

use std::io::Read;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};
use std::{fs, thread};

use assert_cmd::Command;
use serde::Deserialize;
use serde_json::Value;
use torus::config::{self, Config, Origin};
use torus::preflight::{self, Asked, Facts, Purpose, Report};
use torus::sys::runtime::Directory;

/// Facts, and what they are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    #[serde(rename = "_source")]
    source: String,
    #[serde(rename = "_for")]
    purpose: String,
    /// The configuration; without one, the embedded default.
    #[serde(rename = "_config")]
    config: Option<String>,
    facts: Facts,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/preflight/fixtures")
}

#[test]
fn machines_are_judged_as_a_human_being_would() {
    let mut names: Vec<String> =
        fs::read_dir(fixtures()).unwrap().flatten().map(|entry| entry.path()).filter_map(name).collect();
    names.sort();
    assert!(names.len() >= 12, "{names:?}");
    for name in names {
        let text = fs::read_to_string(fixtures().join(format!("{name}.json"))).unwrap();
        let fixture: Fixture = serde_json::from_str(&text).unwrap_or_else(|cause| panic!("{name}: {cause}"));
        assert!(fixture.source.starts_with("recorded: ") || fixture.source.starts_with("composed: "), "{name}");
        let config =
            fixture.config.map_or_else(Config::embedded, |text| config::parse(&text, &Origin::Embedded).unwrap());
        let purpose = Purpose::of_name(&fixture.purpose).unwrap();
        let report = Report { purpose, verdicts: preflight::judge(&fixture.facts, Some(&config), purpose) };
        insta::with_settings!({
            snapshot_path => fixtures(), prepend_module_to_snapshot => false, omit_expression => true,
            description => fixture.source,
        }, { insta::assert_snapshot!(name, report.table(false, str::to_owned)) });
    }
}

/// The name of a file of facts.
fn name(path: PathBuf) -> Option<String> {
    let is_json = path.extension().is_some_and(|extension| extension == "json");
    is_json.then(|| path.file_stem().unwrap().to_str().unwrap().to_owned())
}

/// Runs `torus check` with ports of its own choice, and no torus or Docker beside it.
fn check(arguments: &[&str], place: &Place, prepare: impl FnOnce(&mut Command)) -> Ran {
    let mut command = Command::cargo_bin("torus").unwrap();
    command.arg("check").args(arguments).args(["--config", &place.path("torus.yaml")]);
    command.args(["--runtime-dir", &place.path("run"), "--data-dir", &place.path("data")]);
    command.env("DOCKER_HOST", format!("unix://{}", place.path("docker.sock"))).env_remove("LISTEN_FDS");
    prepare(&mut command);
    Ran::from(command.output().unwrap())
}

struct Place(PathBuf);

impl Place {
    fn new(test: &str, configuration: &str) -> Self {
        let place = Self(std::env::temp_dir().join(format!("torus-check-{test}-{}", std::process::id())));
        fs::create_dir_all(place.0.join("data")).unwrap();
        fs::write(place.0.join("torus.yaml"), configuration).unwrap();
        place
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|cause| panic!("{cause}\n{}\n{}", self.stdout, self.stderr))
    }

    /// One check of the report.
    fn one(&self, name: &str) -> Value {
        let report = self.json();
        let checks = report["checks"].as_array().unwrap();
        checks.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("no {name} in {report}")).clone()
    }
}

const ANY_PORTS: &str = "bus: { requests: { front: 0, back: 0 } }";

#[test]
fn a_port_that_a_stranger_holds_fails_and_names_him() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let place = Place::new("stranger", &format!("bus: {{ requests: {{ front: {port}, back: 0 }} }}"));
    let ran = check(&["--json", "--for", "host"], &place, |_| {});
    let verdict = ran.one("port of requests-front");
    assert_eq!((ran.code, verdict["state"].as_str()), (Some(1), Some("fail")), "{verdict}");
    assert!(verdict["found"].as_str().unwrap().contains(&format!("pid {}", std::process::id())), "{verdict}");
    assert!(verdict["mend"].as_str().unwrap().contains("bus.requests.front"), "{verdict}");
    assert_eq!(ran.json()["version"], 1);
}

#[test]
fn a_warning_counts_only_when_it_is_strict() {
    // The data directory is missing, so there is a warning at least.
    let place = Place::new("strict", ANY_PORTS);
    fs::remove_dir(place.path("data")).unwrap();
    for (arguments, code) in [(&["--for", "host"][..], 0), (&["--for", "host", "--strict"], 2)] {
        let ran = check(arguments, &place, |_| {});
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(code), ""), "{}", ran.stdout);
        assert!(ran.stdout.contains("mend    sudo scripts/prepare-host"), "{}", ran.stdout);
        assert!(!ran.stdout.contains('\x1b'), "colours are for terminals");
    }
}

#[test]
fn a_configuration_that_is_wrong_fails_and_the_rest_is_told_all_the_same() {
    let place = Place::new("wrong", "bus: {}\nnonsense: 1\n");
    let ran = check(&["--json"], &place, |_| {});
    let verdict = ran.one("configuration");
    assert_eq!((ran.code, verdict["state"].as_str()), (Some(1), Some("fail")), "{verdict}");
    assert!(verdict["found"].as_str().unwrap().contains("nonsense: no such key"), "{verdict}");
    assert_eq!(ran.one("seccomp")["state"], "pass");
}

#[test]
fn a_purpose_that_nobody_knows_is_refused_with_those_that_there_are() {
    let place = Place::new("purpose", ANY_PORTS);
    let ran = check(&["--for", "fun"], &place, |_| {});
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("container, host, vm, build, service"), "{}", ran.stderr);
}

#[test]
fn an_engine_that_accepts_and_says_nothing_is_not_waited_for_long() {
    let place = Place::new("engine", ANY_PORTS);
    let listener = UnixListener::bind(place.path("docker.sock")).unwrap();
    let silent = thread::spawn(move || listener.accept().unwrap().0.read_to_end(&mut Vec::new()).unwrap());
    let begin = Instant::now();
    let ran = check(&["--json", "--for", "build"], &place, |_| {});
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    let verdict = ran.one("engine");
    assert_eq!(verdict["state"], "fail");
    assert!(verdict["found"].as_str().unwrap().ends_with("it did not answer within 2 s"), "{verdict}");
    silent.join().unwrap();
}

/// Executes what follows with a socket at the given address as the first descriptor that systemd passes.
const PASSES: &str = "
import os, socket, sys
held = socket.create_server(('127.0.0.1', int(sys.argv[1])))
os.dup2(held.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='requests-front')
os.execv(sys.argv[2], sys.argv[2:])
";

#[test]
fn a_socket_that_systemd_passes_is_at_the_configured_address_or_both_are_named() {
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (port, other) = (free(), free());
    let place = Place::new("passed", &format!("bus: {{ requests: {{ front: {port}, back: 0 }} }}"));
    let passed = |port: u16| {
        let mut command = Command::new("python3");
        command.args([
            "-c",
            PASSES,
            &port.to_string(),
            env!("CARGO_BIN_EXE_torus"),
            "check",
            "--json",
            "--for",
            "service",
        ]);
        command.args(["--config", &place.path("torus.yaml"), "--runtime-dir", &place.path("run")]);
        command.args(["--data-dir", &place.path("data")]);
        Ran::from(command.output().unwrap())
    };
    let same = passed(port);
    assert_eq!(same.one("socket requests-front")["state"], "pass", "{}", same.stdout);
    assert_eq!(same.one("port of requests-front")["state"], "pass", "{}", same.stdout);
    let differs = passed(other);
    let verdict = differs.one("socket requests-front");
    assert_eq!((differs.code, verdict["state"].as_str()), (Some(1), Some("fail")), "{verdict}");
    let found = verdict["found"].as_str().unwrap();
    assert!(found.contains(&format!(":{port}")) && found.contains(&format!(":{other}")), "{found}");
}

#[test]
fn the_facts_of_this_machine_are_a_fixture() {
    let place = Place::new("facts", ANY_PORTS);
    let ran = check(&["--facts", "--for", "host"], &place, |_| {});
    let facts: Facts = serde_json::from_str(&ran.stdout).unwrap();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(facts.kernel.release.known().map(String::as_str), Ok(release.trim()));
    assert_eq!(facts.torus.uid, nix::unistd::geteuid().as_raw());
    assert!(facts.docker.engine.known().is_err());
}

#[test]
fn what_pid_1_looks_at_takes_less_than_20_ms() {
    let config = Config::embedded();
    let runtime_directory = Directory { path: "/run/torus".into(), is_named: false };
    let asked = Asked {
        purpose: Purpose::Container,
        configuration: Ok((&config, "the embedded default".into())),
        runtime_directory: &runtime_directory,
        data_directory: None,
        running: None,
    };
    // The machine may be busy with others for a while; it is not for ever.
    let best = (0..50).map(|_| {
        let begin = Instant::now();
        let verdicts = preflight::judge(&preflight::container(&asked), Some(&config), Purpose::Container);
        assert!(!verdicts.is_empty());
        begin.elapsed()
    });
    let best = best.min().unwrap();
    assert!(best < Duration::from_millis(20), "{best:?}");
}
