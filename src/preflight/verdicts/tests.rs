//! The rules, one by one, on facts that are made up. Whole machines are judged in tests/preflight.rs.

use super::*;
use crate::config::{self, Origin};
use crate::preflight::{Data, DataLock, Docker, Engine, Fact, Passed, Port, PortState, Running, Unit};

const PAGE: &str = include_str!("../../../docs/check.md");
const FRONT: &str = "127.0.0.1:5555";

fn one(facts: &Facts, purpose: Purpose, name: &str) -> Verdict {
    let found = judge(facts, Some(&Config::embedded()), purpose);
    let found: Vec<_> = found.into_iter().filter(|verdict| verdict.name == name).collect();
    assert_eq!(found.len(), 1, "{name}: {found:?}");
    found.into_iter().next().unwrap()
}

fn state(facts: &Facts, purpose: Purpose, name: &str) -> State {
    one(facts, purpose, name).state
}

fn known<T>(value: T) -> Fact<T> {
    Fact::Known(value)
}

fn with_port(state: PortState) -> Facts {
    let (name, key) = ("requests-front".to_owned(), "bus.requests.front".to_owned());
    let mut facts = Facts::default();
    facts.host.ports.push(Port { name, key, address: FRONT.parse().unwrap(), state, root_listens: false });
    facts
}

fn held() -> PortState {
    PortState::Held { uid: Some(0), pid: Some(7), program: Some("nc".into()) }
}

fn unit(listens: &str, active: bool) -> Unit {
    let (unit, name) = ("torus-requests-front.socket".to_owned(), "requests-front".to_owned());
    Unit { unit, name, listens: vec![listens.parse().unwrap()], active }
}

#[test]
fn what_was_not_found_out_is_skipped_and_nothing_fails_for_it() {
    for (_, purpose) in Purpose::ALL {
        let verdicts = judge(&Facts::default(), None, purpose);
        let failed = verdicts.iter().filter(|verdict| verdict.state == State::Fail && purpose != Purpose::Build);
        // That nobody looked at the configuration is as good as none.
        assert_eq!(
            failed.map(|verdict| &*verdict.name).collect::<Vec<_>>(),
            if purpose == Purpose::Build { vec![] } else { vec!["configuration"] }
        );
        assert!(
            verdicts.iter().all(|verdict| verdict.mend.is_some() == (verdict.state >= State::Warn)),
            "{verdicts:?}"
        );
    }
}

#[test]
fn every_check_has_a_name_of_its_own_and_says_what_and_why() {
    for (_, purpose) in Purpose::ALL {
        let verdicts = judge(&Facts::default(), Some(&Config::embedded()), purpose);
        let mut names: Vec<_> = verdicts.iter().map(|verdict| (verdict.group, &verdict.name)).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), verdicts.len());
        assert!(verdicts.iter().all(|verdict| !verdict.wanted.is_empty() && !verdict.why.is_empty()));
    }
}

#[test]
fn the_page_has_a_row_for_every_check_and_the_versions_of_the_kernel() {
    let mut facts = with_port(held());
    facts.docker.engine = known(Engine::default());
    facts.host.units.push(unit(FRONT, true));
    for (_, purpose) in Purpose::ALL {
        for Verdict { group, name, .. } in judge(&facts, Some(&Config::embedded()), purpose) {
            let name = name.replace("requests-front", "NAME");
            let section = PAGE.split_once(&format!("\n### {group}\n")).unwrap().1.split("\n##").next().unwrap();
            assert!(section.contains(&format!("\n| `{name}` |")), "{group}, {name}");
        }
    }
    for (major, minor) in [KERNEL_MIN, KERNEL_MAINTAINED] {
        assert!(PAGE.contains(&format!("\n| {major}.{minor}, else a ")));
    }
}

#[test]
fn a_kernel_is_judged_by_its_number() {
    let mut facts = Facts::default();
    for (release, expected) in [
        ("3.10.0-1160.el7.x86_64", State::Fail),
        ("4.13.16", State::Fail),
        ("4.14.0", State::Warn),
        ("5.4.0-216-generic", State::Warn),
        ("5.10.0-28-amd64", State::Pass),
        ("6.1.0", State::Pass),
        ("10.0-rc1", State::Pass),
        ("unheard of", State::Skipped),
    ] {
        facts.kernel.release = known(release.to_owned());
        assert_eq!(state(&facts, Purpose::Host, "version"), expected, "{release}");
    }
}

#[test]
fn a_port_of_ours_is_a_pass_whoever_of_ours_holds_it() {
    let name = "port of requests-front";
    assert_eq!(state(&with_port(PortState::Free), Purpose::Host, name), State::Pass);
    let strangers = one(&with_port(held()), Purpose::Host, name);
    assert_eq!((strangers.state, &*strangers.found), (State::Fail, "held by nc, pid 7"));

    let mut facts = with_port(held());
    let endpoints = vec!["tcp://0.0.0.0:5555".to_owned()];
    facts.torus.running = Some(Running { pid: 9, version: "1".into(), endpoints });
    assert_eq!(one(&facts, Purpose::Host, name).found, "held by the torus that runs here, pid 9");
    facts.torus.running.as_mut().unwrap().endpoints = vec!["tcp://0.0.0.0:55555".to_owned()];
    assert_eq!(state(&facts, Purpose::Host, name), State::Fail);

    let mut facts = with_port(held());
    facts.host.units.push(unit(FRONT, true));
    assert_eq!(one(&facts, Purpose::Host, name).found, "held by systemd for torus-requests-front.socket");
    facts.host.units[0].active = false;
    assert_eq!(state(&facts, Purpose::Host, name), State::Fail);
}

#[test]
fn a_port_of_ours_is_a_pass_though_the_system_refuses_it() {
    let name = "port of requests-front";
    for because in ["Permission denied", "Cannot assign requested address"] {
        let mut facts = with_port(PortState::Refused(because.into()));
        assert_eq!(state(&facts, Purpose::Service, name), State::Fail);
        facts.host.units.push(unit(FRONT, true));
        assert_eq!(one(&facts, Purpose::Service, name).found, "held by systemd for torus-requests-front.socket");
        facts.host.units.clear();
        facts.torus.running = Some(Running { pid: 9, version: "1".into(), endpoints: vec![format!("tcp://{FRONT}")] });
        assert_eq!(one(&facts, Purpose::Service, name).found, "held by the torus that runs here, pid 9");
    }
}

#[test]
fn a_port_of_ours_at_another_address_is_not_in_the_way() {
    let (name, other) = ("port of requests-front", "127.0.0.2:5555");
    let mut facts = with_port(held());
    facts.torus.running = Some(Running { pid: 9, version: "1".into(), endpoints: vec![format!("tcp://{other}")] });
    facts.host.passed = vec![Passed { name: "requests-back".into(), address: known(other.parse().unwrap()) }];
    facts.host.units.push(unit(other, true));
    assert_eq!(one(&facts, Purpose::Host, name).found, "held by nc, pid 7");
}

#[test]
fn what_root_listens_at_counts_more_than_the_file_of_a_unit() {
    let names = ["socket requests-front", "port of requests-front"];
    let mut facts = with_port(held());
    facts.host.units.push(unit("127.0.0.1:7000", false));
    assert_eq!(names.map(|name| state(&facts, Purpose::Service, name)), [State::Fail, State::Fail]);
    facts.host.ports[0].root_listens = true;
    assert_eq!(names.map(|name| state(&facts, Purpose::Service, name)), [State::Warn, State::Pass]);
    facts.host.units = vec![unit(FRONT, true)];
    assert_eq!(names.map(|name| state(&facts, Purpose::Service, name)), [State::Pass, State::Pass]);
}

#[test]
fn a_port_that_may_be_any_takes_the_one_that_is_passed() {
    let name = "socket requests-front";
    let mut facts = with_port(PortState::Free);
    facts.host.ports[0].address.set_port(0);
    for (address, expected) in [("127.0.0.1:7000", State::Pass), ("127.0.0.2:7000", State::Fail)] {
        facts.host.units = vec![unit(address, true)];
        assert_eq!(state(&facts, Purpose::Service, name), expected);
        facts.host.passed = vec![Passed { name: "requests-front".into(), address: known(address.parse().unwrap()) }];
        assert_eq!(state(&facts, Purpose::Service, name), expected);
        facts.host.passed.clear();
    }
}

#[test]
fn a_full_disk_is_a_warning_while_nothing_is_kept() {
    let mut facts = Facts::default();
    facts.torus.data.free_bytes = known(1 << 20);
    assert_eq!(state(&facts, Purpose::Service, "disk space"), State::Warn);
    facts.host.build_free_bytes = known(1 << 20);
    assert_eq!(state(&facts, Purpose::Build, "disk space"), State::Fail);
}

#[test]
fn a_passed_socket_is_where_the_configuration_says_or_both_are_named() {
    let name = "socket requests-front";
    let mut facts = with_port(held());
    let passed = |address: &str| Passed { name: "requests-front".into(), address: known(address.parse().unwrap()) };
    facts.host.passed = vec![passed(FRONT)];
    assert_eq!(state(&facts, Purpose::Service, name), State::Pass);
    assert_eq!(state(&facts, Purpose::Service, "port of requests-front"), State::Pass);
    for other in ["127.0.0.1:7000", "0.0.0.0:5555", "[::1]:5555"] {
        facts.host.passed = vec![passed(other)];
        let verdict = one(&facts, Purpose::Service, name);
        assert_eq!(verdict.state, State::Fail);
        assert!(verdict.found.contains(other) && verdict.found.contains(FRONT), "{}", verdict.found);
    }
    facts.host.passed = vec![Passed { name: "requests-front".into(), address: Fact::unknown("it is no TCP socket") }];
    assert_eq!(state(&facts, Purpose::Service, name), State::Fail);
}

#[test]
fn a_socket_unit_counts_where_it_is_active_and_always_for_a_service() {
    let name = "socket requests-front";
    let mut facts = with_port(PortState::Free);
    facts.host.units = vec![unit("0.0.0.0:7000", false)];
    let verdict = one(&facts, Purpose::Service, name);
    assert_eq!(verdict.state, State::Fail);
    assert!(verdict.found.contains("0.0.0.0:7000") && verdict.found.contains(FRONT), "{}", verdict.found);
    let has = |facts: &Facts| judge(facts, None, Purpose::Host).iter().any(|verdict| verdict.name == name);
    assert!(!has(&facts));
    facts.host.units[0].active = true;
    assert!(has(&facts));
}

#[test]
fn memory_is_the_lower_of_machine_and_cgroup() {
    let mut facts = Facts::default();
    facts.host.memory_bytes = known(8 << 30);
    assert_eq!(state(&facts, Purpose::Container, "memory"), State::Pass);
    let survey = crate::sys::cgroup::Survey { memory_bytes_max: Some(64 << 20), ..Default::default() };
    facts.kernel.cgroups = known(survey);
    let verdict = one(&facts, Purpose::Container, "memory");
    assert_eq!((verdict.state, &*verdict.found), (State::Warn, "64 MiB (limit of this cgroup)"));
    assert!(verdict.mend.unwrap().starts_with("docker run --memory 541m"));
}

#[test]
fn a_dead_engine_fails_a_build_and_warns_a_host() {
    let mut facts = Facts::default();
    let engine = Fact::unknown("it did not answer within 2 s");
    facts.docker = Docker { program: Some("/usr/bin/dockerd".into()), socket: "/run/docker.sock".into(), engine };
    assert_eq!(state(&facts, Purpose::Build, "engine"), State::Fail);
    assert_eq!(state(&facts, Purpose::Host, "engine"), State::Warn);
    facts.docker.program = None;
    assert_eq!(state(&facts, Purpose::Host, "engine"), State::Skipped);
    assert_eq!(state(&facts, Purpose::Host, "installed"), State::Skipped);
    assert_eq!(state(&facts, Purpose::Service, "installed"), State::Skipped);
}

#[test]
fn an_engine_is_judged_by_what_it_tells() {
    let mut facts = Facts::default();
    let engine = Engine {
        version: "20.10.24+dfsg1".into(),
        storage_driver: "overlay2".into(),
        cgroup_driver: "systemd".into(),
        live_restore: true,
        seccomp: true,
        ..Engine::default()
    };
    facts.docker.engine = known(engine.clone());
    let names = ["version", "storage driver", "cgroup driver", "seccomp profile", "live-restore"];
    let states = |engine: Engine| {
        let facts = Facts { docker: Docker { engine: known(engine), ..Docker::default() }, ..Facts::default() };
        let verdicts = judge(&facts, None, Purpose::Host);
        let of = |name: &str| verdicts.iter().find(|one| one.group == "docker" && one.name == name).unwrap().state;
        names.map(of)
    };
    assert_eq!(states(engine), [State::Pass; 5]);
    let old = Engine { version: "19.03.15".into(), storage_driver: "vfs".into(), ..Engine::default() };
    assert_eq!(states(old), [State::Warn; 5]);
}

#[test]
fn the_sandbox_fails_only_where_it_is_required() {
    let text = "supervisor: {sandbox: required}\nservices: {hello: {worker: hello}}";
    let strict = config::parse(text, &Origin::Embedded).unwrap();
    let mut facts = Facts::default();
    facts.kernel.seccomp = known(false);
    facts.kernel.landlock_version = known(3);
    for name in ["seccomp", "landlock"] {
        assert_eq!(state(&facts, Purpose::Service, name), State::Warn);
        let verdicts = judge(&facts, Some(&strict), Purpose::Service);
        assert_eq!(verdicts.iter().find(|one| one.name == name).unwrap().state, State::Fail);
    }
}

#[test]
fn a_data_directory_is_its_owners_alone() {
    let mut facts = Facts::default();
    let ours = Data { exists: true, mode: 0o750, writable: true, lock: known(DataLock::Free), ..Data::default() };
    let mut judged = |change: &dyn Fn(&mut Data), purpose| {
        facts.torus.data = ours.clone();
        change(&mut facts.torus.data);
        state(&facts, purpose, "data directory")
    };
    assert_eq!(judged(&|_| {}, Purpose::Service), State::Pass);
    // Nothing is kept there yet.
    assert_eq!(judged(&|data| data.mode = 0o777, Purpose::Service), State::Warn);
    assert_eq!(judged(&|data| data.owner = 990, Purpose::Service), State::Warn);
    assert_eq!(judged(&|data| data.owner = 990, Purpose::Host), State::Pass);
    assert_eq!(judged(&|data| data.lock = known(DataLock::Held), Purpose::Host), State::Warn);
    assert_eq!(judged(&|data| data.exists = false, Purpose::Host), State::Warn);
    assert_eq!(judged(&|data| data.exists = false, Purpose::Container), State::Skipped);
}

#[test]
fn bytes_are_read_in_the_unit_that_fits() {
    let shown = [1, 1_536, 64 << 20, (23 << 30) + (1 << 29), 3 << 40].map(bytes);
    assert_eq!(shown, ["1 bytes", "1.5 KiB", "64 MiB", "23 GiB", "3 TiB"]);
}
