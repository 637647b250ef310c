//! `torus init` beside tini: the same commands, the same signals, and the same is seen.

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

use support::inits::{Init, TELLS_SIGNALS, code, field, tinis, until};
use support::process::{Talker, lives, signal};

/// Words that begin with options, then a command in shell.
fn shell<'a>(options: &[&'a str], script: &'a str) -> Vec<&'a str> {
    [options, &["--", "sh", "-c", script]].concat()
}

#[test]
fn the_exit_code_is_the_commands_or_tells_what_happened() {
    let directory = std::env::temp_dir().join(format!("torus-init-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let script = directory.join("script");
    fs::write(&script, "exit $1").unwrap();
    let script = script.to_str().unwrap();
    Command::new("chmod").args(["+x", script]).status().unwrap();
    for init in tinis() {
        for (words, expected) in [
            (vec!["true"], 0),
            (shell(&["-s"], "exit 3"), 3),
            (shell(&["-s"], "exit 255"), 255),
            (shell(&["-s"], "kill -TERM $$"), 143),
            (shell(&["-s"], "kill -KILL $$"), 137),
            (shell(&["-s", "-e", "3", "-e143"], "exit 3"), 0),
            (shell(&["-s", "-e", "3", "-e143"], "kill -TERM $$"), 0),
            (shell(&["-se143"], "exit 3"), 3),
            (vec!["-s", "--", "no-such-program-here"], 127),
            (vec!["-s", "--", "/no/such/program"], 127),
            (vec!["-s", "--", ""], 127),
            (vec!["-s", "--", "/etc/passwd"], 126),
            (vec!["-s", "--", "/etc"], 126),
            (vec!["-s", "--", script, "5"], 5),
            (vec!["-e", "256", "true"], 1),
            (vec!["-e", "x", "true"], 1),
            (vec!["-p", "SIGNOPE", "true"], 1),
            (vec!["-z", "true"], 1),
            (vec!["-e"], 1),
            (vec!["-s"], 1),
            (vec!["--"], 1),
            (vec![], 1),
            (vec!["-h"], 0),
            (vec!["-l"], 0),
            (vec!["--version"], 0),
        ] {
            let output = init.run(&words);
            assert_eq!(code(output.status), expected, "{} {words:?}: {output:?}", init.name);
        }
    }
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn every_signal_that_is_not_the_inits_own_reaches_the_command() {
    // Faults, those that no process gets, the end of a child, a background's; and two that the C library keeps.
    let kept = [4, 5, 6, 7, 8, 11, 31, 9, 19, 17, 21, 22, 32, 33];
    for init in tinis() {
        let mut talker = init.talk(&[&["-s", "--"], &TELLS_SIGNALS[..]].concat());
        talker.says("ready");
        for number in (1..=64).filter(|number| !kept.contains(number)) {
            for ignored in [21, 22] {
                signal(&ignored.to_string(), talker.pid());
            }
            signal(&number.to_string(), talker.pid());
            assert_eq!(talker.line(), number.to_string(), "{}", init.name);
        }
        signal("KILL", child(talker.pid()));
        assert_eq!(code(talker.end()), 137, "{}", init.name);
    }
}

#[test]
fn a_fault_signal_ends_the_init_as_it_would_end_any_program() {
    for init in tinis() {
        for number in [4, 6, 11] {
            let mut talker = init.talk(&[&["-s", "--"], &TELLS_SIGNALS[..]].concat());
            talker.says("ready");
            let command = child(talker.pid());
            signal(&number.to_string(), talker.pid());
            assert_eq!(talker.end().signal(), Some(number), "{}", init.name);
            assert!(lives(command), "{}: nobody told the command", init.name);
            signal("KILL", command);
        }
    }
}

#[test]
fn the_whole_group_is_signalled_when_asked_for_and_only_then() {
    for init in tinis() {
        for (option, variable, whole) in
            [("-s", "NOTHING", false), ("-sg", "NOTHING", true), ("-s", "TINI_KILL_PROCESS_GROUP", true)]
        {
            let script = "sleep 1000 & echo $!; exec sleep 1000";
            let mut talker = Talker::start(init.command(&shell(&[option], script)).env(variable, ""));
            let companion: i64 = talker.line().parse().unwrap();
            signal("TERM", talker.pid());
            assert_eq!(code(talker.end()), 143, "{}", init.name);
            if whole {
                until("the companion ends", || !lives(companion));
            } else {
                assert!(lives(companion), "{} {option}", init.name);
                signal("KILL", companion);
            }
        }
    }
}

#[test]
fn a_command_that_ignores_sigterm_keeps_its_init() {
    for init in tinis() {
        let mut talker = init.talk(&shell(&["-s"], "trap '' TERM; echo ready; read line; exit 4"));
        talker.says("ready");
        for _ in 0..3 {
            signal("TERM", talker.pid());
        }
        assert!(lives(talker.pid()));
        talker.go_on();
        assert_eq!(code(talker.end()), 4, "{}", init.name);
    }
}

#[test]
fn the_death_of_the_parent_is_a_signal_when_asked_for() {
    for init in tinis() {
        let script = "\"$@\" & read line";
        let words = [&["-s", "-p", "SIGUSR2", "--"], &TELLS_SIGNALS[..]].concat();
        let mut talker = Talker::start(&mut init.below(&["sh", "-c", script, "sh"], &words));
        talker.says("ready");
        let own = child(talker.pid());
        signal("KILL", talker.pid());
        assert_eq!(talker.line(), "12", "{}", init.name);
        signal("KILL", child(own));
    }
}

#[test]
fn a_subreaper_collects_orphans_and_tells_of_them_when_asked_to() {
    let errors = |name: &str| std::env::temp_dir().join(format!("torus-init-{}-{name}", std::process::id()));
    for init in tinis() {
        for (option, variable, warns) in
            [("-s", "NOTHING", false), ("-sw", "NOTHING", true), ("-w", "TINI_SUBREAPER", true)]
        {
            let file = errors("reaped");
            let script = "sh -c 'sleep 1000 & echo $!'; read line";
            let mut command = init.command(&shell(&[option], script));
            let mut talker = Talker::start(command.env(variable, "").stderr(fs::File::create(&file).unwrap()));
            let orphan: i64 = talker.line().parse().unwrap();
            until("the orphan is adopted", || field(orphan, "PPid") == Some(talker.pid().to_string()));
            signal("KILL", orphan);
            until("the orphan is collected", || field(orphan, "State").is_none());
            talker.go_on();
            assert_eq!(code(talker.end()), 0);
            let told = fs::read_to_string(&file).unwrap();
            assert_eq!(told.contains(&format!("pid={orphan}")), warns, "{}: {told}", init.name);
            fs::remove_file(&file).unwrap();
        }
    }
}

#[test]
fn whoever_cannot_collect_orphans_says_so_unless_told_to_be_silent() {
    for init in tinis() {
        let words = ["true"];
        let told = init.command(&words).output().unwrap().stderr;
        assert!(String::from_utf8_lossy(&told).contains("TINI_SUBREAPER"), "{}", init.name);
        for (name, value) in [("TINI_VERBOSITY", "0"), ("TINI_SUBREAPER", "")] {
            let told = init.command(&words).env(name, value).output().unwrap().stderr;
            assert_eq!(String::from_utf8_lossy(&told), "", "{}", init.name);
        }
    }
}

#[test]
fn the_command_has_the_environment_byte_for_byte_and_standard_input() {
    let variables: [(&str, &[u8]); 4] =
        [("PERCENT", b"100% %s %n"), ("LINES", b"a\nb\n"), ("LANG", b"es_ES.UTF-8"), ("BYTES", b"\xff\xfe=")];
    let seen = |mut command: Command| {
        for (name, value) in variables {
            command.env(name, <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(value));
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"from standard input").unwrap();
        child.wait_with_output().unwrap().stdout
    };
    let script = "env -0; cat";
    for init in tinis() {
        let mut direct = Command::new("sh");
        direct.args(["-c", script]);
        for name in ["TINI_SUBREAPER", "TINI_VERBOSITY", "TINI_KILL_PROCESS_GROUP", "DUMB_INIT_SETSID"] {
            direct.env_remove(name);
        }
        let direct = seen(direct);
        assert!(direct.ends_with(b"from standard input"));
        let below = seen(init.command(&shell(&["-s"], script)));
        assert_eq!(String::from_utf8_lossy(&below), String::from_utf8_lossy(&direct), "{}", init.name);
    }
}

#[test]
fn the_command_has_the_descriptors_that_were_open_and_none_that_was_closed() {
    let script = "for n in 0 1 2 7; do if [ -e /proc/self/fd/$n ]; then echo $n >&7; fi; done";
    for init in tinis() {
        for closed in [1, 2] {
            let begin = format!("exec 7>&1 {closed}>&-; exec \"$@\"");
            let output = init.below(&["sh", "-c", &begin, "sh"], &shell(&["-s"], script)).output().unwrap();
            let expected = if closed == 1 { "0\n2\n7\n" } else { "0\n1\n7\n" };
            assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{}", init.name);
        }
    }
    // Here tini gives up: it takes a closed standard input for a broken terminal.
    let ours = &tinis()[0];
    let begin = "exec 7>&1 0<&-; exec \"$@\"";
    let output = ours.below(&["sh", "-c", begin, "sh"], &shell(&["-s"], script)).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n2\n7\n");
}

#[test]
fn the_command_has_the_signals_as_the_init_was_started_with() {
    // Ignored: TTIN, and PIPE or not; blocked: USR1.
    let begin = "import os, signal, sys
signal.signal(signal.SIGTTIN, signal.SIG_IGN); signal.signal(signal.SIGPIPE, getattr(signal, sys.argv[1]))
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]); os.execvp(sys.argv[2], sys.argv[2:])";
    let tell = ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"];
    for init in tinis() {
        for pipe in ["SIG_IGN", "SIG_DFL"] {
            let below = init.below(&["python3", "-c", begin, pipe], &[&["-s", "--"], &tell[..]].concat()).output();
            let direct = Command::new("python3").args(["-c", begin, pipe]).args(tell).output();
            let [below, direct] = [below, direct].map(|output| String::from_utf8(output.unwrap().stdout).unwrap());
            assert!(direct.contains("SigBlk:\t0000000000000200"), "{direct}");
            assert_eq!(below, direct, "{} {pipe}", init.name);
        }
    }
}

#[test]
fn ten_thousand_zombies_are_no_event() {
    // The command's child ends after ten thousand children of its own, whom it never waited for.
    let flood = "import os, sys
if os.fork() == 0:
    for _ in range(10000):
        if os.fork() == 0: os._exit(0)
    print('flooded', flush=True); sys.stdin.readline(); os._exit(0)
os.wait(); print('on', flush=True); sys.stdin.readline(); os._exit(6)";
    let [ours, ..] = tinis();
    let mut talker = ours.talk(&["-s", "--", "python3", "-I", "-S", "-c", flood]);
    talker.says("flooded");
    talker.go_on();
    talker.says("on");
    until("all are collected", || children(talker.pid()).len() == 1);
    talker.go_on();
    assert_eq!(code(talker.end()), 6);
}

#[test]
fn an_init_in_which_nothing_happens_does_not_wake_up() {
    let [ours, ..] = tinis();
    let mut talker = ours.talk(&[&["-s", "--"], &TELLS_SIGNALS[..]].concat());
    talker.says("ready");
    until("it sleeps", || field(talker.pid(), "State").is_some_and(|state| state.starts_with('S')));
    let wakeups = || field(talker.pid(), "voluntary_ctxt_switches");
    let before = wakeups();
    // Longer than the second that tini sleeps at most.
    std::thread::sleep(std::time::Duration::from_millis(1200));
    assert_eq!(wakeups(), before);
    assert_eq!(field(talker.pid(), "Threads").as_deref(), Some("1"));
    signal("KILL", child(talker.pid()));
}

#[test]
fn a_mistake_is_told_with_what_to_do_next() {
    let told = |init: &Init, words: &[&str]| String::from_utf8(init.run(words).stderr).unwrap();
    let [ours, renamed, _] = tinis();
    assert_eq!(
        told(&ours, &["-s", "--", "no-such-program-here"]),
        "error: there is no program \"no-such-program-here\" on the PATH\n\
         hint: is it in this image, and its directory on the PATH?\n"
    );
    assert_eq!(
        told(&renamed, &["-x", "true"]),
        "error: there is no option -x\nhint: tini -h tells the options, with examples\n"
    );
    assert_eq!(
        told(&ours, &[]),
        "error: there is no command to run\nhint: torus init -h tells the options, with examples\n"
    );
    assert!(told(&ours, &["-s", "/etc/passwd"]).contains("chmod +x"));
}

#[test]
fn any_other_name_is_torus() {
    let output = Command::new(support::TORUS).arg0("anything").arg("--version").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("torus "), "{output:?}");
}

/// The only child of a process.
fn child(pid: i64) -> i64 {
    match children(pid)[..] {
        [only] => only,
        ref all => panic!("{pid} has {} children", all.len()),
    }
}

/// The children of a process, zombies too.
fn children(pid: i64) -> Vec<i64> {
    let all = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    all.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}
