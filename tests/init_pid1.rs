//! Torus and the inits whose place it takes as PID 1 of a namespace, and on a terminal: where inits live.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use support::inits::{Init, code, dumb_inits, fresh_pids, tinis};

fn all() -> impl Iterator<Item = Init> {
    tinis().into_iter().chain(dumb_inits())
}

/// What a command prints and how it ends below an init that is PID 1.
fn as_pid_1(init: &Init, words: &[&str]) -> (String, i32) {
    let output = init.below(fresh_pids(), words).stdin(Stdio::null()).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), code(output.status))
}

#[test]
fn pid_1_exits_as_its_command_did() {
    for init in all() {
        for (script, expected) in [("exit 0", 0), ("exit 42", 42), ("kill -TERM $$", 143), ("kill -SEGV $$", 139)] {
            assert_eq!(as_pid_1(&init, &["--", "sh", "-c", script]).1, expected, "{} {script}", init.name);
        }
    }
}

#[test]
fn pid_1_hands_on_signals_that_the_kernel_would_keep_from_it() {
    let script = "import os, signal; s = [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]
signal.pthread_sigmask(signal.SIG_BLOCK, s)
for one in s: os.kill(1, one); print(int(signal.sigwait(s)))";
    for init in all() {
        assert_eq!(as_pid_1(&init, &["--", "python3", "-c", script]), ("15\n1\n10\n".into(), 0), "{}", init.name);
    }
}

#[test]
fn pid_1_collects_orphans_and_takes_the_rest_with_it() {
    // Five orphans end and are nowhere to be seen; one lives on, and ends with PID 1.
    let script = "for i in 1 2 3 4 5; do sh -c 'true & echo $! >> /proc/self/fd/9' 9>&1; done
sh -c 'sleep 1000 &'
while grep -qs '^State:.Z' /proc/[0-9]*/status; do :; done; echo none";
    for init in all() {
        let (said, code) = as_pid_1(&init, &["--", "sh", "-c", script]);
        assert!(said.ends_with("none\n"), "{}: {said}", init.name);
        assert_eq!(code, 0, "{}", init.name);
    }
}

#[test]
fn any_user_can_be_pid_1() {
    // The namespace is root's to make; where tests are not root, they are a user of their own already.
    let root = fs::read_to_string("/proc/self/status").unwrap().contains("Uid:\t0\t");
    let drop: &[&str] = if root {
        &["setpriv", "--reuid=65532", "--regid=65532", "--clear-groups", "--no-new-privs", "--"]
    } else {
        &[]
    };
    let directory = std::env::temp_dir().join(format!("torus-init-user-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["tini", "dumb-init"] {
        // A copy, since a build may lie where that user cannot read.
        let program = directory.join(name);
        fs::copy(support::TORUS, &program).unwrap();
        let words = [fresh_pids(), drop].concat();
        let output = Command::new(words[0])
            .args(&words[1..])
            .arg(&program)
            .args(["--", "sh", "-c", "id -u; exit 7"])
            .stdin(Stdio::null())
            .current_dir("/")
            .output()
            .unwrap();
        assert_eq!(code(output.status), 7, "{output:?}");
        if root {
            assert_eq!(String::from_utf8_lossy(&output.stdout), "65532\n");
        }
        assert!(output.stderr.is_empty(), "{output:?}");
    }
    fs::remove_dir_all(directory).unwrap();
}

/// Runs a command on a terminal of its own, as `docker run -it` does, and types at cues: argv[1] has them by turns, what
/// is shown and what is typed then. Prints all that the terminal showed, and how the command ended.
const TERMINAL: &str = "import os, pty, sys
pid, terminal = pty.fork()
if pid == 0: os.execvp(sys.argv[2], sys.argv[2:])
shown, cues = b'', sys.argv[1].encode().split(b'|')
while True:
    try: read = os.read(terminal, 4096)
    except OSError: break
    if not read: break
    shown += read
    if len(cues) > 1 and cues[0] in shown: os.write(terminal, cues[1]); cues = cues[2:]
print(shown.decode().replace(chr(13), ''), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))";

fn on_terminal(init: &Init, before: &[&str], cues: &str, words: &[&str]) -> String {
    let start = [&["timeout", "20", "python3", "-c", TERMINAL, cues], before].concat();
    let output = init.below(&start, words).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Where each can be tried: dumb-init gives its terminal away only where it leads the session, as in a container, and
/// unshare does below a terminal.
fn on_terminals() -> Vec<(Init, &'static [&'static str])> {
    let pid_1 = tinis().into_iter().map(|init| (init, fresh_pids()));
    pid_1.chain(all().map(|init| (init, &[][..]))).collect()
}

#[test]
fn the_command_is_the_foreground_of_the_terminal() {
    let script = "import os; print(os.tcgetpgrp(0) == os.getpgrp(), os.ctermid(), open('/dev/tty').isatty())";
    for (init, before) in on_terminals() {
        let shown = on_terminal(&init, before, "", &["--", "python3", "-c", script]);
        assert!(shown.ends_with("True /dev/tty True\n 0\n"), "{}: {shown}", init.name);
    }
}

#[test]
fn what_is_typed_reaches_the_command_and_control_c_interrupts_it() {
    for (init, before) in on_terminals() {
        // It says nothing when it is caught: a terminal throws away what is written while it handles a Control-C.
        let words = ["--", "sh", "-c", "trap 'exit 5' INT; echo ready; while :; do read l; echo got $l; done"];
        let shown = on_terminal(&init, before, "ready|hello\n|got hello|\u{3}", &words);
        assert!(shown.contains("got hello") && shown.ends_with(" 5\n"), "{}: {shown}", init.name);
    }
}

#[test]
fn an_interactive_shell_has_job_control() {
    for (init, before) in on_terminals() {
        let typed = "ready|case $- in *m*) exit 6;; esac; exit 1\n";
        let words = ["--", "sh", "-c", "PS1='ready ' exec sh -i"];
        let shown = on_terminal(&init, before, typed, &words);
        assert!(!shown.contains("job control") && shown.ends_with(" 6\n"), "{}: {shown}", init.name);
    }
}
