//! A cluster between what comes in from outside and what it foretells itself, without a clock of its own.

mod actions;
mod engines;
mod hardware;
mod input;
mod options;
mod transfers;

pub use hardware::{HardwareView, Health};
pub use input::{Input, Refusal, Ticket};
pub use options::{FirstToken, Ingress, Options, SimError, Totals};

use crate::check::Checker;
use crate::flight::{Flights, visible};
use crate::network::Network;
use crate::placement::Placement;
use crate::record::{Observer, Outcome};
use crate::wiring::Wiring;
use engines::Engine;
use serving::{
    Action, Cluster, ClusterConfig, ConfigError, Event, InstanceId, InstanceState, Nanos, Order, RequestId,
    Timer, TransferId,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use steps::StepPricer;
use transfers::Transfer;
use units::Seconds;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Step(InstanceId, u64),
    Arrivals(u64),
    Timer(u8, u32),
    Fault(u32),
    Patience(RequestId, u32),
    Ingress(RequestId),
}

/// Longest latency that may be put in front of a deployment.
const LONGEST_EXTRA: Seconds = Seconds::new(3600.0);

/// Tokenisers of every deployment, all free.
fn tokenisers(ingress: &[Ingress]) -> Vec<BinaryHeap<Reverse<Nanos>>> {
    let of = |ingress: &Ingress| (0..ingress.tokenisers.max(1)).map(|_| Reverse(Nanos::ZERO)).collect();
    ingress.iter().map(of).collect()
}

/// A cluster and the hardware under it. Whoever drives it tells what comes in and up to when time has gone; it answers
/// with what happens, to an [`Observer`].
///
/// What it does is a function of the inputs and their instants alone: not of how often, or how late, it is asked to
/// [advance](World::advance). A driver in virtual time and one in wall time that give it the same inputs see the same
/// decisions.
pub struct World<P> {
    cluster: Cluster<P>,
    options: Options,
    flights: Flights,
    engines: Vec<Engine>,
    queue: BinaryHeap<Reverse<(Nanos, u64, What)>>,
    scheduled: u64,
    wiring: Wiring,
    placement: Placement,
    /// When the tokenisers of each deployment are free again.
    tokenised: Vec<BinaryHeap<Reverse<Nanos>>>,
    /// What an administrator has put in front of each deployment.
    latency: Vec<Seconds>,
    network_epoch: u64,
    transfers: BTreeMap<TransferId, Transfer>,
    checker: Option<Checker>,
    actions: Vec<Action>,
    now: Nanos,
    totals: Totals,
    /// Looks of autoscalers since anything else happened.
    looks: u32,
}

impl<P: StepPricer> World<P> {
    /// Sets a world up; `pricers` has one entry per pool.
    ///
    /// # Errors
    /// A cluster that cannot run.
    pub fn new(mut config: ClusterConfig, pricers: Vec<P>, options: Options) -> Result<Self, ConfigError> {
        let deployments = config.deployments.len();
        if options.policy.as_ref().is_some_and(|policy| policy.decides().order) {
            let pools = config.deployments.iter_mut().flat_map(|deployment| &mut deployment.pools);
            pools.for_each(|pool| pool.limits.order = Order::Priority);
        }
        let mut cluster = Cluster::new(config, pricers)?;
        if let Some(policy) = &options.policy {
            cluster.set_policy(policy.clone());
        }
        let mut world = Self {
            cluster,
            flights: Flights::default(),
            engines: Vec::new(),
            queue: BinaryHeap::new(),
            scheduled: 0,
            wiring: Wiring::new(options.ports.clone(), options.tiers.clone()),
            placement: Placement::new(options.hardware.clone()),
            tokenised: tokenisers(&options.ingress),
            latency: vec![Seconds::ZERO; deployments],
            network_epoch: 0,
            transfers: BTreeMap::new(),
            checker: options.checks.then(Checker::default),
            actions: Vec::new(),
            now: Nanos::ZERO,
            totals: Totals::default(),
            looks: 0,
            options,
        };
        for index in 0..world.options.faults.len() {
            let at = Nanos::from_seconds(world.options.faults[index].at);
            world.schedule(at, What::Fault(index as u32));
        }
        Ok(world)
    }

    /// Brings the cluster up; told once, first.
    ///
    /// # Errors
    /// A broken law.
    pub fn start(&mut self, out: &mut impl Observer) -> Result<(), SimError> {
        self.tell(Event::Started, out)
    }

    /// When something happens next if nothing comes in before.
    pub fn next_due(&self) -> Option<Nanos> {
        self.queue.peek().map(|Reverse((at, ..))| *at)
    }

    /// Lets the next thing happen that is foretold.
    ///
    /// # Errors
    /// A broken law.
    pub fn step(&mut self, out: &mut impl Observer) -> Result<(), SimError> {
        let Some(Reverse((at, _, what))) = self.queue.pop() else { return Ok(()) };
        self.now = self.now.max(at);
        self.totals.events += 1;
        self.happen(what, out)
    }

    /// Lets everything happen that is foretold up to and including `to`, each thing at its own instant.
    ///
    /// # Errors
    /// A broken law.
    pub fn advance(&mut self, to: Nanos, out: &mut impl Observer) -> Result<(), SimError> {
        while self.next_due().is_some_and(|at| at <= to) {
            self.step(out)?;
        }
        Ok(())
    }

    /// Takes something in at `at`, which the world must have been advanced to. A request gets a ticket, to cancel it by.
    ///
    /// # Errors
    /// A [`SimError::Refused`] input, which changes nothing, or a broken law.
    pub fn inject(
        &mut self,
        at: Nanos,
        input: Input,
        out: &mut impl Observer,
    ) -> Result<Option<Ticket>, SimError> {
        self.allows(&input)?;
        self.now = self.now.max(at);
        self.totals.events += 1;
        match input {
            Input::Arrive(arrival) => return self.arrive(arrival, out).map(Some),
            Input::Cancel(ticket) => self.cancel(ticket, out)?,
            Input::Fault(kind) => self.fault(kind, out)?,
            Input::Admin(commands) => self.tell(Event::Admin(commands), out)?,
            Input::Latency { deployment, extra } => self.latency[deployment as usize] = extra,
        }
        Ok(None)
    }

    /// Whether [`World::inject`] would take this input.
    ///
    /// # Errors
    /// Why not.
    pub fn allows(&self, input: &Input) -> Result<(), Refusal> {
        match input {
            Input::Arrive(_) | Input::Cancel(_) => Ok(()),
            Input::Fault(kind) => self.allows_fault(kind),
            Input::Admin(commands) => Ok(self.cluster.check(commands)?),
            Input::Latency { deployment, .. } if *deployment as usize >= self.latency.len() => {
                let (what, count) = ("deployment", self.latency.len() as u32);
                Err(serving::CommandError::Unknown { what, number: *deployment, count }.into())
            }
            Input::Latency { extra, .. } => {
                let sensible = *extra >= Seconds::ZERO && *extra <= LONGEST_EXTRA;
                if sensible { Ok(()) } else { Err(Refusal::Latency(*extra)) }
            }
        }
    }

    /// All clients go away.
    ///
    /// # Errors
    /// A broken law.
    pub fn cancel_all(&mut self, at: Nanos, out: &mut impl Observer) -> Result<(), SimError> {
        self.now = self.now.max(at);
        self.looks = 0;
        let left: Vec<RequestId> = self.flights.iter().map(|(id, _)| id).collect();
        for id in left {
            if self.flights.at(id).live {
                self.leave(id, out)?;
            }
        }
        Ok(())
    }

    /// Looks at the end of a run, when every request has ended.
    ///
    /// # Errors
    /// A broken law.
    pub fn finish(&self) -> Result<(), SimError> {
        self.checker.as_ref().map_or(Ok(()), |checker| checker.finish(&self.totals, self.now))
    }

    /// The instant of what happened last.
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.flights.live
    }

    /// The settings it was made with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// What the run amounts to so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The control plane, to look at.
    pub fn cluster(&self) -> &Cluster<P> {
        &self.cluster
    }

    /// The network, for what was moved over its links.
    pub fn network(&self) -> &Network {
        &self.wiring.network
    }

    /// Tells of every change of prefix caches from now on.
    pub fn watch_kv(&mut self) {
        self.cluster.watch_kv();
    }

    /// Looks of autoscalers since anything else happened.
    pub fn looks(&self) -> u32 {
        self.looks
    }

    /// Whether requests may wait for ever: for hardware that is broken, or for links without bandwidth.
    pub fn excused(&self) -> bool {
        let failed = |index| self.cluster.instance(InstanceId(index)).state == InstanceState::Failed;
        self.wiring.network.stalled() || (0..self.cluster.instance_count()).any(failed)
    }

    /// The broken law of requests in flight with nothing left to happen.
    pub fn stuck(&self) -> SimError {
        let what = format!("{} requests in flight and nothing left to happen", self.flights.live);
        SimError::Law { law: 5, at: self.now.seconds(), what }
    }

    fn schedule(&mut self, at: Nanos, what: What) {
        self.scheduled += 1;
        self.queue.push(Reverse((at, self.scheduled, what)));
    }

    fn arrive(&mut self, arrival: workload::Arrival, out: &mut impl Observer) -> Result<Ticket, SimError> {
        let request = visible(&arrival, self.now);
        let patience = arrival.patience;
        let id = self.flights.add(arrival, self.now);
        let ticket = Ticket { slot: id.0, uses: self.flights.at(id).arrival_epoch() };
        self.totals.arrived += 1;
        if let Some(patience) = patience {
            let epoch = self.flights.at(id).arrival_epoch();
            self.schedule(self.now.after(patience), What::Patience(id, epoch));
        }
        let through = self.ingress(request.deployment as usize, request.prompt);
        if through > self.now {
            self.flights.at_mut(id).told = false;
            self.schedule(through, What::Ingress(id));
            return Ok(ticket);
        }
        self.tell(Event::Arrived(id, request), out)?;
        Ok(ticket)
    }

    fn cancel(&mut self, ticket: Ticket, out: &mut impl Observer) -> Result<(), SimError> {
        let id = RequestId(ticket.slot);
        let ours = self.flights.get(id).filter(|flight| flight.live && flight.arrival_epoch() == ticket.uses);
        if ours.is_some() { self.leave(id, out) } else { Ok(()) }
    }

    /// When a prompt that is sent now reaches the control plane.
    fn ingress(&mut self, deployment: usize, prompt: u32) -> Nanos {
        let extra = self.latency.get(deployment).copied().unwrap_or(Seconds::ZERO);
        let Some(ingress) = self.options.ingress.get(deployment) else { return self.now.after(extra) };
        // The prompt goes to the process that is free first.
        let Some(mut first) = self.tokenised[deployment].peek_mut() else { return self.now.after(extra) };
        let Reverse(free) = *first;
        let done = self.now.max(free).after(ingress.prompt_token * f64::from(prompt));
        *first = Reverse(done);
        done.after(ingress.request + extra)
    }

    /// A request has passed what is in front of the engine.
    fn pass(&mut self, id: RequestId, out: &mut impl Observer) -> Result<(), SimError> {
        let flight = self.flights.at_mut(id);
        flight.told = true;
        if flight.left {
            // Its client went away in the meantime.
            self.end(id, Outcome::Cancelled, out);
            return Ok(());
        }
        let request = visible(&flight.arrival, flight.arrived);
        self.tell(Event::Arrived(id, request), out)
    }

    fn leave(&mut self, id: RequestId, out: &mut impl Observer) -> Result<(), SimError> {
        let flight = self.flights.at_mut(id);
        if !flight.told {
            flight.left = true;
            return Ok(());
        }
        self.tell(Event::Cancelled(id), out)
    }

    fn happen(&mut self, what: What, out: &mut impl Observer) -> Result<(), SimError> {
        if !matches!(what, What::Timer(1, _)) {
            self.looks = 0;
        }
        match what {
            What::Step(instance, epoch) if self.engines[instance.0 as usize].epoch == epoch => {
                self.step_over(instance, out)
            }
            What::Arrivals(epoch) if self.network_epoch == epoch => self.transfers_over(out),
            What::Step(..) | What::Arrivals(..) => Ok(()),
            What::Timer(0, instance) => self.tell(Event::Timer(Timer::Loaded(InstanceId(instance))), out),
            What::Timer(_, pool) => {
                self.looks += 1;
                self.tell(Event::Timer(Timer::Scale(pool)), out)
            }
            What::Ingress(id) => self.pass(id, out),
            What::Fault(index) => self.fault(self.options.faults[index as usize].kind.clone(), out),
            What::Patience(id, epoch) => {
                let flight = self.flights.at(id);
                let waits = flight.live && flight.arrival_epoch() == epoch && flight.first_token.is_none();
                if waits { self.leave(id, out) } else { Ok(()) }
            }
        }
    }
}
