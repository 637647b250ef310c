//! What an init does with signals and with the end of its command: decided here, without touching the world.

use std::collections::BTreeSet;

use crate::sys::signals;
use crate::sys::wait::Exit;

/// The init whose habits are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Like {
    /// <https://github.com/krallin/tini>, version 0.19.
    Tini,
    /// <https://github.com/Yelp/dumb-init>, version 1.2.
    DumbInit,
}

/// Who gets the signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The command's first process.
    Process,
    /// Its process group: all that it started, as far as they stayed.
    Group,
}

/// How one init treats its command.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(super) like: Like,
    pub(super) scope: Scope,
    pub(super) rewrites: Rewrites,
    /// Exit codes that count as success.
    pub(super) successes: BTreeSet<u8>,
}

/// What a signal leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// Somebody ended: collect.
    Collect,
    /// Send this signal, if any, and then stop ourselves as well, or not.
    Forward { signal: Option<i32>, and_stop: bool },
}

impl Policy {
    /// As an init does without options.
    pub fn of(like: Like) -> Self {
        let scope = match like {
            Like::Tini => Scope::Process,
            Like::DumbInit => Scope::Group,
        };
        Self { like, scope, rewrites: Rewrites::default(), successes: BTreeSet::new() }
    }

    /// Chooses who gets the signals.
    pub fn signal(&mut self, scope: Scope) {
        self.scope = scope;
    }

    /// Has one signal sent in the place of another; the last word about a signal counts.
    pub fn rewrite(&mut self, rewrite: Rewrite) {
        self.rewrites.0.push(rewrite);
    }

    /// Lets an exit code count as success.
    pub fn succeed_on(&mut self, code: u8) {
        self.successes.insert(code);
    }

    pub(super) fn react(&self, signal: i32) -> Reaction {
        if signal == signals::SIGCHLD {
            return Reaction::Collect;
        }
        let stops = [signals::SIGTSTP, signals::SIGTTIN, signals::SIGTTOU].contains(&signal);
        // Nobody continues a group that has no parent in its session, which is what a session of its own makes of the
        // command: so the kernel ignores these three there, and what is asked for has to be done by one that it obeys.
        let in_place = (stops && self.has_session()).then_some(signals::SIGSTOP);
        let signal = self.rewrites.of(signal).unwrap_or_else(|| in_place.or(Some(signal)));
        Reaction::Forward { signal, and_stop: stops && self.like == Like::DumbInit }
    }

    /// What the rest of the command's group gets when its first process has ended.
    pub(super) fn farewell(&self) -> Option<i32> {
        let signal = self.rewrites.of(signals::SIGTERM).unwrap_or(Some(signals::SIGTERM));
        signal.filter(|_| self.has_session())
    }

    /// The code that the init exits with when its command ended so.
    pub(super) fn code(&self, exit: Exit) -> u8 {
        let code = match exit {
            // The kernel hands on eight bits of it.
            Exit::Code(code) => code as u8,
            Exit::Signal(number) => 128_u8.wrapping_add(number as u8),
        };
        if self.successes.contains(&code) { 0 } else { code }
    }

    pub(super) fn has_session(&self) -> bool {
        self.like == Like::DumbInit && self.scope == Scope::Group
    }
}

/// One signal in the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrite {
    received: i32,
    sent: Option<i32>,
}

impl Rewrite {
    /// Reads `RECEIVED:SENT`, each by number or name; nothing is sent for 0.
    pub fn parse(text: &str) -> Option<Self> {
        let (received, sent) = text.split_once(':')?;
        let sent = if sent == "0" { None } else { Some(signals::number(sent)?) };
        Some(Self { received: signals::number(received)?, sent })
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Rewrites(Vec<Rewrite>);

impl Rewrites {
    /// What is to be sent for a signal, if anybody said.
    fn of(&self, signal: i32) -> Option<Option<i32>> {
        Some(self.0.iter().rfind(|rewrite| rewrite.received == signal)?.sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUP: i32 = 1;
    const INT: i32 = 2;
    const TERM: i32 = 15;

    fn rewriting(rewrites: &[&str]) -> Policy {
        let mut policy = Policy::of(Like::DumbInit);
        for text in rewrites {
            policy.rewrite(Rewrite::parse(text).unwrap());
        }
        policy
    }

    fn sent(policy: &Policy, signal: i32) -> Option<i32> {
        match policy.react(signal) {
            Reaction::Forward { signal, .. } => signal,
            Reaction::Collect => panic!("{signal} is no end of a child"),
        }
    }

    #[test]
    fn every_signal_is_handed_on_as_it_is_but_the_end_of_a_child() {
        for like in [Like::Tini, Like::DumbInit] {
            let policy = Policy::of(like);
            assert_eq!(policy.react(signals::SIGCHLD), Reaction::Collect);
            for signal in [HUP, INT, TERM, 10, 12, 28, 34, 64] {
                assert_eq!(policy.react(signal), Reaction::Forward { signal: Some(signal), and_stop: false });
            }
        }
    }

    #[test]
    fn a_rewritten_signal_is_replaced_or_dropped_and_the_last_word_counts() {
        let policy = rewriting(&["15:3", "HUP:SIGUSR1", "2:0", "15:1"]);
        assert_eq!([TERM, HUP, INT, 12].map(|signal| sent(&policy, signal)), [Some(1), Some(10), None, Some(12)]);
    }

    #[test]
    fn a_terminals_stop_reaches_a_session_as_one_that_the_kernel_obeys() {
        let mut policy = rewriting(&[]);
        for signal in [signals::SIGTSTP, signals::SIGTTIN, signals::SIGTTOU] {
            assert_eq!(policy.react(signal), Reaction::Forward { signal: Some(signals::SIGSTOP), and_stop: true });
        }
        policy.signal(Scope::Process);
        assert_eq!(sent(&policy, signals::SIGTSTP), Some(signals::SIGTSTP));
        assert_eq!(sent(&rewriting(&["TSTP:TERM"]), signals::SIGTSTP), Some(TERM));
        let tini = Policy::of(Like::Tini).react(signals::SIGTSTP);
        assert_eq!(tini, Reaction::Forward { signal: Some(signals::SIGTSTP), and_stop: false });
    }

    #[test]
    fn the_rest_of_a_session_is_asked_to_end_by_what_sigterm_is_rewritten_to() {
        assert_eq!(rewriting(&[]).farewell(), Some(TERM));
        assert_eq!(rewriting(&["15:2"]).farewell(), Some(INT));
        assert_eq!(rewriting(&["15:0"]).farewell(), None);
        assert_eq!(Policy::of(Like::Tini).farewell(), None);
        let mut single = rewriting(&[]);
        single.signal(Scope::Process);
        assert_eq!(single.farewell(), None);
    }

    #[test]
    fn the_code_is_the_commands_or_128_and_its_signal_unless_it_counts_as_success() {
        let mut policy = Policy::of(Like::Tini);
        let codes = [Exit::Code(0), Exit::Code(3), Exit::Code(255), Exit::Signal(9), Exit::Signal(15)];
        assert_eq!(codes.map(|exit| policy.code(exit)), [0, 3, 255, 137, 143]);
        policy.succeed_on(143);
        policy.succeed_on(3);
        assert_eq!(codes.map(|exit| policy.code(exit)), [0, 0, 255, 137, 0]);
    }

    #[test]
    fn a_rewrite_is_two_signals_by_number_or_name() {
        assert_eq!(Rewrite::parse("15:0"), Some(Rewrite { received: TERM, sent: None }));
        assert_eq!(Rewrite::parse("SIGTERM:INT"), Some(Rewrite { received: TERM, sent: Some(INT) }));
        for text in ["", "15", ":", "15:", ":15", "0:15", "15:65", "-1:2", "15:2:3", "TERM:NOPE", "15: 2"] {
            assert_eq!(Rewrite::parse(text), None, "{text}");
        }
    }
}
