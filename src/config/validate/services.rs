//! The section `services`: what else runs, by name.

use std::collections::BTreeMap;

use super::confine::confine;
use crate::config::fields::{Fields, Problems, entries, found, join};
use crate::config::tree::{Node, Value};
use crate::config::{RestartPolicy, Service, ServiceKind};

use super::circles::{self, Mention};
use super::life;

/// Processes of one service.
const INSTANCES_MAX: u32 = 1_000;
/// Characters of a service's name.
const NAME_CHARS_MAX: usize = 32;
/// The built-in workers that a service may name.
const SERVICE_WORKERS: [&str; 1] = ["hello"];
/// Names that belong to the bus workers.
const RESERVED_NAMES: [&str; 2] = ["requests", "log"];

/// The services that can run; the others are among the problems.
pub(super) fn services(node: &Node, policy: &RestartPolicy, problems: &mut Problems) -> BTreeMap<String, Service> {
    let mut services = BTreeMap::new();
    let mut after = Vec::new();
    for (key, node) in entries("services", node, problems).unwrap_or_default() {
        let path = join("services", &key.text);
        let name_is_good = (1..=NAME_CHARS_MAX).contains(&key.text.len())
            && key.text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if !name_is_good {
            let message = format!("not a service's name: 1 to {NAME_CHARS_MAX} of a to z, 0 to 9 and -");
            problems.add(key.line, &path, message);
        }
        if RESERVED_NAMES.contains(&key.text.as_str()) {
            problems.add(key.line, &path, "the name belongs to a worker of torus itself");
        }
        let entry = Entry { path: &path, line: key.line, policy };
        if let Some(service) = service(&entry, node, &mut after, problems) {
            services.insert(key.text.clone(), service);
        }
    }
    circles::check(&services, &after, problems);
    services
}

/// Where a service stands in the text, and what holds for all.
struct Entry<'a> {
    path: &'a str,
    line: u64,
    policy: &'a RestartPolicy,
}

fn service(entry: &Entry<'_>, node: &Node, after: &mut Vec<Mention>, problems: &mut Problems) -> Option<Service> {
    let Entry { path, line, policy } = *entry;
    let mut fields = Fields::open(path, node, problems)?;
    let instances = fields.number("instances", "a number of processes", 1..=INSTANCES_MAX, 1, problems).value;
    let kind = match (fields.take("worker"), fields.take("command")) {
        (Some(node), None) => worker(&fields.path("worker"), node, problems),
        (None, Some(node)) => words(&fields.path("command"), node, problems).map(ServiceKind::Command),
        (Some(_), Some(_)) => {
            problems.add(line, path, "has both worker and command; keep one");
            None
        }
        (None, None) => {
            problems.add(line, path, "says nothing to run; name worker or command");
            None
        }
    };
    let built_in = matches!(kind, Some(ServiceKind::Worker(_)));
    let life = life::life(&mut fields, policy, built_in, after, problems);
    let confine = confine(&mut fields, policy.sandbox, problems);
    fields.finish(problems);
    Some(Service { kind: kind?, instances, life, confine })
}

fn worker(path: &str, node: &Node, problems: &mut Problems) -> Option<ServiceKind> {
    if let Value::Text(name) = &node.value
        && SERVICE_WORKERS.contains(&name.as_str())
    {
        return Some(ServiceKind::Worker(name.clone()));
    }
    let known = SERVICE_WORKERS.join(", ");
    problems.add(node.line, path, format!("{} is not a built-in worker; known: {known}", found(&node.value)));
    None
}

/// An argument vector.
pub(super) fn words(path: &str, node: &Node, problems: &mut Problems) -> Option<Vec<String>> {
    let Value::Sequence(nodes) = &node.value else {
        let message = format!("{} is not a list; write [program, argument, ...]", found(&node.value));
        problems.add(node.line, path, message);
        return None;
    };
    let arguments: Vec<Option<&str>> =
        nodes.iter().enumerate().map(|(index, node)| argument(&format!("{path}[{index}]"), node, problems)).collect();
    match arguments.first() {
        None => problems.add(node.line, path, "an empty list is no command; write [program, argument, ...]"),
        Some(Some("")) => problems.add(nodes[0].line, format!("{path}[0]"), "an empty text is no program"),
        Some(_) => {}
    }
    let words: Option<Vec<String>> = arguments.into_iter().map(|argument| argument.map(str::to_owned)).collect();
    words.filter(|words| words.first().is_some_and(|program| !program.is_empty()))
}

fn argument<'a>(path: &str, node: &'a Node, problems: &mut Problems) -> Option<&'a str> {
    match &node.value {
        Value::Text(text) if text.contains('\0') => {
            problems.add(node.line, path, "an argument cannot hold a NUL character");
            None
        }
        Value::Text(text) => Some(text),
        value @ (Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Null) => {
            problems.add(node.line, path, format!("{} is not text; write it in quotes", found(value)));
            None
        }
        value @ (Value::Sequence(_) | Value::Mapping(_)) => {
            problems.add(node.line, path, format!("{} is not text", found(value)));
            None
        }
    }
}
