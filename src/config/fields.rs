//! Reads the keys of one mapping: each key is asked for by name, and what is wrong with it becomes a [`Problem`].
//!
//! Reading never stops at a problem. A key that is wrong reads as its default, so that one mistake is reported once.

use std::collections::HashMap;
use std::fmt::Display;
use std::ops::RangeInclusive;

use super::Problem;
use super::suggest::nearest;
use super::tree::{Key, Node, Value};

/// Characters of a key or text that a message shows.
const SHOWN_CHARS_MAX: usize = 60;

/// All that is wrong, in the order of finding.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, line: u64, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem { line, path: path.into(), message: message.into() });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The problems in the order of lines.
    pub(super) fn into_sorted(mut self) -> Vec<Problem> {
        self.0.sort_by_key(|problem| problem.line);
        self.0
    }
}

/// A value that holds, and the line that gave it; `None` is the default.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<T> {
    pub(super) value: T,
    pub(super) line: Option<u64>,
}

/// The keys of one mapping.
pub(super) struct Fields<'a> {
    path: String,
    entries: Vec<(&'a Key, &'a Node)>,
    asked: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The keys of `node`, which must be a mapping; `path` is empty for the document.
    pub(super) fn open(path: &str, node: &'a Node, problems: &mut Problems) -> Option<Self> {
        Some(Self { path: path.to_owned(), entries: entries(path, node, problems)?, asked: Vec::new() })
    }

    /// No keys at all: everything reads as its default.
    pub(super) fn empty(path: &str) -> Self {
        Self { path: path.to_owned(), entries: Vec::new(), asked: Vec::new() }
    }

    /// The value of a key, if the mapping has it.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'a Node> {
        self.asked.push(key);
        let index = self.entries.iter().position(|(found, _)| found.text == key)?;
        Some(self.entries.swap_remove(index).1)
    }

    /// The line of a key's value, if the mapping has it.
    pub(super) fn line_of(&self, key: &str) -> Option<u64> {
        self.entries.iter().find(|(found, _)| found.text == key).map(|(_, node)| node.line)
    }

    /// The path of one of this mapping's keys.
    pub(super) fn path(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// A number within `range`. `noun` says what it is: "a port".
    pub(super) fn number<T>(
        &mut self,
        key: &'static str,
        noun: &str,
        range: RangeInclusive<T>,
        default: T,
        problems: &mut Problems,
    ) -> Given<T>
    where
        T: Copy + Display + PartialOrd + TryFrom<i128>,
    {
        let Some(node) = self.take(key) else { return Given { value: default, line: None } };
        if let Value::Integer(integer) = node.value
            && let Ok(value) = T::try_from(integer)
            && range.contains(&value)
        {
            return Given { value, line: Some(node.line) };
        }
        let hint = if is_quoted_number(&node.value) { "; write it without quotes" } else { "" };
        let message = format!("{} is not {noun} ({} to {}){hint}", found(&node.value), range.start(), range.end());
        problems.add(node.line, self.path(key), message);
        Given { value: default, line: None }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, key: &'static str, default: bool, problems: &mut Problems) -> bool {
        match self.take(key) {
            None => default,
            Some(Node { value: Value::Bool(value), .. }) => *value,
            Some(node) => {
                problems.add(node.line, self.path(key), format!("{} is not true or false", found(&node.value)));
                default
            }
        }
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self, problems: &mut Problems) {
        for (key, _) in self.entries {
            let hint = match nearest(&key.text, &self.asked) {
                Some(name) => format!("did you mean {name}?"),
                None => format!("known here: {}", self.asked.join(", ")),
            };
            problems.add(key.line, join(&self.path, &key.text), format!("no such key; {hint}"));
        }
    }
}

/// The entries of `node`, which must be a mapping; a key given twice is reported, and its first value holds.
pub(super) fn entries<'a>(path: &str, node: &'a Node, problems: &mut Problems) -> Option<Vec<(&'a Key, &'a Node)>> {
    let Value::Mapping(all) = &node.value else {
        let message = match &node.value {
            Value::Null => "has no value; write {} for a mapping without keys".to_owned(),
            other => format!("{} is not a mapping of keys to values", found(other)),
        };
        problems.add(node.line, path, message);
        return None;
    };
    let mut first_lines = HashMap::new();
    let mut entries = Vec::new();
    for (key, value) in all {
        match first_lines.get(&key.text) {
            Some(line) => problems.add(key.line, join(path, &key.text), format!("given twice, first on line {line}")),
            None => {
                first_lines.insert(&key.text, key.line);
                entries.push((key, value));
            }
        }
    }
    Some(entries)
}

/// `path.key`, with a key that would confuse the reader quoted and cut.
pub(super) fn join(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.len() <= SHOWN_CHARS_MAX && key.bytes().all(|byte| byte.is_ascii_graphic());
    let key = if plain { key.to_owned() } else { quoted(key) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// What a value is, as messages begin: `70000`, `the text "5555"`, `a sequence`.
pub(super) fn found(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Integer(value) => value.to_string(),
        Value::Float(value) => format!("{value:?}"),
        Value::Text(text) => format!("the text {}", quoted(text)),
        Value::Sequence(_) => "a sequence".to_owned(),
        Value::Mapping(_) => "a mapping".to_owned(),
    }
}

/// `text` in quotes, escaped, cut to [`SHOWN_CHARS_MAX`].
fn quoted(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}...", &text[..end]),
    }
}

/// Whether a value is text only because somebody quoted it.
fn is_quoted_number(value: &Value) -> bool {
    // Text with a leading zero was never quoted: it is text because readers of YAML disagree about it.
    matches!(value, Value::Text(text) if text.parse::<i128>().is_ok_and(|number| number.to_string() == *text))
}
