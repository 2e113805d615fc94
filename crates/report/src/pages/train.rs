//! The reports of `train` and `plan train`.

use super::{Surroundings, count, number, range, time_unit, values};
use crate::chart::{Chart, Drawing, Lane, Stack, Stretch};
use crate::page::{Document, Grid, GridCell, Section};
use crate::train::{LayoutReport, LongRun, StageMemory, TrainReport, Trained, Value};
use crate::words::Words;
use training::band::Spread;
use training::schedule::{self, Pass};
use training::{Job, Step};

/// Tasks of a drawn timeline at most.
const MOST_TASKS: u32 = 1_800;

/// The report of a priced job.
pub fn train_document(report: &TrainReport, trained: &Trained<'_>, setting: &Surroundings<'_>) -> Document {
    let words = setting.words;
    let title = words.fill(
        "train-title",
        &[
            ("model", &report.model),
            ("chips", &number(report.layout.chips())),
            ("system", &report.system),
            ("framework", &report.framework),
        ],
    );
    let mut document = Document::new(words, title);
    headline(&mut document, report);
    document.push(Section::new(words.say("figures")).table(figures(words, report)));
    add_job(&mut document, report, trained);
    if let Some(run) = &report.run {
        document.push(Section::new(words.say("long-run")).table(long_run(words, run)));
        document.assume(
            words.say("failure-rates"),
            format!("{} ({})", run.rates_source, words.term(&run.rates_grade)),
        );
    }
    document.assume(words.say("framework-fitted"), report.evidence.fitted.clone());
    document.assume(words.say("memory-evidence"), words.say("memory-computed"));
    setting.close(&mut document, [report.system.as_str(), report.chip.as_str()]);
    document
}

/// The report of a search: a row per layout, and the best in full.
pub fn plan_train_document(
    found: &[(&Job, &Step, Spread)],
    report: &TrainReport,
    trained: &Trained<'_>,
    setting: &Surroundings<'_>,
) -> Document {
    let words = setting.words;
    let mut document = train_document(report, trained, setting);
    let mut grid = Grid::default()
        .figures(words.say("chips"), "")
        .figures(words.say("step-time"), "s")
        .figures(words.say("tokens"), words.say("unit-tokens"))
        .figures("MFU", "%")
        .words(words.say("layout"));
    for (job, step, spread) in found {
        let rate = step.throughput().get();
        let [low, high] = spread.band(rate);
        grid.row([
            number(step.chips).into(),
            number(step.time.get()).into(),
            GridCell { text: number(rate), band: range(low, high), ..GridCell::default() },
            number(100.0 * step.mfu()).into(),
            LayoutReport::new(job, step.chips).flags().into(),
        ]);
    }
    document.sections.insert(0, Section::new(words.say("best-layouts")).table(grid));
    document
}

fn banded(value: &Value, scale: f64) -> GridCell {
    let band = value.low.zip(value.high).map(|(low, high)| range(low * scale, high * scale));
    GridCell { text: number(value.value * scale), band: band.unwrap_or_default(), ..GridCell::default() }
}

fn headline(document: &mut Document, report: &TrainReport) {
    let words = document.words;
    document.headline = words.fill(
        "train-headline",
        &[
            ("step", &units::Seconds::new(report.step_time.value).to_string()),
            ("tokens", &number(report.tokens_per_second.value)),
            ("mfu", &number(100.0 * report.mfu)),
        ],
    );
    if let Some(run) = &report.run {
        let days = number(run.elapsed.value / 86_400.0);
        document.headline += &words.fill("train-days", &[("days", &days), ("tokens", &count(run.tokens))]);
    }
    document.certainty = words.fill(
        "train-sure",
        &[
            ("factor", &format!("{:.2}", report.evidence.factor)),
            ("grade", words.term(&report.evidence.grade)),
        ],
    );
}

fn add(grid: &mut Grid, name: &str, value: &Value, scale: f64, unit: &str) {
    let cell = banded(value, scale);
    grid.row([name.to_owned(), cell.text, cell.band, unit.to_owned()]);
}

fn figures(words: &Words, report: &TrainReport) -> Grid {
    let mut grid = values(words);
    let mut row =
        |name: &str, value: &Value, scale: f64, unit: &str| add(&mut grid, name, value, scale, unit);
    row(words.say("step-time"), &report.step_time, 1.0, "s");
    row(words.say("tokens"), &report.tokens_per_second, 1.0, words.say("unit-tokens"));
    row(words.say("throughput"), &report.tokens_per_second_per_chip, 1.0, words.say("unit-tokens-chip"));
    row(words.say("model-rate"), &report.model_tflops_per_chip, 1.0, "TFLOP/s");
    if let Some(power) = &report.chip_power {
        row(words.say("power"), power, 1.0, words.say("unit-watt-chip"));
    }
    if let Some(tokens) = &report.tokens {
        row(words.say("energy-plug"), &tokens.energy_per_token_at_plug, 1.0, words.say("unit-joule-token"));
        row(
            words.say("carbon-short"),
            &tokens.carbon_per_million_tokens,
            1.0,
            words.say("unit-gram-million"),
        );
        if let Some(money) = &tokens.cost_per_million_tokens {
            row(words.say("money"), money, 1.0, words.say("unit-dollar-million"));
        }
    }
    let percent = |share: f64| number(100.0 * share);
    grid.row([
        "MFU".to_owned(),
        percent(report.mfu),
        range(100.0 * report.mfu_band[0], 100.0 * report.mfu_band[1]),
        "%".to_owned(),
    ]);
    grid.row([
        "HFU".to_owned(),
        percent(report.hfu),
        range(100.0 * report.hfu_band[0], 100.0 * report.hfu_band[1]),
        "%".to_owned(),
    ]);
    grid
}

/// What is seen of one priced job: where its time goes, its timeline, its memory.
fn add_job(document: &mut Document, report: &TrainReport, trained: &Trained<'_>) {
    let words = document.words;
    let total = report.step_time.value;
    let (unit, scale) = time_unit([total]);
    let mut grid = Grid::default()
        .words(words.say("part"))
        .figures(words.say("time"), unit)
        .figures(words.say("share"), "%");
    for part in &report.breakdown {
        grid.row([
            words.term(part.name).to_owned(),
            number(scale * part.value.value),
            number(100.0 * part.value.value / total),
        ]);
    }
    let parts: Vec<String> = report.breakdown.iter().map(|part| words.term(part.name).to_owned()).collect();
    let values = report.breakdown.iter().map(|part| scale * part.value.value).collect();
    let stack = Stack { name: words.say("step").to_owned(), values, text: number(scale * total) };
    let step = Chart::new(
        words.say("where-time-goes"),
        unit,
        Drawing::Stacked { parts, stacks: vec![stack], limit: None },
    );
    document.push(Section::new(words.say("where-time-goes")).charts(vec![step]).table(grid));
    let charts = vec![timeline(words, trained), memory(words, report)];
    document.push(Section::new(words.say("pipeline")).charts(charts));
    document.assume(words.say("layout"), report.layout.flags());
}

/// Who computes what when, a lane per pipeline stage.
fn timeline(words: &Words, trained: &Trained<'_>) -> Chart {
    let (job, step) = (trained.job, trained.step);
    let stages = job.layout.pp;
    let per_micro = (stages * job.schedule.chunks() * 3).max(1);
    let shown = job.micros().min((MOST_TASKS / per_micro).max(2 * stages)).max(1);
    let run = schedule::execute(job.schedule, stages, shown, &step.stage_times, step.send);
    let (unit, scale) = time_unit(run.ranks.iter().flatten().map(|interval| interval.end.get()));
    let lanes = run.ranks.iter().enumerate().map(|(stage, intervals)| Lane {
        name: format!("{} {stage}", words.say("stage")),
        stretches: intervals
            .iter()
            .map(|interval| Stretch {
                from: interval.start.get() * scale,
                to: interval.end.get() * scale,
                group: match interval.task.pass {
                    Pass::Forward => 0,
                    Pass::Backward | Pass::BackwardInput => 1,
                    Pass::BackwardWeight => 2,
                },
                edges: (0.0, 1.0),
                title: format!("{} {}", words.say("micro-batch"), interval.task.micro),
            })
            .collect(),
    });
    let mut groups = vec![words.say("forward").to_owned(), words.say("backward").to_owned()];
    let split = |interval: &schedule::Interval| interval.task.pass == Pass::BackwardWeight;
    if run.ranks.iter().flatten().any(split) {
        groups.push(words.say("backward-weight").to_owned());
    }
    let note = if shown < job.micros() {
        let all = job.micros().to_string();
        words.fill("timeline-cut", &[("shown", &shown.to_string()), ("all", &all)])
    } else {
        words.say("timeline-note").to_owned()
    };
    Chart::new(
        words.say("timeline"),
        "",
        Drawing::Lanes { unit: unit.to_owned(), groups, lanes: lanes.collect() },
    )
    .with_note(note)
}

/// Memory of each stage, by what it holds.
fn memory(words: &Words, report: &TrainReport) -> Chart {
    let Some(first) = report.memory.first() else {
        return Chart::new("", "", Drawing::Bars(Vec::new()));
    };
    let parts = first.terms.iter().map(|term| words.term(term.name).to_owned()).collect();
    let stack = |stage: &StageMemory| Stack {
        name: format!("{} {}", words.say("stage"), stage.stage),
        values: stage.terms.iter().map(|term| term.value.value / 1e9).collect(),
        text: number(stage.total.value / 1e9),
    };
    let capacity = report.memory_capacity.value / 1e9;
    let name = words.fill("capacity-of", &[("size", &number(capacity))]);
    let stacks = report.memory.iter().map(stack).collect();
    Chart::new(
        words.say("memory-stage"),
        "GB",
        Drawing::Stacked { parts, stacks, limit: Some((capacity, name)) },
    )
}

fn long_run(words: &Words, run: &LongRun) -> Grid {
    let mut grid = values(words);
    let mut row =
        |name: &str, value: &Value, scale: f64, unit: &str| add(&mut grid, name, value, scale, unit);
    row(words.say("elapsed"), &run.elapsed, 1.0 / 86_400.0, words.say("unit-days"));
    let count: f64 = run.interruptions.iter().map(|cause| cause.value.value).sum();
    let hours = 1.0 / 3600.0;
    row(words.say("between-failures"), &run.mean_time_between_interruptions, hours, words.say("unit-hours"));
    row(words.say("checkpoint-every"), &run.checkpoint_interval, 1.0 / 60.0, words.say("unit-minutes"));
    if let Some(energy) = &run.energy_at_plug {
        row(words.say("energy-run"), energy, 1.0 / 3.6e9, "MWh");
    }
    if let Some(carbon) = &run.carbon {
        row(words.say("carbon-run"), carbon, 1e-6, "t CO2e");
    }
    if let Some(cost) = &run.cost {
        row(words.say("cost-run"), cost, 1e-6, "M$");
    }
    grid.row([words.say("interruptions").to_owned(), number(count), String::new(), String::new()]);
    let effective = number(100.0 * run.effective_time_ratio);
    grid.row([words.say("effective").to_owned(), effective, String::new(), "%".to_owned()]);
    grid.row([
        words.say("spares").to_owned(),
        run.spare_chips.to_string(),
        String::new(),
        words.say("chips").to_owned(),
    ]);
    grid
}
