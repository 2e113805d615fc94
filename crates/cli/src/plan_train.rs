//! `supernode plan train`.

use crate::common::Failure;
use crate::page::PageArgs;
use crate::train::{JobArgs, LayoutArgs, Prepared, RunArgs, deliver, prepare};
use report::Setting;
use report::page::Document;
use report::train::{LayoutReport, TrainReport, Trained};
use serde_json::{Value, json};
use std::fmt::Write as _;
use training::search::{Found, Objective, Outcome, Space, search};
use training::spec::JobSpec;
use training::{ContextMethod, Job};
use units::Watts;

/// The best way to cut a training job, over every size that goes. What is said of the layout stays as it is said.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    job: JobArgs,
    #[command(flatten)]
    layout: LayoutArgs,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    page: PageArgs,
    /// Most sequences per optimizer step, instead of an exact number: each layout takes the largest batch below it that it
    /// divides, and is judged by its time per sequence.
    #[arg(long, value_name = "N", conflicts_with = "global_batch")]
    max_global_batch: Option<u32>,
    /// time, cost (chip-hours) or energy.
    #[arg(long, value_name = "WHAT", default_value = "time", value_parser = objective)]
    objective: Objective,
    /// Allow fewer chips than given, the rest idle: the next multiples of 8, 64 and 512 ranks below.
    #[arg(long)]
    at_most: bool,
    /// Further chip counts to plan for, for the front of time against chips.
    #[arg(long, value_name = "N,N,..", value_delimiter = ',')]
    front: Vec<u32>,
    /// Layouts to list.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    top: u16,
}

fn objective(text: &str) -> Result<Objective, String> {
    match text {
        "time" => Ok(Objective::Time),
        "cost" => Ok(Objective::Cost),
        "energy" => Ok(Objective::Energy { overhead: Watts::ZERO }),
        other => Err(format!("`{other}` is not an objective; use time, cost or energy")),
    }
}

/// Runs `plan train`.
pub fn run(args: &Args) -> Result<(), Failure> {
    let timeline = args.run.open_timeline()?;
    let page = args.page.open()?;
    let prepared = prepare(&args.job, &args.layout)?;
    let (template, space) = template(args, &prepared)?;
    let objective = match args.objective {
        Objective::Energy { .. } => Objective::Energy { overhead: prepared.site.system.overhead_power.value },
        other => other,
    };
    let mut counts: Vec<u32> = args.front.iter().copied().chain([prepared.chips]).collect();
    counts.sort_unstable();
    counts.dedup();
    let mut plans = Vec::new();
    for chips in counts {
        let ranks = prepared.ranks(chips)?;
        let space = space(ranks)?;
        let found = search(&template, &space, &prepared.machine(), objective, usize::from(args.top))?;
        plans.push((chips, found));
    }
    let Some(best) = plans.iter().rev().find_map(|(_, outcome)| outcome.best.first()) else {
        let why = "no layout fits: use more chips, a batch that more sizes divide, or set less of the layout";
        return Err(Failure::No(why.to_owned()));
    };
    let report = prepared.report(&best.job, &best.step, &args.run)?;
    let text = text_of(args, &prepared, &plans, &report);
    let words = prepared.words();
    let trained = prepared.trained(&best.job, &best.step, &words);
    let setting = page.setting(&prepared.catalog, Some(&prepared.paying), Some(args.job.site()));
    let document = || report_of(&setting, &prepared, &plans, &report, &trained);
    page.deliver(document, args.job.json, || deliver(timeline, &best.job, &best.step, &text))
}

/// Plans by chips.
type Plans = Vec<(u32, Outcome)>;

/// What is printed.
fn text_of(args: &Args, prepared: &Prepared, plans: &Plans, report: &TrainReport) -> String {
    if args.job.json {
        let value: Vec<Value> =
            plans.iter().map(|(chips, outcome)| plan_json(prepared, *chips, outcome)).collect();
        let value = json!({
            "schema": "supernode.plan-train/1",
            "model": prepared.model.id,
            "job": prepared.words(),
            "plans": value,
            "best": report,
        });
        return format!("{value:#}\n");
    }
    let mut out: String = plans.iter().map(|(chips, outcome)| plan_text(prepared, *chips, outcome)).collect();
    let _ = writeln!(out, "\nthe best, in full:\n{}", report.text());
    let _ = writeln!(out, "each line above is for `supernode train {}`", prepared.flags());
    out
}

/// The report: every layout listed, and the best in full.
fn report_of(
    setting: &Setting<'_>,
    prepared: &Prepared,
    plans: &Plans,
    report: &TrainReport,
    trained: &Trained<'_>,
) -> Document {
    let words = Value::Null;
    let found = plans.iter().flat_map(|(_, outcome)| &outcome.best);
    let rows = found
        .map(|found| (&found.job, &found.step, prepared.trained(&found.job, &found.step, &words).spread()));
    let rows: Vec<_> = rows.collect();
    report::plan_train_document(&rows, report, trained, setting)
}

/// The job to cut, and the layouts of so many ranks.
type Planned<'a> = (Job, Box<dyn Fn(u32) -> Result<Space, Failure> + 'a>);

/// The job whose layout is looked for, one rank large, which always goes; and the layouts that agree with what is said.
fn template<'a>(args: &'a Args, prepared: &'a Prepared) -> Result<Planned<'a>, Failure> {
    let Prepared { spec, given, .. } = prepared;
    let whole = JobSpec {
        global_batch: args.max_global_batch.or(spec.global_batch),
        seq: spec.seq,
        precision: spec.precision.clone(),
        mtp: spec.mtp,
        ..JobSpec::default()
    };
    let template = whole.job(prepared.model.clone(), 1)?;
    let job = template.clone();
    let layouts = move |ranks| {
        let space = Space::all(&job, &prepared.site.system, ranks, args.at_most);
        let mut space = space.within(&prepared.profile.can).fixed(given)?;
        space.at_most_batch = args.max_global_batch.is_some();
        check_fixed(&job, given, prepared)?;
        Ok(space)
    };
    Ok((template, Box::new(layouts)))
}

/// What is set of the layout must be something that the framework release can do at all.
fn check_fixed(job: &Job, given: &JobSpec, prepared: &Prepared) -> Result<(), Failure> {
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

fn found_json(prepared: &Prepared, found: &Found) -> Value {
    let words = Value::Null;
    let spread = prepared.trained(&found.job, &found.step, &words).spread();
    json!({
        "layout": LayoutReport::new(&found.job, found.step.chips),
        "step_time": figure(found.step.time.get(), "s", spread),
        "tokens_per_second": figure(found.step.throughput().get(), "tokens/s", spread),
        "mfu": found.step.mfu(),
        "grade": prepared.site.chip.grade().to_string(),
        "objective": found.value,
    })
}

fn plan_json(prepared: &Prepared, chips: u32, outcome: &Outcome) -> Value {
    let counts = &outcome.counts;
    let best: Vec<Value> = outcome.best.iter().map(|found| found_json(prepared, found)).collect();
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

fn plan_text(prepared: &Prepared, chips: u32, outcome: &Outcome) -> String {
    let counts = &outcome.counts;
    let mut out = format!(
        "{chips} chips: {} layouts covered ({} too big by their states, {} slower by their bound, {} priced of which {} too big)\n",
        counts.covered, counts.too_big, counts.too_slow, counts.priced, counts.misfits
    );
    for found in &outcome.best {
        let layout = LayoutReport::new(&found.job, found.step.chips);
        let words = Value::Null;
        let spread = prepared.trained(&found.job, &found.step, &words).spread();
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
