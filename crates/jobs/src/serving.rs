//! What one replica of a service, or one job of batch inference, serves.

use crate::JobsError;
use cluster::file::raw::{RawJob, RawServe};
use estimate::economics::Site;
use estimate::{Estimate, Formats, OperatingPoint, Resolver, Roles, Sizes, estimate};
use hardware::Catalog;
use units::{BytesPerSecond, Dtype};

/// Reading weights from storage: 671 GB in about 320 s from the model cache of CloudMatrix384 (arXiv 2506.12708).
const WEIGHT_BANDWIDTH: BytesPerSecond = BytesPerSecond::new(2.1e9);

/// Most requests in flight of one replica that are tried.
const MOST_USERS: u32 = 1 << 16;

/// A replica, priced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Replica {
    /// Requests per second within the SLO.
    pub capacity: f64,
    /// Requests in flight then.
    pub users: u32,
    /// Its attention ranks, each of which has its share of them.
    pub attention_ranks: u32,
    /// Mean time to the first token then, seconds.
    pub ttft: f64,
    /// Mean time per output token then.
    pub tpot: f64,
    /// Time to read the weights.
    pub load_time: f64,
    /// Power of its chips then, watts, with what surrounds them; `None` where it is not known.
    pub power: Option<f64>,
}

/// Prices deployments.
pub struct Servers {
    pub(crate) resolver: Resolver,
    site: Site,
}

impl Servers {
    /// Over a catalog.
    ///
    /// # Errors
    /// Its price list is malformed.
    pub fn new(catalog: &Catalog) -> Result<Self, JobsError> {
        let prices = catalog.economics()?.prices;
        let site = Site::new(&prices, catalog.basis(None)?);
        Ok(Self { resolver: Resolver::new(catalog.clone()), site })
    }

    /// The most load of a replica on the job's chips at which the mean TTFT and TPOT keep the SLO.
    ///
    /// # Errors
    /// The deployment is impossible, or keeps the SLO at no load.
    pub fn replica(&self, system: &str, raw: &RawJob, at: &str) -> Result<Replica, JobsError> {
        let wrong = |problem: String| JobsError::Job { at: at.to_owned(), problem };
        let serve = raw.serve.as_ref().ok_or_else(|| wrong("it needs a `[job.serve]` table".to_owned()))?;
        let point = point(system, raw, serve).map_err(wrong)?;
        let price = |users: u32| -> Result<Estimate, JobsError> {
            let point = OperatingPoint { concurrency: Some(users), ..point.clone() };
            estimate(&self.resolver, &point, &self.site).map_err(|error| wrong(error.to_string()))
        };
        let keeps = |found: &Estimate| {
            let within = |figure: Option<f64>, limit: Option<units::Seconds>| {
                limit.is_none_or(|limit| figure.is_none_or(|value| value <= limit.get()))
            };
            within(found.ttft.as_ref().map(|figure| figure.value.get()), serve.ttft)
                && within(found.tpot.as_ref().map(|figure| figure.value.get()), serve.tpot)
        };
        let first = price(1)?;
        if !keeps(&first) {
            return Err(wrong(format!(
                "even one request at a time takes {} to the first token and {} per token; change the SLO or the layout",
                first.ttft.map_or_else(|| "?".to_owned(), |figure| figure.value.to_string()),
                first.tpot.map_or_else(|| "?".to_owned(), |figure| figure.value.to_string()),
            )));
        }
        // Latency grows with the load, so the largest load within the SLO is found by halving.
        let (mut low, mut best, mut high) = (1, first, 2);
        while high <= MOST_USERS {
            let found = price(high)?;
            let stalled = found.throughput.value.get() < best.throughput.value.get() * 1.005;
            if !keeps(&found) || stalled {
                break;
            }
            (low, best, high) = (high, found, high * 2);
        }
        while high - low > 1 + low / 64 {
            let middle = low.midpoint(high);
            let found = price(middle)?;
            if keeps(&found) {
                (low, best) = (middle, found);
            } else {
                high = middle;
            }
        }
        let model =
            self.resolver.step_model(&point, Roles::Both).map_err(|error| wrong(error.to_string()))?;
        let weights = model.memory().weights() * f64::from(model.deployment().layout.ranks());
        let output = f64::from(serve.osl.unwrap_or(1)).max(1.0);
        Ok(Replica {
            capacity: best.throughput.value.get() / output,
            users: low,
            attention_ranks: model.deployment().layout.dp.max(1),
            ttft: best.ttft.map_or(0.0, |figure| figure.value.get()),
            tpot: best.tpot.map_or(0.0, |figure| figure.value.get()),
            load_time: (weights / WEIGHT_BANDWIDTH).get(),
            power: best.power.map(|figure| figure.value.get()),
        })
    }
}

fn point(system: &str, raw: &RawJob, serve: &RawServe) -> Result<OperatingPoint, String> {
    let model = serve.model.clone().ok_or("say which `model` it serves, or its `capacity`")?;
    let weight = serve.weight_dtype.as_deref().map(str::parse::<Dtype>).transpose();
    Ok(OperatingPoint {
        system: system.to_owned(),
        chips: raw.chips.map(f64::from),
        model,
        engine: serve.engine.clone(),
        formats: Formats { weight: weight.map_err(|error| error.to_string())?, ..Formats::default() },
        isl: Some(serve.isl.ok_or("say how long prompts are: `isl`")?),
        osl: Some(serve.osl.ok_or("say how long answers are: `osl`")?),
        sizes: Sizes { tp: serve.tp, pp: serve.pp, dp: serve.dp, ep: serve.ep, ..Sizes::default() },
        ..OperatingPoint::default()
    })
}
