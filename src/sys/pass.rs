//! Packets that carry descriptors (unix(7), SCM_RIGHTS) over a connected SOCK_SEQPACKET socket, in either direction.
//!
//! Neither side ever waits: a full socket and an empty one are [`io::ErrorKind::WouldBlock`]. The C library's interface
//! is used as it is, since what a cut packet still brought must be closed, and the wrappers at hand forget about it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;

/// Descriptors that one packet may carry; one more is refused when sent, and cuts the packet when received.
pub const DESCRIPTORS_MAX: usize = 8;

// SAFETY: arithmetic on a length, without access to memory.
const CONTROL_BYTES: usize = unsafe { libc::CMSG_SPACE((DESCRIPTORS_MAX * size_of::<RawFd>()) as u32) } as usize;

/// Room for the descriptors of one packet, aligned as its header must be.
#[repr(C)]
union Control {
    bytes: [u8; CONTROL_BYTES],
    _align: libc::cmsghdr,
}

// SAFETY: arithmetic on a length, without access to memory.
const WORDS_CONTROL_BYTES: usize = unsafe { libc::CMSG_SPACE(size_of::<libc::ucred>() as u32) } as usize;

/// Room for who sent a packet, and for nothing else, aligned as its header must be.
#[repr(C)]
union WordsControl {
    _bytes: [u8; WORDS_CONTROL_BYTES],
    _align: libc::cmsghdr,
}

/// What [`receive`] found.
#[derive(Debug)]
pub enum Received {
    /// A packet: its bytes are the first `length` of the buffer. The descriptors are closed on exec. If some found no
    /// room, in this process or in the packet's bound, all are closed again and none is here.
    Packet {
        /// Bytes of the packet.
        length: usize,
        /// What it carried, in order.
        descriptors: Vec<OwnedFd>,
    },
    /// A packet longer than the buffer. What it carried is closed again.
    Cut,
    /// The other side is gone.
    Ended,
}

/// Sends one packet, whole or not at all. The other side gets descriptors of its own for the same open files.
pub fn send(socket: impl AsFd, packet: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    if descriptors.len() > DESCRIPTORS_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one packet"));
    }
    let mut control = Control { bytes: [0; CONTROL_BYTES] };
    let mut part = libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() };
    let mut message = header(&mut part);
    if !descriptors.is_empty() {
        let bytes = size_of_val(descriptors);
        // SAFETY: the room is large enough for a header and DESCRIPTORS_MAX descriptors, which is more than is written,
        // and aligned for both; a borrowed descriptor is its number.
        unsafe {
            message.msg_control = (&raw mut control).cast();
            message.msg_controllen = libc::CMSG_SPACE(bytes as u32) as _;
            let first = libc::CMSG_FIRSTHDR(&message);
            (*first).cmsg_level = libc::SOL_SOCKET;
            (*first).cmsg_type = libc::SCM_RIGHTS;
            (*first).cmsg_len = libc::CMSG_LEN(bytes as u32) as _;
            std::ptr::copy_nonoverlapping(descriptors.as_ptr().cast::<u8>(), libc::CMSG_DATA(first), bytes);
        }
    }
    loop {
        // SAFETY: the message points to a packet and to control data that both live here.
        let sent =
            unsafe { libc::sendmsg(socket.as_fd().as_raw_fd(), &message, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) };
        match Errno::result(sent) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(cause) => return Err(cause.into()),
        }
    }
}

/// Receives one packet into `buffer`.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control = MaybeUninit::<Control>::uninit();
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut message = header(&mut part);
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = CONTROL_BYTES as _;
    let length = loop {
        // SAFETY: the message points to a buffer and to room for control data that both live here.
        let received = unsafe {
            libc::recvmsg(socket.as_fd().as_raw_fd(), &mut message, libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT)
        };
        match Errno::result(received) {
            Ok(length) => break length as usize,
            Err(Errno::EINTR) => {}
            Err(Errno::ECONNRESET) => return Ok(Received::Ended),
            Err(cause) => return Err(cause.into()),
        }
    };
    // SAFETY: the kernel has just filled the message in, which still points to live memory.
    let mut descriptors = unsafe { carried(&message) };
    if message.msg_flags & libc::MSG_CTRUNC != 0 {
        descriptors.clear();
    }
    if message.msg_flags & libc::MSG_TRUNC != 0 {
        return Ok(Received::Cut);
    }
    if length == 0 && descriptors.is_empty() {
        return Ok(Received::Ended);
    }
    Ok(Received::Packet { length, descriptors })
}

/// Receives one datagram of words into `buffer`, and who sent it, if the kernel says so. The kernel names the sender
/// first, and there is no room for descriptors then: they never come into our table, which they might fill.
pub(super) fn receive_words(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Option<libc::ucred>)> {
    let mut control = MaybeUninit::<WordsControl>::uninit();
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut message = header(&mut part);
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = WORDS_CONTROL_BYTES as _;
    // SAFETY: the message points to a buffer and to room for control data that both live here.
    let received =
        unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &mut message, libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT) };
    let length = Errno::result(received)? as usize;
    // SAFETY: the kernel has just filled the message in, which still points to live memory.
    let (sender, descriptors) = unsafe { (sender(&message), carried(&message)) };
    drop(descriptors);
    Ok((length, sender))
}

/// Who sent a received message.
///
/// # Safety
/// The message must be as recvmsg(2) left it, with its control data alive.
unsafe fn sender(message: &libc::msghdr) -> Option<libc::ucred> {
    // SAFETY: the macros walk control data that the kernel has written, within the length that it has set.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(message);
        while let Some(control) = next.as_ref() {
            let whole = control.cmsg_len >= libc::CMSG_LEN(size_of::<libc::ucred>() as u32) as usize;
            if control.cmsg_level == libc::SOL_SOCKET && control.cmsg_type == libc::SCM_CREDENTIALS && whole {
                return Some(libc::CMSG_DATA(control).cast::<libc::ucred>().read_unaligned());
            }
            next = libc::CMSG_NXTHDR(message, control);
        }
    }
    None
}

/// A message of one part and no control data yet.
fn header(part: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: a message of zeros is an empty one.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message
}

/// Takes the descriptors of a received message, all of them: those that nobody took would stay open.
///
/// # Safety
/// The message must be as recvmsg(2) left it, with its control data alive, and be taken once.
unsafe fn carried(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut descriptors = Vec::new();
    // SAFETY: the macros walk control data that the kernel has written, within the length that it has set; each number
    // is a descriptor that was opened for us a moment ago and belongs to nobody else.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(message);
        while let Some(control) = next.as_ref() {
            if control.cmsg_level == libc::SOL_SOCKET && control.cmsg_type == libc::SCM_RIGHTS {
                let bytes = control.cmsg_len - libc::CMSG_LEN(0) as usize;
                for place in 0..bytes / size_of::<RawFd>() {
                    let number = libc::CMSG_DATA(control).cast::<RawFd>().add(place).read_unaligned();
                    descriptors.push(OwnedFd::from_raw_fd(number));
                }
            }
            next = libc::CMSG_NXTHDR(message, control);
        }
    }
    descriptors
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};

    use nix::fcntl::{FcntlArg, FdFlag, fcntl};

    use super::*;
    use crate::sys::{notify, pipe};

    /// An end whose numbers nobody else in this process knows.
    fn pair() -> (OwnedFd, OwnedFd) {
        let (ours, theirs) = notify::command_pair().unwrap();
        (ours.into(), theirs)
    }

    #[test]
    fn a_packet_brings_its_descriptors_closed_on_exec() {
        let (ours, theirs) = pair();
        let (reader, writer) = pipe::output(4096).unwrap();
        send(&ours, b"two ends", &[reader.as_fd(), writer.as_fd()]).unwrap();
        drop((reader, writer));
        let mut buffer = [0; 64];
        let Received::Packet { length, descriptors } = receive(&theirs, &mut buffer).unwrap() else { panic!("none") };
        assert_eq!(&buffer[..length], b"two ends");
        let flags = descriptors.iter().map(|fd| fcntl(fd, FcntlArg::F_GETFD).unwrap());
        assert!(flags.into_iter().all(|flags| flags == FdFlag::FD_CLOEXEC.bits()));
        let [reader, writer] = <[OwnedFd; 2]>::try_from(descriptors).unwrap().map(File::from);
        (&writer).write_all(b"through").unwrap();
        drop(writer);
        let mut text = String::new();
        (&reader).read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn what_a_cut_packet_brought_is_closed_again() {
        let (ours, theirs) = pair();
        let (reader, writer) = pipe::output(4096).unwrap();
        send(&ours, &[b'x'; 100], &[writer.as_fd()]).unwrap();
        drop(writer);
        assert!(matches!(receive(&theirs, &mut [0; 10]).unwrap(), Received::Cut));
        assert_eq!(pipe::read(&reader, &mut [0; 1]).unwrap(), 0, "nobody holds the pipe's other end");
    }

    #[test]
    fn nothing_yet_is_told_from_the_end_and_too_much_is_refused() {
        let (ours, theirs) = pair();
        let mut buffer = [0; 8];
        assert_eq!(receive(&theirs, &mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let many = [theirs.as_fd(); DESCRIPTORS_MAX + 1];
        assert_eq!(send(&ours, b"x", &many).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        loop {
            match send(&ours, &[0; 1024], &[]) {
                Ok(()) => {}
                Err(error) => break assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        drop(theirs);
        assert_ne!(send(&ours, b"x", &[]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let (ours, theirs) = pair();
        drop(ours);
        assert!(matches!(receive(&theirs, &mut buffer).unwrap(), Received::Ended));
    }
}
