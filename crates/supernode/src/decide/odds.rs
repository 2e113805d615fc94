//! How likely a chip is to reach another, from what is not known of its figures and from the error of predictions.

use crate::Answer;
use crate::error::Error;
use crate::job::ServingJob;
use crate::matching::{MatchRequest, place};
use crate::session::Session;
use hardware::BAND_80;
use hardware::{Chip, Grade};
use planner::matching::{Figure, Subject};
use planner::serve::{Options, Place, Watch, plan};
use serde_json::{Value, json};
use std::fmt::Write;

/// How far a figure may be off, and what that does.
pub struct Doubt {
    /// The figure.
    pub key: String,
    /// How good its evidence is.
    pub grade: Grade,
    /// Spread of its logarithm.
    pub sigma: f64,
    /// Share by which throughput grows with the figure: d ln(throughput) / d ln(figure).
    pub elasticity: f64,
}

/// The answer.
pub struct Odds {
    /// What was asked.
    pub request: MatchRequest,
    /// Tokens per second and chip of the first chip and of the second.
    pub throughput: [f64; 2],
    /// Spread of the logarithm of each prediction.
    pub model: [f64; 2],
    /// What is not known of the first chip.
    pub doubts: Vec<Doubt>,
}

/// Spread of a figure's logarithm by the grade of its evidence: vendors' figures differ between documents by a few per cent,
/// analysts' by a tenth, rumours of one chip by a fifth and more (the Ascend 910D is read from 1,000 to 1,400 TFLOPS).
fn spread(grade: Grade) -> f64 {
    match grade {
        Grade::Measured | Grade::Official => 0.02,
        Grade::Analyst => 0.1,
        Grade::Rumour => 0.2,
        Grade::Assumed => 0.3,
    }
}

/// The figures of a chip that a plan depends on most.
fn leading(chip: &Chip) -> Vec<(String, Grade)> {
    let mut figures = vec![
        ("chip.hbm.bandwidth".to_owned(), chip.rank.bandwidth.grade),
        ("chip.hbm.capacity".to_owned(), chip.rank.memory.grade),
    ];
    figures.extend(chip.rank.matrix.iter().map(|(dtype, fact)| (format!("chip.matrix.{dtype}"), fact.grade)));
    figures.extend(
        chip.scale_up.as_ref().map(|port| ("chip.scale-up.bandwidth".to_owned(), port.bandwidth.grade)),
    );
    figures
}

/// Works out how likely `request.chip` is to do the job as well as `request.against`.
///
/// # Errors
/// Names that are unknown, a chip that cannot do the job.
pub fn odds(
    session: &Session,
    job: &ServingJob,
    request: &MatchRequest,
    watch: &Watch,
) -> Result<Odds, Error> {
    let job = job.resolve(Options { budgets: Vec::new(), ..Options::default() })?;
    let mine = place(session, &request.chip, request.system.as_ref(), request.chips)?;
    let theirs = place(session, &request.against, request.against_system.as_ref(), request.chips)?;
    let best = |place: &Place| -> Result<(f64, f64), Error> {
        let found = plan(session.resolver(), &job, std::slice::from_ref(place), session.site(), watch)?;
        let figure = found.file.best.predicted.throughput_per_chip;
        Ok((figure.value, figure.high.map_or(0.0, |high| (high / figure.value).ln() / BAND_80)))
    };
    let ((now, own), (goal, other)) = (best(&mine)?, best(&theirs)?);
    let (system, chip) = session.resolver().placed(&mine.system, mine.chip.as_deref())?;
    let subject =
        Subject { catalog: session.catalog(), job: &job, place: &mine, site: session.site(), watch };
    let base = subject.reached(&[])?.throughput.get();
    let mut doubts = Vec::new();
    for (key, grade) in leading(&chip) {
        let Ok(figure) = Figure::of(&key, &chip, &system) else { continue };
        let sigma = spread(grade);
        let less = subject.reached(&[figure.set(figure.now() * (-sigma).exp())?])?.throughput.get();
        let elasticity = if less > 0.0 && base > 0.0 { (base / less).ln() / sigma } else { 1.0 };
        doubts.push(Doubt { key, grade, sigma, elasticity: elasticity.max(0.0) });
    }
    Ok(Odds { request: request.clone(), throughput: [now, goal], model: [own, other], doubts })
}

impl Odds {
    /// Spread of the logarithm of the first over the second. Engines and kernels are not the same, so that errors of the two
    /// predictions are taken as independent.
    pub fn sigma(&self) -> f64 {
        let figures = self.doubts.iter().map(|doubt| (doubt.sigma * doubt.elasticity).powi(2)).sum::<f64>();
        (figures + self.model[0].powi(2) + self.model[1].powi(2)).sqrt()
    }

    /// The 80 % range of the first over the second.
    pub fn range(&self) -> (f64, f64) {
        let (ratio, spread) = (self.throughput[0] / self.throughput[1], (BAND_80 * self.sigma()).exp());
        (ratio / spread, ratio * spread)
    }

    /// Probability that the first does at least as well as the second.
    pub fn probability(&self) -> f64 {
        let distance = (self.throughput[0] / self.throughput[1]).ln();
        normal(distance / self.sigma().max(1e-9))
    }
}

/// The normal distribution, by the approximation 26.2.17 of Abramowitz and Stegun (error below 8e-8).
fn normal(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let series = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let sum = series.iter().rev().fold(0.0, |sum, term| (sum + term) * t);
    let tail = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * sum;
    if z >= 0.0 { 1.0 - tail } else { tail }
}

impl Answer for Odds {
    fn document(&self) -> Value {
        let (low, high) = self.range();
        let doubt = |doubt: &Doubt| json!({ "key": doubt.key, "grade": doubt.grade, "sigma": doubt.sigma, "elasticity": doubt.elasticity });
        json!({
            "schema": "supernode.odds/1", "chip": self.request.chip, "against": self.request.against,
            "ratio": { "value": self.throughput[0] / self.throughput[1], "low": low, "high": high, "band": 0.8 },
            "probability": self.probability(),
            "doubts": self.doubts.iter().map(doubt).collect::<Vec<_>>(),
        })
    }

    fn text(&self) -> String {
        let (low, high) = self.range();
        let (chip, against) = (&self.request.chip, &self.request.against);
        let mut text = format!(
            "{chip} reaches {:.2} of {against} (80 %: {low:.2} to {high:.2}); the probability that it does as well is {:.0} %\n",
            self.throughput[0] / self.throughput[1],
            100.0 * self.probability()
        );
        for doubt in self.doubts.iter().filter(|doubt| doubt.elasticity > 0.01) {
            let _ = writeln!(
                text,
                "  {} ({}): +-{:.0} %, of which {:.0} % come through",
                doubt.key,
                doubt.grade,
                100.0 * BAND_80 * doubt.sigma,
                100.0 * doubt.elasticity
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Facts, unwatched};

    fn asked(chip: &str, against: &str) -> Odds {
        let session = Session::open(&Facts::default()).expect("a session");
        let job: ServingJob = serde_json::from_str(
            r#"{"model": "meta-llama/Llama-3.1-8B", "isl": 512, "osl": 64, "spec_tokens": 0, "pp": [1]}"#,
        )
        .expect("a job");
        let request = MatchRequest {
            chip: chip.to_owned(),
            against: against.to_owned(),
            chips: Some(1),
            ..MatchRequest::default()
        };
        odds(&session, &job, &request, &unwatched()).expect("an answer")
    }

    #[test]
    fn a_chip_against_itself_is_even_and_a_faster_one_likely() {
        let even = asked("h100", "h100");
        assert!((even.probability() - 0.5).abs() < 1e-6, "{}", even.probability());
        let (low, high) = even.range();
        assert!(low < 1.0 && high > 1.0);
        assert!(asked("b200", "a100-80").probability() > 0.9);
    }

    #[test]
    fn the_normal_distribution_is_that() {
        for (z, expected) in [(0.0, 0.5), (1.2816, 0.9), (-1.2816, 0.1), (3.0, 0.998_65)] {
            assert!((normal(z) - expected).abs() < 1e-4, "{z}");
        }
    }
}
