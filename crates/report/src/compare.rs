//! A comparison of systems as text and as JSON.

use crate::pages::number;
use crate::table::table_keeping;
use crate::words::{Lang, Words};
use planner::compare::{Compared, Entry};
use planner::plan_file::{PoolFile, Value as Figure};
use serde_json::{Value, json};
use std::fmt::Write;

/// Sizes of the instances of a pool.
pub(crate) fn sizes(pool: &PoolFile) -> String {
    let mut text = format!("{} x TP{}", pool.instances, pool.tp);
    if pool.pp > 1 {
        let _ = write!(text, " PP{}", pool.pp);
    }
    if pool.dp > 1 {
        let _ = write!(text, " DP{}", pool.dp);
    }
    if pool.ep > 1 {
        let _ = write!(text, " EP{}", pool.ep);
    }
    text
}

fn optional(value: Option<&Figure>, digits: usize) -> String {
    value.map_or_else(|| "unknown".to_owned(), |figure| format!("{:.digits$}", figure.value))
}

fn row(system: &str, plan: &Compared) -> Vec<String> {
    let best = plan.best();
    let predicted = &best.predicted;
    let (prefill, decode) = match best.pools.as_slice() {
        [prefill, decode] => (sizes(prefill), sizes(decode)),
        [both] => ("the same".to_owned(), sizes(both)),
        _ => (String::new(), String::new()),
    };
    let throughput = &predicted.throughput_per_chip;
    vec![
        system.to_owned(),
        best.pools.last().map_or_else(String::new, |pool| pool.weight_dtype.to_string()),
        prefill,
        decode,
        format!("{:.0}", predicted.chips),
        format!("{:.2} s", predicted.ttft.value),
        format!("{:.1} ms", predicted.tpot.value * 1e3),
        format!("{:.0}", throughput.value),
        throughput
            .high
            .map_or_else(String::new, |high| format!("+-{:.0} %", 100.0 * (high / throughput.value - 1.0))),
        predicted
            .power
            .as_ref()
            .map_or_else(|| "unknown".to_owned(), |power| format!("{:.0} W", power.value / predicted.chips)),
        optional(predicted.energy_per_token.as_ref(), 2),
        optional(predicted.cost_per_million_tokens.as_ref(), 3),
        optional(predicted.co2e_per_million_tokens.as_ref(), 0),
        predicted.bound.clone(),
        plan.grade.to_string(),
    ]
}

/// For people: one row per system, and below why a system has none.
pub fn compare_text(entries: &[Entry]) -> String {
    let header = [
        "system",
        "format",
        "prefill",
        "decode",
        "chips",
        "TTFT",
        "TPOT",
        "tok/s/chip",
        "80 % band",
        "W/chip",
        "J/token",
        "$/M tokens",
        "g CO2e/M",
        "bound",
        "evidence",
    ];
    let rows = entries.iter().filter_map(|entry| Some(row(&entry.system, entry.plan.as_ref().ok()?)));
    let keep = ["tok/s/chip", "80 % band", "$/M tokens", "TPOT", "evidence"];
    let mut text = table_keeping(&header, rows, &keep);
    if let Some(plan) = entries.iter().find_map(|entry| entry.plan.as_ref().ok()) {
        let basis = plan.best().predicted.cost_basis;
        let _ =
            writeln!(text, "Money on the basis `{basis}` for all; energy and carbon at the facility's plug.");
        text.push_str(&sites(entries));
    }
    for entry in entries {
        if let Err(reason) = &entry.plan {
            let _ = writeln!(text, "{}: {reason}", entry.system);
        }
    }
    if entries.iter().filter(|entry| entry.plan.is_ok()).count() > 1 {
        let _ = writeln!(text, "{}", verdict(Words::of(Lang::En), entries));
    }
    text
}

/// What the systems pay and emit, a line each, where it is not the same for all.
fn sites(entries: &[Entry]) -> String {
    let differ = entries.windows(2).any(|pair| pair[0].entrant.site != pair[1].entrant.site);
    let line = |entry: &Entry| {
        let site = &entry.entrant.site;
        format!(
            "{} pays {} at a PUE of {} and emits {}\n",
            entry.system, site.electricity, site.pue, site.carbon
        )
    };
    if differ { entries.iter().map(line).collect() } else { String::new() }
}

/// The systems that can do the job with what they serve per chip, best first.
fn ranked(entries: &[Entry]) -> Vec<(&str, &Figure)> {
    let mut plans: Vec<(&str, &Figure)> = entries
        .iter()
        .filter_map(|entry| {
            let plan = entry.plan.as_ref().ok()?;
            Some((entry.system.as_str(), &plan.best().predicted.throughput_per_chip))
        })
        .collect();
    plans.sort_by(|a, b| b.1.value.total_cmp(&a.1.value));
    plans
}

/// The systems that serve most per chip: the best, and those whose error band overlaps with its own so that nobody can say
/// which is better. Best first, each with its figure.
pub(crate) fn level(entries: &[Entry]) -> Vec<(&str, &Figure)> {
    let mut plans = ranked(entries);
    let Some((_, best)) = plans.first().copied() else { return plans };
    plans.retain(|(_, figure)| {
        let distance = (best.value / figure.value).ln();
        distance <= 0.0 || distance < best.spread().hypot(figure.spread())
    });
    plans
}

/// Which system serves most per chip, or that several do, in a sentence: the headline of the page and the last line of the text.
pub(crate) fn verdict(words: &Words, entries: &[Entry]) -> String {
    let level = level(entries);
    match (level.as_slice(), ranked(entries).as_slice()) {
        ([(_, first), .., (_, last)], _) => {
            let names: Vec<&str> = level.iter().map(|(system, _)| *system).collect();
            words.fill(
                "compare-tie",
                &[
                    ("systems", &names.join(words.say("list-comma"))),
                    ("low", &number(last.value)),
                    ("high", &number(first.value)),
                ],
            )
        }
        (_, [(best, tokens), (second, other), ..]) => words.fill(
            "compare-headline",
            &[
                ("best", best),
                ("tokens", &number(tokens.value)),
                ("second", second),
                ("factor", &format!("{:.2}", tokens.value / other.value)),
                ("other", &number(other.value)),
            ],
        ),
        (_, [(best, tokens)]) => {
            words.fill("compare-single", &[("best", best), ("tokens", &number(tokens.value))])
        }
        _ => words.say("compare-none").to_owned(),
    }
}

/// For programs.
pub fn compare_json(entries: &[Entry]) -> Value {
    let systems: Vec<Value> = entries.iter().map(entry_json).collect();
    json!({ "schema": "supernode.compare/2", "systems": systems })
}

fn entry_json(entry: &Entry) -> Value {
    let plan = match &entry.plan {
        Ok(plan) => plan,
        Err(reason) => {
            return json!({ "system": entry.entrant.system, "label": entry.system, "error": reason });
        }
    };
    let site = &entry.entrant.site;
    json!({
        "system": entry.entrant.system,
        "chip": entry.entrant.chip,
        "region": entry.entrant.region,
        "label": entry.system,
        "site": {
            "electricity": { "value": site.electricity.get(), "unit": "USD/kWh" },
            "carbon": { "value": site.carbon.get(), "unit": "g/kWh" }, "pue": site.pue,
        },
        "name": plan.name,
        "evidence_grade": plan.grade.to_string(),
        "plan": plan.best(),
        "search": plan.file.search,
    })
}
