//! Log lines on standard error: time, fields, message.
//!
//! `2026-01-31T12:00:00.123Z torus: service=hello instance=2 pid=77 exited signal=9; restarting now`

use std::fmt::{Debug, Write as _};
use std::io::{self, Write as _};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::escape;
use crate::sys::stderr::{LINE_BYTES_MAX, Stderr};

/// Makes our own events of level info and above lines on standard error. A standard error that is gone is no reason to
/// end.
pub(super) fn install() {
    install_from(LevelFilter::INFO);
}

/// The same, from another level on.
pub(super) fn install_from(level: LevelFilter) {
    let _ = tracing::subscriber::set_global_default(Lines(level));
}

/// From now on a line that would have to wait for its reader is dropped instead, and counted in the next that does not.
/// So a terminal that was stopped cannot stop the supervisor.
pub(super) fn never_wait() {
    if let Ok(stderr) = Stderr::take() {
        let _ = PROMPT.set(stderr);
    }
}

static PROMPT: OnceLock<Stderr> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);

fn write_or_drop(stderr: &Stderr, line: &mut String) {
    if line.len() > LINE_BYTES_MAX {
        let end = (0..=LINE_BYTES_MAX - 4).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
        line.truncate(end);
        line.push_str("...\n");
    }
    let dropped = DROPPED.swap(0, Ordering::Relaxed);
    let told = dropped == 0 || stderr.write(format!("torus: {dropped} lines are missing here\n").as_bytes()).is_ok();
    if !told || stderr.write(line.as_bytes()).is_err() {
        DROPPED.fetch_add(if told { 1 } else { dropped + 1 }, Ordering::Relaxed);
    }
}

struct Lines(LevelFilter);

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.0 && metadata.target().starts_with("torus")
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let mut line =
            format!("{} torus: {}{}\n", humantime::format_rfc3339_millis(SystemTime::now()), text.fields, text.message);
        match PROMPT.get() {
            None => drop(io::stderr().write_all(line.as_bytes())),
            Some(stderr) => write_or_drop(stderr, &mut line),
        }
    }

    // Events alone are of interest.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Text {
    fields: String,
    message: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let value = escape::line(&format!("{value:?}"));
        match field.name() {
            "message" => self.message.push_str(&value),
            name => {
                let _ = write!(self.fields, "{name}={value} ");
            }
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Keeps what [`Lines`] would print.
    struct Kept(Arc<Mutex<String>>);

    impl Subscriber for Kept {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn event(&self, event: &Event<'_>) {
            let mut text = Text::default();
            event.record(&mut text);
            *self.0.lock().unwrap() = text.fields + &text.message;
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn no_field_and_no_message_forges_a_line_or_commands_the_terminal() {
        let kept = Arc::new(Mutex::new(String::new()));
        tracing::subscriber::with_default(Kept(kept.clone()), || {
            let evil = "a\nb\u{1b}[2J";
            tracing::info!(text = evil, shown = %evil, debugged = ?evil, "said {evil}");
        });
        let told = r"a\nb\u{1b}[2J";
        let line = format!("text={told} shown={told} debugged=\"{told}\" said {told}");
        assert_eq!(*kept.lock().unwrap(), line);
    }
}
