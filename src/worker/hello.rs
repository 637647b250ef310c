//! The seed's back-end: a REP that connects to the bus and answers `World` to whatever it is asked.
//!
//! One thread that blocks in its one connection. When the connection ends it connects again, at once the first time,
//! then after pauses that grow: the supervisor keeps the bus's port open while the requests worker is restarted.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::{Kind, WorkerError, sandbox, system};
use crate::sys::inherit::CommandSocket;
use crate::sys::net;
use crate::sys::sandbox::Profile;
use crate::wire::{Frames, Limits, Session, SocketType, Step, push_frame};

const KIND: Kind = Kind::Hello;
const REPLY: &[u8] = b"World";
/// Where back-ends connect when no bus of the same supervisor says otherwise.
const DEFAULT_BACK: &str = "tcp://127.0.0.1:5556";
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);
const READ_BYTES: usize = 64 << 10;
/// The bus has held what it gives against its own limits, which may be set to anything.
const LIMITS: Limits =
    Limits { frame_bytes_max: 1 << 41, message_bytes_max: 1 << 41, parts_max: u32::MAX, metadata_bytes_max: 1 << 20 };

pub(super) fn run(command: &CommandSocket) -> Result<(), WorkerError> {
    let back = std::env::var("TORUS_REQUESTS_BACK").unwrap_or_else(|_| DEFAULT_BACK.to_owned());
    let address = back.strip_prefix("tcp://").unwrap_or(&back);
    // Looking a name up takes files and other sockets, which there are none of in the sandbox.
    let addresses: Vec<SocketAddr> = address.to_socket_addrs().map_err(system("find the bus's address"))?.collect();
    let ports: Vec<u16> = addresses.iter().map(SocketAddr::port).collect();
    sandbox::enter(KIND, Profile::BackEnd { bus: &ports }, command)?;
    let (mut pause, mut told_waiting, mut told_ready) = (Duration::ZERO, false, false);
    loop {
        std::thread::sleep(pause);
        let mut bus = match Bus::connect(&addresses) {
            Ok(bus) => bus,
            Err(cause) => {
                if !told_ready && !std::mem::replace(&mut told_waiting, true) {
                    tracing::warn!("waiting for {back}, where a bus should take back-ends: {cause}");
                }
                pause = (pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
                continue;
            }
        };
        // Once: a bus that comes back is no news to the supervisor.
        if !std::mem::replace(&mut told_ready, true) {
            command.ready().map_err(system("tell its supervisor that it is ready"))?;
        }
        pause = Duration::ZERO;
        // It ends with the connection, for whatever reason; the way on is the same.
        while bus.serve_once().is_ok() {}
    }
}

/// A connection to the bus's back port, greeted.
struct Bus {
    stream: TcpStream,
    session: Session,
    /// What came in and is not used yet: the first `filled` bytes.
    input: Vec<u8>,
    filled: usize,
    output: Vec<u8>,
}

impl Bus {
    fn connect(addresses: &[SocketAddr]) -> io::Result<Self> {
        let stream = TcpStream::connect(addresses)?;
        stream.set_nodelay(true)?;
        net::probe_half_open(&stream, 10_000, 30_000)?;
        let mut output = Vec::new();
        let session = Session::new(SocketType::Rep, LIMITS, &mut output);
        let mut bus = Self { stream, session, input: vec![0; READ_BYTES], filled: 0, output };
        while bus.session.peer().is_none() {
            bus.serve_once()?;
        }
        Ok(bus)
    }

    /// Writes what is to be said, reads what has come, answers what is whole.
    fn serve_once(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.output)?;
        self.output.clear();
        if self.filled == self.input.len() {
            self.input.resize(2 * self.filled, 0);
        }
        match self.stream.read(&mut self.input[self.filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => self.filled += read,
        }
        let mut used = 0;
        loop {
            let input = &mut self.input[used..self.filled];
            match self.session.step(input, &mut self.output).map_err(io::Error::other)? {
                Step::NeedMore { .. } => break,
                Step::Skip { bytes } | Step::Ready { bytes } => used += bytes,
                Step::Message { range } => {
                    answer(&input[range.clone()], &mut self.output);
                    used += range.end;
                }
            }
        }
        self.input.copy_within(used..self.filled, 0);
        self.filled -= used;
        if !self.output.is_empty() {
            self.stream.write_all(&self.output)?;
            self.output.clear();
        }
        Ok(())
    }
}

/// Returns the request's envelope, everything up to its empty frame, with our reply behind it.
fn answer(request: &[u8], output: &mut Vec<u8>) {
    if let Some(empty) = Frames::new(request).find(|frame| frame.more && frame.body.is_empty()) {
        output.extend_from_slice(&request[..empty.end]);
        push_frame(output, false, REPLY);
    }
}
