//! A ZMTP peer over one connection that it never makes anew, so that a test knows what went through which.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use torus::wire::{Frames, Limits, Session, SocketType, Step, push_frame};

use super::bus::PATIENCE;

const READ_BYTES: usize = 64 << 10;
const LIMITS: Limits =
    Limits { frame_bytes_max: 16 << 20, message_bytes_max: 16 << 20, parts_max: 16, metadata_bytes_max: 8 << 10 };

/// One connection, greeted.
pub(crate) struct Peer {
    stream: TcpStream,
    session: Session,
    /// What is read into: filling it anew for each read is slow where nothing is optimized.
    buffer: Box<[u8]>,
    input: Vec<u8>,
    /// Bytes at the front of `input` that are used up.
    used: usize,
}

impl Peer {
    /// Connects as a DEALER: a client in front, a back-end that answers when it likes behind.
    pub(crate) fn connect(address: &str) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut greeting = Vec::new();
        let session = Session::new(SocketType::Dealer, LIMITS, &mut greeting);
        stream.write_all(&greeting)?;
        let buffer = vec![0; READ_BYTES].into_boxed_slice();
        let mut peer = Self { stream, session, buffer, input: Vec::new(), used: 0 };
        let begin = Instant::now();
        while peer.session.peer().is_none() {
            if begin.elapsed() > PATIENCE {
                return Err(ErrorKind::TimedOut.into());
            }
            peer.receive(Duration::from_millis(20))?;
        }
        Ok(peer)
    }

    /// Sends messages, each given by its frames, in one write.
    pub(crate) fn send<'a>(&mut self, messages: impl IntoIterator<Item = &'a [&'a [u8]]>) -> io::Result<()> {
        let mut bytes = Vec::new();
        for frames in messages {
            for (index, frame) in frames.iter().enumerate() {
                push_frame(&mut bytes, index + 1 < frames.len(), frame);
            }
        }
        self.stream.write_all(&bytes)
    }

    /// The next message; `None` if none is whole after one read that may wait for `wait`.
    pub(crate) fn receive(&mut self, wait: Duration) -> io::Result<Option<Vec<Vec<u8>>>> {
        if let Some(message) = self.next_whole()? {
            return Ok(Some(message));
        }
        self.input.drain(..std::mem::take(&mut self.used));
        self.stream.set_read_timeout(Some(wait))?;
        match self.stream.read(&mut self.buffer) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                self.input.extend_from_slice(&self.buffer[..read]);
                self.next_whole()
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The next message, however many reads it takes.
    pub(crate) fn next(&mut self) -> Vec<Vec<u8>> {
        let begin = Instant::now();
        loop {
            if let Some(message) = self.receive(Duration::from_millis(100)).expect("a connection that lives") {
                return message;
            }
            assert!(begin.elapsed() < PATIENCE, "no message came");
        }
    }

    fn next_whole(&mut self) -> io::Result<Option<Vec<Vec<u8>>>> {
        loop {
            let (input, mut answers) = (&mut self.input[self.used..], Vec::new());
            let step = self.session.step(input, &mut answers).map_err(io::Error::other)?;
            let message = match step {
                Step::NeedMore { .. } => break Ok(None),
                Step::Skip { bytes } | Step::Ready { bytes } => {
                    self.used += bytes;
                    None
                }
                Step::Message { range } => {
                    let frames = Frames::new(&input[range.clone()]).map(|frame| frame.body.to_vec()).collect();
                    self.used += range.end;
                    Some(frames)
                }
            };
            self.stream.write_all(&answers)?;
            if message.is_some() {
                return Ok(message);
            }
        }
    }
}
