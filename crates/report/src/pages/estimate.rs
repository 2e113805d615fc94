//! The report of `estimate`.

use super::roofline::roofline;
use super::{Surroundings, duration, number, range, time_unit, values};
use crate::chart::{Chart, Drawing, Stack};
use crate::estimate::role;
use crate::page::{Document, Grid, GridCell, Section};
use crate::words::Words;
use cost::step::{Basis, Bound, Evidence, Family};
use estimate::{Estimate, Figure, Pool};
use std::ops::Mul;

/// The report.
pub fn estimate_document(estimate: &Estimate, setting: &Surroundings<'_>) -> Document {
    let words = setting.words;
    let Some(first) = estimate.pools.first() else { return Document::new(words, "supernode estimate") };
    let deployment = first.model.deployment();
    let title = words.fill(
        "estimate-title",
        &[
            ("model", &deployment.model.id),
            ("system", &deployment.system.name),
            ("chips", &number(estimate.chips)),
            ("chip", &deployment.chip.name),
        ],
    );
    let mut document = Document::new(words, title);
    headline(&mut document, estimate, first);
    document.push(Section::new(words.say("figures")).table(figures(words, estimate)));
    document.push(Section::new(words.say("where-time-goes")).charts(time_charts(words, estimate)));
    for pool in &estimate.pools {
        document.push(
            Section::new(words.fill("step-of", &[("role", words.term(role(pool.role)))]))
                .table(families(words, pool)),
        );
    }
    let memory = estimate.pools.iter().map(|pool| memory(words, pool)).collect();
    document.push(Section::new(words.say("memory-rank")).charts(memory));
    document.push(Section::new(words.say("deployment")).table(instances(words, estimate)));
    document.assume(words.say("engine"), deployment.engine.name.clone());
    document.assume(words.say("in-flight"), number(estimate.concurrency));
    let names: Vec<String> = estimate
        .pools
        .iter()
        .flat_map(|pool| {
            let deployment = pool.model.deployment();
            [&deployment.system.id, &deployment.chip.id, &deployment.engine.id].map(String::clone)
        })
        .collect();
    setting.close(&mut document, names.iter().map(String::as_str));
    document
}

fn headline(document: &mut Document, estimate: &Estimate, first: &Pool) {
    let words = document.words;
    let per_chip = estimate.throughput_per_chip();
    let mut text = words.fill(
        "estimate-headline",
        &[("tokens", &number(estimate.throughput.value.get())), ("chip", &number(per_chip.value.get()))],
    );
    if let Some(tpot) = &estimate.tpot {
        text += &words.fill("estimate-tpot", &[("tpot", &duration(tpot.value.get()))]);
    }
    if let Some(ttft) = &estimate.ttft {
        text += &words.fill("estimate-ttft", &[("ttft", &duration(ttft.value.get()))]);
    }
    document.headline = text + words.say("full-stop");
    let (_, high) = estimate.throughput.band();
    let share = high.get() / estimate.throughput.value.get() - 1.0;
    let grade = first.model.deployment().chip.grade().to_string();
    document.certainty = format!(
        "{} {}",
        words.fill("sure-band", &[("percent", &number(100.0 * share)), ("grade", words.term(&grade))]),
        words.fill(
            "bound-by",
            &[("bound", words.term(first.bound().name())), ("family", words.term(first.largest().name()))]
        )
    );
}

fn cell<T: Copy + Mul<f64, Output = T>>(figure: &Figure<T>, number_of: impl Fn(T) -> f64) -> [GridCell; 2] {
    let (low, high) = figure.band();
    [number(number_of(figure.value)).into(), range(number_of(low), number_of(high)).into()]
}

fn figures(words: &Words, estimate: &Estimate) -> Grid {
    let mut grid = values(words);
    let mut row = |name: &str, [value, band]: [GridCell; 2], unit: &str| {
        grid.row([name.into(), value, band, unit.into()]);
    };
    if let Some(ttft) = &estimate.ttft {
        let (unit, scale) = time_unit([ttft.band().1.get()]);
        row("TTFT", cell(ttft, |time| time.get() * scale), unit);
    }
    if let Some(tpot) = &estimate.tpot {
        let (unit, scale) = time_unit([tpot.band().1.get()]);
        row("TPOT", cell(tpot, |time| time.get() * scale), unit);
    }
    row(words.say("throughput-all"), cell(&estimate.throughput, |rate| rate.get()), words.say("unit-tokens"));
    let per_chip = estimate.throughput_per_chip();
    row(words.say("throughput"), cell(&per_chip, |rate| rate.get()), words.say("unit-tokens-chip"));
    match &estimate.power {
        Some(power) => row(words.say("power-it"), cell(power, |power| power.get() / 1e3), "kW"),
        None => row(words.say("power-it"), [words.say("unknown").into(), "".into()], "kW"),
    }
    if let Some(cost) = &estimate.cost {
        let (value, sigma) = cost.energy;
        let energy = Figure { value, sigma };
        row(words.say("energy-plug"), cell(&energy, |energy| energy.get()), words.say("unit-joule-token"));
        let money = cost.money.map(|(value, sigma)| cell(&Figure { value, sigma }, |money| money.get()));
        let money = money.unwrap_or_else(|| [words.say("unknown").into(), "".into()]);
        row(words.say("money"), money, words.say("unit-dollar-million"));
        let (value, sigma) = cost.carbon;
        let carbon = Figure { value, sigma };
        row(words.say("carbon-short"), cell(&carbon, |carbon| carbon.get()), words.say("unit-gram-million"));
    }
    grid
}

fn time_charts(words: &Words, estimate: &Estimate) -> Vec<Chart> {
    let mut charts = Vec::new();
    for pool in &estimate.pools {
        let tally = &pool.step.tally;
        let (unit, scale) = time_unit([tally.total().get()]);
        let parts = Bound::ALL.map(|bound| words.term(bound.name()).to_owned()).to_vec();
        let stacks =
            Family::ALL.into_iter().filter(|family| tally.family_time(*family).get() > 0.0).map(|family| {
                Stack {
                    name: words.term(family.name()).to_owned(),
                    values: Bound::ALL.map(|bound| tally.time(family, bound).get() * scale).to_vec(),
                    text: format!("{:.0} %", 100.0 * (tally.family_time(family) / tally.total())),
                }
            });
        let title = words
            .fill("time-of", &[("role", words.term(role(pool.role))), ("time", &pool.step.time.to_string())]);
        let hidden = match pool.step.hidden.get() {
            hidden if hidden > 0.0 => words.fill("hidden", &[("time", &pool.step.hidden.to_string())]),
            _ => String::new(),
        };
        charts.push(
            Chart::new(title, unit, Drawing::Stacked { parts, stacks: stacks.collect(), limit: None })
                .with_note(hidden),
        );
    }
    charts.push(roofline(words, &estimate.pools, role));
    charts
}

fn families(words: &Words, pool: &Pool) -> Grid {
    let tally = &pool.step.tally;
    let (unit, scale) = time_unit([tally.total().get()]);
    let mut grid = Grid::default()
        .words(words.say("family"))
        .figures(words.say("time"), unit)
        .figures(words.say("share"), "%");
    for bound in Bound::ALL {
        grid = grid.figures(words.term(bound.name()), unit);
    }
    grid = grid.words(words.say("priced-from")).figures(words.say("band"), "±%");
    for family in Family::ALL.into_iter().filter(|family| tally.family_time(*family).get() > 0.0) {
        let evidence = pool.model.evidence(family);
        let mut row = vec![
            words.term(family.name()).to_owned(),
            number(tally.family_time(family).get() * scale),
            number(100.0 * (tally.family_time(family) / tally.total())),
        ];
        for bound in Bound::ALL {
            let time = tally.time(family, bound).get() * scale;
            row.push(if time > 0.0 { number(time) } else { String::new() });
        }
        row.push(priced_from(words, &evidence));
        row.push(format!("{:.0}", 100.0 * evidence.sigma * estimate::BAND_80));
        grid.row(row);
    }
    grid
}

/// What a family's prices rest on.
fn priced_from(words: &Words, evidence: &Evidence) -> String {
    let rows = evidence.rows.to_string();
    match &evidence.basis {
        Basis::Measured => words.fill("from-measured", &[("rows", &rows)]),
        Basis::Derived => words.say("from-derived").to_owned(),
        Basis::Extrapolated(far) => words.fill("from-extrapolated", &[("far", far), ("rows", &rows)]),
        Basis::Transferred(from) => words.fill("from-transferred", &[("from", from)]),
        Basis::Generic => words.say("from-generic").to_owned(),
    }
}

fn memory(words: &Words, pool: &Pool) -> Chart {
    let memory = pool.memory();
    let gigabytes = |bytes: units::Bytes| bytes.get() / 1e9;
    let terms = memory.terms();
    let parts = terms.iter().map(|(name, _)| words.term(name).to_owned()).collect();
    let stack = Stack {
        name: words.term(role(pool.role)).to_owned(),
        values: terms.iter().map(|(_, bytes)| gigabytes(*bytes)).collect(),
        text: format!("{} GB", number(terms.iter().map(|(_, bytes)| gigabytes(*bytes)).sum())),
    };
    let capacity = gigabytes(memory.capacity);
    let name = words.fill("capacity-of", &[("size", &number(capacity))]);
    let kind = Drawing::Stacked { parts, stacks: vec![stack], limit: Some((capacity, name)) };
    Chart::new(words.fill("memory-of", &[("role", words.term(role(pool.role)))]), "GB", kind)
}

fn instances(words: &Words, estimate: &Estimate) -> Grid {
    let mut grid = Grid::default()
        .words(words.say("role"))
        .figures(words.say("instances"), "")
        .figures("TP", "")
        .figures("PP", "")
        .figures("DP", "")
        .figures("EP", "")
        .figures("MoE-TP", "")
        .words(words.say("system"));
    for pool in &estimate.pools {
        let deployment = pool.model.deployment();
        let layout = deployment.layout;
        let mut row = vec![words.term(role(pool.role)).to_owned(), pool.instances.to_string()];
        row.extend([layout.tp, layout.pp, layout.dp, layout.ep, layout.moe_tp].map(|size| size.to_string()));
        row.push(deployment.system.id.clone());
        grid.row(row);
    }
    grid
}
