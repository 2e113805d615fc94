//! Why a plan wins and what bounds it, in sentences.

use super::job::{Job, Objective};
use super::settle::Planned;

/// A sentence each.
pub(super) fn reasons(
    job: &Job,
    best: &Planned,
    aggregated: Option<&Planned>,
    disaggregated: Option<&Planned>,
) -> Vec<String> {
    let mut found = Vec::new();
    match (aggregated, disaggregated) {
        (Some(aggregated), Some(apart)) => found.push(between(job, best, aggregated, apart)),
        (Some(_), None) if job.options.disaggregated => {
            found.push("No disaggregated deployment meets the limits on these chips.".to_owned());
        }
        (None, Some(_)) if job.options.aggregated => {
            found.push(
                "No aggregated deployment meets the limits: prompts hold decoding up for too long."
                    .to_owned(),
            );
        }
        _ => {}
    }
    found.extend(aggregated.map(interference));
    found.extend(disaggregated.map(ratio));
    found.push(bounded(job, best));
    found.extend(powered(job, best));
    found
}

/// The figure that the objective compares, with its unit.
fn figure(job: &Job, plan: &Planned) -> (f64, &'static str) {
    let predicted = &plan.file.predicted;
    let value = |value: &Option<crate::plan_file::Value>| value.as_ref().map_or(f64::NAN, |v| v.value);
    match job.objective {
        Objective::Throughput => (predicted.throughput.value, "tokens/s"),
        Objective::Cost => (value(&predicted.cost_per_million_tokens), "USD per million tokens"),
        Objective::Energy => (value(&predicted.energy_per_token), "J per token"),
        Objective::Chips => (predicted.chips, "chips"),
    }
}

fn between(job: &Job, best: &Planned, aggregated: &Planned, apart: &Planned) -> String {
    let apart_wins = best.file.mode == crate::plan_file::DeploymentMode::Disaggregated;
    let (winner, loser) = if apart_wins { (apart, aggregated) } else { (aggregated, apart) };
    let ((won, unit), (lost, _)) = (figure(job, winner), figure(job, loser));
    let names = if apart_wins { ["Disaggregated", "aggregated"] } else { ["Aggregated", "disaggregated"] };
    let difference = 100.0 * (won / lost - 1.0).abs();
    let sigma = winner
        .file
        .predicted
        .throughput
        .high
        .map_or(0.0, |high| (high / winner.file.predicted.throughput.value).ln());
    let tie = if (won / lost).ln().abs() < sigma { ", which is within the error band" } else { "" };
    format!(
        "{} wins: {} {unit} against {} for the best {} deployment ({difference:.0} %{tie}).",
        names[0],
        short(won),
        short(lost),
        names[1]
    )
}

fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn interference(plan: &Planned) -> String {
    let detail = &plan.detail;
    format!(
        "Aggregated: prompts hold decoding up {:.0} % of the time, so that {:.1} sequences per rank take {} per token \
         instead of {}.",
        100.0 * detail.prompts,
        detail.batch,
        units::Seconds::new(detail.tpot),
        units::Seconds::new(detail.tpot_alone),
    )
}

fn ratio(plan: &Planned) -> String {
    let pools = &plan.file.pools;
    let chips = |index: usize| pools.get(index).map_or(0.0, |pool| pool.chips);
    format!(
        "Disaggregated: {:.0} chips prefill ({:.0} % busy) and {:.0} decode with {:.1} sequences per rank.",
        chips(0),
        100.0 * plan.detail.prefill_busy,
        chips(1),
        plan.detail.batch,
    )
}

fn bounded(job: &Job, best: &Planned) -> String {
    let predicted = &best.file.predicted;
    let why = match predicted.limit.as_str() {
        "tpot" => format!("the limit of {} per token stops the batch from growing", job.tpot),
        "ttft" => format!("the limit of {} to the first token stops the batch from growing", job.ttft),
        "cache memory" => "device memory holds no larger batch".to_owned(),
        "max sequences" => "the engine runs no more sequences per rank".to_owned(),
        "prefill" => "the prefill instances hand over no more requests".to_owned(),
        _ => "a larger batch would not serve the objective".to_owned(),
    };
    format!(
        "Bound by {} ({:.0} % of a decoding step); {why}.",
        predicted.bound,
        100.0 * best.detail.bound_share
    )
}

/// What a power budget leaves.
fn powered(job: &Job, best: &Planned) -> Option<String> {
    let (budget, power) = (job.power_budget?, best.file.predicted.power.as_ref()?);
    let share = 100.0 * power.value / budget.get();
    Some(format!("It draws {share:.0} % of the power budget of {budget}, cooling left out."))
}
