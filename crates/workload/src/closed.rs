//! A closed loop: so many users, each sending the next request when the last one ends.

use crate::error::WorkloadError;
use crate::lengths::Lengths;
use crate::random::{Stream, stream};
use crate::source::{Arrival, Source};
use std::collections::VecDeque;
use units::Seconds;

/// A benchmark client with a fixed number of requests in flight. All users start at once; the first requests warm the
/// system up and are not measured.
#[derive(Debug, Clone)]
pub struct ClosedLoop {
    /// Requests to send, warm-up included.
    requests: u64,
    warm_up: u64,
    sent: u64,
    input: Lengths,
    output: Lengths,
    lengths: Stream,
    due: VecDeque<Seconds>,
    pace: Seconds,
    last: Option<Seconds>,
}

impl ClosedLoop {
    /// `users` users who send `warm_up` and then `measured` requests between them.
    pub fn new(users: u32, warm_up: u64, measured: u64, input: Lengths, output: Lengths, seed: u64) -> Self {
        Self {
            requests: warm_up + measured,
            warm_up,
            sent: 0,
            input,
            output,
            lengths: stream(seed, "closed-loop lengths"),
            due: std::iter::repeat_n(Seconds::ZERO, users as usize).collect(),
            pace: Seconds::ZERO,
            last: None,
        }
    }

    /// The same from a client that takes `pace` to send a request before it gets to the next.
    #[must_use]
    pub fn paced(self, pace: Seconds) -> Self {
        Self { pace, ..self }
    }
}

impl Source for ClosedLoop {
    fn peek(&mut self) -> Result<Option<Seconds>, WorkloadError> {
        let due = self.due.front().filter(|_| self.sent < self.requests).copied();
        Ok(due.map(|due| self.last.map_or(due, |last| due.max(last + self.pace))))
    }

    fn pop(&mut self) -> Result<Option<Arrival>, WorkloadError> {
        let Some(at) = self.peek()? else { return Ok(None) };
        self.due.pop_front();
        self.last = Some(at);
        let ticket = self.sent;
        self.sent += 1;
        Ok(Some(Arrival {
            at,
            input: self.input.draw(&mut self.lengths),
            output: self.output.draw(&mut self.lengths),
            ticket,
            measured: ticket >= self.warm_up,
            ..Arrival::default()
        }))
    }

    fn ended(&mut self, _ticket: u64, at: Seconds) {
        self.due.push_back(at);
    }
}
