//! Leaping against stepping, replay against run, theory against simulation.

use serving::{
    Admission, Batching, ClusterConfig, DeploymentConfig, EngineLimits, Gathering, LoadTime, PoolConfig,
    Preemption, Recovery, Role, RouterPolicy, Speculation,
};
use sim::sketch::Sketch;
use sim::testing::{Constant, Roofline};
use sim::{Metrics, Observer, Options, Record, Simulation, Slo};
use std::io::Cursor;
use supernode_sim as sim;
use units::{PerSecond, Seconds};
use workload::{
    Arrival, Lengths, OpenLoop, Process, Replay, ReplayOptions, SharedPrefix, Source, TraceWriter,
};

#[derive(Default)]
struct Keep(Vec<Record>);

impl Observer for Keep {
    fn request_ended(&mut self, record: &Record) {
        self.0.push(record.clone());
    }
}

fn pool(role: Role, limits: &EngineLimits, instances: u32, router: RouterPolicy) -> PoolConfig {
    PoolConfig {
        name: format!("{role:?}"),
        role,
        limits: limits.clone(),
        instances,
        router,
        load: LoadTime { warm: Seconds::new(5.0), cold: Seconds::new(60.0) },
        scaling: None,
    }
}

fn cluster(pools: Vec<PoolConfig>) -> ClusterConfig {
    let deployment = DeploymentConfig {
        name: "test".to_owned(),
        pools,
        tiers: Vec::new(),
        admission: Admission::default(),
        recovery: Recovery::default(),
    };
    ClusterConfig { deployments: vec![deployment], ..ClusterConfig::default() }
}

fn poisson(rate: f64, requests: u64, input: Lengths, output: Lengths) -> OpenLoop {
    OpenLoop::new(Process::Poisson { rate: PerSecond::new(rate) }, requests, input, output, 11).unwrap()
}

fn records<S: Source>(config: ClusterConfig, source: S, exact: bool) -> Vec<Record> {
    let pools = config.deployments[0].pools.len();
    let options = Options { exact, checks: !exact, ..Options::default() };
    let simulation =
        Simulation::new(config, vec![Roofline::default(); pools], source, Keep::default(), options).unwrap();
    let (_, Keep(mut records)) = simulation.run().unwrap();
    records.sort_by_key(|record| record.ticket);
    records
}

/// Every reported figure of a distribution: the mean and the percentiles of the summary.
fn figures(sketch: &Sketch) -> Vec<f64> {
    let quantiles = [0.5, 0.9, 0.95, 0.99, 0.999].map(|q| sketch.quantile(q));
    quantiles.into_iter().chain([sketch.mean()]).collect()
}

fn metrics<S: Source>(config: ClusterConfig, source: S, exact: bool) -> Metrics {
    let pools = config.deployments[0].pools.len();
    let options = Options { exact, checks: !exact, ..Options::default() };
    let watch = Metrics::new(Slo::default(), Vec::new(), 1);
    let simulation =
        Simulation::new(config, vec![Roofline::default(); pools], source, watch, options).unwrap();
    let (totals, mut metrics) = simulation.run().unwrap();
    metrics.finish(totals.end);
    metrics
}

/// Every reported percentile within 0.1 %. Waits are differences of instants, known to a fraction of a step.
fn check_leap(name: &str, config: &ClusterConfig, source: impl Fn() -> OpenLoop) {
    let leap = metrics(config.clone(), source(), false);
    let exact = metrics(config.clone(), source(), true);
    let pairs = [
        ("ttft", &leap.ttft, &exact.ttft),
        ("tpot", &leap.tpot, &exact.tpot),
        ("itl", &leap.itl, &exact.itl),
        ("e2e", &leap.e2e, &exact.e2e),
        ("queue", &leap.queue, &exact.queue),
    ];
    for (metric, leap, exact) in pairs {
        let slack = if metric == "queue" { 1e-5 } else { 0.0 };
        for (leap, exact) in figures(leap).into_iter().zip(figures(exact)) {
            let off = (leap - exact).abs();
            assert!(off <= 1e-3 * exact + slack, "{name} {metric}: leap {leap}, exact {exact}");
        }
    }
    assert!((leap.energy() / exact.energy() - 1.0).abs() < 1e-3, "{name}: energy");
}

#[test]
fn leaping_is_stepping_within_a_thousandth() {
    let limits = EngineLimits { kv_blocks: 20_000, ..EngineLimits::default() };
    let long = Lengths::LogNormal { median: 900.0, sigma: 1.0, max: 20_000 };
    let short = Lengths::LogNormal { median: 150.0, sigma: 0.9, max: 4000 };
    let aggregated =
        |limits: &EngineLimits| cluster(vec![pool(Role::Aggregated, limits, 1, RouterPolicy::RoundRobin)]);
    check_leap("light", &aggregated(&limits), || poisson(2.0, 1500, long, short));
    check_leap("busy", &aggregated(&limits), || poisson(12.0, 1500, long, short));
    let tight = EngineLimits { kv_blocks: 1500, ..limits.clone() };
    check_leap("tight", &aggregated(&tight), || {
        poisson(4.0, 1500, Lengths::Fixed(900), Lengths::Uniform(200, 600))
    });
    let eager = EngineLimits { batching: Batching::PrefillFirst, ..limits.clone() };
    check_leap("prefill first", &aggregated(&eager), || poisson(8.0, 1500, long, short));
    let ranks = EngineLimits { ranks: 8, kv_blocks: 4000, ..limits.clone() };
    check_leap("data parallel", &aggregated(&ranks), || poisson(12.0, 1500, long, short));
    let apart = cluster(vec![
        pool(Role::Prefill, &limits, 2, RouterPolicy::LeastTokens),
        pool(Role::Decode, &limits, 2, RouterPolicy::LeastRequests),
    ]);
    check_leap("disaggregated", &apart, || poisson(16.0, 1500, long, short));
    let drafts = Speculation { draft_tokens: 2, acceptance: 0.6 };
    let drafting = EngineLimits { speculation: Some(drafts), ..limits.clone() };
    check_leap("speculation", &aggregated(&drafting), || poisson(12.0, 1500, long, short));
    let swapping = EngineLimits { preemption: Preemption::Swap, ..tight };
    check_leap("swap", &aggregated(&swapping), || {
        poisson(4.0, 1500, Lengths::Fixed(900), Lengths::Uniform(200, 600))
    });
    let careful =
        EngineLimits { batching: Batching::SloAware { step: Seconds::from_ms(30.0) }, ..limits.clone() };
    check_leap("step limit", &aggregated(&careful), || poisson(8.0, 1500, long, short));
    let patient = Gathering { tokens: 3000, requests: 2, settle: 5, timeout: 30 };
    let gathering = EngineLimits { gathering: Some(patient), ..limits.clone() };
    check_leap("gathering", &aggregated(&gathering), || poisson(8.0, 1500, long, short));
    let cached = EngineLimits { prefix_cache: Some(64), ..limits };
    let shared = SharedPrefix { groups: 20, share: 0.6, hash_block: 64 };
    check_leap("cached", &aggregated(&cached), || poisson(12.0, 1500, long, short).with_prefix(shared));
}

#[test]
fn law_7_a_recorded_run_replays_to_the_same_records() {
    let limits = EngineLimits { kv_blocks: 3000, prefix_cache: Some(64), ..EngineLimits::default() };
    let config = || cluster(vec![pool(Role::Aggregated, &limits, 3, RouterPolicy::PowerOfTwo)]);
    let shared = SharedPrefix { groups: 5, share: 0.5, hash_block: 64 };
    let source =
        || poisson(20.0, 600, Lengths::Uniform(100, 3000), Lengths::Uniform(1, 400)).with_prefix(shared);
    let run = records(config(), source(), false);
    let mut writer = TraceWriter::new(Vec::new());
    let mut generated = source();
    while let Some(arrival) = generated.pop().unwrap() {
        writer.write(&arrival).unwrap();
    }
    let bytes = writer.finish().unwrap();
    let replay = Replay::from_reader("run", Box::new(Cursor::new(bytes)), ReplayOptions::default()).unwrap();
    assert_eq!(records(config(), replay, false), run);
}

#[test]
fn law_4_what_is_decided_before_answers_end_does_not_know_how_long_they_are() {
    let limits = EngineLimits { kv_blocks: 3000, ..EngineLimits::default() };
    for router in [RouterPolicy::LeastRequests, RouterPolicy::LeastTokens, RouterPolicy::PowerOfTwo] {
        let config = || cluster(vec![pool(Role::Aggregated, &limits, 3, router)]);
        // Prompts are drawn from a range, answers are of one length each, so that both runs draw the same prompts.
        let decided = |output: u32| {
            let source = poisson(400.0, 40, Lengths::Uniform(100, 3000), Lengths::Fixed(output));
            let records = records(config(), source, true);
            let first_end =
                records.iter().map(|record| record.end).fold(Seconds::new(f64::MAX), Seconds::min);
            let taken = |record: &Record| {
                let early = record.first_token.filter(|first| *first < first_end);
                (record.ticket, record.instance, record.admitted, early)
            };
            (records.iter().map(taken).collect::<Vec<_>>(), first_end)
        };
        let ((short, first_end), (long, _)) = (decided(1500), decided(3000));
        let before =
            |(_, _, admitted, _): &&(u64, _, Option<Seconds>, _)| admitted.is_some_and(|at| at < first_end);
        let (short, long): (Vec<_>, Vec<_>) =
            (short.iter().filter(before).collect(), long.iter().filter(before).collect());
        assert!(short.len() > 20, "{router:?}: {} are admitted before the first answer ends", short.len());
        assert_eq!(short, long, "{router:?}");
    }
}

/// Requests whose output has an exponential law, rounded up to whole tokens.
struct Exponential {
    open: OpenLoop,
    mean: f64,
    random: workload::random::Stream,
}

impl Source for Exponential {
    fn peek(&mut self) -> Result<Option<Seconds>, workload::WorkloadError> {
        self.open.peek()
    }

    fn pop(&mut self) -> Result<Option<Arrival>, workload::WorkloadError> {
        use rand::Rng;
        let uniform: f64 = self.random.random();
        let output = (-self.mean * (1.0 - uniform).ln()).ceil().max(1.0) as u32;
        Ok(self.open.pop()?.map(|arrival| Arrival { output, ..arrival }))
    }
}

/// The mean time a request waits for one of `slots` slots.
fn mean_wait(slots: u32, step: f64, source: impl Source) -> f64 {
    let limits = EngineLimits { max_seqs: slots, kv_blocks: 10_000_000, ..EngineLimits::default() };
    let config = cluster(vec![pool(Role::Aggregated, &limits, 1, RouterPolicy::RoundRobin)]);
    let pricer = Constant(Seconds::new(step));
    let simulation =
        Simulation::new(config, vec![pricer], source, Waits::default(), Options::default()).unwrap();
    let (_, waits) = simulation.run().unwrap();
    waits.sum / waits.count as f64
}

#[derive(Default)]
struct Waits {
    sum: f64,
    count: u64,
}

impl Observer for Waits {
    fn request_ended(&mut self, record: &Record) {
        self.sum += record.queued().unwrap_or_default().get();
        self.count += 1;
    }
}

#[test]
fn a_server_of_single_requests_is_an_m_d_1_queue() {
    let service = 0.01;
    for utilisation in [0.3, 0.5, 0.7] {
        let source = poisson(utilisation / service, 1_000_000, Lengths::Fixed(100), Lengths::Fixed(1));
        let expected = service * utilisation / (2.0 * (1.0 - utilisation));
        let simulated = mean_wait(1, service, source);
        assert!((simulated / expected - 1.0).abs() < 0.01, "{utilisation}: {simulated} against {expected}");
    }
}

#[test]
fn a_batch_with_so_many_slots_is_an_m_m_c_queue() {
    // Waits of one busy period go together, so that a mean to 1 % takes millions of them. Steps are short against the service, so that waiting for a step boundary hardly shows.
    let (slots, step, mean) = (4, 1e-5, 1000.0);
    let service = step * (mean + 0.5);
    let offered = 0.8 * f64::from(slots);
    let source = Exponential {
        open: poisson(offered / service, 6_000_000, Lengths::Fixed(10), Lengths::Fixed(1)),
        mean,
        random: workload::random::stream(4, "exponential"),
    };
    // Erlang's C formula.
    let terms: Vec<f64> = (0..slots)
        .scan(1.0, |term, k| {
            let now = *term;
            *term *= offered / f64::from(k + 1);
            Some(now)
        })
        .collect();
    let last = terms[slots as usize - 1] * offered / f64::from(slots) / (1.0 - 0.8);
    let waits = last / (terms.iter().sum::<f64>() + last);
    let expected = waits * service / (f64::from(slots) - offered);
    let simulated = mean_wait(slots, step, source);
    assert!((simulated / expected - 1.0).abs() < 0.01, "{simulated} against {expected}");
}

#[test]
fn a_batch_that_is_never_full_is_an_infinite_server() {
    // Insensitivity: in M/G/infinity the number in service is Poisson with mean rate times time in service.
    let limits = EngineLimits { max_seqs: 100_000, kv_blocks: 10_000_000, ..EngineLimits::default() };
    let config = cluster(vec![pool(Role::Aggregated, &limits, 1, RouterPolicy::RoundRobin)]);
    let source = poisson(5.0, 30_000, Lengths::Fixed(10), Lengths::Uniform(100, 300));
    let pricer = Constant(Seconds::new(0.001));
    let simulation =
        Simulation::new(config, vec![pricer], source, Keep::default(), Options::default()).unwrap();
    let (totals, Keep(records)) = simulation.run().unwrap();
    // A request waits half a step on average for the step under way when another request is there (all but e^-1 of the
    // time at a mean of one), then takes a step per token.
    let mean = records.iter().map(|record| record.e2e().get()).sum::<f64>() / records.len() as f64;
    let busy = 1.0 - (-5.0 * mean).exp();
    let expected = 0.001 * (200.0 + 0.5 * busy);
    assert!((mean / expected - 1.0).abs() < 0.01, "{mean} against {expected}");
    let in_system = records.len() as f64 / totals.end.get() * mean;
    assert!((in_system / (5.0 * expected) - 1.0).abs() < 0.02);
}
