//! Random clusters under random traffic, policies and failures, held to the laws after every event.
//!
//! `SUPERNODE_SWARM_SEEDS=100000 cargo test --release -p supernode-sim --test swarm` runs more of them;
//! `SUPERNODE_SWARM_FROM=1234 SUPERNODE_SWARM_SEEDS=1` repeats one.

use rand::Rng;
use serving::{
    Admission, Batching, ClusterConfig, DeploymentConfig, EngineLimits, Gathering, InstanceId, LoadTime,
    Nanos, Order, PoolConfig, Preemption, Reason, Recovery, Role, RouterPolicy, Scaling, ScalingRule,
    Speculation, Tenant, TierSpec,
};
use sim::faults::{Fault, FaultKind};
use sim::testing::Roofline;
use sim::{FirstToken, Observer, Options, Outcome, PortConfig, Record, Simulation, TierPort, Totals};
use std::collections::BTreeMap;
use supernode_sim as sim;
use units::{Bytes, BytesPerSecond, PerSecond, Seconds};
use workload::random::{Stream, stream};
use workload::{
    Arrival, ClosedLoop, Lengths, OpenLoop, Process, Sessions, SessionsConfig, SharedPrefix, Source,
    TenantShare,
};

/// Draws everything from one seed.
struct Draw(Stream);

impl Draw {
    fn chance(&mut self, share: f64) -> bool {
        self.0.random_bool(share)
    }

    fn whole(&mut self, low: u32, high: u32) -> u32 {
        self.0.random_range(low..=high)
    }

    fn real(&mut self, low: f64, high: f64) -> f64 {
        self.0.random_range(low..high)
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.0.random_range(0..choices.len())]
    }

    fn limits(&mut self, hash_block: Option<u32>) -> EngineLimits {
        let block = self.of(&[1, 16, 64]);
        let batching = self.of(&[
            Batching::Mixed,
            Batching::PrefillFirst,
            Batching::DecodeFirst,
            Batching::SloAware { step: Seconds::from_ms(20.0) },
        ]);
        EngineLimits {
            ranks: self.of(&[1, 1, 1, 2, 5]),
            token_budget: self.of(&[64, 512, 4096]),
            max_seqs: self.of(&[1, 4, 64]),
            kv_blocks: self.whole(500, 6000).div_ceil(block),
            block,
            max_context: self.of(&[1500, 100_000]),
            chunked: self.chance(0.7),
            batching,
            gathering: self.chance(0.2).then_some(Gathering {
                tokens: self.of(&[0, 900]),
                requests: self.of(&[0, 2, 5]),
                settle: self.of(&[0, 7]),
                timeout: self.of(&[1, 20]),
            }),
            order: self.of(&[Order::Fcfs, Order::Priority, Order::FairShare]),
            preemption: self.of(&[Preemption::Recompute, Preemption::Swap]),
            prefix_cache: hash_block,
            speculation: self.chance(0.3).then_some(Speculation { draft_tokens: 2, acceptance: 0.6 }),
            capture: if self.chance(0.3) { vec![1, 2, 4, 8, 16, 32, 64] } else { Vec::new() },
            watermark: self.of(&[0.0, 0.05]),
            kv_bytes_per_token: Bytes::new(1e5),
        }
    }

    fn router(&mut self) -> RouterPolicy {
        self.of(&[
            RouterPolicy::RoundRobin,
            RouterPolicy::LeastRequests,
            RouterPolicy::LeastTokens,
            RouterPolicy::PowerOfTwo,
            RouterPolicy::PrefixAware { load: 0.1 },
            RouterPolicy::SessionSticky,
        ])
    }

    fn pool(&mut self, role: Role, hash_block: Option<u32>) -> PoolConfig {
        let scaling = self.chance(0.3).then(|| {
            let schedule = (0..4).map(|step| (Nanos::new(step * 3_000_000_000), self.whole(1, 4))).collect();
            let rules = [
                ScalingRule::Reactive { up: 2.0, down: 1.0 },
                ScalingRule::Balance { up: 1.0 },
                ScalingRule::Scheduled(schedule),
            ];
            let interval = Seconds::new(self.real(0.2, 2.0));
            Scaling { min: 1, max: 4, interval, rule: rules[self.whole(0, 2) as usize].clone() }
        });
        let load =
            LoadTime { warm: Seconds::new(self.real(0.1, 1.0)), cold: Seconds::new(self.real(1.0, 5.0)) };
        let (limits, instances, router) = (self.limits(hash_block), self.whole(1, 3), self.router());
        PoolConfig { name: format!("{role:?}"), role, limits, instances, router, load, scaling }
    }

    fn deployment(&mut self) -> DeploymentConfig {
        let hash_block = self.chance(0.5).then_some(64);
        let pools = if self.chance(0.6) {
            vec![self.pool(Role::Aggregated, hash_block)]
        } else {
            vec![self.pool(Role::Prefill, hash_block), self.pool(Role::Decode, hash_block)]
        };
        let tier = |name: &str, capacity, shared| TierSpec {
            name: name.to_owned(),
            capacity: Bytes::new(capacity),
            bandwidth: BytesPerSecond::new(50e9),
            latency: Seconds::from_us(50.0),
            shared,
        };
        let tiers = match (hash_block, self.chance(0.6)) {
            (Some(_), true) => vec![tier("host", 2e8, false), tier("pool", 2e9, true)],
            _ => Vec::new(),
        };
        DeploymentConfig {
            name: "swarm".to_owned(),
            pools,
            tiers,
            admission: Admission { queue_limit: self.chance(0.3).then_some(self.whole(1, 30)) },
            recovery: Recovery {
                retries: self.of(&[0, 1, 3]),
                spares: self.whole(0, 1),
                shrink: self.chance(0.5).then_some(Seconds::from_ms(300.0)),
            },
        }
    }

    fn source(&mut self, seed: u64) -> Box<dyn Source> {
        let input = self.of(&[
            Lengths::Fixed(300),
            Lengths::Uniform(1, 2000),
            Lengths::LogNormal { median: 200.0, sigma: 1.2, max: 9000 },
        ]);
        let output = self.of(&[
            Lengths::Fixed(1),
            Lengths::Uniform(1, 300),
            Lengths::LogNormal { median: 60.0, sigma: 1.0, max: 3000 },
        ]);
        let rate = PerSecond::new(self.real(0.5, 60.0));
        let process = self.of(&[
            Process::Poisson { rate },
            Process::Bursts { rate, size: 20 },
            Process::Gamma { rate, burstiness: 0.3 },
        ]);
        let requests = u64::from(self.whole(10, 100));
        match self.whole(0, 2) {
            0 => Box::new(ClosedLoop::new(self.whole(1, 40), 0, requests, input, output, seed)),
            1 => {
                let config = SessionsConfig {
                    process,
                    sessions: requests / 4 + 1,
                    turns: Lengths::Uniform(1, 6),
                    system: 200,
                    input: Lengths::Uniform(10, 400),
                    output,
                    think: Seconds::new(0.5),
                    hash_block: 64,
                    max_context: 4000,
                };
                Box::new(Sessions::new(config, seed).unwrap())
            }
            _ => {
                let share = |tenant, share, priority| TenantShare { tenant, share, priority };
                let open = OpenLoop::new(process, requests, input, output, seed).unwrap();
                let prefix = SharedPrefix { groups: 4, share: 0.5, hash_block: 64 };
                Box::new(
                    open.with_tenants(vec![share(1, 1.0, 0), share(2, 3.0, 1)])
                        .with_prefix(prefix)
                        .over_deployments(2),
                )
            }
        }
    }

    fn faults(&mut self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for _ in 0..self.of(&[0, 0, 1, 3, 8]) {
            let instance = InstanceId(self.whole(0, 5));
            let at = self.real(0.0, 10.0);
            let kind = if self.chance(0.2) {
                FaultKind::Links {
                    instances: vec![InstanceId(0), InstanceId(2)],
                    share: self.of(&[0.0, 0.5, 1.0]),
                }
            } else {
                FaultKind::Fail { instance, ranks: self.whole(1, 5), repairable: self.chance(0.7) }
            };
            let mends = matches!(kind, FaultKind::Fail { repairable: true, .. }) && self.chance(0.9);
            faults.push(Fault { at: Seconds::new(at), kind });
            if mends {
                let back = Seconds::new(at + self.real(0.1, 3.0));
                faults.push(Fault { at: back, kind: FaultKind::Repair { instance } });
            }
        }
        faults.sort_by(|a, b| a.at.get().total_cmp(&b.at.get()));
        faults
    }
}

/// Some clients give up, some requests have deadlines.
struct Impatient(Box<dyn Source>, Stream, bool);

impl Source for Impatient {
    fn peek(&mut self) -> Result<Option<Seconds>, workload::WorkloadError> {
        self.0.peek()
    }

    fn pop(&mut self) -> Result<Option<Arrival>, workload::WorkloadError> {
        let Some(mut arrival) = self.0.pop()? else { return Ok(None) };
        if self.2 {
            arrival.patience = self.1.random_bool(0.3).then(|| Seconds::new(self.1.random_range(0.01..2.0)));
            arrival.deadline = self.1.random_bool(0.3).then(|| Seconds::new(self.1.random_range(0.01..2.0)));
        }
        Ok(Some(arrival))
    }

    fn ended(&mut self, ticket: u64, at: Seconds) {
        self.0.ended(ticket, at);
    }
}

/// Runs of steps and transfers after which a simulation of at most a hundred requests goes round in circles.
const MOST: u64 = 1_000_000;

#[derive(Default)]
struct Watch {
    records: Vec<Record>,
    seen: u64,
}

impl Watch {
    fn count(&mut self, at: Seconds) {
        self.seen += 1;
        assert!(self.seen < MOST, "no end in sight at {at}");
    }
}

impl Observer for Watch {
    fn run_ended(&mut self, record: &sim::RunRecord) {
        self.count(record.end);
    }

    fn transfer_ended(&mut self, record: &sim::TransferRecord) {
        self.count(record.end);
    }

    fn request_ended(&mut self, record: &Record) {
        assert!(record.end >= record.arrival);
        if let (Some(first), Outcome::Completed) = (record.first_token, record.outcome) {
            assert!(record.admitted.is_some_and(|admitted| admitted <= first) && first <= record.end);
        }
        self.records.push(record.clone());
    }
}

/// When everything that has broken works again.
const HEALED: Seconds = Seconds::new(15.0);

/// The faults with all of them mended in the end.
fn healed(mut faults: Vec<Fault>) -> Vec<Fault> {
    for fault in &mut faults {
        if let FaultKind::Fail { repairable, .. } = &mut fault.kind {
            *repairable = true;
        }
    }
    let every: Vec<InstanceId> = (0..16).map(InstanceId).collect();
    let mended = |kind| Fault { at: HEALED, kind };
    faults.extend(every.iter().map(|instance| mended(FaultKind::Repair { instance: *instance })));
    faults.push(mended(FaultKind::Links { instances: every, share: 1.0 }));
    faults
}

fn run(seed: u64, exact: bool) -> Result<(Totals, Vec<Record>), sim::SimError> {
    run_until(seed, exact, false)
}

/// Runs a seed; with `heals`, everything is mended in the end and nobody is turned away or goes away.
fn run_until(seed: u64, exact: bool, heals: bool) -> Result<(Totals, Vec<Record>), sim::SimError> {
    let mut draw = Draw(stream(seed, "swarm"));
    let mut deployments: Vec<DeploymentConfig> = (0..draw.whole(1, 2)).map(|_| draw.deployment()).collect();
    let mut tenants = BTreeMap::from([(
        2,
        Tenant { weight: 2.0, rate: draw.chance(0.3).then_some(PerSecond::new(5.0)), ..Tenant::default() },
    )]);
    if heals {
        tenants.values_mut().for_each(|tenant| tenant.rate = None);
        for deployment in &mut deployments {
            deployment.admission.queue_limit = None;
            deployment.recovery.retries = u8::MAX;
        }
    }
    let pools: usize = deployments.iter().map(|deployment| deployment.pools.len()).sum();
    let tier = TierPort {
        reader: BytesPerSecond::new(50e9),
        total: BytesPerSecond::new(60e9),
        latency: Seconds::from_us(50.0),
    };
    let options = Options {
        exact,
        checks: true,
        first_token: draw.of(&[FirstToken::Prefill, FirstToken::Decode]),
        ports: vec![
            PortConfig { fabric: BytesPerSecond::new(draw.real(1e9, 1e11)), ..PortConfig::default() };
            pools
        ],
        tiers: vec![vec![tier; 2]; deployments.len()],
        ingress: vec![sim::Ingress {
            request: Seconds::from_ms(draw.real(0.0, 3.0)),
            ..sim::Ingress::default()
        }],
        faults: if heals { healed(draw.faults()) } else { draw.faults() },
        until: draw.chance(0.1).then_some(Seconds::new(2.0)).filter(|_| !heals),
        ..Options::default()
    };
    let source = draw.source(seed);
    let source = Impatient(source, stream(seed, "patience"), draw.chance(0.4) && !heals);
    let config = ClusterConfig { deployments, tenants, seed };
    let pricers = vec![Roofline::default(); pools];
    let (totals, watch) = Simulation::new(config, pricers, source, Watch::default(), options)?.run()?;
    Ok((totals, watch.records))
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn laws_1_2_5_hold_whatever_happens() {
    let from = setting("SUPERNODE_SWARM_FROM", 0);
    let (mut completed, mut rejected, mut cancelled, mut restarted) = (0, 0, 0, 0);
    for seed in from..from + setting("SUPERNODE_SWARM_SEEDS", 2000) {
        if from > 0 {
            println!("seed {seed}");
        }
        let outcome = std::panic::catch_unwind(|| run(seed, false));
        let (totals, records) = match outcome {
            Ok(Ok(done)) => done,
            Ok(Err(error)) => panic!("seed {seed}: {error}"),
            Err(_) => panic!("seed {seed} panicked"),
        };
        assert_eq!(totals.arrived, records.len() as u64, "seed {seed}");
        completed += totals.completed;
        rejected += totals.rejected;
        cancelled += totals.cancelled;
        restarted += records.iter().filter(|record| record.restarts > 0).count();
    }
    println!("{completed} completed, {rejected} rejected, {cancelled} cancelled, {restarted} restarted");
    if from == 0 {
        assert!(
            completed > 0 && rejected > 0 && cancelled > 0 && restarted > 0,
            "the swarm reaches every ending"
        );
    }
}

/// Liveness: once everything is mended, all that waits completes but what no instance could ever hold.
#[test]
fn what_waits_completes_once_everything_is_mended() {
    let from = setting("SUPERNODE_SWARM_FROM", 0);
    let (mut waited, mut completed) = (0, 0);
    for seed in from..from + setting("SUPERNODE_SWARM_SEEDS", 1000) {
        let (totals, records) =
            run_until(seed, false, true).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(totals.arrived, records.len() as u64, "seed {seed}");
        for record in &records {
            let ended = match record.outcome {
                Outcome::Completed => true,
                Outcome::Rejected(reason) => matches!(
                    reason,
                    Reason::LongerThanContext
                        | Reason::LongerThanKv
                        | Reason::OutgrewKv
                        | Reason::UnknownDeployment
                ),
                Outcome::Cancelled => false,
            };
            assert!(ended, "seed {seed}: {record:?}");
        }
        completed += totals.completed;
        let late = |record: &&Record| record.arrival < HEALED && record.end > HEALED;
        waited += records.iter().filter(late).count();
    }
    assert!(from > 0 || completed > 0 && waited > 0, "{waited} of {completed} waited for it");
}

/// Two sequences on one rank, swapped out, each without the block for its next token: they must not swap for ever.
#[test]
fn sequences_that_are_swapped_back_gain_a_token_before_they_are_swapped_again() {
    let (totals, _) = run(27402, false).unwrap();
    assert!(totals.events < 10_000, "{} events", totals.events);
}

/// A client goes away while the instance it is on drains to change its role, and with it its token clock.
#[test]
fn tokens_are_counted_to_the_end_on_an_instance_that_changes_its_role() {
    let (_, records) = run(3696, false).unwrap();
    assert!(records.iter().all(|record| record.output < 100_000));
}

#[test]
fn law_3_the_same_seed_gives_the_same_records() {
    for seed in 0..50 {
        assert_eq!(run(seed, false).unwrap().1, run(seed, false).unwrap().1, "seed {seed}");
    }
}
