//! A ZMTP peer over a plain socket: versions, identities and misbehaviour as a test wants them.
//!
//! It does not use the house's own codec, so that a mistake there cannot hide by being made on both sides.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use super::PATIENCE;

const PING: &[u8] = b"\x04PING";
const MORE: u8 = 0b001;
const LONG: u8 = 0b010;
const COMMAND: u8 = 0b100;
const SIGNATURE: [u8; 10] = [0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V2_0,
    V3_0,
    V3_1,
}

impl Version {
    pub(crate) const ALL: [Self; 3] = [Self::V2_0, Self::V3_0, Self::V3_1];
}

/// The kinds of socket that talk with the bus, with their numbers in ZMTP 2.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Req = 3,
    Rep = 4,
    Dealer = 5,
}

impl Kind {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Req => b"REQ",
            Self::Rep => b"REP",
            Self::Dealer => b"DEALER",
        }
    }
}

pub(crate) type Message = Vec<Vec<u8>>;

/// One connection, greeted.
pub(crate) struct Peer {
    stream: TcpStream,
    version: Version,
}

impl Peer {
    pub(crate) fn connect(endpoint: &str, version: Version, kind: Kind) -> Self {
        Self::connect_as(endpoint, version, kind, b"")
    }

    /// Connects and announces an identity.
    pub(crate) fn connect_as(endpoint: &str, version: Version, kind: Kind, identity: &[u8]) -> Self {
        let stream = TcpStream::connect(endpoint.trim_start_matches("tcp://")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut peer = Self { stream, version };
        match version {
            Version::V2_0 => peer.greet_2(kind, identity),
            Version::V3_0 => peer.greet_3(0, kind, identity),
            Version::V3_1 => peer.greet_3(1, kind, identity),
        }
        .unwrap_or_else(|error| panic!("no handshake as {kind:?} of {version:?}: {error}"));
        peer
    }

    fn greet_2(&mut self, kind: Kind, identity: &[u8]) -> io::Result<()> {
        let mut greeting = SIGNATURE.to_vec();
        greeting.extend([1, kind as u8, 0, identity.len() as u8]);
        greeting.extend(identity);
        self.stream.write_all(&greeting)?;
        // Signature, revision, socket type, and an empty identity in a frame.
        let theirs = self.take(14)?;
        assert_eq!((theirs[0], theirs[9], &theirs[12..]), (0xff, 0x7f, &[0, 0][..]));
        assert!(theirs[10] >= 1, "revision {}", theirs[10]);
        let partner = if kind == Kind::Rep { &[5, 6][..] } else { &[4, 5, 6] };
        assert!(partner.contains(&theirs[11]), "{kind:?} cannot talk with socket type {}", theirs[11]);
        Ok(())
    }

    fn greet_3(&mut self, minor: u8, kind: Kind, identity: &[u8]) -> io::Result<()> {
        let mut greeting = SIGNATURE.to_vec();
        greeting.extend([3, minor]);
        greeting.extend(b"NULL");
        greeting.resize(64, 0);
        self.stream.write_all(&greeting)?;
        let theirs = self.take(64)?;
        assert_eq!((theirs[0], theirs[9], theirs[10]), (0xff, 0x7f, 3));
        assert_eq!(&theirs[12..17], b"NULL\0");

        let mut ready = b"\x05READY\x0bSocket-Type".to_vec();
        for (name, value) in [(&b""[..], kind.name()), (b"\x08Identity", identity)] {
            ready.extend(name);
            ready.extend((value.len() as u32).to_be_bytes());
            ready.extend(value);
        }
        self.frame(COMMAND, &ready)?;
        let (flags, body) = self.read_frame()?;
        assert!(flags == COMMAND && body.starts_with(b"\x05READY\x0bSocket-Type"), "{body:?}");
        Ok(())
    }

    pub(crate) fn send<Part: AsRef<[u8]>>(&mut self, message: &[Part]) {
        for (place, part) in message.iter().enumerate() {
            let more = if place + 1 < message.len() { MORE } else { 0 };
            self.frame(more, part.as_ref()).unwrap();
        }
    }

    /// The next message. On the way there a peer of 3.1 answers PINGs; to an older one no command may come.
    pub(crate) fn receive(&mut self) -> Message {
        self.try_receive().unwrap_or_else(|error| panic!("no message for this peer of {:?}: {error}", self.version))
    }

    fn try_receive(&mut self) -> io::Result<Message> {
        let begin = Instant::now();
        let mut message = Vec::new();
        loop {
            let (flags, body) = self.read_frame()?;
            if flags & COMMAND != 0 {
                assert_eq!(self.version, Version::V3_1, "a command for a peer that may not be sent any: {body:?}");
                if body.starts_with(PING) {
                    self.pong(&body)?;
                }
                // Each PING ends a read, so the socket's own timeout is not enough.
                if begin.elapsed() > PATIENCE {
                    return Err(ErrorKind::TimedOut.into());
                }
                continue;
            }
            message.push(body);
            if flags & MORE == 0 {
                return Ok(message);
            }
        }
    }

    /// Waits for a PING, does something, and answers it then.
    pub(crate) fn answer_a_ping_after(&mut self, something: impl FnOnce()) {
        let (_, ping) = self.read_frame().unwrap();
        assert!(ping.starts_with(PING), "{ping:?}");
        something();
        self.pong(&ping).unwrap();
    }

    fn pong(&mut self, ping: &[u8]) -> io::Result<()> {
        let context = &ping[PING.len() + 2..];
        self.frame(COMMAND, &[b"\x04PONG", context].concat())
    }

    /// Answers one request as a REP does: its envelope comes back, `answer` makes the new body from the old one.
    pub(crate) fn answer(&mut self, request: Message, answer: impl FnOnce(&[Vec<u8>]) -> Message) {
        let empty = request.iter().position(Vec::is_empty).expect("a request has an empty frame before its body");
        let (envelope, body) = request.split_at(empty + 1);
        self.send(&[envelope, &answer(body)].concat());
    }

    /// Serves as a back-end that returns what it is sent, until the bus is gone.
    pub(crate) fn echo(mut self) {
        std::thread::spawn(move || {
            while let Ok(request) = self.try_receive() {
                self.answer(request, <[_]>::to_vec);
            }
        });
    }

    /// Hears what comes and never says a word, until the bus hangs up.
    pub(crate) fn be_silent_until_dropped(mut self) {
        let mut heard = Vec::new();
        match self.stream.read_to_end(&mut heard) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the bus did not hang up on this peer of {:?}: {error}", self.version),
        }
    }

    fn frame(&mut self, flags: u8, body: &[u8]) -> io::Result<()> {
        let mut frame = Vec::with_capacity(9 + body.len());
        match u8::try_from(body.len()) {
            Ok(short) => frame.extend([flags, short]),
            Err(_) => {
                frame.push(flags | LONG);
                frame.extend((body.len() as u64).to_be_bytes());
            }
        }
        frame.extend(body);
        self.stream.write_all(&frame)
    }

    fn read_frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let flags = self.take(1)?[0];
        let length = if flags & LONG == 0 {
            self.take(1)?[0].into()
        } else {
            u64::from_be_bytes(self.take(8)?.try_into().expect("eight bytes"))
        };
        Ok((flags & !LONG, self.take(length)?))
    }

    fn take(&mut self, bytes: u64) -> io::Result<Vec<u8>> {
        let mut taken = Vec::new();
        match Read::by_ref(&mut self.stream).take(bytes).read_to_end(&mut taken)? {
            read if read as u64 == bytes => Ok(taken),
            _ => Err(ErrorKind::UnexpectedEof.into()),
        }
    }
}
