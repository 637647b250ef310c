//! Text from outside on its way to people: its control characters are told, not obeyed.
//!
//! A peer's identity or a file's name must neither forge a line nor reach the terminal as a command.

/// The text as a part of one line.
pub(super) fn line(text: &str) -> String {
    escaped(text, &[])
}

/// The text as lines of its own: ends of lines and tabs stay.
pub(super) fn lines(text: &str) -> String {
    escaped(text, &['\n', '\t'])
}

fn escaped(text: &str, kept: &[char]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() && !kept.contains(&character) {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_told_and_everything_else_stays() {
        assert_eq!(line("ñ \\ \"x\"\n\t\r\u{1b}[2J\u{7f}\u{9b}"), r#"ñ \ "x"\n\t\r\u{1b}[2J\u{7f}\u{9b}"#);
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(lines("one\n\ttwo\r\u{1b}"), "one\n\ttwo\\r\\u{1b}");
    }
}
