//! The language of the control socket: one line of JSON each way, each with the version of the language.
//!
//! `{"version":1,"command":"status"}` is answered by a [`Status`], or by `{"version":1,"error":"..."}`. What changes
//! something is answered when the change is reached, or cannot be any more: see [`Done`].

use std::collections::BTreeMap;
use std::fmt;
use std::hint::black_box;

use serde::{Deserialize, Serialize};

use crate::sys::signals;

/// The language's version. It changes when an old client would misunderstand; new fields do not change it.
pub const VERSION: u32 = 1;
/// Bytes of a request, its newline included; a longer one is refused.
pub const REQUEST_BYTES_MAX: usize = 4096;

/// The version, where it can be found in the program's file too, without running it.
static MARKED_VERSION: &str = concat!("torus-version:", env!("CARGO_PKG_VERSION"));

/// The version of this torus.
pub fn torus_version() -> &'static str {
    // Kept from being folded into its users, so that the file has it in one place only.
    let marked = black_box(MARKED_VERSION);
    marked.split_once(':').map_or(marked, |(_, version)| version)
}

/// What the supervisor can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// How everything is.
    Status,
    /// A service is to run.
    Start {
        /// Its name.
        service: String,
    },
    /// A service is to end.
    Stop {
        /// Its name.
        service: String,
    },
    /// A service's instances are to get new processes, one after the other.
    Restart {
        /// Its name.
        service: String,
    },
    /// A service's processes, not what they started, are to get a signal.
    Signal {
        /// Its name.
        service: String,
        /// The signal: `HUP`, `SIGHUP` or `1`.
        signal: String,
    },
    /// What another configuration would change.
    Plan {
        /// The file; without one, that which was read last.
        file: Option<String>,
    },
    /// What services have written. The reply is followed by lines, see [`Follow`].
    Logs(Follow),
    /// The configuration is to be read again.
    Reload {
        /// The file; without one, that which was read last.
        file: Option<String>,
    },
    /// The supervisor is to become another build of itself, and everything else to stay as it is.
    Upgrade {
        /// The program's file; without one, where this one was started from.
        binary: Option<String>,
    },
}

/// Which lines of services somebody wants to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follow {
    /// The service; without one, all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Which of its instances; without one, all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<u32>,
    /// How many of the lines that were written last.
    pub lines: u32,
    /// Whether those that are still to come too.
    pub follow: bool,
    /// `text` or `json`.
    pub format: String,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// To [`Command::Status`].
    Status(Box<Status>),
    /// To [`Command::Plan`].
    Plan(Plan),
    /// To everything that changes something.
    Done(Done),
    /// To [`Command::Logs`]: after this line lines of services follow.
    Lines {
        /// The language's version.
        version: u32,
        /// Always true.
        lines: bool,
    },
    /// The request makes no sense, or may not be made.
    Refused {
        /// The language's version.
        version: u32,
        /// Why.
        error: String,
    },
}

/// What another configuration would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The language's version.
    pub version: u32,
    /// The file that says so, as its reader knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Service by service; what stays as it is is left out.
    pub changes: Vec<Change>,
}

/// What would happen to one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The service.
    pub service: String,
    /// What would happen.
    pub what: What,
    /// Why.
    pub why: String,
}

/// What a new configuration means to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// New processes.
    Start,
    /// The end of processes.
    Stop,
    /// New processes for old ones, one after the other.
    Restart,
    /// A change of rules alone: no process notices.
    Nothing,
}

/// What a command has reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The language's version.
    pub version: u32,
    /// Whether that is what was asked for.
    pub reached: bool,
    /// The services that it moved, as they are now.
    pub services: Vec<ServiceStatus>,
    /// Who is to blame if it was not reached: a sentence for each instance that gets no further.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
    /// The version of the torus that runs now, after an upgrade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub torus: Option<String>,
}

/// How everything is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The language's version.
    pub version: u32,
    /// The version of the torus that runs.
    pub torus: String,
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
    /// Bytes that services wrote while there was no log worker for too long.
    #[serde(default)]
    pub discarded_bytes: u64,
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
    /// Milliseconds until it is started again, when it waits or rests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_in_ms: Option<u64>,
    /// What it waits for before its first start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// What its process says about itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
    /// What its process was started from that is no longer so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_configuration: Option<String>,
    /// What it could not be given here.
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

impl ServiceStatus {
    /// A sentence on an instance that is not where it should be.
    pub fn sentence(&self) -> String {
        let Self { name, instance, state, waits_for, last_exit, .. } = self;
        let waits = waits_for.iter().map(|what| format!(", waits for {what}"));
        let ended = last_exit.iter().map(|exit| match exit {
            LastExit::NotStarted(cause) => format!(", cannot be started: {cause}"),
            exit => format!(", ended last with {exit}"),
        });
        format!("{name}/{instance} is {state}{}", waits.chain(ended).collect::<String>())
    }
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
    /// Whether it changes nothing, so that everyone may ask.
    pub fn only_asks(&self) -> bool {
        matches!(self, Self::Status | Self::Plan { file: None } | Self::Logs(_))
    }

    /// The request as it is sent, newline included.
    pub fn to_line(&self) -> String {
        #[derive(Serialize)]
        struct Request<'a> {
            version: u32,
            #[serde(flatten)]
            command: &'a Command,
        }
        let request = Request { version: VERSION, command: self };
        serde_json::to_string(&request).expect("text and numbers are always JSON") + "\n"
    }

    /// Reads a request; the error is the text to answer.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
            command: String,
        }
        let no_request = |cause: serde_json::Error| format!("not a request: {cause}");
        let head: Head = serde_json::from_slice(line).map_err(no_request)?;
        if head.version != VERSION {
            return Err(format!("version {} is not spoken here; this is version {VERSION}", head.version));
        }
        serde_json::from_slice(line).map_err(|cause| {
            let unknown = cause.to_string().starts_with("unknown variant");
            if unknown { format!("unknown command {:?}", head.command) } else { no_request(cause) }
        })
    }
}

impl Change {
    /// Whether any process comes or goes.
    pub fn moves(&self) -> bool {
        self.what != What::Nothing
    }
}

impl What {
    /// The word, as users read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Nothing => "nothing",
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
        assert_eq!(Command::Status.to_line(), "{\"version\":1,\"command\":\"status\"}\n");
        for command in [
            Command::Status,
            Command::Restart { service: "a".into() },
            Command::Reload { file: None },
            Command::Upgrade { binary: Some("/b".into()) },
        ] {
            assert_eq!(Command::parse(command.to_line().as_bytes()), Ok(command));
        }
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
