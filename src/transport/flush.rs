//! The flusher: one task that writes for all.

use std::io::{self, ErrorKind, IoSlice};
use std::rc::Rc;

use super::hub::{Hub, Link};
use crate::broker::{Core, IOVECS_MAX, Queue};

/// Milliseconds after which those who were held back are looked at again, should nothing else happen.
const HELD_BACK_MS: u64 = 20;
/// Writes to one peer in a row; then the others have their turn.
const WRITES_MAX: usize = 16;

/// Writes what is queued whenever something is. Tasks run in the order in which they were woken, and it is the first
/// reader with something to write that wakes this one: so it runs after all readers that were ready.
pub(super) async fn run<C: Core + 'static>(hub: Rc<Hub<C>>) {
    loop {
        hub.flush.heard().await;
        all(&hub);
        hub.relieve_memory();
        let resumed = hub.core.borrow_mut().resumed();
        for peer in resumed {
            if let Some(link) = hub.link(peer) {
                link.resume.ring();
            }
        }
        if hub.core.borrow().holds_back() {
            hub.due(hub.now() + HELD_BACK_MS);
        }
    }
}

/// Writes what is queued for every peer, as far as their sockets take it now.
pub(super) fn all<C: Core + 'static>(hub: &Rc<Hub<C>>) {
    loop {
        let Some(peer) = hub.core.borrow_mut().peers().next_dirty() else { return };
        // Who is blocked comes up again when its socket takes bytes.
        if let Some(link) = hub.link(peer).filter(|link| !link.blocked.get()) {
            one(hub, &link);
        }
    }
}

/// Writes what is queued for one peer, as far as its socket takes it now.
pub(super) fn one<C: Core + 'static>(hub: &Rc<Hub<C>>, link: &Rc<Link>) {
    for _ in 0..WRITES_MAX {
        let mut core = hub.core.borrow_mut();
        let Some(queue) = core.peers().queue(link.peer).filter(|queue| queue.bytes() > 0) else { return };
        match write(link, queue) {
            Ok(bytes) => {
                hub.counts.bytes_out.add(bytes as u64);
                let messages = core.peers().wrote(link.peer, bytes);
                core.written(link.peer, messages);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                link.blocked.set(true);
                tokio::task::spawn_local(when_writable(hub.clone(), link.clone()));
                return;
            }
            // The reader would meet the same end of the connection. But what it has read already is still to be used.
            Err(_) if link.unused.get() && !link.paused.get() => {
                link.gone.set(true);
                return link.blocked.set(true);
            }
            Err(_) => {
                drop(core);
                return hub.drop_peer(link, None);
            }
        }
    }
    hub.core.borrow_mut().peers().mark_dirty(link.peer);
    hub.flush.ring();
}

fn write(link: &Link, queue: &Queue) -> io::Result<usize> {
    // Mostly all of it lies in one piece.
    if let Some(only) = queue.only_slice() {
        return link.write.try_write(only);
    }
    let mut slices = [IoSlice::new(&[]); IOVECS_MAX];
    let used = queue.gather(&mut slices);
    link.write.try_write_vectored(&slices[..used])
}

async fn when_writable<C: Core + 'static>(hub: Rc<Hub<C>>, link: Rc<Link>) {
    // An error here shows again at the write.
    let _ = link.write.writable().await;
    link.blocked.set(false);
    hub.core.borrow_mut().peers().mark_dirty(link.peer);
    hub.flush.ring();
}
