//! The same job on several systems, each with its own best simple plan.
//!
//! A plan is a kind of decode instance with a batch, a kind of prefill instance with a prompt batch, and the share of
//! chips each kind gets so that neither waits for the other. Decode instances are searched over tensor- and
//! data-parallel sizes and batches under the latency limit, prefill instances over sizes; what wins is tokens per
//! second and chip.

use estimate::economics::Site;
use estimate::{Estimate, EstimateError, Figure, Formats, Mode, Point, Resolver, Sizes};
use hardware::{Chip, System};
use rayon::prelude::*;
use units::{Dollars, Dtype, GramsCo2, Joules, Seconds, TokensPerSecond, Watts};

/// What is to be served.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Model name or path.
    pub model: String,
    /// Prompt tokens.
    pub isl: u32,
    /// Output tokens.
    pub osl: u32,
    /// Most time per output token.
    pub tpot: Seconds,
    /// Most time of a prefill step; bounds the prompt batch.
    pub ttft: Seconds,
    /// Draft tokens per step and share accepted.
    pub speculation: Option<(u32, f64)>,
    /// Engine on every system, instead of each vendor's usual one.
    pub engine: Option<String>,
    /// Formats that replace the checkpoint's.
    pub formats: Formats,
}

/// A system's best plan.
pub struct Plan {
    /// Catalog key.
    pub system: String,
    /// The system's name.
    pub name: String,
    /// The chip's name.
    pub chip: String,
    /// Engine used.
    pub engine: String,
    /// Formats used: weights.
    pub format: Dtype,
    /// The best decode instance.
    pub decode: Estimate,
    /// The best prefill instance.
    pub prefill: Estimate,
    /// Share of chips that decode.
    pub decode_share: f64,
    /// Output tokens per second and package, over all packages.
    pub throughput: Figure<TokensPerSecond>,
    /// Packages of the system as it is bought.
    pub system_chips: u32,
    /// Mean power per package, surroundings included.
    pub power: Option<Watts>,
    /// Per output token, at the facility's plug.
    pub energy: Option<Joules>,
    /// Per million output tokens.
    pub money: Option<Dollars>,
    /// Per million output tokens.
    pub carbon: Option<GramsCo2>,
    /// Plans priced.
    pub priced: usize,
}

/// What became of one system.
pub struct Entry {
    /// Catalog key.
    pub system: String,
    /// Its plan, or why there is none.
    pub plan: Result<Plan, String>,
}

/// Compares `systems` on `job`, on all cores; the order is kept.
pub fn compare(resolver: &Resolver, job: &Job, systems: &[String], site: &Site) -> Vec<Entry> {
    systems
        .par_iter()
        .map(|system| Entry {
            system: system.clone(),
            plan: plan(resolver, job, system, site).map_err(|error| error.to_string()),
        })
        .collect()
}

/// The engine usually run on a chip for wide expert parallelism.
pub(crate) fn usual_engine(chip: &Chip) -> &'static str {
    match chip.vendor.as_str() {
        "Huawei" => "cloudmatrix-infer",
        "NVIDIA" => "sglang",
        _ => "vllm",
    }
}

/// Formats of a job on a chip: those asked for, else 8-bit integers where the checkpoint's 8-bit floats have no unit.
fn formats(job: &Job, chip: &Chip, model: &model::Model) -> Formats {
    let eight_bit = matches!(model.quantization.activations, Dtype::Fp8 | Dtype::Fp8Block);
    let native =
        chip.rank.matrix.keys().any(|dtype| matches!(dtype, Dtype::Fp8 | Dtype::Mxfp8 | Dtype::Hif8));
    if job.formats == Formats::default()
        && eight_bit
        && !native
        && chip.rank.matrix.contains_key(&Dtype::Int8)
    {
        let int8 = Some(Dtype::Int8);
        return Formats { weight: int8, act: int8, moe: int8, kv: None };
    }
    job.formats
}

/// Sizes of an instance to try: powers of two up to a node for tensor parallelism, and as many attention ranks as fill
/// a power-of-two (or the machine's own) number of packages.
fn shapes(chip: &Chip, system: &System, model: &model::Model) -> Vec<Sizes> {
    let has_experts = model.layers.iter().any(|group| matches!(group.ffn, model::Ffn::Moe(_)));
    let node = system.domains.iter().find(|domain| domain.kind == hardware::DomainKind::Node);
    let node_ranks = node.and_then(|domain| domain.ranks).unwrap_or(8).min(16);
    let widest = (system.chips * chip.ranks).clamp(1, 320);
    let mut totals: Vec<u32> =
        (0..).map(|power| 1u32 << power).take_while(|total| *total <= widest).collect();
    if has_experts {
        totals.extend([144, 288, 320].iter().copied().filter(|total| *total <= widest));
        if system.chips < 16 {
            totals.extend([16, 32]);
        }
    } else {
        totals.retain(|total| *total <= node_ranks);
    }
    let mut found = Vec::new();
    for total in totals {
        for tp in (0..).map(|power| 1u32 << power).take_while(|tp| *tp <= node_ranks.min(total)) {
            if total % tp == 0 && (has_experts || tp == total) {
                found.push(Sizes { tp: Some(tp), dp: Some(total / tp), ..Sizes::default() });
            }
        }
    }
    found
}

/// Estimates that worked and how many were made, and the last reason why one did not.
#[derive(Default)]
struct Search {
    best: Option<Estimate>,
    priced: usize,
    refused: Option<EstimateError>,
}

impl Search {
    fn consider(&mut self, estimate: Estimate) {
        self.priced += 1;
        let rate = |estimate: &Estimate| estimate.throughput_per_chip().value;
        if self.best.as_ref().is_none_or(|best| rate(&estimate) > rate(best)) {
            self.best = Some(estimate);
        }
    }
}

fn plan(resolver: &Resolver, job: &Job, system: &str, site: &Site) -> Result<Plan, EstimateError> {
    let mut point = Point { system: system.to_owned(), model: job.model.clone(), ..Point::default() };
    let chip = resolver.chip(&point)?;
    let described = resolver.system(system)?;
    let model = resolver.model(&job.model)?;
    let engine = job.engine.clone().unwrap_or_else(|| usual_engine(&chip).to_owned());
    point.engine = Some(engine.clone());
    point.formats = formats(job, &chip, &model);
    if let Some((tokens, accept)) = job.speculation {
        point.spec_tokens = tokens;
        point.spec_accept = Some(accept);
    }
    let mut decode = Search::default();
    let mut prefill = Search::default();
    for sizes in shapes(&chip, &described, &model) {
        let shaped = Point { sizes, chips: None, ..point.clone() };
        search_decode(resolver, job, &shaped, site, &mut decode);
        search_prefill(resolver, job, &shaped, site, &mut prefill);
    }
    let priced = decode.priced + prefill.priced;
    let nothing = |search: &mut Search| {
        search.refused.take().unwrap_or(EstimateError::Range {
            flag: "tpot",
            value: job.tpot.to_string(),
            allowed: "longer: no batch of this model meets it here",
        })
    };
    let Some(best_decode) = decode.best.take() else { return Err(nothing(&mut decode)) };
    let Some(best_prefill) = prefill.best.take() else { return Err(nothing(&mut prefill)) };
    Ok(combine(Parts {
        system: &described,
        chip: &chip,
        engine,
        format: point.formats.weight.unwrap_or(model.quantization.weights),
        decode: best_decode,
        prefill: best_prefill,
        priced,
        job,
        site,
    }))
}

/// Largest batches first would be priced in vain: the batch grows until the limit is passed.
fn search_decode(resolver: &Resolver, job: &Job, point: &Point, site: &Site, search: &mut Search) {
    let context = job.isl + job.osl / 2;
    let model = match resolver.step_model(point, estimate::Roles::Both) {
        Ok(model) => model,
        Err(error) => {
            search.refused = Some(error);
            return;
        }
    };
    let most = model.memory().sequences(f64::from(job.isl + job.osl)).floor() as u32;
    for batch in batches(most) {
        let at =
            Point { mode: Mode::Decode, batch_per_rank: Some(batch), kv_len: Some(context), ..point.clone() };
        match estimate::estimate(resolver, &at, site) {
            Ok(found) if found.tpot.is_some_and(|tpot| tpot.value <= job.tpot) => search.consider(found),
            Ok(_) => {
                search.priced += 1;
                break;
            }
            Err(error) => {
                search.refused = Some(error);
                break;
            }
        }
    }
}

/// 1, 2, 3, 4, 6, 8, 12 ... and `most` itself.
fn batches(most: u32) -> impl Iterator<Item = u32> {
    let steps = (0..12).flat_map(|power| [2u32 << power, 3u32 << power]);
    std::iter::once(1).chain(steps).filter(move |batch| *batch < most).chain((most > 0).then_some(most))
}

fn search_prefill(resolver: &Resolver, job: &Job, point: &Point, site: &Site, search: &mut Search) {
    for prompts in [1, 2, 4] {
        let at = Point {
            mode: Mode::Prefill,
            isl: Some(job.isl),
            batch_per_rank: Some(job.isl.saturating_mul(prompts)),
            spec_tokens: 0,
            ..point.clone()
        };
        match estimate::estimate(resolver, &at, site) {
            Ok(found) if found.ttft.is_some_and(|ttft| ttft.value <= job.ttft) => search.consider(found),
            Ok(_) => {
                search.priced += 1;
                break;
            }
            Err(error) => {
                search.refused = Some(error);
                break;
            }
        }
    }
}

struct Parts<'a> {
    system: &'a System,
    chip: &'a Chip,
    engine: String,
    format: Dtype,
    decode: Estimate,
    prefill: Estimate,
    priced: usize,
    job: &'a Job,
    site: &'a Site,
}

/// Balances the two kinds of instances and counts power and cost over both.
fn combine(parts: Parts<'_>) -> Plan {
    let Parts { system, chip, engine, format, decode, prefill, priced, job, site } = parts;
    let decode_rate = decode.throughput_per_chip();
    let prefill_rate = prefill.throughput_per_chip();
    // Chip-seconds of one request on either side.
    let decoding = f64::from(job.osl) / decode_rate.value.get();
    let filling = f64::from(job.isl) / prefill_rate.value.get();
    let decode_share = decoding / (decoding + filling);
    let rate = TokensPerSecond::new(f64::from(job.osl) / (decoding + filling));
    let sigma = (decode_rate.sigma * decode_share).hypot(prefill_rate.sigma * (1.0 - decode_share));
    let per_chip = |estimate: &Estimate| Some(estimate.power?.value / estimate.chips);
    let power = per_chip(&decode)
        .zip(per_chip(&prefill))
        .map(|(decode, prefill)| decode * decode_share + prefill * (1.0 - decode_share));
    let cost = power
        .map(|power| estimate::economics::token_cost(site, estimate::ownership(system), 1.0, power, rate));
    Plan {
        system: system.id.clone(),
        name: system.name.clone(),
        chip: chip.name.clone(),
        engine,
        format,
        decode,
        prefill,
        decode_share,
        throughput: Figure { value: rate, sigma },
        system_chips: system.chips,
        power,
        energy: cost.map(|cost| cost.energy),
        money: cost.and_then(|cost| cost.money),
        carbon: cost.map(|cost| cost.carbon),
        priced,
    }
}
