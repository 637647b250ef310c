//! A task per connection: reads, and gives the core what is whole.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, ready};

use tokio::net::tcp::OwnedReadHalf;

use super::counts::Cut;
use super::flush;
use super::hub::{Hub, Link};
use super::intake::Intake;
use crate::broker::{Core, Message};
use crate::wire::{Session, Step, WireError};

/// Bytes after which a reader lets the others have their turn, the flusher above all: a peer that always has more would
/// else fill the queues of those it sends to before anything of them is written.
const TURN_BYTES: usize = 32 << 10;
/// Messages after which it does so even in the midst of what it has read: the smallest ones are the most work.
const TURN_MESSAGES: usize = 256;
/// Bytes that may be queued for a peer in any case before answering its PINGs is given up, however low its bound is.
const ANSWERS_BYTES_MAX: usize = 64 << 10;

/// Why a connection ended.
enum End {
    /// The peer closed it, or the network did.
    Closed,
    /// The peer broke the protocol.
    Wire(WireError),
    /// We ended it.
    Cut(Cut),
}

pub(super) async fn run<C: Core + 'static>(hub: Rc<Hub<C>>, link: Rc<Link>, half: OwnedReadHalf, session: Session) {
    let end = read(&hub, &link, half, session).await;
    if let End::Wire(_) = end {
        // An ERROR command may be queued that tells the peer why.
        flush::one(&hub, &link);
    }
    let reason = match &end {
        End::Closed => None,
        End::Wire(error) => {
            tracing::debug!(peer = link.peer.to_u64(), %error, "peer broke the protocol");
            Some(error.reason())
        }
        End::Cut(cut) => Some(cut.reason()),
    };
    hub.drop_peer(&link, reason);
}

async fn read<C: Core + 'static>(hub: &Rc<Hub<C>>, link: &Link, mut half: OwnedReadHalf, mut session: Session) -> End {
    let mut intake = Intake::default();
    loop {
        let turn = poll_fn(|context| {
            // Asked for when bytes are there to be read, not when the wait for them began: others may have filled what
            // was left then.
            let credit = hub.core.borrow_mut().credit(link.peer);
            if credit == 0 {
                return Poll::Ready(Ok(Turn::Pause));
            }
            let mut shared = hub.shared.borrow_mut();
            let bytes = if link.unused.get() {
                intake.resume(&mut shared);
                0
            } else {
                match ready!(intake.poll_fill(context, &mut half, &mut shared, credit)) {
                    Ok(0) | Err(_) => return Poll::Ready(Err(End::Closed)),
                    Ok(bytes) => bytes,
                }
            };
            hub.counts.bytes_in.add(bytes as u64);
            let more = ingest(hub, link, &mut session, &mut intake, &mut shared)?;
            link.unused.set(more);
            Poll::Ready(Ok(if more || bytes >= TURN_BYTES.min(credit) { Turn::Yield } else { Turn::Wait }))
        });
        match turn.await {
            Ok(_) if link.gone.get() && !link.unused.get() => return End::Closed,
            Ok(Turn::Wait) => {}
            Ok(Turn::Yield) => tokio::task::yield_now().await,
            Ok(Turn::Pause) if link.gone.get() => return End::Closed,
            Ok(Turn::Pause) => pause(hub, link).await,
            Err(end) => return end,
        }
    }
}

/// What a reader does next.
enum Turn {
    /// It waits for more bytes.
    Wait,
    /// There may be more at once, but it is the others' turn.
    Yield,
    /// The peer may not be read until the core says so.
    Pause,
}

async fn pause<C: Core + 'static>(hub: &Hub<C>, link: &Link) {
    link.paused.set(true);
    link.resume.heard().await;
    link.paused.set(false);
    link.heard.set(hub.now());
    link.pinged.set(None);
}

/// Takes the whole messages out of what has been read and gives them to the core, as many as make a turn; tells whether
/// there may be more.
fn ingest<C: Core + 'static>(
    hub: &Hub<C>,
    link: &Link,
    session: &mut Session,
    intake: &mut Intake,
    shared: &mut [u8],
) -> Result<bool, End> {
    let now = hub.now();
    link.heard.set(now);
    link.pinged.set(None);
    let mut answers = Vec::new();
    let mut core = hub.core.borrow_mut();
    let mut bytes = intake.bytes(shared);
    let mut messages = 0;
    let outcome = loop {
        if messages == TURN_MESSAGES {
            break Ok(0);
        }
        match session.step(bytes.as_mut(), &mut answers) {
            Ok(Step::NeedMore { bytes: needed }) => break Ok(needed),
            Ok(Step::Skip { bytes: used }) => bytes.skip(used),
            Ok(Step::Ready { bytes: used }) => {
                bytes.skip(used);
                let info = session.peer().expect("a peer that is ready has told who it is");
                // What it is answered goes before what the core may send it.
                core.peers().push_raw(link.peer, &answers);
                answers.clear();
                hub.joined(&mut core, link, info);
            }
            Ok(Step::Message { range }) => {
                let message: Message<'_> = bytes.take(range);
                core.message(link.peer, message, now);
                messages += 1;
            }
            Err(error) => break Err(End::Wire(error)),
        }
    };
    core.peers().push_raw(link.peer, &answers);
    let kept = match outcome {
        Ok(needed) => intake.keep(bytes, needed),
        Err(end) => {
            hub.flush.ring();
            return Err(end);
        }
    };
    let charged = link.charged.replace(kept);
    core.peers().hold(kept);
    core.peers().release(charged);
    let memory_full = kept > charged && core.peers().is_memory_full();
    // It goes on sending PINGs and does not read the answers.
    let slow = !answers.is_empty()
        && core.peers().is_full(link.peer)
        && core.peers().queue(link.peer).is_some_and(|queue| queue.bytes() > ANSWERS_BYTES_MAX);
    if core.peers().has_dirty() {
        hub.flush.ring();
    }
    if let Some(deadline) = core.deadline() {
        hub.due(deadline);
    }
    drop(core);
    if slow {
        return Err(End::Cut(Cut::Slow));
    }
    if memory_full {
        hub.relieve_memory();
    }
    // It may have been this one that had to go.
    if hub.link(link.peer).is_none() { Err(End::Closed) } else { Ok(messages == TURN_MESSAGES) }
}
