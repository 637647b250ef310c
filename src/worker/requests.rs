//! The requests worker: clients in front, back-ends behind.

use serde::Deserialize;
use std::hash::{BuildHasher, Hasher, RandomState};

use super::{Kind, WorkerError, counters, sandbox, settings, system};
use crate::broker::Peers;
use crate::broker::requests::{BACK_BYTES_MORE, BACK_PARTS_MORE, Counts, Requests, Settings};
use crate::config;
use crate::sys::inherit::{self, CommandSocket};
use crate::sys::limits;
use crate::sys::sandbox::Profile;
use crate::sys::stop::Stop;
use crate::transport::{self, OpenDoor, Options};
use crate::wire::{self, SocketType};

const KIND: Kind = Kind::Requests;
/// Descriptors that are no connections: standard streams, sockets, counters, the event queue, and some to spare.
const OTHER_DESCRIPTORS: u64 = 32;
/// One in so many connections is kept for back-ends.
const BACK_SHARE: usize = 8;

#[derive(Deserialize)]
struct Inherited {
    requests: config::Requests,
    limits: config::Limits,
}

pub(super) fn run(command: CommandSocket) -> Result<(), WorkerError> {
    let Inherited { requests, limits } = settings(KIND)?;
    let connections_max = connections_max(&limits);
    let doors = doors(&limits, connections_max)?;
    let counters = counters(KIND)?;
    let core = Requests::new(
        Settings {
            window: requests.window,
            idempotent: requests.idempotent,
            waiting_max: requests.waiting_max,
            waiting_bytes_max: requests.waiting_bytes_max,
            waiting_ms_max: requests.waiting_ms_max,
        },
        RandomState::new().build_hasher().finish(),
        Peers::new(limits.memory_bytes_max, limits.queue_bytes_max),
        Counts::register(|name| counters.register(name))?,
    );
    let counts = transport::Counts::register(|name| counters.register(name))?;
    let options = options(&limits, connections_max);

    let stop = Stop::new(&command).map_err(system("listen for signals"))?;
    sandbox::enter(KIND, Profile::Bus, &command)?;
    command.ready().map_err(system("tell its supervisor that it is ready"))?;
    transport::serve(core, doors, options, counts, &stop).map_err(system("serve its sockets"))
}

/// Front and back, in the order of the broker's doors.
fn doors(limits: &config::Limits, connections_max: usize) -> Result<Vec<OpenDoor>, WorkerError> {
    let mut listeners = inherit::listeners().map_err(system("take its listening sockets"))?;
    let mut listener = |name: &str, what| {
        let place = listeners.iter().position(|(known, _)| known == name);
        place.map(|place| listeners.swap_remove(place).1).ok_or(WorkerError::Orphan { kind: KIND, what })
    };
    let front_limits = wire::Limits {
        frame_bytes_max: limits.frame_bytes_max,
        message_bytes_max: limits.message_bytes_max,
        parts_max: limits.parts_max,
        metadata_bytes_max: limits.metadata_bytes_max,
    };
    // A reply carries the request's envelope, and the broker's address, beside what the back-end says.
    let back_limits = wire::Limits {
        message_bytes_max: limits.message_bytes_max.saturating_add(BACK_BYTES_MORE),
        parts_max: limits.parts_max.saturating_add(BACK_PARTS_MORE),
        ..front_limits.clone()
    };
    // However many clients come, back-ends find room: without them no client is served.
    let reserved = (connections_max / BACK_SHARE).max(1);
    Ok(vec![
        OpenDoor {
            listener: listener("front", "a listening socket for clients")?,
            ours: SocketType::Router,
            limits: front_limits,
            connections_max: connections_max.saturating_sub(reserved).max(1),
        },
        OpenDoor {
            listener: listener("back", "a listening socket for back-ends")?,
            ours: SocketType::Dealer,
            limits: back_limits,
            connections_max,
        },
    ])
}

/// How many connections there may be: what is configured, as far as there are descriptors for them.
fn connections_max(limits: &config::Limits) -> usize {
    let descriptors = limits::open_files().saturating_sub(OTHER_DESCRIPTORS).max(2);
    if u64::from(limits.connections_max) > descriptors {
        tracing::warn!(
            connections_max = limits.connections_max,
            possible = descriptors,
            "fewer connections are possible than configured; raise the limit on open files"
        );
    }
    u64::from(limits.connections_max).min(descriptors) as usize
}

fn options(limits: &config::Limits, connections_max: usize) -> Options {
    Options {
        handshake_ms_max: limits.handshake_ms_max,
        handshakes_max: limits.handshakes_max as usize,
        connections_max,
        heartbeat_ms: limits.heartbeat_ms,
        heartbeat_timeout_ms: limits.heartbeat_timeout_ms,
        drain_ms_max: limits.drain_ms_max,
        // Two may be late before the supervisor counts the worker as hung.
        alive_ms: limits.watchdog_ms.div_ceil(3),
    }
}
