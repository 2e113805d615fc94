//! The virtual driver: feeds a [`World`] from a source of requests and lets time jump from one event to the next.

use crate::network::Network;
use crate::record::{Observer, Record, RunRecord, TransferRecord};
use crate::world::{Input, Options, SimError, Totals, World};
use serving::{Action, ClusterConfig, ConfigError, Event, InstanceId, InstanceState, Nanos};
use std::sync::atomic::Ordering;
use steps::StepPricer;
use units::Seconds;
use workload::Source;

/// Looks of autoscalers with nothing between them after which nothing more is expected.
const FRUITLESS_LOOKS: u32 = 10_000;

/// A cluster, its workload and its observer in virtual time.
pub struct Simulation<P, S, O> {
    world: World<P>,
    source: S,
    observer: O,
}

impl<P: StepPricer, S: Source, O: Observer> Simulation<P, S, O> {
    /// Sets a simulation up; `pricers` has one entry per pool.
    ///
    /// # Errors
    /// A cluster that cannot run.
    pub fn new(
        config: ClusterConfig,
        pricers: Vec<P>,
        source: S,
        observer: O,
        options: Options,
    ) -> Result<Self, ConfigError> {
        Ok(Self { world: World::new(config, pricers, options)?, source, observer })
    }

    /// Runs until every request has ended.
    ///
    /// # Errors
    /// A workload that cannot be read, or a broken law.
    pub fn run(mut self) -> Result<(Totals, O), SimError> {
        let world = &mut self.world;
        let mut feed = Feed { source: self.source, observer: self.observer };
        let out = &mut feed;
        world.start(out)?;
        let stop = world.options().stop.clone();
        let mut until = world.options().until.map_or(Nanos::NEVER, Nanos::from_seconds);
        let (mut open, mut interrupted) = (true, false);
        loop {
            if open && stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed)) {
                (open, until, interrupted) = (false, Nanos::NEVER, true);
                world.cancel_all(world.now(), out)?;
                continue;
            }
            let arrival = if open { out.source.peek()?.map(Nanos::from_seconds) } else { None };
            if arrival.is_none() && world.in_flight() == 0 {
                break;
            }
            let event = world.next_due();
            let next = [arrival, event].into_iter().flatten().min();
            let idle = arrival.is_none() && world.looks() > FRUITLESS_LOOKS;
            let Some(next) = next.filter(|next| *next <= until && !idle) else {
                if !open || (next.is_none_or(|next| next <= until) && !world.excused()) {
                    return Err(world.stuck());
                }
                // Time is up, or what is left waits for hardware that nobody mends: the clients go away.
                let at = world.options().until.map_or(world.now(), Nanos::from_seconds);
                (open, until) = (false, Nanos::NEVER);
                world.cancel_all(at, out)?;
                continue;
            };
            // What is foretold for an instant comes before who arrives in it.
            if event == Some(next) {
                world.step(out)?;
            } else if let Some(arrival) = out.source.pop()? {
                // A source that is behind the clock sends at once.
                world.inject(next, Input::Arrive(arrival), out)?;
            }
        }
        world.finish()?;
        for note in out.source.notes() {
            out.observer.noted(&note);
        }
        let totals = Totals { interrupted, ..world.totals() };
        Ok((totals, feed.observer))
    }

    /// The network, for what was moved over its links.
    pub fn network(&self) -> &Network {
        self.world.network()
    }
}

/// Tells the source of the ends it waits for, and the observer of everything.
struct Feed<S, O> {
    source: S,
    observer: O,
}

impl<S: Source, O: Observer> Observer for Feed<S, O> {
    fn request_ended(&mut self, record: &Record) {
        self.observer.request_ended(record);
        self.source.ended(record.ticket, record.end);
    }

    fn run_ended(&mut self, record: &RunRecord) {
        self.observer.run_ended(record);
    }

    fn transfer_ended(&mut self, record: &TransferRecord) {
        self.observer.transfer_ended(record);
    }

    fn instance_changed(&mut self, instance: InstanceId, pool: u32, state: InstanceState, at: Seconds) {
        self.observer.instance_changed(instance, pool, state, at);
    }

    fn tokens_lost(&mut self, tokens: u64) {
        self.observer.tokens_lost(tokens);
    }

    fn told(&mut self, at: Nanos, event: &Event) {
        self.observer.told(at, event);
    }

    fn decided(&mut self, at: Nanos, actions: &[Action]) {
        self.observer.decided(at, actions);
    }

    fn run_started(&mut self, instance: InstanceId, at: Nanos) {
        self.observer.run_started(instance, at);
    }

    fn tokens(&mut self, ticket: u64, count: u32) {
        self.observer.tokens(ticket, count);
    }

    fn joined(&mut self, ticket: u64, instance: InstanceId, clock: u64, count: u32) {
        self.observer.joined(ticket, instance, clock, count);
    }

    fn left(&mut self, ticket: u64, count: u32) {
        self.observer.left(ticket, count);
    }

    fn wants_kv(&self, now: Seconds) -> bool {
        self.observer.wants_kv(now)
    }
}
