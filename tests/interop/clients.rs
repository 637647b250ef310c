//! The clients in C and Python, `torus request`, and a REQ of the crate zeromq: each with every back-end.

use std::process::Command;

use zeromq::{ReqSocket, Socket, SocketRecv, SocketSend};

use crate::support::hello::{five_replies, in_flight_at_once};
use crate::support::process::printed;
use crate::support::{PATIENCE, TORUS, programs};

five_replies!(c, c_client);
five_replies!(python, python_client);
five_replies!(torus_request, torus_client);
five_replies!(req_of_the_crate_zeromq, zeromq_client);

#[test]
fn the_client_in_c_has_its_five_requests_in_flight_at_once() {
    in_flight_at_once(c_client);
}

#[test]
fn the_client_in_python_has_its_five_requests_in_flight_at_once() {
    in_flight_at_once(python_client);
}

#[test]
fn torus_request_has_its_five_requests_in_flight_at_once() {
    in_flight_at_once(torus_client);
}

fn c_client(endpoint: &str) -> String {
    printed("the client in C", Command::new(programs::c("clients/c", "client")).arg(endpoint))
}

fn python_client(endpoint: &str) -> String {
    let client = programs::example("clients/python/client.py");
    printed("the client in Python", Command::new(programs::python()).arg(client).arg(endpoint))
}

fn torus_client(endpoint: &str) -> String {
    let arguments = ["request", "Hello", "--count", "5", "--endpoint", endpoint];
    printed("torus request", Command::new(TORUS).args(arguments))
}

/// It has no words of its own, so it is given the original's; a REQ sends again only after the reply.
fn zeromq_client(endpoint: &str) -> String {
    let talk = async {
        let mut transcript = "Connecting to server...\n".to_owned();
        let mut socket = ReqSocket::new();
        socket.connect(endpoint).await.unwrap();
        for number in 1..=5 {
            transcript += &format!("Sending request {number}...\n");
        }
        for number in 1..=5 {
            socket.send("Hello".into()).await.unwrap();
            let reply = socket.recv().await.unwrap();
            assert_eq!(reply.len(), 1, "{reply:?}");
            transcript += &format!("Received reply {number}: {}\n", String::from_utf8_lossy(reply.get(0).unwrap()));
        }
        transcript
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, talk).await }).expect("five replies in time")
}
