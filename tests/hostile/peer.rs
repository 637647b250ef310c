//! A peer that says whatever it is told to: bytes, not a ZeroMQ library, which would refuse to misbehave.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{MsgFlags, send, setsockopt, sockopt};

use crate::house::{House, PATIENCE};

/// A frame's flags.
pub(crate) const MORE: u8 = 1;
pub(crate) const LONG: u8 = 2;
pub(crate) const COMMAND: u8 = 4;

/// Where a peer comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Front,
    Back,
}

impl Door {
    pub(crate) const BOTH: [Self; 2] = [Self::Front, Self::Back];

    /// The socket type that belongs there, by its name in READY and its number in a 2.0 greeting.
    fn socket_type(self) -> (&'static str, u8) {
        match self {
            Self::Front => ("DEALER", 5),
            Self::Back => ("REP", 4),
        }
    }
}

/// A connection of ours.
pub(crate) struct Peer(TcpStream);

impl Peer {
    pub(crate) fn connect(house: &House, door: Door) -> Self {
        let stream = TcpStream::connect(house.address(door)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Connects, greets as an honest peer would, and reads what it is greeted with.
    pub(crate) fn joined(house: &House, door: Door, identity: &[u8]) -> Self {
        let mut peer = Self::connect(house, door);
        peer.say(&hello(door, identity));
        peer.skip_greeting();
        peer
    }

    /// Reads past the bus's own greeting and READY.
    pub(crate) fn skip_greeting(&mut self) {
        self.hear(64);
        self.frame();
    }

    /// Sends all of it.
    pub(crate) fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Sends all of it, the last byte as urgent data.
    pub(crate) fn say_urgently(&mut self, bytes: &[u8]) {
        assert_eq!(send(self.0.as_raw_fd(), bytes, MsgFlags::MSG_OOB), Ok(bytes.len()));
    }

    /// Sends as much of it as the bus takes before it hangs up.
    pub(crate) fn try_say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Reads so many bytes.
    pub(crate) fn hear(&mut self, bytes: usize) -> Vec<u8> {
        let mut heard = vec![0; bytes];
        self.0.read_exact(&mut heard).unwrap();
        heard
    }

    /// Reads one frame: its flags and its body.
    pub(crate) fn frame(&mut self) -> (u8, Vec<u8>) {
        let flags = self.hear(1)[0];
        let length = match flags & LONG {
            0 => u64::from(self.hear(1)[0]),
            _ => u64::from_be_bytes(self.hear(8).try_into().unwrap()),
        };
        (flags, self.hear(length as usize))
    }

    /// Reads one message, past any command.
    pub(crate) fn message(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        loop {
            let (flags, body) = self.frame();
            if flags & COMMAND == 0 {
                frames.push(body);
                if flags & MORE == 0 {
                    return frames;
                }
            }
        }
    }

    /// Waits until the bus has hung up, whatever it still says before.
    pub(crate) fn until_hung_up(&mut self) {
        let mut ignored = [0; 4096];
        loop {
            match self.0.read(&mut ignored) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return,
                Err(error) => panic!("the bus did not hang up: {error}"),
            }
        }
    }

    /// Ends with a reset in place of an orderly goodbye.
    pub(crate) fn reset(self) {
        setsockopt(&self.0, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
    }

    /// How long it tries to send what the bus does not take.
    pub(crate) fn set_write_timeout(&self, patience: Duration) {
        self.0.set_write_timeout(Some(patience)).unwrap();
    }
}

/// A 3.x greeting.
pub(crate) fn greeting(major: u8, minor: u8, mechanism: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, major, minor];
    bytes.extend_from_slice(mechanism);
    bytes.resize(64, 0);
    bytes
}

/// A whole 2.0 greeting of a peer that belongs at the door.
pub(crate) fn greeting_v2(door: Door, revision: u8) -> Vec<u8> {
    vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, revision, door.socket_type().1, 0, 0]
}

/// All that an honest 3.1 peer says before it may send messages.
pub(crate) fn hello(door: Door, identity: &[u8]) -> Vec<u8> {
    [greeting(3, 1, b"NULL"), ready(door.socket_type().0.as_bytes(), identity)].concat()
}

pub(crate) fn ready(socket_type: &[u8], identity: &[u8]) -> Vec<u8> {
    command(b"READY", &[property(b"Socket-Type", socket_type), property(b"Identity", identity)].concat())
}

/// A property of READY.
pub(crate) fn property(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[name.len() as u8], name, &(value.len() as u32).to_be_bytes(), value].concat()
}

/// A command of any size.
pub(crate) fn command(name: &[u8], data: &[u8]) -> Vec<u8> {
    frame(COMMAND, &[&[name.len() as u8], name, data].concat())
}

/// A frame as it should be.
pub(crate) fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    match u8::try_from(body.len()) {
        Ok(short) => [&[flags, short], body].concat(),
        Err(_) => [&announced(flags, body.len() as u64)[..], body].concat(),
    }
}

/// The header of a long frame that announces `bytes`, and no body.
pub(crate) fn announced(flags: u8, bytes: u64) -> Vec<u8> {
    [&[flags | LONG][..], &bytes.to_be_bytes()].concat()
}

/// A message of those frames.
pub(crate) fn message(frames: &[&[u8]]) -> Vec<u8> {
    let last = frames.len() - 1;
    let frames = frames.iter().enumerate();
    frames.flat_map(|(index, body)| frame(if index < last { MORE } else { 0 }, body)).collect()
}
