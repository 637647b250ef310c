//! Our own standard output, whatever it is: a pipe, a file, a terminal, a socket.
//!
//! It is shared with others, so nothing about it is changed: no flag, no position, no size. Writes wait; who must not
//! wait has a thread for them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{SFlag, fstat};

/// What one write to a pipe puts there undivided (pipe(7), PIPE_BUF).
const PIPE_BYTES_WHOLE: usize = 4096;
/// One write to anything else: files and terminals lock out others for its whole length.
const WRITE_BYTES: usize = 256 << 10;

/// A standard stream, to be written.
#[derive(Debug)]
pub struct Output {
    fd: OwnedFd,
    whole_bytes: usize,
}

impl Output {
    /// Standard output. For this thread and those that it starts, a terminal takes lines although this process is in
    /// its background: with `stty tostop` it would be stopped instead (SIGTTOU).
    pub fn stdout() -> io::Result<Self> {
        SigSet::from(Signal::SIGTTOU).thread_block()?;
        Self::new(io::stdout().as_fd().try_clone_to_owned()?)
    }

    /// Any open file.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let kind = SFlag::from_bits_truncate(fstat(&fd)?.st_mode) & SFlag::S_IFMT;
        // A socket takes this much as one piece too.
        let divides = kind == SFlag::S_IFIFO || kind == SFlag::S_IFSOCK;
        Ok(Self { fd, whole_bytes: if divides { PIPE_BYTES_WHOLE } else { WRITE_BYTES } })
    }

    /// Bytes that one write puts there with nobody else's between them.
    pub fn whole_bytes(&self) -> usize {
        self.whole_bytes
    }

    /// Writes something of `bytes`, for as long as that takes; tells how much.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match nix::unistd::write(&self.fd, bytes) {
                Ok(0) if !bytes.is_empty() => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => return Ok(written),
                Err(Errno::EINTR) => {}
                // Somebody with whom we share it does not want to wait; we do.
                Err(Errno::EAGAIN) => {
                    let _ = poll(&mut [PollFd::new(self.fd.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE);
                }
                Err(cause) => return Err(cause.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::sys::pipe;

    #[test]
    fn what_would_not_wait_is_waited_for() {
        let (reader, writer) = pipe::output(4096).unwrap();
        pipe::do_not_wait(&writer).unwrap();
        let output = Output::new(writer).unwrap();
        let writing = std::thread::spawn(move || {
            (0..20).for_each(|_| assert_eq!(output.write(&[b'x'; 4096]).unwrap(), 4096));
        });
        let mut total = 0;
        while total < 20 * 4096 {
            total += pipe::read(&reader, &mut [0; 1024]).unwrap_or(0);
        }
        writing.join().unwrap();
    }

    #[test]
    fn what_cannot_be_written_is_an_error() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let output = Output::new(ours.into()).unwrap();
        assert_eq!((output.whole_bytes(), output.write(b"x").unwrap()), (4096, 1));
        theirs.read_exact(&mut [0]).unwrap();
        drop(theirs);
        assert_eq!(output.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        assert_eq!(Output::new(full.into()).unwrap().write(b"x").unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
