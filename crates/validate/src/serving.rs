//! Serving rows: what was run, what was measured, what is predicted.

use crate::launch::{self, Launch, Launches};
use crate::simulate;
use crate::summary::{Metric, Pair, Scored};
use crate::table::{Row, Table, TableError};
use estimate::economics::Site;
use estimate::{EstimateError, KEYS, Mode, OperatingPoint, Resolver};
use rayon::prelude::*;
use std::collections::BTreeMap;
use units::{Seconds, TokensPerSecond, Watts};

/// One operating point of one deployment as a source measured it.
#[derive(Debug, Clone, PartialEq)]
pub struct ServingRow {
    /// Unique id.
    pub id: String,
    /// Line in the file.
    pub line: u64,
    /// What was run, as the table has it.
    pub point: OperatingPoint,
    /// How it was launched: as the table has it, completed by what is known of the launches of such rows.
    pub launch: Launch,
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
    /// Drawn by one package, without what stands around it.
    pub power: Option<Watts>,
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
    /// Spread of ln(true / predicted) of power.
    pub power_sigma: f64,
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
    let known = |column: &str| {
        COLUMNS.contains(&column)
            || ALIASES.iter().any(|(name, _)| *name == column)
            || estimate::Key::find(column).is_some()
    };
    if let Some(column) = table.columns().find(|column| !known(column)) {
        return Err(TableError::Kind {
            path: table.path().to_owned(),
            reason: format!(
                "the column `{column}` is none of a serving table and would be ignored; leave it out, or call it one of {}",
                COLUMNS.join(", ")
            ),
        });
    }
    table.rows().map(row).collect()
}

/// Columns beside the keys of an operating point.
const COLUMNS: [&str; 15] = [
    "id",
    "source",
    "source_url",
    "cp",
    "ttft_ms",
    "tpot_ms",
    "tokens_per_s_per_chip",
    "power_w_per_chip",
    "statistic",
    "quality",
    "notes",
    "requests",
    "request_rate",
    "gathering",
    "launch_source",
];

/// Columns that have another name than their key, as engines call them.
const ALIASES: [(&str, &str); 3] =
    [("max_seqs", "max_sequences"), ("graph", "execution"), ("prefix_cache", "")];

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
    for (column, key) in ALIASES.iter().filter(|(_, key)| !key.is_empty()) {
        if let Some(cell) = row.text(column) {
            point.set(key, cell).map_err(|error| row.wrong(column, cell, &error.problem))?;
        }
    }
    no_context_parallelism(row)?;
    no_hits_without_cache(row, &point)?;
    let launch = Launch {
        point: point.clone(),
        gathering: (row.text("gathering"))
            .map(|cell| launch::gathering(cell).map_err(|problem| row.wrong("gathering", cell, &problem)))
            .transpose()?,
        requests: row.count("requests")?.filter(|count| *count > 0),
        request_rate: row.positive("request_rate")?,
        sources: name("launch_source").into_iter().collect(),
    };
    Ok(ServingRow {
        id: name("id").unwrap_or_default(),
        line: row.line(),
        point,
        launch,
        measured: Measured {
            ttft: seconds("ttft_ms")?,
            tpot: seconds("tpot_ms")?,
            throughput: row.positive("tokens_per_s_per_chip")?.map(TokensPerSecond::new),
            power: row.positive("power_w_per_chip")?.map(Watts::new),
        },
        source: name("source").unwrap_or_default(),
        statistic: name("statistic").unwrap_or_default(),
        quality: name("quality").unwrap_or_default(),
    })
}

/// Prompts cut over ranks are not priced, so that a row that says so is not read as one without.
fn no_context_parallelism(row: Row<'_>) -> Result<(), TableError> {
    match row.count("cp")? {
        Some(ranks) if ranks > 1 => Err(row.wrong(
            "cp",
            &ranks.to_string(),
            "cannot be predicted: context parallelism in serving is not priced",
        )),
        _ => Ok(()),
    }
}

/// A prefix cache that is off has no hits; one that is on has those that `prefix_hit` says.
fn no_hits_without_cache(row: Row<'_>, point: &OperatingPoint) -> Result<(), TableError> {
    match row.text("prefix_cache") {
        None | Some("on") => Ok(()),
        Some("off") if point.prefix_hit == 0.0 => Ok(()),
        Some("off") => {
            Err(row.wrong("prefix_cache", "off", "contradicts `prefix_hit`; say which of them holds"))
        }
        Some(other) => Err(row.wrong("prefix_cache", other, "is not on or off")),
    }
}

/// Sizes of layouts.
const SIZES: [&str; 9] =
    ["tp", "pp", "dp", "ep", "moe_tp", "prefill_dp", "prefill_ep", "decode_dp", "decode_ep"];

impl ServingRow {
    /// Throughput per package: as measured, else as the closed loop implies it from the latencies.
    pub fn throughput(&self) -> Option<TokensPerSecond> {
        self.measured.throughput.or_else(|| implied(&self.point, self.measured.ttft?, self.measured.tpot?))
    }

    /// What was run, as it was launched.
    pub fn launched(&self) -> OperatingPoint {
        complete(self).point
    }

    /// The row with what is known of the launches of such rows.
    #[must_use]
    pub fn launched_as(mut self, launches: &Launches) -> Self {
        launches.apply(&mut self);
        self
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
    let per_chip = estimate.throughput_per_chip().value;
    let mut rate = per_chip;
    // A prompt's cached part is known to the steady state alone.
    let looped = matches!(point.mode, Mode::Agg | Mode::Disagg) && point.prefix_hit == 0.0;
    if fidelity == Fidelity::Simulate && looped {
        let simulated = simulate::closed_loop(&estimate.pools, &launch, &row.statistic)?;
        (ttft, tpot) = (Some(simulated.ttft), Some(simulated.tpot));
        rate = simulated.throughput * (per_chip / estimate.throughput.value);
    }
    let throughput = match (point.mode, row.measured.throughput, ttft, tpot) {
        (Mode::Agg | Mode::Disagg, None, Some(ttft), Some(tpot)) => implied(&row.point, ttft, tpot),
        _ => Some(rate),
    };
    let power = estimate.chip_power();
    let prediction = Prediction {
        figures: Measured { ttft, tpot, throughput, power: power.map(|figure| figure.value) },
        power_sigma: power.map_or(0.0, |figure| figure.sigma),
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
    let mut launch = row.launch.clone();
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
        let evidence = self.row.launch.sources.join(", ");
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
        let watts = |power: Option<Watts>| power.map(Watts::get);
        let rate = |rate: Option<TokensPerSecond>| rate.map(TokensPerSecond::get);
        [
            pair(Metric::Tpot, ms(figures.tpot), ms(measured.tpot), prediction.sigma),
            pair(Metric::Throughput, rate(figures.throughput), rate(self.row.throughput()), prediction.sigma),
            pair(Metric::Ttft, ms(figures.ttft), ms(measured.ttft), prediction.ttft_sigma),
            pair(Metric::Power, watts(figures.power), watts(measured.power), prediction.power_sigma),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
