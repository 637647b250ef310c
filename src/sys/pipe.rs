//! Pipes for the output of children.
//!
//! Whoever starts the children holds both ends, so that neither the reader's death nor a child's breaks the pipe: a
//! writer gets no SIGPIPE, a reader no end of file. The ends have flags of their own: that ours does not wait says
//! nothing about theirs.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;

/// A pipe: the end to read, which does not wait, and the end to write, which does. Both are closed on exec.
///
/// It holds `bytes` if the system grants them (pipe(7), pipe-user-pages-soft), else what it gives by default.
pub fn output(bytes: usize) -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    do_not_wait(&reader)?;
    let _ = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(i32::try_from(bytes).unwrap_or(i32::MAX)));
    Ok((reader, writer))
}

/// Has reads of this end return at once, for everyone who holds it. Where they do already nothing is changed.
pub fn do_not_wait(reader: impl AsFd) -> io::Result<()> {
    let flags = flags(&reader)?;
    if !flags.contains(OFlag::O_NONBLOCK) {
        fcntl(&reader, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    }
    Ok(())
}

/// Undoes what an earlier child may have set on the end that it wrote to; the next one expects writes to wait.
pub fn wait_again(writer: impl AsFd) -> io::Result<()> {
    fcntl(&writer, FcntlArg::F_SETFL(flags(&writer)? & !(OFlag::O_NONBLOCK | OFlag::O_DIRECT)))?;
    Ok(())
}

/// Reads what is there, at most as much as there is room for. 0 means that nobody can write any more.
pub fn read(reader: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(nix::unistd::read(reader, buffer)?)
}

fn flags(end: impl AsFd) -> io::Result<OFlag> {
    Ok(OFlag::from_bits_retain(fcntl(end, FcntlArg::F_GETFL)?))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;

    #[test]
    fn the_end_to_read_does_not_wait_and_the_end_to_write_does() {
        let (reader, writer) = output(8192).unwrap();
        assert_eq!(read(&reader, &mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(!flags(&writer).unwrap().contains(OFlag::O_NONBLOCK));
        assert_eq!(fcntl(&writer, FcntlArg::F_GETPIPE_SZ).unwrap(), 8192);
    }

    #[test]
    fn what_a_child_set_on_its_end_is_undone() {
        let (_reader, writer) = output(4096).unwrap();
        do_not_wait(&writer).unwrap();
        let full = File::from(writer.try_clone().unwrap()).write_all(&[0; 8192]);
        assert_eq!(full.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        wait_again(&writer).unwrap();
        assert!(!flags(&writer).unwrap().contains(OFlag::O_NONBLOCK));
    }
}
