//! The driver: an event queue, a virtual clock, and the world's knowledge of how long answers are.

mod actions;
mod engines;
mod options;
mod transfers;

pub use options::{FirstToken, Ingress, Options, SimError, Totals};

use crate::check::Checker;
use crate::faults::FaultKind;
use crate::flight::{Flights, visible};
use crate::record::{Observer, Outcome};
use crate::wiring::Wiring;
use cost::step::StepPricer;
use engines::Engine;
use serving::{
    Action, Cluster, ClusterConfig, ConfigError, Event, InstanceId, InstanceState, Nanos, RequestId, Timer,
    TransferId,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use transfers::Transfer;
use workload::Source;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Step(InstanceId, u64),
    Arrivals(u64),
    Timer(u8, u32),
    Fault(u32),
    Patience(RequestId, u32),
    Ingress(RequestId),
}

/// A cluster, its workload and its observer in virtual time.
pub struct Simulation<P, S, O> {
    cluster: Cluster<P>,
    source: S,
    observer: O,
    options: Options,
    flights: Flights,
    engines: Vec<Engine>,
    queue: BinaryHeap<Reverse<(Nanos, u64, What)>>,
    scheduled: u64,
    wiring: Wiring,
    /// When the tokeniser of each deployment is free again.
    tokenised: Vec<Nanos>,
    network_epoch: u64,
    transfers: BTreeMap<TransferId, Transfer>,
    checker: Option<Checker>,
    actions: Vec<Action>,
    now: Nanos,
    totals: Totals,
    /// Looks of autoscalers since anything else happened.
    looks: u32,
}

/// Looks of autoscalers with nothing between them after which nothing more is expected.
const FRUITLESS_LOOKS: u32 = 10_000;

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
        let wiring = Wiring::new(options.ports.clone(), options.tiers.clone());
        let checker = options.checks.then(Checker::default);
        let mut simulation = Self {
            cluster: Cluster::new(config, pricers)?,
            source,
            observer,
            flights: Flights::default(),
            engines: Vec::new(),
            queue: BinaryHeap::new(),
            scheduled: 0,
            wiring,
            tokenised: vec![Nanos::ZERO; options.ingress.len()],
            network_epoch: 0,
            transfers: BTreeMap::new(),
            checker,
            actions: Vec::new(),
            now: Nanos::ZERO,
            totals: Totals::default(),
            looks: 0,
            options,
        };
        for index in 0..simulation.options.faults.len() {
            let at = Nanos::from_seconds(simulation.options.faults[index].at);
            simulation.schedule(at, What::Fault(index as u32));
        }
        Ok(simulation)
    }

    /// Runs until every request has ended.
    ///
    /// # Errors
    /// A workload that cannot be read, or a broken law.
    pub fn run(mut self) -> Result<(Totals, O), SimError> {
        self.tell(Event::Started)?;
        let mut until = self.options.until.map_or(Nanos::NEVER, Nanos::from_seconds);
        let mut open = true;
        loop {
            let arrival = if open { self.source.peek()?.map(Nanos::from_seconds) } else { None };
            if arrival.is_none() && self.flights.live == 0 {
                break;
            }
            let event = self.queue.peek().map(|Reverse((at, ..))| *at);
            let next = [arrival, event].into_iter().flatten().min();
            let idle = arrival.is_none() && self.looks > FRUITLESS_LOOKS;
            let Some(next) = next.filter(|next| *next <= until && !idle) else {
                if !open || (next.is_none_or(|next| next <= until) && !self.excused()) {
                    return Err(self.stuck());
                }
                // Time is up, or what is left waits for hardware that nobody mends: the clients go away.
                (open, until, self.looks) = (false, Nanos::NEVER, 0);
                self.cancel_all()?;
                continue;
            };
            // What is foretold for an instant comes before who arrives in it.
            if event == Some(next) {
                if let Some(Reverse((at, _, what))) = self.queue.pop() {
                    self.now = at;
                    self.happen(what)?;
                }
            } else if let Some(arrival) = self.source.pop()? {
                // A source that is behind the clock sends at once.
                self.now = self.now.max(next);
                self.arrive(arrival)?;
            }
            self.totals.events += 1;
        }
        if let Some(checker) = &self.checker {
            checker.finish(&self.totals, self.now)?;
        }
        for note in self.source.notes() {
            self.observer.noted(&note);
        }
        Ok((self.totals, self.observer))
    }

    fn schedule(&mut self, at: Nanos, what: What) {
        self.scheduled += 1;
        self.queue.push(Reverse((at, self.scheduled, what)));
    }

    fn cancel_all(&mut self) -> Result<(), SimError> {
        if let Some(until) = self.options.until {
            self.now = self.now.max(Nanos::from_seconds(until));
        }
        let left: Vec<RequestId> = self.flights.iter().map(|(id, _)| id).collect();
        for id in left {
            if self.flights.at(id).live {
                self.leave(id)?;
            }
        }
        Ok(())
    }

    /// Whether requests may wait for ever: for hardware that is broken, or for links without bandwidth.
    fn excused(&self) -> bool {
        let failed = |index| self.cluster.instance(InstanceId(index)).state == InstanceState::Failed;
        self.wiring.network.stalled() || (0..self.cluster.instance_count()).any(failed)
    }

    fn stuck(&self) -> SimError {
        let what = format!("{} requests in flight and nothing left to happen", self.flights.live);
        SimError::Law { law: 5, at: self.now.seconds(), what }
    }

    fn arrive(&mut self, arrival: workload::Arrival) -> Result<(), SimError> {
        let request = visible(&arrival, self.now);
        let patience = arrival.patience;
        let id = self.flights.add(arrival, self.now);
        self.totals.arrived += 1;
        if let Some(patience) = patience {
            let epoch = self.flights.at(id).arrival_epoch();
            self.schedule(self.now.after(patience), What::Patience(id, epoch));
        }
        let through = self.ingress(request.deployment as usize, request.prompt);
        if through > self.now {
            self.flights.at_mut(id).told = false;
            self.schedule(through, What::Ingress(id));
            return Ok(());
        }
        self.tell(Event::Arrived(id, request))
    }

    /// When a prompt that is sent now reaches the control plane.
    fn ingress(&mut self, deployment: usize, prompt: u32) -> Nanos {
        let Some(ingress) = self.options.ingress.get(deployment) else { return self.now };
        let free = &mut self.tokenised[deployment];
        *free = self.now.max(*free).after(ingress.prompt_token * f64::from(prompt));
        free.after(ingress.request)
    }

    /// A request has passed what is in front of the engine.
    fn pass(&mut self, id: RequestId) -> Result<(), SimError> {
        let flight = self.flights.at_mut(id);
        flight.told = true;
        if flight.left {
            // Its client went away in the meantime.
            self.end(id, Outcome::Cancelled);
            return Ok(());
        }
        let request = visible(&flight.arrival, flight.arrived);
        self.tell(Event::Arrived(id, request))
    }

    fn leave(&mut self, id: RequestId) -> Result<(), SimError> {
        let flight = self.flights.at_mut(id);
        if !flight.told {
            flight.left = true;
            return Ok(());
        }
        self.tell(Event::Cancelled(id))
    }

    fn happen(&mut self, what: What) -> Result<(), SimError> {
        if !matches!(what, What::Timer(1, _)) {
            self.looks = 0;
        }
        match what {
            What::Step(instance, epoch) if self.engines[instance.0 as usize].epoch == epoch => {
                self.step_over(instance)
            }
            What::Arrivals(epoch) if self.network_epoch == epoch => self.transfers_over(),
            What::Step(..) | What::Arrivals(..) => Ok(()),
            What::Timer(0, instance) => self.tell(Event::Timer(Timer::Loaded(InstanceId(instance)))),
            What::Timer(_, pool) => {
                self.looks += 1;
                self.tell(Event::Timer(Timer::Scale(pool)))
            }
            What::Ingress(id) => self.pass(id),
            What::Fault(index) => self.fault(self.options.faults[index as usize].kind.clone()),
            What::Patience(id, epoch) => {
                let flight = self.flights.at(id);
                let waits = flight.live && flight.arrival_epoch() == epoch && flight.first_token.is_none();
                if waits { self.leave(id) } else { Ok(()) }
            }
        }
    }

    fn fault(&mut self, kind: FaultKind) -> Result<(), SimError> {
        match kind {
            FaultKind::Fail { instance, ranks, repairable } => {
                if instance.0 >= self.cluster.instance_count() {
                    return Ok(());
                }
                self.cut_short(instance)?;
                self.tell(Event::InstanceFailed { instance, ranks, repairable })
            }
            FaultKind::Repair { instance } => self.tell(Event::InstanceRepaired(instance)),
            FaultKind::Links { instances, share } => {
                for instance in instances {
                    if instance.0 < self.cluster.instance_count() {
                        let pool = self.cluster.pool_of(instance);
                        self.wiring.scale(instance, pool, share, self.now);
                    }
                }
                self.watch_network();
                Ok(())
            }
        }
    }
}
