//! Training plans to launch scripts of Megatron-LM and MindSpeed-LLM.

use crate::LaunchFile;
use crate::error::ExportError;
use crate::render::{Argument, Renderer};
use model::{Attention, Ffn, LayerGroup, Model};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a training plan is launched with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trainer {
    /// Megatron-LM.
    Megatron,
    /// MindSpeed-LLM.
    Mindspeed,
}

impl Trainer {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Megatron => "megatron",
            Self::Mindspeed => "mindspeed",
        }
    }
}

/// How a job is cut, as `train --json` and `plan train --json` say it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainLayout {
    /// Tensor parallel size.
    pub tp: u32,
    /// Pipeline parallel size.
    pub pp: u32,
    /// Model chunks per rank.
    pub vpp: u32,
    /// Data parallel size.
    pub dp: u32,
    /// Context parallel size.
    pub cp: u32,
    /// Expert parallel size.
    pub ep: u32,
    /// Tensor parallel size of experts.
    pub etp: u32,
    /// Sequences per micro-batch.
    pub micro_batch: u32,
    /// Sequences per step.
    pub global_batch: u32,
    /// Tokens per sequence.
    pub seq: u32,
    /// Pipeline schedule.
    pub schedule: String,
    /// `none`, `selective`, `full` or a number of layers per stage.
    pub recompute: String,
    /// ZeRO stage.
    pub zero: u32,
    /// Format of matrix products.
    pub precision: String,
    /// Sequence parallelism.
    pub sequence_parallel: bool,
    /// Method of context parallelism, where there is one.
    #[serde(default)]
    pub context: Option<String>,
    /// Optimizer state on the host.
    #[serde(default)]
    pub offload_optimizer: bool,
    /// Activations on the host.
    #[serde(default)]
    pub offload_activations: bool,
    /// Whether prediction modules are trained, where the model has some.
    #[serde(default)]
    pub mtp: Option<bool>,
    /// Layers of the first virtual stage, where they are set.
    #[serde(default)]
    pub first_stage_layers: Option<u32>,
    /// Layers of the last virtual stage, where they are set.
    #[serde(default)]
    pub last_stage_layers: Option<u32>,
}

/// Most ranks of a job, and most of any of its sizes.
const MOST_RANKS: u64 = 1 << 24;

impl TrainLayout {
    /// Checks the sizes that a plan states.
    fn check(&self) -> Result<(), String> {
        let sizes = [
            ("tp", self.tp),
            ("pp", self.pp),
            ("vpp", self.vpp),
            ("dp", self.dp),
            ("cp", self.cp),
            ("ep", self.ep),
            ("etp", self.etp),
            ("micro_batch", self.micro_batch),
            ("global_batch", self.global_batch),
            ("seq", self.seq),
        ];
        let out = |size: u32| !(1..=MOST_RANKS).contains(&u64::from(size));
        if let Some((name, size)) = sizes.into_iter().find(|(_, size)| out(*size)) {
            return Err(format!("`layout.{name}` is {size}; allowed is 1 to {MOST_RANKS}"));
        }
        let parts = [self.tp, self.cp, self.pp, self.dp];
        let ranks = parts.into_iter().fold(1_u64, |ranks, size| ranks.saturating_mul(size.into()));
        if ranks > MOST_RANKS {
            return Err(format!("tp x cp x pp x dp make {ranks} ranks; at most {MOST_RANKS} are allowed"));
        }
        if self.zero > 3 {
            return Err(format!("`layout.zero` is {}; allowed is 0 to 3", self.zero));
        }
        let layers = self.recompute.parse::<u32>().is_ok();
        if !layers && !matches!(self.recompute.as_str(), "none" | "selective" | "full") {
            return Err(format!(
                "`layout.recompute` is {:?}; use none, selective, full or a number of layers",
                self.recompute
            ));
        }
        Ok(())
    }
}

/// A layout of a training plan and the model it is for, if the plan says so.
///
/// # Errors
/// The text is no training plan, or has no layout at that place (counted from 0).
pub fn read_training(text: &str, place: usize) -> Result<(TrainLayout, Option<String>), ExportError> {
    let malformed = |problem: String| ExportError::Training { problem };
    let value: Value = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
    let layout = match value["schema"].as_str() {
        Some("supernode.train/1") => value["layout"].clone(),
        Some("supernode.plan-train/1") => {
            let plans = value["plans"].as_array().into_iter().flatten();
            let largest = plans.max_by_key(|plan| plan["chips"].as_u64());
            largest.map_or(Value::Null, |plan| plan["best"][place]["layout"].clone())
        }
        _ => {
            return Err(malformed(
                "give the output of `supernode plan train --json` or `supernode train --json`".to_owned(),
            ));
        }
    };
    if layout.is_null() {
        return Err(ExportError::NoDeployment { wanted: format!("layout at place {}", place + 1) });
    }
    let layout: TrainLayout = serde_json::from_value(layout).map_err(|error| malformed(error.to_string()))?;
    layout.check().map_err(malformed)?;
    // Only a model that can be looked up is named: a shape has a name of its own making.
    let named = if value["job"].is_null() { &value["model"] } else { &value["job"]["model"] };
    Ok((layout, named.as_str().map(str::to_owned)))
}

/// What the templates can name.
#[derive(Serialize)]
struct View<'a> {
    trainer: &'static str,
    title: String,
    layout: &'a TrainLayout,
    ranks: u64,
    sizes: Sizes,
    args: &'a [Argument],
}

/// Sizes of the model as the flags state them.
#[derive(Clone, Serialize)]
struct Sizes {
    /// With those that do nothing.
    layers: u32,
    /// Layers that do nothing, by index.
    noops: Vec<u32>,
    /// Whether the embedding, and the head, count as a layer when layers are spread over stages.
    embedding_counts: bool,
    head_counts: bool,
    hidden: u32,
    vocab: u32,
    ffn: u32,
    gated: bool,
    untied: bool,
    /// Prediction modules that are trained.
    mtp: u32,
    attention: AttentionSizes,
    experts: Option<ExpertSizes>,
}

#[derive(Clone, Default, Serialize)]
struct AttentionSizes {
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    latent: bool,
    q_lora_rank: u32,
    kv_lora_rank: u32,
    nope: u32,
    rope: u32,
    v_head_dim: u32,
}

#[derive(Clone, Serialize)]
struct ExpertSizes {
    count: u32,
    topk: u32,
    intermediate: u32,
    shared: u32,
    dense_layers: u32,
    moe_layers: u32,
}

/// The launch script of a layout of `model`.
///
/// # Errors
/// The trainer cannot be told the layout or the model.
pub fn export_training(
    layout: &TrainLayout,
    model: &Model,
    trainer: Trainer,
) -> Result<LaunchFile, ExportError> {
    let refused = |problem: String| ExportError::Layout { trainer: trainer.name(), problem };
    check(layout, trainer).map_err(refused)?;
    let sizes = sizes(layout, model, trainer).map_err(refused)?;
    let parts = [layout.tp, layout.cp, layout.pp, layout.dp];
    let ranks = parts.iter().fold(1_u64, |ranks, size| ranks.saturating_mul(u64::from(*size)));
    let title = format!(
        "{} on {ranks} devices: tp {} cp {} pp {} dp {} ep {}",
        model.id.replace(char::is_control, " "),
        layout.tp,
        layout.cp,
        layout.pp,
        layout.dp,
        layout.ep
    );
    let renderer = Renderer::new()?;
    let mut view = View { trainer: trainer.name(), title, layout, ranks, sizes, args: &[] };
    let args = renderer.flags("megatron.flags", &view)?;
    view.args = &args;
    Ok(LaunchFile {
        name: "pretrain.sh".to_owned(),
        text: renderer.text("pretrain.sh", &view)?,
        executable: true,
    })
}

fn check(layout: &TrainLayout, trainer: Trainer) -> Result<(), String> {
    if !matches!(layout.schedule.as_str(), "1f1b" | "interleaved") {
        return Err(format!(
            "has no flag for the schedule {}; plan with 1f1b or interleaved",
            layout.schedule
        ));
    }
    if layout.zero > 1 && trainer == Trainer::Mindspeed {
        return Err(format!("has no flag for ZeRO stage {}; plan with stage 0 or 1", layout.zero));
    }
    if layout.offload_activations {
        return Err(
            "has no flag for activations on the host; plan with --offload-activations false".to_owned()
        );
    }
    let edges = layout.first_stage_layers.is_some() || layout.last_stage_layers.is_some();
    if edges && (layout.vpp > 1 || trainer == Trainer::Mindspeed) {
        return Err("has no flag for layers of the edge stages; plan without them".to_owned());
    }
    match layout.context.as_deref() {
        None | Some("ring" | "ulysses") => {}
        Some(other) => return Err(format!("has no flag for the context method {other}")),
    }
    match layout.precision.as_str() {
        "bf16" | "fp16" | "fp8" | "fp8_block" | "mxfp8" => Ok(()),
        other => Err(format!("has no flag for {other}; plan with bf16, fp16, fp8, fp8_block or mxfp8")),
    }
}

fn sizes(layout: &TrainLayout, model: &Model, trainer: Trainer) -> Result<Sizes, String> {
    let count: u32 = model.layers.iter().map(|group| group.count).sum();
    let attention = attention(model)?;
    let (dense, moe) = feed_forward(model)?;
    let stages = layout.pp.saturating_mul(layout.vpp).max(1);
    let set = layout.first_stage_layers.is_some() || layout.last_stage_layers.is_some();
    let (embedding_counts, head_counts) = if set { (false, false) } else { edges(count, stages)? };
    let mtp = model.mtp.as_ref().filter(|_| layout.mtp.unwrap_or(true)).map_or(0, |(count, _)| *count);
    let mut sizes = Sizes {
        layers: count,
        noops: Vec::new(),
        embedding_counts,
        head_counts,
        hidden: model.hidden,
        vocab: model.vocab,
        ffn: dense.map_or_else(|| moe.as_ref().map_or(0, |moe| moe.intermediate), |(width, _)| width),
        gated: dense.map_or_else(|| gated_experts(model), |(_, gated)| gated),
        untied: !model.tied_embeddings,
        mtp,
        attention,
        experts: moe,
    };
    if trainer == Trainer::Mindspeed {
        // MindSpeed counts layers that do nothing instead.
        sizes.layers += u32::from(embedding_counts) + u32::from(head_counts);
        sizes.noops.extend(embedding_counts.then_some(0));
        sizes.noops.extend(head_counts.then_some(sizes.layers - 1));
        if embedding_counts && sizes.experts.as_ref().is_some_and(|moe| moe.dense_layers > 0) {
            return Err("cannot put a layer that does nothing before the dense layers; plan with other pipeline sizes".to_owned());
        }
        (sizes.embedding_counts, sizes.head_counts) = (false, false);
    }
    Ok(sizes)
}

/// Whether the embedding and the head count as a layer each so that all stages are alike, as the plan cuts them.
fn edges(layers: u32, stages: u32) -> Result<(bool, bool), String> {
    let ways = [(false, false), (true, true), (false, true)];
    let even = |(first, last): &(bool, bool)| (layers + u32::from(*first) + u32::from(*last)) % stages == 0;
    ways.into_iter().find(even).ok_or_else(|| {
        format!("has no flag that cuts {layers} layers into {stages} stages as the plan does; plan with other pipeline sizes")
    })
}

const UNLIKE: &str = "has no flags for a model whose layers differ in more than the first ones being dense";

fn attention(model: &Model) -> Result<AttentionSizes, String> {
    let first = model.layers.first().ok_or(UNLIKE)?;
    if model.layers.iter().any(|group| group.attention != first.attention) {
        return Err(UNLIKE.to_owned());
    }
    match &first.attention {
        Attention::MultiHead(heads) if heads.window.is_none() && heads.indexer.is_none() => {
            Ok(AttentionSizes {
                heads: heads.heads,
                kv_heads: heads.kv_heads,
                head_dim: heads.head_dim,
                ..AttentionSizes::default()
            })
        }
        Attention::Mla(latent) if latent.indexer.is_none() => Ok(AttentionSizes {
            heads: latent.heads,
            kv_heads: latent.heads,
            head_dim: latent.qk_nope_head_dim + latent.qk_rope_head_dim,
            latent: true,
            q_lora_rank: latent.q_lora_rank.unwrap_or(0),
            kv_lora_rank: latent.kv_lora_rank,
            nope: latent.qk_nope_head_dim,
            rope: latent.qk_rope_head_dim,
            v_head_dim: latent.v_head_dim,
        }),
        _ => Err("has no flags for the model's attention".to_owned()),
    }
}

/// Width and gate of dense layers, and the experts; dense layers come first.
fn feed_forward(model: &Model) -> Result<(Option<(u32, bool)>, Option<ExpertSizes>), String> {
    let (mut dense, mut experts) = (None, None);
    let mut dense_layers = 0;
    for LayerGroup { count, ffn, .. } in &model.layers {
        match ffn {
            Ffn::Dense { intermediate, gated, .. } if experts.is_none() => {
                if dense.is_some_and(|known| known != (*intermediate, *gated)) {
                    return Err(UNLIKE.to_owned());
                }
                dense = Some((*intermediate, *gated));
                dense_layers += count;
            }
            Ffn::Moe(moe) if experts.is_none() && moe.latent.is_none() && moe.identity_experts == 0 => {
                experts = Some(ExpertSizes {
                    count: moe.experts,
                    topk: moe.topk,
                    intermediate: moe.intermediate,
                    shared: moe.shared_intermediate,
                    dense_layers,
                    moe_layers: *count,
                });
            }
            _ => return Err(UNLIKE.to_owned()),
        }
    }
    Ok((dense, experts))
}

fn gated_experts(model: &Model) -> bool {
    model.layers.iter().any(|group| matches!(&group.ffn, Ffn::Moe(moe) if moe.gated))
}
