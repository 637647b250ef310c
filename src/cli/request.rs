//! `torus request`: sends requests and prints their replies, in the words of the original client.
//!
//! A DEALER with an empty delimiter, so that all requests are in flight at once. Built on the crate zeromq: the bus's
//! own code meets a stranger here.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use tokio::net::TcpStream;
use tokio::time::timeout;
use zeromq::{DealerSocket, Socket, SocketRecv, SocketSend, ZmqError, ZmqMessage};

use super::{escape, fail, fail_output, reachable};
use crate::control::ServiceStatus;
use crate::control::client::{self, ClientError};
use crate::sys::runtime::{self, Directory};

/// Where the bus takes requests when nobody tells otherwise.
const ENDPOINT: &str = "tcp://127.0.0.1:5555";
/// Requests under way at once; beyond it, each waits for a reply to an earlier one. More would fill every buffer up to
/// the bus, and then neither side could go on.
const IN_FLIGHT_MAX: u32 = 1_000;
/// Seconds of patience, a day: whoever wants more wants a service.
const TIMEOUT_SECONDS_MAX: u64 = 86_400;
/// What finding out why nothing came of it may take, at each step.
const MOMENT: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  torus request Hello --count 5\n  torus request Hello --endpoint tcp://127.0.0.1:5555"
)]
pub(super) struct RequestArgs {
    /// What to ask
    body: String,
    /// How many times
    #[arg(long, default_value_t = 1, value_name = "N", allow_negative_numbers = true, value_parser = parse_count)]
    count: u32,
    /// Where the bus takes requests [default: where the torus of this machine does, else tcp://127.0.0.1:5555]
    #[arg(long, value_name = "ENDPOINT")]
    endpoint: Option<String>,
    /// How long to wait for a connection, and then for each reply
    #[arg(long, default_value_t = 5, value_name = "SECONDS", allow_negative_numbers = true, value_parser = parse_timeout)]
    timeout: u64,
}

/// Why there are not as many replies as were asked for.
#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error("endpoint {0:?} is not understood\nhint: an endpoint looks like {ENDPOINT}")]
    Endpoint(String),
    #[error(transparent)]
    Nobody(#[from] ClientError),
    #[error(
        "the torus of {} takes no requests\nhint: its configuration has no bus.requests; `torus status` tells what runs",
        .0.display()
    )]
    NoRequests(PathBuf),
    #[error(
        "{endpoint} is where back-ends connect: whoever asks there is given requests instead of replies\n\
         hint: clients connect to {front}"
    )]
    Back { endpoint: String, front: String },
    #[error(
        "cannot connect to {endpoint}: {cause}\nhint: is the bus running? `torus status` tells, `torus run` starts it"
    )]
    Connect { endpoint: String, cause: String },
    #[error("{endpoint} is not served: {worker} is {state}\nhint: {hint}")]
    NotServed { endpoint: String, worker: String, state: String, hint: String },
    #[error("cannot send request {number} to {endpoint}: {cause}")]
    Send { number: u32, endpoint: String, cause: ZmqError },
    #[error("{endpoint} did not take request {number} within {seconds} s\nhint: `torus status` tells how much waits")]
    Full { number: u32, endpoint: String, seconds: u64 },
    #[error("cannot receive reply {number} from {endpoint}: {cause}")]
    Receive { number: u32, endpoint: String, cause: ZmqError },
    #[error(
        "no reply {number} from {endpoint} within {seconds} s\n\
         hint: `torus status` tells whether back-ends are present and what was lost"
    )]
    Timeout { number: u32, endpoint: String, seconds: u64 },
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

/// `runtime_dir` is the runtime directory of the command line.
pub(super) fn run(arguments: &RequestArgs, runtime_dir: Option<&Path>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(format_args!("cannot start the event loop: {error}")),
    };
    let endpoint = match &arguments.endpoint {
        Some(endpoint) => at_the_front(endpoint, &runtime::directory(runtime_dir)),
        None => endpoint_here(runtime_dir),
    };
    let requested = endpoint.and_then(|endpoint| {
        let requested = runtime.block_on(request(arguments, endpoint.clone()));
        requested.map_err(|error| because_of_its_worker(error, endpoint, &runtime::directory(runtime_dir)))
    });
    match requested {
        Ok(()) => ExitCode::SUCCESS,
        Err(RequestError::Output(error)) => fail_output(&error),
        Err(error) => fail(error),
    }
}

/// Where the torus of this machine takes requests. If the user named its runtime directory, that torus is meant and no
/// other. If not, one that does not answer is no reason to give up: a bus of another user may be there all the same.
fn endpoint_here(runtime_dir: Option<&Path>) -> Result<String, RequestError> {
    let directory = runtime::directory(runtime_dir);
    let front = match client::status(&directory) {
        Ok(status) if directory.is_named => {
            Some(status.endpoints.requests_front.ok_or(RequestError::NoRequests(directory.path))?)
        }
        Err(error) if directory.is_named => return Err(error.into()),
        asked => asked.ok().and_then(|status| status.endpoints.requests_front),
    };
    Ok(front.map_or_else(|| ENDPOINT.to_owned(), |front| reachable(&front)))
}

/// The endpoint that the user named, unless the torus of this machine tells that back-ends connect there: a request
/// would be lost there, and a reply would be somebody else's request.
fn at_the_front(endpoint: &str, runtime_directory: &Directory) -> Result<String, RequestError> {
    let endpoint = endpoint.to_owned();
    let endpoints = client::status(runtime_directory).ok().map(|status| status.endpoints);
    match endpoints.and_then(|endpoints| endpoints.requests_front.zip(endpoints.requests_back)) {
        Some((front, back)) if reachable(&back) == in_numbers(&endpoint) => {
            Err(RequestError::Back { endpoint, front: reachable(&front) })
        }
        _ => Ok(endpoint),
    }
}

/// The endpoint as the torus of this machine tells it.
fn in_numbers(endpoint: &str) -> String {
    endpoint.replace("//localhost:", "//127.0.0.1:")
}

/// What the torus of this machine says, if it is the one that was asked, and its worker does not serve: the port is
/// open all the same, since the supervisor holds it.
fn because_of_its_worker(error: RequestError, endpoint: String, runtime_directory: &Directory) -> RequestError {
    if matches!(error, RequestError::Endpoint(_) | RequestError::Output(_)) {
        return error;
    }
    let Ok(status) = client::status_within(runtime_directory, MOMENT) else { return error };
    let asked = status.endpoints.requests_front.as_deref().map(reachable) == Some(in_numbers(&endpoint));
    let worker = status.services.into_iter().find(|service| service.kind == "requests" && service.state != "running");
    match worker.filter(|_| asked) {
        Some(ServiceStatus { name, instance, state, .. }) => {
            let hint = match state.as_str() {
                "stopped" | "failed" | "quarantined" | "waiting" => format!("`torus start {name}` starts it"),
                _ => "`torus status` tells more".to_owned(),
            };
            RequestError::NotServed { endpoint, worker: format!("{name}/{instance}"), state, hint }
        }
        None => error,
    }
}

fn parse_count(text: &str) -> Result<u32, String> {
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| format!("it takes a whole number from 1 to {}", u32::MAX))
}

fn parse_timeout(text: &str) -> Result<u64, String> {
    let seconds = text.parse().ok().filter(|seconds| (1..=TIMEOUT_SECONDS_MAX).contains(seconds));
    seconds.ok_or_else(|| format!("it takes a whole number of seconds from 1 to {TIMEOUT_SECONDS_MAX}"))
}

async fn request(arguments: &RequestArgs, endpoint: String) -> Result<(), RequestError> {
    let address = address(&endpoint)?;
    let mut output = io::stdout();
    writeln!(output, "Connecting to server...")?;
    let mut talk =
        Talk { socket: DealerSocket::new(), endpoint: &endpoint, wait: Duration::from_secs(arguments.timeout) };
    talk.connect(address).await?;
    for step in steps(arguments.count) {
        match step {
            Step::Send(number) => {
                writeln!(output, "Sending request {number}...")?;
                talk.send(number, &arguments.body).await?;
            }
            Step::Receive(number) => {
                let body = talk.receive(number).await?;
                writeln!(output, "Received reply {number}: {}", escape::line(&body))?;
            }
        }
    }
    Ok(())
}

/// `HOST:PORT` of an endpoint. `*` is no host: it stands for all addresses of a server.
fn address(endpoint: &str) -> Result<&str, RequestError> {
    endpoint
        .strip_prefix("tcp://")
        .filter(|address| {
            address
                .rsplit_once(':')
                .is_some_and(|(host, port)| !["", "*"].contains(&host) && port.parse::<u16>().is_ok())
        })
        .ok_or_else(|| RequestError::Endpoint(endpoint.to_owned()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Send(u32),
    Receive(u32),
}

/// What to do in which order: all requests first, then their replies, as far as [`IN_FLIGHT_MAX`] allows.
fn steps(count: u32) -> impl Iterator<Item = Step> {
    let sends = (1..=count).flat_map(|number| {
        let reply_first = number.checked_sub(IN_FLIGHT_MAX).filter(|earlier| *earlier > 0).map(Step::Receive);
        reply_first.into_iter().chain([Step::Send(number)])
    });
    let rest = (count.saturating_sub(IN_FLIGHT_MAX) + 1)..=count;
    sends.chain(rest.map(Step::Receive))
}

/// A conversation with the bus; every word of it is bounded in time.
struct Talk<'a> {
    socket: DealerSocket,
    endpoint: &'a str,
    wait: Duration,
}

impl Talk<'_> {
    async fn connect(&mut self, address: &str) -> Result<(), RequestError> {
        let cause = match timeout(self.wait, self.socket.connect(self.endpoint)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(ZmqError::Endpoint(_))) => return Err(RequestError::Endpoint(self.endpoint.to_owned())),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("{}, tried for {} s", silence(address).await, self.wait.as_secs()),
        };
        Err(RequestError::Connect { endpoint: self.endpoint.to_owned(), cause })
    }

    async fn send(&mut self, number: u32, body: &str) -> Result<(), RequestError> {
        // The first frame is the empty delimiter.
        let mut message = ZmqMessage::from(Bytes::new());
        message.push_back(Bytes::copy_from_slice(body.as_bytes()));
        let endpoint = || self.endpoint.to_owned();
        timeout(self.wait, self.socket.send(message))
            .await
            .map_err(|_| RequestError::Full { number, endpoint: endpoint(), seconds: self.wait.as_secs() })?
            .map_err(|cause| RequestError::Send { number, endpoint: endpoint(), cause })
    }

    async fn receive(&mut self, number: u32) -> Result<String, RequestError> {
        let endpoint = || self.endpoint.to_owned();
        let reply = timeout(self.wait, self.socket.recv())
            .await
            .map_err(|_| RequestError::Timeout { number, endpoint: endpoint(), seconds: self.wait.as_secs() })?
            .map_err(|cause| RequestError::Receive { number, endpoint: endpoint(), cause })?;
        Ok(reply.iter().skip(1).map(|frame| String::from_utf8_lossy(frame)).collect::<Vec<_>>().join(" "))
    }
}

/// Why nothing came of connecting: the library tries again and again and does not tell, the system does.
async fn silence(address: &str) -> String {
    match timeout(MOMENT, TcpStream::connect(address)).await {
        Ok(Err(error)) => error.to_string(),
        Ok(Ok(_)) => "something listens there and does not speak ZMTP".to_owned(),
        Err(_) => "no answer".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_to_a_thousand_requests_are_all_sent_before_the_first_reply_is_read() {
        for count in [1, 5, IN_FLIGHT_MAX] {
            let expected = (1..=count).map(Step::Send).chain((1..=count).map(Step::Receive));
            assert!(steps(count).eq(expected), "{count}");
        }
    }

    #[test]
    fn of_many_requests_a_thousand_are_in_flight_and_each_is_answered_once() {
        let (mut sent, mut received) = (0, 0);
        for step in steps(3 * IN_FLIGHT_MAX) {
            match step {
                Step::Send(number) => sent = number,
                Step::Receive(number) => {
                    assert_eq!(number, received + 1);
                    received = number;
                }
            }
            assert!(sent - received <= IN_FLIGHT_MAX);
        }
        assert_eq!((sent, received), (3 * IN_FLIGHT_MAX, 3 * IN_FLIGHT_MAX));
    }

    #[test]
    fn what_is_no_endpoint_is_told_with_what_one_looks_like() {
        for text in
            ["x", "127.0.0.1:5555", "ipc:///tmp/x", "tcp://127.0.0.1", "tcp://:5555", "tcp://*:5555", "tcp://h:65536"]
        {
            let error = address(text).unwrap_err().to_string();
            let told = format!("endpoint {text:?} is not understood\nhint: an endpoint looks like {ENDPOINT}");
            assert_eq!(error, told);
        }
        assert_eq!(address("tcp://[::1]:5555").unwrap(), "[::1]:5555");
    }

    #[tokio::test]
    async fn a_refused_connection_is_told_in_the_words_of_the_system() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert_eq!(silence(&address).await, "something listens there and does not speak ZMTP");
        drop(listener);
        assert_eq!(silence(&address).await, "Connection refused (os error 111)");
    }
}
