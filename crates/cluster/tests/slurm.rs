//! Start order and node sets held to a real Slurm: `tests/slurm/golden.json` is what `tests/slurm/record.py` recorded.

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
    limit: u64,
    start: i64,
    end: i64,
    on: Vec<u32>,
}

/// Times of a real Slurm are whole seconds and a cycle of backfill late.
const TIE: f64 = 2.5;

fn plan(job: &Recorded) -> JobPlan {
    JobPlan {
        uses: Box::default(),
        name: "".into(),
        kind: Kind::Opaque,
        tenant: TenantId(0),
        priority: 0,
        ask: Ask { count: job.nodes, each: job.chips, rest: 0 },
        elastic: None,
        limit: Some(60.0 * job.limit as f64),
        wish: None,
        preemptible: false,
        deadline: None,
        scaling: 1.0,
        submit: Nanos::ZERO,
        // Slurm starts and ends a job in some time of its own, which is part of how long it held its nodes.
        work: (job.end - job.start) as f64,
        checkpoint: Checkpoint::default(),
    }
}

/// Our start times and nodes.
fn replay(case: &Case) -> Vec<(f64, Vec<u32>)> {
    // `priority/basic` is the order of submission: no factor weighs anything.
    let settings = Settings {
        backfill_interval: Seconds::new(1.0),
        age_weight: 0.0,
        fair_share_weight: 0.0,
        priority_weight: 0.0,
        ..Settings::default()
    };
    let tree = Tree::new(&[8; 8], &[Level { name: "leaf".to_owned(), nodes: 4 }]);
    let policy = by_name("multifactor", &settings).expect("a policy");
    let scheduler = Scheduler::new(tree, vec![Tenant::open("a")], Placement::FirstFit, policy);
    let plans: Vec<JobPlan> = case.jobs.iter().map(plan).collect();
    let options = Options { stretches: true, ..Options::default() };
    let outcome = Driver::new(scheduler, &plans, &[], Linear, options).run();
    assert!(outcome.broken.is_empty(), "list {}: {:?}", case.seed, outcome.broken);
    (0..plans.len() as u32)
        .map(|id| {
            let stretch = outcome.stretches.iter().find(|stretch| stretch.job.0 == id).expect("it ran");
            let mut nodes: Vec<u32> = stretch.parts.iter().map(|part| part.node.0).collect();
            nodes.sort_unstable();
            (stretch.from, nodes)
        })
        .collect()
}

/// Whether no job that started clearly before (or after) this one in one world did the opposite in the other.
fn in_order(at: usize, ours: &[f64], theirs: &[f64]) -> bool {
    (0..ours.len()).all(|other| {
        let (a, b) = (ours[other] - ours[at], theirs[other] - theirs[at]);
        a.abs() < TIE || b.abs() < TIE || a.signum() == b.signum()
    })
}

/// Jobs, those in Slurm's order, on Slurm's nodes, and both.
#[derive(Default)]
struct Found {
    jobs: u32,
    order: u32,
    nodes: u32,
    both: u32,
}

impl Found {
    fn add(&mut self, case: &Case) {
        let ours = replay(case);
        let starts: Vec<f64> = ours.iter().map(|(start, _)| *start).collect();
        let theirs: Vec<f64> = case.jobs.iter().map(|job| job.start as f64).collect();
        for (at, (job, (start, on))) in case.jobs.iter().zip(&ours).enumerate() {
            let (same_order, same_nodes) = (in_order(at, &starts, &theirs), *on == job.on);
            if !(same_order && same_nodes) {
                println!(
                    "list {} job {at} ({} x {}, limit {}): Slurm at {} on {:?}, here at {start} on {on:?}",
                    case.seed, job.nodes, job.chips, job.limit, job.start, job.on
                );
            }
            self.jobs += 1;
            self.order += u32::from(same_order);
            self.nodes += u32::from(same_nodes);
            self.both += u32::from(same_order && same_nodes);
        }
    }

    /// At least these shares.
    #[track_caller]
    fn holds(&self, name: &str, order: f64, both: f64) {
        let Self { jobs, order: ordered, nodes, both: alike } = *self;
        println!("{name}: {jobs} jobs: order {ordered}, nodes {nodes}, both {alike}");
        assert!(jobs > 600);
        assert!(f64::from(ordered) >= order * f64::from(jobs), "{name}: order {ordered} of {jobs}");
        assert!(f64::from(alike) >= both * f64::from(jobs), "{name}: both {alike} of {jobs}");
    }
}

/// The lists with even numbers were looked at while the rules of the backfill were written down, those with odd ones were
/// not.
#[test]
fn start_order_and_nodes_are_slurms() {
    let text = include_str!("slurm/golden.json");
    let cases: Vec<Case> = serde_json::from_str(text).expect("recorded cases");
    let (mut seen, mut held_out) = (Found::default(), Found::default());
    for case in &cases {
        if case.seed % 2 == 0 { seen.add(case) } else { held_out.add(case) }
    }
    seen.holds("lists looked at", 0.96, 0.92);
    held_out.holds("lists held out", 0.95, 0.88);
}
