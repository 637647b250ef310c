//! What becomes of a line: its service's rate, its recent lines, those who follow, the output. What is dropped is counted
//! here, and told once a second for as long as something is dropped.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant, SystemTime};

use super::commands::Follow;
use super::counts::{Counts, add};
use super::follower::Follower;
use super::lines::Line;
use super::origin::{Format, Origin, Reason, Time, write_dropped};
use super::output::Queue;
use super::rate::Rate;
use super::recent::{Kept, Recent, Said};
use crate::config::Logs;
use crate::sys::counters::Counters;

/// How long drops are gathered before they are told.
const TELL_AFTER: Duration = Duration::from_secs(1);
/// Recent lines that one who follows gets at most.
const RECENT_LINES_MAX: usize = 100_000;

/// The way of all lines.
#[derive(Debug)]
pub(super) struct Outlet {
    pub(super) queue: Queue,
    pub(super) followers: HashMap<u64, Follower>,
    pub(super) counts: Counts,
    counters: &'static Counters,
    settings: Logs,
    format: Format,
    services: HashMap<String, Service>,
    /// The last line's place among all.
    number: u64,
    begin: Instant,
    pub(super) now: Instant,
    time: Time,
    /// When drops are told.
    pub(super) tell_at: Option<Instant>,
}

/// What all instances of a service share.
#[derive(Debug)]
struct Service {
    sources: usize,
    rate: Option<Rate>,
    recent: Recent,
    /// Lines that were dropped and not told of yet.
    untold_rate: u64,
    untold_blocked: u64,
    /// Where there is room for a counter of its own.
    dropped: Option<&'static AtomicU64>,
}

impl Outlet {
    pub(super) fn new(
        settings: &Logs,
        format: Format,
        queue: Queue,
        counts: Counts,
        counters: &'static Counters,
    ) -> Self {
        let now = Instant::now();
        Self {
            queue,
            followers: HashMap::new(),
            counts,
            counters,
            settings: settings.clone(),
            format,
            services: HashMap::new(),
            number: 0,
            begin: now,
            now,
            time: Time::new(SystemTime::now()),
            tell_at: None,
        }
    }

    /// Looks at the clocks.
    pub(super) fn look_at_clocks(&mut self) {
        self.now = Instant::now();
        self.time = Time::new(SystemTime::now());
    }

    /// A service has one more source.
    pub(super) fn join(&mut self, service: &str) {
        let Logs { rate_lines_per_s, burst_lines, recent_bytes_max, .. } = self.settings;
        let new = || Service {
            sources: 0,
            rate: Rate::new(rate_lines_per_s, burst_lines),
            recent: Recent::new(recent_bytes_max as usize),
            untold_rate: 0,
            untold_blocked: 0,
            dropped: None,
        };
        self.services.entry(service.to_owned()).or_insert_with(new).sources += 1;
    }

    /// A service has one source less. Nothing is kept of one that has none.
    pub(super) fn leave(&mut self, name: &str) {
        let Some(service) = self.services.get_mut(name) else { return };
        service.sources -= 1;
        if service.sources == 0 {
            service.tell(self.format, &self.time, name, &mut self.queue);
            self.services.remove(name);
        }
    }

    /// Takes the lines that `give` gives, all of one origin. When `dropping`, the output gets none of them.
    pub(super) fn take(&mut self, origin: &Origin, dropping: bool, give: impl FnOnce(&mut dyn FnMut(Line<'_>))) {
        let Some(service) = self.services.get_mut(&origin.service) else { return };
        let now_ns = (self.now - self.begin).as_nanos() as u64;
        let Origin { instance, pid, stream, .. } = *origin;
        let is_followed = self.followers.values().any(|one| one.wants_of(&origin.service, instance));
        let (mut lines, mut split, mut beyond, mut missed) = (0, 0, 0, 0);
        let batch = &mut self.queue.batch;
        give(&mut |line| {
            lines += 1;
            split += u64::from(line.more);
            if service.rate.as_mut().is_some_and(|rate| !rate.passes(now_ns)) {
                beyond += 1;
                return;
            }
            self.number += 1;
            service.recent.push(Said { number: self.number, time_us: self.time.us, instance, pid, stream }, line);
            if is_followed {
                let wanting = self.followers.values_mut().filter(|one| one.wants_of(&origin.service, instance));
                wanting.for_each(|one| missed += u64::from(!one.offer(origin, &self.time, line)));
            }
            if !dropping {
                origin.write(self.format, &self.time, line, &mut batch.bytes);
                batch.lines += 1;
            }
        });
        let blocked = if dropping { lines - beyond } else { 0 };
        add(self.counts.lines, lines);
        add(self.counts.split, split);
        add(self.counts.dropped_slow, missed);
        if beyond + blocked > 0 {
            add(self.counts.dropped_rate, beyond);
            add(self.counts.dropped_blocked, blocked);
            service.untold_rate += beyond;
            service.untold_blocked += blocked;
            let counters = self.counters;
            let name = || format!("dropped_of.{}", origin.service);
            service.dropped = service.dropped.or_else(|| counters.register(&name()).ok());
            service.dropped.iter().for_each(|dropped| add(dropped, beyond + blocked));
            self.tell_at.get_or_insert(self.now + TELL_AFTER);
        }
    }

    /// Tells of what was dropped, if it is time to.
    pub(super) fn tell_if_due(&mut self) {
        if self.tell_at.is_some_and(|at| at <= self.now) {
            self.tell();
        }
    }

    /// Tells of what was dropped.
    pub(super) fn tell(&mut self) {
        self.tell_at = None;
        for (name, service) in &mut self.services {
            service.tell(self.format, &self.time, name, &mut self.queue);
        }
    }

    /// One more who follows, with the recent lines that it wants.
    pub(super) fn follow(&mut self, token: u64, mut follower: Follower) {
        let Follow { lines, service: wanted, .. } = follower.wants();
        let lines_max = (*lines as usize).min(RECENT_LINES_MAX);
        let services = self.services.iter().filter(|(name, _)| wanted.as_ref().is_none_or(|wanted| wanted == *name));
        let mut recent: Vec<(&str, Kept)> = services
            .filter(|_| lines_max > 0)
            .flat_map(|(name, service)| service.recent.lines().into_iter().map(|kept| (name.as_str(), kept)))
            .filter(|(name, kept)| follower.wants_of(name, kept.instance))
            .collect();
        recent.sort_by_key(|(_, kept)| kept.number);
        let older = recent.len().saturating_sub(lines_max);
        recent[older..].iter().for_each(|(name, kept)| follower.begin(name, kept));
        self.followers.insert(token, follower);
    }

    /// Sends what waits for those who follow; answers those who are done with.
    pub(super) fn flush_followers(&mut self, ended: &HashSet<u64>) -> Vec<(u64, Follower)> {
        let time = &self.time;
        self.followers.extract_if(|token, one| !one.flush(time) || ended.contains(token)).collect()
    }
}

impl Service {
    fn tell(&mut self, format: Format, time: &Time, name: &str, queue: &mut Queue) {
        for (untold, reason) in [(&mut self.untold_rate, Reason::Rate), (&mut self.untold_blocked, Reason::Blocked)] {
            let dropped = std::mem::take(untold);
            if dropped > 0 {
                write_dropped(format, time, name, dropped, reason, &mut queue.batch.bytes);
            }
        }
    }
}
