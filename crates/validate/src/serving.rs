//! Serving rows: what was run, what was measured, what is predicted.

use crate::recipe::{self, Launch};
use crate::simulate;
use crate::summary::{Metric, Pair, Scored};
use crate::table::{Row, Table, TableError};
use estimate::economics::Site;
use estimate::{EstimateError, KEYS, Mode, OperatingPoint, Resolver};
use rayon::prelude::*;
use std::collections::BTreeMap;
use units::{Seconds, TokensPerSecond};

/// One operating point of one deployment as a source measured it.
#[derive(Debug, Clone, PartialEq)]
pub struct ServingRow {
    /// Unique id.
    pub id: String,
    /// Line in the file.
    pub line: u64,
    /// What was run.
    pub point: OperatingPoint,
    /// What was measured.
    pub measured: Measured,
    /// Paper, table or benchmark, and date.
    pub source: String,
    /// `mean`, `median` ...; empty where the source does not say.
    pub statistic: String,
    /// `high`, `medium` or `low`.
    pub quality: String,
}

/// Measured (or predicted) latencies and rate.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Measured {
    /// Time to the first token.
    pub ttft: Option<Seconds>,
    /// Time per output token.
    pub tpot: Option<Seconds>,
    /// Output tokens (prompt tokens for a prefill point) per second and package.
    pub throughput: Option<TokensPerSecond>,
}

/// How closed loops are predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fidelity {
    /// By the steady-state approximation.
    Steady,
    /// Request by request.
    Simulate,
}

/// A text that is no fidelity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a fidelity; use steady or simulate")]
pub struct UnknownFidelity(
    /// What was given.
    pub String,
);

impl std::str::FromStr for Fidelity {
    type Err = UnknownFidelity;

    fn from_str(text: &str) -> Result<Self, UnknownFidelity> {
        match text {
            "steady" => Ok(Self::Steady),
            "simulate" => Ok(Self::Simulate),
            other => Err(UnknownFidelity(other.to_owned())),
        }
    }
}

/// A row with its prediction.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The row.
    pub row: ServingRow,
    /// What is predicted, or why nothing can be.
    pub prediction: Result<Prediction, String>,
    /// Instances that were predicted, each with its layout; empty where nothing was.
    pub deployment: String,
}

/// What is predicted for a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// Of the figures that were measured.
    pub figures: Measured,
    /// Spread of ln(true / predicted) of TPOT and throughput.
    pub sigma: f64,
    /// Spread of ln(true / predicted) of TTFT.
    pub ttft_sigma: f64,
}

/// Reads a table of serving rows.
///
/// # Errors
/// A column of the format is missing or a cell is not what it should be.
pub fn read_serving(table: &Table) -> Result<Vec<ServingRow>, TableError> {
    for column in ["id", "system", "model", "mode"] {
        if !table.has(column) {
            return Err(TableError::Kind {
                path: table.path().to_owned(),
                reason: format!("a serving table needs the column `{column}`"),
            });
        }
    }
    table.rows().map(row).collect()
}

fn row(row: Row<'_>) -> Result<ServingRow, TableError> {
    let seconds = |column| Ok(row.positive(column)?.map(Seconds::from_ms));
    let name = |column: &str| row.text(column).map(str::to_owned);
    let mut point = OperatingPoint::default();
    for key in KEYS {
        // A size of zero is one that the source did not record.
        let unrecorded = |cell: &str| SIZES.contains(&key.name) && cell.parse() == Ok(0.0);
        if let Some(cell) = row.text(key.name).filter(|cell| !unrecorded(cell)) {
            point.set(key.name, cell).map_err(|error| row.wrong(key.name, cell, &error.problem))?;
        }
    }
    row.positive("chips")?;
    for share in ["length_spread", "spec_accept", "prefix_hit"] {
        row.share(share)?;
    }
    let mut row = ServingRow {
        id: name("id").unwrap_or_default(),
        line: row.line(),
        point,
        measured: Measured {
            ttft: seconds("ttft_ms")?,
            tpot: seconds("tpot_ms")?,
            throughput: row.positive("tokens_per_s_per_chip")?.map(TokensPerSecond::new),
        },
        source: name("source").unwrap_or_default(),
        statistic: name("statistic").unwrap_or_default(),
        quality: name("quality").unwrap_or_default(),
    };
    row.point.engine_version = recipe::version(&row);
    Ok(row)
}

/// Sizes of layouts.
const SIZES: [&str; 9] =
    ["tp", "pp", "dp", "ep", "moe_tp", "prefill_dp", "prefill_ep", "decode_dp", "decode_ep"];

impl ServingRow {
    /// Throughput per package: as measured, else as the closed loop implies it from the latencies.
    pub fn throughput(&self) -> Option<TokensPerSecond> {
        self.measured.throughput.or_else(|| implied(&self.point, self.measured.ttft?, self.measured.tpot?))
    }

    /// What was run, as its source's published scripts launch it; see `recipes.toml`.
    pub fn launched(&self) -> OperatingPoint {
        complete(self).point
    }

    /// Where that launch is published; empty where the row is predicted as the table has it.
    pub fn launch_evidence(&self) -> Vec<&'static str> {
        recipe::evidence(self)
    }

    /// Load region of the row: users per chip.
    pub fn load_region(&self) -> &'static str {
        match (self.point.concurrency, self.point.chips) {
            (Some(users), Some(chips)) => match f64::from(users) / chips {
                ratio if ratio <= 2.0 => "light (up to 2 users per chip)",
                ratio if ratio <= 16.0 => "middle (2 to 16)",
                _ => "heavy (above 16)",
            },
            _ => "unknown",
        }
    }
}

/// `concurrency * osl / (TTFT + (osl - 1) TPOT) / chips`, nominal lengths, as the tables count it.
fn implied(point: &OperatingPoint, ttft: Seconds, tpot: Seconds) -> Option<TokensPerSecond> {
    let (users, osl, chips) = (point.concurrency?, point.osl?, point.chips?);
    let osl = f64::from(osl);
    let cycle = ttft + tpot * (osl - 1.0);
    Some(TokensPerSecond::new(f64::from(users) * osl / cycle.get() / chips))
}

/// Predicts every row, on all cores.
pub fn predict(resolver: &Resolver, rows: &[ServingRow], site: &Site, fidelity: Fidelity) -> Vec<Outcome> {
    rows.par_iter()
        .map(|row| match predict_row(resolver, row, site, fidelity) {
            Ok((prediction, deployment)) => {
                Outcome { row: row.clone(), prediction: Ok(prediction), deployment }
            }
            Err(error) => {
                Outcome { row: row.clone(), prediction: Err(error.to_string()), deployment: String::new() }
            }
        })
        .collect()
}

fn predict_row(
    resolver: &Resolver,
    row: &ServingRow,
    site: &Site,
    fidelity: Fidelity,
) -> Result<(Prediction, String), EstimateError> {
    let launch = complete(row);
    let point = &launch.point;
    let estimate = estimate::estimate(resolver, point, site)?;
    let mut ttft = estimate.ttft.map(|figure| figure.value);
    let mut tpot = estimate.tpot.map(|figure| figure.value);
    if fidelity == Fidelity::Simulate && matches!(point.mode, Mode::Agg | Mode::Disagg) {
        let simulated = simulate::closed_loop(&estimate.pools, &launch, &row.statistic)?;
        (ttft, tpot) = (Some(simulated.ttft), Some(simulated.tpot));
    }
    let throughput = match (point.mode, row.measured.throughput, ttft, tpot) {
        (Mode::Agg | Mode::Disagg, None, Some(ttft), Some(tpot)) => implied(&row.point, ttft, tpot),
        _ => Some(estimate.throughput_per_chip().value),
    };
    let prediction = Prediction {
        figures: Measured { ttft, tpot, throughput },
        sigma: estimate.throughput.sigma,
        ttft_sigma: estimate.ttft.map_or(0.0, |figure| figure.sigma),
    };
    let pools = estimate
        .pools
        .iter()
        .map(|pool| format!("{:?} {} x {:?}", pool.role, pool.instances, pool.model.deployment().layout));
    Ok((prediction, pools.collect::<Vec<_>>().join(", ")))
}

/// The launch of a row, with what its source leaves out filled in by what it implies.
fn complete(row: &ServingRow) -> Launch {
    let mut launch = recipe::launch(row);
    let point = &mut launch.point;
    if point.mode == Mode::Disagg && point.concurrency.is_none() {
        // Users that keep the measured latencies going are not known: take one batch per decode rank.
        point.concurrency = Some(64);
    }
    launch
}

impl Outcome {
    /// The row as a summary counts it.
    pub fn scored(&self) -> Scored {
        let row = &self.row;
        let point = &row.point;
        let engine = point.engine.clone().unwrap_or_else(|| "unknown".to_owned());
        Scored {
            id: row.id.clone(),
            keys: vec![
                ("system", point.system.clone()),
                ("model", point.model.clone()),
                ("engine", engine.clone()),
                ("mode", format!("{:?}", point.mode).to_lowercase()),
                ("load", row.load_region().to_owned()),
                ("quality", row.quality.clone()),
                ("split", crate::split::split(row).name().to_owned()),
                ("cell", format!("{} / {} / {engine}", point.system, point.model)),
            ],
            pairs: self.pairs(),
            failure: self.prediction.as_ref().err().cloned(),
            alternative: self.question(&engine).map(|question| (question, self.deployment.clone())),
            continues: false,
            launch: self.launch(),
        }
    }

    /// What was run, by the keys of an operating point, and where what the table does not say comes from.
    fn launch(&self) -> BTreeMap<&'static str, String> {
        let point = self.row.launched();
        let said = KEYS.iter().filter_map(|key| Some((key.name, key.said(&point)?)));
        let evidence = self.row.launch_evidence().join(", ");
        said.chain((!evidence.is_empty()).then_some(("evidence", evidence))).collect()
    }

    /// What rows with other deployments have to have in common with this one to answer the same question; `None` where the
    /// load is not recorded.
    fn question(&self, engine: &str) -> Option<String> {
        let point = self.row.launched();
        let load = self.row.point.concurrency.or(point.batch_per_rank)?;
        let OperatingPoint { system, model, formats, mode, isl, osl, chips, kv_len, .. } = &point;
        Some(format!(
            "{system}|{model}|{engine}|{formats:?}|{mode:?}|{isl:?}|{osl:?}|{kv_len:?}|{chips:?}|{load}"
        ))
    }

    fn pairs(&self) -> Vec<Pair> {
        let Ok(prediction) = &self.prediction else { return Vec::new() };
        let (figures, measured) = (&prediction.figures, &self.row.measured);
        let pair = |metric, predicted: Option<f64>, measured: Option<f64>, sigma| {
            Some(Pair { metric, predicted: predicted?, measured: measured?, sigma })
        };
        let ms = |time: Option<Seconds>| time.map(Seconds::ms);
        let rate = |rate: Option<TokensPerSecond>| rate.map(TokensPerSecond::get);
        [
            pair(Metric::Tpot, ms(figures.tpot), ms(measured.tpot), prediction.sigma),
            pair(Metric::Throughput, rate(figures.throughput), rate(self.row.throughput()), prediction.sigma),
            pair(Metric::Ttft, ms(figures.ttft), ms(measured.ttft), prediction.ttft_sigma),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
