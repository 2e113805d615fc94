//! What a closed-loop benchmark measures: so many users on one instance, or on prefill and decode instances.

use crate::driver::Simulation;
use crate::record::{Observer, Outcome, Record};
use crate::wiring::PortConfig;
use crate::world::{FirstToken, Ingress, Options, SimError};
use serving::{
    Admission, ClusterConfig, DeploymentConfig, EngineLimits, LoadTime, PoolConfig, Recovery, Role,
    RouterPolicy,
};
use steps::StepPricer;
use units::{PerSecond, Seconds, TokensPerSecond};
use workload::Lengths;

/// Time that a benchmark client, one process, takes to send a request.
const PACE: Seconds = Seconds::new(2e-3);

/// A benchmark client.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClosedLoop {
    /// Requests in flight.
    pub users: u32,
    /// Nominal prompt length in tokens.
    pub isl: u32,
    /// Nominal output length in tokens, which is forced.
    pub osl: u32,
    /// Lengths are uniform in `[spread * nominal, nominal]`; one is fixed.
    pub spread: f64,
    /// Requests per user.
    pub rounds: f64,
    /// What a request passes in front of the engine.
    pub ingress: Ingress,
    /// What the client takes to send one request before the next.
    pub pace: Seconds,
    /// Seed of the lengths.
    pub seed: u64,
}

impl ClosedLoop {
    /// As InferenceX measures: ten requests per user, all users starting at once. The requests that warm the server up
    /// have ended before the first of these is sent.
    pub fn inference_x(users: u32, isl: u32, osl: u32, spread: f64) -> Self {
        Self { users, isl, osl, spread, rounds: 10.0, ingress: Ingress::default(), pace: PACE, seed: 0 }
    }
}

/// What the client measured.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ClosedLoopResult {
    /// Mean time to first token.
    pub mean_ttft: Seconds,
    /// Median time to first token.
    pub median_ttft: Seconds,
    /// Mean over requests of the time per output token.
    pub mean_tpot: Seconds,
    /// Median over requests of the time per output token.
    pub median_tpot: Seconds,
    /// Mean latency of a request.
    pub mean_e2e: Seconds,
    /// Output tokens per second of the measured requests, all instances together.
    pub output_throughput: TokensPerSecond,
    /// Measured requests per second.
    pub request_throughput: PerSecond,
    /// Measured requests that completed.
    pub completed: u64,
    /// Requests that did not.
    pub failed: u64,
}

/// Instances of one role for [`closed_loop_disaggregated`].
#[derive(Debug, Clone, PartialEq)]
pub struct PoolSetting<P> {
    /// The price of a step.
    pub pricer: P,
    /// Engine settings.
    pub limits: EngineLimits,
    /// How many.
    pub instances: u32,
    /// Ports of each.
    pub port: PortConfig,
}

/// Runs a closed loop on one aggregated instance.
///
/// # Errors
/// Engine settings that cannot work.
pub fn closed_loop<P: StepPricer>(
    pricer: &P,
    limits: &EngineLimits,
    client: &ClosedLoop,
) -> Result<ClosedLoopResult, SimError> {
    let pool = pool("aggregated", Role::Aggregated, limits.clone(), 1);
    run(vec![pool], vec![pricer], Vec::new(), FirstToken::Prefill, client)
}

/// Runs a closed loop on prefill and decode instances with a hand-off of KV.
///
/// # Errors
/// Engine settings that cannot work.
pub fn closed_loop_disaggregated<P: StepPricer>(
    prefill: &PoolSetting<P>,
    decode: &PoolSetting<P>,
    first_token: FirstToken,
    client: &ClosedLoop,
) -> Result<ClosedLoopResult, SimError> {
    let pools = vec![
        pool("prefill", Role::Prefill, prefill.limits.clone(), prefill.instances),
        pool("decode", Role::Decode, decode.limits.clone(), decode.instances),
    ];
    let ports = vec![prefill.port, decode.port];
    run(pools, vec![&prefill.pricer, &decode.pricer], ports, first_token, client)
}

/// Runs a closed loop on the pools of one deployment, with a pricer and the ports of each.
///
/// # Errors
/// Engine settings that cannot work.
pub fn closed_loop_deployment<P: StepPricer>(
    pools: Vec<PoolConfig>,
    pricers: Vec<&P>,
    ports: Vec<PortConfig>,
    first_token: FirstToken,
    client: &ClosedLoop,
) -> Result<ClosedLoopResult, SimError> {
    run(pools, pricers, ports, first_token, client)
}

fn pool(name: &str, role: Role, limits: EngineLimits, instances: u32) -> PoolConfig {
    PoolConfig {
        name: name.to_owned(),
        role,
        limits,
        instances,
        router: RouterPolicy::LeastRequests,
        load: LoadTime { warm: Seconds::ZERO, cold: Seconds::ZERO },
        scaling: None,
    }
}

fn run<P: StepPricer>(
    pools: Vec<PoolConfig>,
    pricers: Vec<&P>,
    ports: Vec<PortConfig>,
    first_token: FirstToken,
    client: &ClosedLoop,
) -> Result<ClosedLoopResult, SimError> {
    let deployment = DeploymentConfig {
        name: "benchmark".to_owned(),
        pools,
        tiers: Vec::new(),
        admission: Admission::default(),
        recovery: Recovery::default(),
    };
    let config = ClusterConfig { deployments: vec![deployment], ..ClusterConfig::default() };
    let users = f64::from(client.users);
    let source = workload::ClosedLoop::new(
        client.users,
        0,
        (client.rounds * users).round().max(1.0) as u64,
        Lengths::spread(client.isl, client.spread),
        Lengths::spread(client.osl, client.spread),
        client.seed,
    )
    .paced(client.pace);
    let options = Options { ports, first_token, ingress: vec![client.ingress], ..Options::default() };
    let simulation = Simulation::new(config, pricers, source, Tally::default(), options)?;
    let (_, tally) = simulation.run()?;
    Ok(tally.result())
}

#[derive(Debug, Default)]
struct Tally {
    ttft: Vec<f64>,
    tpot: Vec<f64>,
    e2e: f64,
    tokens: u64,
    first: Option<f64>,
    last: f64,
    failed: u64,
}

impl Observer for Tally {
    fn request_ended(&mut self, record: &Record) {
        if record.outcome != Outcome::Completed {
            self.failed += 1;
            return;
        }
        if !record.measured {
            return;
        }
        self.ttft.extend(record.ttft().map(Seconds::get));
        self.tpot.extend(record.tpot().map(Seconds::get));
        self.e2e += record.e2e().get();
        self.tokens += u64::from(record.output);
        let arrival = record.arrival.get();
        self.first = Some(self.first.map_or(arrival, |first| first.min(arrival)));
        self.last = self.last.max(record.end.get());
    }
}

impl Tally {
    fn result(mut self) -> ClosedLoopResult {
        let completed = self.ttft.len() as u64;
        let span = self.last - self.first.unwrap_or(0.0);
        let per_second = |count: f64| if span > 0.0 { count / span } else { 0.0 };
        ClosedLoopResult {
            mean_ttft: mean(&self.ttft),
            median_ttft: median(&mut self.ttft),
            mean_tpot: mean(&self.tpot),
            median_tpot: median(&mut self.tpot),
            mean_e2e: Seconds::new(if completed == 0 { 0.0 } else { self.e2e / completed as f64 }),
            output_throughput: TokensPerSecond::new(per_second(self.tokens as f64)),
            request_throughput: PerSecond::new(per_second(completed as f64)),
            completed,
            failed: self.failed,
        }
    }
}

fn mean(values: &[f64]) -> Seconds {
    Seconds::new(if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 })
}

fn median(values: &mut [f64]) -> Seconds {
    if values.is_empty() {
        return Seconds::ZERO;
    }
    let even = values.len() % 2 == 0;
    let middle = values.len() / 2;
    let (below, at, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Seconds::new(if even { f64::midpoint(lower, *at) } else { *at })
}
