//! Torus by the name of dumb-init, beside dumb-init: a session of its own for the command, and signals for all of it.

mod support;

use std::fs;

use support::inits::{Init, TELLS_SIGNALS, code, dumb_inits, field, until};
use support::process::{Talker, lives, signal};

/// Words that begin with options, then a command in shell.
fn shell<'a>(options: &[&'a str], script: &'a str) -> Vec<&'a str> {
    [options, &["--", "sh", "-c", script]].concat()
}

/// The command that tells its signals, below options; and its process.
fn telling(init: &Init, options: &[&str]) -> (Talker, i64) {
    let mut talker = init.talk(&[options, &["--"], &TELLS_SIGNALS].concat());
    talker.says("ready");
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", talker.pid())).unwrap();
    (talker, children.trim().parse().unwrap())
}

#[test]
fn the_exit_code_is_the_commands_or_tells_what_happened() {
    for init in dumb_inits() {
        for (words, expected) in [
            (vec!["true"], 0),
            (vec!["sh", "-c", "exit 3"], 3),
            (shell(&["-v"], "kill -TERM $$"), 143),
            (shell(&["-c"], "kill -KILL $$"), 137),
            (vec!["no-such-program-here"], 2),
            (vec!["/etc/passwd"], 2),
            (vec!["-r", "15", "true"], 1),
            (vec!["-r", "x:1", "true"], 1),
            (vec!["--rewrite=15:2", "--", "true"], 0),
            (vec!["-z", "true"], 1),
            (vec!["-r"], 1),
            (vec![], 1),
            (vec!["--help"], 0),
            (vec!["-V"], 0),
        ] {
            let output = init.run(&words);
            assert_eq!(code(output.status), expected, "{} {words:?}: {output:?}", init.name);
        }
    }
}

#[test]
fn every_signal_reaches_the_command_as_it_is_rewritten() {
    // Those that no process gets, the end of a child, and a terminal's stops.
    let kept = [9, 19, 17, 20, 21, 22];
    for init in dumb_inits() {
        let (mut talker, command) = telling(&init, &["-r", "15:3", "--rewrite", "2:0", "-r", "1:10", "-r", "20:12"]);
        for number in (1..=31).filter(|number| !kept.contains(number)) {
            signal(&number.to_string(), talker.pid());
            let expected = match number {
                15 => 3,
                1 => 10,
                2 => continue,
                other => other,
            };
            assert_eq!(talker.line(), expected.to_string(), "{}", init.name);
        }
        signal("KILL", command);
        assert_eq!(code(talker.end()), 137, "{}", init.name);
    }
}

#[test]
fn a_terminals_stop_stops_the_command_and_its_init_until_they_are_continued() {
    for init in dumb_inits() {
        for number in ["TSTP", "TTIN", "TTOU"] {
            let (mut talker, command) = telling(&init, &[]);
            let state = |pid: i64| field(pid, "State").unwrap().chars().next().unwrap();
            signal(number, talker.pid());
            until("both stop", || state(talker.pid()) == 'T' && state(command) == 'T');
            signal("CONT", talker.pid());
            assert_eq!(talker.line(), "18", "{} {number}", init.name);
            signal("KILL", command);
            assert_eq!(code(talker.end()), 137, "{}", init.name);
        }
    }
}

#[test]
fn the_whole_session_is_signalled_unless_the_command_stands_alone() {
    let script = "sleep 1000 & echo $!; exec sleep 1000";
    for init in dumb_inits() {
        for (option, variable, whole) in [("-v", "1", true), ("-c", "1", false), ("-v", "0", false)] {
            let mut talker = Talker::start(init.command(&shell(&[option], script)).env("DUMB_INIT_SETSID", variable));
            let companion: i64 = talker.line().parse().unwrap();
            signal("INT", talker.pid());
            // A companion in the background of a shell ignores SIGINT; what ends it is the farewell.
            assert_eq!(code(talker.end()), 130, "{}", init.name);
            if whole {
                until("the companion ends", || !lives(companion));
            } else {
                assert!(lives(companion), "{} {option} {variable}", init.name);
                signal("KILL", companion);
            }
        }
    }
}

#[test]
fn what_is_left_when_the_command_ends_is_asked_to_end_too() {
    let script = "sleep 1000 & echo $!; exit 3";
    for init in dumb_inits() {
        for (options, asked) in [(vec![], true), (vec!["-r", "15:10"], true), (vec!["-r", "15:0"], false)] {
            let mut talker = init.talk(&shell(&options, script));
            let companion: i64 = talker.line().parse().unwrap();
            assert_eq!(code(talker.end()), 3, "{}", init.name);
            if asked {
                until("the companion ends", || !lives(companion));
            } else {
                assert!(lives(companion), "{} {options:?}", init.name);
                signal("KILL", companion);
            }
        }
    }
}

#[test]
fn the_command_leads_a_session_and_begins_with_plain_signals_unless_it_stands_alone() {
    let tell = "import os, signal; s = os.getsid(0) == os.getpid(); g = os.getpgrp() == os.getpid()
blocked = signal.pthread_sigmask(signal.SIG_BLOCK, []); print(s, g, len(blocked), flush=True)";
    let begin = "import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]); os.execv(sys.argv[1], sys.argv[1:])";
    for init in dumb_inits() {
        for (options, expected) in [(vec![], "True True 0\n"), (vec!["-c"], "False False 0\n")] {
            let words = [&options[..], &["--", "python3", "-c", tell]].concat();
            let output = init.below(&["python3", "-c", begin], &words).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{}", init.name);
        }
    }
}

#[test]
fn the_init_keeps_no_directory_busy_and_the_command_stays_in_its_own() {
    let directory = std::env::temp_dir();
    for init in dumb_inits() {
        let mut command = init.command(&shell(&[], "pwd; read line"));
        let mut talker = Talker::start(command.current_dir(&directory));
        talker.says(directory.to_str().unwrap());
        let own = format!("/proc/{}/cwd", talker.pid());
        until("it has left", || fs::read_link(&own).unwrap() == std::path::Path::new("/"));
        talker.go_on();
        assert_eq!(code(talker.end()), 0);
    }
}
