//! The section `logs`: what becomes of the lines that services write.

use super::bound::milliseconds;
use crate::config::fields::{Fields, Problems, found};
use crate::config::tree::{Node, Value};
use crate::config::{LogFormat, LogTarget, Logs};

/// A shorter line than this would be mostly marks of its splitting.
const LINE_BYTES_MIN: u32 = 64;
const LINE_BYTES_MAX: u32 = 1 << 20;
/// Lines a second that a rate may be; no process writes more.
const LINES_MAX: u32 = 1_000_000_000;
/// Bytes of recent lines that may be kept for one service.
const RECENT_BYTES_MAX: u32 = 64 << 20;

const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];
const TARGETS: [(&str, LogTarget); 3] =
    [("auto", LogTarget::Auto), ("stdout", LogTarget::Stdout), ("journal", LogTarget::Journal)];

pub(super) fn logs(node: &Node, problems: &mut Problems) -> Logs {
    let default = Logs::default();
    let Some(mut fields) = Fields::open("logs", node, problems) else { return default };
    let format = one_of(&mut fields, "format", &FORMATS, default.format, problems);
    let to = one_of(&mut fields, "to", &TARGETS, default.to, problems);
    let mut number = |key, noun, range, default| fields.number(key, noun, range, default, problems).value;
    let line_range = LINE_BYTES_MIN..=LINE_BYTES_MAX;
    let line_bytes_max = number("line_bytes_max", "a number of bytes", line_range, default.line_bytes_max);
    let rate_lines_per_s = number("rate_lines_per_s", "a number of lines", 0..=LINES_MAX, default.rate_lines_per_s);
    let burst_lines = number("burst_lines", "a number of lines", 1..=LINES_MAX, default.burst_lines);
    let recent_range = 0..=RECENT_BYTES_MAX;
    let recent_bytes_max = number("recent_bytes_max", "a number of bytes", recent_range, default.recent_bytes_max);
    let block_ms_max = milliseconds(&mut fields, "block_ms_max", 0, default.block_ms_max, problems);
    let watchdog_ms = milliseconds(&mut fields, "watchdog_ms", 0, default.watchdog_ms, problems);
    fields.finish(problems);
    Logs { format, to, line_bytes_max, rate_lines_per_s, burst_lines, block_ms_max, recent_bytes_max, watchdog_ms }
}

/// One of a few words.
fn one_of<T: Copy>(
    fields: &mut Fields<'_>,
    key: &'static str,
    words: &[(&str, T)],
    default: T,
    problems: &mut Problems,
) -> T {
    let Some(node) = fields.take(key) else { return default };
    if let Value::Text(text) = &node.value
        && let Some((_, value)) = words.iter().find(|(word, _)| word == text)
    {
        return *value;
    }
    let words = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
    problems.add(node.line, fields.path(key), format!("{} is none of {words}", found(&node.value)));
    default
}
