//! What a chip must be to do a job as well as another.

mod report;

use crate::Answer;
use crate::error::Error;
use crate::job::ServingJob;
use crate::session::Session;
use hardware::Grade;
use planner::matching::{Answer as Found, Figure, Reached, Subject};
use planner::plan_file::Value as PlanValue;
use planner::serve::{Options, Place, Watch};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt::Write;

/// Growth of throughput with a figure, both as logarithms, below which the figure is not bounded by it.
const LEAST_GROWTH: f64 = 0.02;

/// Two chips and the figures of the first that are varied.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MatchRequest {
    /// The chip whose figure is varied, by catalog key.
    pub chip: String,
    /// The chip to be matched.
    pub against: String,
    /// System of the first chip, instead of its usual one.
    pub system: Option<String>,
    /// System of the second chip, instead of its usual one.
    pub against_system: Option<String>,
    /// Chips of either; as many as the system has by default.
    pub chips: Option<u32>,
    /// One figure to solve for, or two for the front of equal performance; `chip.hbm.bandwidth` by default.
    pub vary: Vec<String>,
}

/// What was found.
pub struct Match {
    /// What was asked.
    pub request: MatchRequest,
    /// What the second chip does.
    pub goal: Reached,
    /// What the first does as it is.
    pub now: Reached,
    /// The figures that were varied.
    pub figures: Vec<Figure>,
    /// For one figure its answer; for two, the answer of the second at values of the first.
    pub answers: Vec<(Option<f64>, Found)>,
}

/// A chip in the system asked for, or in its usual one.
pub(crate) fn place(
    session: &Session,
    chip: &str,
    system: Option<&String>,
    chips: Option<u32>,
) -> Result<Place, Error> {
    let (usual, found) = session.catalog().usual_place(chip)?;
    let system = system.cloned().unwrap_or(usual);
    let own = session.resolver().system(&system)?.chip == found.id;
    Ok(Place { system, chip: (!own).then(|| found.id.clone()), chips })
}

/// Solves for the figures of a chip with which it does a job as well as another, each with its own best plan.
///
/// # Errors
/// Names and figures that are unknown, a chip to be matched that cannot do the job.
pub fn match_(
    session: &Session,
    job: &ServingJob,
    request: &MatchRequest,
    watch: &Watch,
) -> Result<Match, Error> {
    let usual = vec!["chip.hbm.bandwidth".to_owned()];
    let vary = if request.vary.is_empty() { &usual } else { &request.vary };
    let (first, second) = match vary.as_slice() {
        [first] => (first, None),
        [first, second] => (first, Some(second)),
        _ => return Err(Error::at("vary", "name one figure or two")),
    };
    // The engine's own token budget is enough to compare by.
    let job = job.resolve(Options { budgets: Vec::new(), ..Options::default() })?;
    let mine = place(session, &request.chip, request.system.as_ref(), request.chips)?;
    let theirs = place(session, &request.against, request.against_system.as_ref(), request.chips)?;
    let subject =
        |place| Subject { catalog: session.catalog(), job: &job, place, site: session.site(), watch };
    let goal = subject(&theirs).reached(&[])?;
    if goal.throughput.get() <= 0.0 {
        return Err(Error::no(format!("{} cannot do this job: {}", request.against, goal.bound)));
    }
    let (system, chip) = session.resolver().placed(&mine.system, mine.chip.as_deref())?;
    let first = Figure::of(first, &chip, &system)?;
    let subject = subject(&mine);
    let now = subject.reached(&[])?;
    let Some(second) = second else {
        let answer = subject.solve(&first, goal.throughput, &[])?;
        return Ok(Match {
            request: request.clone(),
            goal,
            now,
            figures: vec![first],
            answers: vec![(None, answer)],
        });
    };
    let second = Figure::of(second, &chip, &system)?;
    let points = subject.front(&first, &second, goal.throughput)?;
    let answers = points.into_iter().map(|(value, answer)| (Some(value), answer)).collect();
    Ok(Match { request: request.clone(), goal, now, figures: vec![first, second], answers })
}

impl Match {
    /// Whether no value of the figures matches.
    pub fn is_never(&self) -> bool {
        self.answers.iter().all(|(_, answer)| matches!(answer, Found::Never(..)))
    }

    /// The 80 % band of a value that was solved for: how far it moves if the two chips' throughput is off, by how much
    /// throughput has grown with the figure on the way to it; `None` where it has hardly grown.
    fn needed(&self, figure: &Figure, answer: &Found) -> Option<(f64, f64)> {
        let Found::Value(value, reached) = answer else { return None };
        let grown = (reached.throughput / self.now.throughput).ln() / (value / figure.now()).ln();
        let sigma = self.goal.sigma.hypot(reached.sigma);
        let spread = (estimate::BAND_80 * sigma / grown).exp();
        (self.answers.len() == 1 && grown > LEAST_GROWTH && spread.is_finite())
            .then(|| (value / spread, value * spread))
    }

    /// The weakest grade among the facts of both chips.
    fn grade(&self) -> Option<Grade> {
        self.goal.grade.max(self.now.grade)
    }

    fn head(&self) -> String {
        let line = |chip: &str, reached: &Reached| {
            let figure = ::report::plan_figure(&throughput(reached));
            format!("{chip}: {figure} tokens/s per chip ({})\n", reached.bound)
        };
        line(&self.request.against, &self.goal) + &line(&self.request.chip, &self.now)
    }
}

impl Answer for Match {
    fn document(&self) -> Value {
        let keys: Vec<&str> = self.figures.iter().map(|figure| figure.key.as_str()).collect();
        let mut document = json!({
            "schema": "supernode.match/1",
            "chip": self.request.chip,
            "against": self.request.against,
            "goal": reached_json(&self.goal),
            "now": reached_json(&self.now),
            "vary": keys,
        });
        match (self.figures.as_slice(), self.answers.as_slice()) {
            ([figure], [(_, answer)]) => {
                document["answer"] = answer_json(figure, answer);
                let band = self.needed(figure, answer);
                document["answer"]["low"] = json!(band.map(|band| band.0));
                document["answer"]["high"] = json!(band.map(|band| band.1));
                document["answer"]["band"] = json!(0.8);
                document["answer"]["grade"] = json!(self.grade());
            }
            ([first, second], points) => {
                let point = |(value, answer): &(Option<f64>, Found)| {
                    let value = value.unwrap_or_default();
                    let first = json!({ "value": value, "text": first.show(value) });
                    json!({ "first": first, "second": answer_json(second, answer) })
                };
                document["front"] = points.iter().map(point).collect();
            }
            _ => {}
        }
        document
    }

    fn text(&self) -> String {
        match (self.figures.as_slice(), self.answers.as_slice()) {
            ([figure], [(_, answer)]) => {
                let band = self.needed(figure, answer).map(|(low, high)| {
                    let grade = self.grade().map_or_else(String::new, |grade| format!("; {grade}"));
                    format!("80 %: {} to {}{grade}\n", figure.show(low), figure.show(high))
                });
                self.head() + &sentence(figure, answer) + &band.unwrap_or_default()
            }
            ([first, second], points) => {
                let rows = points.iter().map(|(value, answer)| {
                    let (needed, bound) = match answer {
                        Found::Value(value, reached) => (second.show(*value), reached.bound.clone()),
                        Found::Enough(value, reached) => {
                            (format!("below {}", second.show(*value)), reached.bound.clone())
                        }
                        Found::Never(_, reached) => ("cannot be matched".to_owned(), reached.bound.clone()),
                        Found::Between(low, high, reached) => {
                            let range = format!("stopped: {} to {}", second.show(*low), second.show(*high));
                            (range, reached.bound.clone())
                        }
                    };
                    vec![first.show(value.unwrap_or_default()), needed, bound]
                });
                let table = ::report::table(&[&first.key, &second.key, "bound by"], rows);
                format!("{}\n{table}", self.head())
            }
            _ => self.head(),
        }
    }
}

fn sentence(figure: &Figure, answer: &Found) -> String {
    let current = figure.show(figure.now());
    let mut text = String::new();
    let _ = match answer {
        Found::Value(value, reached) => writeln!(
            text,
            "{} must be {} instead of {current} ({:.2} times as much); bound there by {}",
            figure.key,
            figure.show(*value),
            value / figure.now(),
            reached.bound
        ),
        Found::Enough(value, _) => writeln!(
            text,
            "{} does not decide: even {} instead of {current} is enough",
            figure.key,
            figure.show(*value)
        ),
        Found::Never(value, reached) => writeln!(
            text,
            "cannot be matched by {}: {} instead of {current} gives {:.1} tokens/s per chip, bound by {}",
            figure.key,
            figure.show(*value),
            reached.throughput.get(),
            reached.bound
        ),
        Found::Between(low, high, reached) => writeln!(
            text,
            "stopped: {} must be over {} and no more than {} instead of {current}; bound there by {}",
            figure.key,
            figure.show(*low),
            figure.show(*high),
            reached.bound
        ),
    };
    text
}

/// A throughput with its band and grade.
fn throughput(reached: &Reached) -> PlanValue {
    let value = PlanValue::new(reached.throughput.get(), "tokens/s/chip");
    match reached.grade {
        Some(grade) => value.banded(reached.sigma).graded(grade),
        None => value,
    }
}

fn reached_json(reached: &Reached) -> Value {
    json!({
        "throughput_per_chip": throughput(reached),
        "bound": reached.bound,
    })
}

fn answer_json(figure: &Figure, answer: &Found) -> Value {
    let (kind, value, reached) = match answer {
        Found::Value(value, reached) => ("value", value, reached),
        Found::Enough(value, reached) => ("enough", value, reached),
        Found::Never(value, reached) => ("never", value, reached),
        Found::Between(_, high, reached) => ("between", high, reached),
    };
    let above = if let Found::Between(low, ..) = answer { Some(*low) } else { None };
    json!({
        "key": figure.key,
        "kind": kind,
        "value": value,
        "above": above,
        "text": figure.show(*value),
        "now": figure.now(),
        "reached": reached_json(reached),
    })
}
