//! What the supervisor says on the command socket: one JSON object in a packet, its descriptor beside it. Pure.

use serde::Deserialize;

use super::origin::{Format, Stream};

/// Bytes of one packet; a longer one is refused.
pub(super) const PACKET_BYTES_MAX: usize = 4096;

/// One packet.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Command {
    /// Reads a pipe from now on; its reading end comes with the packet. A source of that number before it is gone.
    Attach(Attach),
    /// The source is gone for good: what its pipe holds is still read, then it is closed.
    Detach(Which),
    /// The sources' processes have ended: what each wrote last is a line, ended or not.
    Ended(Ended),
    /// The source has a new process.
    Pid(NewPid),
    /// Is to be answered by a sign of life.
    Ping {},
    /// Somebody wants to read lines; a connected stream socket comes with the packet.
    Follow(Follow),
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Attach {
    /// The supervisor's number for it, by which later packets name it.
    pub(super) source: u64,
    pub(super) service: String,
    pub(super) instance: u32,
    pub(super) stream: Stream,
    #[serde(default)]
    pub(super) pid: Option<u32>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Which {
    pub(super) source: u64,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Ended {
    pub(super) sources: Vec<u64>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct NewPid {
    pub(super) source: u64,
    pub(super) pid: u32,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Follow {
    /// Whose lines; of all services if it names none.
    #[serde(default)]
    pub(super) service: Option<String>,
    /// Of this instance alone.
    #[serde(default)]
    pub(super) instance: Option<u32>,
    /// How many of the recent lines come first.
    #[serde(default)]
    pub(super) lines: u32,
    /// Whether later lines follow; if not, the socket is closed behind the recent ones.
    #[serde(default = "yes")]
    pub(super) follow: bool,
    #[serde(default)]
    pub(super) format: Format,
}

fn yes() -> bool {
    true
}

/// A packet's meaning; why it has none.
pub(super) fn parse(packet: &[u8]) -> Result<Command, serde_json::Error> {
    serde_json::from_slice(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_objects_of_one_key() {
        let attach = br#"{"attach":{"source":3,"service":"hello","instance":1,"stream":"stdout","pid":123}}"#;
        let expected =
            Attach { source: 3, service: "hello".into(), instance: 1, stream: Stream::Stdout, pid: Some(123) };
        assert_eq!(parse(attach).unwrap(), Command::Attach(expected));
        assert_eq!(parse(br#"{"detach":{"source":3}}"#).unwrap(), Command::Detach(Which { source: 3 }));
        assert_eq!(parse(br#"{"ended":{"sources":[3,4]}}"#).unwrap(), Command::Ended(Ended { sources: vec![3, 4] }));
        assert_eq!(parse(br#"{"pid":{"source":3,"pid":4}}"#).unwrap(), Command::Pid(NewPid { source: 3, pid: 4 }));
        let follow = Follow { service: None, instance: None, lines: 0, follow: true, format: Format::Text };
        assert_eq!(parse(br#"{"follow":{}}"#).unwrap(), Command::Follow(follow));
        for other in ["", "{}", r#"{"later":{}}"#, r#"{"detach":{}}"#, r#"{"follow":{"format":"journal"}}"#] {
            assert!(parse(other.as_bytes()).is_err(), "{other}");
        }
    }
}
