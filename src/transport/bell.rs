//! Wakes one task of this thread. Rung before the task listens, or several times before it does, it is heard once.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Cell<bool>,
    listener: RefCell<Option<Waker>>,
}

impl Bell {
    #[inline]
    pub(super) fn ring(&self) {
        if !self.rung.replace(true)
            && let Some(listener) = &*self.listener.borrow()
        {
            listener.wake_by_ref();
        }
    }

    /// Waits until it has been rung since the last time.
    pub(super) async fn heard(&self) {
        poll_fn(|context| {
            if self.rung.replace(false) {
                return Poll::Ready(());
            }
            let mut listener = self.listener.borrow_mut();
            if !listener.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
                *listener = Some(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}
