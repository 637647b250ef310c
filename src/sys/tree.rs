//! The tree of processes below us, as /proc shows it: what a service started and left behind.
//!
//! A process that leaves its group is not reached by a signal to that group. When its parent ends it becomes ours, and
//! is known by the environment that it was started with.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

use super::identity;

/// Processes that one walk looks at; a tree that is larger is walked again by whoever waits for its end.
const WALK_MAX: usize = 65_536;

/// Generations between a process and the one that it belongs to. Whoever has more is not looked after any further: to
/// look takes time, and everybody decides for himself how many he has.
const BELONG_MAX: usize = 64;

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

/// Whether a process is another one, descends from it, or is of those who lost their parent and were started with all
/// these variables. `None` when nobody can tell: it has ended, or our namespace's /proc is not to be read.
pub fn belongs(process: Pid, to: Pid, variables: &[&str]) -> Option<bool> {
    if process == to {
        return Some(true);
    }
    // Of somebody outside our namespace the kernel says 0.
    if process.as_raw() <= 0 {
        return Some(false);
    }
    let us = getpid();
    fs::read_link("/proc/self").ok().filter(|own| own.as_os_str().to_str() == Some(&us.to_string()))?;
    let mut at = process;
    for _ in 0..BELONG_MAX {
        match stat(at) {
            None if at == process => return None,
            // Its children have another parent by now.
            None => at = process,
            Some(known) if known.parent == to => return Some(true),
            // Who is dead shows no environment.
            Some(known) if known.parent == us && at == process && !known.lives() => return None,
            Some(known) if known.parent == us => return Some(has_variables(at, variables)),
            Some(known) if known.parent.as_raw() <= 0 => return Some(false),
            Some(known) => at = known.parent,
        }
    }
    Some(false)
}

/// Whether a process was started with all these variables, `NAME=value` each.
pub fn has_variables(process: Pid, variables: &[&str]) -> bool {
    let path = format!("/proc/{process}/environ");
    // Root needs CAP_SYS_PTRACE to look at another user's, which containers seldom give; that user needs nothing.
    let environment = fs::read(&path).or_else(|cause| match (cause.kind(), fs::metadata(&path)) {
        (io::ErrorKind::PermissionDenied, Ok(owner)) => {
            identity::with_eyes_of(owner.uid(), owner.gid(), || fs::read(&path))
        }
        _ => Err(cause),
    });
    let Ok(environment) = environment else { return false };
    let found: BTreeSet<&[u8]> = environment.split(|byte| *byte == 0).collect();
    variables.iter().all(|variable| found.contains(variable.as_bytes()))
}

/// Whether a process has ended, and only waits to be collected.
pub fn is_dead(process: Pid) -> bool {
    stat(process).is_none_or(|stat| !stat.lives())
}

/// Whether a process lives, is another user's whom we may not signal, and is not to be seen (proc(5), hidepid=).
pub fn is_hidden(process: Pid) -> bool {
    stat(process).is_none() && kill(process, None) == Err(Errno::EPERM)
}

/// Ends a process and all that it started.
pub fn kill_all_of(process: Pid) {
    // Whoever is stopped starts nobody any more: a fork that a signal interrupts is undone. So the list that is read
    // afterwards is whole, even of those who fork without end. Killed first, it would leave orphans.
    let mut all = BTreeSet::from([process]);
    let mut next = vec![process];
    while let Some(one) = next.pop() {
        let _ = kill(one, Signal::SIGSTOP);
        let new = children_of(one).into_iter().filter(|child| all.len() < WALK_MAX && all.insert(*child));
        next.extend(new.collect::<Vec<_>>());
    }
    for pid in all {
        let _ = kill(pid, Signal::SIGKILL);
    }
}

/// Whoever else lives and is ours to end before we do: all that descends from us; as PID 1 everybody in our namespace,
/// those too whom somebody put into it from outside.
pub fn everybody_else() -> Vec<Pid> {
    let us = getpid();
    // A /proc of another namespace has other numbers.
    let everybody = us.as_raw() == 1 && fs::read_link("/proc/self").is_ok_and(|own| own.as_os_str() == "1");
    let all = if everybody { processes() } else { descendants(us) };
    all.into_iter()
        .filter(|pid| *pid != us && stat(*pid).is_some_and(|stat| stat.lives() && !stat.is_kernels()))
        .collect()
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
    processes().into_iter().filter(|pid| parent_of(*pid) == Some(process)).collect()
}

fn processes() -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Pid::from_raw).collect()
}

fn parent_of(process: Pid) -> Option<Pid> {
    stat(process).map(|stat| stat.parent)
}

/// A part of /proc/PID/stat (proc_pid_stat(5)).
struct Stat {
    state: char,
    parent: Pid,
    flags: u32,
}

impl Stat {
    fn lives(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }

    /// Whether it is a thread of the kernel, which nobody can end (PF_KTHREAD).
    fn is_kernels(&self) -> bool {
        self.flags & 0x0020_0000 != 0
    }
}

fn stat(process: Pid) -> Option<Stat> {
    let text = fs::read(format!("/proc/{process}/stat")).ok()?;
    // Its name, in parentheses, may hold anything.
    let after = text.iter().rposition(|byte| *byte == b')')?;
    let text = String::from_utf8_lossy(&text[after + 1..]).into_owned();
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let [state, parent, _group, _session, _terminal, _foreground, flags, ..] = words[..] else { return None };
    Some(Stat { state: state.chars().next()?, parent: Pid::from_raw(parent.parse().ok()?), flags: flags.parse().ok()? })
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
        assert_eq!(belongs(root, root, &[]), Some(true));
        assert_eq!(belongs(sleeper, root, &[]), Some(true));
        assert_eq!(belongs(root, sleeper, &["TREE_TEST=c"]), Some(false), "the other way round");
        assert_eq!(belongs(root, sleeper, &["TREE_TEST=a=b"]), Some(true), "our child, with its mark");
        assert_eq!(belongs(Pid::from_raw(0), root, &[]), Some(false), "nobody of ours");
        assert!(has_variables(sleeper, &["TREE_TEST=a=b"]) && !has_variables(sleeper, &["TREE_TEST=a"]));
        kill_all_of(root);
        shell.wait().unwrap();
        assert_eq!(belongs(root, getpid(), &[]), None, "who is gone");
        while !is_dead(sleeper) {
            std::thread::yield_now();
        }
    }
}
