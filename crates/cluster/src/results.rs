//! What came of a run.

use crate::job::{JobId, TenantId, Why};
use crate::plan::Kind;

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Its work is done.
    Finished,
    /// Its declared limit was up first.
    TimedOut,
    /// It was withdrawn, as replicas are when the load falls.
    Cancelled,
    /// It could never run.
    Rejected,
    /// It was running when the run ended.
    Running,
    /// It was waiting when the run ended.
    Waiting,
}

impl Ending {
    /// Its name in tables and documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::TimedOut => "timed-out",
            Self::Cancelled => "cancelled",
            Self::Rejected => "rejected",
            Self::Running => "running",
            Self::Waiting => "waiting",
        }
    }
}

/// One job's life. Times are seconds from the start of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its number.
    pub id: JobId,
    /// Index of its plan; `None` for a replica of a service.
    pub plan: Option<u32>,
    /// Its service, for a replica.
    pub service: Option<u32>,
    /// What kind of work it is.
    pub kind: Kind,
    /// Whose it is.
    pub tenant: TenantId,
    /// Chips it asked for.
    pub chips: u32,
    /// When it was submitted.
    pub submitted: f64,
    /// When it first started.
    pub started: Option<f64>,
    /// When it ended.
    pub ended: Option<f64>,
    /// How.
    pub ending: Ending,
    /// Time on chips.
    pub running: f64,
    /// Chips times time.
    pub chip_seconds: f64,
    /// Of these, those that made progress that was kept.
    pub productive: f64,
    /// Energy of its chips, joules at the chips.
    pub energy: f64,
    /// Times it was stopped for others, for maintenance or by hand.
    pub preemptions: u32,
    /// Times a node failed under it.
    pub failures: u32,
    /// Whether it missed its deadline; `None` if it had none or it is not over.
    pub late: Option<bool>,
}

impl Record {
    /// Completion time: from submission to end.
    pub fn completion(&self) -> Option<f64> {
        (self.ending == Ending::Finished).then_some(self.ended? - self.submitted)
    }

    /// Time in the queue, every wait counted, of a job that is over or runs.
    pub fn waited(&self, end: f64) -> f64 {
        let waited = self.ended.unwrap_or(end) - self.submitted - self.running;
        // Below half a millisecond it is rounding of instants that are months from the start.
        if waited < 5e-4 { 0.0 } else { waited }
    }

    /// Completion time over time on chips, at least 1 and bounded for jobs under 10 s (Feitelson's bounded slowdown).
    pub fn slowdown(&self) -> Option<f64> {
        self.completion().map(|completion| (completion / self.running.max(10.0)).max(1.0))
    }
}

/// What a service did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ServiceRecord {
    /// Its name.
    pub name: String,
    /// Requests that came.
    pub requests: f64,
    /// Of these, those that found a place within the SLO.
    pub within: f64,
    /// Of these, those that gave up waiting.
    pub lost: f64,
    /// Chips times time of its replicas.
    pub chip_seconds: f64,
    /// Most replicas at once.
    pub most: u32,
    /// Fewest replicas once it was up.
    pub least: u32,
    /// Replicas started over the run, each of which loaded its weights.
    pub starts: u32,
    /// Windows that were counted for themselves.
    pub windows: Vec<WindowRecord>,
}

/// What a service did in a window.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct WindowRecord {
    /// From, seconds.
    pub from: f64,
    /// Until, seconds.
    pub to: f64,
    /// Requests that came.
    pub requests: f64,
    /// Of these, those that found a place within the SLO.
    pub within: f64,
    /// Replicas that served, times time.
    pub replicas: f64,
}

/// How the domains of one level were used, chips times time.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LevelUsage {
    /// In domains where a job held at least one chip.
    pub touched: f64,
    /// In domains whose chips were all held.
    pub full: f64,
}

/// The cluster over time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Usage {
    /// Chips times time of the whole cluster.
    pub chip_seconds: f64,
    /// Of these, on nodes that were closed: broken, in maintenance or spare.
    pub closed: f64,
    /// Held by jobs, integrated from the resource tree.
    pub allocated: f64,
    /// For the node and each level above it, innermost first.
    pub levels: Vec<LevelUsage>,
    /// Energy of all chips, joules at the chips.
    pub energy: f64,
}

/// A stretch of a job on chips, for charts.
#[derive(Debug, Clone, PartialEq)]
pub struct Stretch {
    /// The job.
    pub job: JobId,
    /// From, seconds.
    pub from: f64,
    /// Until, seconds.
    pub to: f64,
    /// Its chips.
    pub parts: Vec<crate::tree::Part>,
}

/// All of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The policy.
    pub policy: String,
    /// Every job in order of submission.
    pub records: Vec<Record>,
    /// Services.
    pub services: Vec<ServiceRecord>,
    /// The cluster.
    pub usage: Usage,
    /// Seconds waited, by tenant and reason (in the order of [`Why::ALL`]).
    pub waited: Vec<[f64; Why::COUNT]>,
    /// When the run ended.
    pub end: f64,
    /// Node failures.
    pub node_failures: u32,
    /// Stretches on chips, if they were asked for.
    pub stretches: Vec<Stretch>,
    /// What waiting jobs were told at the time asked for.
    pub explanations: Vec<(JobId, String)>,
    /// Events handled.
    pub events: u64,
    /// Whether it was given up because no job ended any more.
    pub stalled: bool,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
    /// Laws that were broken.
    pub broken: Vec<String>,
}

/// Figures of a set of jobs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Summary {
    /// How many there are.
    pub jobs: usize,
    /// Of these, finished.
    pub finished: usize,
    /// Rejected.
    pub rejected: usize,
    /// Still waiting or running.
    pub open: usize,
    /// Mean wait of those that are over or run, seconds.
    pub wait: f64,
    /// Median wait.
    pub wait_p50: f64,
    /// 90th percentile.
    pub wait_p90: f64,
    /// 99th percentile.
    pub wait_p99: f64,
    /// Mean completion time of finished jobs.
    pub completion: f64,
    /// Mean bounded slowdown.
    pub slowdown: f64,
    /// Chips times time.
    pub chip_seconds: f64,
    /// Productive chip-seconds over held ones.
    pub goodput: f64,
    /// Joules at the chips.
    pub energy: f64,
    /// Times stopped for others.
    pub preemptions: u64,
    /// Times stopped by failures.
    pub failures: u64,
    /// Deadlines missed.
    pub late: usize,
}

impl Summary {
    /// Of the records that `of` accepts; replicas of services come and go with the load and are left out.
    pub fn of<'a>(records: impl Iterator<Item = &'a Record>, end: f64) -> Self {
        let mut summary = Self::default();
        let (mut waits, mut completions, mut slowdowns) = (Vec::new(), Vec::new(), Vec::new());
        let mut productive = 0.0;
        for record in records.filter(|record| record.service.is_none()) {
            summary.jobs += 1;
            match record.ending {
                Ending::Finished => summary.finished += 1,
                Ending::Rejected => summary.rejected += 1,
                Ending::Running | Ending::Waiting => summary.open += 1,
                Ending::TimedOut | Ending::Cancelled => {}
            }
            if record.ending != Ending::Rejected {
                waits.push(record.waited(end));
            }
            completions.extend(record.completion());
            slowdowns.extend(record.slowdown());
            summary.chip_seconds += record.chip_seconds;
            productive += record.productive;
            summary.energy += record.energy;
            summary.preemptions += u64::from(record.preemptions);
            summary.failures += u64::from(record.failures);
            summary.late += usize::from(record.late == Some(true));
        }
        waits.sort_by(f64::total_cmp);
        summary.wait = mean(&waits);
        summary.wait_p50 = quantile(&waits, 0.5);
        summary.wait_p90 = quantile(&waits, 0.9);
        summary.wait_p99 = quantile(&waits, 0.99);
        summary.completion = mean(&completions);
        summary.slowdown = mean(&slowdowns);
        summary.goodput = if summary.chip_seconds > 0.0 { productive / summary.chip_seconds } else { 0.0 };
        summary
    }
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// The value below which `share` of the sorted values lie.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).copied().unwrap_or(0.0)
}
