//! The report of `simulate`.

mod charts;
mod watch;

pub use watch::Happenings;

use super::{Surroundings, duration, number, range, time_unit, values};
use crate::page::{Document, Grid, GridCell, Section};
use crate::simulate::bands::{Band, Bands, bands};
use crate::simulate::summary::{PERCENTILES, Sums, latencies, sums};
use crate::words::Words;
use scenario::{Costs, Outcome};
use sim::sketch::Sketch;

/// The report of a run that `watched` was at.
pub fn simulate_document<O>(
    outcome: &Outcome<O>,
    costs: &Costs,
    watched: &Happenings,
    setting: &Surroundings<'_>,
) -> Document {
    let words = setting.words;
    let (sums, bands) = (sums(outcome, costs), bands(outcome, costs));
    let mut document = Document::new(words, outcome.name.clone());
    headline(&mut document, outcome, &sums, &bands);
    document.push(
        Section::new(words.say("summary"))
            .table(totals(words, outcome, &sums, costs, &bands))
            .table(latency(words, outcome, &bands)),
    );
    document.push(Section::new(words.say("latency")).charts(charts::latency(words, &outcome.metrics)));
    document.push(Section::new(words.say("over-time")).charts(charts::over_time(words, outcome, watched)));
    let events = Section::new(words.say("events")).note(watched.left_out(words)).table(watched.table(words));
    document.push(events);
    document.push(Section::new(words.say("supernode-map")).charts(watched.maps(words, outcome)));
    document.push(Section::new(words.say("pools")).table(pools(words, outcome)));
    for note in &outcome.metrics.notes {
        document.assume(words.say("note"), note.clone());
    }
    document.assume(words.say("seed"), outcome.seed.to_string());
    let mut names: Vec<String> = Vec::new();
    for pool in &outcome.pools {
        let deployment = pool.model.deployment();
        names.extend([&deployment.system.id, &deployment.chip.id, &deployment.engine.id].map(String::clone));
    }
    setting.close(&mut document, names.iter().map(String::as_str));
    document
}

fn headline<O>(document: &mut Document, outcome: &Outcome<O>, sums: &Sums, bands: &Bands) {
    let words = document.words;
    let metrics = &outcome.metrics;
    let per_chip = sums.output_rate.map(|rate| rate / sums.chips.max(1e-9));
    let known = |value: Option<f64>| value.map_or_else(|| words.say("unknown").to_owned(), number);
    let tail = crate::simulate::summary::known(&metrics.ttft, |sketch| sketch.quantile(0.99));
    document.headline = words.fill(
        "simulate-headline",
        &[
            ("completed", &number(metrics.completed as f64)),
            ("arrived", &number(outcome.totals.arrived as f64)),
            ("rate", &known(sums.output_rate)),
            ("chip", &known(per_chip)),
            ("ttft", &tail.map_or_else(|| words.say("unknown").to_owned(), duration)),
        ],
    );
    let slo = &metrics.slo;
    let given = slo.ttft.is_some() || slo.tpot.is_some() || slo.e2e.is_some();
    let good = 100.0 * metrics.good as f64 / metrics.completed.max(1) as f64;
    let kept = match given {
        true => words.fill("simulate-good", &[("percent", &number(good))]),
        false => words.say("simulate-no-slo").to_owned(),
    };
    let (_, high) = bands.rate.around(1.0);
    let grade = bands.rate.grade.to_string();
    let percent = number(100.0 * (high - 1.0));
    let band = words.fill("simulate-sure", &[("percent", &percent), ("grade", words.term(&grade))]);
    document.certainty = format!("{kept} {band}");
}

fn totals<O>(words: &Words, outcome: &Outcome<O>, sums: &Sums, costs: &Costs, bands: &Bands) -> Grid {
    let metrics = &outcome.metrics;
    let mut grid = values(words);
    let mut row = |name: &str, value: Option<f64>, band: Option<Band>, scale: f64, unit: &str| {
        let ends = value.zip(band).map(|(value, band)| band.around(value * scale));
        let ends = ends.map_or_else(String::new, |(low, high)| range(low, high));
        let value = value.map_or_else(|| words.say("unknown").to_owned(), |value| number(value * scale));
        grid.row([name.to_owned(), value, ends, unit.to_owned()]);
    };
    let (rate, energy) = (Some(bands.rate), Some(bands.energy));
    let per_chip = sums.output_rate.map(|rate| rate / sums.chips.max(1e-9));
    row(words.say("throughput-all"), sums.output_rate, rate, 1.0, words.say("unit-tokens"));
    row(words.say("throughput"), per_chip, rate, 1.0, words.say("unit-tokens-chip"));
    row(words.say("requests"), sums.request_rate, rate, 1.0, "/s");
    row(words.say("goodput"), sums.goodput, None, 1.0, "/s");
    row(words.say("chips"), Some(sums.chips), None, 1.0, "");
    row(words.say("energy-plug"), sums.joules_per_token, energy, 1.0, words.say("unit-joule-token"));
    row(words.say("power-mean"), sums.mean_power, Some(bands.power), 1e-3, "kW");
    row(words.say("power-peak"), Some(metrics.peak_power().get()), None, 1e-3, "kW");
    let money = format!("{} ({})", words.say("unit-dollar-million"), costs.site.basis);
    row(words.say("money"), sums.cost, Some(bands.money), 1.0, &money);
    row(words.say("carbon-short"), sums.carbon, Some(bands.carbon), 1.0, words.say("unit-gram-million"));
    for (name, count) in [
        (words.say("failures"), metrics.failures),
        (words.say("restarts"), metrics.restarts),
        (words.say("cancelled"), metrics.cancelled),
    ] {
        if count > 0 {
            row(name, Some(count as f64), None, 1.0, "");
        }
    }
    for (reason, refused) in &metrics.rejected {
        let name = format!("{}: {}", words.say("rejected"), reason.words());
        row(&name, Some(*refused as f64), None, 1.0, "");
    }
    grid
}

fn latency<O>(words: &Words, outcome: &Outcome<O>, bands: &Bands) -> Grid {
    let all = latencies(outcome, bands);
    let longest = all.iter().filter_map(|(_, sketch, _)| {
        crate::simulate::summary::known(sketch, |sketch: &Sketch| sketch.quantile(0.999))
    });
    let (unit, scale) = time_unit(longest);
    let mut grid = Grid::default().words(words.say("latency")).figures(words.say("mean"), unit);
    for (name, _) in PERCENTILES {
        grid = grid.figures(name, unit);
    }
    grid = grid.figures(words.say("band"), "%");
    for (name, sketch, band) in all {
        let shown = |figure: &dyn Fn(&Sketch) -> f64| {
            let value = crate::simulate::summary::known(sketch, figure);
            value.map_or_else(|| words.say("none").to_owned(), |value| number(value * scale))
        };
        let mut row = vec![words.term(name).to_owned(), shown(&Sketch::mean)];
        row.extend(PERCENTILES.iter().map(|(_, q)| shown(&|sketch: &Sketch| sketch.quantile(*q))));
        let (low, high) = band.around(100.0);
        row.push(format!("{:+.0} {:+.0}", low - 100.0, high - 100.0));
        grid.row(row);
    }
    grid
}

fn pools<O>(words: &Words, outcome: &Outcome<O>) -> Grid {
    let mut grid = Grid::default()
        .words(words.say("pool"))
        .words(words.say("system"))
        .figures(words.say("instances"), "")
        .figures(words.say("chips"), words.say("unit-instance"))
        .figures(words.say("busy"), "%")
        .figures(words.say("batch"), "")
        .figures(words.say("kv-mean"), "%")
        .figures(words.say("kv-peak"), "%")
        .figures(words.term("compute"), "%")
        .figures("HBM", "%")
        .figures(words.term("network"), "%")
        .figures(words.term("host"), "%");
    for (index, pool) in outcome.pools.iter().enumerate() {
        let row = crate::simulate::pools::pool_row(outcome, index);
        let used = &outcome.used[index];
        let deployment = pool.model.deployment();
        let percent = |share: f64| GridCell::from(number(100.0 * share));
        grid.row([
            format!("{} {}", pool.deployment, pool.name).into(),
            format!("{}, {}", deployment.system.id, deployment.engine.id).into(),
            row.instances.to_string().into(),
            number(pool.chips).into(),
            percent(row.busy),
            number(row.batch).into(),
            percent(row.kv_mean),
            percent(row.kv_peak),
            percent(used.compute),
            percent(used.memory),
            percent(used.link),
            percent(used.host),
        ]);
    }
    grid
}
