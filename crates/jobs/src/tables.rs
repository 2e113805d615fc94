//! Results as text and JSON.

use crate::run::{Comparison, Prepared, Side};
use crate::sections;
use cluster::results::{Record, Summary};
use cluster::{TenantId, Why};
use report::table;
use serde_json::{Value, json};
use std::fmt::Write as _;
use units::{Joules, Seconds};

/// Jobs listed one by one at most in text.
const MOST_ROWS: usize = 40;

/// A time of a scheduler; what is below half a millisecond is rounding.
pub(crate) fn time(seconds: f64) -> String {
    if seconds.abs() < 5e-4 { "0 s".to_owned() } else { Seconds::new(seconds).to_string() }
}

pub(crate) fn percent(part: f64, whole: f64) -> String {
    if whole > 0.0 { format!("{:.1} %", 100.0 * part / whole) } else { "-".to_owned() }
}

fn or_unknown(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| value.to_string())
}

fn money(value: Option<f64>) -> String {
    or_unknown(value.map(units::Dollars::new))
}

/// Chip-seconds of a run that made progress that was kept.
pub(crate) fn productive(side: &Side) -> f64 {
    side.outcome.records.iter().map(|record| record.productive).sum()
}

/// What the cluster cost over the run: all of its chips, whoever held them.
pub(crate) fn cluster_money(prepared: &Prepared, side: &Side) -> Option<f64> {
    prepared.rates.money(side.outcome.usage.chip_seconds, side.outcome.usage.energy)
}

/// Tables for people.
pub fn text(comparison: &Comparison<'_>) -> String {
    let prepared = comparison.prepared;
    let tree = &prepared.setup.tree;
    let mut out = format!(
        "{}: {} chips on {} nodes, {} jobs, {} services\n\n",
        prepared.name,
        tree.chips(),
        tree.nodes(),
        prepared.setup.plans.len(),
        prepared.services.len()
    );
    out.push_str(&policies(comparison));
    if !prepared.services.is_empty() {
        let _ = write!(out, "\n{}", services(comparison));
    }
    if comparison.sides.iter().any(|side| !side.windows.is_empty()) {
        let _ = write!(out, "\nWindows, request by request:\n{}", sections::windows(comparison));
    }
    let _ = write!(out, "\nUse by level, share of all chip time:\n{}", sections::levels(comparison));
    let _ = write!(out, "\nWhy jobs waited, share of all waiting time:\n{}", reasons(comparison));
    for side in &comparison.sides {
        if prepared.setup.tenants.len() > 1 {
            let _ = write!(out, "\nTenants under {}:\n{}", side.label, tenants(prepared, side));
        }
        if comparison.sides.len() == 1 {
            let _ = write!(out, "\nJobs:\n{}", jobs(prepared, side));
        }
        for (id, text) in side.outcome.explanations.iter().take(MOST_ROWS) {
            let record = &side.outcome.records[id.0 as usize];
            let _ = writeln!(out, "{} under {}: {text}", name(prepared, record), side.label);
        }
    }
    out
}

fn policies(comparison: &Comparison<'_>) -> String {
    let header = [
        "policy",
        "finished",
        "open",
        "wait mean",
        "p50",
        "p90",
        "p99",
        "completion",
        "slowdown",
        "allocated",
        "productive",
        "goodput",
        "stopped",
        "failed",
        "energy",
        "money",
    ];
    let rows = comparison.sides.iter().map(|side| {
        let (outcome, prepared) = (&side.outcome, comparison.prepared);
        let summary = Summary::of(outcome.records.iter(), outcome.end);
        let all = outcome.usage.chip_seconds;
        let energy = prepared.at_plug(Joules::new(outcome.usage.energy));
        vec![
            side.label.clone(),
            format!("{}/{}", summary.finished, summary.jobs),
            summary.open.to_string(),
            time(summary.wait),
            time(summary.wait_p50),
            time(summary.wait_p90),
            time(summary.wait_p99),
            time(summary.completion),
            format!("{:.2}", summary.slowdown),
            percent(outcome.usage.allocated, all),
            percent(productive(side), all),
            format!("{:.3}", summary.goodput),
            summary.preemptions.to_string(),
            summary.failures.to_string(),
            or_unknown(energy),
            money(cluster_money(prepared, side)),
        ]
    });
    table(&header, rows)
}

fn services(comparison: &Comparison<'_>) -> String {
    let header = [
        "service",
        "policy",
        "requests",
        "within SLO",
        "gave up",
        "replicas",
        "starts",
        "chip-hours",
        "req/s per replica",
        "TTFT",
        "TPOT",
    ];
    let prepared = comparison.prepared;
    let mut rows = Vec::new();
    for side in &comparison.sides {
        for (index, record) in side.outcome.services.iter().enumerate() {
            let priced = prepared.replicas[index];
            rows.push(vec![
                record.name.clone(),
                side.label.clone(),
                format!("{:.0}", record.requests),
                percent(record.within, record.requests),
                percent(record.lost, record.requests),
                format!("{}-{}", record.least, record.most),
                record.starts.to_string(),
                format!("{:.1}", record.chip_seconds / 3600.0),
                format!("{:.3}", prepared.services[index].capacity),
                priced.map_or_else(|| "given".to_owned(), |replica| time(replica.ttft)),
                priced.map_or_else(|| "given".to_owned(), |replica| time(replica.tpot)),
            ]);
        }
    }
    table(&header, rows)
}

/// Waiting time by reason, all tenants together.
pub(crate) fn waited(side: &Side) -> [f64; Why::COUNT] {
    let mut sums = [0.0; Why::COUNT];
    for tenant in &side.outcome.waited {
        for (sum, seconds) in sums.iter_mut().zip(tenant) {
            *sum += seconds;
        }
    }
    sums
}

fn reasons(comparison: &Comparison<'_>) -> String {
    let header: Vec<&str> = ["policy", "waited"].into_iter().chain(Why::ALL.map(Why::name)).collect();
    let rows = comparison.sides.iter().map(|side| {
        let sums = waited(side);
        let total: f64 = sums.iter().sum();
        [side.label.clone(), time(total)]
            .into_iter()
            .chain(sums.map(|seconds| percent(seconds, total)))
            .collect()
    });
    table(&header, rows)
}

fn tenants(prepared: &Prepared, side: &Side) -> String {
    let header = [
        "tenant",
        "jobs",
        "wait mean",
        "p90",
        "completion",
        "slowdown",
        "goodput",
        "chip-hours",
        "energy",
        "money",
        "waits most for",
    ];
    let rows = prepared.setup.tenants.iter().enumerate().map(|(index, tenant)| {
        let id = TenantId(index as u32);
        let own = || side.outcome.records.iter().filter(move |record| record.tenant == id);
        let summary = Summary::of(own(), side.outcome.end);
        // The sum of nothing is minus zero, which reads badly.
        let chip_seconds = own().map(|record| record.chip_seconds).sum::<f64>() + 0.0;
        let energy = own().map(|record| record.energy).sum::<f64>() + 0.0;
        let waited = side.outcome.waited[index];
        let most = (0..Why::COUNT)
            .max_by(|a, b| waited[*a].total_cmp(&waited[*b]))
            .filter(|most| waited[*most] > 0.0);
        vec![
            tenant.name.clone(),
            summary.jobs.to_string(),
            time(summary.wait),
            time(summary.wait_p90),
            time(summary.completion),
            format!("{:.2}", summary.slowdown),
            format!("{:.3}", summary.goodput),
            format!("{:.1}", chip_seconds / 3600.0),
            or_unknown(prepared.at_plug(Joules::new(energy))),
            money(prepared.rates.money(chip_seconds, energy)),
            most.map_or("-", |most| Why::ALL[most].name()).to_owned(),
        ]
    });
    table(&header, rows)
}

/// A job's name: its plan's, or its service's.
pub(crate) fn name(prepared: &Prepared, record: &Record) -> String {
    match (record.plan, record.service) {
        (Some(plan), _) => prepared.setup.plans[plan as usize].name.to_string(),
        (None, Some(service)) => format!("{}/{}", prepared.services[service as usize].name, record.id.0),
        (None, None) => record.id.0.to_string(),
    }
}

fn jobs(prepared: &Prepared, side: &Side) -> String {
    let header = [
        "job",
        "kind",
        "tenant",
        "chips",
        "submitted",
        "wait",
        "run",
        "completion",
        "slowdown",
        "goodput",
        "stopped",
        "energy",
        "money",
        "end",
    ];
    let end = side.outcome.end;
    let own: Vec<&Record> = side.outcome.records.iter().filter(|record| record.service.is_none()).collect();
    let rows = own.iter().take(MOST_ROWS).map(|record| {
        let share = if record.chip_seconds > 0.0 { record.productive / record.chip_seconds } else { 0.0 };
        vec![
            name(prepared, record),
            record.kind.name().to_owned(),
            prepared.setup.tenants[record.tenant.0 as usize].name.clone(),
            record.chips.to_string(),
            time(record.submitted),
            time(record.waited(end)),
            time(record.running),
            record.completion().map_or_else(|| "-".to_owned(), time),
            record.slowdown().map_or_else(|| "-".to_owned(), |slowdown| format!("{slowdown:.2}")),
            format!("{share:.3}"),
            (record.preemptions + record.failures).to_string(),
            or_unknown(prepared.at_plug(Joules::new(record.energy))),
            money(prepared.rates.money(record.chip_seconds, record.energy)),
            if record.late == Some(true) {
                format!("{}, late", record.ending.name())
            } else {
                record.ending.name().to_owned()
            },
        ]
    });
    let mut out = table(&header, rows);
    if own.len() > MOST_ROWS {
        let _ = writeln!(out, "... {} more; --json or --out has them all", own.len() - MOST_ROWS);
    }
    out
}

pub(crate) fn value(number: f64, unit: &str) -> Value {
    json!({ "value": number, "unit": unit })
}

fn summary_json(summary: &Summary) -> Value {
    json!({
        "jobs": summary.jobs,
        "finished": summary.finished,
        "rejected": summary.rejected,
        "open": summary.open,
        "wait_mean": value(summary.wait, "s"),
        "wait_p50": value(summary.wait_p50, "s"),
        "wait_p90": value(summary.wait_p90, "s"),
        "wait_p99": value(summary.wait_p99, "s"),
        "completion_mean": value(summary.completion, "s"),
        "slowdown_mean": summary.slowdown,
        "chip_time": value(summary.chip_seconds, "chip*s"),
        "goodput": summary.goodput,
        "preemptions": summary.preemptions,
        "failures": summary.failures,
        "late": summary.late,
    })
}

fn reasons_json(seconds: &[f64; Why::COUNT]) -> Value {
    Why::ALL
        .iter()
        .zip(seconds)
        .map(|(why, seconds)| (why.name().to_owned(), value(*seconds, "s")))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn services_json(outcome: &cluster::Outcome) -> Vec<Value> {
    outcome
        .services
        .iter()
        .map(|service| {
            json!({
                "service": service.name,
                "requests": service.requests,
                "within_slo": service.within,
                "gave_up": service.lost,
                "chip_time": value(service.chip_seconds, "chip*s"),
                "fewest_replicas": service.least,
                "most_replicas": service.most,
                "starts": service.starts,
            })
        })
        .collect()
}

fn record_json(prepared: &Prepared, record: &Record, end: f64) -> Value {
    json!({
        "job": name(prepared, record),
        "kind": record.kind,
        "tenant": prepared.setup.tenants[record.tenant.0 as usize].name,
        "chips": record.chips,
        "submitted": value(record.submitted, "s"),
        "started": record.started.map(|at| value(at, "s")),
        "ended": record.ended.map(|at| value(at, "s")),
        "ending": record.ending,
        "wait": value(record.waited(end), "s"),
        "run": value(record.running, "s"),
        "completion": record.completion().map(|time| value(time, "s")),
        "slowdown": record.slowdown(),
        "chip_time": value(record.chip_seconds, "chip*s"),
        "productive": value(record.productive, "chip*s"),
        "energy": prepared.at_plug(Joules::new(record.energy)).map(|energy| value(energy.get(), "J")),
        "money": prepared.rates.money(record.chip_seconds, record.energy).map(|dollars| value(dollars, "USD")),
        "preemptions": record.preemptions,
        "failures": record.failures,
        "late": record.late,
    })
}

fn side_json(prepared: &Prepared, side: &Side) -> Value {
    let outcome = &side.outcome;
    let tenants: Vec<Value> = prepared
        .setup
        .tenants
        .iter()
        .enumerate()
        .map(|(index, tenant)| {
            let own = outcome.records.iter().filter(|record| record.tenant.0 as usize == index);
            json!({
                "tenant": tenant.name,
                "summary": summary_json(&Summary::of(own, outcome.end)),
                "waited_for": reasons_json(&outcome.waited[index]),
            })
        })
        .collect();
    json!({
        "label": side.label,
        "policy": outcome.policy,
        "end": value(outcome.end, "s"),
        "interrupted": outcome.interrupted,
        "summary": summary_json(&Summary::of(outcome.records.iter(), outcome.end)),
        "chip_time": value(outcome.usage.chip_seconds, "chip*s"),
        "allocated": value(outcome.usage.allocated, "chip*s"),
        "productive": value(productive(side), "chip*s"),
        "closed": value(outcome.usage.closed, "chip*s"),
        "levels": sections::levels_json(prepared, &outcome.usage),
        "energy": prepared.at_plug(Joules::new(outcome.usage.energy)).map(|energy| value(energy.get(), "J")),
        "money": cluster_money(prepared, side).map(|dollars| value(dollars, "USD")),
        "node_failures": outcome.node_failures,
        "waited_for": reasons_json(&waited(side)),
        "tenants": tenants,
        "services": services_json(outcome),
        "windows": side.windows.iter().map(|window| sections::window_json(prepared, window)).collect::<Vec<_>>(),
        "jobs": outcome
            .records
            .iter()
            .filter(|record| record.service.is_none())
            .map(|record| record_json(prepared, record, outcome.end))
            .collect::<Vec<_>>(),
        "explanations": outcome
            .explanations
            .iter()
            .map(|(id, text)| json!({ "job": name(prepared, &outcome.records[id.0 as usize]), "why": text }))
            .collect::<Vec<_>>(),
    })
}

/// Everything as JSON.
pub fn json(comparison: &Comparison<'_>) -> Value {
    let prepared = comparison.prepared;
    json!({
        "schema": "supernode.cluster/1",
        "name": prepared.name,
        "chips": prepared.setup.tree.chips(),
        "nodes": prepared.setup.tree.nodes(),
        "levels": prepared.setup.tree.levels().iter().map(|level| json!({ "name": level.name, "nodes": level.nodes })).collect::<Vec<_>>(),
        "runs": comparison.sides.iter().map(|side| side_json(prepared, side)).collect::<Vec<_>>(),
    })
}
