//! Messages of every shape between libzmq peers, and what becomes of a request whose back-end is killed.

use std::process::Command;

use crate::support::hello::c_backend;
use crate::support::peer::{Kind, Peer, Version};
use crate::support::process::{Talker, printed, signal};
use crate::support::{BUS, Torus, programs};

#[test]
fn multipart_requests_and_replies_keep_their_frames() {
    let many = vec!["1"; 1000].join(",");
    comes_back(&["5,3", "0", "0,0,7", "5,0", "1,300,0,70000,2", &many]);
}

#[test]
fn a_message_of_1_mib_goes_through() {
    comes_back(&["1048576"]);
}

#[test]
fn a_message_of_15_mib_goes_through() {
    comes_back(&["15728640", "5", "7864320,1,7864319"]);
}

#[test]
fn the_request_of_a_killed_back_end_is_answered_by_another_if_it_may_be_repeated() {
    let torus = Torus::up("bus: { requests: { front: 0, back: 0, idempotent: true } }");
    let mut holder = Talker::start(libzmq().args(["hold", &torus.back()]));
    let mut client = Peer::connect(&torus.front(), Version::V3_1, Kind::Req);
    client.send(&["", "Hello"]);
    holder.says("holding");
    let _other = Talker::start(c_backend().args(["--connect", &torus.back()]));
    torus.until_counter("backends", 2);
    signal("KILL", holder.pid());
    assert_eq!(client.receive(), [&b""[..], b"World"]);
    torus.until_counter("replies", 1);
    assert_eq!(torus.counter("lost.backend_gone"), 0);
}

/// Sends messages, as frames of these sizes, from libzmq to libzmq and back.
fn comes_back(messages: &[&str]) {
    let torus = Torus::up(BUS);
    let _echo = Talker::start(libzmq().args(["echo", &torus.back()]));
    let told = printed("the client", libzmq().args(["echoed", &torus.front()]).args(messages));
    assert_eq!(told.lines().collect::<Vec<_>>(), messages, "log:\n{}", torus.log());
}

fn libzmq() -> Command {
    let mut command = Command::new(programs::python());
    command.arg(programs::libzmq());
    command
}
