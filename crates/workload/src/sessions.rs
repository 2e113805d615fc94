//! Conversations: each turn's prompt is everything said before and something new.

use crate::arrivals::{ArrivalError, Arrivals, Process};
use crate::error::WorkloadError;
use crate::lengths::Lengths;
use crate::random::{Stream, stream_of};
use crate::source::{Arrival, Source};
use rand_distr::{Distribution, Exp1};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use units::Seconds;

/// What conversations are like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SessionsConfig {
    /// When conversations begin.
    pub process: Process,
    /// How many there are.
    pub sessions: u64,
    /// Turns of a conversation.
    pub turns: Lengths,
    /// Tokens of the system prompt, the same for all.
    pub system: u32,
    /// New tokens of a turn.
    pub input: Lengths,
    /// Tokens of an answer.
    pub output: Lengths,
    /// Mean time between an answer's end and the next turn (exponential).
    pub think: Seconds,
    /// Tokens per hash.
    pub hash_block: u32,
    /// A conversation ends before it gets longer than this.
    pub max_context: u32,
}

#[derive(Debug, Clone)]
struct Session {
    number: u64,
    /// Turns that have been sent.
    turns: u32,
    turns_left: u32,
    context: u32,
}

/// Due times are compared as integer nanoseconds, ties by the order in which they became known.
type Due = Reverse<(u64, u64, u64)>;

/// Conversations that go on as their answers come.
#[derive(Debug, Clone)]
pub struct Sessions {
    config: SessionsConfig,
    arrivals: Arrivals,
    next_start: Option<Seconds>,
    started: u64,
    due: BinaryHeap<Due>,
    waiting: BTreeMap<u64, Session>,
    in_flight: BTreeMap<u64, Session>,
    sent: u64,
    seed: u64,
}

impl Sessions {
    /// Sets conversations up.
    ///
    /// # Errors
    /// An arrival process with a parameter out of range.
    pub fn new(config: SessionsConfig, seed: u64) -> Result<Self, ArrivalError> {
        Ok(Self {
            arrivals: Arrivals::new(config.process, seed)?,
            next_start: None,
            started: 0,
            due: BinaryHeap::new(),
            waiting: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            sent: 0,
            seed,
            config,
        })
    }

    fn start_time(&mut self) -> Option<Seconds> {
        if self.next_start.is_none() && self.started < self.config.sessions {
            self.next_start = self.arrivals.next();
        }
        self.next_start
    }

    /// What a turn of a conversation draws from. It has a stream of its own, so that what is asked does not depend on
    /// how fast others are answered.
    fn stream(&self, session: u64, turn: u32, name: &str) -> Stream {
        stream_of(self.seed, name, [session, u64::from(turn)])
    }

    fn hashes(&self, session: u64, tokens: u32) -> Arc<[u64]> {
        let block = self.config.hash_block.max(1);
        let shared = self.config.system / block;
        let hash = |index: u32| {
            let owner = if index < shared { 0 } else { (session + 1) << 24 };
            owner | u64::from(index)
        };
        (0..tokens / block).map(hash).collect()
    }
}

impl Source for Sessions {
    fn peek(&mut self) -> Result<Option<Seconds>, WorkloadError> {
        let start = self.start_time();
        let due = self.due.peek().map(|Reverse((at, ..))| Seconds::new(*at as f64 * 1e-9));
        Ok(match (start, due) {
            (Some(start), Some(due)) => Some(start.min(due)),
            (start, due) => start.or(due),
        })
    }

    fn pop(&mut self) -> Result<Option<Arrival>, WorkloadError> {
        let Some(at) = self.peek()? else { return Ok(None) };
        let starts = self.next_start == Some(at);
        let mut session = if starts {
            self.next_start = None;
            self.started += 1;
            let number = self.started - 1;
            let turns_left = self.config.turns.draw(&mut self.stream(number, 0, "session turns"));
            Session { number, turns: 0, turns_left, context: self.config.system }
        } else {
            let Some(Reverse((_, _, number))) = self.due.pop() else { return Ok(None) };
            let Some(session) = self.waiting.remove(&number) else { return Ok(None) };
            session
        };
        let mut lengths = self.stream(session.number, session.turns, "session lengths");
        let input = session.context.saturating_add(self.config.input.draw(&mut lengths));
        let output = self.config.output.draw(&mut lengths);
        let ticket = self.sent;
        self.sent += 1;
        session.turns += 1;
        session.turns_left -= 1;
        session.context = input.saturating_add(output);
        let number = session.number;
        self.in_flight.insert(ticket, session);
        Ok(Some(Arrival {
            at,
            input,
            output,
            session: Some(number),
            prefix: Some(self.hashes(number, input)),
            after: Some(self.hashes(number, input.saturating_add(output))),
            ticket,
            measured: true,
            ..Arrival::default()
        }))
    }

    fn ended(&mut self, ticket: u64, at: Seconds) {
        let Some(session) = self.in_flight.remove(&ticket) else { return };
        let longest = match self.config.input {
            Lengths::Fixed(length) | Lengths::Uniform(_, length) => length,
            Lengths::LogNormal { max, .. } => max,
        };
        if session.turns_left == 0 || session.context.saturating_add(longest) > self.config.max_context {
            return;
        }
        let mut pauses = self.stream(session.number, session.turns, "session pauses");
        let pause: f64 = Exp1.sample(&mut pauses);
        let due = ((at.get() + pause * self.config.think.get()) * 1e9).round() as u64;
        self.due.push(Reverse((due, ticket, session.number)));
        self.waiting.insert(session.number, session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use units::PerSecond;

    /// Every request as (session, prompt, answer), sorted, where answers take `wait` of their length.
    fn requests(wait: impl Fn(&Arrival) -> f64) -> Vec<(Option<u64>, u32, u32)> {
        let config = SessionsConfig {
            process: Process::Poisson { rate: PerSecond::new(2.0) },
            sessions: 50,
            turns: Lengths::Uniform(1, 9),
            system: 100,
            input: Lengths::LogNormal { median: 120.0, sigma: 1.0, max: 4000 },
            output: Lengths::Uniform(10, 400),
            think: Seconds::new(3.0),
            hash_block: 64,
            max_context: 8000,
        };
        let mut source = Sessions::new(config, 7).unwrap();
        let mut ends: BinaryHeap<Reverse<(u64, u64)>> = BinaryHeap::new();
        let mut sent = Vec::new();
        loop {
            let next = source.peek().unwrap();
            let end = ends.peek().map(|Reverse((at, _))| Seconds::new(*at as f64 * 1e-9));
            match (next, end) {
                (None, None) => break,
                (next, Some(end)) if next.is_none_or(|next| end <= next) => {
                    let Some(Reverse((_, ticket))) = ends.pop() else { break };
                    source.ended(ticket, end);
                }
                _ => {
                    let arrival = source.pop().unwrap().unwrap();
                    ends.push(Reverse((((arrival.at.get() + wait(&arrival)) * 1e9) as u64, arrival.ticket)));
                    sent.push((arrival.session, arrival.input, arrival.output));
                }
            }
        }
        sent.sort_unstable();
        sent
    }

    #[test]
    fn two_systems_are_asked_the_same() {
        let fast = requests(|arrival| f64::from(arrival.output) * 0.001);
        let slow = requests(|arrival| 5.0 + f64::from(arrival.output) * 0.07);
        let odd = requests(|arrival| f64::from(arrival.ticket as u32 % 7) * 4.0);
        assert!(fast.len() > 150, "{} requests", fast.len());
        assert_eq!(fast, slow);
        assert_eq!(fast, odd);
    }

    #[test]
    fn a_turn_begins_with_the_turn_before_and_waits_for_its_answer() {
        let config = SessionsConfig {
            process: Process::Constant { rate: PerSecond::new(1.0) },
            sessions: 3,
            turns: Lengths::Fixed(4),
            system: 128,
            input: Lengths::Fixed(100),
            output: Lengths::Fixed(60),
            think: Seconds::new(2.0),
            hash_block: 64,
            max_context: 100_000,
        };
        let mut source = Sessions::new(config, 3).unwrap();
        let mut last: BTreeMap<u64, Arrival> = BTreeMap::new();
        let mut count = 0;
        let mut clock = 0.0;
        while let Some(arrival) = source.pop().unwrap() {
            assert!(arrival.at.get() >= clock);
            clock = arrival.at.get();
            let hashes = arrival.prefix.clone().unwrap();
            assert_eq!(hashes[..2], [0, 1], "the system prompt is shared");
            if let Some(before) = arrival.session.and_then(|session| last.get(&session)) {
                assert_eq!(arrival.input, before.input + before.output + 100);
                let known = before.after.clone().unwrap();
                assert_eq!(hashes[..known.len()], known[..]);
                assert!(arrival.at.get() > before.at.get() + 0.5);
            }
            source.ended(arrival.ticket, arrival.at + Seconds::new(0.5));
            last.insert(arrival.session.unwrap(), arrival);
            count += 1;
        }
        assert_eq!((count, last.len()), (12, 3));
    }
}
