//! A plan in the request-level simulator: does it do what it says?
//!
//! The deployment's users each send their next request when the last one ends. They start one after another over the
//! time of a request and their lengths vary, so that requests do not march in step. Equal parts of a deployment do the
//! same, so that the smallest part with whole instances of each pool stands for all.

use super::job::{Job, VARIATION};
use super::settle::{Planned, SettledPool};
use crate::plan_file::{SimulatedFile, Value};
use cost::step::StepModel;
use instance::Pool;
use rand::Rng;
use serving::{Admission, ClusterConfig, DeploymentConfig, Recovery, Role};
use sim::{Observer, Options, Record, SimError, Simulation};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use units::Seconds;
use workload::{Arrival, Source, WorkloadError};

/// Requests that are counted, at least.
const COUNTED: f64 = 2000.0;

/// Times of a request that pass before any counts: in the first the users start, in the second their requests spread.
const SETTLED: f64 = 2.0;

/// Runs `planned` until its figures have settled; nothing where `cancel` is set before they have.
///
/// # Errors
/// A defect: the plan's settings do not make an engine.
pub fn confirm(planned: &Planned, job: &Job, cancel: &AtomicBool) -> Result<Option<SimulatedFile>, SimError> {
    let stop = Arc::new(AtomicBool::new(false));
    let parts = planned.pools.iter().map(|pool| pool.side.instances).fold(0, greatest_common_divisor).max(1);
    let detail = &planned.detail;
    let request = detail.ttft + detail.tpot * job.work.after_first();
    let users = (detail.rate * request / f64::from(parts)).round().max(1.0);
    // Each user sends about one request per `request` seconds.
    let rounds = (COUNTED / users).max(1.0);
    let from = Seconds::new(request * SETTLED);
    let until = from + Seconds::new(request * rounds);
    let source = Users {
        due: (0..users as u32).map(|user| Seconds::new(request * f64::from(user) / users)).collect(),
        sent: 0,
        cancel,
        stop: Arc::clone(&stop),
        lengths: job.lengths.clone(),
        means: (job.work.prompt(), job.work.output),
        cached: job.work.cached / job.work.prompt(),
        random: rand_pcg::Pcg64::new(0x5eed, 0x9e37_79b9_7f4a_7c15),
    };
    let apart = planned.pools.len() > 1;
    let pools: Vec<Pool> = planned.pools.iter().map(|pool| running(pool, apart)).collect();
    // Wired as a whole: a part keeps the ports that the whole deployment's span gives it.
    let mut wired = instance::wire(&pools, job.work.held);
    wired.ingress.tokenisers /= parts;
    for pool in &mut wired.pools {
        pool.instances /= parts;
    }
    let deployment = DeploymentConfig {
        name: "plan".to_owned(),
        pools: wired.pools,
        tiers: Vec::new(),
        admission: Admission::default(),
        recovery: Recovery::default(),
    };
    let options = Options {
        ports: wired.ports,
        first_token: instance::FIRST_TOKEN,
        ingress: vec![wired.ingress],
        until: Some(until),
        stop: Some(Arc::clone(&stop)),
        ..Options::default()
    };
    let config = ClusterConfig { deployments: vec![deployment], ..ClusterConfig::default() };
    let pricers: Vec<Arc<StepModel>> = planned.pools.iter().map(|pool| Arc::clone(&pool.model)).collect();
    let window = Window { from, until, ..Window::default() };
    let (_, window) = Simulation::new(config, pricers, source, window, options)?.run()?;
    if stop.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let throughput = window.tokens / (until - from).get() * f64::from(parts);
    let mean = |sum: f64| Value::new(sum / window.requests.max(1) as f64, "s");
    Ok(Some(SimulatedFile {
        throughput: Value::new(throughput, "tokens/s"),
        ttft: mean(window.ttft),
        tpot: mean(window.tpot),
        requests: window.requests,
        deviation: throughput / planned.file.predicted.throughput.value - 1.0,
    }))
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

fn running(pool: &SettledPool, apart: bool) -> Pool {
    let role = match (apart, pool.side.batch) {
        (false, _) => Role::Aggregated,
        (true, 0) => Role::Prefill,
        (true, _) => Role::Decode,
    };
    Pool::new(role, Arc::clone(&pool.model), pool.side.instances)
}

/// Users that start one after another.
struct Users<'a> {
    /// Set from outside to stop.
    cancel: &'a AtomicBool,
    /// Set to stop the run.
    stop: Arc<AtomicBool>,
    due: VecDeque<Seconds>,
    sent: u64,
    lengths: Option<Arc<Vec<(u32, u32)>>>,
    means: (f64, f64),
    cached: f64,
    random: rand_pcg::Pcg64,
}

impl Users<'_> {
    fn draw(&mut self) -> (u32, u32) {
        let (input, output) = match self.lengths.as_ref().filter(|lengths| !lengths.is_empty()) {
            Some(lengths) => lengths[self.random.random_range(0..lengths.len())],
            None => {
                let mut around = |mean: f64| {
                    (mean * self.random.random_range(1.0 - VARIATION..=1.0 + VARIATION)).round() as u32
                };
                (around(self.means.0), around(self.means.1))
            }
        };
        // Tokens from a cache are not computed: the prompt is shorter by them.
        let computed = f64::from(input) * (1.0 - self.cached);
        ((computed.round() as u32).max(1), output.max(1))
    }
}

impl Source for Users<'_> {
    fn peek(&mut self) -> Result<Option<Seconds>, WorkloadError> {
        if self.cancel.load(Ordering::Relaxed) {
            self.stop.store(true, Ordering::Relaxed);
        }
        Ok(self.due.front().copied())
    }

    fn pop(&mut self) -> Result<Option<Arrival>, WorkloadError> {
        let Some(at) = self.due.pop_front() else { return Ok(None) };
        let (input, output) = self.draw();
        let ticket = self.sent;
        self.sent += 1;
        Ok(Some(Arrival { at, input, output, ticket, measured: true, ..Arrival::default() }))
    }

    /// The users that have not started yet come later than whoever is done now only by the order of the queue.
    fn ended(&mut self, _ticket: u64, at: Seconds) {
        let place = self.due.partition_point(|due| *due <= at);
        self.due.insert(place, at);
    }
}

/// Counts what ends in a window of time.
#[derive(Default)]
struct Window {
    from: Seconds,
    until: Seconds,
    tokens: f64,
    requests: u64,
    ttft: f64,
    tpot: f64,
}

impl Observer for Window {
    fn request_ended(&mut self, record: &Record) {
        let inside = record.end >= self.from && record.end <= self.until;
        if !inside || record.outcome != sim::Outcome::Completed {
            return;
        }
        self.requests += 1;
        self.tokens += f64::from(record.output);
        self.ttft += record.ttft().map_or(0.0, Seconds::get);
        self.tpot += record.tpot().map_or(0.0, Seconds::get);
    }
}
