//! Plans for training: the best ways to cut a job.

use crate::error::Error;
use crate::train::{LongRun, Prepared};
use crate::{Answer, Watch};
use report::train::{LayoutReport, TrainReport};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt::Write as _;
use training::search::{Found, Objective, Outcome, Space, search};
use training::spec::JobSpec;
use training::{ContextMethod, Job, Step};

/// Layouts that are listed where nothing is said.
const TOP: u16 = 5;

/// What a search for layouts may choose, beside what the job fixes. What is not given has the default in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingSearch {
    /// Most sequences per optimizer step, instead of an exact number: each layout takes the largest batch below it that it
    /// divides, and is judged by its time per sequence.
    pub max_global_batch: Option<u32>,
    /// `time`, `cost` (chip-hours) or `energy`; time by default.
    pub objective: Option<String>,
    /// Allow fewer chips than given, the rest idle: the next multiples of 8, 64 and 512 ranks below.
    pub at_most: bool,
    /// Further chip counts to plan for, for the front of time against chips.
    pub front: Vec<u32>,
    /// Layouts to list; 5 by default.
    pub top: Option<u16>,
}

impl TrainingSearch {
    fn objective(&self, prepared: &Prepared) -> Result<Objective, Error> {
        match self.objective.as_deref().unwrap_or("time") {
            "time" => Ok(Objective::Time),
            "cost" => Ok(Objective::Cost),
            "energy" => Ok(Objective::Energy { overhead: prepared.site.system.overhead_power.value }),
            other => Err(Error::at("objective", format!("`{other}` is not known; use time, cost or energy"))),
        }
    }

    fn top(&self) -> Result<usize, Error> {
        let top = self.top.unwrap_or(TOP);
        if top == 0 { Err(Error::at("top", "give at least 1")) } else { Ok(usize::from(top)) }
    }
}

/// The plans for each number of chips, the smallest first.
pub struct TrainingPlan<'a> {
    prepared: &'a Prepared,
    /// Chips and what was found on them.
    pub plans: Vec<(u32, Outcome)>,
    /// The best on the most chips on which something fits.
    pub best: (Job, Step),
    report: TrainReport,
}

impl TrainingPlan<'_> {
    /// Whether the search was stopped before its end.
    pub fn is_interrupted(&self) -> bool {
        self.plans.iter().any(|(_, outcome)| outcome.counts.interrupted)
    }

    /// What is said of the best.
    pub fn report(&self) -> &TrainReport {
        &self.report
    }
}

/// The best way to cut a job, over every size that goes. What the job says of its layout stays as it is said. Once the
/// watch is cancelled it ends with the best so far.
///
/// # Errors
/// As [`crate::train`]; no layout fits.
pub fn plan_train<'a>(
    prepared: &'a Prepared,
    wanted: &TrainingSearch,
    run: &LongRun,
    watch: &Watch,
) -> Result<TrainingPlan<'a>, Error> {
    if wanted.max_global_batch.is_some() && prepared.given.global_batch.is_some() {
        return Err(Error::at("max_global_batch", "give it or `global_batch`, not both"));
    }
    let plan = plan_once(prepared, wanted, run, watch)?;
    if !plan.is_interrupted() {
        let again = |other: &Prepared| Ok(plan_once(other, wanted, run, watch)?.document());
        prepared.refuse_idle_figures(|| plan.document(), again)?;
    }
    Ok(plan)
}

fn plan_once<'a>(
    prepared: &'a Prepared,
    wanted: &TrainingSearch,
    run: &LongRun,
    watch: &Watch,
) -> Result<TrainingPlan<'a>, Error> {
    let template = template(prepared, wanted)?;
    let (objective, top) = (wanted.objective(prepared)?, wanted.top()?);
    let mut counts: Vec<u32> = wanted.front.iter().copied().chain([prepared.chips]).collect();
    counts.sort_unstable();
    counts.dedup();
    let mut plans = Vec::new();
    for chips in counts {
        let space = space(prepared, wanted, &template, prepared.ranks(chips)?)?;
        plans.push((chips, search(&template, &space, &prepared.machine(), objective, top, watch.cancel)?));
    }
    let Some(best) = plans.iter().rev().find_map(|(_, outcome)| outcome.best.first()) else {
        let stopped = plans.iter().any(|(_, outcome): &(u32, Outcome)| outcome.counts.interrupted);
        return Err(Error::no(if stopped {
            "the search was stopped before a layout was found that fits"
        } else {
            "no layout fits: use more chips, a batch that more sizes divide, or set less of the layout"
        }));
    };
    let best = (best.job.clone(), best.step.clone());
    let report = prepared.report(&best.0, &best.1, run)?;
    Ok(TrainingPlan { prepared, plans, best, report })
}

/// The job whose layout is looked for, one rank large, which always goes.
fn template(prepared: &Prepared, wanted: &TrainingSearch) -> Result<Job, Error> {
    let spec = &prepared.spec;
    let whole = JobSpec {
        global_batch: wanted.max_global_batch.or(spec.global_batch),
        seq: spec.seq,
        precision: spec.precision.clone(),
        mtp: spec.mtp,
        ..JobSpec::default()
    };
    Ok(whole.job(prepared.model.as_ref().clone(), 1)?)
}

/// The layouts of so many ranks that agree with what is said.
fn space(prepared: &Prepared, wanted: &TrainingSearch, template: &Job, ranks: u32) -> Result<Space, Error> {
    let all = Space::all(template, &prepared.site.system, ranks, wanted.at_most);
    let mut space = all.within(&prepared.profile.can).fixed(&prepared.given)?;
    space.at_most_batch = wanted.max_global_batch.is_some();
    check_fixed(template, prepared)?;
    Ok(space)
}

/// What is set of the layout must be something that the framework release can do at all.
fn check_fixed(job: &Job, prepared: &Prepared) -> Result<(), Error> {
    let given = &prepared.given;
    let mut asked = job.clone();
    asked.layout.tp = given.tp.unwrap_or(1);
    asked.layout.pp = given.pp.unwrap_or(1);
    asked.layout.cp = given.cp.unwrap_or(1);
    asked.layout.ep = given.ep.unwrap_or(1);
    let interleaved = given.vpp.is_some_and(|chunks| chunks > 1).then_some("interleaved");
    if let Some(name) = given.schedule.as_deref().or(interleaved) {
        let chunks = given.vpp.unwrap_or(if name == "interleaved" { 2 } else { 1 });
        asked.schedule = training::schedule::Schedule::parse(name, chunks)?;
        asked.layout.pp = asked.layout.pp.max(2);
    }
    if let Some(name) = &given.context {
        asked.context = if name == "ulysses" { ContextMethod::Ulysses } else { ContextMethod::Ring };
        asked.layout.cp = asked.layout.cp.max(2);
    }
    asked.sequence_parallel = given.sequence_parallel == Some(true);
    let can = &prepared.profile.can;
    let zero = given.zero.or(can.zero.value.first().copied()).unwrap_or(0);
    asked.zero = training::Zero::from_stage(zero)?;
    let usual = can.recompute.value.first().map_or_else(|| "none".to_owned(), ToString::to_string);
    if let Some(recompute) = given.recompute.as_ref().or(Some(&usual)).filter(|name| *name != "layers") {
        asked.recompute = training::Recompute::parse(recompute)?;
    }
    asked.offload.optimizer = given.offload_optimizer == Some(true);
    asked.offload.activations = given.offload_activations == Some(true);
    Ok(prepared.profile.check(&asked)?)
}

fn figure(value: f64, unit: &str, spread: training::band::Spread) -> Value {
    let [low, high] = spread.band(value);
    json!({ "value": value, "unit": unit, "low": low, "high": high })
}

impl TrainingPlan<'_> {
    fn found(&self, found: &Found) -> Value {
        let words = Value::Null;
        let spread = self.prepared.trained(&found.job, &found.step, &words).spread();
        json!({
            "layout": LayoutReport::new(&found.job, found.step.chips),
            "step_time": figure(found.step.time.get(), "s", spread),
            "tokens_per_second": figure(found.step.throughput().get(), "tokens/s", spread),
            "mfu": found.step.mfu(),
            "grade": self.prepared.site.chip.grade().to_string(),
            "objective": found.value,
        })
    }

    fn plan(&self, chips: u32, outcome: &Outcome) -> Value {
        let counts = &outcome.counts;
        let best: Vec<Value> = outcome.best.iter().map(|found| self.found(found)).collect();
        json!({
            "chips": chips,
            "covered": counts.covered,
            "states_too_big": counts.too_big,
            "bound_too_slow": counts.too_slow,
            "priced": counts.priced,
            "priced_but_too_big": counts.misfits,
            "best": best,
        })
    }

    fn plan_text(&self, chips: u32, outcome: &Outcome) -> String {
        let counts = &outcome.counts;
        let mut out = format!(
            "{chips} chips: {} layouts covered ({} too big by their states, {} slower by their bound, {} priced of which {} too big)\n",
            counts.covered, counts.too_big, counts.too_slow, counts.priced, counts.misfits
        );
        for found in &outcome.best {
            let layout = LayoutReport::new(&found.job, found.step.chips);
            let words = Value::Null;
            let spread = self.prepared.trained(&found.job, &found.step, &words).spread();
            let _ = writeln!(
                out,
                "  {:>10}  {:.0} tokens/s (x / {:.2})  MFU {:.1} %  --chips {} {}",
                found.step.time.to_string(),
                found.step.throughput().get(),
                spread.factor(),
                100.0 * found.step.mfu(),
                layout.chips(),
                layout.flags()
            );
        }
        out
    }
}

impl Answer for TrainingPlan<'_> {
    fn document(&self) -> Value {
        let plans: Vec<Value> =
            self.plans.iter().map(|(chips, outcome)| self.plan(*chips, outcome)).collect();
        json!({
            "schema": "supernode.plan-train/1",
            "model": self.prepared.model.id,
            "job": self.prepared.words(),
            "interrupted": self.is_interrupted(),
            "plans": plans,
            "best": self.report,
        })
    }

    fn text(&self) -> String {
        let mut out: String =
            self.plans.iter().map(|(chips, outcome)| self.plan_text(*chips, outcome)).collect();
        if self.is_interrupted() {
            out.push_str("The search was stopped before its end: this is the best found so far.\n");
        }
        let _ = writeln!(out, "\nthe best, in full:\n{}", self.report.text());
        out
    }
}
