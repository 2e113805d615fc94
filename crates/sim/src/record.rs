//! What a run leaves behind, request by request and step by step.

use crate::span::Span;
use serving::{Action, Event, InstanceId, Nanos, Reason, Run};
use units::{Bytes, Joules, Seconds};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With its last token.
    Completed,
    /// Turned away or given up.
    Rejected(Reason),
    /// Its client went away.
    Cancelled,
}

/// One request from its arrival to its end. Times are since the start of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// What the source calls it.
    pub ticket: u64,
    /// When it was sent.
    pub arrival: Seconds,
    /// When it first left a queue.
    pub admitted: Option<Seconds>,
    /// When its first token came.
    pub first_token: Option<Seconds>,
    /// When it ended.
    pub end: Seconds,
    /// Prompt tokens.
    pub input: u32,
    /// Output tokens produced.
    pub output: u32,
    /// Prompt tokens found in a prefix cache on the device.
    pub cached: u32,
    /// Prompt tokens fetched from a slower tier.
    pub fetched: u32,
    /// Whose it was.
    pub tenant: u32,
    /// The deployment it asked for.
    pub deployment: u32,
    /// The conversation it belonged to.
    pub session: Option<u64>,
    /// Where it ended.
    pub instance: Option<InstanceId>,
    /// Times it was preempted or lost with an instance.
    pub restarts: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether it counts in results.
    pub measured: bool,
}

impl Record {
    /// Time to first token.
    pub fn ttft(&self) -> Option<Seconds> {
        self.first_token.map(|first| first - self.arrival)
    }

    /// Time per output token after the first: `(end - first token) / (output - 1)`; none for a single token.
    pub fn tpot(&self) -> Option<Seconds> {
        let first = self.first_token.filter(|_| self.output > 1)?;
        Some((self.end - first) / f64::from(self.output - 1))
    }

    /// From arrival to the last token.
    pub fn e2e(&self) -> Seconds {
        self.end - self.arrival
    }

    /// From arrival to leaving the queue.
    pub fn queued(&self) -> Option<Seconds> {
        self.admitted.map(|admitted| admitted - self.arrival)
    }
}

/// A number of steps of one instance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RunRecord {
    /// Whose.
    pub instance: InstanceId,
    /// When they began.
    pub start: Seconds,
    /// When they ended.
    pub end: Seconds,
    /// How many.
    pub steps: u32,
    /// The time of each step.
    pub span: Span,
    /// What was in them.
    pub run: Run,
    /// Energy of the instance's chips.
    pub energy: Joules,
    /// Requests in the instance's queue at the end.
    pub waiting: u32,
    /// KV blocks held by running sequences, as a share of all.
    pub kv_used: f64,
    /// Pause since the instance's last decoding step, which its sequences waited through.
    pub stall: Seconds,
}

/// A transfer of KV.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TransferRecord {
    /// Where to.
    pub to: InstanceId,
    /// When it began.
    pub start: Seconds,
    /// When it ended.
    pub end: Seconds,
    /// How much was moved.
    pub bytes: Bytes,
    /// The tier it came from, if not from another instance.
    pub tier: Option<u32>,
}

/// Watches a run. Every method may be left out.
pub trait Observer {
    /// A request ended.
    fn request_ended(&mut self, _: &Record) {}
    /// Steps of an instance ended.
    fn run_ended(&mut self, _: &RunRecord) {}
    /// A transfer ended.
    fn transfer_ended(&mut self, _: &TransferRecord) {}
    /// An instance changed its state.
    fn instance_changed(&mut self, _: InstanceId, _pool: u32, _: serving::InstanceState, _: Seconds) {}
    /// Tokens whose KV was lost to a preemption or a failure and has to be computed again.
    fn tokens_lost(&mut self, _: u64) {}
    /// What a user should know of the workload, told at the end of the run.
    fn noted(&mut self, _: &str) {}
    /// The control plane is about to be told something.
    fn told(&mut self, _: Nanos, _: &Event) {}
    /// What it answered.
    fn decided(&mut self, _: Nanos, _: &[Action]) {}
    /// An instance began to work on a run of steps.
    fn run_started(&mut self, _: InstanceId, _: Nanos) {}
    /// The request with this ticket has been sent so many tokens, the last of them now.
    fn tokens(&mut self, _ticket: u64, _count: u32) {}
    /// A request that has been sent `count` tokens gets one more per tick of the instance's token clock from `clock` on.
    fn joined(&mut self, _ticket: u64, _: InstanceId, _clock: u64, _count: u32) {}
    /// A request gets no more tokens until it joins a batch again; it has been sent `count`.
    fn left(&mut self, _ticket: u64, _count: u32) {}
    /// Whether [`RunRecord::kv_used`] is wanted for a run that ends now; counting it costs time.
    fn wants_kv(&self, _: Seconds) -> bool {
        false
    }
}

impl Observer for () {}

impl<A: Observer, B: Observer> Observer for (A, B) {
    fn request_ended(&mut self, record: &Record) {
        self.0.request_ended(record);
        self.1.request_ended(record);
    }

    fn run_ended(&mut self, record: &RunRecord) {
        self.0.run_ended(record);
        self.1.run_ended(record);
    }

    fn transfer_ended(&mut self, record: &TransferRecord) {
        self.0.transfer_ended(record);
        self.1.transfer_ended(record);
    }

    fn instance_changed(
        &mut self,
        instance: InstanceId,
        pool: u32,
        state: serving::InstanceState,
        at: Seconds,
    ) {
        self.0.instance_changed(instance, pool, state, at);
        self.1.instance_changed(instance, pool, state, at);
    }

    fn tokens_lost(&mut self, tokens: u64) {
        self.0.tokens_lost(tokens);
        self.1.tokens_lost(tokens);
    }

    fn noted(&mut self, note: &str) {
        self.0.noted(note);
        self.1.noted(note);
    }

    fn told(&mut self, at: Nanos, event: &Event) {
        self.0.told(at, event);
        self.1.told(at, event);
    }

    fn decided(&mut self, at: Nanos, actions: &[Action]) {
        self.0.decided(at, actions);
        self.1.decided(at, actions);
    }

    fn run_started(&mut self, instance: InstanceId, at: Nanos) {
        self.0.run_started(instance, at);
        self.1.run_started(instance, at);
    }

    fn tokens(&mut self, ticket: u64, count: u32) {
        self.0.tokens(ticket, count);
        self.1.tokens(ticket, count);
    }

    fn joined(&mut self, ticket: u64, instance: InstanceId, clock: u64, count: u32) {
        self.0.joined(ticket, instance, clock, count);
        self.1.joined(ticket, instance, clock, count);
    }

    fn left(&mut self, ticket: u64, count: u32) {
        self.0.left(ticket, count);
        self.1.left(ticket, count);
    }

    fn wants_kv(&self, now: Seconds) -> bool {
        self.0.wants_kv(now) || self.1.wants_kv(now)
    }
}
