//! A serving plan as text and as a page.

use crate::table::{table, table_keeping};
use planner::plan_file::{DeploymentFile, DeploymentMode, PlanFile, PoolFile, Value};
use std::fmt::Write;

/// Columns and rows of the front as it is drawn in text.
const PLOT: (usize, usize) = (64, 16);

/// For people: the front, the two kinds of deployment side by side, why, what was searched, and the best of each size.
pub fn plan_text(plan: &PlanFile) -> String {
    let mut text = head(plan);
    text.push_str(&plot(plan));
    text.push('\n');
    text.push_str(&side_by_side(plan));
    text.push('\n');
    for reason in &plan.reasons {
        let _ = writeln!(text, "{reason}");
    }
    for deployment in [&plan.aggregated, &plan.disaggregated].into_iter().flatten() {
        text.push_str(&confirmation(deployment));
    }
    text.push('\n');
    text.push_str(&top(plan));
    text.push('\n');
    text.push_str(&counts(plan));
    text
}

fn head(plan: &PlanFile) -> String {
    let job = &plan.job;
    format!(
        "{}, {} in and {} out, at most {:.3} s to the first token and {:.1} ms per token; best by {}\n\n",
        plan.model,
        job.isl,
        job.osl,
        job.ttft.value,
        job.tpot.value * 1e3,
        plan.objective
    )
}

/// The front as points: `*` disaggregated, `o` aggregated, `@` the winner.
fn plot(plan: &PlanFile) -> String {
    let speed = |one: &DeploymentFile| one.predicted.tokens_per_user.value;
    let density = |one: &DeploymentFile| one.predicted.throughput_per_chip.value;
    let all = || plan.front.iter().chain([&plan.best]);
    let range = |of: &dyn Fn(&DeploymentFile) -> f64| {
        let values = all().map(of);
        let (low, high) = values.fold((f64::INFINITY, 0.0_f64), |(l, h), v| (l.min(v), h.max(v)));
        if high > low * 1.001 { (low, high) } else { (low * 0.9, high * 1.1) }
    };
    let ((left, right), (bottom, top)) = (range(&speed), range(&density));
    let (columns, rows) = PLOT;
    let mut cells = vec![vec![' '; columns]; rows];
    let mut put = |one: &DeploymentFile, mark: char| {
        let place = |value: f64, (low, high): (f64, f64), count: usize| {
            (((value - low) / (high - low) * (count - 1) as f64).round() as usize).min(count - 1)
        };
        let column = place(speed(one), (left, right), columns);
        let row = rows - 1 - place(density(one), (bottom, top), rows);
        cells[row][column] = mark;
    };
    for one in &plan.front {
        put(one, if one.mode == DeploymentMode::Disaggregated { '*' } else { 'o' });
    }
    put(&plan.best, '@');
    let mut text = "tokens/s per chip    * disaggregated  o aggregated  @ the best\n".to_owned();
    for (row, line) in cells.iter().enumerate() {
        let value = top - (top - bottom) * row as f64 / (rows - 1) as f64;
        let label = if row % 5 == 0 { format!("{value:>9.1}") } else { " ".repeat(9) };
        let line: String = line.iter().collect();
        let _ = writeln!(text, "{label} |{}", line.trim_end());
    }
    let _ = writeln!(text, "{:>9} +{}", "", "-".repeat(columns));
    let (low, high) = (format!("{left:.1}"), format!("{right:.1} tokens/s per user"));
    let gap = (columns + 12).saturating_sub(low.len() + high.len());
    let _ = writeln!(text, "{:>10}{low}{}{high}", "", " ".repeat(gap.max(1)));
    text
}

pub(crate) fn layout(pool: &PoolFile) -> String {
    let mut text = format!("TP{}", pool.tp);
    for (name, size) in [("PP", pool.pp), ("DP", pool.dp), ("EP", pool.ep)] {
        if size > 1 {
            let _ = write!(text, " {name}{size}");
        }
    }
    if pool.redundant_experts > 0 {
        let _ = write!(text, " +{}", pool.redundant_experts);
    }
    text
}

fn formats(pool: &PoolFile) -> String {
    format!("{} (cache {})", pool.weight_dtype, pool.kv_dtype)
}

fn number(value: &Value) -> String {
    match value.unit.as_str() {
        "s" => units::Seconds::new(value.value).to_string(),
        "W" => units::Watts::new(value.value).to_string(),
        "J" => units::Joules::new(value.value).to_string(),
        "USD" => units::Dollars::new(value.value).to_string(),
        "g" => units::GramsCo2::new(value.value).to_string(),
        _ if value.value >= 100.0 => format!("{:.0}", value.value),
        _ => format!("{:.2}", value.value),
    }
}

/// For people: a figure with its band and grade.
pub fn plan_figure(value: &Value) -> String {
    let grade = value.grade.map_or_else(String::new, |grade| format!(" ({grade})"));
    format!("{}{grade}", banded(value))
}

fn banded(value: &Value) -> String {
    match value.high {
        Some(high) => format!("{} +-{:.0} %", number(value), 100.0 * (high / value.value - 1.0)),
        None => number(value),
    }
}

/// The weakest grade among the facts behind a figure.
fn grade(value: Option<&Value>) -> String {
    value.and_then(|value| value.grade).map_or_else(|| "unknown".to_owned(), |grade| grade.to_string())
}

fn optional(value: Option<&Value>) -> String {
    value.map_or_else(|| "unknown".to_owned(), number)
}

/// Both kinds of deployment, a row per figure.
fn side_by_side(plan: &PlanFile) -> String {
    let kinds: Vec<&DeploymentFile> = [&plan.aggregated, &plan.disaggregated].into_iter().flatten().collect();
    let pools = |of: &dyn Fn(&PoolFile) -> String| -> Vec<String> {
        kinds.iter().map(|one| one.pools.iter().map(of).collect::<Vec<_>>().join(" | ")).collect()
    };
    let figures =
        |of: &dyn Fn(&DeploymentFile) -> String| -> Vec<String> { kinds.iter().map(|one| of(one)).collect() };
    let known = |value: Option<&Value>| value.map_or_else(|| "unknown".to_owned(), banded);
    let basis = kinds.first().map_or_else(Default::default, |one| one.predicted.cost_basis);
    let money = format!("$ per M tokens ({basis})");
    let rows: Vec<(&str, Vec<String>)> = vec![
        ("instances", pools(&|pool| format!("{} {}", pool.instances, pool.role))),
        ("on", pools(&|pool| format!("{} under {}", pool.system, pool.engine))),
        ("layout", pools(&layout)),
        ("formats", pools(&formats)),
        ("sequences per rank", pools(&|pool| pool.max_sequences_per_rank.to_string())),
        ("token budget", pools(&|pool| pool.token_budget.to_string())),
        ("draft tokens", pools(&|pool| pool.spec_tokens.to_string())),
        ("chips", pools(&|pool| pool.chips.to_string())),
        ("tokens/s per chip", figures(&|one| banded(&one.predicted.throughput_per_chip))),
        ("tokens/s per user", figures(&|one| banded(&one.predicted.tokens_per_user))),
        ("tokens/s", figures(&|one| banded(&one.predicted.throughput))),
        ("requests/s", figures(&|one| banded(&one.predicted.request_rate))),
        ("in flight", figures(&|one| format!("{:.0}", one.predicted.concurrency))),
        ("TTFT", figures(&|one| banded(&one.predicted.ttft))),
        ("TPOT", figures(&|one| banded(&one.predicted.tpot))),
        ("power", figures(&|one| known(one.predicted.power.as_ref()))),
        ("energy per token (facility)", figures(&|one| known(one.predicted.energy_per_token.as_ref()))),
        (&money, figures(&|one| known(one.predicted.cost_per_million_tokens.as_ref()))),
        ("CO2e per M tokens", figures(&|one| known(one.predicted.co2e_per_million_tokens.as_ref()))),
        ("bound by", figures(&|one| format!("{}, {}", one.predicted.bound, one.predicted.limit))),
        ("evidence", figures(&|one| grade(Some(&one.predicted.throughput)))),
        ("evidence with prices", figures(&|one| grade(one.predicted.cost_per_million_tokens.as_ref()))),
    ];
    let mut header = vec![""];
    header.extend(kinds.iter().map(|one| one.mode.name()));
    table(&header, rows.into_iter().map(|(name, cells)| [vec![name.to_owned()], cells].concat()))
}

fn confirmation(deployment: &DeploymentFile) -> String {
    let Some(run) = &deployment.simulated else { return String::new() };
    format!(
        "Simulated, {}: {} tokens/s ({:+.1} % of the plan), TTFT {}, TPOT {}, over {} requests.\n",
        deployment.mode,
        number(&run.throughput),
        100.0 * run.deviation,
        number(&run.ttft),
        number(&run.tpot),
        run.requests
    )
}

fn top(plan: &PlanFile) -> String {
    let header = [
        "",
        "mode",
        "instances",
        "layout",
        "formats",
        "chips",
        "tok/s/chip",
        "tok/s/user",
        "TTFT",
        "TPOT",
        "$/M",
        "J/token",
    ];
    let rows = plan.top.iter().enumerate().map(|(index, one)| {
        let join =
            |of: &dyn Fn(&PoolFile) -> String| one.pools.iter().map(of).collect::<Vec<_>>().join(" | ");
        let predicted = &one.predicted;
        vec![
            (index + 1).to_string(),
            one.mode.to_string(),
            join(&|pool| pool.instances.to_string()),
            join(&layout),
            join(&|pool| pool.weight_dtype.to_string()),
            predicted.chips.to_string(),
            number(&predicted.throughput_per_chip),
            number(&predicted.tokens_per_user),
            number(&predicted.ttft),
            number(&predicted.tpot),
            optional(predicted.cost_per_million_tokens.as_ref()),
            optional(predicted.energy_per_token.as_ref()),
        ]
    });
    format!(
        "The best of each size of instances:\n{}",
        table_keeping(&header, rows, &["layout", "tok/s/chip", "TPOT", "$/M"])
    )
}

fn counts(plan: &PlanFile) -> String {
    let search = &plan.search;
    let mut text = format!(
        "{} deployments covered, {} operating points and pairs of pools priced; left out without loss:\n",
        search.covered, search.priced
    );
    for (bound, count) in &search.pruned {
        let _ = writeln!(text, "{count:>22}  {bound}");
    }
    if search.interrupted {
        text.push_str("The search was stopped before its end: this is the best found so far.\n");
    }
    text
}

/// For programs: the plan itself, which `export` reads.
pub fn plan_json(plan: &PlanFile) -> serde_json::Value {
    serde_json::json!(plan)
}
