//! `supernode estimate`.

use crate::common::{CatalogArgs, Failure, SiteArgs, print, print_json};
use ::estimate::{EstimateError, Formats, Mode, Point, Resolver, Sizes, estimate};
use cost::step::StepError;
use units::Dtype;

/// Flags are named as the columns of the measurement tables.
#[derive(clap::Args)]
pub struct Args {
    /// Catalog key of the system.
    #[arg(long)]
    system: String,
    /// Catalog key of a chip to put in the system instead of its own.
    #[arg(long)]
    chip: Option<String>,
    /// Packages used by the whole deployment.
    #[arg(long)]
    chips: Option<f64>,
    /// Hugging Face id of a built-in model, or the path of a config.json.
    #[arg(long)]
    model: String,
    /// Catalog key of the engine.
    #[arg(long)]
    engine: Option<String>,
    /// Version of the engine, where its overheads depend on it, for example 0.12.0.
    #[arg(long)]
    engine_version: Option<String>,
    /// agg, disagg, prefill or decode.
    #[arg(long, default_value = "agg")]
    mode: Mode,
    /// Weights instead of the checkpoint's format.
    #[arg(long)]
    weight_dtype: Option<Dtype>,
    /// Activations.
    #[arg(long)]
    act_dtype: Option<Dtype>,
    /// Cache.
    #[arg(long)]
    kv_dtype: Option<Dtype>,
    /// Routed experts.
    #[arg(long)]
    moe_dtype: Option<Dtype>,
    /// Prompt tokens.
    #[arg(long)]
    isl: Option<u32>,
    /// Output tokens.
    #[arg(long)]
    osl: Option<u32>,
    /// Lengths are uniform from this share of nominal to nominal.
    #[arg(long)]
    length_spread: Option<f64>,
    /// Requests in flight in the whole deployment.
    #[arg(long)]
    concurrency: Option<u32>,
    /// Tensor-parallel ranks.
    #[arg(long)]
    tp: Option<u32>,
    /// Pipeline stages.
    #[arg(long)]
    pp: Option<u32>,
    /// Attention data-parallel ranks.
    #[arg(long)]
    dp: Option<u32>,
    /// Expert-parallel ranks.
    #[arg(long)]
    ep: Option<u32>,
    /// Tensor-parallel ranks of one expert.
    #[arg(long)]
    moe_tp: Option<u32>,
    /// Expert replicas beyond one of each.
    #[arg(long)]
    redundant_experts: Option<u32>,
    /// Prefill instances (disagg).
    #[arg(long)]
    prefill_instances: Option<u32>,
    /// Tensor-parallel ranks of a prefill instance.
    #[arg(long)]
    prefill_tp: Option<u32>,
    /// Attention data-parallel ranks of a prefill instance.
    #[arg(long)]
    prefill_dp: Option<u32>,
    /// Expert-parallel ranks of a prefill instance.
    #[arg(long)]
    prefill_ep: Option<u32>,
    /// Decode instances (disagg).
    #[arg(long)]
    decode_instances: Option<u32>,
    /// Tensor-parallel ranks of a decode instance.
    #[arg(long)]
    decode_tp: Option<u32>,
    /// Attention data-parallel ranks of a decode instance.
    #[arg(long)]
    decode_dp: Option<u32>,
    /// Expert-parallel ranks of a decode instance.
    #[arg(long)]
    decode_ep: Option<u32>,
    /// Sequences (decode) or tokens (prefill) per rank and step.
    #[arg(long)]
    batch_per_rank: Option<u32>,
    /// Context length of a decode point.
    #[arg(long)]
    kv_len: Option<u32>,
    /// Draft tokens per step.
    #[arg(long, default_value_t = 0)]
    spec_tokens: u32,
    /// Mean share of draft tokens accepted, 0 to 1.
    #[arg(long)]
    spec_accept: Option<f64>,
    /// Share of prompt tokens served from a cache, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    prefix_hit: f64,
    /// Most tokens of one step instead of the engine's.
    #[arg(long)]
    token_budget: Option<u32>,
    /// Load of the busiest expert rank over the mean, minus 1, instead of the engine's.
    #[arg(long)]
    expert_skew: Option<f64>,
    /// Whether two micro-batches overlap communication with computation, instead of the engine's habit.
    #[arg(long)]
    micro_batches: Option<bool>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    site: SiteArgs,
    #[command(flatten)]
    catalog: CatalogArgs,
}

impl Args {
    fn point(&self) -> Point {
        let side = |instances, tp, dp, ep| Sizes { instances, tp, dp, ep, ..Sizes::default() };
        Point {
            system: self.system.clone(),
            chip: self.chip.clone(),
            chips: self.chips,
            model: self.model.clone(),
            engine: self.engine.clone(),
            engine_version: self.engine_version.clone(),
            formats: Formats {
                weight: self.weight_dtype,
                act: self.act_dtype,
                kv: self.kv_dtype,
                moe: self.moe_dtype,
            },
            mode: self.mode,
            isl: self.isl,
            osl: self.osl,
            length_spread: self.length_spread,
            concurrency: self.concurrency,
            sizes: Sizes {
                instances: None,
                tp: self.tp,
                pp: self.pp,
                dp: self.dp,
                ep: self.ep,
                moe_tp: self.moe_tp,
                redundant_experts: self.redundant_experts,
            },
            prefill: side(self.prefill_instances, self.prefill_tp, self.prefill_dp, self.prefill_ep),
            decode: side(self.decode_instances, self.decode_tp, self.decode_dp, self.decode_ep),
            batch_per_rank: self.batch_per_rank,
            kv_len: self.kv_len,
            spec_tokens: self.spec_tokens,
            spec_accept: self.spec_accept,
            prefix_hit: self.prefix_hit,
            token_budget: self.token_budget,
            expert_skew: self.expert_skew,
            micro_batches: self.micro_batches,
        }
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let resolver = Resolver::new(args.catalog.load()?);
    let estimate =
        estimate(&resolver, &args.point(), &args.site.site(resolver.catalog())?).map_err(failure)?;
    if args.json {
        print_json(&report::estimate_json(&estimate))
    } else {
        print(&report::estimate_text(&estimate))
    }
}

/// A model that does not fit is an answer, not a mistake.
fn failure(error: EstimateError) -> Failure {
    match error {
        EstimateError::Step(StepError::Memory(refusal)) => Failure::No(refusal.to_string()),
        other => Failure::Input(other.to_string()),
    }
}
