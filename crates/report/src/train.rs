//! Priced training jobs, as JSON and as text from the same fields.

mod layout;
mod run;

pub use layout::LayoutReport;
pub use run::{LongRunRequest, run_goodput};

use hardware::money;
pub(crate) use run::LongRun;
use run::long_run;
use serde::Serialize;
use std::fmt::Write as _;
use training::band::Spread;
use training::goodput;
use training::site::Site;
use training::step::RankStep;
use training::{Job, Profile, Step};
use units::{Bytes, Dollars, GramsCo2, Joules, Seconds, Watts};

/// A number with its unit, and the ends of its 80 % band where it is a prediction.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Value {
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) low: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) high: Option<f64>,
}

/// A number that is counted, not predicted.
fn exact(value: f64, unit: &'static str) -> Value {
    Value { value, unit, low: None, high: None }
}

/// A prediction.
fn value(value: f64, unit: &'static str, spread: Spread) -> Value {
    let [low, high] = spread.band(value);
    Value { value, unit, low: Some(low), high: Some(high) }
}

/// A part of the step or of the memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Named {
    pub(crate) name: &'static str,
    #[serde(flatten)]
    pub(crate) value: Value,
}

/// Memory of one pipeline rank.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageMemory {
    pub(crate) stage: usize,
    pub(crate) layers: u32,
    pub(crate) terms: Vec<Named>,
    pub(crate) total: Value,
}

/// How far the figures can be trusted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evidence {
    /// Weakest grade among the figures of the chip that times depend on.
    pub(crate) grade: String,
    /// Share of cases that the bands hold.
    pub(crate) level: f64,
    /// Factor by which the ends of the step time's band differ from it.
    pub(crate) factor: f64,
    /// What the framework's coefficients were fitted on.
    pub(crate) fitted: String,
    /// What memory figures rest on.
    pub(crate) memory: &'static str,
}

/// What tokens cost, everything counted at the plug of the facility.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TokenCost {
    pub(crate) energy_per_token_at_plug: Value,
    pub(crate) carbon_per_million_tokens: Value,
    pub(crate) cost_per_million_tokens: Option<Value>,
}

/// What `train` says of a job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrainReport {
    pub(crate) schema: &'static str,
    pub(crate) model: String,
    pub(crate) system: String,
    pub(crate) chip: String,
    pub(crate) framework: String,
    /// The job beside its layout, in the words of the flags; with the layout it can be given to `train --job`.
    pub(crate) job: serde_json::Value,
    pub(crate) layout: LayoutReport,
    pub(crate) evidence: Evidence,
    pub(crate) step_time: Value,
    pub(crate) breakdown: Vec<Named>,
    pub(crate) tokens_per_second: Value,
    pub(crate) tokens_per_second_per_chip: Value,
    pub(crate) model_tflops_per_chip: Value,
    pub(crate) mfu: f64,
    pub(crate) mfu_band: [f64; 2],
    pub(crate) hfu: f64,
    pub(crate) hfu_band: [f64; 2],
    pub(crate) memory_capacity: Value,
    pub(crate) memory: Vec<StageMemory>,
    pub(crate) chip_power: Option<Value>,
    pub(crate) tokens: Option<TokenCost>,
    pub(crate) run: Option<LongRun>,
}

impl TrainReport {
    /// Whether the run of many steps that was asked for, if one was, comes to its end.
    pub fn ends(&self) -> bool {
        self.run.as_ref().is_none_or(|run| run.elapsed.value.is_finite())
    }
}

/// A priced job with everything it ran on.
#[derive(Clone, Copy)]
pub struct Trained<'a> {
    /// The job.
    pub job: &'a Job,
    /// Its price.
    pub step: &'a Step,
    /// Where it runs.
    pub site: &'a Site,
    /// The framework release.
    pub profile: &'a Profile,
    /// What is paid at the place it runs in.
    pub paying: money::Site,
    /// The job beside its layout, in the words of the flags.
    pub words: &'a serde_json::Value,
}

impl Trained<'_> {
    /// Spread of the step time.
    pub fn spread(&self) -> Spread {
        Spread::of_step(self.job, self.profile, &self.site.chip)
    }

    /// Mean power of a package with its share of the machine; unknown without a rating.
    fn power(&self) -> Option<Watts> {
        let idle = self.step.part("pipeline bubble") / self.step.time;
        goodput::chip_power(&self.site.chip, self.site.system.overhead_power.value, 1.0 - idle)
    }

    /// Money for `chips` packages over `elapsed`, with `energy` at the plug; `None` where the catalog has no price.
    fn money(&self, chips: f64, elapsed: Seconds, energy: Option<Joules>) -> Option<Dollars> {
        let paid = money::Ownership::of(&self.site.system, &self.site.chip, self.paying.basis)?;
        Some(paid.over(&self.paying, chips, elapsed, energy))
    }

    /// Energy at the facility's plug over `time`.
    fn energy(&self, time: Seconds) -> Option<Joules> {
        self.power().map(|power| power * self.step.chips * self.paying.pue * time)
    }

    fn evidence(&self) -> Evidence {
        Evidence {
            grade: self.site.chip.grade().to_string(),
            level: 0.8,
            factor: self.spread().factor(),
            fitted: self.profile.provenance.clone(),
            memory: "computed from sizes; no published measurement is held against it",
        }
    }

    fn token_cost(&self) -> Option<TokenCost> {
        let (step, spread) = (self.step, self.spread().with_power());
        let energy = self.energy(step.time)?;
        let per_token = energy.get() / step.tokens;
        let carbon = energy.kilowatt_hours() * self.paying.carbon.get() / step.tokens * 1e6;
        let money = self.money(step.chips, step.time, Some(energy));
        Some(TokenCost {
            energy_per_token_at_plug: value(per_token, "J", spread),
            carbon_per_million_tokens: value(carbon, "gCO2e", spread),
            cost_per_million_tokens: money
                .map(|money| value(money.get() / step.tokens * 1e6, "USD", self.spread())),
        })
    }
}

impl TrainReport {
    /// Of a priced job, and of the run of many steps that `long` asks for.
    pub fn new(trained: &Trained<'_>, long: Option<&LongRunRequest<'_>>) -> Self {
        let Trained { job, step, site, profile, .. } = trained;
        let spread = trained.spread();
        let seconds = |time: Seconds| value(time.get(), "s", spread);
        Self {
            schema: "supernode.train/1",
            model: job.model.id.clone(),
            system: site.system.id.clone(),
            chip: site.chip.id.clone(),
            framework: profile.name(),
            job: trained.words.clone(),
            layout: LayoutReport::new(job, step.chips),
            evidence: trained.evidence(),
            step_time: seconds(step.time),
            breakdown: step
                .breakdown
                .iter()
                .map(|(name, time)| Named { name, value: seconds(*time) })
                .collect(),
            tokens_per_second: value(step.throughput().get(), "tokens/s", spread),
            tokens_per_second_per_chip: value(step.throughput_per_chip().get(), "tokens/s", spread),
            model_tflops_per_chip: value(step.model_rate().get() / 1e12, "TFLOP/s", spread),
            mfu: step.mfu(),
            mfu_band: spread.band(step.mfu()).map(|share| share.min(1.0)),
            hfu: step.hfu(),
            hfu_band: spread.band(step.hfu()).map(|share| share.min(1.0)),
            memory_capacity: exact(site.chip.rank.memory.value.get(), "B"),
            memory: step.ranks.iter().enumerate().map(|(stage, rank)| stage_memory(stage, rank)).collect(),
            chip_power: trained.power().map(|power| value(power.get(), "W", spread.with_power())),
            tokens: trained.token_cost(),
            run: long.map(|request| long_run(trained, request)),
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
            writeln!(out, "{} on {} x {} ({})", self.model, self.layout.chips(), self.system, self.framework);
        let _ = writeln!(out, "{}", self.layout.flags());
        let _ = writeln!(out, "\nstep {}{}", Seconds::new(total), band_text(&self.step_time, Seconds::new));
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
        self.cost_text(&mut out);
        let Evidence { factor, grade, fitted, .. } = &self.evidence;
        let _ = writeln!(
            out,
            "80 % band of times and rates: x / {factor:.2}; figures of the chip: {grade}; framework {fitted}"
        );
        self.memory_text(&mut out);
        if let Some(run) = &self.run {
            run.text(&mut out);
        }
        out
    }

    fn cost_text(&self, out: &mut String) {
        if let Some(power) = &self.chip_power {
            let _ = writeln!(
                out,
                "{} per chip with its share of the machine{}",
                Watts::new(power.value),
                band_text(power, Watts::new)
            );
        }
        let Some(tokens) = &self.tokens else { return };
        let energy = &tokens.energy_per_token_at_plug;
        let carbon = &tokens.carbon_per_million_tokens;
        let _ = writeln!(
            out,
            "energy per token at the facility's plug {}{}",
            Joules::new(energy.value),
            band_text(energy, Joules::new)
        );
        let _ = writeln!(
            out,
            "CO2e per million tokens {}{}",
            GramsCo2::new(carbon.value),
            band_text(carbon, GramsCo2::new)
        );
        let _ = match &tokens.cost_per_million_tokens {
            Some(cost) => writeln!(
                out,
                "cost per million tokens {}{}",
                Dollars::new(cost.value),
                band_text(cost, Dollars::new)
            ),
            None => writeln!(out, "cost unknown: the catalog has no price for this system"),
        };
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

/// The band of a figure in brackets.
fn band_text<T: std::fmt::Display>(value: &Value, of: impl Fn(f64) -> T) -> String {
    match (value.low, value.high) {
        (Some(low), Some(high)) => format!(" ({} to {})", of(low), of(high)),
        _ => String::new(),
    }
}

fn stage_memory(stage: usize, rank: &RankStep) -> StageMemory {
    let terms = rank.memory.terms();
    StageMemory {
        stage,
        layers: rank.layers,
        terms: terms.iter().map(|(name, bytes)| Named { name, value: exact(bytes.get(), "B") }).collect(),
        total: exact(rank.memory.total().get(), "B"),
    }
}
