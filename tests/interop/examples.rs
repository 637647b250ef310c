//! The configurations of examples/ do what they promise, started from the root of the repository.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use crate::support::hello::{TRANSCRIPT, c_backend, python_backend};
use crate::support::process::printed;
use crate::support::{TORUS, Torus, programs};

#[test]
fn the_example_with_the_back_end_in_c_serves() {
    serves("c-backend.yaml", 2);
}

#[test]
fn the_example_with_the_back_end_in_python_serves() {
    serves("python-backend.yaml", 1);
}

#[test]
fn the_example_with_three_back_ends_serves_with_all_of_them() {
    serves("three-backends.yaml", 3);
}

#[test]
fn no_example_is_left_out() {
    let files = fs::read_dir(programs::example("")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut files: Vec<String> = files.map(|name| name.into_string().unwrap()).collect();
    files.retain(|name| name.ends_with(".yaml"));
    files.sort();
    assert_eq!(files, ["c-backend.yaml", "python-backend.yaml", "three-backends.yaml"]);
}

#[test]
fn the_examples_in_c_and_python_say_how_they_are_called() {
    let c_client = Command::new(programs::c("clients/c", "client"));
    let mut python_client = Command::new(programs::python());
    python_client.arg(programs::example("clients/python/client.py"));
    for mut program in [c_client, python_client, c_backend(), python_backend()] {
        let said = printed("an example", program.arg("--help"));
        assert!(said.starts_with("usage: "), "{said}");
    }
}

#[test]
fn a_back_end_whose_port_is_taken_says_how_to_serve_behind_a_bus() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", taken.local_addr().unwrap());
    for mut backend in [c_backend(), python_backend()] {
        let output = backend.args(["--bind", &endpoint]).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(message.ends_with("hint: is a bus running? then --connect tcp://127.0.0.1:5556\n"), "{message}");
    }
}

/// Runs an example as it stands but for its ports: any free ones.
fn serves(file: &str, backends: u64) {
    let _built = c_backend();
    let file = programs::example(file);
    printed("config check", Command::new(TORUS).args(["config", "check"]).arg(&file));
    let text = fs::read_to_string(&file).unwrap();
    let on_free_ports = text.replace("front: 5555, back: 5556", "front: 0, back: 0");
    assert_ne!(on_free_ports, text, "the ports are written in another way now");
    let torus = Torus::up_with(&on_free_ports, |command| {
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
    });
    torus.until_counter("backends", backends);
    let client = ["request", "Hello", "--count", "5", "--endpoint", &torus.front()];
    assert_eq!(printed("torus request", Command::new(TORUS).args(client)), TRANSCRIPT);
}
