//! What an upgrade keeps: processes, requests, budgets, times, sockets, pipes, the lock, and signals on their way.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::builds::{VERSION, copy, liar, other, other_version, upgrade};
use super::bus::{Bus, Totals};
use super::fleet::{Fleet, until};
use super::support::inits::fresh_pids;
use super::support::process::{lives, signal};
use super::support::{TORUS, Torus};

const UPGRADES: usize = 10;
const CLIENTS: usize = 4;
/// Requests that are answered between two upgrades, at least.
const REPLIES: u64 = 100;

/// Writes a hundred thousand numbered lines, with pauses: upgrades on a busy machine are to fall between them.
const TALK: &str = "import sys, time
for n in range(100_000):
    print(n, flush=n % 10 == 0)
    if n % 1_000 == 0: time.sleep(.015)
sys.stdout.flush()
time.sleep(1000)";

/// Says that it is ready and alive ten times in a second, as sd_notify(3) has it, and how often it has.
const PULSE: &str = "import os, socket, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
n = 0
while True:
    s.sendto(b'READY=1\\nWATCHDOG=1\\nSTATUS=%d' % n, '\\0' + os.environ['NOTIFY_SOCKET'][1:])
    n += 1
    time.sleep(.1)";

fn services(directory: &Path) -> String {
    let words = |words: &[&str]| serde_json::to_string(words).unwrap();
    let late =
        format!("until test -e {}; do sleep 0.05; done; echo >&3; exec sleep 1000", directory.join("go").display());
    format!(
        "bus: {{ requests: {{ front: 0, back: 0 }} }}
services:
  hello: {{ worker: hello, instances: 2 }}
  idle: {{ command: [sleep, '1000'] }}
  budget: {{ command: [sleep, '1000'], restart: {{ limit: {{ restarts: 2, window_ms: 600000 }}, backoff: {{ ms_min: 10, ms_max: 10 }} }} }}
  late: {{ command: {late}, ready: {{ fd: 3 }} }}
  probed: {{ command: [sleep, '1000'], ready: {{ exec: ['true'] }}, watchdog: {{ exec: ['true'], interval_ms: 20, timeout_ms: 5000 }} }}
  pulse: {{ command: {pulse}, ready: notify, watchdog: {{ timeout_ms: 3000 }} }}
  spent: {{ command: ['false'], restart: {{ limit: {{ restarts: 1, window_ms: 600000 }}, quarantine_ms: 600000 }} }}
  slow: {{ command: ['false'], restart: {{ backoff: {{ ms_min: 600000, ms_max: 600000 }} }} }}
",
        late = words(&["sh", "-c", &late]),
        pulse = words(&["python3", "-c", PULSE]),
    )
}

fn find<'a>(status: &'a Value, name: &str) -> &'a Value {
    status["services"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap()
}

/// Who runs: each instance's process.
fn pids(status: &Value) -> Vec<(String, i64, i64)> {
    let services = status["services"].as_array().unwrap().iter();
    let of = |one: &Value| Some((one["name"].as_str()?.to_owned(), one["instance"].as_i64()?, one["pid"].as_i64()?));
    services.filter_map(of).collect()
}

/// Ends a thread that looks at it, however the test goes on.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn ten_upgrades_under_load_keep_processes_requests_budgets_and_times() {
    let directory = std::env::temp_dir().join(format!("torus-upgrade-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let bus = Bus::of(Torus::start_in(directory.clone(), &services(&directory), |_| {}));
    let torus = &bus.torus;
    let before = torus.until("all as it is to be", |status| {
        let is = |name, state| find(status, name)["state"] == state;
        is("slow", "waiting") && is("spent", "quarantined") && is("pulse", "running") && is("probed", "running")
    });
    let supervisor = before["pid"].clone();
    signal("KILL", find(&before, "budget")["pid"].as_i64().unwrap());
    let before = torus.until("one restart of the budget", |status| {
        find(status, "budget")["restarts"] == 1 && find(status, "budget")["state"] == "running"
    });

    let (front, _) = bus.endpoints();
    let fleet = Fleet::connect(&front, CLIENTS);
    fleet.go();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asker = scope.spawn(|| {
            let mut asked = 0;
            while !over.load(Ordering::Relaxed) {
                assert!(torus.status().is_some(), "a status was not answered\nlog:\n{}", torus.log());
                asked += 1;
            }
            asked
        });
        let end = End(&over);
        for round in 0..UPGRADES {
            let (binary, version) =
                if round % 2 == 0 { (other(), other_version()) } else { (Path::new(TORUS), VERSION.to_owned()) };
            let replied = fleet.tally().replied;
            let (code, said) = upgrade(torus, binary);
            assert_eq!((code, said), (Some(0), format!("torus {version} runs\n")), "log:\n{}", torus.log());
            let status = torus.status().unwrap();
            assert_eq!((status["torus"].as_str(), &status["pid"]), (Some(version.as_str()), &supervisor));
            assert_eq!(pids(&status), pids(&before), "log:\n{}", torus.log());
            for name in ["budget", "spent", "slow", "hello"] {
                for key in ["restarts", "state", "last_exit"] {
                    assert_eq!(find(&status, name)[key], find(&before, name)[key], "{name}: {key}");
                }
            }
            assert!(status["uptime_ms"].as_u64() >= before["uptime_ms"].as_u64());
            until("requests are answered", || fleet.tally().replied > replied + REPLIES);
        }
        drop(end);
        assert!(asker.join().expect("every status was answered") > UPGRADES);
    });

    let status = torus.status().unwrap();
    assert_eq!(find(&status, "late")["state"], "starting");
    fs::write(directory.join("go"), "").unwrap();
    torus.until("the word of a pipe is heard", |status| find(status, "late")["state"] == "running");
    assert_eq!(status["orphans_reaped"], before["orphans_reaped"], "a probe was taken for an orphan");
    let said = find(&status, "pulse")["says"].as_str().unwrap().to_owned();
    torus.until("a socket is heard", |status| find(status, "pulse")["says"] != said.as_str());

    // One restart of two was spent before.
    for state in ["running", "quarantined"] {
        signal("KILL", find(&torus.status().unwrap(), "budget")["pid"].as_i64().unwrap());
        let restarts = if state == "running" { 2 } else { 3 };
        torus.until("the budget goes on", |status| {
            let budget = find(status, "budget");
            budget["state"] == state && (restarts == 3 || budget["restarts"] == restarts)
        });
    }

    fleet.hold();
    until("everything is answered", || fleet.tally().sent == fleet.tally().replied);
    let tally = fleet.tally();
    bus.until_totals("nothing is lost", |totals| {
        totals.get("requests") == tally.sent
            && totals.in_flight() == 0
            && totals.lost_since(&Totals::default()).is_empty()
    });
    assert_eq!(fleet.check_every_number(0), 0);

    let (code, said) = torus.command(&["restart", "hello"]);
    assert_eq!(code, Some(0), "{said}");
    let configuration = directory.join("torus.yaml");
    let (code, said) = torus.command(&["run", "--config", configuration.to_str().unwrap()]);
    assert!(code == Some(1) && said.contains("another torus"), "the lock is lost: {said}");
    assert_eq!(torus.command(&["plan"]).1, "nothing changes\n");
    let last = pids(&torus.status().unwrap());
    let mut bus = bus;
    bus.torus.signal("TERM");
    assert_eq!(bus.torus.end().0.code(), Some(0), "log:\n{}", bus.torus.log());
    assert!(last.iter().all(|(_, _, pid)| !lives(*pid)), "left behind");
    assert!(!directory.join("control.sock").exists());
}

#[test]
fn a_time_that_runs_goes_on_over_upgrades() {
    let rule = "restart: { backoff: { ms_min: 6000, ms_max: 6000 } }";
    let idle = "idle: { command: [sleep, '1000'] }";
    let torus = Torus::start(&format!("services: {{ {idle}, slow: {{ command: ['false'], {rule} }} }}"));
    torus.until("it waits", |status| find(status, "slow")["state"] == "waiting");
    let begin = Instant::now();
    // Up to a quarter of the wait is taken off by chance: it has at least 4.5 s.
    while begin.elapsed() < Duration::from_millis(3_500) {
        assert_eq!(upgrade(&torus, other()).0, Some(0), "log:\n{}", torus.log());
        std::thread::sleep(Duration::from_millis(250));
    }
    torus.until("its start", |status| find(status, "slow")["restarts"] == 2);
    // If its time had begun anew with an upgrade, it would be about 8 s at least.
    assert!(begin.elapsed() < Duration::from_millis(7_700), "{:?}; log:\n{}", begin.elapsed(), torus.log());
}

#[test]
fn what_is_installed_where_torus_was_started_from_is_what_it_becomes() {
    let directory = std::env::temp_dir().join(format!("torus-installed-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let (one, two, link) = (directory.join("one"), directory.join("two"), directory.join("torus"));
    copy(Path::new(TORUS), &one);
    copy(other(), &two);
    std::os::unix::fs::symlink("one", &link).unwrap();
    let configuration = "services: { idle: { command: [sleep, '1000'] } }";
    let torus = Torus::start_program(&link, directory.clone(), configuration, |_| {});
    let before = torus.until("everything runs", |status| status["state"] == "running");
    // The link leads elsewhere now.
    std::os::unix::fs::symlink("two", directory.join("next")).unwrap();
    fs::rename(directory.join("next"), &link).unwrap();
    let (code, said) = torus.command(&["upgrade", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    let done: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&done["reached"], done["torus"].as_str()), (&true.into(), Some(other_version().as_str())));
    // And now there is another file.
    copy(Path::new(TORUS), &directory.join("next"));
    fs::rename(directory.join("next"), &link).unwrap();
    assert_eq!(torus.command(&["upgrade"]), (Some(0), format!("torus {VERSION} runs\n")));
    let after = torus.status().unwrap();
    assert_eq!((pids(&after), &after["pid"]), (pids(&before), &before["pid"]));
    // Programs are executed by descriptors and links of the kernel's; who looks for processes by name finds them.
    assert_eq!(torus.command(&["restart", "log"]).0, Some(0));
    let status = torus.status().unwrap();
    for pid in [&status["pid"], &find(&status, "log")["pid"]] {
        assert_eq!(fs::read_to_string(format!("/proc/{pid}/comm")).unwrap(), "torus\n");
    }
}

#[test]
fn who_holds_on_to_torus_by_a_descriptor_is_not_let_go() {
    let (mut ours, theirs) = std::io::pipe().unwrap();
    let mut torus = {
        // A descriptor that another program forgot to close, or by which it sees that torus lives.
        let theirs = std::os::fd::OwnedFd::from(theirs);
        nix::fcntl::fcntl(&theirs, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
        Torus::up("services: { idle: { command: [sleep, '1000'] } }")
    };
    for binary in [other(), Path::new(TORUS)] {
        assert_eq!(upgrade(&torus, binary).0, Some(0), "log:\n{}", torus.log());
    }
    let status = torus.status().unwrap();
    let holds = |pid: &Value| {
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let own = fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&ours))).unwrap();
        fds.filter(|fd| fs::read_link(fd.as_ref().unwrap().path()).is_ok_and(|link| link == own)).count()
    };
    assert_eq!((holds(&status["pid"]), holds(&status["services"][0]["pid"])), (1, 0));
    torus.signal("TERM");
    assert_eq!(torus.end().0.code(), Some(0));
    let mut all = String::new();
    std::io::Read::read_to_string(&mut ours, &mut all).unwrap();
}

#[test]
fn every_line_is_written_once_and_in_order_over_upgrades() {
    let talk = serde_json::to_string(&["python3", "-c", TALK]).unwrap();
    let limit = "logs: { rate_lines_per_s: 0 }";
    let torus = Torus::up(&format!("{limit}\nservices: {{ talk: {{ command: {talk} }} }}"));
    let mut round = 0;
    while !torus.log().contains("talk/1 | 99999\n") {
        let binary = if round % 2 == 0 { other() } else { Path::new(TORUS) };
        assert_eq!(upgrade(&torus, binary).0, Some(0), "log:\n{}", torus.log());
        round += 1;
    }
    assert!(round > 1, "nothing was written during an upgrade");
    let log = torus.log();
    let numbers: Vec<u32> =
        log.lines().filter_map(|line| line.strip_prefix("talk/1 | ")).map(|number| number.parse().unwrap()).collect();
    assert!(numbers.iter().copied().eq(0..100_000), "lines are missing or doubled");
    // Its worker is the same one, and hears of a death and of a newcomer.
    assert_eq!(torus.command(&["restart", "talk"]).0, Some(0));
    torus.until("its successor's lines", |_| torus.log().matches("talk/1 | 99999\n").count() == 2);
    assert_eq!(find(&torus.status().unwrap(), "log")["restarts"], 0);
}

#[test]
fn what_a_process_was_started_from_is_known_over_upgrades() {
    let of = |command: &str| {
        let slow = "restart: { backoff: { ms_min: 600000, ms_max: 600000 } }";
        format!("services: {{ a: {{ command: {command}, instances: 3, {slow} }}, b: {{ command: [sleep, '1000'] }} }}")
    };
    let torus = Torus::up(&of("[sleep, '1000']"));
    torus.rewrite(&of("['false']"));
    assert_eq!(torus.command(&["reload"]).0, Some(1));
    let left = "restart  a  instances 2, 3: changed: what it runs\n";
    assert_eq!(torus.command(&["plan"]).1, left);
    let before = torus.status().unwrap();
    for binary in [other(), Path::new(TORUS)] {
        assert_eq!(upgrade(&torus, binary).0, Some(0), "log:\n{}", torus.log());
        assert_eq!(torus.command(&["plan"]).1, left);
    }
    let old = |status: &Value| -> Vec<Value> {
        status["services"].as_array().unwrap().iter().map(|one| one["old_configuration"].clone()).collect()
    };
    assert_eq!(old(&torus.status().unwrap()), old(&before));
    assert_eq!(old(&before).iter().filter(|why| !why.is_null()).count(), 2);
    torus.rewrite(&of("[sleep, '1001']"));
    let (code, said) = torus.command(&["reload"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(torus.command(&["plan"]).1, "nothing changes\n");
}

#[test]
fn who_lives_on_under_an_old_configuration_is_probed_as_it_says() {
    let slow = "restart: { backoff: { ms_min: 600000, ms_max: 600000 } }";
    let of = |rest: &str| format!("services: {{ a: {{ {rest}, instances: 2, {slow} }} }}");
    let directory = Torus::place();
    let probes = directory.join("probes");
    let probe = format!("exec: [sh, -c, 'echo . >> {}'], interval_ms: 100, timeout_ms: 1500", probes.display());
    let configuration = of(&format!("command: [sleep, '1000'], watchdog: {{ {probe} }}"));
    let torus = Torus::start_program(Path::new(TORUS), directory, &configuration, |_| {});
    torus.until("both run", |status| status["state"] == "running");
    // Its first instance fails, and the second is left as it is.
    torus.rewrite(&of("command: ['false']"));
    assert_eq!(torus.command(&["reload"]).0, Some(1));
    let second = |status: &Value| status["services"][1].clone();
    let pid = second(&torus.status().unwrap())["pid"].clone();
    assert_eq!(upgrade(&torus, other()).0, Some(0), "log:\n{}", torus.log());
    let count = || fs::read(&probes).unwrap().len();
    let before = count();
    // More than its time would be over by then.
    torus.until("probes", |_| count() > before + 2 * 20);
    let second = second(&torus.status().unwrap());
    assert_eq!((&second["pid"], &second["restarts"]), (&pid, &0.into()), "log:\n{}", torus.log());
}

#[test]
fn signs_of_life_that_came_while_nobody_listened_are_heard_before_their_time_is_over() {
    let alive = serde_json::to_string(&["python3", "-c", PULSE]).unwrap();
    let torus = Torus::up(&format!(
        "services: {{ alive: {{ command: {alive}, ready: notify, watchdog: {{ timeout_ms: 1000 }} }} }}"
    ));
    let pid = find(&torus.status().unwrap(), "alive")["pid"].clone();
    // Between the two builds more time passes than it has.
    let binary = liar(&torus, "", &format!("usleep(1500000); return execv(\"{TORUS}\", argv);"));
    assert_eq!(upgrade(&torus, &binary).0, Some(0), "log:\n{}", torus.log());
    let said = |status: &Value| find(status, "alive")["says"].as_str().and_then(|says| says.parse::<u64>().ok());
    let before = said(&torus.status().unwrap());
    torus.until("it goes on", |status| said(status) > before.map(|said| said + 5));
    assert_eq!(find(&torus.status().unwrap(), "alive")["pid"], pid, "log:\n{}", torus.log());
}

#[test]
fn a_death_in_the_midst_of_an_upgrade_is_not_missed() {
    let rule = "restart: { limit: none, backoff: { ms_min: 10, ms_max: 10 } }";
    let torus = Torus::up(&format!("services: {{ a: {{ command: [sleep, '1000'], {rule} }} }}"));
    for round in 0..20 {
        let pid = find(&torus.status().unwrap(), "a")["pid"].as_i64().unwrap();
        std::thread::scope(|scope| {
            let killed = scope.spawn(move || {
                // Somewhere between the question and the new build's first turn.
                std::thread::sleep(Duration::from_millis(round));
                signal("KILL", pid);
            });
            let (code, said) = upgrade(&torus, Path::new(TORUS));
            assert_eq!(code, Some(0), "{said}");
            killed.join().unwrap();
        });
        torus.until("a successor", |status| {
            let a = find(status, "a");
            a["state"] == "running" && a["pid"].as_i64().is_some_and(|successor| successor != pid)
        });
    }
}

#[test]
fn an_order_to_stop_in_the_midst_of_an_upgrade_is_followed_by_whichever_build_it_finds() {
    for delay_ms in [0, 4, 8, 12, 16, 20] {
        let mut torus = Torus::up("services: { idle: { command: [sleep, '1000'] } }");
        let idle = find(&torus.status().unwrap(), "idle")["pid"].as_i64().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| upgrade(&torus, Path::new(TORUS)));
            std::thread::sleep(Duration::from_millis(delay_ms));
            torus.signal("TERM");
        });
        assert_eq!(torus.end().0.code(), Some(0), "after {delay_ms} ms; log:\n{}", torus.log());
        assert!(!lives(idle) && torus.log().contains("SIGTERM: stopping"));
    }
}

#[test]
fn pid_1_of_a_container_becomes_another_build_too() {
    let configuration = "services: { hello: { command: [sleep, '1000'], instances: 2 } }";
    let torus = Torus::start_below(fresh_pids(), configuration, |_| {});
    let before = torus.until("everything runs", |status| status["state"] == "running");
    for (binary, version) in [(other(), other_version()), (Path::new(TORUS), VERSION.to_owned())] {
        let (code, said) = upgrade(&torus, binary);
        assert_eq!((code, said), (Some(0), format!("torus {version} runs\n")), "log:\n{}", torus.log());
    }
    let after = torus.status().unwrap();
    assert_eq!((pids(&after), &after["pid"]), (pids(&before), &1.into()));
}

#[test]
fn a_service_on_its_way_out_ends_as_its_old_configuration_says() {
    let script = "trap 'sleep 1; exit 0' TERM; echo >&3; while :; do sleep 0.02; done";
    let gone =
        format!("gone: {{ command: [sh, -c, \"{script}\"], ready: {{ fd: 3 }}, stop: {{ timeout_ms: 15000 }} }}");
    let rest = "idle: { command: [sleep, '1000'] }";
    let torus = Torus::up(&format!("services: {{ {gone}, {rest} }}"));
    let pid = find(&torus.status().unwrap(), "gone")["pid"].as_i64().unwrap();
    torus.rewrite(&format!("services: {{ {rest} }}"));
    torus.signal("HUP");
    torus.until("it ends", |status| find(status, "gone")["state"] == "stopping");
    assert_eq!(upgrade(&torus, other()).0, Some(0), "log:\n{}", torus.log());
    torus.until("it is forgotten", |status| {
        !status["services"].as_array().unwrap().iter().any(|service| service["name"] == "gone")
    });
    assert!(!lives(pid));
    torus.until_log("stopped code=0");
}

#[test]
fn who_reads_what_services_write_is_watched_on_and_what_nobody_read_stays_counted() {
    let directory = Torus::place();
    let program = directory.join("torus");
    copy(Path::new(TORUS), &program);
    let talk = "talk: { command: [sh, -c, 'while :; do echo line; done'] }";
    let configuration = format!("logs: {{ rate_lines_per_s: 1, watchdog_ms: 1000 }}\nservices: {{ {talk} }}");
    let torus = Torus::start_program(&program, directory, &configuration, |_| {});
    torus.until("everything runs", |status| status["state"] == "running");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).unwrap();
    signal("KILL", find(&torus.status().unwrap(), "log")["pid"].as_i64().unwrap());
    torus.until("something is discarded", |status| status["discarded_bytes"].as_u64() > Some(0));
    let before = torus.status().unwrap();
    assert_eq!(upgrade(&torus, other()).0, Some(0), "log:\n{}", torus.log());
    let after = torus.until("a log worker", |status| find(status, "log")["state"] == "running");
    assert!(after["discarded_bytes"].as_u64() >= before["discarded_bytes"].as_u64());

    let restarts = find(&after, "log")["restarts"].as_u64().unwrap();
    assert_eq!(upgrade(&torus, Path::new(TORUS)).0, Some(0), "log:\n{}", torus.log());
    signal("STOP", find(&torus.status().unwrap(), "log")["pid"].as_i64().unwrap());
    torus.until("a successor", |status| {
        let log = find(status, "log");
        log["restarts"].as_u64() > Some(restarts) && log["state"] == "running" && log["last_exit"]["signal"] == 6
    });
}
