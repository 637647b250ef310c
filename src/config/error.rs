//! Why there is no configuration, in the words that users read.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::{FILE_BYTES_MAX, Origin, VARIABLE};

/// Problems that one report lists; the rest is only counted.
const PROBLEMS_LISTED_MAX: usize = 100;

/// Characters of a line that an excerpt shows.
const EXCERPT_CHARS_MAX: usize = 100;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(
        "cannot read configuration {}{}: {source}",
        path.display(),
        if *by_variable { format!(" (named by {VARIABLE})") } else { String::new() }
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// Whether [`VARIABLE`] named it.
        by_variable: bool,
        /// What the system said.
        source: io::Error,
    },
    /// The text has more than [`FILE_BYTES_MAX`] bytes; it was not parsed.
    #[error("{origin}: larger than {} KiB, so it was not read as a configuration", FILE_BYTES_MAX >> 10)]
    TooLarge {
        /// Where the text came from.
        origin: Origin,
    },
    /// The text is not UTF-8.
    #[error("{origin}:{line}: not UTF-8, so it was not read as a configuration")]
    NotUtf8 {
        /// Where the text came from.
        origin: Origin,
        /// The line of the first byte that is not UTF-8, from 1.
        line: u64,
    },
    /// The text is not one YAML document; only the first such error is known.
    #[error("{origin}:{line}:{column}: {message}\n{excerpt}")]
    Syntax {
        /// Where the text came from.
        origin: Origin,
        /// The line, from 1.
        line: u64,
        /// The column in characters, from 1.
        column: u64,
        /// What the parser said.
        message: String,
        /// The line itself, with a mark below the column.
        excerpt: String,
    },
    /// The document does not make a configuration.
    #[error("{}", Report { origin, problems })]
    Invalid {
        /// Where the text came from.
        origin: Origin,
        /// All that is wrong, in the order of lines.
        problems: Vec<Problem>,
    },
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: u64,
    /// The path of the key, as `bus.requests.front`; empty for the document itself.
    pub path: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// A line each for every problem, then their number.
struct Report<'a> {
    origin: &'a Origin,
    problems: &'a [Problem],
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, problems } = self;
        for Problem { line, path, message } in problems.iter().take(PROBLEMS_LISTED_MAX) {
            let colon = if path.is_empty() { "" } else { ": " };
            writeln!(f, "{origin}:{line}: {path}{colon}{message}")?;
        }
        match problems.len() {
            1 => write!(f, "1 problem"),
            count if count > PROBLEMS_LISTED_MAX => {
                write!(f, "{count} problems, the first {PROBLEMS_LISTED_MAX} above")
            }
            count => write!(f, "{count} problems"),
        }
    }
}

/// The line of `text` with a mark below the column, cut to [`EXCERPT_CHARS_MAX`]; control characters become spaces.
pub(super) fn excerpt(text: &str, line: u64, column: u64) -> String {
    let nth = |from_one: u64| usize::try_from(from_one.saturating_sub(1)).unwrap_or(usize::MAX);
    let column = nth(column);
    let skipped = (column + 1).saturating_sub(EXCERPT_CHARS_MAX);
    let shown: String = text
        .lines()
        .nth(nth(line))
        .unwrap_or_default()
        .chars()
        .skip(skipped)
        .take(EXCERPT_CHARS_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let number = line.to_string();
    format!("{number} | {}\n{:pad$} | {:mark$}^", shown.trim_end(), "", "", pad = number.len(), mark = column - skipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_marks_the_column() {
        assert_eq!(excerpt("a: 1\nb: }\n", 2, 4), "2 | b: }\n  |    ^");
    }

    #[test]
    fn an_excerpt_of_a_long_line_ends_at_the_mark() {
        let cut = excerpt(&format!("{}!", "x".repeat(100_000)), 1, 100_001);
        assert_eq!(cut, format!("1 | {}!\n  | {}^", "x".repeat(99), " ".repeat(99)));
    }

    #[test]
    fn an_excerpt_beyond_the_text_is_empty() {
        assert_eq!(excerpt("a: [\n", 2, 1), "2 | \n  | ^");
    }

    #[test]
    fn a_report_of_many_problems_lists_the_first_hundred_and_counts_all() {
        let problem = |line| Problem { line, path: "x".into(), message: "is not a key here".into() };
        let error = ConfigError::Invalid { origin: Origin::Embedded, problems: (1..=101).map(problem).collect() };
        let report = error.to_string();
        assert_eq!(report.lines().count(), 101);
        assert!(report.ends_with("101 problems, the first 100 above"), "{report}");
    }
}
