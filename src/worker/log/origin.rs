//! Where a line comes from, and what it looks like when it leaves. Pure.
//!
//! What is the same for all lines of one origin is made once, so that a line costs little more than copying it.

use std::borrow::Cow;
use std::io::Write as _;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::entry;
use super::lines::Line;

/// One of the two streams of a process's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// What a line looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    /// `service/1 | line`.
    #[default]
    Text,
    /// An object on a line.
    Json,
    /// The fields of an entry of the journal, see [`entry`].
    #[serde(skip)]
    Journal,
}

/// When lines were read.
#[derive(Debug)]
pub(super) struct Time {
    pub(super) us: u64,
    /// The same by RFC 3339.
    text: String,
}

/// One stream of one instance of a service.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) service: String,
    pub(super) instance: u32,
    pub(super) stream: Stream,
    pub(super) pid: Option<u32>,
    text_head: String,
    /// What stands between time and line.
    json_head: String,
    /// The fields that do not depend on the line.
    entry_head: Vec<u8>,
}

/// Why lines were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The service wrote more than its rate.
    Rate,
    /// The output did not flow.
    Blocked,
    /// The one who follows reads too slowly.
    Slow,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    /// The priority of syslog(3): informational, and what programs mean for somebody's eyes.
    fn priority(self) -> &'static str {
        match self {
            Self::Stdout => "PRIORITY=6",
            Self::Stderr => "PRIORITY=5",
        }
    }
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Blocked => "blocked",
            Self::Slow => "slow",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Rate => "more than logs.rate_lines_per_s",
            Self::Blocked => "the output did not flow for logs.block_ms_max",
            Self::Slow => "this reader is too slow",
        }
    }
}

impl Time {
    pub(super) fn new(time: SystemTime) -> Self {
        let us = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
        Self::from_us(us)
    }

    /// From microseconds since 1970.
    pub(super) fn from_us(us: u64) -> Self {
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(us);
        Self { us, text: humantime::format_rfc3339_micros(time).to_string() }
    }
}

impl Origin {
    pub(super) fn new(service: &str, instance: u32, stream: Stream, pid: Option<u32>) -> Self {
        let name = stream.name();
        let text_head = format!("{service}/{instance} ");
        let json_pid = pid.map(|pid| format!(",\"pid\":{pid}")).unwrap_or_default();
        let mut json_head = format!("\",\"service\":{}", serde_json::Value::from(service));
        json_head += &format!(",\"instance\":{instance}{json_pid},\"stream\":\"{name}\",\"line\":\"");
        let mut fields = vec![
            stream.priority().to_owned(),
            format!("SYSLOG_IDENTIFIER={service}"),
            format!("TORUS_SERVICE={service}"),
            format!("TORUS_INSTANCE={instance}"),
            format!("TORUS_STREAM={name}"),
        ];
        fields.extend(pid.map(|pid| format!("OBJECT_PID={pid}")));
        let mut entry_head = Vec::new();
        fields.iter().for_each(|field| entry::push_field(&mut entry_head, &[field]));
        Self { service: service.to_owned(), instance, stream, pid, text_head, json_head, entry_head }
    }

    /// The same with another process.
    pub(super) fn with_pid(&self, pid: Option<u32>) -> Self {
        Self::new(&self.service, self.instance, self.stream, pid)
    }

    /// Adds a line to `out`.
    pub(super) fn write(&self, format: Format, time: &Time, line: Line<'_>, out: &mut Vec<u8>) {
        match format {
            Format::Text => {
                out.extend_from_slice(self.text_head.as_bytes());
                out.extend_from_slice(if line.continued { b"+ " } else { b"| " });
                out.extend_from_slice(line.text);
                out.push(b'\n');
            }
            Format::Json => {
                let text = String::from_utf8_lossy(line.text);
                out.extend_from_slice(b"{\"ts\":\"");
                out.extend_from_slice(time.text.as_bytes());
                out.extend_from_slice(self.json_head.as_bytes());
                push_escaped(out, &text);
                out.push(b'"');
                if line.continued {
                    out.extend_from_slice(b",\"continued\":true");
                }
                if line.more {
                    out.extend_from_slice(b",\"more\":true");
                }
                if let Cow::Owned(_) = text {
                    let _ = write!(out, ",\"line_base64\":\"{}\"", base64(line.text));
                }
                out.extend_from_slice(b"}\n");
            }
            Format::Journal => entry::push(out, |out| {
                let text = String::from_utf8_lossy(line.text);
                entry::push_field(out, &["MESSAGE=", &text]);
                out.extend_from_slice(&self.entry_head);
                if line.continued {
                    entry::push_field(out, &["TORUS_CONTINUED=1"]);
                }
                if line.more {
                    entry::push_field(out, &["TORUS_MORE=1"]);
                }
                if let Cow::Owned(_) = text {
                    entry::push_field(out, &["TORUS_LINE_BASE64=", &base64(line.text)]);
                }
            }),
        }
    }
}

/// Adds a line that tells how many were dropped.
pub(super) fn write_dropped(
    format: Format,
    time: &Time,
    service: &str,
    dropped: u64,
    reason: Reason,
    out: &mut Vec<u8>,
) {
    let lines = if dropped == 1 { "line" } else { "lines" };
    let text = format!("{dropped} {lines} dropped: {}", reason.sentence());
    let name = reason.name();
    let _ = match format {
        Format::Text => writeln!(out, "{service} ! {text}"),
        Format::Json => {
            let (time, service) = (&time.text, serde_json::Value::from(service));
            let head = format!("{{\"ts\":\"{time}\",\"service\":{service}");
            writeln!(out, "{head},\"dropped\":{dropped},\"reason\":\"{name}\",\"line\":\"{text}\"}}")
        }
        Format::Journal => {
            entry::push(out, |out| {
                entry::push_field(out, &["MESSAGE=", &text]);
                entry::push_field(out, &["PRIORITY=4"]);
                entry::push_field(out, &["SYSLOG_IDENTIFIER=", service]);
                entry::push_field(out, &["TORUS_SERVICE=", service]);
                entry::push_field(out, &["TORUS_DROPPED=", &dropped.to_string()]);
                entry::push_field(out, &["TORUS_REASON=", name]);
            });
            Ok(())
        }
    };
}

/// Adds text as it stands between the quotes of a JSON string (RFC 8259, section 7).
fn push_escaped(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|&byte| byte < b' ' || byte == b'"' || byte == b'\\') {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\r' => out.extend_from_slice(b"\\r"),
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            byte => {
                let _ = write!(out, "\\u{byte:04x}");
            }
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Base 64 (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= chunk.len() { digit.into() } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WHOLE: Line<'_> = Line { text: b"a line", continued: false, more: false };
    const PIECE: Line<'_> = Line { text: b"\"\\\t\r\0\x1b[1m \xff\xe2\x82\xac", continued: true, more: true };

    fn shown(format: Format, pid: Option<u32>, line: Line<'_>) -> String {
        let mut out = Vec::new();
        let time = Time::from_us(1_769_860_800_123_456);
        Origin::new("hello", 2, Stream::Stderr, pid).write(format, &time, line, &mut out);
        match format {
            Format::Journal => entry::entries(&out).flat_map(|(_, fields)| fields).collect::<Vec<_>>().join("\n"),
            Format::Text | Format::Json => String::from_utf8(out.escape_ascii().collect()).unwrap(),
        }
    }

    #[test]
    fn text_has_its_service_before_it() {
        assert_eq!(shown(Format::Text, Some(7), WHOLE), r"hello/2 | a line\n");
        assert_eq!(
            shown(Format::Text, Some(7), PIECE),
            r#"hello/2 + \"\\\t\r\x00\x1b[1m \xff\xe2\x82\xac\n"#,
            "bytes are left as they are"
        );
    }

    #[test]
    fn json_is_an_object_on_a_line() {
        let json = |pid, line| shown(Format::Json, pid, line).replace("\\\"", "\"");
        let head = r#"{"ts":"2026-01-31T12:00:00.123456Z","service":"hello","instance":2"#;
        assert_eq!(json(Some(7), WHOLE), format!(r#"{head},"pid":7,"stream":"stderr","line":"a line"}}\n"#));
        let text = r#""stream":"stderr","line":"\\"\\\\\\t\\r\\u0000\\u001b[1m \xef\xbf\xbd\xe2\x82\xac""#;
        let marks = r#""continued":true,"more":true,"line_base64":"IlwJDQAbWzFtIP/igqw=""#;
        assert_eq!(json(None, PIECE), format!(r"{head},{text},{marks}}}\n"));
    }

    #[test]
    fn the_journal_gets_fields() {
        let head = "PRIORITY=5\nSYSLOG_IDENTIFIER=hello\nTORUS_SERVICE=hello\nTORUS_INSTANCE=2\nTORUS_STREAM=stderr";
        assert_eq!(shown(Format::Journal, Some(7), WHOLE), format!("MESSAGE=a line\n{head}\nOBJECT_PID=7"));
        assert_eq!(
            shown(Format::Journal, None, Line { text: b"\xff", ..PIECE }),
            format!("MESSAGE=\u{fffd}\n{head}\nTORUS_CONTINUED=1\nTORUS_MORE=1\nTORUS_LINE_BASE64=/w==")
        );
    }

    #[test]
    fn drops_are_told_in_each_format() {
        let told = |format, count, reason| {
            let mut out = Vec::new();
            write_dropped(format, &Time::from_us(0), "hello", count, reason, &mut out);
            match format {
                Format::Journal => entry::entries(&out).flat_map(|(_, fields)| fields).collect::<Vec<_>>().join("\n"),
                Format::Text | Format::Json => String::from_utf8(out).unwrap(),
            }
        };
        assert_eq!(told(Format::Text, 1, Reason::Rate), "hello ! 1 line dropped: more than logs.rate_lines_per_s\n");
        let blocked = "2 lines dropped: the output did not flow for logs.block_ms_max";
        let head = r#"{"ts":"1970-01-01T00:00:00.000000Z","service":"hello","dropped":2,"reason":"blocked""#;
        assert_eq!(told(Format::Json, 2, Reason::Blocked), format!("{head},\"line\":\"{blocked}\"}}\n"));
        assert_eq!(
            told(Format::Journal, 3, Reason::Slow),
            "MESSAGE=3 lines dropped: this reader is too slow\nPRIORITY=4\nSYSLOG_IDENTIFIER=hello\n\
             TORUS_SERVICE=hello\nTORUS_DROPPED=3\nTORUS_REASON=slow"
        );
    }

    #[test]
    fn base_64_is_that_of_the_rfc() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    proptest! {
        #[test]
        fn every_line_is_valid_json_and_nothing_of_it_is_lost(text in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut out = Vec::new();
            let line = Line { text: &text, continued: false, more: false };
            Origin::new("a", 1, Stream::Stdout, None).write(Format::Json, &Time::from_us(1), line, &mut out);
            prop_assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
            let object: serde_json::Value = serde_json::from_slice(&out).unwrap();
            match std::str::from_utf8(&text) {
                Ok(text) => prop_assert_eq!(object["line"].as_str(), Some(text)),
                Err(_) => prop_assert_eq!(&object["line_base64"], &serde_json::Value::from(base64(&text))),
            }
        }
    }
}
