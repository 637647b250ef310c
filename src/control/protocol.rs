//! The language of the control socket: one line of JSON each way, each with the version of the language.
//!
//! `{"version":1,"command":"status"}` is answered by a [`Status`], or by `{"version":1,"error":"..."}`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::sys::signals;

/// The language's version. It changes when an old client would misunderstand; new fields do not change it.
pub const VERSION: u32 = 1;
/// Bytes of a request, its newline included; a longer one is refused.
pub const REQUEST_BYTES_MAX: usize = 4096;

/// What the supervisor can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// How everything is.
    Status,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// To [`Command::Status`].
    Status(Box<Status>),
    /// The request makes no sense, or may not be made.
    Refused {
        /// The language's version.
        version: u32,
        /// Why.
        error: String,
    },
}

/// How everything is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The language's version.
    pub version: u32,
    /// The supervisor's process id.
    pub pid: i32,
    /// Milliseconds since the supervisor started.
    pub uptime_ms: u64,
    /// The whole house in a word: starting, running, degraded, stopping, down.
    pub state: String,
    /// Where the bus listens.
    pub endpoints: Endpoints,
    /// Each instance of each service, bus workers first.
    pub services: Vec<ServiceStatus>,
    /// Counters by worker and name, the instances of a worker summed. They outlive the workers' processes.
    pub counters: BTreeMap<String, BTreeMap<String, u64>>,
    /// Processes that were nobody's any more and ended in our care.
    pub orphans_reaped: u64,
}

/// Where the bus listens, as really bound.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// For clients: `tcp://ADDRESS:PORT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_front: Option<String>,
    /// For back-ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_back: Option<String>,
}

/// One instance of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// The service.
    pub name: String,
    /// Which of its instances, from 1.
    pub instance: u32,
    /// What it is: a built-in worker's kind, or `command`.
    pub kind: String,
    /// Where it is in its life.
    pub state: String,
    /// Its process, if it has one.
    pub pid: Option<i32>,
    /// Milliseconds since that process was started.
    pub uptime_ms: Option<u64>,
    /// How often it was started again.
    pub restarts: u64,
    /// How its last process ended, if one has.
    pub last_exit: Option<LastExit>,
    /// What its last start did without, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LastExit {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It could not be started, because.
    NotStarted(String),
}

impl fmt::Display for LastExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "code {code}"),
            Self::Signal(number) => match signals::name(*number) {
                Some(name) => write!(f, "signal {number} ({name})"),
                None => write!(f, "signal {number}"),
            },
            Self::NotStarted(cause) => write!(f, "not started: {cause}"),
        }
    }
}

impl Command {
    /// The request as it is sent, newline included.
    pub fn to_line(self) -> String {
        match self {
            Self::Status => format!("{{\"version\":{VERSION},\"command\":\"status\"}}\n"),
        }
    }

    /// Reads a request; the error is the text to answer.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Request {
            version: u32,
            command: String,
        }
        let request: Request = serde_json::from_slice(line).map_err(|cause| format!("not a request: {cause}"))?;
        if request.version != VERSION {
            return Err(format!("version {} is not spoken here; this is version {VERSION}", request.version));
        }
        match request.command.as_str() {
            "status" => Ok(Self::Status),
            other => Err(format!("unknown command {other:?}")),
        }
    }
}

impl Reply {
    /// A refusal.
    pub fn refused(error: impl Into<String>) -> Self {
        Self::Refused { version: VERSION, error: error.into() }
    }

    /// The reply as it is sent, newline included.
    pub fn to_line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("text and numbers are always JSON");
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_its_journey() {
        assert_eq!(Command::parse(Command::Status.to_line().as_bytes()), Ok(Command::Status));
    }

    #[test]
    fn what_is_no_request_of_this_version_is_told_so() {
        let error = |line: &str| Command::parse(line.as_bytes()).unwrap_err();
        assert!(error("GET / HTTP/1.1").starts_with("not a request: "));
        assert_eq!(error(r#"{"version":2,"command":"status"}"#), "version 2 is not spoken here; this is version 1");
        assert_eq!(error(r#"{"version":1,"command":"dance"}"#), "unknown command \"dance\"");
    }

    #[test]
    fn an_end_is_told_in_words() {
        assert_eq!(LastExit::Code(3).to_string(), "code 3");
        assert_eq!(LastExit::Signal(9).to_string(), "signal 9 (SIGKILL)");
        assert_eq!(LastExit::Signal(40).to_string(), "signal 40");
    }
}
