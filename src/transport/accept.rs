//! A task per door: takes in who comes.

use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpListener;

use super::counts::Cut;
use super::hub::{Entrance, Hub};
use crate::broker::Core;
use crate::sys::net;
use crate::sys::timer::Timer;

/// How long to wait when the machine has no descriptor or memory left for another connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn run<C: Core + 'static>(
    hub: Rc<Hub<C>>,
    listener: TcpListener,
    pause: Timer,
    entrance: Rc<Entrance>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => hub.admit(stream, &entrance),
            // It left between its connect and our accept, or what ended it is told here (accept(2) lists more).
            Err(error) if !net::is_exhausted(&error) => tokio::task::yield_now().await,
            Err(error) => {
                hub.counts.refuse(Cut::NoDescriptors.reason());
                // An unfinished handshake holds what the newcomer needs; it is free when its tasks have had their turn.
                // Without one, whoever is connected is served on, and newcomers wait in the backlog.
                if hub.drop_oldest_handshake() {
                    tokio::task::yield_now().await;
                } else {
                    tracing::warn!(%error, "cannot accept connections for now");
                    if pause.arm(EXHAUSTED_PAUSE).is_ok() {
                        let _ = pause.expired().await;
                    }
                }
            }
        }
    }
}
