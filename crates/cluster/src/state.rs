//! What a scheduler remembers: jobs, who runs where, who waits in which order, what tenants use.

use crate::job::{Job, JobId, Resource, Tenant, TenantId, Uses, Why};
use crate::place::{Placement, SizeMix, pick};
use crate::tree::{Ask, NodeId, Part, Tree};
use serving::Nanos;
use std::collections::BTreeSet;

/// Order of waiting jobs: lower first, then by number.
pub type Key = (i64, i64);

/// Where a job is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// In the queue.
    Waiting,
    /// On chips.
    Running,
    /// Finished, cancelled or rejected.
    Gone,
}

/// A job with what has become of it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What was declared.
    pub job: Job,
    /// Where it is.
    pub stage: Stage,
    /// Its chips while it runs.
    pub parts: Vec<Part>,
    /// When it last started.
    pub started: Nanos,
    /// How long its chips were still busy with the checkpoints of others then; this does not count against its limit.
    pub delay: Nanos,
    /// When it first started.
    pub first_started: Option<Nanos>,
    /// Chip-seconds it has had before the last start.
    pub attained: f64,
    /// Time it has run before the last start.
    pub ran: f64,
    /// Its place in the queue.
    pub key: Key,
    /// When it last joined the queue of its own accord or by an operator's word; orders those of equal standing.
    pub queued: Nanos,
    /// Whether an operator holds it back.
    pub held: bool,
    /// Why it waits, and since when it is for that reason.
    pub why: (Why, Nanos),
    position: u32,
}

impl Entry {
    /// Chips it holds.
    pub fn held(&self) -> u32 {
        self.parts.iter().map(|part| part.count()).sum()
    }

    /// Chip-seconds it has had until `now`.
    pub fn attained(&self, now: Nanos) -> f64 {
        let running = self.stage == Stage::Running;
        self.attained + if running { f64::from(self.held()) * now.since(self.started).get() } else { 0.0 }
    }

    /// When it ends at the latest by its declared limit.
    pub fn ends(&self) -> Nanos {
        let left = (self.job.limit.get() as f64 - self.ran * 1e9).max(0.0);
        if self.job.limit == Nanos::NEVER {
            return Nanos::NEVER;
        }
        Nanos::new(self.started.get().saturating_add(self.delay.get()).saturating_add(left as u64))
    }

    /// How long it may still run if it started now.
    pub fn left(&self) -> Nanos {
        if self.job.limit == Nanos::NEVER {
            return Nanos::NEVER;
        }
        Nanos::new((self.job.limit.get() as f64 - self.ran * 1e9).max(1.0) as u64)
    }
}

/// A tenant with what it uses.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its rights.
    pub tenant: Tenant,
    /// Chips its jobs hold.
    pub used: u32,
    /// Units its jobs hold of each resource.
    pub drawn: Vec<u64>,
    /// Chip-seconds used, each halved every half-life, as of `since`.
    pub usage: f64,
    /// When `usage` was last brought up to date.
    pub since: Nanos,
    /// Seconds its jobs waited, by reason.
    pub waited: [f64; Why::COUNT],
}

/// All that a scheduler remembers.
#[derive(Debug, Clone)]
pub struct State {
    /// The chips.
    pub tree: Tree,
    /// Every job by number.
    pub entries: Vec<Entry>,
    /// Waiting jobs in order.
    pub waiting: BTreeSet<(Key, JobId)>,
    /// How often anything has changed but the time.
    pub changes: u64,
    /// Running jobs, in no particular order.
    pub running: Vec<JobId>,
    /// Running jobs by their latest end.
    pub ends: BTreeSet<(Nanos, JobId)>,
    /// What is shared besides chips, and the units of each that jobs hold.
    pub resources: Vec<(Resource, u64)>,
    /// Tenants.
    pub accounts: Vec<Account>,
    /// The usual mix of requests.
    pub mix: SizeMix,
    /// How chips are picked.
    pub placement: Placement,
    /// The most chips that may work at once.
    pub power_chips: Option<u32>,
    /// Half-life of usage for fair shares, seconds.
    pub half_life: f64,
    /// Until when the chips of a node write checkpoints of jobs that had to go.
    pub busy_until: Vec<Nanos>,
    /// Closed nodes that take the place of failed ones.
    pub spares: BTreeSet<NodeId>,
    /// How many of them there ought to be.
    pub wanted_spares: usize,
    /// Nodes in repair.
    pub broken: BTreeSet<NodeId>,
    /// Nodes in maintenance.
    pub drained: BTreeSet<NodeId>,
    /// Nodes that somebody has taken who is no job.
    pub claimed: BTreeSet<NodeId>,
}

impl State {
    /// An empty cluster.
    pub fn new(mut tree: Tree, tenants: Vec<Tenant>, placement: Placement) -> Self {
        if placement == Placement::Buddy {
            tree.keep_cells();
        }
        let nodes = tree.nodes() as usize;
        let account = |tenant| Account {
            tenant,
            used: 0,
            drawn: Vec::new(),
            usage: 0.0,
            since: Nanos::ZERO,
            waited: [0.0; Why::COUNT],
        };
        Self {
            tree,
            entries: Vec::new(),
            waiting: BTreeSet::new(),
            changes: 0,
            running: Vec::new(),
            ends: BTreeSet::new(),
            resources: Vec::new(),
            accounts: tenants.into_iter().map(account).collect(),
            mix: SizeMix::default(),
            placement,
            power_chips: None,
            half_life: 7.0 * 86_400.0,
            busy_until: vec![Nanos::ZERO; nodes],
            spares: BTreeSet::new(),
            wanted_spares: 0,
            broken: BTreeSet::new(),
            drained: BTreeSet::new(),
            claimed: BTreeSet::new(),
        }
    }

    /// A job's entry.
    pub fn entry(&self, id: JobId) -> &Entry {
        &self.entries[id.0 as usize]
    }

    /// The account of a job's tenant.
    pub fn account(&self, tenant: TenantId) -> &Account {
        &self.accounts[tenant.0 as usize]
    }

    /// A tenant's decayed usage at `now`, chip-seconds: halved every [`State::half_life`], what its jobs hold added as it
    /// accrues.
    pub fn usage(&self, tenant: TenantId, now: Nanos) -> f64 {
        let account = self.account(tenant);
        decayed(account.usage, f64::from(account.used), now.since(account.since).get(), self.half_life)
    }

    fn charge(&mut self, tenant: TenantId, by: i64, now: Nanos) {
        let usage = self.usage(tenant, now);
        let account = &mut self.accounts[tenant.0 as usize];
        (account.usage, account.since) = (usage, now);
        account.used = (i64::from(account.used) + by).max(0) as u32;
    }

    /// Adds a job to the queue.
    pub fn enqueue(&mut self, job: Job, key: Key, now: Nanos) {
        self.mix.see(job.ask);
        let id = job.id;
        self.entries.push(Entry {
            job,
            stage: Stage::Waiting,
            parts: Vec::new(),
            started: now,
            delay: Nanos::ZERO,
            first_started: None,
            attained: 0.0,
            ran: 0.0,
            key,
            queued: now,
            held: false,
            why: (Why::Priority, now),
            position: 0,
        });
        self.waiting.insert((key, id));
    }

    /// Notes why a job waits from now on.
    pub fn note(&mut self, id: JobId, why: Why, now: Nanos) {
        let entry = &mut self.entries[id.0 as usize];
        if entry.why.0 != why {
            let (was, since) = std::mem::replace(&mut entry.why, (why, now));
            let tenant = entry.job.tenant.0 as usize;
            self.accounts[tenant].waited[was as usize] += now.since(since).get();
        }
    }

    /// Ends a wait: what it was for is booked.
    pub fn close_wait(&mut self, id: JobId, now: Nanos) {
        let entry = &mut self.entries[id.0 as usize];
        let (why, since) = entry.why;
        entry.why = (Why::Priority, now);
        let tenant = entry.job.tenant.0 as usize;
        self.accounts[tenant].waited[why as usize] += now.since(since).get();
    }

    /// Puts a waiting job on chips that are busy with the checkpoints of others for `delay`.
    pub fn start(&mut self, id: JobId, parts: Vec<Part>, now: Nanos, delay: Nanos) {
        self.close_wait(id, now);
        self.changes += 1;
        let at = id.0 as usize;
        self.waiting.remove(&(self.entries[at].key, id));
        for part in &parts {
            self.tree.take(*part);
        }
        let entry = &mut self.entries[at];
        entry.stage = Stage::Running;
        entry.parts = parts;
        (entry.started, entry.delay) = (now, delay);
        entry.first_started.get_or_insert(now);
        entry.position = self.running.len() as u32;
        let (tenant, held, end) = (entry.job.tenant, entry.held(), entry.ends());
        self.running.push(id);
        self.ends.insert((end, id));
        self.charge(tenant, i64::from(held), now);
        self.draw(id);
    }

    /// Takes a running job off its chips; it is neither waiting nor running afterwards.
    pub fn release(&mut self, id: JobId, now: Nanos) {
        let at = id.0 as usize;
        let end = self.entries[at].ends();
        self.ends.remove(&(end, id));
        let position = self.entries[at].position as usize;
        self.running.swap_remove(position);
        if let Some(moved) = self.running.get(position) {
            self.entries[moved.0 as usize].position = position as u32;
        }
        let entry = &mut self.entries[at];
        let held = entry.held();
        entry.attained += f64::from(held) * now.since(entry.started).get();
        entry.ran += (now.since(entry.started) - entry.delay.seconds()).get().max(0.0);
        entry.stage = Stage::Gone;
        let (tenant, parts) = (entry.job.tenant, std::mem::take(&mut entry.parts));
        for part in parts {
            self.tree.give(part);
        }
        self.charge(tenant, -i64::from(held), now);
        self.give_back(id);
    }

    /// Takes a job's units of resources.
    pub(crate) fn draw(&mut self, id: JobId) {
        let job = &self.entries[id.0 as usize].job;
        for (at, units) in &job.uses {
            self.resources[*at as usize].1 += units;
            self.accounts[job.tenant.0 as usize].drawn[*at as usize] += units;
        }
    }

    /// Ends [`State::draw`].
    pub(crate) fn give_back(&mut self, id: JobId) {
        let job = &self.entries[id.0 as usize].job;
        for (at, units) in &job.uses {
            self.resources[*at as usize].1 -= units;
            self.accounts[job.tenant.0 as usize].drawn[*at as usize] -= units;
        }
    }

    /// The first resource of which a job needs more than is free once `kept` is set aside for others.
    pub fn short_of(&self, uses: &Uses, kept: &Uses) -> Option<usize> {
        let aside = |at: u32| kept.iter().find(|(other, _)| *other == at).map_or(0, |(_, units)| *units);
        let short = |(at, units): &&(u32, u64)| {
            let (resource, drawn) = &self.resources[*at as usize];
            units.saturating_add(aside(*at)) > resource.amount.saturating_sub(*drawn)
        };
        uses.iter().find(short).map(|(at, _)| *at as usize)
    }

    /// Puts a released job back into the queue.
    pub fn requeue(&mut self, id: JobId, key: Key, now: Nanos) {
        let entry = &mut self.entries[id.0 as usize];
        entry.stage = Stage::Waiting;
        entry.key = key;
        entry.why = (Why::Priority, now);
        self.waiting.insert((key, id));
    }

    /// Takes a waiting job out of the queue until it is released.
    pub fn hold(&mut self, id: JobId, now: Nanos) {
        self.note(id, Why::Held, now);
        let entry = &mut self.entries[id.0 as usize];
        entry.held = true;
        let key = entry.key;
        self.waiting.remove(&(key, id));
    }

    /// Whether a node is closed for any reason but that it is a spare.
    pub fn is_out(&self, node: NodeId) -> bool {
        self.broken.contains(&node) || self.drained.contains(&node) || self.claimed.contains(&node)
    }

    /// Gives a waiting job another place in the queue.
    pub fn rekey(&mut self, id: JobId, key: Key) {
        let entry = &mut self.entries[id.0 as usize];
        if entry.held {
            entry.key = key;
        } else if entry.key != key {
            self.waiting.remove(&(entry.key, id));
            entry.key = key;
            self.waiting.insert((key, id));
        }
    }

    /// Chips that a tenant may still take: its own, then what its cohort leaves unused. Cohort members without a quota lend
    /// and take nothing.
    pub fn allowance(&self, tenant: TenantId) -> u32 {
        let account = self.account(tenant);
        let Some(quota) = account.tenant.quota else {
            return u32::MAX;
        };
        let own = quota.saturating_sub(account.used);
        let Some(cohort) = account.tenant.cohort else {
            return own;
        };
        let members = || self.accounts.iter().filter(|other| other.tenant.cohort == Some(cohort));
        let nominal: u32 = members().filter_map(|other| other.tenant.quota).sum();
        let used: u32 = members().map(|other| other.used).sum();
        let ceiling = quota.saturating_add(account.tenant.borrow).saturating_sub(account.used);
        nominal.saturating_sub(used).min(ceiling)
    }

    /// Chips that a job of `ask` takes, and why it may not have them now, if so.
    pub fn admits(&self, id: JobId, ask: Ask) -> Result<(), Why> {
        let entry = self.entry(id);
        let chips = ask.chips();
        if chips > self.allowance(entry.job.tenant) {
            return Err(Why::Quota);
        }
        if self.power_chips.is_some_and(|cap| self.tree.used_chips() + chips > cap) {
            return Err(Why::Power);
        }
        if self.short_of(&entry.job.uses, &Uses::default()).is_some() {
            return Err(Why::Capacity);
        }
        Ok(())
    }

    /// Chips for a job now, or why there are none.
    pub fn find(&self, id: JobId, ask: Ask) -> Result<Vec<Part>, Why> {
        self.admits(id, ask)?;
        if self.tree.free_chips() < ask.chips() {
            return Err(Why::Capacity);
        }
        let wish = self.entry(id).job.wish;
        pick(&self.tree, ask, wish, self.placement, &self.mix).ok_or_else(|| {
            if self.tree.fits(ask) && self.placement != Placement::Buddy {
                Why::Topology
            } else {
                Why::Fragmentation
            }
        })
    }
}

/// Usage after `elapsed` seconds at `rate` chips with exponential decay: `u 2^(-t/h) + rate h/ln 2 (1 - 2^(-t/h))`.
pub fn decayed(usage: f64, rate: f64, elapsed: f64, half_life: f64) -> f64 {
    let keep = (-elapsed / half_life).exp2();
    usage * keep + rate * half_life / std::f64::consts::LN_2 * (1.0 - keep)
}
