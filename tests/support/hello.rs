//! Hello, World: the transcript that every client prints, and the back-ends that every client is held against.

use std::process::Command;

use super::peer::{Kind, Message, Peer, Version};
use super::process::Talker;
use super::{BUS, Torus, programs};

/// What every client prints, to the letter.
pub(crate) const TRANSCRIPT: &str = "\
Connecting to server...
Sending request 1...
Sending request 2...
Sending request 3...
Sending request 4...
Sending request 5...
Received reply 1: World
Received reply 2: World
Received reply 3: World
Received reply 4: World
Received reply 5: World
";

/// Tests of one client: with each back-end behind the bus, and with those that can stand alone. `$talk` runs the client
/// against an endpoint and returns what it printed.
macro_rules! five_replies {
    ($client:ident, $talk:path) => {
        mod $client {
            use super::*;
            use crate::support::hello;

            #[test]
            fn gets_its_five_replies_from_the_built_in_back_end() {
                hello::behind_the_bus("worker: hello", $talk);
            }

            #[test]
            fn gets_its_five_replies_from_the_back_end_in_c() {
                hello::behind_the_bus(&hello::service(hello::c_backend()), $talk);
            }

            #[test]
            fn gets_its_five_replies_from_the_back_end_in_python() {
                hello::behind_the_bus(&hello::service(hello::python_backend()), $talk);
            }

            #[test]
            fn gets_its_five_replies_from_the_back_end_in_c_alone() {
                hello::alone(hello::c_backend(), $talk);
            }

            #[test]
            fn gets_its_five_replies_from_the_back_end_in_python_alone() {
                hello::alone(hello::python_backend(), $talk);
            }
        }
    };
}
pub(crate) use five_replies;

pub(crate) fn c_backend() -> Command {
    Command::new(programs::c("backends/c", "server"))
}

pub(crate) fn python_backend() -> Command {
    let mut command = Command::new(programs::python());
    command.arg(programs::example("backends/python/server.py"));
    command
}

/// A service of the configuration that runs a command. JSON's texts are YAML's too.
pub(crate) fn service(command: Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<&str> = words.map(|word| word.to_str().unwrap()).collect();
    format!("command: {}", serde_json::to_string(&words).unwrap())
}

/// Holds a client against a back-end that the supervisor runs.
pub(crate) fn behind_the_bus(service: &str, talk: fn(&str) -> String) {
    let torus = Torus::up(&format!("{BUS}services: {{ world: {{ {service} }} }}"));
    assert_eq!(talk(&torus.front()), TRANSCRIPT, "log:\n{}", torus.log());
    torus.until_counter("replies", 5);
    assert_eq!(torus.counter("requests"), 5);
}

/// Holds a client against a back-end that listens by itself, without a bus.
pub(crate) fn alone(mut backend: Command, talk: fn(&str) -> String) {
    let mut backend = Talker::start(backend.args(["--bind", "tcp://127.0.0.1:*"]));
    let line = backend.line();
    let endpoint = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("it says {line:?}"));
    assert_eq!(talk(endpoint), TRANSCRIPT);
}

/// Holds a client against a back-end that answers nobody before it has five requests, and then the last one first.
pub(crate) fn in_flight_at_once(talk: fn(&str) -> String) {
    let torus = Torus::up(BUS);
    let mut backend = Peer::connect(&torus.back(), Version::V3_1, Kind::Rep);
    let front = torus.front();
    let client = std::thread::spawn(move || talk(&front));
    let mut requests: Vec<Message> = (0..5).map(|_| backend.receive()).collect();
    assert_eq!(torus.counter("in_hand"), 5);
    assert_eq!(torus.counter("replies"), 0);
    while let Some(request) = requests.pop() {
        backend.answer(request, |body| {
            assert_eq!(body, [b"Hello"]);
            vec![b"World".to_vec()]
        });
    }
    assert_eq!(client.join().expect("the client's own failure is above"), TRANSCRIPT);
}
