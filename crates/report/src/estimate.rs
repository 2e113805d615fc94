//! An estimate as text and as JSON.

use crate::table;
use cost::step::{Basis, Bound, Evidence, Family};
use estimate::{Estimate, Figure, Pool, Roles};
use hardware::Grade;
use serde_json::{Map, Value, json};
use std::fmt::{Display, Write};
use std::ops::Mul;

/// What instances do, as texts and pages call it.
pub(crate) fn role(role: Roles) -> &'static str {
    match role {
        Roles::Both => "aggregated",
        Roles::Prefill => "prefill",
        Roles::Decode => "decode",
    }
}

fn banded<T: Copy + Display + Mul<f64, Output = T>>(figure: &Figure<T>, grade: Grade) -> String {
    let (low, high) = figure.band();
    format!("{}  (80 %: {low} to {high}; {grade})", figure.value)
}

/// In words: what a family's prices rest on.
pub(crate) fn basis(evidence: &Evidence) -> String {
    match &evidence.basis {
        Basis::Measured => format!("measured ({} rows)", evidence.rows),
        Basis::Derived => "derived from published figures".to_owned(),
        Basis::Extrapolated(how_far) => format!("extrapolated {how_far} ({} rows)", evidence.rows),
        Basis::Transferred(from) => format!("transferred from {from}"),
        Basis::Generic => "generic".to_owned(),
    }
}

/// For people.
pub fn estimate_text(estimate: &Estimate) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<22}{value}");
    };
    let (grade, money_grade) = (estimate.grade(), estimate.money_grade());
    if let Some(pool) = estimate.pools.first() {
        let deployment = pool.model.deployment();
        line("model", deployment.model.id.clone());
        line("system", format!("{}, {} x {}", deployment.system.name, estimate.chips, deployment.chip.name));
        line("engine", deployment.engine.name.clone());
    }
    for pool in &estimate.pools {
        let layout = pool.model.deployment().layout;
        let sizes = format!(
            "{} x (tp {} pp {} dp {} ep {} moe-tp {})",
            pool.instances, layout.tp, layout.pp, layout.dp, layout.ep, layout.moe_tp
        );
        line(&format!("{} instances", role(pool.role)), sizes);
    }
    line("concurrency", format!("{:.0} ({:.0} decoding)", estimate.concurrency, estimate.decoding));
    if let Some(ttft) = &estimate.ttft {
        line("TTFT", banded(ttft, grade));
    }
    if let Some(tpot) = &estimate.tpot {
        line("TPOT", banded(tpot, grade));
    }
    line("throughput", banded(&estimate.throughput, grade));
    line("throughput per chip", banded(&estimate.throughput_per_chip(), grade));
    match &estimate.power {
        Some(power) => line("power (IT)", banded(power, grade)),
        None => line("power (IT)", "unknown: the catalog has no rating of this chip".to_owned()),
    }
    if let Some(cost) = &estimate.cost {
        let (value, sigma) = cost.energy;
        line("energy per token", format!("{}, at the facility", banded(&Figure { value, sigma }, grade)));
        let money = cost.money.map_or(
            format!("unknown: the catalog has no price on the basis `{}`", cost.basis),
            |(value, sigma)| {
                format!("{}, basis {}", banded(&Figure { value, sigma }, money_grade), cost.basis)
            },
        );
        line("cost per M tokens", money);
        let (value, sigma) = cost.carbon;
        line("CO2e per M tokens", banded(&Figure { value, sigma }, grade));
    }
    for pool in &estimate.pools {
        text.push_str(&pool_text(pool));
    }
    text
}

/// The steps behind an estimate, a line each: their time, what bounds them, and the share of each family of terms.
pub fn estimate_line(estimate: &Estimate) -> String {
    let line = |pool: &Pool| {
        let total = pool.step.tally.total();
        let mut shares: Vec<(f64, &str)> = Family::ALL
            .into_iter()
            .map(|family| (pool.step.tally.family_time(family) / total, family.name()))
            .filter(|(share, _)| *share >= 0.005)
            .collect();
        shares.sort_by(|a, b| b.0.total_cmp(&a.0));
        let shares: Vec<String> =
            shares.into_iter().map(|(share, name)| format!("{name} {:.0} %", 100.0 * share)).collect();
        let name = role(pool.role);
        format!("{name} step {}, bound by {}: {}\n", pool.step.time, pool.bound().name(), shares.join(", "))
    };
    estimate.pools.iter().map(line).collect()
}

fn pool_text(pool: &Pool) -> String {
    let mut text = format!(
        "\n{} step: {}, bound by {} ({} takes most){}\n",
        role(pool.role),
        pool.step.time,
        pool.bound().name(),
        pool.largest().name(),
        if pool.step.hidden.get() > 0.0 {
            format!("; {} of communication hidden", pool.step.hidden)
        } else {
            String::new()
        },
    );
    let total = pool.step.tally.total();
    let rows = Family::ALL.into_iter().filter(|family| pool.step.tally.family_time(*family).get() > 0.0).map(
        |family| {
            let evidence = pool.model.evidence(family);
            let mut row = vec![family.name().to_owned(), pool.step.tally.family_time(family).to_string()];
            row.push(format!("{:.1} %", 100.0 * (pool.step.tally.family_time(family) / total)));
            for bound in Bound::ALL {
                let time = pool.step.tally.time(family, bound);
                row.push(if time.get() > 0.0 { time.to_string() } else { "-".to_owned() });
            }
            row.push(format!("{} +-{:.0} %", basis(&evidence), 100.0 * evidence.sigma * estimate::BAND_80));
            row
        },
    );
    text.push_str(&table(
        &["family", "time", "share", "compute", "hbm", "network", "launch", "evidence"],
        rows,
    ));
    text.push('\n');
    let memory = pool.memory();
    let rows = memory.terms().into_iter().map(|(name, bytes)| {
        vec![name.to_owned(), bytes.to_string(), format!("{:.1} %", 100.0 * (bytes / memory.capacity))]
    });
    text.push_str(&table(&["memory per rank", "size", "share"], rows));
    text
}

fn figure<T: Copy + Mul<f64, Output = T>>(
    figure: &Figure<T>,
    grade: Grade,
    unit: &str,
    number: impl Fn(T) -> f64,
) -> Value {
    let (low, high) = figure.band();
    json!({
        "value": number(figure.value), "unit": unit, "low": number(low), "high": number(high), "band": 0.8,
        "grade": grade,
    })
}

/// For programs. Every quantity is `{value, unit}`, with `low` and `high` of the 80 % band where it has one.
pub fn estimate_json(estimate: &Estimate) -> Value {
    let mut object = Map::new();
    object.insert("schema".to_owned(), json!("supernode.estimate/1"));
    if let Some(pool) = estimate.pools.first() {
        let deployment = pool.model.deployment();
        object.insert("model".to_owned(), json!(deployment.model.id));
        object.insert("system".to_owned(), json!(deployment.system.id));
        object.insert("chip".to_owned(), json!(deployment.chip.id));
        object.insert("engine".to_owned(), json!(deployment.engine.id));
        object.insert("evidence_grade".to_owned(), json!(deployment.chip.grade()));
    }
    let (grade, money_grade) = (estimate.grade(), estimate.money_grade());
    object.insert("chips".to_owned(), json!(estimate.chips));
    object.insert("concurrency".to_owned(), json!(estimate.concurrency));
    object.insert("decoding".to_owned(), json!(estimate.decoding));
    if let Some(ttft) = &estimate.ttft {
        object.insert("ttft".to_owned(), figure(ttft, grade, "ms", |time| time.ms()));
    }
    if let Some(tpot) = &estimate.tpot {
        object.insert("tpot".to_owned(), figure(tpot, grade, "ms", |time| time.ms()));
    }
    object
        .insert("throughput".to_owned(), figure(&estimate.throughput, grade, "tokens/s", |rate| rate.get()));
    object.insert(
        "throughput_per_chip".to_owned(),
        figure(&estimate.throughput_per_chip(), grade, "tokens/s", |rate| rate.get()),
    );
    if let Some(power) = &estimate.power {
        object.insert("power".to_owned(), figure(power, grade, "W", |power| power.get()));
    }
    if let Some(cost) = &estimate.cost {
        let (value, sigma) = cost.energy;
        let energy = figure(&Figure { value, sigma }, grade, "J", |energy| energy.get());
        object.insert("energy_per_token".to_owned(), energy);
        object.insert("energy_at".to_owned(), json!("facility"));
        object.insert("cost_basis".to_owned(), json!(cost.basis));
        let money = cost
            .money
            .map(|(value, sigma)| figure(&Figure { value, sigma }, money_grade, "USD", |money| money.get()));
        object.insert("cost_per_million_tokens".to_owned(), json!(money));
        let (value, sigma) = cost.carbon;
        let carbon = figure(&Figure { value, sigma }, grade, "g", |carbon| carbon.get());
        object.insert("co2e_per_million_tokens".to_owned(), carbon);
    }
    object.insert("pools".to_owned(), estimate.pools.iter().map(pool_json).collect());
    Value::Object(object)
}

fn pool_json(pool: &Pool) -> Value {
    let layout = pool.model.deployment().layout;
    let breakdown: Vec<Value> = Family::ALL
        .into_iter()
        .filter(|family| pool.step.tally.family_time(*family).get() > 0.0)
        .map(|family| {
            let evidence = pool.model.evidence(family);
            let mut object = Map::new();
            object.insert("family".to_owned(), json!(family.name()));
            for bound in Bound::ALL {
                object
                    .insert(format!("{}_ms", bound.name()), json!(pool.step.tally.time(family, bound).ms()));
            }
            object.insert("basis".to_owned(), json!(basis(&evidence)));
            object.insert("rows".to_owned(), json!(evidence.rows));
            object.insert("sigma".to_owned(), json!(evidence.sigma));
            Value::Object(object)
        })
        .collect();
    let memory: Map<String, Value> = pool
        .memory()
        .terms()
        .into_iter()
        .map(|(name, bytes)| (name.replace(' ', "_"), json!({ "value": bytes.get(), "unit": "B" })))
        .collect();
    json!({
        "role": role(pool.role),
        "instances": pool.instances,
        "tp": layout.tp, "pp": layout.pp, "dp": layout.dp, "ep": layout.ep, "moe_tp": layout.moe_tp,
        "redundant_experts": layout.redundant_experts,
        "step": { "value": pool.step.time.ms(), "unit": "ms" },
        "hidden_communication": { "value": pool.step.hidden.ms(), "unit": "ms" },
        "bound": pool.bound().name(),
        "breakdown": breakdown,
        "memory": memory,
    })
}
