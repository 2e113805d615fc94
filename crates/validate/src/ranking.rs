//! Is the configuration that is predicted to be the best among the best measured?
//!
//! Rows that differ in configuration only are alternatives that a planner chooses among. What counts is not how far off
//! a prediction is but what its choice costs: the measured throughput of the configuration ranked first over that of
//! the best one measured.

use crate::serving::{Outcome, ServingRow};
use std::collections::BTreeMap;

/// A choice this close to the best measured is as good as the best.
pub const CLOSE: f64 = 0.9;

/// What rows have in common that compete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contest {
    /// System, model, engine, kind of instances and lengths: configurations are layouts, formats, chips and load.
    Job,
    /// Those, formats, chips and requests in flight: configurations are layouts.
    Layout,
}

impl Contest {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Job, Self::Layout];

    /// Its name in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Layout => "layout",
        }
    }

    fn group(self, row: &ServingRow) -> String {
        let point = &row.point;
        let engine = point.engine.as_deref().unwrap_or("unknown");
        let lengths = [point.isl, point.osl, point.kv_len]
            .map(|length| length.map_or_else(|| "-".to_owned(), |length| length.to_string()))
            .join("/");
        let mode = format!("{:?}", point.mode).to_lowercase();
        let job = format!("{} / {} / {engine} / {mode} / {lengths}", point.system, point.model);
        match self {
            Self::Job => job,
            Self::Layout => {
                let formats = &point.formats;
                let formats = [formats.weight, formats.act, formats.kv, formats.moe]
                    .map(|format| format.map_or_else(|| "-".to_owned(), |format| format.to_string()))
                    .join("/");
                let chips = point.chips.map_or_else(|| "-".to_owned(), |chips| chips.to_string());
                let load = point.concurrency.or(point.batch_per_rank);
                let load = load.map_or_else(|| "-".to_owned(), |load| load.to_string());
                format!("{job} / {formats} / {chips} chips / load {load}")
            }
        }
    }
}

/// Alternatives and the choice among them.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// What they have in common.
    pub group: String,
    /// How many there are.
    pub rows: usize,
    /// Id of the row ranked first.
    pub chosen: String,
    /// Id of the best measured row.
    pub best: String,
    /// Measured throughput of the first over that of the second, at most one.
    pub share: f64,
}

/// All choices of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    /// What rows have in common that compete.
    pub contest: Contest,
    /// Every group of two and more configurations.
    pub choices: Vec<Choice>,
}

impl Ranking {
    /// Share of groups whose choice is close to the best; `None` without groups.
    pub fn close(&self) -> Option<f64> {
        let close = self.choices.iter().filter(|choice| choice.share >= CLOSE).count();
        (!self.choices.is_empty()).then(|| close as f64 / self.choices.len() as f64)
    }
}

/// A row with what is measured and predicted of its throughput.
struct Entry<'a> {
    row: &'a ServingRow,
    measured: f64,
    predicted: f64,
}

/// Ranks the alternatives of each group of `outcomes` by predicted throughput per chip.
pub fn rank(outcomes: &[Outcome], contest: Contest) -> Ranking {
    let mut groups: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    for outcome in outcomes {
        let predicted = outcome.prediction.as_ref().ok().and_then(|prediction| prediction.figures.throughput);
        if let (Some(measured), Some(predicted)) = (outcome.row.throughput(), predicted) {
            let entry = Entry { row: &outcome.row, measured: measured.get(), predicted: predicted.get() };
            groups.entry(contest.group(&outcome.row)).or_default().push(entry);
        }
    }
    let choices = groups.into_iter().filter_map(|(group, entries)| choose(group, &entries)).collect();
    Ranking { contest, choices }
}

fn choose(group: String, entries: &[Entry]) -> Option<Choice> {
    let first = entries.first()?;
    let configuration = |row: &ServingRow| {
        let point = &row.point;
        (point.sizes, point.prefill, point.decode, point.formats, point.concurrency, point.batch_per_rank)
    };
    // Repetitions of one configuration leave nothing to choose.
    if entries.iter().all(|entry| configuration(entry.row) == configuration(first.row)) {
        return None;
    }
    let chosen = entries.iter().max_by(|a, b| a.predicted.total_cmp(&b.predicted))?;
    let best = entries.iter().max_by(|a, b| a.measured.total_cmp(&b.measured))?;
    Some(Choice {
        group,
        rows: entries.len(),
        chosen: chosen.row.id.clone(),
        best: best.row.id.clone(),
        share: chosen.measured / best.measured,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::Launch;
    use crate::serving::{Measured, Prediction};
    use estimate::{OperatingPoint, Sizes};
    use units::TokensPerSecond;

    fn row(id: &str, tp: u32, measured: f64, predicted: f64) -> Outcome {
        let figures =
            |value| Measured { throughput: Some(TokensPerSecond::new(value)), ..Measured::default() };
        let sizes = Sizes { tp: Some(tp), ..Sizes::default() };
        Outcome {
            row: ServingRow {
                id: id.to_owned(),
                line: 1,
                point: OperatingPoint {
                    system: "x".to_owned(),
                    model: "m".to_owned(),
                    sizes,
                    ..OperatingPoint::default()
                },
                launch: Launch::default(),
                measured: figures(measured),
                source: String::new(),
                statistic: String::new(),
                quality: String::new(),
            },
            prediction: Ok(Prediction {
                figures: figures(predicted),
                sigma: 0.1,
                ttft_sigma: 0.1,
                power_sigma: 0.1,
            }),
            deployment: format!("tp {tp}"),
        }
    }

    #[test]
    fn the_choice_is_judged_by_what_it_measured() {
        let rows = [row("a", 1, 100.0, 50.0), row("b", 2, 95.0, 60.0), row("c", 4, 10.0, 55.0)];
        let ranking = rank(&rows, Contest::Job);
        let choice = &ranking.choices[0];
        assert_eq!((choice.chosen.as_str(), choice.best.as_str(), choice.rows), ("b", "a", 3));
        assert!((choice.share - 0.95).abs() < 1e-12);
        assert_eq!(ranking.close(), Some(1.0));
    }

    #[test]
    fn repetitions_are_no_choice() {
        let rows = [row("a", 1, 100.0, 50.0), row("b", 1, 95.0, 50.0)];
        assert_eq!(rank(&rows, Contest::Layout).close(), None);
    }
}
