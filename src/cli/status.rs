//! `torus status`: the services and counters, as a table for people or as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::{escape, fail, print};
use crate::control::{ServiceStatus, Status, client};
use crate::sys::runtime::Directory;

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &StatusArgs, runtime_directory: &Directory) -> ExitCode {
    let status = match client::status(runtime_directory) {
        Ok(status) => status,
        Err(error) => return fail(error),
    };
    let text = if arguments.json {
        serde_json::to_string(&status).expect("text and numbers are always JSON") + "\n"
    } else {
        table(&status)
    };
    print(&text)
}

/// The groups of counters, in the order in which they are read, each with its members; what fits none comes after.
const GROUPS: [(&str, &[&str]); 4] = [
    ("peers", &["clients", "backends"]),
    ("requests", &["requests", "replies"]),
    ("in flight", &["waiting", "in_hand", "replies_queued"]),
    ("lost", &["lost."]),
];

/// The groups of counters that tell what went wrong.
const MISHAPS: [&str; 3] = ["lost.", "dropped.", "refused."];

fn table(status: &Status) -> String {
    let mut text = format!(
        "torus {}, version {}, pid {}, up {}\n",
        escape::line(&status.state),
        escape::line(&status.torus),
        status.pid,
        duration(status.uptime_ms)
    );
    let endpoints = &status.endpoints;
    for (whom, endpoint) in [("clients", &endpoints.requests_front), ("back-ends", &endpoints.requests_back)] {
        if let Some(endpoint) = endpoint {
            let _ = writeln!(text, "requests for {whom}: {}", escape::line(endpoint));
        }
    }
    text.push('\n');
    text.push_str(&services(&status.services));
    for (worker, counters) in &status.counters {
        let _ = writeln!(text, "\n{}", escape::line(worker));
        text.push_str(&grouped(counters));
    }
    if status.orphans_reaped > 0 {
        let _ = writeln!(text, "\norphans reaped: {}", status.orphans_reaped);
    }
    if status.discarded_bytes > 0 {
        let _ = writeln!(text, "\ndiscarded without a log worker: {} bytes", status.discarded_bytes);
    }
    text
}

/// Services as a table, with what is to be said about them below.
pub(super) fn services(services: &[ServiceStatus]) -> String {
    let rows: Vec<[String; 7]> = std::iter::once(header()).chain(services.iter().map(row)).collect();
    aligned(&rows) + &remarks(services)
}

fn header() -> [String; 7] {
    ["SERVICE", "KIND", "STATE", "PID", "UPTIME", "RESTARTS", "LAST EXIT"].map(str::to_owned)
}

/// A line for each thing that the table has no column for.
fn remarks(services: &[ServiceStatus]) -> String {
    let mut text = String::new();
    for service in services {
        let name = format!("{}/{}", service.name, service.instance);
        let due = service.due_in_ms.iter().map(|ms| format!("started again in {}", duration(*ms)));
        let waits = service.waits_for.iter().map(|what| format!("waits for {what}"));
        let old = service.old_configuration.iter().map(|why| format!("old configuration: {why}"));
        let says = service.says.iter().map(|what| format!("says: {what}"));
        let warnings = service.warnings.iter().map(|what| format!("warning: {what}"));
        for remark in due.chain(waits).chain(old).chain(says).chain(warnings) {
            let _ = writeln!(text, "{}", escape::line(&format!("{name}: {remark}")));
        }
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

fn row(service: &ServiceStatus) -> [String; 7] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        format!("{}/{}", service.name, service.instance),
        service.kind.clone(),
        service.state.clone(),
        or_dash(service.pid.map(|pid| pid.to_string())),
        or_dash(service.uptime_ms.map(duration)),
        service.restarts.to_string(),
        or_dash(service.last_exit.as_ref().map(ToString::to_string)),
    ]
    .map(|cell| escape::line(&cell))
}

fn aligned<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

/// A line for each group: `lost       backend gone 3, expired 1`. Of what went wrong, only what did is told: there are
/// many ways, and most never happen.
fn grouped(counters: &BTreeMap<String, u64>) -> String {
    let told = |name: &str, value: u64| value > 0 || !MISHAPS.iter().any(|group| is_under(name, group));
    let mut rest: BTreeMap<&str, u64> = counters
        .iter()
        .map(|(name, value)| (name.as_str(), *value))
        .filter(|(name, value)| told(name, *value))
        .collect();
    let mut lines: Vec<(String, Vec<String>)> = Vec::new();
    for (group, members) in GROUPS {
        let mut cells = Vec::new();
        for member in members {
            let names: Vec<&str> =
                rest.keys().copied().filter(|name| name == member || is_under(name, member)).collect();
            for name in names {
                let value = rest.remove(name).unwrap_or_default();
                cells.push(format!("{} {value}", name.strip_prefix("lost.").unwrap_or(name).replace('_', " ")));
            }
        }
        if group == "lost" && cells.is_empty() {
            cells.push("none".to_owned());
        }
        lines.push((group.to_owned(), cells));
    }
    for (name, value) in rest {
        let (group, member) = name.split_once('.').unwrap_or(("other", name));
        let cell = format!("{} {value}", member.replace('_', " "));
        match lines.iter_mut().find(|(known, _)| known == group) {
            Some((_, cells)) => cells.push(cell),
            None => lines.push((group.to_owned(), vec![cell])),
        }
    }
    let lines = lines.into_iter().filter(|(_, cells)| !cells.is_empty());
    lines.fold(String::new(), |text, (group, cells)| text + &format!("  {group:<10} {}\n", cells.join(", ")))
}

fn is_under(name: &str, group: &str) -> bool {
    group.ends_with('.') && name.starts_with(group)
}

/// Two units at most: `480 ms`, `12.3 s`, `5 min 12 s`, `3 h 7 min`, `2 d 4 h`.
fn duration(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{}.{} s", seconds, ms % 1_000 / 100),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Endpoints, LastExit, VERSION};

    #[test]
    fn the_table_is_for_people() {
        let service = |name: &str, instance, kind: &str, pid: Option<i32>, restarts, last_exit| ServiceStatus {
            name: name.into(),
            instance,
            kind: kind.into(),
            state: if pid.is_some() { "running" } else { "waiting" }.into(),
            pid,
            uptime_ms: pid.map(|_| 312_000),
            restarts,
            last_exit,
            due_in_ms: None,
            waits_for: None,
            old_configuration: None,
            says: None,
            warnings: Vec::new(),
        };
        let counters = [
            ("backends", 2),
            ("clients", 64),
            ("dropped.unsolicited_reply", 1),
            ("in_hand", 3),
            ("lost.backend_gone", 7),
            ("lost.expired", 0),
            ("refused.bad_greeting", 12),
            ("replies", 990),
            ("requests", 1_000),
            ("waiting", 0),
        ];
        let status = Status {
            version: VERSION,
            torus: "1.2.3".into(),
            pid: 100,
            uptime_ms: 11_520_000,
            state: "degraded".into(),
            endpoints: Endpoints {
                requests_front: Some("tcp://127.0.0.1:5555".into()),
                requests_back: Some("tcp://127.0.0.1:5556".into()),
            },
            services: vec![
                service("requests", 1, "requests", Some(101), 0, None),
                service("hello", 1, "hello", Some(12_345), 3, Some(LastExit::Signal(9))),
                service("hello", 2, "hello", None, 4, Some(LastExit::Code(1))),
            ],
            counters: [("requests".into(), counters.map(|(name, value)| (name.into(), value)).into())].into(),
            orphans_reaped: 2,
            discarded_bytes: 65_536,
        };
        insta::assert_snapshot!(table(&status), @r"
        torus degraded, version 1.2.3, pid 100, up 3 h 12 min
        requests for clients: tcp://127.0.0.1:5555
        requests for back-ends: tcp://127.0.0.1:5556

        SERVICE     KIND      STATE    PID    UPTIME      RESTARTS  LAST EXIT
        requests/1  requests  running  101    5 min 12 s  0         -
        hello/1     hello     running  12345  5 min 12 s  3         signal 9 (SIGKILL)
        hello/2     hello     waiting  -      -           4         code 1

        requests
          peers      clients 64, backends 2
          requests   requests 1000, replies 990
          in flight  waiting 0, in hand 3
          lost       backend gone 7
          dropped    unsolicited reply 1
          refused    bad greeting 12

        orphans reaped: 2

        discarded without a log worker: 65536 bytes
        ");
    }

    #[test]
    fn nothing_that_a_service_is_called_or_ended_by_forges_a_line_or_commands_the_terminal() {
        let service = ServiceStatus {
            name: "na\u{1b}me".into(),
            instance: 1,
            kind: "ki\nnd".into(),
            state: "waiting".into(),
            pid: None,
            uptime_ms: None,
            restarts: 0,
            last_exit: Some(LastExit::NotStarted("no\rpe".into())),
            due_in_ms: Some(40_000),
            waits_for: Some("a\u{1b}b to be ready".into()),
            old_configuration: Some("changed: what it runs".into()),
            says: Some("well\nenough".into()),
            warnings: vec!["wa\nrn".into()],
        };
        assert_eq!(remarks(std::slice::from_ref(&service)).lines().count(), 6);
        assert!(!remarks(std::slice::from_ref(&service)).contains('\u{1b}'));
        let cells = row(&service);
        assert_eq!((&*cells[0], &*cells[1]), (r"na\u{1b}me/1", r"ki\nnd"));
        assert!(cells[6].contains(r"no\rpe"), "{}", cells[6]);
    }

    #[test]
    fn durations_have_two_units_at_most() {
        let told = [480, 12_345, 312_000, 11_220_000, 187_200_000].map(duration);
        assert_eq!(told, ["480 ms", "12.3 s", "5 min 12 s", "3 h 7 min", "2 d 4 h"]);
    }
}
