//! The rules of the configuration, told by what a user writes and reads.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use proptest::prelude::*;

use super::life::{After, Backoff, Budget, Life, Probe, Ready, ReadyBy, Restart, Stop, Success, Then, Watchdog, When};
use super::*;

const PAGE: &str = include_str!("../../docs/configuration.md");

fn parsed(text: &str) -> Config {
    parse(text, &origin()).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

fn report(text: &str) -> String {
    parse(text, &origin()).expect_err(text).to_string()
}

fn origin() -> Origin {
    Origin::File("torus.yaml".into())
}

/// The report of one problem, without the line that counts.
fn problem(text: &str) -> String {
    let report = report(text);
    report.strip_suffix("\n1 problem").unwrap_or_else(|| panic!("one problem was expected:\n{report}")).to_owned()
}

/// A document of one service, by the keys of that service.
fn service(keys: &str) -> String {
    format!("services: {{one: {{{keys}}}}}")
}

fn limits(keys: &str) -> String {
    format!("bus: {{requests: {{}}, limits: {{{keys}}}}}")
}

#[test]
fn the_embedded_default_is_requests_on_loopback_and_two_hellos() {
    let life = Life { ready: Ready { timeout_ms: 0, ..Ready::default() }, ..Life::default() };
    let hello = Service { kind: ServiceKind::Worker("hello".into()), instances: 2, life, confine: Confine::default() };
    let expected = Config {
        bus: Some(Bus { requests: Some(Requests::default()), ..Bus::default() }),
        services: BTreeMap::from([("hello".into(), hello)]),
        supervisor: RestartPolicy::default(),
        logs: Logs::default(),
    };
    assert_eq!(Config::embedded(), expected);
}

#[test]
fn a_file_runs_only_what_it_names() {
    let bus_only = parsed("bus: {bind: 127.0.0.1, requests: {front: 0, back: 0}}");
    assert!(bus_only.services.is_empty());
    assert_eq!(bus_only.bus.and_then(|bus| bus.requests).map(|requests| (requests.front, requests.back)), Some((0, 0)));
    let services_only = parsed(&service("command: [sleep, \"60\"], instances: 3"));
    assert_eq!(services_only.bus, None);
    let command = ServiceKind::Command(vec!["sleep".into(), "60".into()]);
    assert_eq!(
        services_only.services["one"],
        Service { kind: command, instances: 3, life: Life::default(), confine: Confine::default() }
    );
}

#[test]
fn every_problem_is_reported_at_once_in_the_order_of_lines() {
    let text = r#"
extra: 1
bus:
  bind: 0.0.0.0
  requests:
    frnt: 1
    front: 70000
    back: "5556"
    window: 0
    idempotent: yes
    window: 3
  limits:
    frame_bytes_max: 2000
    message_bytes_max: 1000
    parts_max: 1.5
services:
  requests: {worker: hello}
  Bad Name: {worker: hello}
  both: {worker: hello, command: [x]}
  neither: {instances: 1001}
  number: {command: [sleep, 60]}
  none:
"#;
    insta::assert_snapshot!(report(text), @r#"
    torus.yaml:2: extra: no such key; known here: bus, services, supervisor, logs
    torus.yaml:4: bus.bind: 0.0.0.0 is beyond loopback, and peers are not authenticated; bus.allow_insecure: true permits it
    torus.yaml:6: bus.requests.frnt: no such key; did you mean front?
    torus.yaml:7: bus.requests.front: 70000 is not a port (0 to 65535)
    torus.yaml:8: bus.requests.back: the text "5556" is not a port (0 to 65535); write it without quotes
    torus.yaml:9: bus.requests.window: 0 is not a count (1 to 1000000)
    torus.yaml:10: bus.requests.idempotent: the text "yes" is not true or false
    torus.yaml:11: bus.requests.window: given twice, first on line 9
    torus.yaml:13: bus.limits.frame_bytes_max: 2000 is more than bus.limits.message_bytes_max (1000)
    torus.yaml:15: bus.limits.parts_max: 1.5 is not a count (3 to 1000000)
    torus.yaml:17: services.requests: the name belongs to a worker of torus itself
    torus.yaml:18: services."Bad Name": not a service's name: 1 to 32 of a to z, 0 to 9 and -
    torus.yaml:19: services.both: has both worker and command; keep one
    torus.yaml:20: services.neither.instances: 1001 is not a number of processes (1 to 1000)
    torus.yaml:20: services.neither: says nothing to run; name worker or command
    torus.yaml:21: services.number.command[1]: 60 is not text; write it in quotes
    torus.yaml:22: services.none: has no value; write {} for a mapping without keys
    17 problems
    "#);
}

#[test]
fn a_syntax_error_stops_at_the_first_with_its_line_and_excerpt() {
    insta::assert_snapshot!(report("bus:\n  bind: [1\nservices: }\nextra: 1\n"), @r"
    torus.yaml:3:9: illegal placement of ':' indicator
    3 | services: }
      |         ^
    ");
    insta::assert_snapshot!(report("bus:\n\tbind: 127.0.0.1\n"), @r"
    torus.yaml:2:2: tabs disallowed within this context (block indentation)
    2 |  bind: 127.0.0.1
      |  ^
    ");
}

#[test]
fn a_document_that_runs_nothing_says_so() {
    for text in ["", "# nothing\n", "{}", "bus: {}", "services: {}", "supervisor: {stop_ms_max: 1}"] {
        let problem = problem(text);
        assert!(
            problem.ends_with(": this configuration runs nothing; name bus.requests, a service, or both"),
            "{problem}"
        );
    }
    assert_eq!(problem("- 1"), "torus.yaml:1: a sequence is not a mapping of keys to values");
}

#[test]
fn a_port_taken_twice_names_both_keys_and_port_0_is_never_taken() {
    assert_eq!(
        problem("bus:\n  requests:\n    front: 7\n    back: 7"),
        "torus.yaml:4: bus.requests.back: port 7 is taken by bus.requests.front"
    );
    assert_eq!(
        problem("bus: {requests: {front: 5556}}"),
        "torus.yaml:1: bus.requests.front: port 5556 is taken by bus.requests.back by default"
    );
    assert_eq!(
        problem("bus: {requests: {back: 5555}}"),
        "torus.yaml:1: bus.requests.back: port 5555 is taken by bus.requests.front by default"
    );
    parsed("bus: {requests: {front: 0, back: 0}}");
}

#[test]
fn bind_beyond_loopback_needs_allow_insecure() {
    for address in ["127.0.0.1", "127.9.9.9", "::1"] {
        let config = parsed(&format!("bus: {{bind: \"{address}\", requests: {{}}}}"));
        assert_eq!(config.insecure_bind(), None, "{address}");
    }
    for address in ["0.0.0.0", "192.0.2.1", "::", "::ffff:127.0.0.1"] {
        let bus = |keys: &str| format!("bus: {{bind: \"{address}\", {keys}requests: {{}}}}");
        assert!(problem(&bus("")).contains("is beyond loopback"), "{address}");
        assert!(problem(&bus("allow_insecure: false, ")).contains("is beyond loopback"), "{address}");
        assert_eq!(parsed(&bus("allow_insecure: true, ")).insecure_bind(), address.parse().ok());
    }
    assert_eq!(
        problem("bus: {bind: localhost, requests: {}}"),
        "torus.yaml:1: bus.bind: the text \"localhost\" is not an IP address; write 127.0.0.1 or ::1"
    );
}

#[test]
fn a_number_is_accepted_at_its_bounds_and_refused_beyond_them() {
    let requests = |keys: &str| format!("bus: {{requests: {{{keys}}}}}");
    let hello = |keys: &str| service(&format!("worker: hello, {keys}"));
    assert_bounds("front", 0..=65_535, requests);
    assert_bounds("window", 1..=1_000_000, requests);
    assert_bounds("instances", 1..=1_000, hello);
    assert_bounds("parts_max", 3..=1_000_000, limits);
    assert_bounds("metadata_bytes_max", 512..=1 << 20, limits);
    assert_bounds("memory_bytes_max", 1..=1 << 40, limits);
    assert_bounds("heartbeat_ms", 0..=86_400_000, limits);
    assert_bounds("handshake_ms_max", 1..=86_400_000, limits);
}

fn assert_bounds(key: &str, range: RangeInclusive<i64>, document: impl Fn(&str) -> String) {
    for number in [*range.start(), *range.end()] {
        parsed(&document(&format!("{key}: {number}")));
    }
    for number in [range.start() - 1, range.end() + 1] {
        let problem = problem(&document(&format!("{key}: {number}")));
        assert!(problem.contains(&format!(".{key}: {number} is not a ")), "{problem}");
    }
}

#[test]
fn a_default_gives_way_to_a_lower_bound_that_the_file_sets() {
    let bus = parsed(&limits("memory_bytes_max: 1000")).bus.expect("a bus");
    let Limits { frame_bytes_max, message_bytes_max, queue_bytes_max, .. } = bus.limits;
    let waiting_bytes_max = bus.requests.expect("requests").waiting_bytes_max;
    assert_eq!([frame_bytes_max, message_bytes_max, queue_bytes_max, waiting_bytes_max], [1000; 4]);
    let policy = parsed(&format!("supervisor: {{backoff_ms_max: 50}}\n{}", service("worker: hello"))).supervisor;
    assert_eq!((policy.backoff_ms_min, policy.backoff_ms_max), (50, 50));
}

#[test]
fn a_bound_that_the_file_sets_above_another_is_a_contradiction() {
    for (keys, expected) in [
        ("frame_bytes_max: 16777217", "16777217 is more than bus.limits.message_bytes_max (16777216 by default)"),
        ("frame_bytes_max: 9, message_bytes_max: 8", "9 is more than bus.limits.message_bytes_max (8)"),
        ("message_bytes_max: 9, memory_bytes_max: 8", "9 is more than bus.limits.memory_bytes_max (8)"),
        ("queue_bytes_max: 9, memory_bytes_max: 8", "9 is more than bus.limits.memory_bytes_max (8)"),
    ] {
        let problem = problem(&limits(keys));
        assert!(problem.ends_with(expected), "{problem}");
    }
    let backoff = problem(&format!("supervisor: {{backoff_ms_min: 60000}}\n{}", service("worker: hello")));
    assert!(backoff.ends_with("60000 is more than supervisor.backoff_ms_max (30000 by default)"), "{backoff}");
    let waiting = problem("bus: {requests: {waiting_bytes_max: 9}, limits: {memory_bytes_max: 8}}");
    assert!(waiting.ends_with("9 is more than bus.limits.memory_bytes_max (8)"), "{waiting}");
}

#[test]
fn the_sandbox_is_best_effort_or_required() {
    for (name, policy) in Sandbox::ALL {
        let text = format!("supervisor: {{sandbox: {name}}}\n{}", service("worker: hello"));
        assert_eq!(parsed(&text).supervisor.sandbox, policy);
        assert_eq!(policy.name(), name);
    }
    let wrong = problem(&format!("supervisor: {{sandbox: off}}\n{}", service("worker: hello")));
    assert_eq!(wrong, "torus.yaml:1: supervisor.sandbox: the text \"off\" is not best-effort or required");
}

#[test]
fn the_preflight_warns_refuses_or_is_off() {
    for (name, policy) in Preflight::ALL {
        let text = format!("supervisor: {{preflight: {name}}}\n{}", service("worker: hello"));
        assert_eq!(parsed(&text).supervisor.preflight, policy);
    }
    let wrong = problem(&format!("supervisor: {{preflight: strict}}\n{}", service("worker: hello")));
    assert_eq!(wrong, "torus.yaml:1: supervisor.preflight: the text \"strict\" is not warn, refuse or off");
}

#[test]
fn a_service_runs_a_known_worker_or_a_list_of_texts() {
    for (keys, expected) in [
        ("worker: helo", "one.worker: the text \"helo\" is not a built-in worker; known: hello"),
        ("worker: requests", "one.worker: the text \"requests\" is not a built-in worker; known: hello"),
        ("command: []", "one.command: an empty list is no command; write [program, argument, ...]"),
        ("command: ['']", "one.command[0]: an empty text is no program"),
        ("command: sleep 60", "one.command: the text \"sleep 60\" is not a list; write [program, argument, ...]"),
        ("command: [sh, true]", "one.command[1]: true is not text; write it in quotes"),
        ("command: [sh, [x]]", "one.command[1]: a sequence is not text"),
        ("command: [sh, \"a\\0b\"]", "one.command[1]: an argument cannot hold a NUL character"),
    ] {
        assert_eq!(problem(&service(keys)), format!("torus.yaml:1: services.{expected}"));
    }
    parsed(&service("command: [sh, '', \"-c\"]"));
}

#[test]
fn the_logs_are_text_or_json_with_bounds() {
    let logs = |keys: &str| format!("logs: {{{keys}}}\n{}", service("worker: hello"));
    assert_eq!(
        parsed(&logs("format: json, to: journal")).logs,
        Logs { format: LogFormat::Json, to: LogTarget::Journal, ..Logs::default() }
    );
    for (keys, expected) in [
        ("format: xml", "format: the text \"xml\" is none of text, json"),
        ("to: 1", "to: 1 is none of auto, stdout, journal"),
        ("line_bytes_max: 63", "line_bytes_max: 63 is not a number of bytes (64 to 1048576)"),
        ("burst_lines: 0", "burst_lines: 0 is not a number of lines (1 to 1000000000)"),
        (
            "rate: 1",
            "rate: no such key; known here: format, to, line_bytes_max, rate_lines_per_s, burst_lines, \
                     recent_bytes_max, block_ms_max, watchdog_ms",
        ),
    ] {
        assert_eq!(problem(&logs(keys)), format!("torus.yaml:1: logs.{expected}"));
    }
}

#[test]
fn a_services_name_is_short_and_plain() {
    let longest = "a".repeat(32);
    for name in ["a", "0-9", longest.as_str()] {
        parsed(&format!("services: {{{name}: {{worker: hello}}}}"));
    }
    let too_long = "a".repeat(33);
    for name in ["", "A", "a_b", "a/b", "ä", too_long.as_str()] {
        let problem = problem(&format!("services: {{\"{name}\": {{worker: hello}}}}"));
        assert!(problem.contains("not a service's name"), "{problem}");
    }
}

#[test]
fn a_hostile_key_is_shown_escaped_and_short() {
    let problem = problem(&format!("\"\\e[31m{}\": 1", "x".repeat(1_000)));
    assert!(problem.starts_with("torus.yaml:1: \"\\u{1b}[31mxxx") && problem.len() < 200, "{problem}");
}

#[test]
fn text_beyond_256_kib_is_refused_before_it_is_parsed() {
    let error = parse(&"[".repeat(FILE_BYTES_MAX + 1), &origin()).expect_err("a refusal");
    assert!(matches!(error, ConfigError::TooLarge { .. }), "{error}");
}

#[test]
fn the_page_lists_every_key_with_its_default() {
    let bus = Bus { requests: Some(Requests::default()), ..Bus::default() };
    let defaults = Config { bus: Some(bus), ..Config::default() };
    let mut keys = Vec::new();
    leaves("", &tree::read(&defaults.to_yaml()).expect("YAML"), &mut keys);
    assert_eq!(keys.len(), 36);
    for (path, default) in keys {
        let row = PAGE.lines().find(|line| line.starts_with(&format!("| `{path}` |")));
        let row = row.unwrap_or_else(|| panic!("{path} has no row"));
        assert!(row.contains(&format!(" | `{default}`")), "{path} has another default: {default}");
    }
}

#[test]
fn the_examples_of_the_page_are_configurations() {
    let examples = PAGE.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().expect("an end"));
    let services: Vec<usize> = examples.map(|example| parsed(example).services.len()).collect();
    assert_eq!(services, [2, 3, 1]);
}

/// The scalars below a node, as path and text.
fn leaves(path: &str, node: &tree::Node, found: &mut Vec<(String, String)>) {
    match &node.value {
        tree::Value::Mapping(entries) => {
            for (key, node) in entries {
                leaves(&fields::join(path, &key.text), node, found);
            }
        }
        tree::Value::Text(text) => found.push((path.to_owned(), text.clone())),
        scalar => found.push((path.to_owned(), fields::found(scalar))),
    }
}

proptest! {
    #[test]
    fn what_is_shown_loads_again_to_the_same_configuration(config in any_config()) {
        let text = config.to_yaml();
        prop_assert_eq!(parse(&text, &origin()).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?, config);
    }

    #[test]
    fn any_text_is_a_configuration_or_an_error(text in "[a-z:{}\\[\\]&*!|>'\"#,\\-? \\n\\t0-9]{0,80}") {
        let _ = parse(&text, &origin());
    }
}

fn any_config() -> impl Strategy<Value = Config> {
    let services = prop::collection::btree_map("[a-z0-9-]{1,32}", any_service(), 1..4)
        .prop_filter("a reserved name", |services| !services.contains_key("requests") && !services.contains_key("log"));
    let conditions = prop::sample::select(vec![After::Started, After::Ready, After::Completed]);
    (prop::option::of(any_bus()), services, any_policy(), any_logs(), prop::option::of(conditions)).prop_map(
        |(bus, mut services, supervisor, logs, condition)| {
            // The last comes after the first: a chain without circles.
            let names: Vec<String> = services.keys().cloned().collect();
            if let (Some(condition), [first, .., last]) = (condition, names.as_slice()) {
                services.get_mut(last).expect("it is there").life.after.insert(first.clone(), condition);
            }
            Config { bus, services, supervisor, logs }
        },
    )
}

fn any_life() -> impl Strategy<Value = Life> {
    let ms = || 10..=86_400_000u64;
    let words = || prop::collection::vec("[^\\x00]{1,20}", 1..3);
    let address = || any::<std::net::SocketAddr>().prop_map(|address| address.to_string());
    let by = prop_oneof![
        Just(ReadyBy::Started),
        Just(ReadyBy::Notify),
        (3..=255u32).prop_map(ReadyBy::Fd),
        address().prop_map(ReadyBy::Tcp),
        words().prop_map(ReadyBy::Exec),
    ];
    let ready =
        (by, 0..=86_400_000u64, ms()).prop_map(|(by, timeout_ms, interval_ms)| Ready { by, timeout_ms, interval_ms });
    let probe = prop::option::of(prop_oneof![address().prop_map(Probe::Tcp), words().prop_map(Probe::Exec)]);
    let watchdog = (ms(), ms(), probe).prop_map(|(one, other, probe)| Watchdog {
        timeout_ms: one.max(other),
        interval_ms: one.min(other),
        probe,
    });
    let limit = prop::option::of((0..=1_000_000u32, ms()));
    let limit = limit.prop_map(|limit| limit.map(|(restarts, window_ms)| Budget { restarts, window_ms }));
    let when = prop::sample::select(vec![When::Always, When::OnFailure, When::Never]);
    let then = prop::sample::select(vec![Then::Quarantine, Then::Fail]);
    let success = (prop::collection::btree_set(any::<u8>(), 0..3), prop::collection::btree_set(1..=64u8, 0..3))
        .prop_map(|(codes, signals)| Success { codes, signals });
    let restart = (when, success, limit, then, prop::array::uniform4(ms())).prop_map(
        |(when, success, limit, then, [healthy_after_ms, one, other, quarantine_ms])| Restart {
            when,
            success,
            healthy_after_ms,
            backoff: Backoff { ms_min: one.min(other), ms_max: one.max(other) },
            limit,
            then,
            quarantine_ms,
        },
    );
    let stop = (1..=64i32, ms()).prop_map(|(signal, timeout_ms)| Stop { signal, timeout_ms });
    (ready, prop::option::of(watchdog), restart, stop, any::<bool>()).prop_map(
        |(ready, watchdog, restart, stop, essential)| Life {
            after: std::collections::BTreeMap::new(),
            ready,
            watchdog,
            restart,
            stop,
            essential,
        },
    )
}

fn any_logs() -> impl Strategy<Value = Logs> {
    let format = prop_oneof![Just(LogFormat::Text), Just(LogFormat::Json)];
    let to = prop_oneof![Just(LogTarget::Auto), Just(LogTarget::Stdout), Just(LogTarget::Journal)];
    let lines = (0..=1_000_000_000u32, 1..=1_000_000_000u32);
    let times = [0..=86_400_000u64, 0..=86_400_000];
    (format, to, 64..=1u32 << 20, lines, times, 0..=64u32 << 20).prop_map(
        |(format, to, line_bytes_max, (rate_lines_per_s, burst_lines), times, recent_bytes_max)| Logs {
            format,
            to,
            line_bytes_max,
            rate_lines_per_s,
            burst_lines,
            block_ms_max: times[0],
            recent_bytes_max,
            watchdog_ms: times[1],
        },
    )
}

fn any_service() -> impl Strategy<Value = Service> {
    let command = ("\\PC{1,100}", prop::collection::vec("[^\\x00]{0,100}", 0..4))
        .prop_map(|(program, arguments)| ServiceKind::Command(std::iter::once(program).chain(arguments).collect()));
    let kind = prop_oneof![Just(ServiceKind::Worker("hello".into())), command];
    (kind, 1..=1000u32, any_life(), any_confine()).prop_map(|(kind, instances, mut life, confine)| {
        if let ServiceKind::Worker(_) = kind {
            life.ready.by = ReadyBy::Started;
            life.watchdog = None;
        }
        Service { kind, instances, life, confine }
    })
}

fn any_confine() -> impl Strategy<Value = Confine> {
    let name = || prop_oneof!["[a-z_][a-z0-9_-]{0,31}", (0..u32::MAX).prop_map(|number| number.to_string())];
    let names = || prop::option::of(prop::collection::vec(name(), 0..3));
    let capability = prop::sample::select(CAPABILITIES.to_vec()).prop_map(str::to_owned);
    let amount = prop_oneof![(0..=i64::MAX as u64).prop_map(Amount::Number), Just(Amount::Unlimited)];
    let limit = (amount.clone(), amount, 0..3u8).prop_map(|(one, other, ends)| Limit {
        soft: (ends != 0).then_some(one.min(other)),
        hard: (ends != 1).then_some(one.max(other)),
    });
    let resource = prop::sample::select(Resource::ALL.map(|(resource, _)| resource).to_vec());
    let path = || "/[^\\x00]{0,20}";
    let identity = (prop::option::of(name()), prop::option::of(name()), names());
    let rights = (
        prop::option::of(prop::collection::vec(capability, 0..3)),
        any::<bool>(),
        prop::collection::btree_map(resource, limit, 0..4),
        prop::option::of(-20..=19),
        prop::option::of(-1000..=1000),
    );
    let place = (prop::option::of((0..=0o777u32).prop_map(Umask)), prop::option::of(path()), any::<bool>());
    let given = (
        prop::collection::vec(path(), 0..3),
        prop::collection::btree_map("[A-Z][A-Za-z0-9_.-]{0,9}", "[^\\x00]{0,50}", 0..4),
        // No name that a variable above could be told by.
        prop::collection::btree_map("[a-z_]{1,9}", path(), 0..3),
    );
    let count = || prop::option::of(1..=4_194_304u32);
    let cgroup = (prop::option::of(1..=1u64 << 40), prop::option::of(1..=100_000u32), count());
    (identity, rights, place, given, cgroup, any::<bool>()).prop_map(
        |(identity, rights, place, given, cgroup, required)| {
            let (user, group, supplementary_groups) = identity;
            let (capabilities, no_new_privs, limits, nice, oom_score_adj) = rights;
            let (umask, directory, clear_environment) = place;
            let (environment_files, environment, secrets) = given;
            let (memory_bytes_max, cpu_percent_max, pids_max) = cgroup;
            Confine {
                user,
                group,
                supplementary_groups,
                capabilities,
                no_new_privs,
                limits,
                nice,
                oom_score_adj,
                umask,
                directory,
                clear_environment,
                environment_files,
                environment,
                secrets,
                cgroup: CgroupLimits { memory_bytes_max, cpu_percent_max, pids_max },
                sandbox: if required { Sandbox::Required } else { Sandbox::BestEffort },
            }
        },
    )
}

fn any_bus() -> impl Strategy<Value = Bus> {
    (any::<IpAddr>(), any::<bool>(), any_limits()).prop_flat_map(|(bind, insecure, limits)| {
        let requests = prop::option::of(any_requests(limits.memory_bytes_max));
        requests.prop_map(move |requests| Bus {
            bind,
            allow_insecure: insecure || !bind.is_loopback(),
            requests,
            limits: limits.clone(),
        })
    })
}

fn any_requests(memory: u64) -> impl Strategy<Value = Requests> {
    let ports = any::<(u16, u16)>().prop_filter("a clash", |(front, back)| front != back || *front == 0);
    (ports, 1..=1_000_000u32, any::<bool>(), 1..=1_000_000u32, 1..=memory, 1..=86_400_000u64).prop_map(
        |((front, back), window, idempotent, waiting_max, waiting_bytes_max, waiting_ms_max)| Requests {
            front,
            back,
            window,
            idempotent,
            waiting_max,
            waiting_bytes_max,
            waiting_ms_max,
        },
    )
}

fn any_limits() -> impl Strategy<Value = Limits> {
    let bytes = prop::collection::vec(1..=1u64 << 40, 4).prop_map(|mut bytes| {
        bytes.sort_unstable();
        bytes
    });
    let counts = [3..=1_000_000u32, 1..=1_000_000, 1..=1_000_000];
    let ms = || 0..=86_400_000u64;
    let times = [1..=86_400_000u64, 0..=86_400_000, 1..=86_400_000, ms(), ms()];
    (bytes, counts, 512..=1u32 << 20, times).prop_map(|(bytes, counts, metadata_bytes_max, times)| Limits {
        frame_bytes_max: bytes[0],
        message_bytes_max: bytes[1],
        parts_max: counts[0],
        metadata_bytes_max,
        handshake_ms_max: times[0],
        handshakes_max: counts[1],
        connections_max: counts[2],
        queue_bytes_max: bytes[2],
        memory_bytes_max: bytes[3],
        heartbeat_ms: times[1],
        heartbeat_timeout_ms: times[2],
        drain_ms_max: times[3],
        watchdog_ms: times[4],
    })
}

fn any_policy() -> impl Strategy<Value = RestartPolicy> {
    let sandbox = prop_oneof![Just(Sandbox::BestEffort), Just(Sandbox::Required)];
    let preflight = prop::sample::select(Preflight::ALL.to_vec());
    (prop::array::uniform4(1..=86_400_000u64), sandbox, preflight).prop_map(
        |([healthy_after_ms, one, other, stop_ms_max], sandbox, (_, preflight))| RestartPolicy {
            healthy_after_ms,
            backoff_ms_min: one.min(other),
            backoff_ms_max: one.max(other),
            stop_ms_max,
            sandbox,
            preflight,
        },
    )
}

#[test]
fn what_comes_after_what_must_be_there_and_have_no_circle() {
    let text = "services:
  a: { command: [x], after: [b] }
  b: { command: [x], after: { c: started } }
  c: { command: [x], after: { a: completed, ab: ready } }
  d: { command: [x], after: [d] }
  e: { command: [x], after: [a, e-] }";
    let error = parse(text, &origin()).unwrap_err().to_string();
    insta::assert_snapshot!(error, @r#"
    torus.yaml:2: services.a.after: waits for itself: a after b after c after a
    torus.yaml:4: services.c.after.ab: there is no service "ab" in this file
    torus.yaml:5: services.d.after: waits for itself: d after d
    torus.yaml:6: services.e.after.e-: there is no service "e-" in this file
    4 problems
    "#);
}

#[test]
fn a_life_that_contradicts_itself_is_told_key_by_key() {
    let text = r#"services:
  a:
    command: [x]
    ready: { tcp: "5432", exec: [true] }
    watchdog: { timeout_ms: 10, interval_ms: 11 }
    restart: { when: sometimes, success: { codes: [256, x], signals: [BANG] }, backoff: { ms_min: 9, ms_max: 8 }, limit: 3 }
    stop: { signal: 0, timeout_ms: 0 }
  b: { worker: hello, ready: notify }
  c: { command: [x], ready: { notify: true, fd: 3 }, restart: often, after: 5 }
  d: { command: [x], ready: { fd: 2 }, restart: { limit: none, then: stop } }"#;
    let error = parse(text, &origin()).unwrap_err().to_string();
    insta::assert_snapshot!(error, @r#"
    torus.yaml:4: services.a.ready.tcp: the text "5432" is not an address and port; write 127.0.0.1:8080
    torus.yaml:4: services.a.ready.exec[0]: true is not text; write it in quotes
    torus.yaml:5: services.a.watchdog.interval_ms: 11 is more than services.a.watchdog.timeout_ms (10)
    torus.yaml:6: services.a.restart.when: the text "sometimes" is none of always, on-failure, never
    torus.yaml:6: services.a.restart.success.codes[0]: 256 is not an exit code
    torus.yaml:6: services.a.restart.success.codes[1]: the text "x" is not an exit code
    torus.yaml:6: services.a.restart.success.signals[0]: the text "BANG" is not a signal
    torus.yaml:6: services.a.restart.backoff.ms_min: 9 is more than services.a.restart.backoff.ms_max (8)
    torus.yaml:6: services.a.restart.limit: 3 is not a mapping of keys to values
    torus.yaml:7: services.a.stop.signal: 0 is not a signal; write TERM
    torus.yaml:7: services.a.stop.timeout_ms: 0 is not a number of milliseconds (1 to 86400000)
    torus.yaml:8: services.b.ready: a built-in worker says itself when it is ready
    torus.yaml:9: services.c.after: 5 is not a list of services; write [NAME, ...], or { NAME: started|ready|completed }
    torus.yaml:9: services.c.ready: says more than one way to be ready; keep one
    torus.yaml:9: services.c.restart: the text "often" is none of always, on-failure, never
    torus.yaml:10: services.d.ready.fd: 2 is not a descriptor (3 to 255)
    torus.yaml:10: services.d.restart.then: the text "stop" is none of quarantine, fail
    17 problems
    "#);
}
