//! The report of `compare`.

use super::{Surroundings, duration, figure, maybe, number, spread, time_unit};
use crate::chart::{Bar, Chart, Drawing, Stack};
use crate::page::{Document, Grid, GridCell, Section};
use cost::step::Family;
use planner::compare::{Compared, Entry};
use planner::plan_file::{PoolFile, Value};

type Plans<'a> = Vec<(&'a str, &'a Compared)>;

/// The report.
pub fn compare_document(entries: &[Entry], setting: &Surroundings<'_>) -> Document {
    let words = setting.words;
    let plans: Plans<'_> =
        entries.iter().filter_map(|entry| Some((entry.system.as_str(), entry.plan.as_ref().ok()?))).collect();
    let title = match plans.first() {
        Some((_, plan)) => words.fill(
            "compare-title",
            &[
                ("model", &plan.file.model),
                ("isl", &plan.file.job.isl.to_string()),
                ("osl", &plan.file.job.osl.to_string()),
                ("tpot", &duration(plan.file.job.tpot.value)),
                ("ttft", &duration(plan.file.job.ttft.value)),
            ],
        ),
        None => words.say("compare-none").to_owned(),
    };
    let mut document = Document::new(words, title);
    headline(&mut document, &plans, entries);
    let level: Vec<&str> = crate::compare::level(entries).into_iter().map(|(system, _)| system).collect();
    document.push(Section::new(words.say("compare-table")).table(table(setting, &plans, &level)));
    document.push(Section::new(words.say("compare-charts")).charts(charts(setting, &plans)));
    let failed =
        entries.iter().filter_map(|entry| Some((entry.system.clone(), entry.plan.as_ref().err()?.clone())));
    document.push(Section::new(words.say("compare-without")).table(Grid::pairs(
        words.say("system"),
        words.say("why"),
        failed,
    )));
    let pools = || plans.iter().flat_map(|(_, plan)| &plan.best().pools);
    document.assume(words.say("engine"), unique(pools().map(|pool| pool.engine.clone())));
    document.assume(words.say("search"), words.say("compare-search"));
    let chips: Vec<String> = pools().map(|pool| pool.chip.clone()).collect();
    let names = plans.iter().map(|(system, _)| *system).chain(chips.iter().map(String::as_str));
    setting.close(&mut document, names);
    document
}

pub(super) fn unique(names: impl Iterator<Item = String>) -> String {
    let mut seen: Vec<String> = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen.join(", ")
}

fn headline(document: &mut Document, plans: &Plans<'_>, entries: &[Entry]) {
    let words = document.words;
    document.headline = crate::compare::verdict(words, entries);
    let mut ranked: Vec<(&str, &Value, String)> = plans
        .iter()
        .map(|(system, plan)| (*system, &plan.best().predicted.throughput_per_chip, plan.grade.to_string()))
        .collect();
    ranked.sort_by(|a, b| b.1.value.total_cmp(&a.1.value));
    let Some((best, throughput, grade)) = ranked.first() else { return };
    let apart = match ranked.get(1) {
        Some((second, ..)) if crate::compare::level(entries).len() < 2 => {
            words.fill("compare-apart", &[("best", best), ("second", second)])
        }
        _ => String::new(),
    };
    let band = spread(throughput).map_or_else(String::new, |share| {
        words.fill("sure-band", &[("percent", &number(100.0 * share)), ("grade", words.term(grade))])
    });
    document.certainty = format!("{apart} {band}").trim().to_owned();
}

fn sizes(pool: &PoolFile) -> String {
    crate::compare::sizes(pool)
}

fn table(setting: &Surroundings<'_>, plans: &Plans<'_>, level: &[&str]) -> Grid {
    let words = setting.words;
    let (unit, scale) = time_unit(plans.iter().map(|(_, plan)| plan.best().predicted.tpot.value));
    let mut grid = Grid::default()
        .words(words.say("system"))
        .words(words.say("format"))
        .words(words.say("prefill"))
        .words(words.say("decode"))
        .figures(words.say("chips"), "")
        .figures("TTFT", "s")
        .figures("TPOT", unit)
        .figures(words.say("throughput"), words.say("unit-tokens-chip"))
        .figures(words.say("power"), words.say("unit-watt-chip"))
        .figures(words.say("energy"), words.say("unit-joule-token"))
        .figures(words.say("money"), words.say("unit-dollar-million"))
        .figures(words.say("carbon-short"), words.say("unit-gram-million"))
        .words(words.say("bound"))
        .words(words.say("evidence"));
    for (system, plan) in plans {
        let best = plan.best();
        let predicted = &best.predicted;
        let (prefill, decode) = match best.pools.as_slice() {
            [prefill, decode] => (sizes(prefill), sizes(decode)),
            [both] => (words.say("the-same").to_owned(), sizes(both)),
            _ => (String::new(), String::new()),
        };
        let mut throughput = figure(&predicted.throughput_per_chip, 1.0);
        throughput.strong = level.contains(system);
        let power =
            predicted.power.as_ref().map(|power| GridCell::from(number(power.value / predicted.chips)));
        grid.row([
            GridCell { strong: true, ..GridCell::from(*system) },
            best.pools.last().map_or_else(String::new, |pool| pool.weight_dtype.to_string()).into(),
            prefill.into(),
            decode.into(),
            number(predicted.chips).into(),
            number(predicted.ttft.value).into(),
            number(predicted.tpot.value * scale).into(),
            throughput,
            power.unwrap_or_else(|| words.say("unknown").into()),
            maybe(words, predicted.energy_per_token.as_ref()),
            maybe(words, predicted.cost_per_million_tokens.as_ref()),
            maybe(words, predicted.co2e_per_million_tokens.as_ref()),
            words.term(&predicted.bound).into(),
            plan.grade.into(),
        ]);
    }
    grid
}

fn charts(setting: &Surroundings<'_>, plans: &Plans<'_>) -> Vec<Chart> {
    let words = setting.words;
    let bars = |value: fn(&Compared) -> Option<&Value>| -> Drawing {
        let bar = |(system, plan): &(&str, &Compared)| {
            let figure = value(plan)?;
            let text = number(figure.value);
            Some(Bar {
                name: (*system).to_owned(),
                value: figure.value,
                band: figure.low.zip(figure.high),
                text,
            })
        };
        let mut bars: Vec<Bar> = plans.iter().filter_map(bar).collect();
        bars.sort_by(|a, b| b.value.total_cmp(&a.value));
        Drawing::Bars(bars)
    };
    let families: Vec<Family> = Family::ALL
        .into_iter()
        .filter(|family| plans.iter().any(|(_, plan)| plan.step.tally.family_time(*family).get() > 0.0))
        .collect();
    let (unit, scale) = time_unit(plans.iter().map(|(_, plan)| plan.step.tally.total().get()));
    let stacks = plans.iter().map(|(system, plan)| {
        let time = |family: &Family| plan.step.tally.family_time(*family).get() * scale;
        let values = families.iter().map(time).collect();
        Stack { name: (*system).to_owned(), values, text: number(plan.step.tally.total().get() * scale) }
    });
    let parts = families.iter().map(|family| words.term(family.name()).to_owned()).collect();
    vec![
        Chart::new(
            words.say("throughput"),
            words.say("unit-tokens-chip"),
            bars(|plan| Some(&plan.best().predicted.throughput_per_chip)),
        )
        .with_note(words.say("whiskers")),
        Chart::new(
            words.say("money"),
            words.say("unit-dollar-million"),
            bars(|plan| plan.best().predicted.cost_per_million_tokens.as_ref()),
        ),
        Chart::new(
            words.say("energy"),
            words.say("unit-joule-token"),
            bars(|plan| plan.best().predicted.energy_per_token.as_ref()),
        ),
        Chart::new(
            words.say("decode-step"),
            unit,
            Drawing::Stacked { parts, stacks: stacks.collect(), limit: None },
        ),
    ]
}
