//! Standard error for a process that must never wait for whoever reads it.
//!
//! It is shared with others, who may want to wait, so its flags are not ours to change: a pipe or a terminal is opened
//! anew, which gives us flags of our own on the same thing. A socket is asked call by call; a file makes nobody wait.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::write;

/// What one write to a pipe puts there undivided, or not at all (pipe(7), PIPE_BUF).
pub const LINE_BYTES_MAX: usize = 4096;

/// The way out.
#[derive(Debug)]
pub struct Stderr {
    fd: OwnedFd,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Writes never wait, or fail instead of waiting.
    Prompt,
    Socket,
    /// It could not be opened anew: it is asked before each write.
    Asked,
}

impl Stderr {
    /// Our standard error, as it is now.
    pub fn take() -> io::Result<Self> {
        Self::of(io::stderr().as_fd().try_clone_to_owned()?)
    }

    /// Our standard output, which is written to in the same way.
    pub fn stdout() -> io::Result<Self> {
        Self::of(io::stdout().as_fd().try_clone_to_owned()?)
    }

    fn of(fd: OwnedFd) -> io::Result<Self> {
        let format = SFlag::from_bits_truncate(fstat(&fd)?.st_mode) & SFlag::S_IFMT;
        if format == SFlag::S_IFSOCK {
            return Ok(Self { fd, kind: Kind::Socket });
        }
        if format != SFlag::S_IFIFO && format != SFlag::S_IFCHR {
            return Ok(Self { fd, kind: Kind::Prompt });
        }
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        Ok(match open(path.as_str(), flags, Mode::empty()) {
            Ok(own) => Self { fd: own, kind: Kind::Prompt },
            // It belongs to another user, for example.
            Err(_) => Self { fd, kind: Kind::Asked },
        })
    }

    /// Writes a line of at most [`LINE_BYTES_MAX`] bytes, all of it or nothing; `WouldBlock` if that would take waiting.
    pub fn write(&self, line: &[u8]) -> io::Result<()> {
        if self.kind == Kind::Asked {
            let mut asked = [PollFd::new(self.fd.as_fd(), PollFlags::POLLOUT)];
            if poll(&mut asked, PollTimeout::ZERO)? == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        loop {
            let written = match self.kind {
                Kind::Socket => send(self.fd.as_raw_fd(), line, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL),
                Kind::Prompt | Kind::Asked => write(&self.fd, line),
            };
            match written {
                Ok(written) if written == line.len() => return Ok(()),
                Ok(_) => return Err(io::ErrorKind::WouldBlock.into()),
                Err(Errno::EINTR) => {}
                Err(cause) => return Err(cause.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::sys::pipe;

    fn fill(stderr: &Stderr) -> usize {
        let line = [b'x'; 1024];
        (0..1_000_000).find(|_| stderr.write(&line).is_err()).expect("it takes only so much")
    }

    #[test]
    fn a_full_pipe_takes_no_line_and_makes_nobody_wait() {
        let (reader, writer) = pipe::output(4096).unwrap();
        let shared = writer.try_clone().unwrap();
        let stderr = Stderr::of(writer).unwrap();
        assert_eq!(stderr.kind, Kind::Prompt);
        fill(&stderr);
        assert_eq!(stderr.write(b"y").unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let flags = nix::fcntl::fcntl(&shared, nix::fcntl::FcntlArg::F_GETFL).unwrap();
        assert!(!OFlag::from_bits_truncate(flags).contains(OFlag::O_NONBLOCK), "others wait as before");
        pipe::read(&reader, &mut [0; 8192]).unwrap();
        stderr.write(b"y").unwrap();
    }

    #[test]
    fn a_full_socket_and_a_pipe_that_cannot_be_opened_anew_make_nobody_wait_either() {
        let (_theirs, ours) = UnixStream::pair().unwrap();
        fill(&Stderr::of(ours.into()).unwrap());
        let (_reader, writer) = pipe::output(4096).unwrap();
        fill(&Stderr { fd: writer, kind: Kind::Asked });
    }
}
