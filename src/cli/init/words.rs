//! Options as getopt(3) reads them: `-gv`, `-e143`, `-e 143`, `--rewrite=15:2`, `--` ends them. The first word that is
//! none begins the command, and all that follows is the command's own.
//!
//! clap would read them as well, at the price of ten times the memory of an init.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The options that there are.
#[derive(Debug)]
pub(super) struct Options {
    /// Letters without value.
    pub(super) flags: &'static str,
    /// Letters with one.
    pub(super) valued: &'static str,
    /// Long names, and the letter that each stands for.
    pub(super) long: &'static [(&'static str, char)],
}

/// An option as given, by its letter.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) letter: char,
    /// Empty for a flag.
    pub(super) value: OsString,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WordsError {
    #[error("there is no option {0}")]
    Unknown(String),
    #[error("option {0} needs a value")]
    NoValue(String),
    #[error("option {0} takes no value")]
    Value(String),
}

impl Options {
    /// Splits a command line into options and command.
    pub(super) fn split(&self, words: &[OsString]) -> Result<(Vec<Given>, Vec<OsString>), WordsError> {
        let mut given = Vec::new();
        let mut words = words.iter();
        loop {
            let rest = words.as_slice();
            let Some(word) = words.next() else { return Ok((given, Vec::new())) };
            match word.as_bytes() {
                b"--" => return Ok((given, words.as_slice().to_vec())),
                [b'-', b'-', long @ ..] => given.push(self.long(long, &mut words)?),
                [b'-', letters @ ..] if !letters.is_empty() => self.short(letters, &mut words, &mut given)?,
                _ => return Ok((given, rest.to_vec())),
            }
        }
    }

    fn short<'a>(
        &self,
        mut letters: &[u8],
        words: &mut impl Iterator<Item = &'a OsString>,
        given: &mut Vec<Given>,
    ) -> Result<(), WordsError> {
        while let Some((letter, rest)) = letters.split_first() {
            let letter = char::from(*letter);
            let named = || format!("-{letter}");
            let value = if self.flags.contains(letter) {
                letters = rest;
                OsString::new()
            } else if !self.valued.contains(letter) {
                return Err(WordsError::Unknown(named()));
            } else {
                letters = &[];
                let here = (!rest.is_empty()).then(|| OsStr::from_bytes(rest).to_owned());
                here.or_else(|| words.next().cloned()).ok_or_else(|| WordsError::NoValue(named()))?
            };
            given.push(Given { letter, value });
        }
        Ok(())
    }

    /// A long name, or as much of it as tells it from the others.
    fn long<'a>(&self, word: &[u8], words: &mut impl Iterator<Item = &'a OsString>) -> Result<Given, WordsError> {
        let mut parts = word.splitn(2, |byte| *byte == b'=');
        let name = parts.next().unwrap_or_default();
        let value = parts.next().map(|value| OsString::from_vec(value.to_vec()));
        let named = || format!("--{}", String::from_utf8_lossy(name));
        let exact = |(long, _): &&(&str, char)| long.as_bytes() == name;
        let begun = || match self.long.iter().filter(|(long, _)| long.as_bytes().starts_with(name)).collect::<Vec<_>>()
        {
            found if found.len() == 1 => found.into_iter().next(),
            _ => None,
        };
        let found = self.long.iter().find(exact).or_else(begun);
        let (_, letter) = *found.ok_or_else(|| WordsError::Unknown(named()))?;
        let value = match (value, self.valued.contains(letter)) {
            (Some(_), false) => return Err(WordsError::Value(named())),
            (None, true) => words.next().cloned().ok_or_else(|| WordsError::NoValue(named()))?,
            (value, _) => value.unwrap_or_default(),
        };
        Ok(Given { letter, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: Options = Options {
        flags: "gv",
        valued: "e",
        long: &[("group", 'g'), ("verbose", 'v'), ("version", 'v'), ("exit", 'e')],
    };

    /// Options as `g` or `e=3`, then the command after a bar.
    fn split(line: &str) -> String {
        let words: Vec<OsString> = line.split(' ').filter(|word| !word.is_empty()).map(OsString::from).collect();
        match OPTIONS.split(&words) {
            Ok((given, command)) => {
                let given = given.iter().map(|Given { letter, value }| match value.to_str() {
                    Some("") => letter.to_string(),
                    value => format!("{letter}={}", value.unwrap()),
                });
                let command: Vec<&str> = command.iter().map(|word| word.to_str().unwrap()).collect();
                format!("{} | {}", given.collect::<Vec<_>>().join(" "), command.join(" "))
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn options_end_where_the_command_begins() {
        for (line, expected) in [
            ("-g -v -- sh -c x", "g v | sh -c x"),
            ("-gv sh -g -- x", "g v | sh -g -- x"),
            ("-e143 -ve 3 cmd", "e=143 v e=3 | cmd"),
            ("-e -- cmd", "e=-- | cmd"),
            ("-- -g", " | -g"),
            ("- -g", " | - -g"),
            ("--group --exit=3 --ex 4 cmd", "g e=3 e=4 | cmd"),
            ("--exit=", "e | "),
            ("", " | "),
        ] {
            assert_eq!(split(line), expected, "{line}");
        }
    }

    #[test]
    fn a_mistake_is_told_with_its_option() {
        for (line, expected) in [
            ("-gz cmd", "there is no option -z"),
            ("--nope cmd", "there is no option --nope"),
            ("--ver cmd", "there is no option --ver"),
            ("-e", "option -e needs a value"),
            ("--exit", "option --exit needs a value"),
            ("--group=1 cmd", "option --group takes no value"),
        ] {
            assert_eq!(split(line), expected, "{line}");
        }
    }
}
