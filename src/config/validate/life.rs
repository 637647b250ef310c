//! The keys of a service's life: `after`, `ready`, `watchdog`, `restart`, `stop`, `essential`.

use std::collections::{BTreeMap, BTreeSet};

use super::bound::{Bound, milliseconds};
use super::circles::Mention;
use super::services::words;
use crate::config::RestartPolicy;
use crate::config::fields::{Fields, Problems, entries, found, join};
use crate::config::life::{
    After, Backoff, Budget, Life, Probe, Ready, ReadyBy, Restart, Stop, Success, Then, Watchdog, When,
};
use crate::config::tree::{Node, Value};

/// Restarts that any budget may allow.
const RESTARTS_MAX: u32 = 1_000_000;
/// Descriptors that a program may be told of: the standard three are taken, and nobody counts further.
const READY_FDS: std::ops::RangeInclusive<u32> = 3..=255;
/// Signals by their numbers, as on every machine that Torus runs on.
const SIGNALS: [(&str, u8); 29] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("SYS", 31),
];

/// The life of the service whose keys these are; what it comes after is also noted in `mentions`.
pub(super) fn life(
    fields: &mut Fields<'_>,
    policy: &RestartPolicy,
    built_in: bool,
    mentions: &mut Vec<Mention>,
    problems: &mut Problems,
) -> Life {
    let essential = fields.boolean("essential", false, problems);
    let path = fields.path("after");
    let after = fields.take("after").map(|node| after(&path, node, mentions, problems)).unwrap_or_default();
    let path = fields.path("ready");
    // A built-in worker says itself when it is ready. One that has nowhere to connect yet may take for ever.
    let default = if built_in { Ready { timeout_ms: 0, ..Ready::default() } } else { Ready::default() };
    let ready = match fields.take("ready") {
        Some(node) => {
            let ready = ready(&path, node, default, problems);
            if built_in && ready.by != ReadyBy::Started {
                problems.add(node.line, path, "a built-in worker says itself when it is ready");
            }
            ready
        }
        None => default,
    };
    let path = fields.path("watchdog");
    let watchdog_line = fields.line_of("watchdog");
    let watchdog = fields.take("watchdog").and_then(|node| watchdog(&path, node, problems));
    if built_in && let Some(line) = watchdog_line {
        problems.add(line, fields.path("watchdog"), "a built-in worker gives no signs of life to be waited for");
    }
    let path = fields.path("restart");
    let restart = restart(&path, fields.take("restart"), policy, essential, problems);
    let path = fields.path("stop");
    let stop = fields.take("stop").map(|node| stop(&path, node, problems)).unwrap_or_default();
    Life { after, ready, watchdog, restart, stop, essential }
}

/// A list of names (which are to be ready), or a mapping of names to conditions.
fn after(path: &str, node: &Node, mentions: &mut Vec<Mention>, problems: &mut Problems) -> BTreeMap<String, After> {
    let mut after = BTreeMap::new();
    let mut mention = |name: &str, line, condition| {
        mentions.push(Mention { path: join(path, name), line, name: name.to_owned() });
        after.insert(name.to_owned(), condition);
    };
    match &node.value {
        Value::Sequence(nodes) => {
            for (index, node) in nodes.iter().enumerate() {
                match &node.value {
                    Value::Text(name) => mention(name, node.line, After::Ready),
                    other => problems.add(
                        node.line,
                        format!("{path}[{index}]"),
                        format!("{} is not a service's name", found(other)),
                    ),
                }
            }
        }
        Value::Mapping(_) => {
            for (key, node) in entries(path, node, problems).unwrap_or_default() {
                let known = [("started", After::Started), ("ready", After::Ready), ("completed", After::Completed)];
                if let Some(condition) = one_of(&join(path, &key.text), node, &known, problems) {
                    mention(&key.text, key.line, condition);
                }
            }
        }
        other => {
            let hint = "write [NAME, ...], or { NAME: started|ready|completed }";
            problems.add(node.line, path, format!("{} is not a list of services; {hint}", found(other)));
        }
    }
    after
}

fn ready(path: &str, node: &Node, default: Ready, problems: &mut Problems) -> Ready {
    if let Value::Text(_) = node.value {
        let known = [("started", ReadyBy::Started), ("notify", ReadyBy::Notify)];
        return Ready { by: one_of(path, node, &known, problems).unwrap_or(ReadyBy::Started), ..default };
    }
    let Some(mut fields) = Fields::open(path, node, problems) else { return default };
    let mut given = Vec::new();
    for (key, by) in [("started", ReadyBy::Started), ("notify", ReadyBy::Notify)] {
        if fields.boolean(key, false, problems) {
            given.push(by);
        }
    }
    if let Some(line) = fields.line_of("fd") {
        let fd = fields.number("fd", "a descriptor", READY_FDS, *READY_FDS.start(), problems);
        given.extend((fd.line == Some(line)).then_some(ReadyBy::Fd(fd.value)));
    }
    given.extend(probe(&mut fields, problems).map(|probe| match probe {
        Probe::Tcp(address) => ReadyBy::Tcp(address),
        Probe::Exec(words) => ReadyBy::Exec(words),
    }));
    let timeout_ms = milliseconds(&mut fields, "timeout_ms", 0, default.timeout_ms, problems);
    let interval_ms = milliseconds(&mut fields, "interval_ms", 10, default.interval_ms, problems);
    fields.finish(problems);
    if given.len() > 1 {
        problems.add(node.line, path, "says more than one way to be ready; keep one");
    }
    Ready { by: given.into_iter().next().unwrap_or(ReadyBy::Started), timeout_ms, interval_ms }
}

fn watchdog(path: &str, node: &Node, problems: &mut Problems) -> Option<Watchdog> {
    let default = Watchdog::default();
    let mut fields = Fields::open(path, node, problems)?;
    let probe = probe(&mut fields, problems);
    let timeout = Bound::milliseconds(&mut fields, "timeout_ms", default.timeout_ms, problems);
    let mut interval = Bound::milliseconds(&mut fields, "interval_ms", default.interval_ms, problems);
    interval.at_most(&timeout, problems);
    fields.finish(problems);
    Some(Watchdog { timeout_ms: timeout.given.value, interval_ms: interval.given.value, probe })
}

fn probe(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Probe> {
    let tcp_path = fields.path("tcp");
    let tcp = fields.take("tcp").and_then(|node| {
        let address = match &node.value {
            Value::Text(text) => text.parse::<std::net::SocketAddr>().ok().map(|_| text.clone()),
            _ => None,
        };
        if address.is_none() {
            let message = format!("{} is not an address and port; write 127.0.0.1:8080", found(&node.value));
            problems.add(node.line, &tcp_path, message);
        }
        address
    });
    let exec_path = fields.path("exec");
    let exec_node = fields.take("exec");
    let exec = exec_node.and_then(|node| words(&exec_path, node, problems));
    if let (Some(_), Some(node)) = (&tcp, exec_node) {
        problems.add(node.line, exec_path, "a probe is either tcp or exec; keep one");
    }
    tcp.map(Probe::Tcp).or(exec.map(Probe::Exec))
}

fn restart(
    path: &str,
    node: Option<&Node>,
    policy: &RestartPolicy,
    essential: bool,
    problems: &mut Problems,
) -> Restart {
    let default = Restart {
        healthy_after_ms: policy.healthy_after_ms,
        backoff: Backoff { ms_min: policy.backoff_ms_min, ms_max: policy.backoff_ms_max },
        then: if essential { Then::Fail } else { Then::Quarantine },
        ..Restart::default()
    };
    let whens = [("always", When::Always), ("on-failure", When::OnFailure), ("never", When::Never)];
    let Some(node) = node else { return default };
    if let Value::Text(_) = node.value {
        return Restart { when: one_of(path, node, &whens, problems).unwrap_or_default(), ..default };
    }
    let Some(mut fields) = Fields::open(path, node, problems) else { return default };
    let mut choose = |key, known: &[(&str, When)], default: When| {
        let path = fields.path(key);
        fields.take(key).and_then(|node| one_of(&path, node, known, problems)).unwrap_or(default)
    };
    let when = choose("when", &whens, default.when);
    let thens = [("quarantine", Then::Quarantine), ("fail", Then::Fail)];
    let path = fields.path("then");
    let then = fields.take("then").and_then(|node| one_of(&path, node, &thens, problems)).unwrap_or(default.then);
    let path = fields.path("success");
    let success = fields.take("success").map(|node| success(&path, node, problems)).unwrap_or(default.success);
    let path = fields.path("backoff");
    let backoff = fields.take("backoff").map(|node| backoff(&path, node, &default.backoff, problems));
    let path = fields.path("limit");
    let limit = match fields.take("limit") {
        None => default.limit,
        Some(Node { value: Value::Text(text), .. }) if text == "none" => None,
        Some(node) => limit(&path, node, problems),
    };
    let healthy_after_ms = milliseconds(&mut fields, "healthy_after_ms", 1, default.healthy_after_ms, problems);
    let quarantine_ms = milliseconds(&mut fields, "quarantine_ms", 1, default.quarantine_ms, problems);
    fields.finish(problems);
    Restart { when, success, healthy_after_ms, backoff: backoff.unwrap_or(default.backoff), limit, then, quarantine_ms }
}

fn backoff(path: &str, node: &Node, default: &Backoff, problems: &mut Problems) -> Backoff {
    let Some(mut fields) = Fields::open(path, node, problems) else { return default.clone() };
    let max = Bound::milliseconds(&mut fields, "ms_max", default.ms_max, problems);
    let mut min = Bound::milliseconds(&mut fields, "ms_min", default.ms_min, problems);
    min.at_most(&max, problems);
    fields.finish(problems);
    Backoff { ms_min: min.given.value, ms_max: max.given.value }
}

fn limit(path: &str, node: &Node, problems: &mut Problems) -> Option<Budget> {
    let mut fields = Fields::open(path, node, problems)?;
    let restarts = fields.number("restarts", "a count", 0..=RESTARTS_MAX, 60, problems).value;
    let window_ms = milliseconds(&mut fields, "window_ms", 1, 60_000, problems);
    fields.finish(problems);
    Some(Budget { restarts, window_ms })
}

fn success(path: &str, node: &Node, problems: &mut Problems) -> Success {
    let default = Restart::default().success;
    let Some(mut fields) = Fields::open(path, node, problems) else { return default };
    let mut numbers = |key, read: fn(&Value) -> Option<u8>, noun: &str, default| {
        let path = fields.path(key);
        let Some(node) = fields.take(key) else { return default };
        let Value::Sequence(nodes) = &node.value else {
            problems.add(node.line, path, format!("{} is not a list of {noun}s", found(&node.value)));
            return default;
        };
        let mut numbers = BTreeSet::new();
        for (index, node) in nodes.iter().enumerate() {
            match read(&node.value) {
                Some(number) => drop(numbers.insert(number)),
                None => problems.add(
                    node.line,
                    format!("{path}[{index}]"),
                    format!("{} is not {} {noun}", found(&node.value), if noun.starts_with('e') { "an" } else { "a" }),
                ),
            }
        }
        numbers
    };
    let codes = numbers("codes", exit_code, "exit code", default.codes);
    let signals = numbers("signals", signal, "signal", default.signals);
    fields.finish(problems);
    Success { codes, signals }
}

fn stop(path: &str, node: &Node, problems: &mut Problems) -> Stop {
    let default = Stop::default();
    let Some(mut fields) = Fields::open(path, node, problems) else { return default };
    let signal_path = fields.path("signal");
    let signal = fields.take("signal").map_or(default.signal, |node| match signal(&node.value) {
        Some(number) => number.into(),
        None => {
            problems.add(node.line, signal_path, format!("{} is not a signal; write TERM", found(&node.value)));
            default.signal
        }
    });
    let timeout_ms = milliseconds(&mut fields, "timeout_ms", 1, default.timeout_ms, problems);
    fields.finish(problems);
    Stop { signal, timeout_ms }
}

fn exit_code(value: &Value) -> Option<u8> {
    match value {
        Value::Integer(number) => u8::try_from(*number).ok(),
        _ => None,
    }
}

/// A signal by its name, with or without `SIG`, or by its number.
fn signal(value: &Value) -> Option<u8> {
    match value {
        Value::Integer(number) => u8::try_from(*number).ok().filter(|number| (1..=64).contains(number)),
        Value::Text(text) => {
            let name = text.strip_prefix("SIG").unwrap_or(text);
            SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
        }
        _ => None,
    }
}

fn one_of<T: Clone>(path: &str, node: &Node, known: &[(&str, T)], problems: &mut Problems) -> Option<T> {
    if let Value::Text(text) = &node.value
        && let Some((_, value)) = known.iter().find(|(name, _)| name == text)
    {
        return Some(value.clone());
    }
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    problems.add(node.line, path, format!("{} is none of {}", found(&node.value), names.join(", ")));
    None
}
