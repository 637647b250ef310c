//! Environment variables as text: which names there may be, and files of `KEY=value` lines. Pure.
//!
//! Values are literal: neither `%` nor `$` nor a quote nor a backslash means anything.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// Bytes of a file of variables; a larger one is refused.
pub const VARIABLES_BYTES_MAX: usize = 256 << 10;

/// What the supervisor tells every child itself, which nobody else may.
const TOLD: [&str; 10] = [
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "TORUS_COMMAND_FD",
    "TORUS_COUNTERS_FD",
    "TORUS_SETTINGS",
    "TORUS_SERVICE",
    "TORUS_INSTANCE",
    "TORUS_REQUESTS_FRONT",
    "TORUS_REQUESTS_BACK",
];

/// A line that is none of a file of variables, and why. Its content is not told: it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} {message}")]
pub struct BadLine {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: &'static str,
}

/// Reads a file of variables: `KEY=value` lines; empty lines and those that begin with `#` are passed over.
///
/// # Errors
/// The first line that is neither.
pub fn parse_variables(text: &[u8]) -> Result<Vec<(OsString, OsString)>, BadLine> {
    let mut variables = Vec::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let bad = |message| BadLine { line: index + 1, message };
        let line = line.trim_ascii_start();
        if line.is_empty() || line[0] == b'#' {
            continue;
        }
        if line.ends_with(b"\r") {
            return Err(bad("ends with a carriage return; end lines with a line feed alone"));
        }
        let equals = line.iter().position(|byte| *byte == b'=').ok_or_else(|| bad("is not KEY=value"))?;
        let (name, value) = (&line[..equals], &line[equals + 1..]);
        let name = str::from_utf8(name).map_err(|_| bad("has a name that is not UTF-8"))?;
        if let Some(message) = name_problem(name) {
            return Err(bad(message));
        }
        if value.contains(&0) {
            return Err(bad("holds a NUL character"));
        }
        variables.push((name.into(), OsString::from_vec(value.to_owned())));
    }
    Ok(variables)
}

/// What is wrong with a variable's name, if anything is.
pub(super) fn name_problem(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("has no name before =")
    } else if name.starts_with("export ") {
        Some("begins with export, which is the shell's; write KEY=value")
    } else if name.contains(|c: char| c == '=' || c.is_whitespace() || c.is_control()) {
        Some("has a name with a space, a control character or =")
    } else if TOLD.contains(&name) {
        Some("sets a variable that Torus itself tells its services")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_literal_to_the_end_of_the_line() {
        let text = b"# a comment\n\nA=100%d $HOME \"x\" 'y' \\n #z \n  B=\nC=a=b\nD=\xff";
        let variables = parse_variables(text).unwrap();
        let expected: [(&str, &[u8]); 4] =
            [("A", b"100%d $HOME \"x\" 'y' \\n #z "), ("B", b""), ("C", b"a=b"), ("D", b"\xff")];
        let expected = expected.map(|(name, value)| (OsString::from(name), OsString::from_vec(value.to_vec())));
        assert_eq!(variables, expected);
    }

    #[test]
    fn a_bad_line_is_told_by_its_number_and_not_by_its_content() {
        for (text, message) in [
            (&b"A=1\nhunter2\n"[..], "line 2 is not KEY=value"),
            (b"=hunter2", "line 1 has no name before ="),
            (b"\n\nexport A=1", "line 3 begins with export, which is the shell's; write KEY=value"),
            (b"A B=1", "line 1 has a name with a space, a control character or ="),
            (b"A=1\r\n", "line 1 ends with a carriage return; end lines with a line feed alone"),
            (b"A=\0", "line 1 holds a NUL character"),
            (b"\xff=1", "line 1 has a name that is not UTF-8"),
            (b"LISTEN_PID=1", "line 1 sets a variable that Torus itself tells its services"),
        ] {
            assert_eq!(parse_variables(text).unwrap_err().to_string(), message);
        }
    }
}
