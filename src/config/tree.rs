//! YAML text to a tree that remembers lines: the raw half of the configuration.
//!
//! The tree keeps what the text says: the order of keys, keys given twice, and the difference between `5555` and
//! `"5555"`. It knows no key of ours; [`super::validate`] does. Only a text that is no single YAML document, or that
//! asks for more than the bounds below, fails here.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_yaml::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_yaml::{MessageFormatter, Options, Spanned, UserMessageFormatter};

/// Nodes that aliases may add to a document; one that asks for more is refused while it is read. A file of 256 KiB
/// could otherwise ask for gigabytes.
const ALIAS_EVENTS_MAX: usize = 10_000;

/// Containers inside containers, as written; a document that goes deeper is refused while it is read. Ours has five
/// levels. The bound keeps the stack of the reading thread, which recurses, far from its end.
const DEPTH_MAX: usize = 8;

/// Aliases inside what aliases stand for; each may add [`DEPTH_MAX`] levels.
const ALIAS_DEPTH_MAX: usize = 4;

/// A value and the line where it stands (for an alias: the line that uses it).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) line: u64,
}

/// What a node holds, by the core schema of YAML 1.2.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    Sequence(Vec<Node>),
    /// Keys in the order of the text, duplicates included.
    Mapping(Vec<(Key, Node)>),
}

/// A mapping's key and its line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) line: u64,
}

/// Why a text is no YAML document that we read; line and column count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) line: u64,
    pub(super) column: u64,
    pub(super) message: String,
}

/// Reads one YAML document.
pub(super) fn read(text: &str) -> Result<Node, SyntaxError> {
    serde_yaml::from_str_with_options(text, options()).map_err(|error| {
        let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
        SyntaxError { line, column, message: message(&error) }
    })
}

/// The parser's words without its line and column, which every report of ours begins with.
fn message(error: &serde_yaml::Error) -> String {
    match error {
        serde_yaml::Error::AliasError { error, .. } => message(error),
        serde_yaml::Error::Budget { .. }
        | serde_yaml::Error::AliasReplayLimitExceeded { .. }
        | serde_yaml::Error::AliasReplayStackDepthExceeded { .. } => "too deep or too long for a configuration".into(),
        error => UserMessageFormatter.format_message(error).replace(char::is_control, " "),
    }
}

fn options() -> Options {
    serde_yaml::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        // YAML 1.2 knows no merge keys: `<<` is one more unknown key.
        merge_keys: MergeKeyPolicy::AsOrdinary,
        budget: serde_yaml::budget! { max_depth: DEPTH_MAX },
        alias_limits: serde_yaml::alias_limits! {
            max_total_replayed_events: ALIAS_EVENTS_MAX,
            max_replay_stack_depth: ALIAS_DEPTH_MAX,
        },
        // `yes` is text, and so is what readers of YAML disagree about: `0755` and `1_000`.
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        reject_unsupported_tags: true,
        // We show our own excerpt.
        with_snippet: false,
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { value, line: referenced.line() })
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::<String>::deserialize(deserializer)?;
        Ok(Self { text: value, line: referenced.line() })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = sequence.next_element()? {
            nodes.push(node);
        }
        Ok(Value::Sequence(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut mapping: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = mapping.next_entry()? {
            entries.push(entry);
        }
        Ok(Value::Mapping(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<(String, u64, Value, u64)> {
        match read(text).expect("YAML").value {
            Value::Mapping(entries) => {
                entries.into_iter().map(|(key, node)| (key.text, key.line, node.value, node.line)).collect()
            }
            other => panic!("a mapping was expected: {other:?}"),
        }
    }

    #[test]
    fn keys_and_values_know_their_lines_and_duplicates_stay() {
        let found = entries("a: 1\n\nb:\n  - x\na: two\n");
        let text = |text: &str| Value::Text(text.to_owned());
        let sequence = Value::Sequence(vec![Node { value: text("x"), line: 4 }]);
        assert_eq!(
            found,
            [("a".into(), 1, Value::Integer(1), 1), ("b".into(), 3, sequence, 4), ("a".into(), 5, text("two"), 5)]
        );
    }

    #[test]
    fn scalars_follow_the_core_schema_of_yaml_1_2() {
        let value = |text: &str| read(text).expect("YAML").value;
        assert_eq!(value("true"), Value::Bool(true));
        assert_eq!(value("-3"), Value::Integer(-3));
        assert_eq!(value("0x10"), Value::Integer(16));
        assert_eq!(value("1.5"), Value::Float(1.5));
        assert_eq!(value("~"), Value::Null);
        assert_eq!(value(""), Value::Null);
        for text in ["yes", "0755", "1_000", "127.0.0.1", "::1"] {
            assert_eq!(value(text), Value::Text(text.into()), "{text}");
        }
        assert_eq!(value("\"5555\""), Value::Text("5555".into()));
    }

    #[test]
    fn an_alias_stands_on_the_line_that_uses_it() {
        let found = entries("a: &x 1\nb: *x\n");
        assert_eq!(found[1], ("b".into(), 2, Value::Integer(1), 2));
    }

    #[test]
    fn a_merge_key_is_an_ordinary_key() {
        assert_eq!(entries("<<: {a: 1}\n")[0].0, "<<");
    }

    #[test]
    fn a_syntax_error_knows_its_place_and_says_it_once() {
        for (text, line, column, message) in [
            ("a: 1\nb: [1\nc: }\n", 3, 2, "illegal placement of ':' indicator"),
            ("a: !local 1\n", 1, 11, "unsupported tag `!local`"),
            ("a: 1\nb: *nowhere\n", 2, 4, "reference to unknown value"),
            ("a: 1\n---\nb: 2\n", 3, 1, "only single YAML document expected but multiple found"),
            ("? [a]\n: 1\n", 1, 3, "expected string scalar"),
        ] {
            let message = message.to_owned();
            assert_eq!(read(text), Err(SyntaxError { line, column, message }), "{text}");
        }
    }

    #[test]
    fn aliases_that_multiply_are_refused() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..8 {
            let uses = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{uses}]\n"));
        }
        let error = read(&bomb).expect_err("a refusal");
        assert!(error.line > 1 && error.message.contains("too long"), "{error:?}");
    }

    #[test]
    fn nesting_without_end_is_refused() {
        for text in ["[".repeat(100_000), "- ".repeat(100_000), "{a: ".repeat(50_000)] {
            let error = read(&text).expect_err("a refusal");
            assert_eq!(error.line, 1, "{error:?}");
        }
    }

    #[test]
    fn nesting_by_aliases_is_refused() {
        let mut nest = String::from("a0: &a0 [[[[[[x]]]]]]\n");
        for level in 1..100 {
            nest.push_str(&format!("a{level}: &a{level} [[[[[[*a{}]]]]]]\n", level - 1));
        }
        let error = read(&nest).expect_err("a refusal");
        assert!(error.line > 1, "{error:?}");
    }
}
