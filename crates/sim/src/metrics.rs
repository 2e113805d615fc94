//! What a run amounts to: latencies, throughput, goodput, use of resources, energy, failures.

use crate::record::{Observer, Outcome, Record, RunRecord, TransferRecord};
use crate::sketch::Sketch;
use crate::timeline::{Bin, Timeline};
use serving::{InstanceId, InstanceState, Reason};
use std::collections::BTreeMap;
use units::{Bytes, Joules, Seconds, Watts};

/// What a request must meet to count as goodput.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Slo {
    /// Time to first token.
    pub ttft: Option<Seconds>,
    /// Time per output token.
    pub tpot: Option<Seconds>,
    /// End-to-end latency.
    pub e2e: Option<Seconds>,
}

impl Slo {
    fn met(&self, record: &Record) -> bool {
        let within = |limit: Option<Seconds>, value: Option<Seconds>| match (limit, value) {
            (Some(limit), Some(value)) => value <= limit,
            _ => true,
        };
        within(self.ttft, record.ttft())
            && within(self.tpot, record.tpot())
            && within(self.e2e, Some(record.e2e()))
    }
}

/// Use of one instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// Its pool.
    pub pool: u32,
    /// Time in runs.
    pub busy: Seconds,
    /// Time since it was added, until it was removed.
    pub alive: Seconds,
    /// Energy of its runs.
    pub energy: Joules,
    /// Prompt tokens computed.
    pub prefill_tokens: u64,
    /// Time integral of sequences in decode batches.
    pub batch_time: f64,
    /// Steps run.
    pub steps: u64,
    /// Time integral, over runs, of the share of KV blocks that sequences hold.
    pub kv_time: Seconds,
    /// The highest such share at the end of a run.
    pub kv_peak: f64,
    since: Option<Seconds>,
    state: Option<InstanceState>,
}

/// Counts of one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TenantCount {
    /// Completed requests.
    pub completed: u64,
    /// Requests turned away or given up.
    pub rejected: u64,
    /// Output tokens.
    pub output: u64,
    /// Sum of times to first token, for the mean.
    pub ttft: Seconds,
}

/// What the requests of one deployment got.
#[derive(Debug, Clone, Default)]
pub struct Service {
    /// Time to first token, seconds.
    pub ttft: Sketch,
    /// Time per output token, seconds.
    pub tpot: Sketch,
    /// End-to-end latency, seconds.
    pub e2e: Sketch,
    /// Measured requests that completed.
    pub completed: u64,
    /// Of those, the ones that met every objective.
    pub good: u64,
    /// Requests turned away or given up.
    pub rejected: u64,
    /// Output tokens of measured completed requests.
    pub output_tokens: u64,
    /// Last measured end.
    pub last: Seconds,
}

impl Service {
    fn completed(&mut self, record: &Record, good: bool) {
        self.completed += 1;
        self.good += u64::from(good);
        self.output_tokens += u64::from(record.output);
        self.last = self.last.max(record.end);
        record.ttft().into_iter().for_each(|time| self.ttft.add(time.get()));
        record.tpot().into_iter().for_each(|time| self.tpot.add(time.get()));
        self.e2e.add(record.e2e().get());
    }
}

/// Collects everything that is reported of a run, in memory that does not grow with it.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// What counts as good.
    pub slo: Slo,
    /// Time to first token, seconds.
    pub ttft: Sketch,
    /// Time per output token, seconds, by request.
    pub tpot: Sketch,
    /// Time between tokens, seconds, by token.
    pub itl: Sketch,
    /// End-to-end latency, seconds.
    pub e2e: Sketch,
    /// Time in queues before the first admission, seconds.
    pub queue: Sketch,
    /// Measured requests that completed.
    pub completed: u64,
    /// Of those, the ones that met every objective.
    pub good: u64,
    /// Requests that completed but do not count (warm-up).
    pub warm_up: u64,
    /// Requests turned away or given up, by reason.
    pub rejected: BTreeMap<Reason, u64>,
    /// Requests whose clients went away.
    pub cancelled: u64,
    /// Prompt tokens of measured completed requests.
    pub input_tokens: u64,
    /// Output tokens of measured completed requests.
    pub output_tokens: u64,
    /// Of those prompt tokens, the ones found in the prefix cache on the device.
    pub cached_tokens: u64,
    /// And those fetched from slower tiers, by pool and tier.
    pub fetched_bytes: BTreeMap<(u32, u32), Bytes>,
    /// Tokens fetched from slower tiers.
    pub fetched_tokens: u64,
    /// Preemptions and losses.
    pub restarts: u64,
    /// Tokens whose KV was lost and computed again.
    pub lost_tokens: u64,
    /// KV moved between instances and from tiers.
    pub moved: Bytes,
    /// Transfers.
    pub transfers: u64,
    /// First measured arrival.
    pub first: Option<Seconds>,
    /// Last measured end.
    pub last: Seconds,
    /// End of the run.
    pub end: Seconds,
    /// Use by instance.
    pub usage: BTreeMap<InstanceId, Usage>,
    /// What happened when.
    pub timeline: Timeline,
    /// Tenants.
    pub tenants: BTreeMap<u32, TenantCount>,
    /// Deployments, where there are several.
    pub deployments: Vec<Service>,
    /// Failures of instances, in whole or of some ranks.
    pub failures: u64,
    /// What a user should know of the workload.
    pub notes: Vec<String>,
    /// Highest power over a timeline bin is taken from here: idle power by pool.
    pub idle_power: Vec<Watts>,
}

impl Metrics {
    /// For a run of `deployments` deployments with these objectives; `idle_power` is what an idle instance of each pool
    /// draws.
    pub fn new(slo: Slo, idle_power: Vec<Watts>, deployments: usize) -> Self {
        let apart = if deployments > 1 { deployments } else { 0 };
        Self { slo, idle_power, deployments: vec![Service::default(); apart], ..Self::default() }
    }

    /// Closes the books at the end of the run.
    pub fn finish(&mut self, end: Seconds) {
        self.end = end;
        for usage in self.usage.values_mut() {
            if let Some(since) = usage.since.take() {
                usage.alive += end - since;
            }
        }
    }

    /// Time from the first measured arrival to the last measured end.
    pub fn duration(&self) -> Seconds {
        self.last - self.first.unwrap_or(self.last)
    }

    /// Energy of an instance: of its runs, and idle the rest of its life.
    pub fn energy_of(&self, usage: &Usage) -> Joules {
        let idle = self.idle_power.get(usage.pool as usize).copied().unwrap_or_default();
        usage.energy + idle * (usage.alive - usage.busy).max(Seconds::ZERO)
    }

    /// Energy of all instances.
    pub fn energy(&self) -> Joules {
        self.usage.values().map(|usage| self.energy_of(usage)).sum()
    }

    /// The highest mean power over a bin of the timeline.
    pub fn peak_power(&self) -> Watts {
        let idle: Vec<(f64, f64)> = self
            .usage
            .values()
            .map(|usage| {
                let idle = self.idle_power.get(usage.pool as usize).copied().unwrap_or_default().get();
                (idle, usage.alive.get() / self.end.get().max(1e-9))
            })
            .collect();
        let (idle, alive) =
            idle.iter().fold((0.0, 0.0), |sum, (idle, alive)| (sum.0 + idle * alive, sum.1 + alive));
        let per_busy = if alive > 0.0 { idle / alive } else { 0.0 };
        let width = self.timeline.width().get();
        let power = |bin: &Bin| (bin.energy + idle * width - per_busy * bin.busy) / width;
        Watts::new(self.timeline.bins(self.end).iter().map(power).fold(0.0, f64::max))
    }
}

impl Observer for Metrics {
    fn request_ended(&mut self, record: &Record) {
        self.restarts += u64::from(record.restarts);
        self.timeline.at(record.arrival, &Bin { arrived: 1.0, ..Bin::default() });
        let tenant = self.tenants.entry(record.tenant).or_default();
        match record.outcome {
            Outcome::Completed => {}
            Outcome::Rejected(reason) => {
                *self.rejected.entry(reason).or_default() += 1;
                tenant.rejected += 1;
                if let Some(service) = self.deployments.get_mut(record.deployment as usize) {
                    service.rejected += 1;
                }
                return;
            }
            Outcome::Cancelled => {
                self.cancelled += 1;
                return;
            }
        }
        tenant.completed += 1;
        tenant.output += u64::from(record.output);
        tenant.ttft += record.ttft().unwrap_or_default();
        self.timeline.at(record.end, &Bin { completed: 1.0, ..Bin::default() });
        if !record.measured {
            self.warm_up += 1;
            return;
        }
        let good = self.slo.met(record);
        self.completed += 1;
        self.good += u64::from(good);
        if let Some(service) = self.deployments.get_mut(record.deployment as usize) {
            service.completed(record, good);
        }
        self.cached_tokens += u64::from(record.cached);
        self.fetched_tokens += u64::from(record.fetched);
        self.input_tokens += u64::from(record.input);
        self.output_tokens += u64::from(record.output);
        self.first = Some(self.first.map_or(record.arrival, |first| first.min(record.arrival)));
        self.last = self.last.max(record.end);
        let add = |sketch: &mut Sketch, value: Option<Seconds>| {
            if let Some(value) = value {
                sketch.add(value.get());
            }
        };
        add(&mut self.ttft, record.ttft());
        add(&mut self.tpot, record.tpot());
        add(&mut self.e2e, Some(record.e2e()));
        add(&mut self.queue, record.queued());
    }

    fn run_ended(&mut self, record: &RunRecord) {
        let time = record.end - record.start;
        let run = &record.run;
        let (steps, seqs) = (f64::from(record.steps), f64::from(run.decode_seqs));
        if let Some(usage) = self.usage.get_mut(&record.instance) {
            usage.busy += time;
            usage.energy += record.energy;
            usage.prefill_tokens += u64::from(run.prefill_tokens);
            usage.batch_time += seqs * time.get();
            usage.steps += u64::from(record.steps);
            usage.kv_time += time * record.kv_used;
            usage.kv_peak = usage.kv_peak.max(record.kv_used);
        }
        if run.decode_seqs > 0 {
            self.itl.add_weighted((record.span.step_time(0) + record.stall).get(), seqs);
            for (time, count) in record.span.groups(1, record.steps) {
                self.itl.add_weighted(time.get(), seqs * f64::from(count));
            }
        }
        let bin = Bin {
            output: steps * seqs,
            prefill: f64::from(run.prefill_tokens),
            energy: record.energy.get(),
            waiting: f64::from(record.waiting) * time.get(),
            running: seqs * time.get(),
            kv: record.kv_used * time.get(),
            busy: time.get(),
            ..Bin::default()
        };
        self.timeline.between(record.start, record.end, &bin);
    }

    fn transfer_ended(&mut self, record: &TransferRecord) {
        self.moved += record.bytes;
        self.transfers += 1;
        if let Some(tier) = record.tier {
            let pool = self.usage.get(&record.to).map_or(0, |usage| usage.pool);
            *self.fetched_bytes.entry((pool, tier)).or_default() += record.bytes;
        }
    }

    fn instance_changed(&mut self, instance: InstanceId, pool: u32, state: InstanceState, at: Seconds) {
        let usage = self.usage.entry(instance).or_insert(Usage {
            pool,
            busy: Seconds::ZERO,
            alive: Seconds::ZERO,
            energy: Joules::ZERO,
            prefill_tokens: 0,
            batch_time: 0.0,
            steps: 0,
            kv_time: Seconds::ZERO,
            kv_peak: 0.0,
            since: Some(at),
            state: None,
        });
        usage.pool = pool;
        // An instance that goes on without its dead ranks pauses first; one that nobody mends is gone at once.
        let broken = match state {
            InstanceState::Failed => true,
            InstanceState::Loading | InstanceState::Removed => usage.state == Some(InstanceState::Active),
            InstanceState::Active | InstanceState::Draining => false,
        };
        usage.state = Some(state);
        self.failures += u64::from(broken);
        if state == InstanceState::Removed {
            if let Some(since) = usage.since.take() {
                usage.alive += at - since;
            }
        }
    }

    fn tokens_lost(&mut self, tokens: u64) {
        self.lost_tokens += tokens;
    }

    fn noted(&mut self, note: &str) {
        self.notes.push(note.to_owned());
    }

    fn wants_kv(&self, _: Seconds) -> bool {
        true
    }
}
