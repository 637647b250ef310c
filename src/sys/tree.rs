//! The tree of processes below us, as /proc shows it: what a service started and left behind.
//!
//! A process that leaves its group is not reached by a signal to that group. When its parent ends it becomes ours, and
//! is known by the environment that it was started with.

use std::collections::BTreeSet;
use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

/// Processes that one walk looks at; a tree that is larger is walked again by whoever waits for its end.
const WALK_MAX: usize = 65_536;

/// Our own children, dead ones that nobody collected yet included.
pub fn children() -> Vec<Pid> {
    children_of(getpid())
}

/// All that a process started, directly or not, and that has not become an orphan.
pub fn descendants(of: Pid) -> Vec<Pid> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::from([of]);
    let mut next = vec![of];
    while let Some(parent) = next.pop() {
        for child in children_of(parent) {
            if found.len() < WALK_MAX && seen.insert(child) {
                found.push(child);
                next.push(child);
            }
        }
    }
    found
}

/// Whether a process descends from another one, as long as all between them live.
pub fn descends(process: Pid, from: Pid) -> bool {
    let mut at = process;
    for _ in 0..WALK_MAX {
        if at == from {
            return true;
        }
        match parent_of(at) {
            Some(parent) if parent.as_raw() > 0 => at = parent,
            _ => return false,
        }
    }
    false
}

/// Whether a process was started with all these variables, `NAME=value` each.
pub fn has_variables(process: Pid, variables: &[&str]) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{process}/environ")) else { return false };
    let found: BTreeSet<&[u8]> = environment.split(|byte| *byte == 0).collect();
    variables.iter().all(|variable| found.contains(variable.as_bytes()))
}

/// Whether a process has ended, and only waits to be collected.
pub fn is_dead(process: Pid) -> bool {
    stat(process).is_none_or(|(state, _)| matches!(state, 'Z' | 'X'))
}

/// Ends a process and all that it started.
pub fn kill_all_of(process: Pid) {
    // Its children first become known, then it ends: the other way round they would be orphans.
    let below = descendants(process);
    for pid in std::iter::once(process).chain(below) {
        let _ = kill(pid, Signal::SIGKILL);
    }
}

fn children_of(process: Pid) -> Vec<Pid> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    let mut children: Vec<i32> = Vec::new();
    for task in tasks.flatten() {
        match fs::read_to_string(task.path().join("children")) {
            Ok(text) => children.extend(text.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok())),
            // The task has ended; or the kernel has no such file (CONFIG_PROC_CHILDREN).
            Err(_) if fs::exists("/proc/thread-self/children").unwrap_or(false) => {}
            Err(_) => return children_by_parent(process),
        }
    }
    children.into_iter().map(Pid::from_raw).collect()
}

fn children_by_parent(process: Pid) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Pid::from_raw);
    pids.filter(|pid| parent_of(*pid) == Some(process)).collect()
}

fn parent_of(process: Pid) -> Option<Pid> {
    stat(process).map(|(_, parent)| parent)
}

/// State and parent of a process (proc_pid_stat(5)). Its name, in parentheses, may hold anything.
fn stat(process: Pid) -> Option<(char, Pid)> {
    let text = fs::read(format!("/proc/{process}/stat")).ok()?;
    let after = text.iter().rposition(|byte| *byte == b')')?;
    let text = String::from_utf8_lossy(&text[after + 1..]).into_owned();
    let mut words = text.split_ascii_whitespace();
    Some((words.next()?.chars().next()?, Pid::from_raw(words.next()?.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_grandchild_is_found_and_ends_with_the_whole_tree() {
        let script = "setsid sleep 1000 & echo $!; wait";
        let mut shell =
            Command::new("sh").args(["-c", script]).env("TREE_TEST", "a=b").stdout(Stdio::piped()).spawn().unwrap();
        let root = Pid::from_raw(shell.id() as i32);
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(shell.stdout.take().unwrap()), &mut line).unwrap();
        let sleeper = Pid::from_raw(line.trim().parse().unwrap());
        assert_eq!(descendants(root), [sleeper]);
        assert!(children().contains(&root) && children_by_parent(getpid()).contains(&root));
        assert!(descends(sleeper, getpid()) && !descends(getpid(), sleeper));
        assert!(has_variables(sleeper, &["TREE_TEST=a=b"]) && !has_variables(sleeper, &["TREE_TEST=a"]));
        kill_all_of(root);
        shell.wait().unwrap();
        while !is_dead(sleeper) {
            std::thread::yield_now();
        }
    }
}
