//! The report of `cluster`: policies side by side, who held which chips when, and how busy each chip was.

use crate::run::{Comparison, Prepared, Side};
use crate::tables::{cluster_money, name, productive, waited};
use cluster::results::Summary;
use cluster::{TenantId, Why};
use report::chart::{Bar, Chart, Drawing, Heat, Lane, Stack, Stretch};
use report::page::{Document, Grid, GridCell, Section};
use report::{Surroundings, Words};

/// Chips that are drawn at most.
const MOST_CHIPS: usize = 4096;
/// Lanes that are drawn at most.
const MOST_LANES: usize = 192;

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

fn share(part: f64, all: f64) -> f64 {
    if all > 0.0 { 100.0 * part / all } else { 0.0 }
}

/// The report of runs; stretches are drawn where the runs kept them.
pub fn document(comparison: &Comparison<'_>, setting: &Surroundings<'_>) -> Document {
    let words = setting.words;
    let prepared = comparison.prepared;
    let tree = &prepared.setup.tree;
    let title = words.fill(
        "cluster-title",
        &[
            ("name", &prepared.name),
            ("chips", &tree.chips().to_string()),
            ("nodes", &tree.nodes().to_string()),
            ("jobs", &prepared.setup.plans.len().to_string()),
        ],
    );
    let mut document = Document::new(words, title);
    headline(&mut document, comparison);
    let charts = vec![waits(words, comparison), used(words, comparison), reasons(words, comparison)];
    document.push(Section::new(words.say("policies")).table(policies(words, comparison)).charts(charts));
    document.push(Section::new(words.say("services")).table(services(words, comparison)));
    for side in &comparison.sides {
        let title = words.fill("under", &[("policy", &side.label)]);
        let charts = vec![gantt(words, prepared, side), map(words, prepared, side)];
        document.push(Section::new(title).charts(charts).table(tenants(words, prepared, side)));
    }
    for note in &prepared.notes {
        document.assume(words.say("note"), note.clone());
    }
    document.assume(words.say("pue"), format!("{:.2}", prepared.rates.pue));
    let system = prepared.raw.cluster.system.as_deref();
    let chip = system.and_then(|system| setting.catalog.system(system).ok()).map(|system| system.chip);
    setting.close(&mut document, system.into_iter().chain(chip.as_deref()));
    document
}

fn headline(document: &mut Document, comparison: &Comparison<'_>) {
    let words = document.words;
    let summary = |side: &Side| Summary::of(side.outcome.records.iter(), side.outcome.end);
    let mut best: Vec<(&Side, Summary)> = comparison.sides.iter().map(|side| (side, summary(side))).collect();
    best.sort_by(|a, b| a.1.completion.total_cmp(&b.1.completion));
    let Some((side, first)) = best.first() else { return };
    let all = side.outcome.usage.chip_seconds;
    document.headline = words.fill(
        "cluster-headline",
        &[
            ("policy", &side.label),
            ("finished", &first.finished.to_string()),
            ("jobs", &first.jobs.to_string()),
            ("completion", &units::Seconds::new(first.completion).to_string()),
            ("wait", &units::Seconds::new(first.wait).to_string()),
            ("used", &whole(share(productive(side), all))),
        ],
    );
    document.certainty = match best.last() {
        Some((last, worst)) if best.len() > 1 => words.fill(
            "cluster-worst",
            &[("policy", &last.label), ("completion", &units::Seconds::new(worst.completion).to_string())],
        ),
        _ => words.say("cluster-sure").to_owned(),
    };
}

fn policies(words: &Words, comparison: &Comparison<'_>) -> Grid {
    let mut grid = Grid::default()
        .words(words.say("policy"))
        .figures(words.say("finished"), "")
        .figures(words.say("wait-mean"), "min")
        .figures("p50", "min")
        .figures("p90", "min")
        .figures("p99", "min")
        .figures(words.say("completion"), "h")
        .figures(words.say("slowdown"), "")
        .figures(words.say("allocated"), "%")
        .figures(words.say("productive"), "%")
        .figures(words.say("stopped"), "")
        .figures(words.say("failures"), "")
        .figures(words.say("energy"), "MWh")
        .figures(words.say("money"), "$");
    for side in &comparison.sides {
        let outcome = &side.outcome;
        let summary = Summary::of(outcome.records.iter(), outcome.end);
        let all = outcome.usage.chip_seconds;
        let energy = comparison.prepared.at_plug(units::Joules::new(outcome.usage.energy));
        let money = cluster_money(comparison.prepared, side);
        let minutes = |seconds: f64| GridCell::from(format!("{:.1}", seconds / 60.0));
        let unknown = || words.say("unknown").to_owned();
        grid.row([
            side.label.as_str().into(),
            format!("{}/{}", summary.finished, summary.jobs).into(),
            minutes(summary.wait),
            minutes(summary.wait_p50),
            minutes(summary.wait_p90),
            minutes(summary.wait_p99),
            format!("{:.2}", summary.completion / 3600.0).into(),
            format!("{:.2}", summary.slowdown).into(),
            format!("{:.1}", share(outcome.usage.allocated, all)).into(),
            format!("{:.1}", share(productive(side), all)).into(),
            summary.preemptions.to_string().into(),
            summary.failures.to_string().into(),
            energy.map_or_else(unknown, |energy| format!("{:.2}", energy.get() / 3.6e9)).into(),
            money.map_or_else(unknown, whole).into(),
        ]);
    }
    grid
}

fn bars(comparison: &Comparison<'_>, of: impl Fn(&Side) -> f64, text: impl Fn(f64) -> String) -> Drawing {
    let bar = |side: &Side| {
        let value = of(side);
        Bar { name: side.label.clone(), value, band: None, text: text(value) }
    };
    Drawing::Bars(comparison.sides.iter().map(bar).collect())
}

fn waits(words: &Words, comparison: &Comparison<'_>) -> Chart {
    let mean = |side: &Side| Summary::of(side.outcome.records.iter(), side.outcome.end).wait / 60.0;
    Chart::new(words.say("wait-mean"), "min", bars(comparison, mean, |value| format!("{value:.1}")))
}

fn used(words: &Words, comparison: &Comparison<'_>) -> Chart {
    let parts = ["part-kept", "part-lost", "part-free", "part-closed"].map(|part| words.say(part).to_owned());
    let stack = |side: &Side| {
        let usage = &side.outcome.usage;
        let kept = share(productive(side), usage.chip_seconds);
        let held = share(usage.allocated, usage.chip_seconds);
        let closed = share(usage.closed, usage.chip_seconds);
        let values = vec![kept, (held - kept).max(0.0), (100.0 - held - closed).max(0.0), closed];
        Stack { name: side.label.clone(), values, text: format!("{kept:.0} %") }
    };
    let stacks = comparison.sides.iter().map(stack).collect();
    Chart::new(words.say("chip-time"), "%", Drawing::Stacked { parts: parts.to_vec(), stacks, limit: None })
}

fn reasons(words: &Words, comparison: &Comparison<'_>) -> Chart {
    let parts = Why::ALL.map(|why| words.term(why.name()).to_owned()).to_vec();
    let stack = |side: &Side| {
        let sums = waited(side);
        let total: f64 = sums.iter().sum();
        let values = sums.iter().map(|seconds| seconds / 3600.0).collect();
        Stack { name: side.label.clone(), values, text: format!("{:.0} h", total / 3600.0) }
    };
    let stacks = comparison.sides.iter().map(stack).collect();
    Chart::new(words.say("why-waited"), "h", Drawing::Stacked { parts, stacks, limit: None })
}

fn services(words: &Words, comparison: &Comparison<'_>) -> Grid {
    let mut grid = Grid::default()
        .words(words.say("service"))
        .words(words.say("policy"))
        .figures(words.say("requests"), "")
        .figures(words.say("within-slo"), "%")
        .figures(words.say("replicas"), "")
        .figures(words.say("chip-hours"), "");
    for side in &comparison.sides {
        for record in &side.outcome.services {
            grid.row([
                record.name.clone(),
                side.label.clone(),
                whole(record.requests),
                format!("{:.2}", share(record.within, record.requests)),
                format!("{}–{}", record.least, record.most),
                whole(record.chip_seconds / 3600.0),
            ]);
        }
    }
    grid
}

fn tenants(words: &Words, prepared: &Prepared, side: &Side) -> Grid {
    let mut grid = Grid::default()
        .words(words.say("tenant"))
        .figures(words.say("jobs"), "")
        .figures(words.say("wait-mean"), "min")
        .figures(words.say("completion"), "h")
        .figures(words.say("slowdown"), "")
        .figures(words.say("chip-hours"), "")
        .figures(words.say("money"), "$");
    for (index, tenant) in prepared.setup.tenants.iter().enumerate() {
        let id = TenantId(index as u32);
        let own = || side.outcome.records.iter().filter(move |record| record.tenant == id);
        let summary = Summary::of(own(), side.outcome.end);
        let chip_seconds: f64 = own().map(|record| record.chip_seconds).sum();
        let energy: f64 = own().map(|record| record.energy).sum();
        let money = prepared.rates.money(chip_seconds, energy);
        grid.row([
            tenant.name.clone(),
            summary.jobs.to_string(),
            format!("{:.1}", summary.wait / 60.0),
            format!("{:.2}", summary.completion / 3600.0),
            format!("{:.2}", summary.slowdown),
            whole(chip_seconds / 3600.0),
            money.map_or_else(|| words.say("unknown").to_owned(), whole),
        ]);
    }
    grid
}

/// Nodes down, time across; a stretch's height is its share of the node's chips, its colour its tenant.
fn gantt(words: &Words, prepared: &Prepared, side: &Side) -> Chart {
    let tree = &prepared.setup.tree;
    let nodes = (tree.nodes() as usize).min(MOST_LANES);
    let mut lanes: Vec<Lane> = (0..nodes)
        .map(|node| Lane { name: format!("{} {node}", words.say("node")), stretches: Vec::new() })
        .collect();
    let mut drawn = 0;
    for stretch in &side.outcome.stretches {
        let record = &side.outcome.records[stretch.job.0 as usize];
        for part in &stretch.parts {
            let Some(lane) = lanes.get_mut(part.node.0 as usize) else { continue };
            drawn += 1;
            let capacity = f64::from(tree.capacity(part.node));
            let low = f64::from(part.chips.trailing_zeros()) / capacity;
            lane.stretches.push(Stretch {
                from: stretch.from / 3600.0,
                to: stretch.to / 3600.0,
                group: record.tenant.0 as usize,
                edges: (low, low + f64::from(part.count()) / capacity),
                title: format!("{} ({})", name(prepared, record), record.kind.name()),
            });
        }
    }
    let groups = prepared.setup.tenants.iter().map(|tenant| tenant.name.clone()).collect();
    let all = drawn <= report::chart::MOST_STRETCHES && tree.nodes() as usize <= MOST_LANES;
    let note = if all { String::new() } else { words.say("gantt-cut").to_owned() };
    Chart::new(words.say("gantt"), "", Drawing::Lanes { unit: "h".to_owned(), groups, lanes }).with_note(note)
}

/// The share of the run in which each chip was held.
fn map(words: &Words, prepared: &Prepared, side: &Side) -> Chart {
    let tree = &prepared.setup.tree;
    let mut rows: Vec<(String, Vec<Option<f64>>)> = Vec::new();
    let mut chips = 0;
    if !side.outcome.stretches.is_empty() {
        for node in 0..tree.nodes() {
            let capacity = tree.capacity(cluster::NodeId(node)) as usize;
            chips += capacity;
            if chips > MOST_CHIPS {
                break;
            }
            rows.push((format!("{} {node}", words.say("node")), vec![Some(0.0); capacity]));
        }
    }
    for stretch in &side.outcome.stretches {
        let held = share(stretch.to - stretch.from, side.outcome.end);
        for part in &stretch.parts {
            let Some((_, cells)) = rows.get_mut(part.node.0 as usize) else { continue };
            for (chip, cell) in cells.iter_mut().enumerate() {
                if part.chips >> chip & 1 == 1 {
                    *cell = cell.map(|value| value + held);
                }
            }
        }
    }
    let heat = Heat { rows, ends: (0.0, 100.0), cell: words.say("chip").to_owned() };
    Chart::new(words.say("held-map"), "%", Drawing::Heat(heat)).with_note(words.say("held-note"))
}
