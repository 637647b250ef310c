//! `torus config`: what users write, and what they read then.

use std::path::PathBuf;
use std::process::Output;
use std::{env, fs, process};

use assert_cmd::Command;

/// A directory of one test's own, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        let path = env::temp_dir().join(format!("torus-config-{}-{test}", process::id()));
        fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.0.join(name), content).expect("a temporary file");
    }

    /// Runs `torus` here, with no configuration in the environment.
    fn torus(&self, arguments: &[&str]) -> Ran {
        self.torus_with("", arguments)
    }

    /// Runs `torus` here with `TORUS_CONFIG` set.
    fn torus_with(&self, variable: &str, arguments: &[&str]) -> Ran {
        let mut command = Command::cargo_bin("torus").expect("the torus binary");
        command.args(arguments).current_dir(&self.0).env("TORUS_CONFIG", variable);
        Ran::from(command.output().expect("torus runs"))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// How a run ended and what it said.
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ran {
    /// What a successful run printed.
    #[track_caller]
    fn told(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""));
        self.stdout
    }

    /// What a failed run complained of.
    #[track_caller]
    fn complained(self) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (Some(1), ""));
        self.stderr
    }
}

#[test]
fn check_tells_every_problem_and_exits_with_1() {
    let directory = Directory::new("problems");
    directory.write(
        "torus.yaml",
        "bus:\n  bind: 0.0.0.0\n  requests: {front: 70000, bakc: 5556}\nservices:\n  hello: {worker: hello, instances: 0}\n",
    );
    insta::assert_snapshot!(directory.torus(&["config", "check", "torus.yaml"]).complained(), @r"
    torus.yaml:2: bus.bind: 0.0.0.0 is beyond loopback, and peers are not authenticated; bus.allow_insecure: true permits it
    torus.yaml:3: bus.requests.front: 70000 is not a port (0 to 65535)
    torus.yaml:3: bus.requests.bakc: no such key; did you mean back?
    torus.yaml:5: services.hello.instances: 0 is not a number of processes (1 to 1000)
    4 problems
    ");
}

#[test]
fn check_shows_where_the_syntax_breaks() {
    let directory = Directory::new("syntax");
    directory.write("torus.yaml", "bus:\n  bind: 127.0.0.1\n  requests: {front: 5555\n  limits: {}\n");
    insta::assert_snapshot!(directory.torus(&["config", "check", "torus.yaml"]).complained(), @r"
    torus.yaml:4:9: while parsing a flow mapping, did not find expected ',' or '}'
    4 |   limits: {}
      |         ^
    ");
}

#[test]
fn check_says_what_a_fine_file_runs() {
    let directory = Directory::new("fine");
    directory.write("one.yaml", "services: {hello: {worker: hello}}");
    directory.write(
        "open.yaml",
        "bus: {bind: 0.0.0.0, allow_insecure: true, requests: {}}\nservices: {a: {command: [sleep, '60']}, b: {command: [/bin/sh], instances: 2}}",
    );
    insta::assert_snapshot!(directory.torus(&["config", "check", "one.yaml"]).told(), @r"
    one.yaml: fine: 1 service
      hello × 1: worker hello
    ");
    let open = directory.torus(&["config", "check", "open.yaml"]);
    assert_eq!(open.code, Some(0));
    let warning = "open.yaml: warning: 0.0.0.0 is beyond loopback, and peers are not authenticated\n";
    assert_eq!(open.stderr, warning);
    insta::assert_snapshot!(open.stdout, @r#"
    open.yaml: fine: requests and 2 services
      requests, clients    tcp://0.0.0.0:5555
      requests, back-ends  tcp://0.0.0.0:5556
      a × 1: command ["sleep", "60"]
      b × 2: command ["/bin/sh"]
    "#);
}

#[test]
fn check_warns_of_programs_that_are_not_here_and_exits_with_0() {
    let directory = Directory::new("programs");
    directory.write("torus.yaml", "services: {a: {command: [no-such-program, x]}, b: {command: [./no/such]}}");
    let ran = directory.torus(&["config", "check", "torus.yaml"]);
    assert_eq!(ran.code, Some(0));
    insta::assert_snapshot!(ran.stderr, @r#"
    torus.yaml: warning: services.a.command: there is no program "no-such-program" on the PATH
    torus.yaml: warning: services.b.command: there is no program "./no/such", seen from this directory
    "#);
    insta::assert_snapshot!(ran.stdout, @r#"
    torus.yaml: fine: 2 services
      a × 1: command ["no-such-program", "x"]
      b × 1: command ["./no/such"]
    "#);
}

#[test]
fn check_warns_of_users_and_groups_that_are_not_here_and_exits_with_0() {
    let directory = Directory::new("users");
    directory.write(
        "torus.yaml",
        "services:
  a: {command: [sleep, '1'], user: 'nobody-here:no-group'}
  b: {command: [sleep, '1'], user: 4000000001, group: 0, supplementary_groups: [root, no-group-either]}",
    );
    let ran = directory.torus(&["config", "check", "torus.yaml"]);
    assert_eq!(ran.code, Some(0));
    assert!(ran.stdout.starts_with("torus.yaml: fine: 2 services\n"), "{}", ran.stdout);
    insta::assert_snapshot!(ran.stderr, @r#"
    torus.yaml: warning: services.a.user: there is no user "nobody-here"
    torus.yaml: warning: services.a.group: there is no group "no-group"
    torus.yaml: warning: services.b.supplementary_groups: there is no group "no-group-either"
    "#);
}

#[test]
fn run_refuses_a_wrong_file_and_says_that_this_is_why_nothing_runs() {
    let directory = Directory::new("refused-run");
    directory.write("torus.yaml", "bus: {bind: localhost}\n");
    directory.write("broken.yaml", "bus: [\n");
    let run =
        |arguments: &[&str]| directory.torus(&[&["run", "--runtime-dir", "here"], arguments].concat()).complained();
    insta::assert_snapshot!(run(&["torus.yaml"]), @r#"
    torus.yaml:1: bus.bind: the text "localhost" is not an IP address; write 127.0.0.1 or ::1
    error: this configuration cannot be run: 1 problem
    "#);
    assert!(run(&["--config", "broken.yaml"]).ends_with("\nerror: this configuration cannot be run\n"));
}

#[test]
fn a_missing_file_that_the_environment_names_is_told_so() {
    insta::assert_snapshot!(Directory::new("variable").torus_with("none.yaml", &["config", "show"]).complained(), @r"
    error: cannot read configuration none.yaml (named by TORUS_CONFIG): No such file or directory (os error 2)
    hint: is that the file you mean, and may you read it?
    ");
}

#[test]
fn check_refuses_what_is_no_text_of_256_kib() {
    let directory = Directory::new("refused");
    directory.write("latin.yaml", b"# caf\xe9\n");
    directory.write("large.yaml", vec![b'#'; (256 << 10) + 1]);
    let check = |file| directory.torus(&["config", "check", file]).complained();
    insta::assert_snapshot!(check("latin.yaml"), @"latin.yaml:1: not UTF-8, so it was not read as a configuration");
    insta::assert_snapshot!(check("large.yaml"), @"large.yaml: larger than 256 KiB, so it was not read as a configuration");
    insta::assert_snapshot!(check("none.yaml"), @r"
    error: cannot read configuration none.yaml: No such file or directory (os error 2)
    hint: is that the file you mean, and may you read it?
    ");
    insta::assert_snapshot!(check("."), @r"
    error: cannot read configuration .: Is a directory (os error 21)
    hint: is that the file you mean, and may you read it?
    ");
}

#[test]
fn show_prints_the_file_in_force_with_its_defaults() {
    let directory = Directory::new("show");
    directory.write("torus.yaml", "services: {sleeper: {command: [sleep, '60']}}\n");
    let expected = directory.torus_with("torus.yaml", &["config", "show"]).told();
    insta::assert_snapshot!(expected, @r#"
    # in force: torus.yaml
    services:
      sleeper:
        command:
        - sleep
        - "60"
        instances: 1
        after: {}
        ready:
          started: true
          timeout_ms: 60000
          interval_ms: 200
        restart:
          when: always
          success:
            codes:
            - 0
            signals: []
          healthy_after_ms: 1000
          backoff:
            ms_min: 100
            ms_max: 30000
          limit:
            restarts: 60
            window_ms: 60000
          then: quarantine
          quarantine_ms: 60000
        stop:
          signal: 15
          timeout_ms: 5000
        essential: false
        no_new_privs: false
        clear_environment: false
        sandbox: best-effort
    supervisor:
      healthy_after_ms: 1000
      backoff_ms_min: 100
      backoff_ms_max: 30000
      stop_ms_max: 8000
      sandbox: best-effort
      preflight: warn
    logs:
      format: text
      to: auto
      line_bytes_max: 16384
      rate_lines_per_s: 10000
      burst_lines: 10000
      block_ms_max: 1000
      recent_bytes_max: 262144
      watchdog_ms: 10000
    "#);
    assert_eq!(directory.torus(&["config", "show", "--config", "torus.yaml"]).told(), expected);
    assert_eq!(directory.torus(&["config", "show", "torus.yaml"]).told(), expected);
}

#[test]
fn what_show_prints_is_a_file_that_shows_the_same() {
    let directory = Directory::new("again");
    directory.write("torus.yaml", "bus: {requests: {front: 0, back: 0}}\nservices: {hello: {worker: hello}}\n");
    let shown = directory.torus(&["config", "show", "--config", "torus.yaml"]).told();
    directory.write("torus.yaml", &shown);
    assert_eq!(directory.torus(&["config", "show", "--config", "torus.yaml"]).told(), shown);
}

#[test]
fn show_refuses_a_wrong_file_instead_of_falling_back() {
    let directory = Directory::new("wrong");
    directory.write("torus.yaml", "bus: {bind: localhost}\n");
    insta::assert_snapshot!(directory.torus_with("torus.yaml", &["config", "show"]).complained(), @r#"
    torus.yaml:1: bus.bind: the text "localhost" is not an IP address; write 127.0.0.1 or ::1
    1 problem
    "#);
}

#[test]
fn a_command_that_is_not_there_is_a_matter_of_usage() {
    assert_eq!(Directory::new("usage").torus(&["config", "chekc"]).code, Some(2));
}
