//! What changes a running torus, with real processes: each command answers with the state that was reached.

mod support;

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::Torus;
use support::process::lives;

const IDLE: &str = "command: [sleep, '1000']";

fn find<'a>(status: &'a Value, name: &str, instance: u64) -> &'a Value {
    let services = status["services"].as_array().unwrap();
    services.iter().find(|one| one["name"] == name && one["instance"] == instance).unwrap()
}

fn pid(status: &Value, name: &str, instance: u64) -> i64 {
    find(status, name, instance)["pid"].as_i64().unwrap()
}

#[test]
fn a_service_is_stopped_and_started_and_the_answer_tells_that_it_is() {
    let torus = Torus::up(&format!("services: {{ a: {{ {IDLE} }}, b: {{ {IDLE} }} }}"));
    let before = torus.status().unwrap();
    let (code, said) = torus.command(&["stop", "a"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("a/1") && said.contains("stopped"), "{said}");
    assert!(!lives(pid(&before, "a", 1)), "it was answered before it was gone");
    let status = torus.status().unwrap();
    assert_eq!((&status["state"], find(&status, "a", 1)["state"].as_str()), (&"running".into(), Some("stopped")));
    let ended = |how: &str| format!("torus: service=a instance=1 pid={} {how}\n", pid(&before, "a", 1));
    assert!(torus.log().contains(&ended("stopped signal=15")), "{}", torus.log());
    assert_eq!(torus.command(&["start", "a"]).0, Some(0));
    let after = torus.status().unwrap();
    assert!(lives(pid(&after, "a", 1)));
    // A process that runs is all that its service asks for: there is no other word to be heard.
    let ready = format!("service=a instance=1 pid={} ready", pid(&after, "a", 1));
    assert!(!torus.log().contains(&ready), "{}", torus.log());
    assert_eq!(pid(&after, "b", 1), pid(&before, "b", 1));
}

#[test]
fn a_service_that_nobody_knows_is_refused_with_the_names_that_there_are() {
    let torus = Torus::up(&format!("services: {{ a: {{ {IDLE} }}, b: {{ {IDLE} }} }}"));
    let (code, said) = torus.command(&["restart", "c"]);
    assert_eq!((code, said.trim()), (Some(1), "error: there is no service \"c\"; there are: a, b, log"));
}

#[test]
fn a_restart_that_comes_to_nothing_is_told_so() {
    let directory = std::env::temp_dir().join(format!("torus-gone-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let script = format!("test ! -e {}/gone || exit 3; echo >&3; exec sleep 1000", directory.display());
    let configuration = format!("services: {{ a: {{ command: [sh, -c, '{script}'], ready: {{ fd: 3 }} }} }}");
    let torus = Torus::start_in(directory, &configuration, |_| {});
    torus.until("everything runs", |status| status["state"] == "running");
    fs::write(torus.directory.join("gone"), "").unwrap();
    let (code, said) = torus.command(&["restart", "a"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("\nnot reached: a/1 is waiting, ended last with code 3\nhint: "), "{said}");
}

#[test]
fn a_start_that_comes_to_nothing_names_whom_it_waits_for() {
    let failing = "command: [sh, -c, 'exit 4'], ready: { fd: 3 }, restart: never";
    let torus = Torus::start(&format!(
        "services: {{ a: {{ {IDLE}, after: {{ b: ready }} }}, b: {{ {failing} }}, idle: {{ {IDLE} }} }}"
    ));
    torus.until("b has failed", |status| find(status, "b", 1)["state"] == "failed");
    let (code, said) = torus.command(&["start", "a"]);
    assert_eq!(code, Some(1), "{said}");
    let told: Vec<&str> = said.lines().filter(|line| line.starts_with("not reached")).collect();
    let expected =
        ["not reached: a/1 is pending, waits for b to be ready", "not reached: b/1 is failed, ended last with code 4"];
    assert_eq!(told, expected, "{said}");
    let (_, said) = torus.command(&["start", "a", "--json"]);
    assert!(said.contains(r#""because":["a/1 is pending, waits for b to be ready","b/1 is failed,"#), "{said}");
}

#[test]
fn instances_are_restarted_one_at_a_time_each_ready_before_the_next() {
    let directory = std::env::temp_dir().join(format!("torus-rolling-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let diary = directory.join("diary");
    // Each says when it begins, becomes ready a little later, and says when it ends.
    let script = format!(
        "say() {{ echo \"$TORUS_INSTANCE $1\" >> {diary}; }}; trap \"say end; exit 0\" TERM; say begin; sleep 0.1; \
         say ready; echo >&5; while :; do sleep 0.05; done",
        diary = diary.display()
    );
    let configuration =
        format!("services: {{ a: {{ command: [sh, -c, '{script}'], instances: 3, ready: {{ fd: 5 }} }} }}");
    let torus = Torus::start_in(directory, &configuration, |_| {});
    let before = torus.until("everything runs", |status| status["state"] == "running");
    fs::write(&diary, "").unwrap();
    assert_eq!(torus.command(&["restart", "a"]).0, Some(0));
    let log = torus.log();
    let old = pid(&before, "a", 1);
    let new = pid(&torus.status().unwrap(), "a", 1);
    let [stopped, ready] = [(old, "stopped code=0; restarting now"), (new, "ready")]
        .map(|(pid, what)| log.find(&format!("torus: service=a instance=1 pid={pid} {what}\n")));
    assert!(stopped.is_some() && stopped < ready, "{log}");
    let told = fs::read_to_string(&diary).unwrap();
    let order = "1 end\n1 begin\n1 ready\n2 end\n2 begin\n2 ready\n3 end\n3 begin\n3 ready\n";
    assert_eq!(told, order);
    let after = torus.status().unwrap();
    assert!((1..=3).all(|instance| pid(&before, "a", instance) != pid(&after, "a", instance)));
}

#[test]
fn a_version_that_dies_at_once_costs_one_instance_where_readiness_says_nothing() {
    let directory = Torus::place();
    let script = "test ! -e gone || exit 3; : > up-$TORUS_INSTANCE; exec sleep 1000";
    let slow = "restart: { backoff: { ms_min: 600000, ms_max: 600000 } }";
    let configuration = format!("services: {{ a: {{ command: [sh, -c, '{script}'], instances: 3, {slow} }} }}");
    let torus = Torus::start_in(directory.clone(), &configuration, |command| {
        command.current_dir(&directory);
    });
    let before =
        torus.until("everything runs", |_| (1..=3).all(|number| directory.join(format!("up-{number}")).exists()));
    fs::write(torus.directory.join("gone"), "").unwrap();
    let (code, said) = torus.command(&["restart", "a"]);
    // By then it may have been started again, and be about to die again.
    assert!(code == Some(1) && said.contains("\nnot reached: a/1 is "), "{said}");
    assert!(said.contains(", ended last with code 3\n") && said.matches("not reached").count() == 1, "{said}");
    torus.until_log("service=a the roll stops: what is not renewed yet keeps its processes");
    let after = torus.until("it waits", |status| find(status, "a", 1)["state"] == "waiting");
    for instance in [2, 3] {
        assert_eq!(pid(&after, "a", instance), pid(&before, "a", instance));
    }
    fs::remove_file(torus.directory.join("gone")).unwrap();
    assert_eq!(torus.command(&["restart", "a"]).0, Some(0));
    let last = torus.status().unwrap();
    assert!((1..=3).all(|instance| pid(&last, "a", instance) != pid(&before, "a", instance)));
}

#[test]
fn supervisor_720_1264_a_reload_touches_only_what_changed_and_a_bad_file_changes_nothing() {
    let torus = Torus::up(&format!(
        "services: {{ gone: {{ {IDLE} }}, other: {{ {IDLE} }}, policy: {{ {IDLE} }}, same: {{ {IDLE} }} }}"
    ));
    let before = torus.status().unwrap();

    torus.rewrite(&format!("services: {{ same: {{ {IDLE} }}, new: {{ comand: [x] }} }}"));
    for command in ["plan", "reload"] {
        let (code, said) = torus.command(&[command]);
        assert_eq!(code, Some(1));
        assert!(said.contains("services.new.comand: no such key; did you mean command?"), "{said}");
    }
    assert_eq!(pid(&torus.status().unwrap(), "gone", 1), pid(&before, "gone", 1));
    torus.signal("HUP");
    torus.until_log("torus: SIGHUP: nothing is changed: 2 problems\n");
    let file = torus.directory.join("torus.yaml");
    let log = torus.log();
    let told =
        log.lines().filter(|line| line.contains(&format!("nothing is changed: {}:1: services.", file.display())));
    assert_eq!(told.count(), 2, "{log}");

    torus.rewrite(
        "services:
  other: { command: [sleep, '1001'] }
  policy: { command: [sleep, '1000'], restart: never, stop: { timeout_ms: 100 } }
  same: { command: [sleep, '1000'] }
  new: { command: [sleep, '1000'] }",
    );
    let (code, said) = torus.command(&["plan"]);
    assert_eq!(code, Some(0));
    insta::assert_snapshot!(said, @r"
    stop     gone    it is no longer there
    start    new     it is new
    restart  other   changed: what it runs
    nothing  policy  changed in place: restart, stop
    ");
    assert_eq!(pid(&torus.status().unwrap(), "gone", 1), pid(&before, "gone", 1), "a plan changes nothing");

    let (code, said) = torus.command(&["reload"]);
    assert_eq!(code, Some(0), "{said}\n{}", torus.log());
    let after = torus.status().unwrap();
    for name in ["policy", "same"] {
        assert_eq!(pid(&after, name, 1), pid(&before, name, 1), "{name} was touched");
    }
    assert!(!lives(pid(&before, "gone", 1)) && !lives(pid(&before, "other", 1)));
    assert!(lives(pid(&after, "new", 1)) && lives(pid(&after, "other", 1)));
    assert_eq!(torus.command(&["plan"]).1, "nothing changes\n");
}

#[test]
fn a_file_that_names_a_user_who_is_not_there_is_planned_with_a_warning_and_not_taken() {
    let torus = Torus::up(&format!("services: {{ a: {{ {IDLE} }}, b: {{ {IDLE} }} }}"));
    let before = torus.status().unwrap();
    torus.rewrite(&format!("services: {{ a: {{ {IDLE}, user: nobody-here, group: no-group }}, c: {{ {IDLE} }} }}"));
    let file = torus.directory.join("torus.yaml");
    let [user, group] = ["user: there is no user \"nobody-here\"", "group: there is no group \"no-group\""]
        .map(|what| format!("services.a.{what}"));
    let file = file.display();
    let warnings = format!("{file}: warning: {user}\n{file}: warning: {group}\n");
    for arguments in [&["plan"][..], &["plan", &file.to_string()], &["plan", "--json"]] {
        let (code, said) = torus.command(arguments);
        assert!(code == Some(0) && said.ends_with(&warnings) && said.contains("what it may do and have"), "{said}");
    }
    let refused = format!("error: {file}: {user}\n{file}: {group}\n");
    assert_eq!(torus.command(&["reload"]), (Some(1), refused));
    torus.signal("HUP");
    torus.until_log(&format!("SIGHUP: nothing is changed: {file}: {group}\n"));
    let after = torus.status().unwrap();
    assert!(["a", "b"].iter().all(|name| pid(&after, name, 1) == pid(&before, name, 1)));
    assert!(after["services"].as_array().unwrap().iter().all(|service| service["name"] != "c"));
}

#[test]
fn who_runs_as_a_user_who_has_gone_holds_up_no_reload_of_others() {
    // It was refused at its start already; nothing about it changes.
    let absent = format!("a: {{ {IDLE}, user: nobody-here, restart: never }}");
    let torus = Torus::start(&format!("services: {{ {absent}, b: {{ {IDLE} }} }}"));
    torus.until("a has failed", |status| find(status, "a", 1)["state"] == "failed");
    torus.rewrite(&format!("services: {{ {absent}, c: {{ {IDLE} }} }}"));
    let (code, said) = torus.command(&["reload"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(find(&torus.status().unwrap(), "c", 1)["state"], "running");
}

#[test]
fn a_contrary_order_ends_the_wait_with_a_clear_error() {
    let directory = Torus::place();
    // It becomes ready, and ends, when it is let.
    let wait = "while ! test -e $1; do sleep 0.02; done";
    let script =
        format!("w() {{ {wait}; }}; trap 'w end; exit 0' TERM; w ready; echo >&5; while :; do sleep 0.02; done");
    let command = serde_json::to_string(&["sh", "-c", &script]).unwrap();
    let configuration = format!("services: {{ a: {{ command: {command}, ready: {{ fd: 5 }} }}, b: {{ {IDLE} }} }}");
    let [ready, end] = ["ready", "end"].map(|name| directory.join(name));
    fs::write(&ready, "").unwrap();
    let torus = Torus::start_in(directory.clone(), &configuration, |command| {
        command.current_dir(&directory);
    });
    torus.until("everything runs", |status| status["state"] == "running");
    let a_is = |state: &str| drop(torus.until(state, |status| find(status, "a", 1)["state"] == state));
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| torus.command(&["stop", "a"]));
        a_is("stopping");
        let start = scope.spawn(|| torus.command(&["start", "a"]));
        let said = stop.join().unwrap();
        assert_eq!(said, (Some(1), "error: service \"a\" was told to run meanwhile\n".to_owned()));
        fs::remove_file(&ready).unwrap();
        fs::write(&end, "").unwrap();
        a_is("starting");
        let stop = scope.spawn(|| torus.command(&["stop", "a"]));
        let said = start.join().unwrap();
        assert_eq!(said, (Some(1), "error: service \"a\" was told to stop meanwhile\n".to_owned()));
        assert_eq!(stop.join().unwrap().0, Some(0));
    });
}

#[test]
fn who_waits_for_a_configuration_is_told_that_another_one_was_taken() {
    let of =
        |words: &str| format!("services: {{ a: {{ command: [sleep, '{words}'], ready: notify }}, b: {{ {IDLE} }} }}");
    let torus = Torus::up(&format!("services: {{ b: {{ {IDLE} }} }}"));
    torus.rewrite(&of("1000"));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| torus.command(&["reload"]));
        torus.until("it starts", |status| status["services"][0]["state"] == "starting");
        torus.rewrite(&of("1001"));
        let second = scope.spawn(|| torus.command(&["reload"]));
        let said = first.join().unwrap();
        assert_eq!(said, (Some(1), "error: another configuration was taken meanwhile\n".to_owned()));
        torus.signal("TERM");
        assert_eq!(second.join().unwrap(), (Some(1), "error: torus is going down\n".to_owned()));
    });
}

/// Three instances that idle; and the same by a command that needs the file `good`, with a first restart that fails at
/// once and no second one.
fn idle_and_picky(directory: &std::path::Path) -> [String; 2] {
    let of = |command: &str| {
        let slow = "restart: { backoff: { ms_min: 600000, ms_max: 600000 } }";
        format!("services: {{ a: {{ command: {command}, instances: 3, {slow} }}, b: {{ {IDLE} }} }}")
    };
    let picky = format!("[sh, -c, 'test -e {}/good || exit 3; exec sleep 1000']", directory.display());
    [of("[sleep, '1000']"), of(&picky)]
}

#[test]
fn what_a_roll_that_failed_left_as_it_was_is_told_and_a_later_reload_mends_it() {
    let directory = Torus::place();
    let [idle, picky] = idle_and_picky(&directory);
    let torus = Torus::start_in(directory, &idle, |_| {});
    let before = torus.until("everything runs", |status| status["state"] == "running");
    let is_old = |status: &Value, number| find(status, "a", number)["old_configuration"] == "changed: what it runs";
    torus.rewrite(&picky);
    assert_eq!(torus.command(&["plan"]).1, "restart  a  changed: what it runs\n");
    for attempt in 0..2 {
        assert_eq!(torus.command(&["reload"]).0, Some(1), "attempt {attempt}");
        let after = torus.until("it waits", |status| find(status, "a", 1)["state"] == "waiting");
        for number in [2, 3] {
            assert_eq!(pid(&after, "a", number), pid(&before, "a", number));
        }
        assert_eq!([1, 2, 3].map(|number| is_old(&after, number)), [false, true, true], "attempt {attempt}");
        assert_eq!(torus.command(&["plan"]).1, "restart  a  instances 2, 3: changed: what it runs\n");
    }
    assert!(torus.command(&["status"]).1.contains("a/3: old configuration: changed: what it runs"));
    fs::write(torus.directory.join("good"), "").unwrap();
    let (code, said) = torus.command(&["reload"]);
    assert_eq!(code, Some(0), "{said}");
    let after = torus.status().unwrap();
    assert!([1, 2, 3].iter().all(|number| !is_old(&after, *number) && lives(pid(&after, "a", *number))));
    assert_eq!(pid(&after, "b", 1), pid(&before, "b", 1));
    assert_eq!(torus.command(&["plan"]).1, "nothing changes\n");
}

#[test]
fn going_back_from_a_roll_that_failed_touches_only_what_it_had_reached() {
    let directory = Torus::place();
    let [idle, picky] = idle_and_picky(&directory);
    let torus = Torus::start_in(directory, &idle, |_| {});
    let before = torus.until("everything runs", |status| status["state"] == "running");
    torus.rewrite(&picky);
    assert_eq!(torus.command(&["reload"]).0, Some(1));
    torus.until("it waits", |status| find(status, "a", 1)["state"] == "waiting");
    torus.rewrite(&idle);
    // Who has no process is told with the others: the configuration in force is another one.
    assert_eq!(torus.command(&["plan"]).1, "restart  a  instance 1: changed: what it runs\n");
    let (code, said) = torus.command(&["reload"]);
    assert_eq!(code, Some(0), "{said}");
    let after = torus.status().unwrap();
    assert_eq!([2, 3].map(|number| pid(&after, "a", number)), [2, 3].map(|number| pid(&before, "a", number)));
    assert_eq!((torus.command(&["plan"]).1, &after["state"]), ("nothing changes\n".to_owned(), &"running".into()));
}

#[test]
fn a_reload_renews_what_others_come_after_before_those() {
    let directory = Torus::place();
    let diary = directory.join("diary");
    let script = "say() { echo $TORUS_SERVICE $1 >> diary; }; trap 'say end; exit 0' TERM; say begin; sleep 0.1; \
                  say ready; echo >&5; while :; do sleep 0.02; done";
    let of = |version: u32| {
        let command = serde_json::to_string(&["sh", "-c", script]).unwrap();
        let life = format!("command: {command}, ready: {{ fd: 5 }}, environment: {{ VERSION: '{version}' }}");
        format!("services: {{ app: {{ {life}, after: [db] }}, db: {{ {life} }}, same: {{ {IDLE} }} }}")
    };
    let torus = Torus::start_in(directory.clone(), &of(1), |command| {
        command.current_dir(&directory);
    });
    torus.until("everything runs", |status| status["state"] == "running");
    fs::write(&diary, "").unwrap();
    torus.rewrite(&of(2));
    let (code, said) = torus.command(&["reload"]);
    assert_eq!(code, Some(0), "{said}");
    let told = fs::read_to_string(&diary).unwrap();
    assert_eq!(told, "db end\ndb begin\ndb ready\napp end\napp begin\napp ready\n");
}

#[test]
fn a_hangup_reloads_and_a_bus_that_moves_is_reached_at_its_new_port() {
    let torus = Torus::up("bus: { requests: { front: 0, back: 0 } }\nservices: { hello: { worker: hello } }");
    let before = torus.front();
    torus.rewrite("bus: { bind: '::1', requests: { front: 0, back: 0 } }\nservices: { hello: { worker: hello } }");
    torus.signal("HUP");
    torus.until("a new door", |status| status["endpoints"]["requests_front"] != before.as_str());
    torus.until("everything runs", |status| status["state"] == "running");
    let (code, said) = torus.command(&["request", "Hello"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.ends_with("Received reply 1: World\n"), "{said}");
}

/// A bus and a back-end; whatever its address and ports, it answers.
fn bus_at(bind: &str, [front, back]: [u16; 2]) -> String {
    let bus = format!("bind: '{bind}', allow_insecure: true, requests: {{ front: {front}, back: {back} }}");
    format!("bus: {{ {bus} }}\nservices: {{ hello: {{ worker: hello }} }}")
}

fn ports(torus: &Torus) -> [u16; 2] {
    [torus.front(), torus.back()].map(|door| door.rsplit_once(':').unwrap().1.parse().unwrap())
}

fn answers(torus: &Torus) {
    let (code, said) = torus.command(&["request", "Hello"]);
    assert!(code == Some(0) && said.ends_with("Received reply 1: World\n"), "{said}\nlog:\n{}", torus.log());
}

#[test]
fn a_bus_moves_to_every_address_at_the_same_ports_and_back() {
    let torus = Torus::up(&bus_at("127.0.0.1", [0, 0]));
    let ports = ports(&torus);
    for bind in ["0.0.0.0", "127.0.0.1"] {
        torus.rewrite(&bus_at(bind, ports));
        let (code, said) = torus.command(&["reload"]);
        assert_eq!(code, Some(0), "{said}\nlog:\n{}", torus.log());
        assert_eq!(
            (torus.front(), torus.back()),
            (format!("tcp://{bind}:{}", ports[0]), format!("tcp://{bind}:{}", ports[1]))
        );
        answers(&torus);
        assert_eq!(torus.command(&["plan"]).1, "nothing changes\n");
    }
}

#[test]
fn the_ports_of_clients_and_back_ends_may_change_places() {
    let torus = Torus::up(&bus_at("127.0.0.1", [0, 0]));
    let [front, back] = ports(&torus);
    torus.rewrite(&bus_at("127.0.0.1", [back, front]));
    let (code, said) = torus.command(&["reload"]);
    assert_eq!(code, Some(0), "{said}\nlog:\n{}", torus.log());
    assert_eq!(ports(&torus), [back, front]);
    answers(&torus);
}

#[test]
fn a_bus_that_cannot_have_all_its_new_doors_keeps_its_old_ones() {
    let torus = Torus::up(&bus_at("127.0.0.1", [0, 0]));
    let (before, ports) = (torus.status().unwrap(), ports(&torus));
    let _taken = std::net::TcpListener::bind(("127.0.0.2", ports[1])).unwrap();
    torus.rewrite(&bus_at("0.0.0.0", ports));
    let (code, said) = torus.command(&["reload"]);
    assert!(
        code == Some(1) && said.contains(&format!("cannot listen on 0.0.0.0:{} for back-ends", ports[1])),
        "{said}"
    );
    answers(&torus);
    let after = torus.status().unwrap();
    assert_eq!(after["endpoints"], before["endpoints"]);
    assert_eq!(pid(&after, "requests", 1), pid(&before, "requests", 1));
}

#[test]
fn a_reload_for_which_there_are_not_enough_descriptors_starts_what_it_can_and_the_rest_later() {
    let services = |count: u32| -> String {
        let rule = "restart: { limit: none, backoff: { ms_min: 10, ms_max: 50 } }";
        (0..count).map(|number| format!("  s{number:02}: {{ command: [sleep, '1000'], {rule} }}\n")).collect()
    };
    let torus = Torus::up(&format!("services:\n{}", services(1)));
    let before = torus.status().unwrap();
    let descriptors = format!("/proc/{}/fd", before["pid"]);
    let open = || fs::read_dir(&descriptors).unwrap().map(|fd| fd.unwrap().file_name().into_string().unwrap());
    // Room for some services and for who asks how they are.
    let taken: Vec<u64> = open().map(|number| number.parse().unwrap()).collect();
    let limit = (3..).filter(|number| !taken.contains(number)).nth(22).unwrap();
    let set = |limit: &str| {
        let pid = before["pid"].to_string();
        let set = std::process::Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={limit}:")]).status();
        assert!(set.unwrap().success());
    };
    set(&limit.to_string());
    torus.rewrite(&format!("services:\n{}", services(20)));
    torus.ask(b"{\"version\":1,\"command\":\"reload\"}\n");
    torus.until_log("cannot start: cannot make the pipes for its output: ");
    let status = torus.until("it answers", |status| status["services"].as_array().unwrap().len() == 21);
    assert_eq!(pid(&status, "s00", 1), pid(&before, "s00", 1));
    set(&taken.len().max(1024).to_string());
    let after = torus.until("everything runs", |status| status["state"] == "running");
    assert_eq!(pid(&after, "s00", 1), pid(&before, "s00", 1));
}

#[test]
fn a_signal_reaches_a_services_processes() {
    let torus =
        Torus::up("services: { a: { command: [sh, -c, 'trap \"exit 7\" USR1; while :; do sleep 0.01; done'] } }");
    // The shell needs a moment to set its trap: without it the signal ends it, and it is started again.
    let begin = Instant::now();
    loop {
        assert_eq!(torus.command(&["signal", "a", "USR1"]).0, Some(0));
        let status = torus.until("an end", |status| !find(status, "a", 1)["last_exit"].is_null());
        if find(&status, "a", 1)["last_exit"]["code"] == 7 {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "{status}");
        torus.until("a new process", |status| find(status, "a", 1)["state"] == "running");
    }
    assert_eq!(torus.command(&["signal", "a", "BANG"]).0, Some(1));
}

#[test]
fn what_torus_runs_may_ask_how_things_are_but_may_not_order() {
    let directory = std::env::temp_dir().join(format!("torus-inside-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let script = format!(
        "{torus} status --runtime-dir {here} > {here}/asked 2>&1; {torus} stop a --runtime-dir {here} > {here}/told 2>&1; \
         echo $? > {here}/code; exec sleep 1000",
        torus = support::TORUS,
        here = directory.display()
    );
    let torus = Torus::start_in(directory, &format!("services: {{ a: {{ command: [sh, -c, '{script}'] }} }}"), |_| {});
    torus.until("an answer", |_| !torus.file("code").is_empty());
    assert_eq!(torus.file("code"), "1\n");
    assert!(torus.file("told").contains("a process that torus itself started may only ask"), "{}", torus.file("told"));
    assert!(torus.file("asked").contains("a/1"), "{}", torus.file("asked"));
    assert_eq!(torus.status().unwrap()["services"][0]["state"], "running");
}

#[test]
fn a_stranger_and_a_barrier_deafen_nobody_to_a_services_signs_of_life() {
    // As sd_notify_barrier(3) does it: a descriptor comes along, and its end is waited for.
    let script = "import os, socket, array
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(\"\\0\" + os.environ[\"NOTIFY_SOCKET\"][1:])
reader, writer = os.pipe()
s.sendmsg([b\"BARRIER=1\"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array(\"i\", [writer]))])
os.close(writer)
os.read(reader, 1)
s.send(b\"READY=1\\nSTATUS=past the barrier\")
import time
while True: time.sleep(1000)
";
    let directory = Torus::place();
    fs::write(directory.join("notify.py"), script).unwrap();
    let configuration =
        format!("services: {{ a: {{ command: [python3, {}/notify.py], ready: notify }} }}", directory.display());
    let torus = Torus::start_in(directory, &configuration, |_| {});
    let status = torus.until("readiness", |status| status["state"] == "running");
    assert_eq!(find(&status, "a", 1)["says"], "past the barrier");
    assert_eq!(find(&status, "a", 1)["restarts"], 0);
}

#[test]
fn another_services_process_that_learned_the_address_cannot_make_a_service_ready() {
    let directory = Torus::place();
    let here = directory.display().to_string();
    // It tells its address, and is ready by a child's word when it is let.
    let victim = format!(
        "import os, socket, subprocess, sys, time
open(\"{here}/address.new\", \"w\").write(os.environ[\"NOTIFY_SOCKET\"])
os.rename(\"{here}/address.new\", \"{here}/address\")
while not os.path.exists(\"{here}/go\"): time.sleep(.02)
script = \"import os, socket, time; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); \" \\
    \"s.sendto(b'READY=1\\\\nSTATUS=own', chr(0) + os.environ['NOTIFY_SOCKET'][1:]); time.sleep(1000)\"
subprocess.run([sys.executable, \"-c\", script])
"
    );
    let liar = format!(
        "import os, socket, time
while not os.path.exists(\"{here}/address\"): time.sleep(.02)
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
address = chr(0) + open(\"{here}/address\").read()[1:]
s.sendto(b\"READY=1\\nSTATUS=lie\", address)
time.sleep(1000)
"
    );
    fs::write(directory.join("victim.py"), victim).unwrap();
    fs::write(directory.join("liar.py"), liar).unwrap();
    let configuration = format!(
        "services: {{ victim: {{ command: [python3, {here}/victim.py], ready: notify }}, \
         liar: {{ command: [python3, {here}/liar.py] }} }}"
    );
    let torus = Torus::start_in(directory, &configuration, |_| {});
    torus.until_log("not believed: process ");
    let status = torus.status().unwrap();
    let victim = find(&status, "victim", 1);
    assert_eq!((&victim["state"], victim.get("says")), (&"starting".into(), None), "log:\n{}", torus.log());
    fs::write(torus.directory.join("go"), "").unwrap();
    let status = torus.until("readiness", |status| status["state"] == "running");
    assert_eq!(find(&status, "victim", 1)["says"], "own");
}

#[test]
fn last_words_are_heard_before_the_end() {
    let script = "import os, socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(\"\\0\" + os.environ[\"NOTIFY_SOCKET\"][1:])
s.send(b\"READY=1\\nSTATUS=the disk is full\")
os._exit(3)";
    let torus = Torus::start(&format!(
        "services: {{ a: {{ command: [python3, -c, {script:?}], ready: notify, restart: {{ when: never }}, instances: 20 }},
  idle: {{ command: [sleep, '1000'] }} }}"
    ));
    let status = torus.until("all have failed", |status| {
        status["services"].as_array().unwrap().iter().filter(|one| one["state"] == "failed").count() == 20
    });
    let heard = status["services"].as_array().unwrap().iter().filter(|one| one["says"] == "the disk is full").count();
    assert_eq!(heard, 20, "{status}");
}

#[test]
fn a_pipe_for_a_configuration_holds_nobody_up() {
    let torus = Torus::up(&format!("services: {{ a: {{ {IDLE} }} }}"));
    let pipe = torus.directory.join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for command in ["plan", "reload"] {
        let (code, said) = torus.command(&[command, pipe.to_str().unwrap()]);
        assert_eq!(code, Some(1));
        assert!(said.contains("is not a regular file"), "{said}");
    }
}

#[test]
fn a_client_that_ends_its_words_gets_its_answer() {
    use std::io::Read;
    let torus = Torus::up(&format!("services: {{ a: {{ {IDLE} }} }}"));
    for _ in 0..20 {
        let mut socket = torus.ask(b"{\"version\":1,\"command\":\"status\"}\n");
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("\"services\""), "{answer}");
    }
}

#[test]
fn what_has_failed_never_ends_torus_with_0_and_tasks_that_are_done_always_do() {
    let failed = "services: { a: { command: [sh, -c, 'trap \"exit 0\" TERM; while :; do sleep 0.02; done'], \
                  ready: { notify: true, timeout_ms: 200 }, restart: never, essential: true } }";
    let mut torus = Torus::start(failed);
    assert_eq!(torus.end().0.code(), Some(1));
    let done = "services: { a: { command: [sh, -c, 'exit 3'], restart: { when: never, success: { codes: [3] } } } }";
    let mut torus = Torus::start(done);
    assert_eq!(torus.end().0.code(), Some(0));
}

#[test]
fn nobody_who_has_let_torus_start_him_orders_by_a_child_that_is_gone() {
    let directory = Torus::place();
    let script = "import os, socket, sys
here = sys.argv[1]
s = socket.socket(socket.AF_UNIX)
if os.fork() == 0:
    s.connect(here + \"/control.sock\")
    os._exit(0)
os.wait()
s.send(b'{\"version\":1,\"command\":\"stop\",\"service\":\"victim\"}\\n')
answer = s.recv(65536)
open(here + \"/answer\", \"wb\").write(answer)
import time
while True: time.sleep(1000)
";
    fs::write(directory.join("order.py"), script).unwrap();
    let here = directory.display().to_string();
    let configuration =
        format!("services: {{ thief: {{ command: [python3, {here}/order.py, {here}] }}, victim: {{ {IDLE} }} }}");
    let torus = Torus::start_in(directory, &configuration, |_| {});
    torus.until("an answer", |_| !torus.file("answer").is_empty());
    assert!(torus.file("answer").contains("may only ask"), "{}", torus.file("answer"));
    assert_eq!(find(&torus.status().unwrap(), "victim", 1)["state"], "running");
}

#[test]
fn health_follows_a_service_that_dies_is_stopped_and_comes_back() {
    let slow = "restart: { backoff: { ms_min: 600000, ms_max: 600000 } }";
    let directory = Torus::place();
    let script = format!("test ! -e {}/gone || exit 3; exec sleep 1000", directory.display());
    let configuration = format!("services: {{ a: {{ command: [sh, -c, '{script}'], {slow} }}, b: {{ {IDLE} }} }}");
    let torus = Torus::start_in(directory, &configuration, |_| {});
    torus.until("everything runs", |status| status["state"] == "running");
    assert_eq!(torus.command(&["health"]), (Some(0), "healthy\n".to_owned()));
    fs::write(torus.directory.join("gone"), "").unwrap();
    torus.command(&["restart", "a"]);
    torus.until("a waits", |status| find(status, "a", 1)["state"] == "waiting" && status["state"] == "degraded");
    let (code, said) = torus.command(&["health"]);
    assert_eq!((code, said.trim()), (Some(1), "error: torus is degraded: a/1 is waiting, ended last with code 3"));
    // What is down by order is as it should be.
    assert_eq!(torus.command(&["stop", "a"]).0, Some(0));
    assert_eq!(torus.command(&["health"]).0, Some(0));
}

#[test]
fn health_does_not_wait_for_a_torus_that_hangs_and_finds_none_where_there_is_none() {
    let torus = Torus::up(&format!("services: {{ a: {{ {IDLE} }} }}"));
    torus.signal("STOP");
    let (code, said) = torus.command(&["health", "--timeout", "1"]);
    torus.signal("CONT");
    assert_eq!((code, said.trim()), (Some(1), "error: torus has not answered within 1 s"));
    assert_eq!(torus.command(&["health"]).0, Some(0));
    fs::remove_file(torus.directory.join("control.sock")).unwrap();
    let (code, said) = torus.command(&["health"]);
    assert!(code == Some(1) && said.lines().count() == 1 && said.starts_with("error: no torus answers at "), "{said}");
}
