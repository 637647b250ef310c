//! The loop: pipes in, lines out, the supervisor's packets. It wakes when there is something to read, to tell or to stop,
//! and never otherwise.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::commands::{self, Attach, Command, Ended, Follow, NewPid, PACKET_BYTES_MAX, Which};
use super::counts::add;
use super::follower::Follower;
use super::lines::Lines;
use super::origin::Origin;
use super::outlet::Outlet;
use super::pressure::{Pressure, QUEUE_BYTES_LOW};
use super::source::{Mark, Source};
use crate::config::Logs;
use crate::sys::inherit::CommandSocket;
use crate::sys::pass::{self, Received};
use crate::sys::pipe;
use crate::sys::poller::Poller;
use crate::sys::stop::Terminate;
use crate::sys::timer::Timer;

/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;
/// Those who follow at the same time; one more is turned away.
const FOLLOWERS_MAX: usize = 64;
/// How long an end may take: to read what is in the pipes, and to write it.
const STOP_MAX: Duration = Duration::from_secs(1);

const COMMAND: u64 = 0;
const TERMINATE: u64 = 1;
const TIMER: u64 = 2;
const WAKE: u64 = 3;
/// Sources and followers have the tokens from here on, each its own for ever.
const FIRST_TOKEN: u64 = 4;

/// All that is collected, and from whom.
#[derive(Debug)]
pub(super) struct Collector<'a> {
    poller: Poller,
    command: &'a CommandSocket,
    terminate: &'a Terminate,
    timer: Timer,
    armed: Option<Instant>,
    outlet: Outlet,
    line_bytes_max: usize,
    block_max: Duration,
    sources: HashMap<u64, Source>,
    /// Tokens by the supervisor's numbers.
    tokens: HashMap<u64, u64>,
    next_token: u64,
    /// Sources that may have something to read, the one that has waited longest first.
    ready: VecDeque<u64>,
    pressure: Pressure,
    /// When an end that has begun is over at the latest.
    stop_at: Option<Instant>,
    buffer: Vec<u8>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(
        command: &'a CommandSocket,
        terminate: &'a Terminate,
        outlet: Outlet,
        settings: &Logs,
    ) -> io::Result<Self> {
        let (poller, timer) = (Poller::new()?, Timer::new()?);
        poller.watch_reads(command, COMMAND)?;
        poller.watch_reads(terminate, TERMINATE)?;
        poller.watch_reads(&timer, TIMER)?;
        poller.watch_reads(outlet.queue.wake(), WAKE)?;
        Ok(Self {
            poller,
            command,
            terminate,
            timer,
            armed: None,
            outlet,
            line_bytes_max: settings.line_bytes_max as usize,
            block_max: Duration::from_millis(settings.block_ms_max),
            sources: HashMap::new(),
            tokens: HashMap::new(),
            next_token: FIRST_TOKEN,
            ready: VecDeque::new(),
            pressure: Pressure::Flowing,
            stop_at: None,
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Collects until SIGTERM or the supervisor's end, then what is left.
    pub(super) fn run(mut self) -> io::Result<()> {
        loop {
            let has_work = !self.ready.is_empty() && self.pressure != Pressure::Held;
            self.poller.wait(!has_work)?;
            self.outlet.look_at_clocks();
            let ended = self.take_events()?;
            self.press();
            self.read_sources();
            if self.pressure == Pressure::Flowing {
                self.outlet.tell_if_due();
            }
            for (_, follower) in self.outlet.flush_followers(&ended) {
                let _ = self.poller.forget(&follower);
            }
            self.outlet.queue.send();
            self.press();
            if self.is_over() {
                return Ok(());
            }
            self.arm()?;
        }
    }

    /// Takes in what has changed; answers the followers that are gone.
    fn take_events(&mut self) -> io::Result<HashSet<u64>> {
        let mut ended = HashSet::new();
        for place in 0..self.poller.found() {
            let event = self.poller.event(place);
            match event.token {
                COMMAND => self.hear()?,
                TERMINATE if self.terminate.has_come() => self.stop(),
                // What they stand for is looked at in every turn.
                TERMINATE | TIMER | WAKE => {}
                token if self.sources.contains_key(&token) => self.make_ready(token),
                token => {
                    let follower = self.outlet.followers.get_mut(&token);
                    follower.into_iter().for_each(|one| one.is_full &= !event.writable);
                    ended.extend(event.ended.then_some(token));
                }
            }
        }
        Ok(ended)
    }

    /// Hears the supervisor out.
    fn hear(&mut self) -> io::Result<()> {
        let mut packet = [0; PACKET_BYTES_MAX];
        loop {
            match pass::receive(self.command, &mut packet) {
                Ok(Received::Packet { length, descriptors }) => match commands::parse(&packet[..length]) {
                    Ok(command) => self.obey(command, descriptors),
                    Err(_) => add(self.outlet.counts.refused, 1),
                },
                Ok(Received::Cut) => add(self.outlet.counts.refused, 1),
                Ok(Received::Ended) => {
                    self.stop();
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn obey(&mut self, command: Command, descriptors: Vec<OwnedFd>) {
        let mut descriptors = descriptors.into_iter();
        match command {
            Command::Attach(attach) => {
                let number = attach.source;
                let attached = descriptors.next().is_some_and(|pipe| self.attach(attach, pipe).is_ok());
                if !attached {
                    add(self.outlet.counts.refused, 1);
                    // Nobody reads this pipe now; the supervisor may know what to do.
                    let word = format!("{{\"refused\":{{\"source\":{number}}}}}");
                    let _ = pass::send(self.command, word.as_bytes(), &[]);
                }
            }
            Command::Detach(Which { source }) => self.mark(source, Mark::Detach),
            Command::Ended(Ended { sources }) => sources.into_iter().for_each(|source| self.mark(source, Mark::Ended)),
            Command::Pid(NewPid { source, pid }) => self.mark(source, Mark::Pid(pid)),
            // A supervisor that does not listen just now asks again.
            Command::Ping {} => drop(pass::send(self.command, b"WATCHDOG=1", &[])),
            Command::Follow(follow) => {
                let followed = descriptors.next().is_some_and(|socket| self.follow(follow, socket).is_ok());
                add(self.outlet.counts.refused, u64::from(!followed));
            }
        }
    }

    fn attach(&mut self, attach: Attach, pipe: OwnedFd) -> io::Result<()> {
        let Attach { source: number, service, instance, stream, pid } = attach;
        if let Some(token) = self.tokens.get(&number).copied() {
            self.hold(token, Mark::Detach);
        }
        pipe::do_not_wait(&pipe)?;
        let token = self.new_token();
        self.poller.watch_reads(&pipe, token)?;
        self.outlet.join(&service);
        let origin = Origin::new(&service, instance, stream, pid);
        self.sources.insert(token, Source::new(number, pipe, origin, Lines::new(self.line_bytes_max)));
        self.tokens.insert(number, token);
        Ok(())
    }

    fn follow(&mut self, follow: Follow, socket: OwnedFd) -> io::Result<()> {
        let follower = Follower::new(follow, socket)?;
        if self.outlet.followers.len() >= FOLLOWERS_MAX {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let token = self.new_token();
        self.poller.watch_both(&follower, token)?;
        self.outlet.follow(token, follower);
        Ok(())
    }

    fn new_token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token - 1
    }

    fn make_ready(&mut self, token: u64) {
        let Some(source) = self.sources.get_mut(&token) else { return };
        if source.ready_since.is_none() {
            source.ready_since = Some(self.outlet.now);
            self.ready.push_back(token);
        }
    }

    fn mark(&mut self, number: u64, mark: Mark) {
        let Some(&token) = self.tokens.get(&number) else { return };
        let due = self.sources.get_mut(&token).and_then(|source| source.mark(mark));
        due.into_iter().for_each(|mark| self.hold(token, mark));
        // A look finds out whether the pipe has been read so far.
        self.make_ready(token);
    }

    /// A mark holds.
    fn hold(&mut self, token: u64, mark: Mark) {
        let Some(source) = self.sources.get_mut(&token) else { return };
        match mark {
            Mark::Ended => {
                Self::finish(source, &mut self.outlet, self.pressure);
                source.origin = source.origin.with_pid(None);
            }
            Mark::Pid(pid) => source.origin = source.origin.with_pid(Some(pid)),
            Mark::Detach => self.close(token),
        }
    }

    fn close(&mut self, token: u64) {
        let Some(mut source) = self.sources.remove(&token) else { return };
        Self::finish(&mut source, &mut self.outlet, self.pressure);
        self.outlet.leave(&source.origin.service);
        self.ready.retain(|other| *other != token);
        self.tokens.remove(&source.number);
        let _ = self.poller.forget(&source.pipe);
    }

    /// A line that has begun is one.
    fn finish(source: &mut Source, outlet: &mut Outlet, pressure: Pressure) {
        let Source { origin, lines, .. } = source;
        outlet.take(origin, pressure == Pressure::Dropping, |each| lines.finish(each));
    }

    /// Reads each source that is ready once, for as long as there is room for its lines.
    fn read_sources(&mut self) {
        for _ in 0..self.ready.len() {
            if self.pressure == Pressure::Held {
                return;
            }
            let Some(token) = self.ready.pop_front() else { return };
            if self.read(token) {
                self.ready.push_back(token);
            }
            self.press();
        }
    }

    /// Reads once; tells whether there may be more.
    fn read(&mut self, token: u64) -> bool {
        let Some(source) = self.sources.get_mut(&token) else { return false };
        let read = loop {
            match pipe::read(&source.pipe, &mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let (bytes, is_over) = match read {
            Ok(0) => (0, true),
            Ok(bytes) => (bytes, false),
            Err(error) => (0, error.kind() != io::ErrorKind::WouldBlock),
        };
        source.ready_since = (bytes > 0).then_some(self.outlet.now);
        let marks = source.passed(bytes);
        if bytes > 0 {
            add(self.outlet.counts.bytes, bytes as u64);
            let Source { origin, lines, .. } = source;
            let dropping = self.pressure == Pressure::Dropping;
            self.outlet.take(origin, dropping, |each| lines.feed(&self.buffer[..bytes], each));
        }
        marks.into_iter().for_each(|mark| self.hold(token, mark));
        if is_over {
            self.close(token);
        }
        bytes > 0 && self.sources.contains_key(&token)
    }

    /// Looks at how the output does, and has itself woken when it does better.
    fn press(&mut self) {
        let oldest = self.ready.front().and_then(|token| self.sources[token].ready_since);
        let waited = oldest.map_or(Duration::ZERO, |since| self.outlet.now.saturating_duration_since(since));
        let next = self.pressure.next(self.outlet.queue.queued_bytes(), waited, self.block_max);
        if next != Pressure::Flowing {
            self.outlet.queue.wake_below(QUEUE_BYTES_LOW + 1);
        }
        // It may have got better before it was told to wake us.
        self.pressure = next.next(self.outlet.queue.queued_bytes(), waited, self.block_max);
    }

    /// Begins the end: whatever is in the pipes now is still read.
    fn stop(&mut self) {
        if self.stop_at.is_none() {
            self.stop_at = Some(self.outlet.now + STOP_MAX);
            let tokens: Vec<u64> = self.sources.keys().copied().collect();
            tokens.into_iter().for_each(|token| self.make_ready(token));
        }
    }

    /// Whether there is nothing left to do, or no time for it.
    fn is_over(&mut self) -> bool {
        let Some(stop_at) = self.stop_at else { return false };
        if self.outlet.now >= stop_at {
            return true;
        }
        if !self.ready.is_empty() {
            return false;
        }
        for source in self.sources.values_mut() {
            Self::finish(source, &mut self.outlet, self.pressure);
        }
        self.outlet.tell();
        let _ = self.outlet.flush_followers(&HashSet::new());
        self.outlet.queue.send();
        self.outlet.queue.wake_below(1);
        self.outlet.queue.queued_bytes() == 0
    }

    /// Has itself woken when it is time for something.
    fn arm(&mut self) -> io::Result<()> {
        let held = || Some(self.sources[self.ready.front()?].ready_since? + self.block_max);
        let held = (self.pressure == Pressure::Held).then(held).flatten();
        let tell = self.outlet.tell_at.filter(|_| self.pressure == Pressure::Flowing);
        let due = [held, tell, self.stop_at].into_iter().flatten().min();
        if let Some(at) = due
            && self.armed.is_none_or(|armed| armed != at || armed <= self.outlet.now)
        {
            self.timer.arm(at.saturating_duration_since(self.outlet.now))?;
            self.armed = due;
        }
        Ok(())
    }
}
