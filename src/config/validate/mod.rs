//! The tree to a valid [`Config`]: every rule about keys and values, and about what must fit together.

mod bound;
mod bus;
mod circles;
mod confine;
mod life;
mod logs;
mod services;

use super::fields::{Fields, Problems, found};
use super::tree::{Node, Value};
use super::{Config, Preflight, Problem, RestartPolicy, Sandbox};
use bound::{Bound, milliseconds};

/// Makes a configuration of a document, or tells all that is wrong with it, in the order of lines.
pub(super) fn config(root: &Node) -> Result<Config, Vec<Problem>> {
    let mut problems = Problems::default();
    let config = document(root, &mut problems);
    // A key that is wrong often leaves nothing that runs: only the key is worth telling.
    if problems.is_empty() && config.services.is_empty() && config.bus.iter().all(|bus| bus.requests.is_none()) {
        problems.add(root.line.max(1), "", "this configuration runs nothing; name bus.requests, a service, or both");
    }
    if problems.is_empty() { Ok(config) } else { Err(problems.into_sorted()) }
}

fn document(root: &Node, problems: &mut Problems) -> Config {
    // An empty document is a mapping without keys: that it runs nothing is said above.
    if root.value == Value::Null {
        return Config::default();
    }
    let Some(mut fields) = Fields::open("", root, problems) else { return Config::default() };
    let bus = fields.take("bus").and_then(|node| bus::bus(node, problems));
    let services = fields.take("services");
    let supervisor = fields.take("supervisor").map(|node| supervisor(node, problems)).unwrap_or_default();
    let services = services.map(|node| services::services(node, &supervisor, problems)).unwrap_or_default();
    let logs = fields.take("logs").map(|node| logs::logs(node, problems)).unwrap_or_default();
    fields.finish(problems);
    Config { bus, services, supervisor, logs }
}

fn supervisor(node: &Node, problems: &mut Problems) -> RestartPolicy {
    let default = RestartPolicy::default();
    let Some(mut fields) = Fields::open("supervisor", node, problems) else { return default };
    let max = Bound::milliseconds(&mut fields, "backoff_ms_max", default.backoff_ms_max, problems);
    let mut min = Bound::milliseconds(&mut fields, "backoff_ms_min", default.backoff_ms_min, problems);
    min.at_most(&max, problems);
    let healthy_after_ms = milliseconds(&mut fields, "healthy_after_ms", 1, default.healthy_after_ms, problems);
    let stop_ms_max = milliseconds(&mut fields, "stop_ms_max", 1, default.stop_ms_max, problems);
    let sandbox = sandbox(&mut fields, Sandbox::default(), problems);
    let preflight = preflight(&mut fields, problems);
    fields.finish(problems);
    RestartPolicy {
        healthy_after_ms,
        backoff_ms_min: min.given.value,
        backoff_ms_max: max.given.value,
        stop_ms_max,
        sandbox,
        preflight,
    }
}

fn preflight(fields: &mut Fields<'_>, problems: &mut Problems) -> Preflight {
    let Some(node) = fields.take("preflight") else { return Preflight::default() };
    let policy = match &node.value {
        Value::Text(text) => Preflight::ALL.into_iter().find(|(name, _)| name == text),
        _ => None,
    };
    policy.map(|(_, policy)| policy).unwrap_or_else(|| {
        let path = fields.path("preflight");
        problems.add(node.line, path, format!("{} is not warn, refuse or off", found(&node.value)));
        Preflight::default()
    })
}

fn sandbox(fields: &mut Fields<'_>, default: Sandbox, problems: &mut Problems) -> Sandbox {
    let Some(node) = fields.take("sandbox") else { return default };
    let policy = match &node.value {
        Value::Text(name) => Sandbox::of_name(name),
        _ => None,
    };
    policy.unwrap_or_else(|| {
        let known = Sandbox::ALL.map(|(name, _)| name).join(" or ");
        problems.add(node.line, fields.path("sandbox"), format!("{} is not {known}", found(&node.value)));
        default
    })
}
