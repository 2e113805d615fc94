//! Jobs beside the deployments: a workload manager on the chips that no instance stands on, in the same virtual time.
//!
//! Instances come first. A node that one stands on takes no jobs, and jobs that run where one comes up have to go. A node
//! with a broken chip, or one whose link is down, is lost to its jobs until all of it works again.

use crate::log::JobOrder;
use cluster::driver::{Intervention, JobView};
use cluster::job::{JobId, TenantId};
use cluster::results::Ending;
use cluster::tree::{NodeId, Part, Tree};
use jobs::{Intake, JobsError, Manager, Submission};
use serde::Serialize;
use serving::Nanos;
use sim::placement::{Ground, Seat};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Jobs that are over and still listed.
const MOST_OVER: usize = 200;

/// Waiting jobs that are listed, and those of them that are told why they wait.
const MOST_WAITING: usize = 2000;
const MOST_TOLD: usize = 200;

/// The manager under a server.
pub struct Jobs {
    manager: Manager,
    /// Reads and prices what is submitted.
    pub intake: Arc<Intake>,
    /// Whose chips they run on: a system of the scenario, counted in its order.
    ground: u32,
    claimed: BTreeSet<NodeId>,
    broken: BTreeSet<NodeId>,
}

/// A job, to look at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobRow {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub tenant: String,
    /// What it is.
    pub kind: &'static str,
    /// `waiting`, `held`, `running`, `finished`, `timed-out`, `cancelled` or `rejected`.
    pub state: &'static str,
    /// Higher goes first.
    pub priority: i32,
    /// Chips it asked for.
    pub asked_chips: u32,
    /// Chips it holds, as ranges of the system's: first, and one behind the last.
    pub chips: Vec<(u32, u32)>,
    /// When it was submitted, virtual seconds.
    pub submitted_s: f64,
    /// When it first started.
    pub started_s: Option<f64>,
    /// When it ended, or is expected to.
    pub ends_s: Option<f64>,
    /// Time it has waited in all.
    pub waited_s: f64,
    /// Share of its work that is done.
    pub done: f64,
    /// Energy of its chips, joules.
    pub energy_j: f64,
    /// What its chips cost; `None` where nobody knows.
    pub dollars: Option<f64>,
    /// Times it was stopped for others or by hand.
    pub preemptions: u32,
    /// Times hardware failed under it.
    pub failures: u32,
    /// Why it waits, in words.
    pub why: Option<String>,
}

/// All jobs, to look at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobsLook {
    /// The policy.
    pub policy: String,
    /// The system they run on, counted in the scenario's order.
    pub system: u32,
    /// Chips that jobs hold.
    pub held_chips: u32,
    /// Chips that are free for jobs.
    pub free_chips: u32,
    /// Jobs that run.
    pub running: u32,
    /// Jobs that wait, those that are held among them.
    pub waiting: u32,
    /// Jobs that are over.
    pub over: u32,
    /// Draw of the chips that jobs hold, watts.
    pub power_w: f64,
    /// Hash of all that was decided.
    pub hash: String,
    /// Those that run, those that wait in the order of the queue, and the latest that are over.
    pub rows: Vec<JobRow>,
}

impl Jobs {
    /// A manager over the chips of one system.
    pub fn new(manager: Manager, intake: Intake, ground: u32) -> Self {
        let intake = Arc::new(intake);
        Self { manager, intake, ground, claimed: BTreeSet::new(), broken: BTreeSet::new() }
    }

    /// When something happens next.
    pub fn next_due(&self) -> Option<Nanos> {
        self.manager.next_due()
    }

    /// Lets everything happen that is due by `to`.
    pub fn advance(&mut self, to: Nanos) {
        self.manager.advance(to);
    }

    /// Whether any job has ever been submitted.
    pub fn used(&self) -> bool {
        self.manager.driver().jobs() > 0
    }

    /// Hash of all that was decided.
    pub fn hash(&self) -> u64 {
        self.manager.driver().digest()
    }

    /// The manager, to look at.
    pub fn manager(&self) -> &Manager {
        &self.manager
    }

    /// Takes note at `at` of where instances stand and what is broken.
    pub fn follow<'a>(&mut self, at: Nanos, grounds: &[Ground], seats: impl Iterator<Item = &'a Seat>) {
        let Some(ground) = grounds.get(self.ground as usize) else { return };
        let tree = &self.manager.driver().scheduler().state().tree;
        let (size, nodes) = (tree.node_size(), tree.nodes());
        let node = |chip: u32| Some(NodeId(chip / size)).filter(|node| node.0 < nodes);
        let here = seats.filter(|seat| seat.system == self.ground);
        let claimed: BTreeSet<NodeId> = here.flat_map(|seat| seat.chips(ground)).filter_map(node).collect();
        let broken: BTreeSet<NodeId> = ground.dead.union(&ground.cut).copied().filter_map(node).collect();
        let mut orders: Vec<Intervention> = Vec::new();
        orders.extend(broken.difference(&self.broken).map(|node| Intervention::Fail(*node)));
        orders.extend(self.broken.difference(&broken).map(|node| Intervention::Repair(*node)));
        orders.extend(claimed.difference(&self.claimed).map(|node| Intervention::Claim(*node)));
        orders.extend(self.claimed.difference(&claimed).map(|node| Intervention::Yield(*node)));
        (self.claimed, self.broken) = (claimed, broken);
        if !orders.is_empty() {
            // Nodes beyond the tree were left out, so that none is refused.
            let _ = self.manager.order(at, orders);
        }
    }

    fn orders(&self, order: &JobOrder) -> Result<Vec<Intervention>, String> {
        Ok(vec![match order {
            JobOrder::SubmitJob(_) => return Ok(Vec::new()),
            JobOrder::CancelJob(job) => Intervention::Cancel(JobId(*job)),
            JobOrder::PreemptJob(job) => Intervention::Preempt(JobId(*job)),
            JobOrder::HoldJob(job) => Intervention::Hold(JobId(*job)),
            JobOrder::ReleaseJob(job) => Intervention::Release(JobId(*job)),
            JobOrder::JobPriority { job, priority } => Intervention::Priority(JobId(*job), *priority),
            JobOrder::JobQuota { tenant, chips } => {
                let tenants = self.manager.tenants();
                let at = tenants.iter().position(|known| known.name == *tenant).ok_or_else(|| {
                    let known: Vec<&str> = tenants.iter().map(|tenant| tenant.name.as_str()).collect();
                    format!("there is no tenant `{tenant}` of jobs; there are {}", known.join(", "))
                })?;
                Intervention::Quota(TenantId(at as u32), *chips)
            }
            JobOrder::DrainNode(node) => Intervention::Drain(NodeId(*node)),
            JobOrder::UndrainNode(node) => Intervention::Undrain(NodeId(*node)),
        }])
    }

    /// Whether an order can be carried out now.
    ///
    /// # Errors
    /// Why not.
    pub fn allows(&self, order: &JobOrder) -> Result<(), String> {
        self.manager.allows(&self.orders(order)?).map_err(|refused| refused.to_string())
    }

    /// Carries an order out at `at`; the numbers of the jobs that a submission brings. What was submitted is read here
    /// unless it has been already.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn take(
        &mut self,
        at: Nanos,
        order: &JobOrder,
        read: Option<Submission>,
    ) -> Result<Vec<u32>, String> {
        let JobOrder::SubmitJob(entry) = order else {
            let orders = self.orders(order)?;
            return self
                .manager
                .order(at, orders)
                .map(|()| Vec::new())
                .map_err(|refused| refused.to_string());
        };
        let read = read.map_or_else(|| self.intake.read(entry), Ok);
        let submission = read.map_err(|error: JobsError| error.to_string())?;
        Ok(self.manager.submit(at, submission).collect())
    }

    /// All jobs, to look at.
    pub fn look(&self) -> JobsLook {
        let driver = self.manager.driver();
        let state = driver.scheduler().state();
        let waiting: Vec<JobId> = state.waiting.iter().map(|(_, id)| *id).collect();
        let mut running = state.running.clone();
        running.sort_unstable();
        let mut listed: Vec<JobId> = running.clone();
        listed.extend(waiting.iter().take(MOST_WAITING));
        let shown: BTreeSet<JobId> = listed.iter().copied().collect();
        let others = (0..driver.jobs()).rev().map(JobId).filter(|id| !shown.contains(id));
        listed.extend(others.take(MOST_OVER));
        let mut told = 0;
        let rows: Vec<JobRow> = listed
            .into_iter()
            .filter_map(|id| {
                let view = self.manager.view(id)?;
                let waits = view.record.ending == Ending::Waiting;
                told += usize::from(waits);
                let why = driver.scheduler().explain(id, driver.now()).filter(|_| waits && told <= MOST_TOLD);
                Some(self.row(id, &view, why))
            })
            .collect();
        let held = rows.iter().filter(|row| row.state == "held").count() as u32;
        let (running, waiting) = (running.len() as u32, waiting.len() as u32 + held);
        JobsLook {
            policy: self.manager.policy().to_owned(),
            system: self.ground,
            held_chips: state.tree.used_chips(),
            free_chips: state.tree.free_chips(),
            running,
            waiting,
            over: driver.jobs() - running - waiting,
            power_w: self.manager.power(),
            hash: format!("{:016x}", self.hash()),
            rows,
        }
    }

    fn row(&self, id: JobId, view: &JobView<'_>, why: Option<String>) -> JobRow {
        let (record, driver) = (&view.record, self.manager.driver());
        let rates = self.manager.rates();
        JobRow {
            id: id.0,
            name: view.plan.map_or_else(String::new, |plan| plan.name.to_string()),
            tenant: self.manager.tenants()[record.tenant.0 as usize].name.clone(),
            kind: record.kind.name(),
            state: view.state(),
            priority: driver.scheduler().state().entry(id).job.priority,
            asked_chips: record.chips,
            chips: ranges(&driver.scheduler().state().tree, view.parts),
            submitted_s: record.submitted,
            started_s: record.started,
            ends_s: record.ended.or(view.ends),
            waited_s: record.waited(driver.now().seconds().get()),
            done: view.done,
            energy_j: record.energy,
            dollars: rates.money(record.chip_seconds, record.energy),
            preemptions: record.preemptions,
            failures: record.failures,
            why,
        }
    }
}

/// Chips of a system as ranges.
fn ranges(tree: &Tree, parts: &[Part]) -> Vec<(u32, u32)> {
    let mut chips: Vec<u32> = parts
        .iter()
        .flat_map(|part| {
            let first = part.node.0 * tree.node_size();
            (0..64).filter(|chip| part.chips >> chip & 1 == 1).map(move |chip| first + chip)
        })
        .collect();
    chips.sort_unstable();
    let mut found: Vec<(u32, u32)> = Vec::new();
    for chip in chips {
        match found.last_mut() {
            Some((_, end)) if *end == chip => *end += 1,
            _ => found.push((chip, chip + 1)),
        }
    }
    found
}
