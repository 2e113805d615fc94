//! What is measured of each instance, in virtual time: the same numbers live and in a replay.

use serving::{Action, InstanceId, InstanceState, Nanos};
use sim::{Observer, Outcome, Record, RunRecord, TransferRecord};
use units::{Bytes, Joules, Seconds, Watts};

/// Upper bounds of the buckets of times to first token, seconds: vLLM's.
pub const TTFT: [f64; 22] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
];

/// Upper bounds of the buckets of times per output token, seconds: vLLM's.
pub const TPOT: [f64; 19] = [
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
];

/// Upper bounds of the buckets of whole requests and their parts, seconds: vLLM's.
pub const E2E: [f64; 21] = [
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0,
    960.0, 1920.0, 7680.0,
];

/// Upper bounds of the buckets of token counts: 1, 2 and 5 times powers of ten.
pub const TOKENS: [f64; 17] =
    [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5];

/// A histogram with fixed bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Upper bounds of the buckets but the last.
    pub bounds: &'static [f64],
    /// Values by bucket; one more than bounds.
    pub counts: Vec<u64>,
    /// Sum of all values.
    pub sum: f64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    fn add(&mut self, value: f64, times: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket] += times;
        self.sum += value * times as f64;
    }

    /// Values altogether.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The value below which a share `q` of all lies, as Prometheus' `histogram_quantile` has it: even inside a bucket.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let rank = q * self.count() as f64;
        let (mut below, mut lower) = (0.0, 0.0);
        for (count, bound) in self.counts.iter().zip(self.bounds) {
            let count = *count as f64;
            if count > 0.0 && below + count >= rank {
                return Some(lower + (bound - lower) * ((rank - below) / count));
            }
            (below, lower) = (below + count, *bound);
        }
        (self.count() > 0).then_some(lower)
    }
}

/// What one instance has done.
#[derive(Debug, Clone)]
pub struct Meter {
    /// Its pool.
    pub pool: u32,
    /// What it is doing with its life.
    pub state: InstanceState,
    /// Draw of its chips while no step runs.
    pub idle: Watts,
    /// Energy of its steps.
    pub energy: Joules,
    /// Time in steps.
    pub busy: Seconds,
    /// Time it was up until it last changed its state.
    alive: Seconds,
    /// Since when it has been up, while it is.
    since: Option<Seconds>,
    /// Mean draw while its last run lasted.
    pub power: Watts,
    /// When that run ended.
    pub last: Seconds,
    /// Prompt tokens computed or found.
    pub prompt_tokens: u64,
    /// Output tokens.
    pub generation_tokens: u64,
    /// Prompt tokens looked for in the prefix cache.
    pub prefix_queries: u64,
    /// Prompt tokens found there.
    pub prefix_hits: u64,
    /// Prompt tokens fetched from slower tiers.
    pub fetched: u64,
    /// Sequences that lost their place.
    pub preemptions: u64,
    /// Requests that ended here by themselves.
    pub stopped: u64,
    /// Requests that ended here at the client's limit.
    pub at_length: u64,
    /// Requests whose clients went away.
    pub aborted: u64,
    /// Steps run.
    pub steps: u64,
    /// Time to first token, seconds.
    pub ttft: Histogram,
    /// Time between tokens, seconds.
    pub itl: Histogram,
    /// Mean time per output token of a request, seconds.
    pub tpot: Histogram,
    /// End to end, seconds.
    pub e2e: Histogram,
    /// In the queue, seconds.
    pub queue: Histogram,
    /// From leaving the queue to the first token, seconds.
    pub prefill: Histogram,
    /// From the first token to the end, seconds.
    pub decode: Histogram,
    /// Prompt lengths.
    pub prompts: Histogram,
    /// Output lengths.
    pub outputs: Histogram,
}

impl Meter {
    fn new(pool: u32, idle: Watts) -> Self {
        Self {
            pool,
            state: InstanceState::Loading,
            idle,
            energy: Joules::ZERO,
            busy: Seconds::ZERO,
            alive: Seconds::ZERO,
            since: None,
            power: Watts::ZERO,
            last: Seconds::ZERO,
            prompt_tokens: 0,
            generation_tokens: 0,
            prefix_queries: 0,
            prefix_hits: 0,
            fetched: 0,
            preemptions: 0,
            stopped: 0,
            at_length: 0,
            aborted: 0,
            steps: 0,
            ttft: Histogram::new(&TTFT),
            itl: Histogram::new(&TPOT),
            tpot: Histogram::new(&TPOT),
            e2e: Histogram::new(&E2E),
            queue: Histogram::new(&E2E),
            prefill: Histogram::new(&E2E),
            decode: Histogram::new(&E2E),
            prompts: Histogram::new(&TOKENS),
            outputs: Histogram::new(&TOKENS),
        }
    }

    /// Energy of the instance's chips up to `now`: its steps, and the draw of idle chips while it was up without one.
    pub fn energy_at(&self, now: Seconds) -> Joules {
        let alive = self.alive + self.since.map_or(Seconds::ZERO, |since| (now - since).max(Seconds::ZERO));
        self.energy + self.idle * (alive - self.busy).max(Seconds::ZERO)
    }

    /// Draw of its chips: of the last run while one is under way, else of idle chips; nothing while it is broken or gone.
    pub fn power_now(&self, runs: bool) -> Watts {
        match (self.state, runs) {
            (InstanceState::Failed | InstanceState::Removed, _) => Watts::ZERO,
            (_, true) if self.power > Watts::ZERO => self.power,
            _ => self.idle,
        }
    }

    fn completed(&mut self, record: &Record, at_length: bool) {
        if at_length {
            self.at_length += 1
        } else {
            self.stopped += 1
        }
        let seconds = |time: Option<Seconds>| time.map(Seconds::get);
        let first = record.first_token;
        seconds(record.ttft()).into_iter().for_each(|time| self.ttft.add(time, 1));
        seconds(record.tpot()).into_iter().for_each(|time| self.tpot.add(time, 1));
        seconds(record.queued()).into_iter().for_each(|time| self.queue.add(time, 1));
        self.e2e.add(record.e2e().get(), 1);
        if let (Some(first), Some(admitted)) = (first, record.admitted) {
            self.prefill.add((first - admitted).get().max(0.0), 1);
            self.decode.add((record.end - first).get(), 1);
        }
        self.prompts.add(f64::from(record.input), 1);
        self.outputs.add(f64::from(record.output), 1);
    }
}

/// Everything measured.
#[derive(Debug, Clone, Default)]
pub struct Meters {
    idle: Vec<Watts>,
    /// By instance.
    pub instances: Vec<Meter>,
    /// Requests that ended, in whatever way.
    pub ended: u64,
    /// Requests that ended with their last token.
    pub completed: u64,
    /// Requests turned away, by reason as [`serving::Reason::ALL`] has them.
    pub refused: [u64; serving::Reason::ALL.len()],
    /// Requests whose clients went away.
    pub cancelled: u64,
    /// Prompt and output tokens of completed requests.
    pub tokens: (u64, u64),
    /// Time to first token of all, seconds.
    pub ttft: Option<Histogram>,
    /// Time per output token of all, seconds.
    pub tpot: Option<Histogram>,
    /// KV moved over links.
    pub moved: Bytes,
    /// Tokens whose KV was lost and computed again.
    pub lost: u64,
}

impl Meters {
    /// With the draw of an idle instance of each pool.
    pub fn new(idle: Vec<Watts>) -> Self {
        let histogram = |bounds| Some(Histogram::new(bounds));
        Self { idle, ttft: histogram(&TTFT), tpot: histogram(&TPOT), ..Self::default() }
    }

    fn of(&mut self, instance: InstanceId) -> Option<&mut Meter> {
        self.instances.get_mut(instance.0 as usize)
    }

    /// Energy of all chips up to `now`.
    pub fn energy_at(&self, now: Seconds) -> Joules {
        self.instances.iter().fold(Joules::ZERO, |sum, meter| sum + meter.energy_at(now))
    }
}

impl Meters {
    /// A request ended; `at_length` says whether the client's limit ended it.
    pub fn ended(&mut self, record: &Record, at_length: bool) {
        self.ended += 1;
        match record.outcome {
            Outcome::Completed => self.completed += 1,
            Outcome::Cancelled => self.cancelled += 1,
            Outcome::Rejected(reason) => self.refused[reason as usize] += 1,
        }
        if record.outcome == Outcome::Completed {
            self.tokens.0 += u64::from(record.input);
            self.tokens.1 += u64::from(record.output);
            let all = [(&mut self.ttft, record.ttft()), (&mut self.tpot, record.tpot())];
            for (histogram, time) in all {
                if let (Some(histogram), Some(time)) = (histogram, time) {
                    histogram.add(time.get(), 1);
                }
            }
        }
        let Some(meter) = record.instance.and_then(|instance| self.of(instance)) else { return };
        meter.generation_tokens += u64::from(record.output);
        meter.prompt_tokens += u64::from(record.input);
        meter.prefix_queries += u64::from(record.input);
        meter.prefix_hits += u64::from(record.cached);
        meter.fetched += u64::from(record.fetched);
        match record.outcome {
            Outcome::Completed => meter.completed(record, at_length),
            Outcome::Cancelled => meter.aborted += 1,
            Outcome::Rejected(_) => {}
        }
    }
}

impl Observer for Meters {
    fn run_ended(&mut self, record: &RunRecord) {
        let Some(meter) = self.of(record.instance) else { return };
        let time = record.end - record.start;
        meter.busy += time;
        meter.energy += record.energy;
        meter.steps += u64::from(record.steps);
        meter.last = record.end;
        if time > Seconds::ZERO {
            meter.power = record.energy / time;
        }
        let sequences = u64::from(record.run.decode_seqs);
        if sequences > 0 {
            let (first, rest) = (record.span.step_time(0) + record.stall, record.steps.saturating_sub(1));
            meter.itl.add(first.get(), sequences);
            if rest > 0 {
                let mean = (record.span.time(record.steps) - record.span.step_time(0)) / f64::from(rest);
                meter.itl.add(mean.get(), sequences * u64::from(rest));
            }
        }
    }

    fn transfer_ended(&mut self, record: &TransferRecord) {
        self.moved += record.bytes;
    }

    fn instance_changed(&mut self, instance: InstanceId, pool: u32, state: InstanceState, at: Seconds) {
        let index = instance.0 as usize;
        while self.instances.len() <= index {
            let idle = self.idle.get(pool as usize).copied().unwrap_or(Watts::ZERO);
            self.instances.push(Meter::new(pool, idle));
        }
        let meter = &mut self.instances[index];
        (meter.pool, meter.state) = (pool, state);
        let up = !matches!(state, InstanceState::Failed | InstanceState::Removed);
        match (up, meter.since) {
            (true, None) => meter.since = Some(at),
            (false, Some(since)) => {
                meter.alive += at - since;
                meter.since = None;
            }
            _ => {}
        }
    }

    fn tokens_lost(&mut self, tokens: u64) {
        self.lost += tokens;
    }

    fn decided(&mut self, _: Nanos, actions: &[Action]) {
        for action in actions {
            if let Action::Left { instance, .. } = action {
                self.of(*instance).into_iter().for_each(|meter| meter.preemptions += 1);
            }
        }
    }
}
