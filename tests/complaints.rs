//! What users of other supervisors complain about, each with the number of its issue and a test that it cannot be said of
//! Torus. Some stand where their like is proven: those of zombies and grandchildren in tests/pid1, of reloads in
//! tests/control.rs, of a killed supervisor in tests/supervise.rs, of limits in tests/confine.rs.

mod support;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use serde_json::Value;
use support::inits::until;
use support::pid1::{Pid1, User, as_each_user, program};
use support::{PATIENCE, Torus};

as_each_user!(
    supervisor_733_712_1373_s6_overlay_87_a_container_does_not_stay_up_when_its_essential_program_has_failed,
    s6_overlay_320_387_the_exit_code_is_the_essential_services_own,
    pebble_101_no_status_is_stolen_from_whom_it_belongs_to,
    s6_overlay_204_628_a_stop_takes_no_fixed_time,
    scylladb_9485_a_stop_fits_dockers_ten_seconds,
);

const IDLE: &str = "command: [sleep, '1000']";

fn supervisor_733_712_1373_s6_overlay_87_a_container_does_not_stay_up_when_its_essential_program_has_failed(
    user: User,
) {
    let mut house = Pid1::start(
        user,
        &format!(
            "services:
  bystander: {{ {IDLE} }}
  main: {{ command: [sh, -c, 'exit 3'], essential: true, restart: {{ limit: {{ restarts: 2, window_ms: 60000 }} }} }}"
        ),
    );
    let (status, _) = house.torus.end();
    let log = house.torus.log();
    assert_eq!(status.code(), Some(3), "{log}");
    assert_eq!(log.matches("service=main instance=1").count(), 6, "three lives\n{log}");
    assert!(log.trim_end().ends_with("torus: stopped"), "{log}");
}

fn s6_overlay_320_387_the_exit_code_is_the_essential_services_own(user: User) {
    let ends = [
        ("sh, -c, 'exit 0'", 0),
        ("sh, -c, 'exit 7'", 7),
        ("sh, -c, 'kill -TERM $$'", 143),
        ("sh, -c, 'kill -KILL $$'", 137),
        ("no-such-program-here", 127),
    ];
    for (command, code) in ends {
        let mut house = Pid1::start(
            user,
            &format!(
                "services:
  bystander: {{ {IDLE} }}
  main: {{ command: [{command}], essential: true, restart: never }}"
            ),
        );
        assert_eq!(house.torus.end().0.code(), Some(code), "{command}\n{}", house.torus.log());
    }
}

/// A reaper collects whoever has ended. Each end must still reach the one who waits for it: services, each with a code of
/// its own, probes, and a flood of orphans that nobody waits for.
fn pebble_101_no_status_is_stolen_from_whom_it_belongs_to(user: User) {
    let mut configuration = "services:
  flood: { command: [sh, -c, 'while :; do (true &); (false &); done'] }
  probed: { command: [sleep, '1000'], ready: { exec: [sh, -c, 'exit 0'] } }
  unwell: { command: [sleep, '1000'], ready: { exec: [sh, -c, 'exit 1'], interval_ms: 10, timeout_ms: 0 } }
"
    .to_owned();
    for code in 1..=40 {
        configuration += &format!("  s{code}: {{ command: [sh, -c, 'exit {code}'], restart: never }}\n");
    }
    let house = Pid1::start(user, &configuration);
    let over = |status: &Value| {
        let of_code = |service: &&Value| service["name"].as_str().is_some_and(|name| name[1..].parse::<i64>().is_ok());
        let all: Vec<Value> = status["services"].as_array().unwrap().iter().filter(of_code).cloned().collect();
        (all.len() == 40 && all.iter().all(|one| one["state"] == "failed")).then_some(all)
    };
    let status = house.torus.until("forty ends", |status| over(status).is_some());
    for one in over(&status).unwrap() {
        let code: i64 = one["name"].as_str().unwrap()[1..].parse().unwrap();
        assert_eq!(one["last_exit"]["code"], code, "{one}");
    }
    let status = house.torus.until("a flood and a probe's answer", |status| {
        status["orphans_reaped"].as_u64() >= Some(200) && service(status, "probed")["state"] == "running"
    });
    assert_eq!(service(&status, "unwell")["state"], "starting", "{status}");
}

fn s6_overlay_204_628_a_stop_takes_no_fixed_time(user: User) {
    let mut house = Pid1::up(
        user,
        &format!("bus: {{ requests: {{ front: 0, back: 0 }} }}\nservices: {{ a: {{ {IDLE}, instances: 20 }} }}"),
    );
    house.signal(Signal::SIGTERM);
    let (status, took) = house.torus.end();
    assert_eq!(status.code(), Some(0));
    // A twentieth of it would do; each bound on the way is five seconds or more.
    assert!(took < Duration::from_secs(3), "{took:?}\n{}", house.torus.log());
}

fn scylladb_9485_a_stop_fits_dockers_ten_seconds(user: User) {
    let deaf = "trap \"\" TERM; (env -i setsid sh -c \"trap : TERM; while :; do sleep 1; done\" &); echo >&3; \
                while :; do sleep 1000; done";
    let mut house = Pid1::up(
        user,
        &format!(
            "bus: {{ requests: {{ front: 0, back: 0 }} }}
services:
  deaf: {{ command: [sh, -c, '{deaf}'], ready: {{ fd: 3 }}, stop: {{ timeout_ms: 600000 }} }}
  deafer: {{ command: [sh, -c, '{deaf}'], ready: {{ fd: 3 }}, stop: {{ timeout_ms: 600000 }}, after: [deaf] }}"
        ),
    );
    house.signal(Signal::SIGTERM);
    let (status, took) = house.torus.end();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(10), "{took:?}\n{}", house.torus.log());
}

#[test]
fn supervisor_122_pebble_639_start_waits_for_readiness() {
    let say = |what: &str| format!("echo {what} >> $HERE/diary");
    let configuration = format!(
        "services:
  db: {{ command: [sh, -c, '{}; sleep 0.2; {}; echo >&3; exec sleep 1000'], ready: {{ fd: 3 }} }}
  migrate: {{ command: [sh, -c, '{}; sleep 0.1; {}'], after: [db], restart: never }}
  app: {{ command: [sh, -c, '{}; exec sleep 1000'], after: {{ migrate: completed }} }}",
        say("db begins"),
        say("db is ready"),
        say("migrate begins"),
        say("migrate is done"),
        say("app begins"),
    );
    let torus = Torus::start_with(&configuration, |command| {
        let here = command.get_args().last().unwrap().to_owned();
        command.env("HERE", here);
    });
    torus.until("the app", |_| torus.file("diary").contains("app"));
    let expected = "db begins\ndb is ready\nmigrate begins\nmigrate is done\napp begins\n";
    assert_eq!(torus.file("diary"), expected);
}

#[test]
fn supervisor_487_horust_318_backoff_is_tuned_per_service() {
    let torus = Torus::start(
        "services:
  patient: { command: [sh, -c, 'exit 1'], restart: { backoff: { ms_min: 3600000, ms_max: 7200000 } } }
  eager: { command: [sh, -c, 'exit 1'], restart: { backoff: { ms_min: 8, ms_max: 20 } } }
  once: { command: [sh, -c, 'exit 1'], restart: never }
  quota: { command: [sh, -c, 'exit 1'], restart: { backoff: { ms_min: 1, ms_max: 1 }, \
         limit: { restarts: 3, window_ms: 60000 }, then: fail } }",
    );
    let restarts = |status: &Value, name: &str| service(status, name)["restarts"].as_u64().unwrap();
    let status = torus.until("ten restarts", |status| {
        restarts(status, "eager") >= 10 && service(status, "quota")["state"] == "failed"
    });
    assert_eq!((restarts(&status, "patient"), restarts(&status, "once"), restarts(&status, "quota")), (1, 0, 3));
    let log = torus.log();
    let waits = |name: &str| -> Vec<u64> {
        let of_it = log.lines().filter(|line| line.contains(&format!("service={name} ")));
        let told = of_it.filter_map(|line| line.split_once("restarting in ")?.1.strip_suffix(" ms"));
        told.map(|ms| ms.parse().unwrap()).collect()
    };
    assert!(waits("patient").iter().all(|ms| (2_699_000..=3_600_000).contains(ms)), "{log}");
    assert!(waits("eager").iter().all(|ms| *ms <= 20), "{log}");
}

/// It is a link to whatever standard output is: a file is truncated or positioned, a pipe cannot be sought in.
#[test]
fn supervisor_1078_a_service_may_open_dev_stdout_and_dev_stderr() {
    let configuration = "services: { one: { command: [sh, -c, 'echo to stdout > /dev/stdout && \
                         echo to stderr > /dev/stderr && echo >&3; exec sleep 1000'], ready: { fd: 3 } } }";
    let mut piped = Torus::up_with(configuration, |command| {
        command.stdout(Stdio::piped());
    });
    let mut output = piped.child.stdout.take().unwrap();
    piped.signal("TERM");
    assert_eq!(piped.end().0.code(), Some(0));
    let mut said = String::new();
    output.read_to_string(&mut said).unwrap();
    assert!(said.contains("to stdout"), "{said}");

    let place = Torus::place();
    let file = File::options().append(true).create(true).open(place.join("out")).unwrap();
    let filed = Torus::start_in(place, configuration, |command| {
        command.stdout(file);
    });
    filed.until("its line", |_| filed.file("out").contains("to stdout"));
}

#[test]
fn supervisor_291_a_percent_sign_in_the_environment_stays() {
    let values = ["100%", "%(ENV_HOME)s", "%%", "%d%s%n", "a%20b"];
    let script = "for v in \"$OURS\" \"$THEIRS\"; do echo \"$v\"; done > $HERE/part; mv $HERE/part $HERE/told; \
                  exec sleep 1000";
    for value in values {
        let configuration = format!(
            "services: {{ one: {{ command: [sh, -c, '{script}', '%'], environment: {{ THEIRS: '{value}' }} }} }}"
        );
        let torus = Torus::start_with(&configuration, |command| {
            let here = command.get_args().last().unwrap().to_owned();
            command.env("OURS", value).env("HERE", here);
        });
        torus.until("what it was told", |_| torus.directory.join("told").exists());
        assert_eq!(torus.file("told"), format!("{value}\n{value}\n"));
    }
}

#[test]
fn supervisor_1274_status_is_machine_readable() {
    let torus = Torus::up(&format!("services: {{ one: {{ {IDLE} }}, two: {{ command: ['true'], restart: never }} }}"));
    let status = torus.until("an end", |status| service(status, "two")["state"] == "completed");
    assert_eq!(status["version"], 1);
    assert!(status["uptime_ms"].is_u64() && status["torus"].is_string() && status["orphans_reaped"].is_u64());
    let one = service(&status, "one");
    assert!(one["pid"].is_u64() && one["uptime_ms"].is_u64() && one["last_exit"].is_null(), "{one}");
    assert_eq!((&one["instance"], &one["restarts"], &one["state"]), (&1.into(), &0.into(), &"running".into()));
    let two = service(&status, "two");
    assert!(two["pid"].is_null() && two["last_exit"]["code"] == 0, "{two}");
    let (code, said) = torus.command(&["stop", "one", "--json"]);
    assert_eq!(code, Some(0));
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap()["services"][0]["state"], "stopped");
}

/// Plain, and below another init. (As PID 1: all of tests/pid1.) Orphans become its children everywhere.
#[test]
fn s6_overlay_383_522_it_need_not_be_pid_1() {
    let configuration = "services: { one: { command: [sh, -c, '(setsid sleep 0.01 &); exec sleep 1000'] } }";
    for before in [&["env"][..], &["tini", "--"], &["tini", "-s", "--"], &["dumb-init", "--"]] {
        let mut torus = Torus::start_below(before, configuration, |_| {});
        let status = torus.until("a collected orphan", |status| {
            status["state"] == "running" && status["orphans_reaped"].as_u64() >= Some(1)
        });
        assert!(status["pid"].as_i64() > Some(1));
        torus.signal("TERM");
        assert_eq!(torus.end().0.code(), Some(0), "{before:?}\n{}", torus.log());
        assert!(torus.log().trim_end().ends_with("torus: stopped"), "{before:?}\n{}", torus.log());
    }
}

/// Makes everything read-only, with a /run that executes nothing, writable or not; then becomes somebody.
const READ_ONLY: &str = "set -e
python3 -c \"import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh', b'lo', 1))\"
mount --make-rprivate /
mount -t tmpfs -o noexec,nosuid,nodev,mode=755 none /run
for m in /tmp /dev/shm; do mount --bind $m $m; mount -o remount,bind,ro $m; done
if test $RUN = ro; then mount -o remount,bind,ro,noexec,nosuid,nodev /run; fi
mount -o remount,bind,ro /
exec \"$@\"";

#[test]
fn s6_overlay_397_578_600_read_only_root_noexec_run_and_any_uid() {
    // Whoever is not root can be root in a namespace alone.
    let cases: &[(&str, u32)] =
        if geteuid().is_root() { &[("rw", 0), ("ro", 0), ("ro", 65_532), ("ro", 1_234_567)] } else { &[("ro", 0)] };
    for (run, uid) in cases {
        let place = Torus::place();
        let torus = program(&place).display().to_string();
        let (uid, run) = (uid.to_string(), *run);
        let file = place.join("torus.yaml").display().to_string();
        fs::write(&file, "bus: { requests: { front: 0, back: 0 } }\nservices: { hello: { worker: hello } }").unwrap();
        let mut command = Command::new("unshare");
        if !geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]);
        command.args(["--", "sh", "-c", READ_ONLY, "sh"]);
        let become_user = ["setpriv", "--reuid", &uid, "--regid", &uid, "--clear-groups", "--pdeathsig", "KILL", "--"];
        if uid != "0" {
            command.args(become_user);
        }
        command.args([torus.as_str(), "run", &file]).env("RUN", run).current_dir("/");
        for name in ["TORUS_RUNTIME_DIR", "XDG_RUNTIME_DIR", "TORUS_CONFIG", "NOTIFY_SOCKET"] {
            command.env_remove(name);
        }
        let log = File::create(place.join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut torus_in = Torus { child: command.spawn().unwrap(), directory: place };
        let unshare = torus_in.child.id();
        let first = || {
            let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).unwrap_or_default();
            children.trim().to_owned()
        };
        until("PID 1", || !first().is_empty());
        let ask = |words: &[&str]| {
            let mut command = Command::new("nsenter");
            command.args(["--target", &first(), "--mount", "--net", "--pid"]);
            if geteuid().is_root() {
                command.args(["--setuid", &uid, "--setgid", &uid]);
            } else {
                command.args(["--user", "--preserve-credentials"]);
            }
            command.arg(&torus).args(words).env_remove("TORUS_RUNTIME_DIR").env_remove("XDG_RUNTIME_DIR");
            command.stdin(Stdio::null()).current_dir("/").output().unwrap()
        };
        let begin = Instant::now();
        loop {
            let output = ask(&["status", "--json"]);
            let status: Option<Value> = serde_json::from_slice(&output.stdout).ok();
            if status.is_some_and(|status| status["state"] == "running") {
                break;
            }
            assert!(begin.elapsed() < PATIENCE, "{run} {uid}: {output:?}\n{}", torus_in.log());
        }
        let log = torus_in.log();
        let without_file = format!("; listening without a file, at @torus-{uid}/control.sock");
        assert_eq!(log.contains(&without_file), run == "ro", "{run} {uid}:\n{log}");
        let output = ask(&["request", "Hello"]);
        assert!(output.status.success(), "{run} {uid}: {output:?}");
        // What has no file goes over into another build too.
        let output = ask(&["upgrade"]);
        assert!(output.status.success(), "{run} {uid}: {output:?}\n{}", torus_in.log());
        let output = ask(&["health"]);
        assert!(output.status.success(), "{run} {uid}: {output:?}\n{}", torus_in.log());
        support::process::signal("TERM", first().parse().unwrap());
        let (status, _) = torus_in.end();
        assert_eq!((status.code(), status.signal()), (Some(0), None), "{run} {uid}:\n{}", torus_in.log());
    }
}

fn service<'a>(status: &'a Value, name: &str) -> &'a Value {
    let services = status["services"].as_array().unwrap();
    services.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("no service {name}: {status}"))
}
