//! Requests that wait for a back-end. Each client has a line of its own and the clients take turns, so that one who
//! sends a thousand does not keep another waiting for a thousand turns.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::envelope::Envelope;
use crate::broker::{Millis, PeerId};

#[derive(Debug)]
pub(super) struct WaitingRequest {
    pub(super) message: Bytes,
    pub(super) envelope: Envelope,
    pub(super) since: Millis,
    /// How often it was given out before.
    pub(super) attempts: u8,
}

#[derive(Debug, Default)]
pub(super) struct Waiting {
    lines: HashMap<PeerId, Line>,
    /// Whose turn it is. A client that left is skipped when its turn comes.
    turns: VecDeque<PeerId>,
    requests: u64,
    bytes: u64,
    /// No request waits since before this; it may be early, never late.
    oldest: Option<Millis>,
}

#[derive(Debug, Default)]
struct Line {
    requests: VecDeque<WaitingRequest>,
    bytes: u64,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.requests == 0
    }

    pub(super) fn len(&self) -> usize {
        self.requests as usize
    }

    /// Requests and bytes that wait.
    pub(super) fn total(&self) -> (u64, u64) {
        (self.requests, self.bytes)
    }

    /// Requests and bytes that wait for one client.
    pub(super) fn of(&self, client: PeerId) -> (u64, u64) {
        self.lines.get(&client).map_or((0, 0), |line| (line.requests.len() as u64, line.bytes))
    }

    /// Since when the oldest has been waiting; perhaps since later.
    pub(super) fn oldest(&self) -> Option<Millis> {
        self.oldest
    }

    /// Puts a request at the end of its client's line; one that was given out before goes to its front.
    pub(super) fn push(&mut self, client: PeerId, request: WaitingRequest) {
        self.requests += 1;
        self.bytes += request.message.len() as u64;
        self.oldest = Some(self.oldest.map_or(request.since, |oldest| oldest.min(request.since)));
        let line = self.lines.entry(client).or_insert_with(|| {
            self.turns.push_back(client);
            Line::default()
        });
        line.bytes += request.message.len() as u64;
        if request.attempts == 0 {
            line.requests.push_back(request);
        } else {
            line.requests.push_front(request);
        }
    }

    /// Takes the next request of the client whose turn it is.
    pub(super) fn pop(&mut self) -> Option<(PeerId, WaitingRequest)> {
        let (client, request) = loop {
            let client = self.turns.pop_front()?;
            if let Some(request) = self.lines.get_mut(&client).and_then(|line| line.requests.pop_front()) {
                break (client, request);
            }
        };
        self.took(client, &request);
        if self.lines.contains_key(&client) {
            self.turns.push_back(client);
        }
        Some((client, request))
    }

    /// Forgets a client's line: how many requests and bytes that were.
    pub(super) fn remove(&mut self, client: PeerId) -> (u64, u64) {
        let Some(line) = self.lines.remove(&client) else { return (0, 0) };
        self.requests -= line.requests.len() as u64;
        self.bytes -= line.bytes;
        self.settle();
        // Not at each departure, so that a crowd that leaves costs each of them little.
        if self.turns.len() > 2 * self.lines.len() + 16 {
            self.turns.retain(|client| self.lines.contains_key(client));
        }
        (line.requests.len() as u64, line.bytes)
    }

    /// Forgets the requests that have been waiting since `limit` or before: how many and how many bytes.
    pub(super) fn expire(&mut self, limit: Millis) -> (u64, u64) {
        let (requests, bytes) = (self.requests, self.bytes);
        self.lines.retain(|_, line| {
            line.requests.retain(|request| {
                let stays = request.since > limit;
                if !stays {
                    line.bytes -= request.message.len() as u64;
                    self.bytes -= request.message.len() as u64;
                    self.requests -= 1;
                }
                stays
            });
            !line.requests.is_empty()
        });
        self.turns.retain(|client| self.lines.contains_key(client));
        self.oldest = self.lines.values().flat_map(|line| &line.requests).map(|request| request.since).min();
        self.settle();
        (requests - self.requests, bytes - self.bytes)
    }

    fn took(&mut self, client: PeerId, request: &WaitingRequest) {
        self.requests -= 1;
        self.bytes -= request.message.len() as u64;
        let line = self.lines.get_mut(&client).expect("the request was in it");
        line.bytes -= request.message.len() as u64;
        if line.requests.is_empty() {
            self.lines.remove(&client);
        }
        self.settle();
    }

    /// With nobody waiting there are no turns and no deadline.
    fn settle(&mut self) {
        if self.requests == 0 {
            self.turns.clear();
            self.oldest = None;
        }
    }
}
