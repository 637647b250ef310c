//! Frames: a flags byte, a length of one or eight bytes, a body.

/// More frames of the same message follow.
pub(super) const MORE: u8 = 0b001;
/// The length takes eight bytes.
pub(super) const LONG: u8 = 0b010;
/// The frame is a command, not a part of a message.
pub(super) const COMMAND: u8 = 0b100;

/// Bytes of the longest header.
pub(super) const HEADER_BYTES_MAX: usize = 9;

/// What a frame's first bytes announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) flags: u8,
    /// Bytes of the header itself.
    pub(super) bytes: usize,
    /// Bytes of the body: announced, not yet to be believed.
    pub(super) body: u64,
}

impl Header {
    /// Reads the header at the start of `input`; `None` until it is whole.
    #[inline]
    pub(super) fn read(input: &[u8]) -> Option<Self> {
        let flags = *input.first()?;
        if flags & LONG == 0 {
            let body = *input.get(1)?;
            return Some(Self { flags, bytes: 2, body: u64::from(body) });
        }
        let length = input.get(1..HEADER_BYTES_MAX)?;
        let body = u64::from_be_bytes(length.try_into().expect("eight bytes"));
        Some(Self { flags, bytes: HEADER_BYTES_MAX, body })
    }
}

/// Appends the header of a message's frame whose body has `body` bytes.
#[inline]
pub fn push_header(out: &mut Vec<u8>, more: bool, body: usize) {
    push_flagged(out, if more { MORE } else { 0 }, body);
}

/// Appends a whole frame of a message.
#[inline]
pub fn push_frame(out: &mut Vec<u8>, more: bool, body: &[u8]) {
    push_header(out, more, body.len());
    out.extend_from_slice(body);
}

/// Appends a command frame whose body `fill` writes. Commands here are short: their length takes one byte.
pub(super) fn push_command(out: &mut Vec<u8>, name: &[u8], data: &[u8]) {
    push_flagged(out, COMMAND, 1 + name.len() + data.len());
    out.push(name.len() as u8);
    out.extend_from_slice(name);
    out.extend_from_slice(data);
}

fn push_flagged(out: &mut Vec<u8>, flags: u8, body: usize) {
    match u8::try_from(body) {
        Ok(short) => out.extend_from_slice(&[flags, short]),
        Err(_) => {
            out.push(flags | LONG);
            out.extend_from_slice(&(body as u64).to_be_bytes());
        }
    }
}

/// One frame of a whole message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Whether another frame follows.
    pub more: bool,
    /// The body.
    pub body: &'a [u8],
    /// Where the next frame begins, in bytes from the message's start.
    pub end: usize,
}

/// Walks the frames of a message that a [`Session`](super::Session) found whole.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    message: &'a [u8],
    offset: usize,
}

impl<'a> Frames<'a> {
    /// Begins at the first frame of `message`.
    pub fn new(message: &'a [u8]) -> Self {
        Self { message, offset: 0 }
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    #[inline]
    fn next(&mut self) -> Option<Frame<'a>> {
        let header = Header::read(&self.message[self.offset..])?;
        let start = self.offset + header.bytes;
        let end = start.checked_add(usize::try_from(header.body).ok()?)?;
        let body = self.message.get(start..end)?;
        self.offset = end;
        Some(Frame { more: header.flags & MORE != 0, body, end })
    }
}
