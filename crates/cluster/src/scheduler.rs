//! The scheduler: told what happens and when, it answers with what to do. It owns no clock and does no IO.

use crate::job::{Action, Cause, Event, Job, JobId, Resource, Tenant, Uses, Why};
use crate::pass::Pass;
use crate::place::Placement;
use crate::policy::Policy;
use crate::state::{Stage, State};
use crate::tree::{NodeId, Tree};
use serving::Nanos;
use std::fmt::Write;

/// A cluster's scheduler under one policy.
pub struct Scheduler {
    state: State,
    policy: Box<dyn Policy>,
    /// The next time at which the policy wants to look again, if a timer is set.
    timer: Option<Nanos>,
}

impl Scheduler {
    /// An empty cluster of these nodes and tenants.
    pub fn new(tree: Tree, tenants: Vec<Tenant>, placement: Placement, policy: Box<dyn Policy>) -> Self {
        let placement = policy.placement().unwrap_or(placement);
        Self { state: State::new(tree, tenants, placement), policy, timer: None }
    }

    /// What it remembers.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Half-life of usage in fair shares.
    pub fn set_half_life(&mut self, seconds: f64) {
        self.state.half_life = seconds.max(1.0);
    }

    /// Counts what is shared besides chips; jobs name it by its place here.
    pub fn set_resources(&mut self, resources: Vec<Resource>) {
        for account in &mut self.state.accounts {
            account.drawn = vec![0; resources.len()];
        }
        self.state.resources = resources.into_iter().map(|resource| (resource, 0)).collect();
    }

    /// Keeps nodes out of use until another fails.
    pub fn set_spares(&mut self, nodes: impl IntoIterator<Item = NodeId>) {
        for node in nodes {
            self.state.tree.set_open(node, false);
            self.state.spares.insert(node);
        }
        self.state.wanted_spares = self.state.spares.len();
    }

    /// Whether the policy is a bound that must be told the work left.
    pub fn needs_oracle(&self) -> bool {
        self.policy.needs_oracle()
    }

    /// Takes note of all that happens at one instant and decides once.
    pub fn handle(&mut self, now: Nanos, events: impl IntoIterator<Item = Event>, actions: &mut Vec<Action>) {
        for event in events {
            self.apply(now, event, actions);
        }
        if self.timer.is_some_and(|timer| timer <= now) {
            self.timer = None;
            self.refresh(now);
        }
        if !self.state.waiting.is_empty() || self.policy.resizes() {
            self.policy.plan(&mut Pass { now, state: &mut self.state, actions });
        }
        self.arm(now, actions);
    }

    fn arm(&mut self, now: Nanos, actions: &mut Vec<Action>) {
        let busy = !self.state.waiting.is_empty() || self.policy.resizes() && !self.state.running.is_empty();
        if let (None, true, Some(period)) = (self.timer, busy, self.policy.period()) {
            let at = Nanos::new(now.get().saturating_add(period.get().max(1)));
            self.timer = Some(at);
            actions.push(Action::SetTimer(at));
        }
    }

    /// Brings the places of waiting jobs up to date.
    fn refresh(&mut self, now: Nanos) {
        if !self.policy.ages() {
            return;
        }
        let ids: Vec<JobId> = self.state.waiting.iter().map(|(_, id)| *id).collect();
        for id in ids {
            let key = self.policy.key(self.state.entry(id), &self.state, now);
            self.state.rekey(id, key);
        }
    }

    fn apply(&mut self, now: Nanos, event: Event, actions: &mut Vec<Action>) {
        self.state.changes += u64::from(event != Event::Timer);
        match event {
            Event::Submitted(job) => self.submit(now, job, actions),
            Event::Finished(id) => {
                if self.stage(id) == Some(Stage::Running) {
                    self.state.release(id, now);
                }
            }
            Event::Cancelled(id) => self.cancel(now, id),
            Event::Failed(node) => self.fail(now, node, actions),
            Event::Repaired(node) => {
                if self.state.broken.remove(&node) {
                    self.reopen(node);
                }
            }
            Event::Drain(node) => {
                if self.state.drained.insert(node) {
                    self.shut(now, node, Cause::Drained, actions);
                }
            }
            Event::Undrain(node) => {
                if self.state.drained.remove(&node) {
                    self.reopen(node);
                }
            }
            Event::Claimed(node) => {
                if self.state.claimed.insert(node) {
                    self.shut(now, node, Cause::Claimed, actions);
                }
            }
            Event::Yielded(node) => {
                if self.state.claimed.remove(&node) {
                    self.reopen(node);
                }
            }
            Event::Timer => {}
            Event::Preempt(id) => self.preempt(now, id, actions),
            Event::Hold(id) => {
                self.preempt(now, id, actions);
                if self.stage(id) == Some(Stage::Waiting) && !self.state.entry(id).held {
                    self.state.hold(id, now);
                }
            }
            Event::Release(id) => self.release(now, id),
            Event::Reprioritise(id, priority) => self.reprioritise(now, id, priority),
            Event::Quota(tenant, quota) => {
                if let Some(account) = self.state.accounts.get_mut(tenant.0 as usize) {
                    account.tenant.quota = quota;
                }
            }
            Event::PowerCap(chips) => self.state.power_chips = chips,
        }
    }

    /// Stops a running job, which queues again behind its equals.
    fn preempt(&mut self, now: Nanos, id: JobId, actions: &mut Vec<Action>) {
        if self.stage(id) == Some(Stage::Running) {
            self.state.entries[id.0 as usize].queued = now;
            self.stop(now, id, Cause::Asked, actions);
        }
    }

    fn reprioritise(&mut self, now: Nanos, id: JobId, priority: i32) {
        let Some(entry) = self.state.entries.get_mut(id.0 as usize) else {
            return;
        };
        entry.job.priority = priority;
        if entry.stage == Stage::Waiting {
            let key = self.policy.key(self.state.entry(id), &self.state, now);
            self.state.rekey(id, key);
        }
    }

    fn release(&mut self, now: Nanos, id: JobId) {
        if self.stage(id) != Some(Stage::Waiting) || !self.state.entry(id).held {
            return;
        }
        self.state.close_wait(id, now);
        let entry = &mut self.state.entries[id.0 as usize];
        (entry.held, entry.queued) = (false, now);
        let key = self.policy.key(self.state.entry(id), &self.state, now);
        self.state.requeue(id, key, now);
    }

    /// Closes a node, and stops who runs there as far as the cause allows.
    fn shut(&mut self, now: Nanos, node: NodeId, cause: Cause, actions: &mut Vec<Action>) {
        self.state.tree.set_open(node, false);
        self.state.spares.remove(&node);
        self.stop_on(now, node, cause, actions);
    }

    fn stage(&self, id: JobId) -> Option<Stage> {
        self.state.entries.get(id.0 as usize).map(|entry| entry.stage)
    }

    fn submit(&mut self, now: Nanos, mut job: Job, actions: &mut Vec<Action>) {
        // Numbers are positions; a driver that breaks this has its job refused instead of another job's.
        if job.id.0 as usize != self.state.entries.len() || job.tenant.0 as usize >= self.state.accounts.len()
        {
            let problem = "its number is not the next one, or its tenant is not known".to_owned();
            actions.push(Action::Reject { job: job.id, problem });
            return;
        }
        self.policy.admit(&mut job, &self.state.tree);
        let id = job.id;
        let problem = self.impossible(&job);
        self.state.enqueue(job, (0, 0), now);
        if let Some(problem) = problem {
            self.state.waiting.remove(&((0, 0), id));
            self.state.entries[id.0 as usize].stage = Stage::Gone;
            actions.push(Action::Reject { job: id, problem });
            return;
        }
        let key = self.policy.key(self.state.entry(id), &self.state, now);
        self.state.rekey(id, key);
    }

    /// Why a job could never run even on the empty cluster.
    fn impossible(&self, job: &Job) -> Option<String> {
        let (tree, chips) = (&self.state.tree, job.ask.chips());
        if chips == 0 {
            return Some("it asks for no chips".to_owned());
        }
        if job.ask.each > tree.node_size() {
            return Some(format!(
                "it asks for {} chips of one node, nodes have {}",
                job.ask.each,
                tree.node_size()
            ));
        }
        let able = |range: std::ops::Range<u32>, chips: u32| {
            range.filter(|node| tree.capacity(NodeId(*node)) >= chips).count() as u32
        };
        let usable = tree.nodes() - self.state.wanted_spares as u32;
        if able(0..tree.nodes(), job.ask.each).min(usable) < job.ask.count || job.ask.nodes() > usable {
            return Some(format!(
                "it asks for {chips} chips on {} nodes of {}, the cluster has {usable} nodes to give and {} chips in all",
                job.ask.nodes(),
                job.ask.each,
                tree.chips()
            ));
        }
        if let Some(wish) = job.wish.filter(|wish| wish.required) {
            let level = wish.level as usize;
            let nodes = wish.slice.unwrap_or(job.ask.nodes());
            let most =
                (0..tree.domains(level)).map(|domain| able(tree.members(level, domain), job.ask.each)).max();
            if most.unwrap_or(0) < nodes {
                let name = &tree.levels()[level].name;
                return Some(format!(
                    "it requires {nodes} nodes in one {name}, which has {}",
                    most.unwrap_or(0)
                ));
            }
        }
        for (at, units) in &job.uses {
            match self.state.resources.get(*at as usize) {
                None => return Some("it needs a resource that the cluster does not have".to_owned()),
                Some((Resource { name, amount }, _)) if units > amount => {
                    return Some(format!("it needs {units} of `{name}`, the cluster has {amount}"));
                }
                Some(_) => {}
            }
        }
        let tenant = &self.state.account(job.tenant).tenant;
        let ceiling = tenant.quota.map(|quota| quota.saturating_add(tenant.borrow));
        if let Some(ceiling) = ceiling.filter(|ceiling| *ceiling < chips) {
            return Some(format!(
                "it asks for {chips} chips, tenant `{}` may use {ceiling} at most",
                tenant.name
            ));
        }
        None
    }

    fn cancel(&mut self, now: Nanos, id: JobId) {
        match self.stage(id) {
            Some(Stage::Running) => self.state.release(id, now),
            Some(Stage::Waiting) => {
                self.state.close_wait(id, now);
                let entry = &mut self.state.entries[id.0 as usize];
                entry.stage = Stage::Gone;
                let key = entry.key;
                entry.held = false;
                self.state.waiting.remove(&(key, id));
            }
            _ => {}
        }
    }

    fn fail(&mut self, now: Nanos, node: NodeId, actions: &mut Vec<Action>) {
        if !self.state.broken.insert(node) {
            return;
        }
        let was_spare = self.state.spares.remove(&node);
        self.stop_on(now, node, Cause::Failure, actions);
        let was_open = self.state.tree.is_open(node);
        self.state.tree.set_open(node, false);
        if was_open && !was_spare {
            if let Some(spare) = self.state.spares.pop_first() {
                self.state.tree.set_open(spare, true);
            }
        }
    }

    /// A node that is back becomes a spare where one is missing.
    fn reopen(&mut self, node: NodeId) {
        if self.state.is_out(node) {
            return;
        }
        if self.state.spares.len() < self.state.wanted_spares {
            self.state.spares.insert(node);
        } else {
            self.state.tree.set_open(node, true);
        }
    }

    fn stop_on(&mut self, now: Nanos, node: NodeId, cause: Cause, actions: &mut Vec<Action>) {
        let on = |id: &&JobId| self.state.entry(**id).parts.iter().any(|part| part.node == node);
        let mut hit: Vec<JobId> = self.state.running.iter().filter(on).copied().collect();
        hit.sort_unstable();
        for id in hit {
            // Maintenance waits for what must not be stopped.
            let forced = matches!(cause, Cause::Failure | Cause::Claimed);
            if forced || self.state.entry(id).job.preemptible {
                self.stop(now, id, cause, actions);
            }
        }
    }

    fn stop(&mut self, now: Nanos, id: JobId, cause: Cause, actions: &mut Vec<Action>) {
        let key = self.policy.key(self.state.entry(id), &self.state, now);
        Pass { now, state: &mut self.state, actions }.stop(id, cause, key);
    }

    /// Books the waits of jobs that are still in the queue when a run ends.
    pub fn close(&mut self, now: Nanos) {
        let waits = |entry: &&crate::state::Entry| entry.stage == Stage::Waiting;
        let ids: Vec<JobId> = self.state.entries.iter().filter(waits).map(|entry| entry.job.id).collect();
        for id in ids {
            self.state.close_wait(id, now);
        }
    }

    /// What is free of what a job lacks.
    fn what_is_free(&self, id: JobId) -> String {
        match self.state.short_of(&self.state.entry(id).job.uses, &Uses::default()) {
            Some(at) => {
                let (Resource { name, amount }, drawn) = &self.state.resources[at];
                format!("{} of {amount} `{name}` are free", amount - drawn)
            }
            None => format!("{} chips are free", self.state.tree.free_chips()),
        }
    }

    /// Why a job waits, in words; `None` if it does not.
    pub fn explain(&self, id: JobId, now: Nanos) -> Option<String> {
        if self.stage(id)? != Stage::Waiting {
            return None;
        }
        let entry = self.state.entry(id);
        let (tree, ask) = (&self.state.tree, entry.job.ask);
        let found = || self.state.find(id, ask).err().unwrap_or(Why::Priority);
        let why = if entry.held { Why::Held } else { found() };
        let account = self.state.account(entry.job.tenant);
        let mut text = format!(
            "waits {} for {} chips on {} nodes ({}): ",
            now.since(entry.job.submitted),
            ask.chips(),
            ask.nodes(),
            why.name()
        );
        let free = tree.free_chips();
        let root = tree.levels().len() - 1;
        let _ = match why {
            Why::Quota => write!(
                text,
                "tenant `{}` holds {} chips of a quota of {} and may take {} more",
                account.tenant.name,
                account.used,
                account.tenant.quota.map_or_else(|| "any number".to_owned(), |quota| quota.to_string()),
                self.state.allowance(entry.job.tenant)
            ),
            Why::Priority => {
                let ahead = self.state.waiting.range(..(entry.key, id)).count();
                write!(text, "{ahead} jobs go before it and what is free ({free} chips) is kept for them")
            }
            Why::Capacity => write!(text, "{}", self.what_is_free(id)),
            Why::Fragmentation => write!(
                text,
                "{free} chips are free, but only {} nodes have {} of them",
                tree.at_least(root, 0, ask.each),
                ask.each
            ),
            Why::Topology => write!(
                text,
                "{} nodes have {} free chips, but no {} has {} of them",
                tree.at_least(root, 0, ask.each),
                ask.each,
                entry.job.wish.map_or("domain", |wish| &tree.levels()[wish.level as usize].name),
                ask.nodes()
            ),
            Why::Power => write!(
                text,
                "{} chips work and the power cap allows {}",
                tree.used_chips(),
                self.state.power_chips.unwrap_or(0)
            ),
            Why::Held => write!(text, "an operator holds it back; it starts once it is released"),
        };
        Some(text)
    }
}
