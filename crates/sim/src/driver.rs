//! The driver: an event queue, a virtual clock, and the world's knowledge of how long answers are.

use crate::check::Checker;
use crate::faults::{Fault, FaultKind};
use crate::flight::{Flights, visible};
use crate::network::Network;
use crate::record::{Observer, Outcome, RunRecord, TransferRecord};
use crate::span::Span;
use crate::wiring::{PortConfig, TierPort, Wiring};
use cost::step::StepPricer;
use serving::{
    Action, Cluster, ClusterConfig, ConfigError, Ended, Endpoint, Event, InstanceId, InstanceState, Nanos,
    RequestId, Run, Timer, TransferId,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use units::{Bytes, Joules, Seconds};
use workload::{Source, WorkloadError};

/// When the client of a disaggregated deployment sees the first token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FirstToken {
    /// As soon as the prefill instance has it.
    #[default]
    Prefill,
    /// When the decode instance takes over.
    Decode,
}

/// What happens to a request in front of the engine: HTTP, hand-over, and tokenising, for which one process takes the
/// prompts in turn.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Ingress {
    /// Per request, of any number at once.
    pub request: Seconds,
    /// Per prompt token, one prompt after another.
    pub prompt_token: Seconds,
}

/// How to run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Options {
    /// Step through every iteration instead of leaping.
    pub exact: bool,
    /// Hold the control plane to its laws after every event.
    pub checks: bool,
    /// When the first token counts.
    pub first_token: FirstToken,
    /// Ports by pool; the default for those left out.
    pub ports: Vec<PortConfig>,
    /// Tiers by deployment, as many as the deployment has.
    pub tiers: Vec<Vec<TierPort>>,
    /// What a request passes before the control plane sees it, by deployment.
    pub ingress: Vec<Ingress>,
    /// Failures and repairs, ascending in time.
    pub faults: Vec<Fault>,
    /// Stop here; what is in flight is cancelled.
    pub until: Option<Seconds>,
}

/// Why a run stopped short.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The cluster cannot be set up.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The workload cannot be read.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// A law was broken: a defect of this program.
    #[error("law {law} broken at {at}: {what}")]
    Law {
        /// The law's number.
        law: u8,
        /// When.
        at: Seconds,
        /// How.
        what: String,
    },
}

/// What a run amounts to, besides what its observer has collected.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Totals {
    /// When the last request ended.
    pub end: Seconds,
    /// Requests that arrived.
    pub arrived: u64,
    /// Requests that ended with their last token.
    pub completed: u64,
    /// Requests turned away or given up.
    pub rejected: u64,
    /// Requests whose clients went away.
    pub cancelled: u64,
    /// Events handled.
    pub events: u64,
    /// Steps of all instances.
    pub steps: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Step(InstanceId, u64),
    Arrivals(u64),
    Timer(u8, u32),
    Fault(u32),
    Patience(RequestId, u32),
    Ingress(RequestId),
}

#[derive(Debug, Clone, Copy)]
struct Active {
    run: Run,
    span: Span,
    start: Nanos,
    steps: u32,
}

#[derive(Debug, Default)]
struct Engine {
    /// Rises with every run and interruption: what was scheduled before is void.
    epoch: u64,
    active: Option<Active>,
    /// Who ends when, on the instance's token clock.
    ends: BinaryHeap<Reverse<(u64, RequestId, u32)>>,
    last_chunks: Vec<RequestId>,
    last_decode: Option<Nanos>,
}

#[derive(Debug, Clone, Copy)]
struct Transfer {
    request: RequestId,
    from: Endpoint,
    to: InstanceId,
    start: Nanos,
    bytes: Bytes,
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

    /// Tells the cluster and does what it says.
    fn tell(&mut self, event: Event) -> Result<(), SimError> {
        if let Some(checker) = &mut self.checker {
            checker.before(self.now, &event)?;
        }
        let mut actions = std::mem::take(&mut self.actions);
        actions.extend(self.cluster.handle(self.now, event));
        if let Some(checker) = &mut self.checker {
            checker.after(self.now, &actions, &self.cluster)?;
        }
        for action in actions.drain(..) {
            self.act(action);
        }
        self.actions = actions;
        Ok(())
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Admitted { request, cached, fetched, .. } => {
                let now = self.now;
                let flight = self.flights.at_mut(request);
                flight.admitted.get_or_insert(now);
                flight.cached += cached;
                flight.fetched += fetched;
            }
            Action::LastChunk { request, instance } => {
                self.engines[instance.0 as usize].last_chunks.push(request)
            }
            Action::Joined { request, instance, clock } => self.joined(request, instance, clock),
            Action::Left { request, clock, lost, .. } => {
                let flight = self.flights.at_mut(request);
                if let Some(joined) = flight.joined.take() {
                    flight.emitted += (clock - joined) as u32;
                }
                flight.epoch += 1;
                flight.restarts += 1;
                self.observer.tokens_lost(u64::from(lost));
            }
            Action::Start { instance, run } => self.start(instance, run),
            Action::Interrupt(instance) => self.interrupt(instance),
            Action::Abort(instance) => {
                let engine = &mut self.engines[instance.0 as usize];
                engine.epoch += 1;
                engine.active = None;
                engine.last_chunks.clear();
            }
            Action::Transfer { transfer, request, from, to, bytes } => {
                self.transfer(transfer, request, from, to, bytes);
            }
            Action::CancelTransfer(transfer) => {
                self.transfers.remove(&transfer);
                self.wiring.network.cancel(transfer, self.now);
                self.watch_network();
            }
            Action::Finished(request) => self.end(request, Outcome::Completed),
            Action::Rejected(request, reason) => self.end(request, Outcome::Rejected(reason)),
            Action::Dropped(request) => self.end(request, Outcome::Cancelled),
            Action::SetTimer(at, Timer::Loaded(instance)) => self.schedule(at, What::Timer(0, instance.0)),
            Action::SetTimer(at, Timer::Scale(pool)) => self.schedule(at, What::Timer(1, pool)),
            Action::Instance(instance, state) => self.instance_changed(instance, state),
        }
    }

    fn instance_changed(&mut self, instance: InstanceId, state: InstanceState) {
        while self.engines.len() <= instance.0 as usize {
            self.engines.push(Engine::default());
        }
        let pool = self.cluster.pool_of(instance);
        self.observer.instance_changed(instance, pool, state, self.now.seconds());
    }

    fn joined(&mut self, request: RequestId, instance: InstanceId, clock: u64) {
        let now = self.now;
        let flight = self.flights.at_mut(request);
        flight.joined = Some(clock);
        flight.instance = Some(instance);
        flight.first_token.get_or_insert(now);
        let left = flight.arrival.output.saturating_sub(flight.emitted).max(1);
        let end = Reverse((clock + u64::from(left), request, flight.epoch));
        self.engines[instance.0 as usize].ends.push(end);
    }

    fn end(&mut self, request: RequestId, outcome: Outcome) {
        let flight = self.flights.at_mut(request);
        if let (Some(joined), Some(instance), true) =
            (flight.joined, flight.instance, outcome != Outcome::Completed)
        {
            flight.emitted += (self.cluster.clock(instance).tokens() - joined) as u32;
        }
        let record = self.flights.end(request, self.now, outcome);
        self.totals.end = self.now.seconds();
        match outcome {
            Outcome::Completed => self.totals.completed += 1,
            Outcome::Rejected(_) => self.totals.rejected += 1,
            Outcome::Cancelled => self.totals.cancelled += 1,
        }
        self.observer.request_ended(&record);
        self.source.ended(record.ticket, self.now.seconds());
    }

    fn start(&mut self, instance: InstanceId, run: Run) {
        let clock = self.cluster.clock(instance);
        let engine = &mut self.engines[instance.0 as usize];
        let mut most = if self.options.exact { 1 } else { run.max_steps };
        if run.decode_seqs > 0 && most > 1 {
            while let Some(Reverse((_, request, epoch))) = engine.ends.peek() {
                let flight = self.flights.at(*request);
                if flight.live && flight.epoch == *epoch {
                    break;
                }
                engine.ends.pop();
            }
            if let Some(Reverse((end, ..))) = engine.ends.peek() {
                most = most.min(clock.steps_until(*end).min(u64::from(u32::MAX)) as u32).max(1);
            }
        }
        let span = Span::price(self.cluster.pricer(instance), &run, most);
        let steps = span.steps;
        engine.active = Some(Active { run, span, start: self.now, steps });
        engine.epoch += 1;
        let what = What::Step(instance, engine.epoch);
        self.schedule(self.now.after(span.time(steps)), what);
    }

    fn interrupt(&mut self, instance: InstanceId) {
        let engine = &mut self.engines[instance.0 as usize];
        let Some(active) = &mut engine.active else { return };
        let over = active.span.steps_within(self.now.since(active.start));
        let steps = (over + 1).min(active.steps);
        if steps == active.steps {
            return;
        }
        active.steps = steps;
        engine.epoch += 1;
        let at = active.start.after(active.span.time(steps)).max(self.now);
        let what = What::Step(instance, engine.epoch);
        self.schedule(at, what);
    }

    /// Books the steps of a run that are over by now and voids the rest, as before a failure.
    fn cut_short(&mut self, instance: InstanceId) -> Result<(), SimError> {
        let engine = &mut self.engines[instance.0 as usize];
        let Some(active) = &mut engine.active else { return Ok(()) };
        let over = active.span.steps_within(self.now.since(active.start));
        if over == 0 || over >= active.steps {
            return Ok(());
        }
        active.steps = over;
        engine.epoch += 1;
        self.step_over(instance)
    }

    fn step_over(&mut self, instance: InstanceId) -> Result<(), SimError> {
        let clock = self.cluster.clock(instance);
        let now = self.now;
        let engine = &mut self.engines[instance.0 as usize];
        let Some(active) = engine.active.take() else { return Ok(()) };
        let mut ended = Vec::new();
        if active.run.decode_seqs > 0 {
            let clock = clock.tokens_after(u64::from(active.steps));
            while let Some(Reverse((end, request, epoch))) = engine.ends.peek().copied() {
                let flight = self.flights.at_mut(request);
                let valid = flight.live && flight.epoch == epoch;
                if valid && end > clock {
                    break;
                }
                engine.ends.pop();
                if valid {
                    flight.emitted = flight.arrival.output;
                    ended.push(Ended { request, prefix: flight.arrival.after.clone() });
                }
            }
        }
        for request in engine.last_chunks.drain(..) {
            let flight = self.flights.at_mut(request);
            flight.emitted += 1;
            flight.instance = Some(instance);
            let last = flight.emitted >= flight.arrival.output;
            if last || self.options.first_token == FirstToken::Prefill {
                flight.first_token.get_or_insert(now);
            }
            if last {
                ended.push(Ended { request, prefix: flight.arrival.after.clone() });
            }
        }
        let energy = active.span.energy(active.steps);
        self.totals.steps += u64::from(active.steps);
        self.report(instance, &active, energy, ended.len());
        self.tell(Event::StepFinished { instance, steps: active.steps, ended })
    }

    fn report(&mut self, instance: InstanceId, active: &Active, energy: Joules, ended: usize) {
        let engine = &mut self.engines[instance.0 as usize];
        let decodes = active.run.decode_seqs > 0;
        let stall =
            engine.last_decode.filter(|_| decodes).map_or(Seconds::ZERO, |last| active.start.since(last));
        if decodes {
            engine.last_decode = (ended < active.run.decode_seqs as usize).then_some(self.now);
        }
        let (start, end) = (active.start.seconds(), self.now.seconds());
        let record = RunRecord {
            instance,
            start,
            end,
            steps: active.steps,
            step_time: (end - start) / f64::from(active.steps),
            run: active.run,
            energy,
            waiting: self.cluster.waiting(instance),
            kv_used: if self.observer.wants_kv(self.now.seconds()) { self.kv_used(instance) } else { 0.0 },
            stall,
        };
        self.observer.run_ended(&record);
    }

    fn kv_used(&self, instance: InstanceId) -> f64 {
        let ranks = self.cluster.rank_blocks(instance);
        let (total, used) = ranks.fold((0u64, 0u64), |(total, used), (all, free, cached)| {
            (total + u64::from(all), used + u64::from(all - free - cached))
        });
        used as f64 / total.max(1) as f64
    }

    fn transfer(&mut self, id: TransferId, request: RequestId, from: Endpoint, to: Endpoint, bytes: Bytes) {
        let Endpoint::Instance(to) = to else { return };
        let pool = self.cluster.pool_of(to);
        let from_pool =
            if let Endpoint::Instance(instance) = from { self.cluster.pool_of(instance) } else { pool };
        let deployment = self.flights.at(request).arrival.deployment;
        let way = self.wiring.way(from, to, pool, deployment, from_pool);
        self.wiring.network.start(id, way.links, way.cap, bytes, way.latency, self.now);
        self.transfers.insert(id, Transfer { request, from, to, start: self.now, bytes });
        self.watch_network();
    }

    /// Schedules a look at the network for when its next transfer arrives.
    fn watch_network(&mut self) {
        self.network_epoch += 1;
        if let Some(at) = self.wiring.network.next().filter(|at| *at < Nanos::NEVER) {
            let what = What::Arrivals(self.network_epoch);
            self.schedule(at.max(self.now), what);
        }
    }

    fn transfers_over(&mut self) -> Result<(), SimError> {
        while let Some(id) = self.wiring.network.arrived(self.now) {
            if let Some(transfer) = self.transfers.remove(&id) {
                let tier = if let Endpoint::Tier(tier, _) = transfer.from { Some(tier) } else { None };
                self.observer.transfer_ended(&TransferRecord {
                    to: transfer.to,
                    start: transfer.start.seconds(),
                    end: self.now.seconds(),
                    bytes: transfer.bytes,
                    tier,
                });
                debug_assert!(
                    self.flights.at(transfer.request).live,
                    "a transfer belongs to a request in flight"
                );
            }
            self.tell(Event::TransferFinished(id))?;
        }
        self.watch_network();
        Ok(())
    }

    /// The network, for what was moved over its links.
    pub fn network(&self) -> &Network {
        &self.wiring.network
    }
}
