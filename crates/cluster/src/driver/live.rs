//! A cluster that goes on: what an operator orders, and what there is to look at.

use super::work::Run;
use super::{Driver, seconds};
use crate::job::{Event, JobId, TenantId};
use crate::plan::{JobPlan, Pricer};
use crate::results::{Ending, Outcome, Record, Usage};
use crate::scheduler::Scheduler;
use crate::tree::{NodeId, Part};
use serving::Nanos;
use std::fmt::{Debug, Write};

/// What comes from outside while a cluster runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Intervention {
    /// A job is submitted now, whatever its plan says of the time.
    Submit(Box<JobPlan>),
    /// A job is withdrawn.
    Cancel(JobId),
    /// A running job writes its checkpoint and queues again, behind those of its priority who wait.
    Preempt(JobId),
    /// A job is stopped, if it runs, and does not start until it is released.
    Hold(JobId),
    /// A job that was held queues again.
    Release(JobId),
    /// Another priority.
    Priority(JobId, i32),
    /// Another quota.
    Quota(TenantId, Option<u32>),
    /// A node breaks.
    Fail(NodeId),
    /// It works again.
    Repair(NodeId),
    /// A node is emptied for maintenance.
    Drain(NodeId),
    /// Its maintenance is over.
    Undrain(NodeId),
    /// Somebody who is no job takes a node.
    Claim(NodeId),
    /// He gives it back.
    Yield(NodeId),
}

/// Why an order is refused; nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such thing.
    #[error("there is no {what} {number}; there are {count}, counted from 0")]
    Unknown {
        /// What was named.
        what: &'static str,
        /// Which one.
        number: u32,
        /// How many there are.
        count: u32,
    },
    /// The job is in a state in which that cannot be done.
    #[error("job {job} is {state}; {wanted}")]
    State {
        /// The job.
        job: u32,
        /// Where it is.
        state: &'static str,
        /// Where it would have to be.
        wanted: &'static str,
    },
}

/// A job, to look at.
#[derive(Debug, Clone)]
pub struct JobView<'a> {
    /// Its plan; `None` for a replica of a service.
    pub plan: Option<&'a JobPlan>,
    /// What has become of it so far.
    pub record: Record,
    /// Its chips.
    pub parts: &'a [Part],
    /// Whether an operator holds it back.
    pub held: bool,
    /// Share of its work that is done, 0 to 1.
    pub done: f64,
    /// Share of its time that it has been slowed down to by neighbours on shared links, 0 to 1.
    pub share: f64,
    /// When it is done at the rate it goes, if it runs.
    pub ends: Option<f64>,
}

impl JobView<'_> {
    /// What state it is in, in a word.
    pub fn state(&self) -> &'static str {
        if self.held && self.record.ending == Ending::Waiting { "held" } else { self.record.ending.name() }
    }
}

impl<P: Pricer> Driver<'_, P> {
    /// The time of the cluster.
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// The scheduler, to look at.
    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// Whoever prices its jobs, to be told of new ones.
    pub fn pricer(&mut self) -> &mut P {
        &mut self.pricer
    }

    /// The plans, those submitted by [`Driver::inject`] last.
    pub fn plans(&self) -> &[JobPlan] {
        &self.plans
    }

    /// Jobs that were submitted so far.
    pub fn jobs(&self) -> u32 {
        self.runs.len() as u32
    }

    /// The cluster over time.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Hash of all that happened and was decided so far; kept by an endless run.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Laws that were broken so far.
    pub fn broken(&self) -> &[String] {
        self.checker.as_ref().map_or(&[], |checker| checker.broken())
    }

    /// Folds what happened or was decided into the hash (FNV-1a over its text, which forgets no field).
    pub(super) fn note(&mut self, what: &impl Debug) {
        struct Fold(u64);
        impl Write for Fold {
            fn write_str(&mut self, text: &str) -> std::fmt::Result {
                for byte in text.bytes() {
                    self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
                }
                Ok(())
            }
        }
        let mut fold = Fold(self.digest ^ self.now.get().rotate_left(17) ^ 0xcbf2_9ce4_8422_2325);
        // Writing to a number cannot fail.
        let _ = write!(fold, "{what:?}");
        self.digest = fold.0;
    }

    /// Lets everything happen that is due by `to`.
    pub fn advance(&mut self, to: Nanos) {
        while let Some(at) = self.next_due().filter(|at| *at <= to && !self.closed) {
            self.step(at);
        }
        if to > self.now {
            self.integrate(to);
        }
    }

    /// Whether an order can be carried out now.
    ///
    /// # Errors
    /// It names what is not there, or a job in another state.
    pub fn allows(&self, order: &Intervention) -> Result<(), Refused> {
        let count = |what, number: u32, count: u32| {
            if number < count { Ok(()) } else { Err(Refused::Unknown { what, number, count }) }
        };
        let state = &self.scheduler.state();
        match order {
            Intervention::Submit(_) => Ok(()),
            Intervention::Cancel(id) | Intervention::Hold(id) | Intervention::Priority(id, _) => {
                self.in_state(*id, &[Ending::Running, Ending::Waiting], "it is over")
            }
            Intervention::Preempt(id) => {
                self.in_state(*id, &[Ending::Running], "only a running job can be preempted")
            }
            Intervention::Release(id) => {
                self.in_state(*id, &[Ending::Waiting], "only a job that is held can be released")?;
                if state.entry(*id).held {
                    return Ok(());
                }
                let wanted = "only a job that is held can be released";
                Err(Refused::State { job: id.0, state: "waiting", wanted })
            }
            Intervention::Quota(tenant, _) => count("tenant", tenant.0, state.accounts.len() as u32),
            Intervention::Fail(node)
            | Intervention::Repair(node)
            | Intervention::Drain(node)
            | Intervention::Undrain(node)
            | Intervention::Claim(node)
            | Intervention::Yield(node) => count("node", node.0, state.tree.nodes()),
        }
    }

    fn in_state(&self, id: JobId, states: &[Ending], wanted: &'static str) -> Result<(), Refused> {
        let count = self.runs.len() as u32;
        let Some(run) = self.runs.get(id.0 as usize) else {
            return Err(Refused::Unknown { what: "job", number: id.0, count });
        };
        if states.contains(&run.ending) {
            return Ok(());
        }
        Err(Refused::State { job: id.0, state: run.ending.name(), wanted })
    }

    /// Carries orders out at `at`, after all that is due by then. An order that cannot be is refused, and none is carried
    /// out.
    ///
    /// # Errors
    /// As [`Driver::allows`].
    pub fn inject(&mut self, at: Nanos, orders: Vec<Intervention>) -> Result<(), Refused> {
        self.advance(at);
        orders.iter().try_for_each(|order| self.allows(order))?;
        let mut events = std::mem::take(&mut self.happened);
        for order in orders {
            let event = self.event(order);
            events.push(event);
        }
        self.handle(events);
        Ok(())
    }

    fn event(&mut self, order: Intervention) -> Event {
        match order {
            Intervention::Submit(plan) => {
                self.plans.to_mut().push(JobPlan { submit: self.now, ..*plan });
                self.submit(self.plans.len() - 1)
            }
            Intervention::Cancel(id) => {
                self.withdraw(id);
                if self.runs[id.0 as usize].service.is_none() {
                    self.live -= 1;
                }
                Event::Cancelled(id)
            }
            Intervention::Preempt(id) => Event::Preempt(id),
            Intervention::Hold(id) => Event::Hold(id),
            Intervention::Release(id) => Event::Release(id),
            Intervention::Priority(id, priority) => Event::Reprioritise(id, priority),
            Intervention::Quota(tenant, quota) => Event::Quota(tenant, quota),
            Intervention::Fail(node) => Event::Failed(node),
            Intervention::Repair(node) => Event::Repaired(node),
            Intervention::Drain(node) => Event::Drain(node),
            Intervention::Undrain(node) => Event::Undrain(node),
            Intervention::Claim(node) => Event::Claimed(node),
            Intervention::Yield(node) => Event::Yielded(node),
        }
    }

    /// A job, to look at; `None` if there is no such job.
    pub fn view(&self, id: JobId) -> Option<JobView<'_>> {
        let run: &Run = self.runs.get(id.0 as usize)?;
        let entry = self.scheduler.state().entries.get(id.0 as usize)?;
        let now = self.now;
        Some(JobView {
            plan: run.plan.and_then(|at| self.plans.get(at as usize)),
            record: run.settled(now, self.powers()).record(id, now.seconds().get()),
            parts: &entry.parts,
            held: entry.held,
            done: run.progress(now),
            share: run.share,
            ends: run.expected_end(now),
        })
    }

    /// Ends the run as it stands.
    pub fn close(mut self, at: Nanos) -> Outcome {
        self.advance(at.max(seconds(0.0)));
        self.finish()
    }
}
