//! Random clusters, jobs, tenants, failures and policies, each run held to the laws of the checker; and queues that theory
//! knows.

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serving::Nanos;
use supernode_cluster::driver::Faults;
use supernode_cluster::job::Range;
use supernode_cluster::policy::{NAMES, Settings, by_name};
use supernode_cluster::results::{Ending, Outcome};
use supernode_cluster::service::{Load, Service};
use supernode_cluster::{
    Ask, Checkpoint, Driver, JobPlan, Kind, Level, Linear, NodeId, Options, Placement, Resource, Scheduler,
    Tenant, TenantId, Tree, Wish,
};

fn tenants(random: &mut Pcg64Mcg, chips: u32) -> Vec<Tenant> {
    let count = random.random_range(1..4u32);
    (0..count)
        .map(|index| {
            let quota = random.random_bool(0.5).then(|| chips / count);
            let cohort = quota.filter(|_| random.random_bool(0.6)).map(|_| 0);
            let borrow = if cohort.is_some() { random.random_range(0..=chips) } else { 0 };
            let weight = f64::from(random.random_range(1..4u32));
            Tenant { name: format!("t{index}"), quota, borrow, cohort, weight }
        })
        .collect()
}

fn plan(random: &mut Pcg64Mcg, index: u32, tree: &Tree, tenants: usize, at: f64) -> JobPlan {
    let chips = if random.random_bool(0.7) {
        random.random_range(1..=tree.node_size())
    } else {
        random.random_range(1..=tree.chips())
    };
    let work = 10.0 * random.random_range(1.0..8.0f64).exp();
    let rigid = random.random_bool(0.7);
    let level = random.random_range(0..tree.levels().len() as u32);
    JobPlan {
        uses: if random.random_bool(0.3) { [(0, random.random_range(0..6))].into() } else { Box::default() },
        name: format!("j{index}").into(),
        kind: Kind::Opaque,
        tenant: TenantId(random.random_range(0..tenants as u32)),
        priority: random.random_range(-1..2),
        ask: Ask::packed(chips, tree.node_size()),
        elastic: (!rigid).then(|| Range { least: chips.div_ceil(4), most: (chips * 2).min(tree.chips()) }),
        limit: random.random_bool(0.8).then(|| work * random.random_range(0.9..3.0)),
        wish: random.random_bool(0.2).then(|| Wish { level, required: random.random_bool(0.5), slice: None }),
        preemptible: random.random_bool(0.8),
        deadline: random.random_bool(0.2).then_some(work * 2.0),
        scaling: random.random_range(0.0..1.0),
        submit: Nanos::new((at * 1e9) as u64),
        work,
        checkpoint: if random.random_bool(0.5) {
            Checkpoint { interval: 600.0, write: 20.0, restore: 60.0 }
        } else {
            Checkpoint::default()
        },
    }
}

fn services(random: &mut Pcg64Mcg, node: u32) -> Vec<Service> {
    (0..random.random_range(0..2u32))
        .map(|index| Service {
            name: format!("s{index}"),
            tenant: TenantId(0),
            priority: 2,
            ask: Ask::packed(random.random_range(1..=node), node),
            wish: None,
            load: Load::Day { peak: 20.0, trough: 1.0, peak_at: 43_200.0 },
            capacity: 5.0,
            least: 1,
            most: 4,
            interval: 600.0,
            headroom: 0.2,
            load_time: 120.0,
            busy: 0.7,
            slack: 2.0,
            patience: 60.0,
            windows: Vec::new(),
        })
        .collect()
}

/// One random world.
fn world(seed: u64) -> (String, Outcome) {
    let random = &mut Pcg64Mcg::seed_from_u64(seed);
    let node = [1, 2, 4, 8, 16][random.random_range(0..5usize)];
    let nodes = random.random_range(1..24usize);
    let mut capacity = vec![node; nodes];
    if random.random_bool(0.2) {
        capacity.push(random.random_range(1..=node));
    }
    let levels = [Level { name: "rack".to_owned(), nodes: 4 }, Level { name: "row".to_owned(), nodes: 8 }];
    let tree = Tree::new(&capacity, &levels[..random.random_range(0..3usize)]);
    let tenants = tenants(random, tree.chips());
    let mut at = 0.0;
    let jobs = random.random_range(1..60u32);
    let plans: Vec<JobPlan> = (0..jobs)
        .map(|index| {
            at += random.random_range(0.0..400.0);
            plan(random, index, &tree, tenants.len(), at)
        })
        .collect();
    let name = NAMES[random.random_range(0..NAMES.len())];
    let placements =
        [Placement::BestFit, Placement::FirstFit, Placement::LeastFragmentation, Placement::Spread];
    let placement = placements[random.random_range(0..4usize)];
    let settings = Settings {
        preempt: random.random_bool(0.7),
        depth: random.random_range(1..40),
        ..Settings::default()
    };
    let mut scheduler =
        Scheduler::new(tree.clone(), tenants.clone(), placement, by_name(name, &settings).expect("a name"));
    // Jobs that need more than there is are refused.
    scheduler.set_resources(vec![Resource { name: "memory".to_owned(), amount: random.random_range(4..20) }]);
    if nodes > 4 && random.random_bool(0.2) {
        scheduler.set_spares([NodeId(nodes as u32 - 1)]);
    }
    let services = services(random, node);
    let faults =
        random.random_bool(0.4).then(|| Faults { per_chip: 1e-6, per_domain: vec![1e-6], repair: 3600.0 });
    let options = Options {
        until: Some(random.random_range(1e4..4e5)),
        busy_power: 1000.0,
        idle_power: 200.0,
        faults,
        maintenance: if random.random_bool(0.3) { vec![(NodeId(0), 2000.0, 9000.0)] } else { Vec::new() },
        power_chips: random.random_bool(0.2).then(|| tree.chips().div_ceil(2)),
        seed,
        ..Options::default()
    };
    let text = format!("seed {seed}, {name}, {placement:?}, {jobs} jobs, {nodes} nodes of {node}");
    (text, Driver::new(scheduler, &plans, &services, Linear, options).run())
}

/// 2,000 worlds by default; `SUPERNODE_SWARM` says which others: `50000`, or `10000..20000`.
#[test]
fn random_clusters_keep_the_laws() {
    let text = std::env::var("SUPERNODE_SWARM").unwrap_or_else(|_| "2000".to_owned());
    let (first, last) = text.split_once("..").unwrap_or(("0", text.as_str()));
    let number = |text: &str| text.parse::<u64>().expect("a number of worlds");
    for seed in number(first)..number(last) {
        let (text, outcome) = world(seed);
        assert!(outcome.broken.is_empty(), "{text}: {:#?}", outcome.broken);
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..20 {
        assert_eq!(world(seed), world(seed));
    }
}

fn run(policy: &str, tree: Tree, plans: &[JobPlan]) -> Outcome {
    let settings = Settings::default();
    let policy = by_name(policy, &settings).expect("a name");
    let scheduler = Scheduler::new(tree, vec![Tenant::open("a")], Placement::BestFit, policy);
    Driver::new(scheduler, plans, &[], Linear, Options { check: false, ..Options::default() }).run()
}

fn queue(jobs: usize, rate: f64, service: f64, elastic: bool, servers: u32, seed: u64) -> Vec<JobPlan> {
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let mut exponential = |mean: f64| -mean * (1.0 - random.random::<f64>()).ln();
    let mut at = 0.0;
    (0..jobs)
        .map(|_| {
            at += exponential(1.0 / rate);
            JobPlan {
                uses: Box::default(),
                name: "".into(),
                kind: Kind::Opaque,
                tenant: TenantId(0),
                priority: 0,
                ask: Ask::packed(if elastic { servers } else { 1 }, servers),
                elastic: None,
                limit: None,
                wish: None,
                preemptible: true,
                deadline: None,
                scaling: 1.0,
                submit: Nanos::new((at * 1e9) as u64),
                work: exponential(service),
                checkpoint: Checkpoint::default(),
            }
        })
        .collect()
}

/// Under aging nobody starves: whatever the mix, a large job of the lowest standing is done before the run ends, though small
/// ones keep coming.
#[test]
fn nobody_starves_under_aging() {
    let tree = Tree::new(&[8; 4], &[]);
    let mut plans: Vec<JobPlan> = queue(3000, 0.08, 300.0, false, 8, 7);
    for (index, plan) in plans.iter_mut().enumerate() {
        plan.limit = Some(3000.0);
        if index == 100 {
            plan.ask = Ask::packed(32, 8);
        }
    }
    for policy in ["fifo", "easy", "conservative", "multifactor"] {
        let outcome = run(policy, tree.clone(), &plans);
        let large = &outcome.records[100];
        assert_eq!(large.ending, Ending::Finished, "{policy}");
        let reach = outcome.records.iter().filter(|record| record.started < large.started).count();
        assert!(reach < 1500, "{policy}: {reach} others went first");
    }
}
