//! What comes after what: every name must be there, and nothing may wait for itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Service;
use crate::config::fields::Problems;
use crate::config::suggest::nearest;

/// A place in the text where a service names another one that it comes after.
#[derive(Clone, Debug)]
pub(super) struct Mention {
    pub(super) path: String,
    pub(super) line: u64,
    /// The name that is mentioned.
    pub(super) name: String,
}

/// Reports names of nobody, and circles, each once.
pub(super) fn check(services: &BTreeMap<String, Service>, mentions: &[Mention], problems: &mut Problems) {
    let names: Vec<&str> = services.keys().map(String::as_str).collect();
    for Mention { path, line, name } in mentions {
        if !services.contains_key(name) {
            let hint = nearest(name, &names).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            problems.add(*line, path, format!("there is no service {name:?} in this file{hint}"));
        }
    }
    let mut told: BTreeSet<&str> = BTreeSet::new();
    for start in &names {
        if told.contains(start) {
            continue;
        }
        let Some(circle) = circle_from(start, services) else { continue };
        told.extend(circle.iter().copied());
        let prefix = format!("services.{start}.after");
        let line = mentions.iter().find(|mention| mention.path.starts_with(&prefix)).map_or(1, |mention| mention.line);
        let walk = [circle.as_slice(), &[*start]].concat().join(" after ");
        problems.add(line, prefix, format!("waits for itself: {walk}"));
    }
}

/// The way from a service through what it comes after back to itself, if there is one.
fn circle_from<'a>(start: &'a str, services: &'a BTreeMap<String, Service>) -> Option<Vec<&'a str>> {
    let mut seen = BTreeSet::new();
    let mut ways = vec![vec![start]];
    while let Some(way) = ways.pop() {
        let last = way.last().expect("a way begins somewhere");
        for next in services.get(*last).into_iter().flat_map(|service| service.life.after.keys()) {
            if next == start {
                return Some(way);
            }
            if seen.insert(next.as_str()) {
                ways.push([way.as_slice(), &[next.as_str()]].concat());
            }
        }
    }
    None
}
