//! Starts and node sets held to real Slurms: `tests/slurm/*.json` is what `tests/slurm/record.py` recorded.

use serde::Deserialize;
use serving::Nanos;
use supernode_cluster::policy::{Settings, by_name};
use supernode_cluster::{
    Ask, Checkpoint, Driver, JobPlan, Kind, Level, Linear, Options, Placement, Scheduler, Tenant, TenantId,
    Tree,
};
use units::Seconds;

/// A list as Slurm ran it.
#[derive(Deserialize)]
struct Case {
    seed: u64,
    jobs: Vec<Recorded>,
}

#[derive(Deserialize)]
struct Recorded {
    nodes: u32,
    chips: u32,
    seconds: u32,
    limit: u64,
    #[serde(default)]
    high: bool,
    submit: u64,
    /// When and on which nodes it started, more than once where it was stopped in between.
    starts: Vec<(i64, Vec<u32>)>,
    end: i64,
}

impl Recorded {
    /// Slurm starts and ends a job in some time of its own, which is part of how long it held its nodes.
    fn work(&self) -> f64 {
        match self.starts.as_slice() {
            [(start, _)] => (self.end - start) as f64,
            _ => f64::from(self.seconds),
        }
    }
}

/// Times of a real Slurm are whole seconds and a cycle of backfill late.
const TIE: f64 = 2.5;

fn plan(job: &Recorded, longer: f64) -> JobPlan {
    JobPlan {
        name: "".into(),
        uses: Box::default(),
        kind: Kind::Opaque,
        tenant: TenantId(0),
        priority: i32::from(job.high),
        ask: Ask { count: job.nodes, each: job.chips, rest: 0 },
        elastic: None,
        limit: Some(60.0 * job.limit as f64),
        wish: None,
        preemptible: !job.high,
        deadline: None,
        scaling: 1.0,
        submit: Nanos::new(job.submit * 1_000_000_000),
        work: job.work() + longer,
        checkpoint: Checkpoint::default(),
    }
}

/// A stretch: from, to and where.
type Ran = (f64, f64, Vec<u32>);

/// When and where each job runs here, if it takes `longer` than the whole seconds that Slurm notes.
fn replay(case: &Case, longer: f64) -> Vec<Vec<Ran>> {
    // `priority/basic` is the order of submission; the priority of a partition goes before it.
    let settings = Settings {
        backfill_interval: Seconds::new(1.0),
        age_weight: 0.0,
        fair_share_weight: 0.0,
        preempt: true,
        ..Settings::default()
    };
    let tree = Tree::new(&[8; 8], &[Level { name: "leaf".to_owned(), nodes: 4 }]);
    let policy = by_name("multifactor", &settings).expect("a policy");
    let scheduler = Scheduler::new(tree, vec![Tenant::open("a")], Placement::FirstFit, policy);
    let plans: Vec<JobPlan> = case.jobs.iter().map(|job| plan(job, longer)).collect();
    let options = Options { stretches: true, ..Options::default() };
    let outcome = Driver::new(scheduler, &plans, &[], Linear, options).run();
    assert!(outcome.broken.is_empty(), "list {}: {:?}", case.seed, outcome.broken);
    let starts = |id: u32| {
        let mut starts: Vec<Ran> = Vec::new();
        for stretch in outcome.stretches.iter().filter(|stretch| stretch.job.0 == id) {
            let mut nodes: Vec<u32> = stretch.parts.iter().map(|part| part.node.0).collect();
            nodes.sort_unstable();
            starts.push((stretch.from, stretch.to, nodes));
        }
        starts
    };
    (0..plans.len() as u32).map(starts).collect()
}

/// Whether no job that started clearly before (or after) this one in one world did the opposite in the other.
fn in_order(at: usize, ours: &[f64], theirs: &[f64]) -> bool {
    (0..ours.len()).all(|other| {
        let (a, b) = (ours[other] - ours[at], theirs[other] - theirs[at]);
        a.abs() < TIE || b.abs() < TIE || a.signum() == b.signum()
    })
}

impl Case {
    /// The job for which Slurm first stopped another, which was on its nodes.
    fn preemptor(&self) -> Option<&Recorded> {
        let stopped = self.jobs.iter().filter(|job| job.starts.len() > 1);
        let takes = |job: &&Recorded| stopped.clone().any(|other| job.took_from(other));
        self.jobs.iter().filter(|job| job.high).filter(takes).min_by_key(|job| job.submit)
    }
}

impl Recorded {
    /// Whether it is on nodes where another was before it was stopped.
    fn took_from(&self, other: &Self) -> bool {
        let ((at, nodes), (from, on)) = (&self.starts[0], &other.starts[0]);
        other.starts.len() > 1 && at > from && nodes.iter().any(|node| on.contains(node))
    }
}

/// Jobs, those in Slurm's order, on Slurm's nodes, and both.
#[derive(Default)]
struct Found {
    jobs: u32,
    order: u32,
    nodes: u32,
    both: u32,
    stopped: u32,
}

impl Found {
    /// Compares what happens up to the first stop: Slurm keeps who was stopped out of the queue for two minutes.
    fn of(case: &Case, longer: f64) -> (Self, String) {
        let ours = replay(case, longer);
        let preemptor = case.preemptor();
        let until = preemptor.map_or(f64::INFINITY, |job| job.submit as f64);
        let firsts: Vec<f64> = ours.iter().map(|ran| ran[0].0).collect();
        let theirs: Vec<f64> = case.jobs.iter().map(|job| job.starts[0].0 as f64).collect();
        let (mut found, mut text) = (Self::default(), String::new());
        for (at, (job, ran)) in case.jobs.iter().zip(&ours).enumerate() {
            if theirs[at] > until && !preemptor.is_some_and(|first| std::ptr::eq(first, job)) {
                continue;
            }
            let stopped = preemptor.is_some_and(|first| first.took_from(job));
            let stops = ran.len() > 1 && (ran[0].1 - until).abs() < TIE;
            let same_order = in_order(at, &firsts, &theirs);
            let same_nodes = ran[0].2 == job.starts[0].1 && stopped == stops;
            if !(same_order && same_nodes) {
                let Recorded { nodes, chips, limit, high, submit, starts, .. } = job;
                text += &format!(
                    "list {} job {at} ({nodes} x {chips}, limit {limit}, high {high}, submitted {submit}): Slurm {starts:?}, \
                     here {ran:?}\n",
                    case.seed
                );
            }
            found.jobs += 1;
            found.stopped += u32::from(stopped);
            found.order += u32::from(same_order);
            found.nodes += u32::from(same_nodes);
            found.both += u32::from(same_order && same_nodes);
        }
        (found, text)
    }

    /// Slurm notes whole seconds: where a job came and another ended within one, either may have been first.
    fn add(&mut self, case: &Case) {
        let (mut found, mut text) = Self::of(case, 0.0);
        let (other, others) = Self::of(case, 0.5);
        if other.both > found.both {
            (found, text) = (other, others);
        }
        print!("{text}");
        self.jobs += found.jobs;
        self.order += found.order;
        self.nodes += found.nodes;
        self.both += found.both;
        self.stopped += found.stopped;
    }
}

/// The lists with even numbers may be looked at while rules are written down, those with odd ones are not. At least `share`
/// of the jobs of each start in Slurm's order on Slurm's nodes.
#[track_caller]
fn check(text: &str, lists: usize, share: f64) {
    let cases: Vec<Case> = serde_json::from_str(text).expect("recorded cases");
    let enough = cases.len() >= lists;
    for (name, odd) in [("lists looked at", 0), ("lists held out", 1)] {
        let mut found = Found::default();
        cases.iter().filter(|case| case.seed % 2 == odd).for_each(|case| found.add(case));
        let Found { jobs, order, nodes, both, stopped } = found;
        println!("{name}: {jobs} jobs: order {order}, nodes {nodes}, both {both}; {stopped} stopped");
        assert!(enough, "{} lists", cases.len());
        assert!(f64::from(both) >= share * f64::from(jobs), "{name}: {both} of {jobs}");
    }
}

/// All jobs of a list at once.
#[test]
fn a_burst_runs_as_under_slurm() {
    check(include_str!("slurm/burst.json"), 200, 0.95);
}

/// Jobs that come one after the other.
#[test]
fn arrivals_run_as_under_slurm() {
    check(include_str!("slurm/staggered.json"), 60, 0.95);
}

/// Jobs of a partition that stops those of another.
#[test]
fn preemption_is_slurms() {
    check(include_str!("slurm/preempt.json"), 60, 0.95);
}
