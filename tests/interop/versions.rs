//! ZMTP 2.0, 3.0 and 3.1 side by side: clients and back-ends of every version, with and without a delimiter, and
//! peers that call themselves the same.

use std::process::Command;

use crate::support::peer::{Kind, Peer, Version};
use crate::support::process::printed;
use crate::support::{BUS, Torus, programs};

/// How a client writes a request: its kind of socket, and what goes before the body and comes back before the reply.
const CLIENTS: [(Kind, &[&[u8]]); 4] =
    [(Kind::Req, &[b""]), (Kind::Dealer, &[b""]), (Kind::Dealer, &[b"number 1", b""]), (Kind::Dealer, &[])];

#[test]
fn clients_of_every_version_and_kind_get_their_replies() {
    let torus = Torus::up(&format!("{BUS}services: {{ hello: {{ worker: hello }} }}"));
    let front = torus.front();
    for version in Version::ALL {
        for (kind, envelope) in CLIENTS {
            let mut client = Peer::connect(&front, version, kind);
            client.send(&[envelope, &[b"Hello"]].concat());
            let expected = [envelope, &[b"World"]].concat();
            assert_eq!(client.receive(), expected, "a {kind:?} of {version:?} behind {envelope:?}");
        }
    }
}

#[test]
fn back_ends_of_every_version_and_kind_serve_clients_of_every_version() {
    for backend_version in Version::ALL {
        for backend_kind in [Kind::Rep, Kind::Dealer] {
            let torus = Torus::up(BUS);
            let (front, back) = (torus.front(), torus.back());
            let mut backend = Peer::connect(&back, backend_version, backend_kind);
            for version in Version::ALL {
                for (kind, envelope) in CLIENTS {
                    let cell = format!("{backend_kind:?} of {backend_version:?} for {kind:?} of {version:?}");
                    let mut client = Peer::connect(&front, version, kind);
                    client.send(&[envelope, &[b"Hello"]].concat());
                    let request = backend.receive();
                    backend.answer(request, |body| {
                        assert_eq!(body, [b"Hello"], "{cell}");
                        vec![b"World".to_vec()]
                    });
                    assert_eq!(client.receive(), [envelope, &[b"World"]].concat(), "{cell}");
                }
            }
        }
    }
}

#[test]
fn two_clients_with_one_identity_get_their_own_replies_and_are_counted() {
    let torus = Torus::up(BUS);
    Peer::connect(&torus.back(), Version::V3_1, Kind::Rep).echo();
    let mut twins = Command::new(programs::python());
    twins.arg(programs::libzmq()).args(["twins", &torus.front()]);
    assert_eq!(printed("the twins", &mut twins), "apart\n");
    assert_eq!(torus.counter("duplicate_identities"), 1);
    torus.until_counter("replies", 200);
}

#[test]
fn two_back_ends_with_one_identity_are_both_given_work_and_are_counted() {
    let torus = Torus::up("bus: { requests: { front: 0, back: 0, window: 1 } }");
    let mut twins =
        [Version::V2_0, Version::V3_1].map(|version| Peer::connect_as(&torus.back(), version, Kind::Rep, b"twin"));
    torus.until_counter("backends", 2);
    assert_eq!(torus.counter("duplicate_identities"), 1);
    let mut client = Peer::connect(&torus.front(), Version::V3_1, Kind::Dealer);
    client.send(&["", "one"]);
    client.send(&["", "two"]);
    // Both are in hand before either is answered: with a window of 1, each has one of them.
    let requests = twins.each_mut().map(Peer::receive);
    for (twin, request) in twins.iter_mut().zip(requests) {
        twin.answer(request, <[_]>::to_vec);
    }
    let mut replies = [client.receive(), client.receive()];
    replies.sort();
    assert_eq!(replies, [["", "one"], ["", "two"]].map(|reply| reply.map(|part| part.as_bytes().to_vec()).to_vec()));
    assert_eq!(torus.counter("dropped.unsolicited_reply"), 0);
}
