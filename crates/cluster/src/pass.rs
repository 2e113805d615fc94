//! One look at the queue: what a policy may ask and do.

use crate::job::{Action, Cause, JobId, Why};
use crate::state::{Key, Stage, State};
use crate::tree::{Ask, NodeId, Part};
use serving::Nanos;
use std::ops::Bound;

/// One scheduling pass.
pub struct Pass<'a> {
    /// The time.
    pub now: Nanos,
    /// What is remembered.
    pub state: &'a mut State,
    /// What comes of it.
    pub actions: &'a mut Vec<Action>,
}

impl Pass<'_> {
    /// The first `most` waiting jobs in order.
    pub fn waiting(&self, most: usize) -> Vec<JobId> {
        self.state.waiting.iter().take(most).map(|(_, id)| *id).collect()
    }

    /// The waiting job behind `cursor`, or the head of the queue.
    pub fn after(&self, cursor: Option<(Key, JobId)>) -> Option<(Key, JobId)> {
        let from = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        self.state.waiting.range((from, Bound::Unbounded)).next().copied()
    }

    /// Starts a job if its chips are free and it may have them; otherwise says why not, and notes it.
    ///
    /// # Errors
    /// Why it has to wait.
    pub fn start(&mut self, id: JobId) -> Result<(), Why> {
        let ask = self.state.entry(id).job.ask;
        self.start_as(id, ask)
    }

    /// Starts a job at another size.
    ///
    /// # Errors
    /// Why it has to wait.
    pub fn start_as(&mut self, id: JobId, ask: Ask) -> Result<(), Why> {
        match self.state.find(id, ask) {
            Ok(parts) => {
                self.start_on(id, parts);
                Ok(())
            }
            Err(why) => {
                self.state.note(id, why, self.now);
                Err(why)
            }
        }
    }

    /// Starts a job on these chips.
    pub fn start_on(&mut self, id: JobId, parts: Vec<Part>) {
        let delay = self.delay(&parts);
        self.state.start(id, parts.clone(), self.now, delay);
        self.actions.push(Action::Start { job: id, parts, delay });
    }

    fn delay(&self, parts: &[Part]) -> Nanos {
        let busy = parts.iter().map(|part| self.state.busy_until[part.node.0 as usize]).max();
        Nanos::new(busy.unwrap_or(Nanos::ZERO).get().saturating_sub(self.now.get()))
    }

    /// Stops a running job and puts it back into the queue.
    pub fn stop(&mut self, id: JobId, cause: Cause, key: Key) {
        let grace = if cause == Cause::Failure { 0 } else { self.state.entry(id).job.grace.get() };
        let nodes: Vec<NodeId> = self.state.entry(id).parts.iter().map(|part| part.node).collect();
        let ready = Nanos::new(self.now.get().saturating_add(grace));
        for node in nodes {
            let busy = &mut self.state.busy_until[node.0 as usize];
            *busy = (*busy).max(ready);
        }
        self.state.release(id, self.now);
        self.state.requeue(id, key, self.now);
        self.actions.push(Action::Stop { job: id, cause });
    }

    /// Gives a running job another size; nothing happens if there are no chips for it.
    pub fn resize(&mut self, id: JobId, ask: Ask) -> bool {
        let entry = self.state.entry(id);
        let (old, key, wish) = (entry.parts.clone(), entry.key, entry.job.wish);
        let (ran, first) = (entry.ran, entry.first_started);
        self.state.release(id, self.now);
        self.state.requeue(id, key, self.now);
        let found = self.state.admits(id, ask).ok().and_then(|()| {
            crate::place::pick(&self.state.tree, ask, wish, self.state.placement, &self.state.mix)
        });
        let changed = found.as_ref().is_some_and(|parts| *parts != old);
        let parts = found.unwrap_or(old);
        let delay = self.delay(&parts);
        self.state.start(id, parts.clone(), self.now, delay);
        self.state.entries[id.0 as usize].first_started = first;
        debug_assert!(self.state.entry(id).ran >= ran);
        if changed {
            self.actions.push(Action::Resize { job: id, parts, delay });
        }
        changed
    }

    /// Stops as few of `victims`, in their order, as make room for `id`, and starts it. Nothing changes if all of them
    /// would not be enough.
    pub fn make_room(&mut self, id: JobId, victims: &[JobId], cause: Cause) -> bool {
        let ask = self.state.entry(id).job.ask;
        let Some(chosen) = self.room(id, ask, victims) else {
            return false;
        };
        for victim in chosen {
            let key = self.state.entry(victim).key;
            self.stop(victim, cause, key);
        }
        self.start(id).is_ok()
    }

    /// Which of `victims` have to go, tried on a copy of the counters: first those that suffice in order, then without
    /// those whose chips turn out not to be needed. Where a job requires one domain, each domain is tried by itself and
    /// the one that loses the fewest chip-seconds is taken.
    fn room(&mut self, id: JobId, ask: Ask, victims: &[JobId]) -> Option<Vec<JobId>> {
        let wish = self.state.entry(id).job.wish;
        let required = wish.filter(|wish| wish.required && wish.slice.is_none());
        let Some(wish) = required else {
            return self.enough(id, ask, victims);
        };
        let level = wish.level as usize;
        let mut best: Option<(f64, Vec<JobId>)> = None;
        for domain in 0..self.state.tree.domains(level) {
            let inside = |part: &Part| self.state.tree.domain(level, part.node) == domain;
            let here: Vec<JobId> = victims
                .iter()
                .copied()
                .filter(|victim| self.state.entry(*victim).parts.iter().any(inside))
                .collect();
            let members = self.state.tree.members(level, domain);
            let reach: u32 = members.map(|node| self.state.tree.capacity(NodeId(node))).sum();
            if reach < ask.chips() {
                continue;
            }
            if let Some(chosen) = self.enough(id, ask, &here) {
                let lost = chosen.iter().map(|victim| self.lost(*victim)).sum::<f64>();
                if best.as_ref().is_none_or(|(least, _)| lost < *least) {
                    best = Some((lost, chosen));
                }
            }
        }
        best.map(|(_, chosen)| chosen)
    }

    /// Chip-seconds that stopping a job costs: its checkpoint, written and read.
    fn lost(&self, id: JobId) -> f64 {
        let entry = self.state.entry(id);
        f64::from(entry.held()) * (2.0 * entry.job.grace.seconds().get() + 1.0)
    }

    fn enough(&mut self, id: JobId, ask: Ask, victims: &[JobId]) -> Option<Vec<JobId>> {
        let mut freed: Vec<JobId> = Vec::new();
        let mut found = false;
        for victim in victims {
            self.lift(*victim);
            freed.push(*victim);
            if self.state.find(id, ask).is_ok() {
                found = true;
                break;
            }
        }
        let mut chosen = freed.clone();
        if found {
            for victim in freed.iter().take(freed.len().saturating_sub(1)) {
                self.drop_back(*victim);
                if self.state.find(id, ask).is_ok() {
                    chosen.retain(|other| other != victim);
                } else {
                    self.lift(*victim);
                }
            }
        }
        for victim in if found { &chosen } else { &freed } {
            self.drop_back(*victim);
        }
        found.then_some(chosen)
    }

    /// Frees a job's chips for a trial.
    pub(crate) fn lift(&mut self, id: JobId) {
        let entry = &self.state.entries[id.0 as usize];
        for part in &entry.parts {
            self.state.tree.give(*part);
        }
        self.state.accounts[entry.job.tenant.0 as usize].used -= entry.held();
        self.state.give_back(id);
    }

    /// Ends [`Pass::lift`].
    pub(crate) fn drop_back(&mut self, id: JobId) {
        let entry = &self.state.entries[id.0 as usize];
        for part in &entry.parts {
            self.state.tree.take(*part);
        }
        self.state.accounts[entry.job.tenant.0 as usize].used += entry.held();
        self.state.draw(id);
    }

    /// Running preemptible jobs that `worse` accepts, the least loss of standing first: by priority from the lowest, then
    /// the latest started.
    pub fn victims(&self, worse: impl Fn(&crate::state::Entry) -> bool) -> Vec<JobId> {
        let mut found: Vec<JobId> = self
            .state
            .running
            .iter()
            .copied()
            .filter(|id| {
                let entry = self.state.entry(*id);
                entry.stage == Stage::Running && entry.job.preemptible && worse(entry)
            })
            .collect();
        found.sort_by_key(|id| {
            let entry = self.state.entry(*id);
            (entry.job.priority, std::cmp::Reverse((entry.started, *id)))
        });
        found
    }

    /// Stops jobs of lower priority for `id` if that makes room.
    pub fn preempt_lower(&mut self, id: JobId) -> bool {
        let priority = self.state.entry(id).job.priority;
        let victims = self.victims(|entry| entry.job.priority < priority);
        !victims.is_empty() && self.make_room(id, &victims, Cause::Preempted)
    }
}
