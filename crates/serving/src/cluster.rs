//! The control plane as one state machine.

use crate::action::{Action, Ended, Event, InstanceState, Timer, TransferId};
use crate::admission::{Budget, Limits, Tenant};
use crate::custom::SharedPolicy;
use crate::instance::{Instance, Surroundings};
use crate::kv::Hold;
use crate::memory_pool::Tiers;
use crate::pools::{ClusterConfig, ConfigError, Deployment, Pool, Role};
use crate::request::{InstanceId, Live, Phase, Place, Reason, Request, RequestId, Table};
use crate::router::Router;
use crate::time::Nanos;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use steps::StepPricer;

/// The control plane of a cluster: it is told what happened and the time, and answers with what to do.
///
/// It decides with what a live front end would know. It prices steps only to predict them (service-level-aware chunks,
/// fetch or recompute); how long they take is the driver's business.
pub struct Cluster<P> {
    pub(crate) live: Table,
    pub(crate) instances: Vec<Instance>,
    pub(crate) pools: Vec<Pool>,
    pub(crate) deployments: Vec<Deployment>,
    pub(crate) pricers: Vec<P>,
    pub(crate) actions: Vec<Action>,
    pub(crate) now: Nanos,
    pub(crate) next_transfer: u64,
    /// Who waits for a transfer.
    pub(crate) transfers: BTreeMap<u64, RequestId>,
    tenant_weights: BTreeMap<u32, f64>,
    limits: Limits,
    orphans: Vec<(Place, Hold)>,
    /// Requests on their way from a failed instance to another.
    pub(crate) lost: Vec<RequestId>,
    /// Instances to plan before the event is done with.
    pub(crate) dirty: BTreeSet<u32>,
    /// Whether changes of prefix caches are told.
    pub(crate) watches_kv: bool,
    /// Code that takes decisions instead of the settings.
    pub(crate) custom: Option<SharedPolicy>,
}

impl<P: StepPricer> Cluster<P> {
    /// Sets a cluster up; `pricers` has one entry per pool, in the order of deployments and their pools. The actions
    /// that bring it up are returned by the first call of [`Cluster::handle`].
    ///
    /// # Errors
    /// A deployment that cannot run.
    pub fn new(config: ClusterConfig, pricers: Vec<P>) -> Result<Self, ConfigError> {
        let mut cluster = Self {
            live: Table::default(),
            instances: Vec::new(),
            pools: Vec::new(),
            deployments: Vec::new(),
            pricers,
            actions: Vec::new(),
            now: Nanos::ZERO,
            next_transfer: 0,
            transfers: BTreeMap::new(),
            tenant_weights: config.tenants.iter().map(|(tenant, terms)| (*tenant, terms.weight)).collect(),
            limits: Limits::new(&config.tenants),
            orphans: Vec::new(),
            lost: Vec::new(),
            dirty: BTreeSet::new(),
            watches_kv: false,
            custom: None,
        };
        cluster.live.counts_ends = cluster.limits.any();
        for deployment in config.deployments {
            deployment.check()?;
            cluster.add_deployment(deployment, config.seed);
        }
        Ok(cluster)
    }

    fn add_deployment(&mut self, config: crate::pools::DeploymentConfig, seed: u64) {
        let number = self.deployments.len() as u32;
        let (mut entry, mut decode) = (0, None);
        let mut bytes_per_hash = units::Bytes::ZERO;
        for pool in config.pools {
            let index = self.pools.len() as u32;
            match pool.role {
                Role::Decode => decode = Some(index),
                Role::Aggregated | Role::Prefill => entry = index,
            }
            if let Some(tokens) = pool.limits.prefix_cache {
                bytes_per_hash = pool.limits.kv_bytes_per_token * f64::from(tokens);
            }
            self.pools.push(Pool {
                role: pool.role,
                deployment: number,
                limits: Arc::new(pool.limits),
                members: Vec::new(),
                router: Router::new(pool.router, seed.wrapping_add(u64::from(index))),
                load: pool.load,
                warm: pool.instances > 0,
                scaling: pool.scaling,
            });
            for _ in 0..pool.instances {
                self.add_instance(index, InstanceState::Active);
            }
        }
        let tiers = Tiers::new(config.tiers, bytes_per_hash);
        let (admission, recovery) = (config.admission, config.recovery);
        self.deployments.push(Deployment { entry, decode, admission, recovery, tiers, closed: false });
    }

    pub(crate) fn add_instance(&mut self, pool: u32, state: InstanceState) -> InstanceId {
        let id = InstanceId(self.instances.len() as u32);
        let limits = self.pools[pool as usize].limits.clone();
        let mut instance = Instance::new(id, pool, limits, state);
        if self.watches_kv {
            instance.watch_kv();
        }
        self.instances.push(instance);
        self.pools[pool as usize].members.push(id.0);
        self.actions.push(Action::Instance(id, state));
        id
    }

    /// Takes an event in and says what to do about it. Times must not go back.
    pub fn handle(&mut self, now: Nanos, event: Event) -> std::vec::Drain<'_, Action> {
        debug_assert!(now >= self.now, "time goes forward");
        self.now = now;
        match event {
            Event::Started => (0..self.pools.len() as u32).for_each(|pool| self.start_scaling(pool)),
            Event::Arrived(id, request) => self.arrive(id, request),
            Event::Cancelled(id) => self.cancel(id),
            Event::StepFinished { instance, steps, ended } => self.step_finished(instance, steps, &ended),
            Event::TransfersFinished(transfers) => {
                transfers.into_iter().for_each(|transfer| self.transfer_finished(transfer));
            }
            Event::InstanceFailed { instance, ranks, repairable } => {
                self.instance_failed(instance, ranks, repairable);
            }
            Event::InstanceRepaired(instance) => self.instance_repaired(instance),
            Event::Timer(Timer::Loaded(instance)) => self.instance_loaded(instance),
            Event::Timer(Timer::Scale(pool)) => self.scale(pool),
            Event::Admin(commands) => self.administer(&commands),
        }
        self.settle();
        self.book_ends();
        self.actions.drain(..)
    }

    /// Returns orphaned blocks and plans every instance that something changed on.
    fn settle(&mut self) {
        while let Some(index) = self.dirty.pop_first() {
            self.with(index, |instance, around, pricer| instance.plan(around, pricer));
            while let Some((place, hold)) = self.orphans.pop() {
                self.return_blocks(place, hold);
            }
            self.tell_kv(index);
            self.remove_if_drained(index);
        }
    }

    /// Lets a policy decide what it says it does; told before the first event.
    pub fn set_policy(&mut self, policy: SharedPolicy) {
        self.custom = Some(policy);
    }

    /// Tells of every change of prefix caches from now on.
    pub fn watch_kv(&mut self) {
        self.watches_kv = true;
        self.instances.iter_mut().for_each(Instance::watch_kv);
    }

    /// Tells what changed in the prefix caches of an instance.
    fn tell_kv(&mut self, index: u32) {
        if !self.watches_kv {
            return;
        }
        let instance = &mut self.instances[index as usize];
        for (rank, state) in instance.ranks.iter_mut().enumerate() {
            let changes = state.kv.tree.as_mut().map(crate::prefix::PrefixTree::changes).unwrap_or_default();
            let told = |change| Action::Kv { instance: instance.id, rank: rank as u32, change };
            self.actions.extend(changes.into_iter().map(told));
        }
    }

    /// What a tenant has left of its limits at `now`; `None` if it has none.
    pub fn budget(&self, tenant: u32, now: Nanos) -> Option<Budget> {
        self.limits.budget(tenant, now)
    }

    /// Frees what ended requests held of their tenants' limits.
    fn book_ends(&mut self) {
        for (tenant, output) in self.live.ended.drain(..) {
            self.limits.leave(tenant, output);
        }
    }

    pub(crate) fn set_tenant(&mut self, tenant: u32, terms: Option<Tenant>) {
        let terms = terms.unwrap_or_default();
        self.tenant_weights.insert(tenant, terms.weight);
        let live = self.live.iter().filter(|(_, live)| live.request.tenant == tenant).count();
        self.limits.set(tenant, &terms, live as u32, self.now);
        self.live.counts_ends = self.limits.any();
    }

    /// Calls `act` with an instance and its surroundings.
    pub(crate) fn with<R>(
        &mut self,
        index: u32,
        act: impl FnOnce(&mut Instance, &mut Surroundings, &dyn StepPricer) -> R,
    ) -> R {
        let instance = &mut self.instances[index as usize];
        let pool = &self.pools[instance.pool as usize];
        let mut around = Surroundings {
            now: self.now,
            live: &mut self.live,
            actions: &mut self.actions,
            tiers: &mut self.deployments[pool.deployment as usize].tiers,
            next_transfer: &mut self.next_transfer,
            tenant_weights: &self.tenant_weights,
            orphans: &mut self.orphans,
            transfers: &mut self.transfers,
        };
        act(instance, &mut around, &self.pricers[instance.pool as usize])
    }

    fn arrive(&mut self, id: RequestId, request: Request) {
        if let Some(reason) = self.refusal(&request) {
            self.actions.push(Action::Rejected(id, reason));
            return;
        }
        let entry = self.deployments[request.deployment as usize].entry;
        let class = match &self.custom {
            Some(custom) if custom.decides().order => custom.ask().class(self.now, &request),
            _ => u32::from(request.priority),
        };
        let live = Live {
            class,
            phase: Phase::Queued,
            place: Place { instance: 0, rank: 0 },
            hold: Hold::NONE,
            source: None,
            target: request.prompt,
            prefilled: 0,
            generated: 0,
            joined: 0,
            position: 0,
            queued: 0,
            order: 0,
            lost: 0,
            transfer: 0,
            fetching: 0,
            request,
        };
        self.limits.enter(live.request.tenant, live.request.prompt);
        self.live.insert(id, live);
        self.route(id, entry);
    }

    /// Why a request cannot be let in, if it cannot.
    fn refusal(&mut self, request: &Request) -> Option<Reason> {
        let Some(deployment) = self.deployments.get(request.deployment as usize) else {
            return Some(Reason::UnknownDeployment);
        };
        let limits = |pool: u32| &self.pools[pool as usize].limits;
        let pools = [Some(deployment.entry), deployment.decode];
        for limits in pools.into_iter().flatten().map(limits) {
            let whole = request.prompt.saturating_add(request.max_tokens.unwrap_or(1));
            if request.prompt == 0 || whole > limits.max_context {
                return Some(Reason::LongerThanContext);
            }
            if (request.prompt + 1).div_ceil(limits.block) > limits.kv_blocks {
                return Some(Reason::LongerThanKv);
            }
        }
        if deployment.closed {
            return Some(Reason::Closed);
        }
        let entry = &self.pools[deployment.entry as usize].members;
        if request.instance.is_some_and(|instance| !entry.contains(&instance.0)) {
            return Some(Reason::NoInstance);
        }
        let members = &self.pools[deployment.entry as usize].members;
        let waiting =
            || members.iter().map(|member| self.instances[*member as usize].waiting.len()).sum::<usize>();
        // Nothing is charged to the tenant before everything else has been looked at.
        let over = self.limits.over(request.tenant, request.prompt, self.now);
        let full = || deployment.admission.queue_limit.is_some_and(|limit| waiting() >= limit as usize);
        over.or_else(|| full().then_some(Reason::QueueFull))
    }

    /// Sends a request to an instance of a pool. If there is none now but one is coming up, it waits for that one.
    pub(crate) fn route(&mut self, id: RequestId, pool: u32) {
        let request = &self.live.at(id).request;
        let pinned = request.instance.map(|instance| instance.0);
        let pools = &mut self.pools[pool as usize];
        if let Some(index) = pinned.filter(|index| pools.members.contains(index)) {
            let state = self.instances[index as usize].state;
            match state {
                InstanceState::Active | InstanceState::Loading => self.enqueue(id, index),
                _ => self.give_up(id, Reason::NoInstance),
            }
            return;
        }
        let custom = self.custom.as_ref().filter(|custom| custom.decides().route);
        let said =
            custom.and_then(|custom| custom.choose(self.now, pool, request, &pools.members, &self.instances));
        let chosen = said.or_else(|| pools.router.choose(request, &pools.members, &self.instances));
        let coming = || {
            let state = |member: &&u32| self.instances[**member as usize].state;
            let hope =
                |member: &&u32| matches!(state(member), InstanceState::Loading | InstanceState::Failed);
            pools
                .members
                .iter()
                .filter(hope)
                .min_by_key(|member| self.instances[**member as usize].tokens)
                .copied()
        };
        let Some(index) = chosen.or_else(coming) else {
            self.give_up(id, Reason::NoInstance);
            return;
        };
        self.enqueue(id, index);
    }

    fn enqueue(&mut self, id: RequestId, index: u32) {
        self.with(index, |instance, around, _| {
            instance.enqueue(id, around);
            instance.interrupt_for_admission(around);
        });
        self.dirty.insert(index);
    }

    /// Ends a request that is on no instance.
    pub(crate) fn give_up(&mut self, id: RequestId, reason: Reason) {
        if let Some(live) = self.live.remove(id) {
            if let Some((place, hold)) = live.source {
                self.return_blocks(place, hold);
            }
            self.actions.push(Action::Rejected(id, reason));
        }
    }

    /// Returns blocks that a request left on a prefill instance.
    pub(crate) fn return_blocks(&mut self, place: Place, hold: Hold) {
        let instance = &mut self.instances[place.instance as usize];
        if let Some(rank) = instance.ranks.get_mut(place.rank as usize) {
            rank.kv.release(hold);
            rank.admitted -= 1;
            self.dirty.insert(place.instance);
        }
    }

    pub(crate) fn cancel(&mut self, id: RequestId) {
        if !self.live.contains(id) {
            return;
        }
        let live = self.live.at(id);
        let index = live.place.instance;
        let in_step = matches!(live.phase, Phase::Decoding | Phase::Prefilling);
        if in_step && self.instances[index as usize].run.is_some() {
            self.with(index, |instance, around, _| {
                instance.cancelled.push(id);
                instance.interrupt(around);
            });
            return;
        }
        self.drop_cancelled(id);
    }

    fn drop_cancelled(&mut self, id: RequestId) {
        if !self.live.contains(id) {
            return;
        }
        let live = self.live.at(id);
        let (index, transfer) = (live.place.instance, live.transfer);
        if matches!(live.phase, Phase::Moving | Phase::Fetching) {
            self.transfers.remove(&transfer);
            self.actions.push(Action::CancelTransfer(TransferId(transfer)));
        }
        self.with(index, |instance, around, _| instance.drop_request(id, around));
        if let Some(live) = self.live.remove(id) {
            if let Some((place, hold)) = live.source {
                self.return_blocks(place, hold);
            }
        }
        self.actions.push(Action::Dropped(id));
        self.dirty.insert(index);
    }

    fn step_finished(&mut self, id: InstanceId, steps: u32, ended: &[Ended]) {
        let index = id.0;
        if self.instances.get(index as usize).is_none_or(|instance| instance.run.is_none()) {
            return;
        }
        self.with(index, |instance, around, _| {
            instance.advance(steps, around);
            for end in ended {
                instance.finish(end, around);
            }
        });
        let decode =
            self.deployment_of(index).decode.filter(|pool| *pool != self.instances[index as usize].pool);
        let completed = std::mem::take(&mut self.instances[index as usize].completed);
        for request in &completed {
            if !self.live.contains(*request) {
                continue;
            }
            match decode {
                Some(pool) => self.begin_transfer(*request, pool),
                None => self.instances[index as usize].ready.push(*request),
            }
        }
        self.instances[index as usize].completed = completed;
        for request in std::mem::take(&mut self.instances[index as usize].cancelled) {
            self.drop_cancelled(request);
        }
        self.dirty.insert(index);
    }

    /// Sends a request whose prompt is computed on to the decode pool; its KV stays until it has been fetched.
    fn begin_transfer(&mut self, id: RequestId, pool: u32) {
        let live = self.live.at_mut(id);
        let place = live.place;
        let counted = live.target;
        live.source = Some((place, live.hold));
        live.hold = Hold::NONE;
        live.phase = Phase::QueuedWithKv;
        self.instances[place.instance as usize].forget(counted);
        self.route(id, pool);
    }

    pub(crate) fn deployment_of(&self, instance: u32) -> &Deployment {
        let pool = self.instances[instance as usize].pool;
        &self.deployments[self.pools[pool as usize].deployment as usize]
    }

    fn transfer_finished(&mut self, transfer: TransferId) {
        let Some(id) = self.transfers.remove(&transfer.0) else { return };
        let live = self.live.at_mut(id);
        let index = live.place.instance;
        let source = live.source.take();
        let fetched = std::mem::take(&mut live.fetching);
        let instance = &mut self.instances[index as usize];
        if live.phase == Phase::Fetching {
            live.phase = Phase::Prefilling;
            live.prefilled += fetched;
            instance.ranks[live.place.rank as usize].pending -= u64::from(fetched);
            instance.prefilling.push(id);
        } else {
            live.phase = Phase::Ready;
            instance.ready.push(id);
        }
        if let Some((place, hold)) = source {
            self.return_blocks(place, hold);
        }
        self.with(index, |instance, around, _| instance.interrupt(around));
        self.dirty.insert(index);
    }
}
