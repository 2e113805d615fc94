//! Results of a priced job, as JSON and as text from the same fields.

use crate::goodput::{self, Goodput, Prices, Reliability, Run};
use crate::job::Job;
use crate::site::Site;
use crate::step::Step;
use serde::Serialize;
use std::fmt::Write as _;
use units::{Bytes, Dollars, DollarsPerKilowattHour, Joules, Seconds, Watts};

/// A number with its unit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Value {
    value: f64,
    unit: &'static str,
}

fn value(value: f64, unit: &'static str) -> Value {
    Value { value, unit }
}

fn seconds(time: Seconds) -> Value {
    value(time.get(), "s")
}

/// A part of the step or of the memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Named {
    name: &'static str,
    #[serde(flatten)]
    value: Value,
}

/// Memory of one pipeline rank.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageMemory {
    stage: usize,
    layers: u32,
    terms: Vec<Named>,
    total: Value,
}

/// A run of many steps.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LongRun {
    tokens: f64,
    steps: f64,
    useful: Value,
    method: &'static str,
    mean_time_between_interruptions: Value,
    interruptions: Vec<Named>,
    checkpoint: Value,
    checkpoint_interval: Value,
    checkpoint_write: Value,
    effective_time_ratio: f64,
    elapsed: Value,
    tokens_per_day: f64,
    spare_chips: u32,
    energy: Option<Value>,
    cost: Option<Value>,
    rates_source: String,
}

/// What `train` says of a job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrainReport {
    schema: &'static str,
    model: String,
    system: String,
    framework: String,
    layout: LayoutReport,
    step_time: Value,
    breakdown: Vec<Named>,
    tokens_per_second: Value,
    tokens_per_second_per_chip: Value,
    model_tflops_per_chip: Value,
    mfu: f64,
    hfu: f64,
    memory_capacity: Value,
    memory: Vec<StageMemory>,
    chip_power: Option<Value>,
    run: Option<LongRun>,
}

/// The layout in the words of the flags.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayoutReport {
    chips: f64,
    tp: u32,
    pp: u32,
    vpp: u32,
    dp: u32,
    cp: u32,
    ep: u32,
    etp: u32,
    micro_batch: u32,
    global_batch: u32,
    micro_batches: u32,
    seq: u32,
    schedule: &'static str,
    recompute: String,
    zero: u32,
    precision: String,
    sequence_parallel: bool,
}

impl LayoutReport {
    /// Of `job` on `chips` packages.
    pub fn new(job: &Job, chips: f64) -> Self {
        Self {
            chips,
            tp: job.layout.tp,
            pp: job.layout.pp,
            vpp: job.schedule.virtual_stages(job.layout.pp) / job.layout.pp,
            dp: job.layout.dp,
            cp: job.layout.cp,
            ep: job.layout.ep,
            etp: job.layout.etp,
            micro_batch: job.batch.micro,
            global_batch: job.batch.global,
            micro_batches: job.micros(),
            seq: job.batch.seq,
            schedule: job.schedule.name(),
            recompute: job.recompute.name(),
            zero: job.zero.stage(),
            precision: job.precision.to_string(),
            sequence_parallel: job.sequence_parallel,
        }
    }

    /// One line, in the words of the flags.
    pub fn line(&self) -> String {
        format!(
            "tp {} pp {} vpp {} dp {} cp {} ep {} etp {} | micro-batch {} x {} of global {} | seq {} | {} | recompute {} | zero {} | {}{}",
            self.tp,
            self.pp,
            self.vpp,
            self.dp,
            self.cp,
            self.ep,
            self.etp,
            self.micro_batch,
            self.micro_batches,
            self.global_batch,
            self.seq,
            self.schedule,
            self.recompute,
            self.zero,
            self.precision,
            if self.sequence_parallel { " | sequence parallel" } else { "" },
        )
    }
}

/// What to work out over a whole training run.
pub struct LongRunRequest<'a> {
    /// Tokens to train on.
    pub tokens: f64,
    /// Failure behaviour.
    pub reliability: &'a Reliability,
    /// Time between checkpoints, if given.
    pub interval: Option<Seconds>,
    /// Spare packages, if given.
    pub spares: Option<u32>,
    /// What electricity and ownership cost.
    pub ownership: Ownership,
}

/// What electricity and ownership cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ownership {
    /// Price of electricity.
    pub electricity: DollarsPerKilowattHour,
    /// Facility power over IT power.
    pub pue: f64,
    /// Time over which bought chips are written off.
    pub lifetime: Seconds,
}

/// Bytes of checkpoint per parameter: 16-bit weight, 32-bit master and two moments.
const CHECKPOINT_BYTES: f64 = 14.0;

impl TrainReport {
    /// Of a priced job.
    pub fn new(
        job: &Job,
        step: &Step,
        site: &Site,
        framework: &str,
        long: Option<&LongRunRequest<'_>>,
    ) -> Self {
        let parts = step.breakdown.iter().map(|(name, time)| Named { name, value: seconds(*time) }).collect();
        let power = power(step, site);
        Self {
            schema: "supernode.train/1",
            model: job.model.id.clone(),
            system: site.system.id.clone(),
            framework: framework.to_owned(),
            layout: LayoutReport::new(job, step.chips),
            step_time: seconds(step.time),
            breakdown: parts,
            tokens_per_second: value(step.throughput().get(), "tokens/s"),
            tokens_per_second_per_chip: value(step.throughput_per_chip().get(), "tokens/s"),
            model_tflops_per_chip: value(step.model_rate().get() / 1e12, "TFLOP/s"),
            mfu: step.mfu(),
            hfu: step.hfu(),
            memory_capacity: value(site.chip.rank.memory.value.get(), "B"),
            memory: step.ranks.iter().enumerate().map(|(stage, rank)| stage_memory(stage, rank)).collect(),
            chip_power: power.map(|power| value(power.get(), "W")),
            run: long.map(|request| long_run(job, step, site, request, power)),
        }
    }

    /// As JSON.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// As text for a terminal.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let total = self.step_time.value;
        let _ =
            writeln!(out, "{} on {} x {} ({})", self.model, self.layout.chips, self.system, self.framework);
        let _ = writeln!(out, "{}", self.layout.line());
        let _ = writeln!(out, "\nstep {}", Seconds::new(total));
        for part in &self.breakdown {
            let share = 100.0 * part.value.value / total;
            let _ = writeln!(out, "  {:32} {:>12} {share:5.1} %", part.name, Seconds::new(part.value.value));
        }
        let _ = writeln!(
            out,
            "\n{:.0} tokens/s, {:.1} tokens/s/chip, {:.1} model TFLOP/s/chip, MFU {:.1} %, HFU {:.1} %",
            self.tokens_per_second.value,
            self.tokens_per_second_per_chip.value,
            self.model_tflops_per_chip.value,
            100.0 * self.mfu,
            100.0 * self.hfu
        );
        self.memory_text(&mut out);
        if let Some(run) = &self.run {
            run.text(&mut out);
        }
        out
    }

    fn memory_text(&self, out: &mut String) {
        let _ = writeln!(out, "\nmemory per rank (of {})", Bytes::new(self.memory_capacity.value));
        let mut previous: Option<&StageMemory> = None;
        for stage in &self.memory {
            // Equal neighbours are one line.
            if previous.is_some_and(|p| p.terms == stage.terms) {
                continue;
            }
            let terms: Vec<String> = stage
                .terms
                .iter()
                .filter(|term| term.value.value > 0.0)
                .map(|term| format!("{} {}", term.name, Bytes::new(term.value.value)))
                .collect();
            let total = Bytes::new(stage.total.value).to_string();
            let _ = writeln!(out, "  stage {:3} {total:>10}: {}", stage.stage, terms.join(", "));
            previous = Some(stage);
        }
    }
}

impl LongRun {
    fn text(&self, out: &mut String) {
        let days = self.elapsed.value / 86_400.0;
        let count: f64 = self.interruptions.iter().map(|cause| cause.value.value).sum();
        let _ = writeln!(
            out,
            "\n{:.3e} tokens in {:.0} steps: {days:.1} days ({})",
            self.tokens, self.steps, self.method
        );
        let _ = writeln!(
            out,
            "  {count:.0} interruptions (one per {}), effective time {:.1} %",
            Seconds::new(self.mean_time_between_interruptions.value),
            100.0 * self.effective_time_ratio
        );
        let _ = writeln!(
            out,
            "  checkpoint {} every {}, {} each, {} spare chips",
            Bytes::new(self.checkpoint.value),
            Seconds::new(self.checkpoint_interval.value),
            Seconds::new(self.checkpoint_write.value),
            self.spare_chips
        );
        if let Some(energy) = &self.energy {
            let _ = writeln!(out, "  energy {}", Joules::new(energy.value));
        }
        match &self.cost {
            Some(cost) => writeln!(out, "  cost {}", Dollars::new(cost.value)),
            None => writeln!(out, "  cost unknown: the catalog has no price for this system"),
        }
        .unwrap_or_default();
    }
}

fn power(step: &Step, site: &Site) -> Option<Watts> {
    let idle = step.part("pipeline bubble") / step.time;
    goodput::chip_power(&site.chip, site.system.overhead_power.value, 1.0 - idle)
}

fn prices(site: &Site, ownership: &Ownership) -> Prices {
    Prices {
        hourly: site.system.hourly.as_ref().map(|fact| fact.value),
        price: site.system.price.as_ref().map(|fact| fact.value),
        lifetime: ownership.lifetime,
        energy: ownership.electricity,
    }
}

fn stage_memory(stage: usize, rank: &crate::step::RankStep) -> StageMemory {
    let terms = rank.memory.terms();
    StageMemory {
        stage,
        layers: rank.layers,
        terms: terms.iter().map(|(name, bytes)| Named { name, value: value(bytes.get(), "B") }).collect(),
        total: value(rank.memory.total().get(), "B"),
    }
}

/// The run of many steps, failures included.
pub fn run_goodput(job: &Job, step: &Step, site: &Site, request: &LongRunRequest<'_>) -> (Run, Goodput) {
    let steps = request.tokens / job.batch.tokens();
    let layout = &job.layout;
    let weights: f64 = step
        .ranks
        .iter()
        .map(|rank| {
            rank.weights.dense * f64::from(layout.tp)
                + rank.weights.experts * f64::from(layout.ep * layout.etp)
        })
        .sum();
    let run = Run {
        chips: step.chips,
        useful: step.time * steps,
        checkpoint: Bytes::new(weights * CHECKPOINT_BYTES),
        interval: request.interval,
        spares: request.spares,
    };
    let rates = request.reliability.rates_for(&site.chip.family);
    (run, goodput::goodput(&run, rates, request.reliability))
}

fn long_run(
    job: &Job,
    step: &Step,
    site: &Site,
    request: &LongRunRequest<'_>,
    power: Option<Watts>,
) -> LongRun {
    let (run, goodput) = run_goodput(job, step, site, request);
    let all = step.chips + f64::from(goodput.spares);
    let energy = power.map(|power| power * step.chips * request.ownership.pue * goodput.elapsed);
    let money = goodput::cost(&prices(site, &request.ownership), all, goodput.elapsed, energy);
    LongRun {
        tokens: request.tokens,
        steps: request.tokens / job.batch.tokens(),
        useful: seconds(run.useful),
        method: "closed form: exponential failures, Daly's checkpoint interval",
        mean_time_between_interruptions: seconds(goodput.mtbf),
        interruptions: goodput
            .interruptions
            .iter()
            .map(|(name, count)| Named { name, value: value(*count, "interruptions") })
            .collect(),
        checkpoint: value(run.checkpoint.get(), "B"),
        checkpoint_interval: seconds(goodput.interval),
        checkpoint_write: seconds(goodput.write),
        effective_time_ratio: goodput.effective,
        elapsed: seconds(goodput.elapsed),
        tokens_per_day: request.tokens / (goodput.elapsed.get() / 86_400.0),
        spare_chips: goodput.spares,
        energy: energy.map(|energy| value(energy.get(), "J")),
        cost: money.map(|money| value(money.get(), "USD")),
        rates_source: request.reliability.rates_for(&site.chip.family).source.clone(),
    }
}
