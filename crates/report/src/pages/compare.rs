//! The report of `compare`.

use super::{Surroundings, figure, maybe, number, spread};
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
                ("tpot", &number(plan.file.job.tpot.value * 1e3)),
                ("ttft", &number(plan.file.job.ttft.value)),
            ],
        ),
        None => words.say("compare-none").to_owned(),
    };
    let mut document = Document::new(words, title);
    headline(&mut document, &plans, entries);
    document.push(Section::new(words.say("compare-table")).table(table(setting, &plans)));
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
    let mut ranked: Vec<(&str, &Value, String)> = plans
        .iter()
        .map(|(system, plan)| (*system, &plan.best().predicted.throughput_per_chip, plan.grade.to_string()))
        .collect();
    ranked.sort_by(|a, b| b.1.value.total_cmp(&a.1.value));
    let Some((best, throughput, grade)) = ranked.first() else {
        document.headline = words.say("compare-none").to_owned();
        return;
    };
    document.headline = match ranked.get(1) {
        Some((second, other, _)) => words.fill(
            "compare-headline",
            &[
                ("best", best),
                ("tokens", &number(throughput.value)),
                ("second", second),
                ("factor", &format!("{:.2}", throughput.value / other.value)),
                ("other", &number(other.value)),
            ],
        ),
        None => words.fill("compare-single", &[("best", best), ("tokens", &number(throughput.value))]),
    };
    let apart = match ranked.get(1) {
        Some((second, ..)) => match crate::compare::tie(entries) {
            Some(_) => words.fill("compare-tie", &[("best", best), ("second", second)]),
            None => words.fill("compare-apart", &[("best", best), ("second", second)]),
        },
        None => String::new(),
    };
    let band = spread(throughput).map_or_else(String::new, |share| {
        words.fill("sure-band", &[("percent", &number(100.0 * share)), ("grade", words.term(grade))])
    });
    document.certainty = format!("{apart} {band}").trim().to_owned();
}

fn sizes(pool: &PoolFile) -> String {
    crate::compare::sizes(pool)
}

fn table(setting: &Surroundings<'_>, plans: &Plans<'_>) -> Grid {
    let words = setting.words;
    let mut grid = Grid::default()
        .words(words.say("system"))
        .words(words.say("format"))
        .words(words.say("prefill"))
        .words(words.say("decode"))
        .figures(words.say("chips"), "")
        .figures("TTFT", "s")
        .figures("TPOT", "ms")
        .figures(words.say("throughput"), words.say("unit-tokens-chip"))
        .figures(words.say("power"), words.say("unit-watt-chip"))
        .figures(words.say("energy"), words.say("unit-joule-token"))
        .figures(words.say("money"), words.say("unit-dollar-million"))
        .figures(words.say("carbon-short"), words.say("unit-gram-million"))
        .words(words.say("bound"))
        .words(words.say("evidence"));
    let most =
        plans.iter().map(|(_, plan)| plan.best().predicted.throughput_per_chip.value).fold(0.0, f64::max);
    for (system, plan) in plans {
        let best = plan.best();
        let predicted = &best.predicted;
        let (prefill, decode) = match best.pools.as_slice() {
            [prefill, decode] => (sizes(prefill), sizes(decode)),
            [both] => (words.say("the-same").to_owned(), sizes(both)),
            _ => (String::new(), String::new()),
        };
        let mut throughput = figure(&predicted.throughput_per_chip, 1.0);
        throughput.strong = predicted.throughput_per_chip.value >= most;
        let power =
            predicted.power.as_ref().map(|power| GridCell::from(number(power.value / predicted.chips)));
        grid.row([
            GridCell { strong: true, ..GridCell::from(*system) },
            best.pools.last().map_or_else(String::new, |pool| pool.weight_dtype.to_string()).into(),
            prefill.into(),
            decode.into(),
            number(predicted.chips).into(),
            number(predicted.ttft.value).into(),
            number(predicted.tpot.value * 1e3).into(),
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
    let stacks = plans.iter().map(|(system, plan)| {
        let values = families.iter().map(|family| plan.step.tally.family_time(*family).ms()).collect();
        Stack { name: (*system).to_owned(), values, text: number(plan.step.tally.total().ms()) }
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
            "ms",
            Drawing::Stacked { parts, stacks: stacks.collect(), limit: None },
        ),
    ]
}
