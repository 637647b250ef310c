//! Least privilege with real processes: what a service finds when its configuration confines it, and what is told where
//! this machine, or who runs the test, does not allow that.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::process::{lives, signal};
use support::{PATIENCE, Torus};

/// A user without an entry anywhere.
const SOMEBODY: u32 = 65_532;

/// A directory for what a test needs, of which everyone may write `out`.
fn place(test: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("torus-confine-{test}-{}", std::process::id()));
    fs::create_dir_all(directory.join("out")).unwrap();
    fs::set_permissions(directory.join("out"), Permissions::from_mode(0o777)).unwrap();
    directory
}

/// A service `one` that runs a script, what it prints going to `out/told`, and stays.
fn service(directory: &Path, keys: &str, script: &str) -> String {
    let out = directory.join("out");
    let text =
        format!("exec > {out}/part 2>&1\n{script}\nmv {out}/part {out}/told\nexec sleep 1000\n", out = out.display());
    fs::write(directory.join("script"), text).unwrap();
    let keys: String = keys.lines().map(|line| format!("    {}\n", line.trim_start())).collect();
    format!("services:\n  one:\n    command: [sh, {}]\n{keys}", directory.join("script").display())
}

/// Runs the script as a service, and answers what it printed.
fn told(test: &str, keys: &str, script: &str) -> (Torus, Vec<String>) {
    let directory = place(test);
    let torus = Torus::start_in(directory.clone(), &service(&directory, keys, script), |_| {});
    let lines = lines(&torus);
    (torus, lines)
}

fn lines(torus: &Torus) -> Vec<String> {
    torus.until("the script's end", |_| torus.directory.join("out/told").exists());
    torus.file("out/told").lines().map(str::to_owned).collect()
}

/// Why the service did not start.
fn refusal(torus: &Torus) -> String {
    let status = torus.until("a refusal", |status| !status["services"][0]["last_exit"]["not_started"].is_null());
    status["services"][0]["last_exit"]["not_started"].as_str().unwrap().to_owned()
}

fn refused(test: &str, keys: &str) -> String {
    let directory = place(test);
    refusal(&Torus::start_in(directory.clone(), &service(&directory, keys, ""), |_| {}))
}

fn warnings(torus: &Torus) -> Vec<String> {
    let status = torus.status().unwrap();
    let warnings = status["services"][0]["warnings"].as_array().cloned().unwrap_or_default();
    warnings.iter().map(|warning| warning.as_str().unwrap().to_owned()).collect()
}

/// What the test itself has: a line of /proc/self/status.
fn own(key: &str) -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{key}:")));
    line.unwrap().split_whitespace().next().unwrap().to_owned()
}

fn own_uid() -> u32 {
    own("Uid").parse().unwrap()
}

/// Whether the test has a capability, by its number.
fn has(capability: u32) -> bool {
    u64::from_str_radix(&own("CapEff"), 16).unwrap() & (1 << capability) != 0
}

/// Whether the test may do what the tests of other users need: CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_SETPCAP.
fn may_change_user() -> bool {
    (5..=8).all(has)
}

const CAPABILITIES: &str = "sed -n 's/^\\(Cap[A-Z][a-z]*\\|NoNewPrivs\\):\\s*/\\1 /p' /proc/self/status";

#[test]
fn a_service_is_the_user_that_it_is_configured_to_be_and_has_no_capability_then() {
    let keys = format!("user: {SOMEBODY}\nsupplementary_groups: [44, 4000000001]");
    if !may_change_user() {
        assert!(refused("user", &keys).contains("that takes CAP_SET"));
        return;
    }
    let script = format!("id -u; id -g; id -G; echo $HOME $USER $LOGNAME; {CAPABILITIES}");
    let (torus, lines) = told("user", &keys, &script);
    assert_eq!(lines[..4], ["65532", "65532", "65532 44 4000000001", "/ 65532 65532"]);
    assert!(lines.contains(&"CapPrm 0000000000000000".to_owned()), "{lines:?}");
    assert!(lines.contains(&"CapEff 0000000000000000".to_owned()), "{lines:?}");
    assert!(lines.contains(&"NoNewPrivs 1".to_owned()), "{lines:?}");
    assert_eq!(warnings(&torus), [""; 0]);
}

#[test]
fn a_user_with_an_entry_brings_its_group_groups_and_home() {
    let keys = "user: daemon";
    if !may_change_user() {
        assert!(refused("entry", keys).contains("cannot change to user daemon: that takes CAP_SETUID"));
        return;
    }
    let (_torus, lines) = told("entry", keys, "id -un; id -G; echo $HOME $USER");
    let expected = Command::new("id").args(["-G", "daemon"]).output().unwrap();
    let groups = String::from_utf8(expected.stdout).unwrap();
    assert_eq!(lines, ["daemon", groups.trim(), "/usr/sbin daemon"]);
}

#[test]
fn a_group_alone_leaves_the_user_as_it_is() {
    let (keys, script) = ("group: 44", "id -u; id -g");
    if !has(6) {
        assert!(refused("group", keys).contains("cannot change to group 44: that takes CAP_SETGID"));
        return;
    }
    let (_torus, lines) = told("group", keys, script);
    assert_eq!(lines, [own_uid().to_string().as_str(), "44"]);
}

#[test]
fn a_service_has_exactly_the_capabilities_that_it_is_given() {
    let bind = "0000000000000400";
    let zero = "0000000000000000";
    let five = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
    let sets = |lines: &[String]| -> Vec<String> {
        five.iter().map(|set| lines.iter().find_map(|line| line.strip_prefix(set)).unwrap().trim().to_owned()).collect()
    };
    let keys = "capabilities: [CAP_NET_BIND_SERVICE]";
    let (torus, lines) = told("capability", keys, CAPABILITIES);
    if !may_change_user() || !has(10) {
        assert_eq!(sets(&lines)[2], zero);
        let expected = "it runs without CAP_NET_BIND_SERVICE: the supervisor has no such capability to give";
        assert_eq!(warnings(&torus), [expected]);
        return;
    }
    assert_eq!(sets(&lines), [bind; 5], "as root");
    assert_eq!(warnings(&torus), [""; 0]);
    let (_torus, lines) = told("capability-user", &format!("{keys}\nuser: {SOMEBODY}"), CAPABILITIES);
    assert_eq!(sets(&lines), [bind; 5], "as another user");
    let (_torus, lines) = told("capability-none", "capabilities: []", CAPABILITIES);
    assert_eq!(sets(&lines), [zero; 5], "none");
    let (_torus, lines) = told("capability-default", "nice: 1", CAPABILITIES);
    assert_eq!(sets(&lines)[3], own("CapBnd"), "as the supervisor has it");
    assert!(lines.contains(&format!("NoNewPrivs {}", own("NoNewPrivs"))), "{lines:?}");
}

#[test]
fn when_memory_runs_out_what_the_supervisor_runs_goes_before_it() {
    let (torus, lines) = told("oom", "", "cat /proc/self/oom_score_adj");
    let score = |pid: &Value| {
        let text = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
        text.trim().parse::<i32>().unwrap()
    };
    let status = torus.status().unwrap();
    let ours = score(&status["pid"]);
    assert_eq!(lines[0], (ours + 100).min(1000).to_string());
    for service in status["services"].as_array().unwrap() {
        assert_eq!(score(&service["pid"]), (ours + 100).min(1000), "{service}");
    }
}

#[test]
fn supervisor_754_oom_score_adj_and_limits_hold_as_do_priority_umask_and_directory() {
    let keys =
        "limits: { nofile: {soft: 64, hard: 80}, core_bytes: 0, cpu_s: 1000, stack_bytes: 1048576, nproc: {soft: 500} }
nice: 7
oom_score_adj: 321
umask: '0027'
directory: /usr/bin";
    let script =
        "ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Ht; ulimit -Ss; nice; cat /proc/self/oom_score_adj; umask; pwd
        touch $TORUS_OUT/made; stat -c %a $TORUS_OUT/made; ulimit -Su 2>/dev/null || ulimit -Sp";
    let directory = place("limits");
    let keys = format!("{keys}\nenvironment: {{ TORUS_OUT: {} }}", directory.join("out").display());
    let torus = Torus::start_in(directory.clone(), &service(&directory, &keys, script), |_| {});
    let lines = lines(&torus);
    assert_eq!(lines, ["64", "80", "0", "1000", "1024", "7", "321", "0027", "/usr/bin", "640", "500"]);
    assert_eq!(warnings(&torus), [""; 0]);
}

#[test]
fn what_is_beyond_reach_is_told_and_the_service_runs_without_or_not_at_all_if_so_configured() {
    // More open files than any kernel has, and for the rest what only some may.
    let keys = "limits: { nofile: 1099511627776 }\nnice: -5\noom_score_adj: -500";
    let (torus, lines) = told("beyond", keys, "ulimit -Hn; nice; cat /proc/self/oom_score_adj");
    let warnings = warnings(&torus);
    let told = |what: &str| warnings.iter().any(|warning| warning.starts_with(&format!("cannot {what} for ")));
    let hard = fs::read_to_string("/proc/self/limits").unwrap();
    let hard = hard.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(lines[0], hard.split_whitespace().nth(4).unwrap());
    assert!(told("set the limit of open files (soft 1099511627776, hard 1099511627776)"), "{warnings:?}");
    assert_eq!(lines[1] == "-5", !told("set the priority -5"), "{lines:?} {warnings:?}");
    assert_eq!(lines[2] == "-500", !told("set oom_score_adj -500"), "{lines:?} {warnings:?}");
    assert!(torus.log().contains("instance=1 cannot set the limit of open files"), "{}", torus.log());
    let table = Command::new(support::TORUS).args(["status", "--runtime-dir"]).arg(&torus.directory).output().unwrap();
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("\none/1: warning: cannot set the limit of open files (soft 1099511627776"), "{table}");

    let reason = refused("beyond-required", &format!("{keys}\nsandbox: required"));
    assert!(reason.starts_with("cannot set "), "{reason}");
}

#[test]
fn a_user_group_or_directory_that_is_not_there_refuses_the_start_and_is_named() {
    assert_eq!(refused("no-user", "user: nobody-here"), "there is no user \"nobody-here\"");
    assert_eq!(refused("no-group", "group: nobody-here"), "there is no group \"nobody-here\"");
    let reason = refused("no-directory", "directory: /does/not/exist");
    assert!(reason.starts_with("cannot enter the directory /does/not/exist for "), "{reason}");
}

#[test]
fn variables_are_literal_and_the_nearer_source_wins() {
    let directory = place("variables");
    let file = directory.join("env");
    fs::write(&file, "# of the service\nINHERITED=file\nFILE=100%d $HOME \"quoted\"\nBOTH=file\n").unwrap();
    let keys = format!(
        r#"environment_files: [{}]
           environment: {{ BOTH: map, PERCENT: "%(ENV_X)s 100%", DOLLAR: "$HOME ${{HOME}} `id`", LINES: "a\nb", QUOTES: "\"'\\" }}"#,
        file.display()
    );
    let script = "printenv INHERITED FILE BOTH PERCENT DOLLAR LINES QUOTES TORUS_SERVICE KEPT";
    let configuration = service(&directory, &keys, script);
    let torus = Torus::start_in(directory, &configuration, |command| {
        command.env("INHERITED", "supervisor").env("KEPT", "kept").env("TORUS_SERVICE", "a lie");
    });
    let expected = [
        "file",
        "100%d $HOME \"quoted\"",
        "map",
        "%(ENV_X)s 100%",
        "$HOME ${HOME} `id`",
        "a",
        "b",
        "\"'\\",
        "one",
        "kept",
    ];
    assert_eq!(lines(&torus), expected);
}

#[test]
fn a_cleared_environment_has_only_what_is_configured_and_told() {
    let directory = place("cleared");
    let keys = "clear_environment: true\nenvironment: { PATH: /usr/bin:/bin, A: b }";
    let configuration = service(&directory, keys, "tr '\\0' '\\n' < /proc/$$/environ | sort");
    let torus = Torus::start_in(directory, &configuration, |command| {
        command.env("INHERITED", "supervisor");
    });
    assert_eq!(lines(&torus), ["A=b", "PATH=/usr/bin:/bin", "TORUS_INSTANCE=1", "TORUS_SERVICE=one"]);
}

#[test]
fn a_bad_line_of_an_environment_file_refuses_the_start_until_it_is_mended() {
    let directory = place("bad-line");
    let file = directory.join("env");
    fs::write(&file, "A=1\n\nhunter2\n").unwrap();
    let keys = format!("environment_files: [{}]", file.display());
    let configuration =
        service(&directory, &keys, "echo $A") + "supervisor: { backoff_ms_max: 50, backoff_ms_min: 50 }\n";
    let torus = Torus::start_in(directory, &configuration, |_| {});
    assert_eq!(refusal(&torus), format!("environment file {}: line 3 is not KEY=value", file.display()));
    assert!(!torus.log().contains("hunter2"), "{}", torus.log());
    fs::write(&file, "A=mended\n").unwrap();
    assert_eq!(lines(&torus), ["mended"]);
    fs::remove_file(&file).unwrap();
    let pid = torus.status().unwrap()["services"][0]["pid"].as_i64().unwrap();
    signal("KILL", pid);
    let missing = format!("cannot read environment file {}: No such file or directory (os error 2)", file.display());
    torus.until(&missing, |status| status["services"][0]["last_exit"]["not_started"] == missing.as_str());
}

#[test]
fn a_secret_reaches_a_service_that_may_not_open_its_file_and_never_lies_in_its_environment() {
    let directory = place("secret");
    let file = directory.join("secret");
    fs::write(&file, "hunter2\n").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let user = if may_change_user() { format!("user: {SOMEBODY}\n") } else { String::new() };
    let keys = format!("{user}secrets: {{ DB_PASSWORD: {}, OTHER: {} }}", file.display(), file.display());
    let script = format!(
        "echo $DB_PASSWORD_FILE $OTHER_FILE; cat $DB_PASSWORD_FILE; cat $DB_PASSWORD_FILE
         cat {} > /dev/null 2>&1 && echo opened || echo denied; (echo x > $OTHER_FILE) 2>/dev/null || echo sealed
         env -u A sh -c 'cat $OTHER_FILE'",
        file.display()
    );
    let torus = Torus::start_in(directory.clone(), &service(&directory, &keys, &script), |_| {});
    let lines = lines(&torus);
    let direct = if may_change_user() { "denied" } else { "opened" };
    assert_eq!(lines, ["/proc/self/fd/3 /proc/self/fd/4", "hunter2", "hunter2", direct, "sealed", "hunter2"]);
    let pid = torus.status().unwrap()["services"][0]["pid"].as_i64().unwrap();
    let environ = fs::read(format!("/proc/{pid}/environ")).unwrap();
    let environ = String::from_utf8_lossy(&environ);
    assert!(environ.contains("DB_PASSWORD_FILE=/proc/self/fd/3") && !environ.contains("hunter2"), "{environ}");

    let keys = format!("secrets: {{ A: {} }}", directory.join("nothing").display());
    let reason = refused("secret-missing", &keys);
    let expected = format!("cannot read secret A from {}: ", directory.join("nothing").display());
    assert!(reason.starts_with(&expected), "{reason}");
}

#[test]
fn a_built_in_worker_is_confined_as_any_other_program() {
    let keys = if may_change_user() { format!("user: {SOMEBODY}") } else { "nice: 3".to_owned() };
    let torus = Torus::up(&format!("{}services: {{ hello: {{ worker: hello, {keys} }} }}", support::BUS));
    let pid = torus.status().unwrap()["services"][1]["pid"].as_i64().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let uid = if may_change_user() { SOMEBODY } else { own_uid() };
    assert!(status.contains(&format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n")), "{status}");
}

#[test]
fn a_service_of_another_user_stops_in_order_and_ends_with_its_supervisor() {
    let keys = if may_change_user() { format!("user: {SOMEBODY}") } else { "umask: '0077'".to_owned() };
    let (mut torus, _) = told("ends", &keys, "");
    let pid = torus.status().unwrap()["services"][0]["pid"].as_i64().unwrap();
    torus.signal("KILL");
    torus.end();
    let begin = Instant::now();
    while lives(pid) {
        assert!(begin.elapsed() < PATIENCE, "{pid} outlived its supervisor");
    }
    let (mut torus, _) = told("stops", &keys, "");
    let pid = torus.status().unwrap()["services"][0]["pid"].as_i64().unwrap();
    torus.signal("TERM");
    assert_eq!(torus.end().0.code(), Some(0));
    assert!(!lives(pid));
}

#[test]
fn a_supervisor_without_privileges_refuses_other_users_and_tells_what_else_it_cannot_give() {
    let unprivileged = |test: &str, keys: &str, script: &str| {
        let directory = place(test);
        let configuration = service(&directory, keys, script);
        if may_change_user() {
            chown(&directory, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
        }
        Torus::start_in(directory, &configuration, |command| {
            if may_change_user() {
                command.uid(SOMEBODY).gid(SOMEBODY);
            }
        })
    };
    let uid = if may_change_user() { SOMEBODY } else { own_uid() };
    let (user, group) = if uid == 0 { (65_533, 44) } else { (0, 0) };
    let lacks = |capability| format!("that takes {capability}, which the supervisor (user {uid}) does not have");

    let torus = unprivileged("plain-user", &format!("user: {user}"), "");
    assert_eq!(refusal(&torus), format!("cannot change to user {user}: {}", lacks("CAP_SETUID")));
    let torus = unprivileged("plain-group", &format!("group: {group}"), "");
    assert_eq!(refusal(&torus), format!("cannot change to group {group}: {}", lacks("CAP_SETGID")));
    let torus = unprivileged("plain-groups", &format!("supplementary_groups: [{group}, 43]"), "");
    assert_eq!(refusal(&torus), format!("cannot set the supplementary groups: {}", lacks("CAP_SETGID")));
    if uid == 0 {
        // Root with some capabilities taken: what else it lacks is not for this test to know.
        return;
    }

    let keys =
        format!("user: {uid}\ncapabilities: [CAP_NET_ADMIN]\noom_score_adj: -1\nnice: -1\nlimits: {{ nofile: 50 }}");
    let script = format!("id -u; ulimit -n; {CAPABILITIES}");
    let torus = unprivileged("plain-self", &keys, &script);
    let lines = lines(&torus);
    assert_eq!(lines[..2], [uid.to_string().as_str(), "50"]);
    assert!(lines.contains(&"CapEff 0000000000000000".to_owned()), "{lines:?}");
    assert!(lines.contains(&"NoNewPrivs 1".to_owned()), "{lines:?}");
    let warnings = warnings(&torus);
    for (warning, beginning) in warnings.iter().zip([
        "it runs without CAP_NET_ADMIN",
        "cannot set oom_score_adj -1 for",
        "cannot set the priority -1 for",
    ]) {
        assert!(warning.starts_with(beginning), "{warnings:?}");
    }
    assert_eq!(warnings.len(), 3, "{warnings:?}");

    let torus = unprivileged("plain-required", "capabilities: [CAP_NET_ADMIN]\nsandbox: required", "");
    let expected = "it runs without CAP_NET_ADMIN: the supervisor has no such capability to give; sandbox is required";
    assert_eq!(refusal(&torus), expected);

    let torus = unprivileged("plain-cgroup", "cgroup: { pids_max: 5 }", "echo runs");
    assert_eq!(self::lines(&torus), ["runs"]);
    let warnings = self::warnings(&torus);
    assert!(warnings.iter().all(|warning| warning.starts_with("pids_max does not hold: ")), "{warnings:?}");
    assert!(!warnings.is_empty() || own_uid() != 0, "a user without privileges made a cgroup in one of root's");
}

/// The instance's cgroup of a controller, or why there is none.
fn group_of(torus: &Torus, status: &Value, controller: &str) -> Result<PathBuf, String> {
    let service = &status["services"][0];
    let pid = service["pid"].as_i64().unwrap();
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = groups.lines().find_map(|line| {
        let (names, path) = line.split_once(':')?.1.split_once(':')?;
        (names.split(',').any(|name| name == controller) || names.is_empty())
            .then_some(path)
            .filter(|path| path.ends_with(&format!("/torus-{}/one-1", torus.child.id())))
    });
    let path = path.ok_or_else(|| format!("{}\n{groups}", service["warnings"]))?;
    let roots =
        [format!("/sys/fs/cgroup/{controller}"), "/sys/fs/cgroup".to_owned(), "/sys/fs/cgroup/unified".to_owned()];
    let found = roots.iter().map(|root| PathBuf::from(format!("{root}{path}"))).find(|path| path.exists());
    found.ok_or_else(|| format!("{path} is nowhere below /sys/fs/cgroup"))
}

#[test]
fn a_service_beyond_its_memory_is_killed_alone() {
    let directory = place("memory");
    let keys = "cgroup: { memory_bytes_max: 33554432 }";
    // It eats only where it is held.
    let script = "grep -q /one-1 /proc/self/cgroup && exec tail /dev/zero";
    let configuration = service(&directory, keys, script) + "  two:\n    command: [sleep, '1000']\n";
    let mut torus = Torus::start_in(directory, &configuration, |_| {});
    let status = torus.until("a death or a warning", |status| {
        !status["services"][0]["last_exit"].is_null() || status["services"][0]["warnings"].is_array()
    });
    let one = &status["services"][0];
    if one["warnings"].is_array() {
        let warning = one["warnings"][0].as_str().unwrap();
        assert!(warning.starts_with("memory_bytes_max does not hold: "), "{warning}");
    } else {
        assert_eq!(one["last_exit"]["signal"], 9, "{status}");
    }
    let two = &torus.status().unwrap()["services"][1];
    assert_eq!((two["state"].as_str(), two["restarts"].as_u64()), (Some("running"), Some(0)));
    torus.signal("TERM");
    assert_eq!(torus.end().0.code(), Some(0));
}

#[test]
fn what_left_the_process_group_of_a_dead_service_ends_by_its_cgroup_which_goes_with_the_supervisor() {
    let keys = "cgroup: { pids_max: 50, cpu_percent_max: 50 }";
    let directory = place("leftover");
    let script = "setsid sleep 1000 & echo $!; while ! [ \"$(cut -d' ' -f5 /proc/$!/stat)\" = $! ]; do :; done";
    let mut torus = Torus::start_in(directory.clone(), &service(&directory, keys, script), |_| {});
    let left: i64 = lines(&torus)[0].parse().unwrap();
    let status = torus.status().unwrap();
    let group = group_of(&torus, &status, "pids");
    match &group {
        Ok(group) => {
            assert_eq!(fs::read_to_string(group.join("pids.max")).unwrap().trim(), "50");
            signal("KILL", status["services"][0]["pid"].as_i64().unwrap());
            torus.until("the end of what it left", |_| !lives(left));
        }
        Err(reason) => {
            assert!(reason.contains("pids_max does not hold: "), "{reason}");
            signal("KILL", left);
        }
    }
    torus.signal("TERM");
    assert_eq!(torus.end().0.code(), Some(0));
    if let Ok(group) = group {
        assert!(!group.parent().unwrap().exists(), "{} was left", group.display());
    }
}

#[test]
fn a_probe_may_and_has_what_its_service_may_and_has() {
    let user = if may_change_user() { format!("user: {SOMEBODY}\n") } else { String::new() };
    let uid = if may_change_user() { SOMEBODY } else { own_uid() };
    let asks = "echo \"asked by $(id -u) with $(ulimit -n) in $(pwd) by $(umask) about $TORUS_SERVICE $A\"";
    let probe = format!("ready: {{ exec: [sh, -c, {asks:?}] }}");
    let keys =
        format!("{user}limits: {{ nofile: 50 }}\ndirectory: /usr\numask: '0027'\nenvironment: {{ A: b }}\n{probe}");
    let (torus, _) = told("probe", &keys, "");
    torus.until("an answer", |status| status["services"][0]["state"] == "running");
    torus.until_log(&format!("one/1 | asked by {uid} with 50 in /usr by 0027 about one b\n"));
}

#[test]
fn what_a_service_of_another_user_leaves_behind_is_ended_where_pid_1_may_not_trace_as_in_a_container() {
    // What a container has by default: neither CAP_SYS_PTRACE nor CAP_PERFMON.
    let docker = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+net_bind_service,+net_raw,\
                  +sys_chroot,+mknod,+audit_write,+setfcap";
    let bounding = format!("--bounding-set={docker}");
    let (below, user) = match may_change_user() {
        true => (vec!["setpriv", "--inh-caps=-all", &bounding], SOMEBODY),
        false => (vec!["env"], own_uid()),
    };
    let script = "(setsid sleep 1234 &); echo >&3; exec sleep 1235";
    let mut torus = Torus::start_below(
        &below,
        &format!("services: {{ one: {{ command: [sh, -c, '{script}'], user: {user}, ready: {{ fd: 3 }} }} }}"),
        |_| {},
    );
    let status = torus.until("it runs", |status| status["state"] == "running");
    let pid = status["services"][0]["pid"].as_i64().unwrap();
    // The orphan has become a child of ours.
    let strays = || {
        let path = format!("/proc/{0}/task/{0}/children", status["pid"]);
        let children = fs::read_to_string(path).unwrap();
        let pids: Vec<i64> = children.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        let words = |pid: &i64| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        pids.into_iter().find(|pid| words(pid) == "sleep\x001234\x00")
    };
    let begin = Instant::now();
    let stray = loop {
        match strays() {
            Some(stray) => break stray,
            None => assert!(begin.elapsed() < PATIENCE, "no stray"),
        }
    };
    signal("KILL", pid);
    torus.until("a restart", |status| status["services"][0]["restarts"] == 1);
    // Who is killed dies when it next has a processor.
    let killed = Instant::now();
    while lives(stray) {
        assert!(killed.elapsed() < PATIENCE, "log:\n{}", torus.log());
        thread::sleep(Duration::from_millis(1));
    }
    // Its successor leaves one too.
    torus.signal("TERM");
    assert_eq!(torus.end().0.code(), Some(0), "log:\n{}", torus.log());
}
