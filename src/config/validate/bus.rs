//! The section `bus`: where the bus workers listen, and what peers may ask of them.

use std::net::IpAddr;

use super::bound::{Bound, by_default, milliseconds};
use crate::config::fields::{Fields, Given, Problems, found};
use crate::config::tree::{Node, Value};
use crate::config::{Bus, Limits, Requests};

/// Peers, requests or parts that any count may allow.
const COUNT_MAX: u32 = 1_000_000;
/// The broker's own address frame, the empty delimiter and a body: no request has fewer parts.
const PARTS_MIN: u32 = 3;
/// A READY command that names the socket's type and carries an identity of any size has room in this.
const METADATA_BYTES_MIN: u32 = 512;
/// Metadata is a few short names and values; nobody needs a mebibyte.
const METADATA_BYTES_MAX: u32 = 1 << 20;

/// The bus, unless the section is no mapping.
pub(super) fn bus(node: &Node, problems: &mut Problems) -> Option<Bus> {
    let mut fields = Fields::open("bus", node, problems)?;
    let default = Bus::default();
    let bind = bind(&mut fields, default.bind, problems);
    let allow_insecure = fields.boolean("allow_insecure", default.allow_insecure, problems);
    if let Some(line) = bind.line
        && !bind.value.is_loopback()
        && !allow_insecure
    {
        let message = format!(
            "{} is beyond loopback, and peers are not authenticated; bus.allow_insecure: true permits it",
            bind.value
        );
        problems.add(line, fields.path("bind"), message);
    }
    let requests_node = fields.take("requests");
    let (limits, memory) = limits(fields.take("limits"), problems);
    let requests = requests_node.and_then(|node| requests(node, &memory, problems));
    fields.finish(problems);
    Some(Bus { bind: bind.value, allow_insecure, requests, limits })
}

fn bind(fields: &mut Fields<'_>, default: IpAddr, problems: &mut Problems) -> Given<IpAddr> {
    let Some(node) = fields.take("bind") else { return Given { value: default, line: None } };
    if let Value::Text(text) = &node.value
        && let Ok(value) = text.parse()
    {
        return Given { value, line: Some(node.line) };
    }
    let message = format!("{} is not an IP address; write 127.0.0.1 or ::1", found(&node.value));
    problems.add(node.line, fields.path("bind"), message);
    Given { value: default, line: None }
}

fn requests(node: &Node, memory: &Bound, problems: &mut Problems) -> Option<Requests> {
    let mut fields = Fields::open("bus.requests", node, problems)?;
    let default = Requests::default();
    let front = fields.number("front", "a port", 0..=u16::MAX, default.front, problems);
    let back = fields.number("back", "a port", 0..=u16::MAX, default.back, problems);
    let ports = [(fields.path("front"), front), (fields.path("back"), back)];
    let window = fields.number("window", "a count", 1..=COUNT_MAX, default.window, problems).value;
    let idempotent = fields.boolean("idempotent", default.idempotent, problems);
    let waiting_max = fields.number("waiting_max", "a count", 1..=COUNT_MAX, default.waiting_max, problems).value;
    let mut waiting_bytes_max = Bound::bytes(&mut fields, "waiting_bytes_max", default.waiting_bytes_max, problems);
    waiting_bytes_max.at_most(memory, problems);
    let waiting_ms_max = milliseconds(&mut fields, "waiting_ms_max", 1, default.waiting_ms_max, problems);
    fields.finish(problems);
    clashes(&ports, problems);
    Some(Requests {
        front: front.value,
        back: back.value,
        window,
        idempotent,
        waiting_max,
        waiting_bytes_max: waiting_bytes_max.given.value,
        waiting_ms_max,
    })
}

/// Reports each port that an earlier key has taken. Port 0 clashes with nothing: it takes any free one.
fn clashes(ports: &[(String, Given<u16>)], problems: &mut Problems) {
    for (index, (path, port)) in ports.iter().enumerate() {
        let earlier = ports[..index].iter().find(|(_, other)| other.value == port.value && port.value != 0);
        let Some((other_path, other)) = earlier else { continue };
        // Told where the file says it: two defaults never clash.
        let (line, path, other_path, other) = match (port.line, other.line) {
            (Some(line), _) => (line, path, other_path, other),
            (None, Some(line)) => (line, other_path, path, port),
            (None, None) => continue,
        };
        problems.add(line, path, format!("port {} is taken by {other_path}{}", port.value, by_default(other)));
    }
}

/// The limits, and among them the one that bounds the bounds of others.
fn limits(node: Option<&Node>, problems: &mut Problems) -> (Limits, Bound) {
    let default = Limits::default();
    let path = "bus.limits";
    let given = node.and_then(|node| Fields::open(path, node, problems));
    let mut fields = given.unwrap_or_else(|| Fields::empty(path));
    let memory = Bound::bytes(&mut fields, "memory_bytes_max", default.memory_bytes_max, problems);
    let mut message = Bound::bytes(&mut fields, "message_bytes_max", default.message_bytes_max, problems);
    message.at_most(&memory, problems);
    let mut frame = Bound::bytes(&mut fields, "frame_bytes_max", default.frame_bytes_max, problems);
    frame.at_most(&message, problems);
    let mut queue = Bound::bytes(&mut fields, "queue_bytes_max", default.queue_bytes_max, problems);
    queue.at_most(&memory, problems);
    let mut count = |key, min, default| fields.number(key, "a count", min..=COUNT_MAX, default, problems).value;
    let parts_max = count("parts_max", PARTS_MIN, default.parts_max);
    let handshakes_max = count("handshakes_max", 1, default.handshakes_max);
    let connections_max = count("connections_max", 1, default.connections_max);
    let metadata_range = METADATA_BYTES_MIN..=METADATA_BYTES_MAX;
    let metadata =
        fields.number("metadata_bytes_max", "a number of bytes", metadata_range, default.metadata_bytes_max, problems);
    let mut ms = |key, min, default| milliseconds(&mut fields, key, min, default, problems);
    let handshake_ms_max = ms("handshake_ms_max", 1, default.handshake_ms_max);
    let heartbeat_ms = ms("heartbeat_ms", 0, default.heartbeat_ms);
    let heartbeat_timeout_ms = ms("heartbeat_timeout_ms", 1, default.heartbeat_timeout_ms);
    let drain_ms_max = ms("drain_ms_max", 0, default.drain_ms_max);
    let watchdog_ms = ms("watchdog_ms", 0, default.watchdog_ms);
    fields.finish(problems);
    let limits = Limits {
        frame_bytes_max: frame.given.value,
        message_bytes_max: message.given.value,
        parts_max,
        metadata_bytes_max: metadata.value,
        handshake_ms_max,
        handshakes_max,
        connections_max,
        queue_bytes_max: queue.given.value,
        memory_bytes_max: memory.given.value,
        heartbeat_ms,
        heartbeat_timeout_ms,
        drain_ms_max,
        watchdog_ms,
    };
    (limits, memory)
}
