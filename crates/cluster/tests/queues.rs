//! Queues that theory knows: many servers behind one line (M/M/c), and one link that is shared (processor sharing).

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serving::Nanos;
use supernode_cluster::policy::{Settings, by_name};
use supernode_cluster::{
    Ask, Checkpoint, Driver, JobPlan, Kind, Level, Linear, Options, Pace, Placement, Pricer, Scheduler,
    Shape, Tenant, TenantId, Tree,
};

/// Arrival and service times of one queue, seconds.
struct Sample {
    arrivals: Vec<f64>,
    services: Vec<f64>,
}

impl Sample {
    /// Poisson arrivals and exponential services of mean 1.
    fn exponential(jobs: usize, rate: f64, seed: u64) -> Self {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let mut exponential = |mean: f64| -mean * (1.0 - random.random::<f64>()).ln();
        let mut at = 0.0;
        let (mut arrivals, mut services) = (Vec::with_capacity(jobs), Vec::with_capacity(jobs));
        for _ in 0..jobs {
            at += exponential(1.0 / rate);
            arrivals.push(at);
            services.push(exponential(1.0));
        }
        Self { arrivals, services }
    }

    /// Two sizes, 0.1 with probability 0.9 and 9.1 else: mean 1, far from exponential.
    fn two_sizes(jobs: usize, rate: f64, seed: u64) -> Self {
        let sample = Self::exponential(jobs, rate, seed);
        let mut random = Pcg64Mcg::seed_from_u64(seed ^ 99);
        let services = (0..jobs).map(|_| if random.random_bool(0.9) { 0.1 } else { 9.1 }).collect();
        Self { services, ..sample }
    }

    fn plans(&self, ask: Ask) -> Vec<JobPlan> {
        let plan = |(at, work): (&f64, &f64)| JobPlan {
            uses: Box::default(),
            name: "".into(),
            kind: Kind::Opaque,
            tenant: TenantId(0),
            priority: 0,
            ask,
            elastic: None,
            limit: None,
            wish: None,
            preemptible: true,
            deadline: None,
            scaling: 1.0,
            submit: Nanos::new((at * 1e9) as u64),
            work: *work,
            checkpoint: Checkpoint::default(),
        };
        self.arrivals.iter().zip(&self.services).map(plan).collect()
    }
}

/// Completion times under a policy.
fn completions<P: Pricer>(
    policy: &str,
    tree: Tree,
    plans: &[JobPlan],
    pricer: P,
    uplinks: Vec<Option<f64>>,
) -> Vec<f64> {
    let policy = by_name(policy, &Settings::default()).expect("a name");
    let scheduler = Scheduler::new(tree, vec![Tenant::open("a")], Placement::BestFit, policy);
    let options = Options { check: false, uplinks, ..Options::default() };
    let outcome = Driver::new(scheduler, plans, &[], pricer, options).run();
    outcome.records.iter().map(|record| record.completion().expect("it finished")).collect()
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

/// Mean wait of M/M/c with services of mean 1 (Erlang C).
fn erlang_c(servers: u32, rate: f64) -> f64 {
    let (mut term, mut sum) = (1.0, 1.0);
    for k in 1..servers {
        term *= rate / f64::from(k);
        sum += term;
    }
    let last = term * rate / f64::from(servers) / (1.0 - rate / f64::from(servers));
    let waits = last / (sum + last);
    waits / (f64::from(servers) - rate)
}

/// Lindley's recursion for many servers (Kiefer and Wolfowitz): the wait of every job, by its own arithmetic.
fn recursion(sample: &Sample, servers: usize) -> Vec<f64> {
    let mut free = vec![0.0f64; servers];
    let step = |(at, work): (&f64, &f64)| {
        let first = (0..servers).min_by(|a, b| free[*a].total_cmp(&free[*b])).expect("a server");
        let begin = free[first].max(*at);
        free[first] = begin + work;
        begin - at
    };
    sample.arrivals.iter().zip(&sample.services).map(step).collect()
}

#[test]
fn many_servers_behind_one_line() {
    for (servers, load, jobs) in [(1, 0.5, 300_000), (2, 0.6, 300_000), (4, 0.6, 400_000), (16, 0.8, 50_000)]
    {
        let rate = f64::from(servers) * load;
        let sample = Sample::exponential(jobs, rate, 11 + u64::from(servers));
        let plans = sample.plans(Ask::packed(1, servers));
        let tree = Tree::new(&[servers], &[]);
        let found = completions("fifo", tree, &plans, Linear, Vec::new());
        let waits = recursion(&sample, servers as usize);
        // Every job waits as long as the recursion says; instants are whole nanoseconds.
        for (at, (completion, wait)) in found.iter().zip(&waits).enumerate() {
            let theirs = wait + sample.services[at];
            assert!(
                (completion - theirs).abs() < 1e-4,
                "job {at} of {servers} servers: {completion} and {theirs}"
            );
        }
        if jobs < 100_000 {
            continue;
        }
        // The sample's own rates differ a little from those it was drawn from; theory is asked about the sample's.
        let drawn = jobs as f64 / sample.arrivals[jobs - 1];
        let work = mean(sample.services.iter().copied());
        let theory = erlang_c(servers, drawn * work) * work;
        let ours = mean(found.iter().zip(&sample.services).map(|(completion, work)| completion - work));
        assert!((ours / theory - 1.0).abs() < 0.01, "{servers} servers at {load}: {ours} and {theory}");
    }
}

/// A job that does nothing but send over the outermost links, as fast as all of one lets it.
struct Sends;

impl Pricer for Sends {
    fn pace(&mut self, _: usize, _: &JobPlan, shape: &Shape) -> Option<Pace> {
        Some(Pace { rate: 1.0, crossing: 1.0, demand: 300.0 / f64::from(shape.chips) })
    }
}

/// Processor sharing by its definition, event by event: `n` jobs get `1/n` each.
fn sharing(sample: &Sample) -> Vec<f64> {
    // Work that a job of the present would have got since the start; a job ends when that passes its arrival's by its own.
    let (mut virtual_time, mut now) = (0.0, 0.0);
    let mut open: std::collections::BTreeMap<(u64, usize), f64> = std::collections::BTreeMap::new();
    let mut ended = vec![0.0; sample.arrivals.len()];
    let mut next = 0;
    while next < sample.arrivals.len() || !open.is_empty() {
        let first = open.iter().next().map(|(key, end)| (*key, *end));
        let done = first.map_or(f64::INFINITY, |(_, end)| now + (end - virtual_time) * open.len() as f64);
        let arrival = sample.arrivals.get(next).copied().unwrap_or(f64::INFINITY);
        let at = done.min(arrival);
        if !open.is_empty() {
            virtual_time += (at - now) / open.len() as f64;
        }
        now = at;
        if done <= arrival {
            let (key, end) = first.expect("one is open");
            virtual_time = end;
            ended[key.1] = now;
            open.remove(&key);
        } else {
            // Positive numbers are ordered as their bits are.
            let end: f64 = virtual_time + sample.services[next];
            open.insert((end.to_bits(), next), end);
            next += 1;
        }
    }
    ended.iter().zip(&sample.arrivals).map(|(end, at)| end - at).collect()
}

#[test]
fn a_shared_link_is_processor_sharing() {
    for (name, load, sample) in [
        ("exponential", 0.5, Sample::exponential(150_000, 0.5, 5)),
        ("two sizes", 0.5, Sample::two_sizes(150_000, 0.5, 6)),
    ] {
        // Three nodes are more than a rack of two, so that every job crosses the one link of the whole.
        let plans = sample.plans(Ask { count: 3, each: 1, rest: 0 });
        let tree = Tree::new(&[1; 192], &[Level { name: "rack".to_owned(), nodes: 2 }]);
        let found = completions("fifo", tree, &plans, Sends, vec![None, Some(300.0)]);
        for (at, (ours, theirs)) in found.iter().zip(sharing(&sample)).enumerate() {
            assert!((ours - theirs).abs() < 1e-3 * (1.0 + theirs), "{name}, job {at}: {ours} and {theirs}");
        }
        // Of any sizes of mean 1, the mean time is 1 / (1 - load): processor sharing does not care how they differ.
        let drawn = sample.arrivals.len() as f64 / sample.arrivals.last().expect("jobs");
        let work = mean(sample.services.iter().copied());
        let (ours, theory) = (mean(found.iter().copied()), work / (1.0 - drawn * work));
        assert!((ours / theory - 1.0).abs() < 0.01, "{name} at {load}: {ours} and {theory}");
    }
}
