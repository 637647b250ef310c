//! `torus request`: sends requests and prints their replies, in the words of the original client.
//!
//! A DEALER with an empty delimiter, so that all requests are in flight at once. Built on the crate zeromq: the bus's
//! own code meets a stranger here.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use zeromq::{DealerSocket, Socket, SocketRecv, SocketSend, ZmqError, ZmqMessage};

use super::fail;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  torus request Hello --count 5\n  torus request Hello --endpoint tcp://127.0.0.1:5555"
)]
pub(super) struct RequestArgs {
    /// What to ask
    body: String,
    /// How many times
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Where the bus takes requests
    #[arg(long, default_value = "tcp://127.0.0.1:5555", value_name = "ENDPOINT")]
    endpoint: String,
    /// How long to wait for a connection, and then for each reply
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
}

/// Why there are not as many replies as were asked for.
#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error(
        "cannot connect to {endpoint}: {cause}\nhint: is the bus running? `torus status` tells, `torus run` starts it"
    )]
    Connect { endpoint: String, cause: String },
    #[error("cannot send request {number} to {endpoint}: {cause}")]
    Send { number: u32, endpoint: String, cause: ZmqError },
    #[error("cannot receive reply {number} from {endpoint}: {cause}")]
    Receive { number: u32, endpoint: String, cause: ZmqError },
    #[error(
        "no reply {number} from {endpoint} within {seconds} s\n\
         hint: `torus status` tells whether back-ends are present and what was lost"
    )]
    Timeout { number: u32, endpoint: String, seconds: u64 },
    #[error("cannot print: {0}")]
    Output(#[from] io::Error),
}

pub(super) fn run(arguments: &RequestArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(request(arguments)),
        Err(error) => return fail(format_args!("cannot start the event loop: {error}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error),
    }
}

async fn request(arguments: &RequestArgs) -> Result<(), RequestError> {
    let endpoint = || arguments.endpoint.clone();
    let wait = Duration::from_secs(arguments.timeout);
    let mut output = io::stdout();
    writeln!(output, "Connecting to server...")?;
    let mut socket = DealerSocket::new();
    match tokio::time::timeout(wait, socket.connect(&arguments.endpoint)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(RequestError::Connect { endpoint: endpoint(), cause: error.to_string() }),
        Err(_) => {
            let cause = format!("no answer within {} s", arguments.timeout);
            return Err(RequestError::Connect { endpoint: endpoint(), cause });
        }
    }
    for number in 1..=arguments.count {
        writeln!(output, "Sending request {number}...")?;
        let mut message = ZmqMessage::from(Bytes::new());
        message.push_back(Bytes::copy_from_slice(arguments.body.as_bytes()));
        socket.send(message).await.map_err(|cause| RequestError::Send { number, endpoint: endpoint(), cause })?;
    }
    for number in 1..=arguments.count {
        let reply = tokio::time::timeout(wait, socket.recv()).await.map_err(|_| RequestError::Timeout {
            number,
            endpoint: endpoint(),
            seconds: arguments.timeout,
        })?;
        let reply = reply.map_err(|cause| RequestError::Receive { number, endpoint: endpoint(), cause })?;
        // The first frame is the empty delimiter.
        let body = reply.iter().skip(1).map(|frame| String::from_utf8_lossy(frame)).collect::<Vec<_>>().join(" ");
        writeln!(output, "Received reply {number}: {body}")?;
    }
    Ok(())
}
