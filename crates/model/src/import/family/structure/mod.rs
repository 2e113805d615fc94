//! Decoders read by the structure that their keys state: which layers mix tokens how, and what stands between them.
//!
//! Nothing here asks for a family's name. What a class fixes beside its keys is data ([`traits`]); what neither says is
//! assumed aloud, so that a reader sees what the answer rests on.

mod heads;
mod kinds;
mod network;
mod recurrent;
pub(crate) mod traits;

use crate::arch::{Attention, Ffn, LayerGroup, Tower};
use crate::import::decoder::{Decoder, Frame};
use crate::import::family::indexer::by_layer;
use crate::import::keys::{Keys, Read};
use heads::Heads;
use kinds::{Kind, Mixing};
use network::Networks;
use traits::Traits;

/// Reads a decoder whose class has these traits.
pub(crate) fn read(keys: &Keys, frame: Frame, traits: &Traits) -> Read<Decoder> {
    let kinds = kinds::read(keys, frame, traits)?;
    let parts = Parts::read(keys, frame, traits, &kinds)?;
    let mut layers = Vec::new();
    for (index, kind) in kinds.layers.iter().enumerate() {
        parts.push_layer(&kinds, index, *kind, &mut layers);
    }
    if layers.len() == frame.layers as usize {
        by_layer(keys, frame, &mut layers)?;
    }
    let tied = tied(keys, traits)?;
    let mtp = prediction(keys, &layers)?;
    let mut decoder = Decoder::new(frame, tied, layers);
    decoder.residual_streams = streams(keys)?;
    parts.apart(keys, frame, &mut decoder);
    decoder.mtp = mtp;
    decoder.outer_norms = traits.outer_norms;
    decoder.norm_bias = norm_bias(keys, traits)?;
    decoder.learned_positions = positions(keys, frame, traits)?;
    decoder.layout.shared = "mlp.shared_expert";
    Ok(decoder)
}

/// One of each part that the layers are put together from.
struct Parts<'a> {
    traits: &'a Traits,
    heads: Option<Heads>,
    mamba: Option<Attention>,
    linear: Option<Attention>,
    conv: Option<Attention>,
    /// A linear recurrence, with the weights of its gates.
    recurrence: Option<(Attention, u64)>,
    networks: Networks,
}

impl<'a> Parts<'a> {
    fn read(keys: &Keys, frame: Frame, traits: &'a Traits, kinds: &Mixing) -> Read<Self> {
        let used = |wanted: &[Kind]| kinds.layers.iter().any(|kind| wanted.contains(kind));
        ignore_unused(keys, kinds);
        let attends = kinds.layers.iter().any(|kind| kind.attends());
        let heads = if attends { Some(heads::read(keys, frame, traits)?) } else { None };
        let mamba = if used(&[Kind::Mamba, Kind::Beside]) {
            Some(Attention::StateSpace(recurrent::mamba(keys, frame)?))
        } else {
            None
        };
        let linear = if used(&[Kind::Linear]) {
            Some(Attention::Linear(recurrent::linear(keys, frame, heads.as_ref())?))
        } else {
            None
        };
        let conv = if used(&[Kind::Conv]) {
            Some(Attention::ShortConv(recurrent::short_conv(keys, frame)?))
        } else {
            None
        };
        let recurrence = if used(&[Kind::Recurrence]) {
            let (space, gates) = recurrent::recurrence(keys, frame)?;
            Some((Attention::StateSpace(space), gates))
        } else {
            None
        };
        let networks = network::read(keys, frame, traits, kinds)?;
        Ok(Self { traits, heads, mamba, linear, conv, recurrence, networks })
    }

    /// Adds one layer; attention beside a state space makes two entries, of which the second has the network.
    fn push_layer(&self, kinds: &Mixing, index: usize, kind: Kind, layers: &mut Vec<LayerGroup>) {
        let ffn = if kinds.has_network(kind) { self.networks.of_layer(index) } else { Ffn::None };
        let attention = match kind {
            Kind::Full => self.attention(index, None),
            Kind::Window(window) => self.attention(index, Some(window)),
            // Keys and values are those of images: text adds nothing to them.
            Kind::Cross => self.attention(index, Some(1)),
            Kind::Mamba => self.mamba.clone(),
            Kind::Linear => self.linear.clone(),
            Kind::Conv => self.conv.clone(),
            Kind::Recurrence => self.recurrence.as_ref().map(|(space, _)| space.clone()),
            Kind::Beside => {
                if let Some(mamba) = &self.mamba {
                    let group = LayerGroup::one(mamba.clone(), Ffn::None);
                    layers.push(LayerGroup { norms: 0, ..group });
                }
                self.attention(index, None)
            }
            Kind::NetworkOnly | Kind::Nothing => None,
        };
        let attention = attention.unwrap_or(Attention::None);
        let gates = self.recurrence.as_ref().filter(|_| kind == Kind::Recurrence);
        let extra = self.networks.extra + gates.map_or(0, |(_, gates)| *gates);
        let norms = if attention == Attention::None || ffn == Ffn::None {
            u32::from(attention != Attention::None) + u32::from(ffn != Ffn::None)
        } else {
            self.traits.norms
        };
        layers.push(LayerGroup { count: 1, norms, attention, ffn, extra });
    }

    /// Weights that text meets in part or not at all, and those of the output beside the head's.
    fn apart(&self, keys: &Keys, frame: Frame, decoder: &mut Decoder) {
        let parameters = self.networks.other_experts;
        if parameters > 0 {
            decoder.towers.push(Tower { name: "vision experts".to_owned(), parameters });
        }
        let hidden = u64::from(frame.hidden);
        if let (true, Some((heads, head_dim)), Some(Ffn::Moe(moe))) = (
            self.traits.attention_experts,
            self.heads.as_ref().and_then(Heads::shape),
            decoder.layers.first().map(|layer| &layer.ffn),
        ) {
            // Every expert has queries and outputs of its own for the heads that share keys and values.
            let width = u64::from(heads / moe.topk.max(1)).saturating_mul(u64::from(head_dim));
            let one = (2 * hidden).saturating_mul(width);
            let idle = u64::from(moe.experts.saturating_sub(moe.topk)).saturating_mul(one);
            let router = hidden * u64::from(moe.experts);
            decoder.lookup_parameters = u64::from(frame.layers).saturating_mul(idle.saturating_add(router));
            keys.note(
                "experts of attention: those chosen count as heads, the others among what is looked up",
            );
        }
        if self.traits.head_matrix {
            // One matrix in front of the head; its work is spread over the layers.
            let share = hidden * hidden / u64::from(frame.layers);
            decoder.layers.iter_mut().for_each(|layer| layer.extra += share);
        }
    }

    fn attention(&self, index: usize, window: Option<u32>) -> Option<Attention> {
        self.heads.as_ref().map(|heads| heads.of_layer(index, window))
    }
}

/// Keys of kinds of layers that the model has none of: classes write them all the same.
fn ignore_unused(keys: &Keys, kinds: &Mixing) {
    let mamba = kinds.layers.iter().any(|kind| matches!(kind, Kind::Mamba | Kind::Beside));
    let attends = kinds.layers.iter().any(|kind| kind.attends());
    let linear = kinds.layers.contains(&Kind::Linear);
    for name in keys.names() {
        let unused = (!mamba && name.starts_with("mamba_"))
            || (!linear && name.starts_with("linear_"))
            || (!attends
                && (name.starts_with("attn_")
                    || name.contains("num_attention")
                    || name.contains("key_value")));
        if unused {
            keys.ignore(name);
        }
    }
    if kinds.pure {
        keys.ignore("intermediate_size|d_intermediate");
    }
}

/// Parallel residual streams (hyper-connections); 1 for the plain residual.
fn streams(keys: &Keys) -> Read<u32> {
    let streams = keys.opt_first("hc_mult|hyper_connection_rate|num_residual_streams")?.unwrap_or(1);
    if streams > 1 {
        keys.note(format!("assumed: {streams} residual streams are mixed before and after every sub-layer"));
    }
    keys.ignore("hc_sinkhorn_iters|hc_eps|hc_magnitude");
    Ok(streams)
}

/// Whether the head is the embedding.
fn tied(keys: &Keys, traits: &Traits) -> Read<bool> {
    const KEY: &str = "tie_word_embeddings|tie_embeddings|share_embeddings";
    if let Some(flag) = keys.opt_flag(KEY)? {
        return Ok(flag);
    }
    if let Some(untied) = keys.opt_flag("untie_embeddings|untie_word_embeddings")? {
        return Ok(!untied);
    }
    Ok(traits.tied.unwrap_or_else(|| {
        keys.note(
            "assumed: the output head is the embedding, as Transformers takes it where a file does not say",
        );
        true
    }))
}

/// Whether norms have biases: by the class, or as the name of the epsilon tells a LayerNorm.
fn norm_bias(keys: &Keys, traits: &Traits) -> Read<bool> {
    if let Some(bias) = traits.norm_bias {
        return Ok(bias);
    }
    let layer_norm = ["layer_norm_eps", "layer_norm_epsilon", "layernorm_epsilon", "norm_epsilon"];
    let bias = layer_norm.iter().any(|key| keys.has(key)) && !keys.has("rms_norm_eps");
    keys.note(if bias {
        "assumed: LayerNorm with biases, from the name of its epsilon"
    } else {
        "assumed: RMS norms, two per layer"
    });
    Ok(bias)
}

fn positions(keys: &Keys, frame: Frame, traits: &Traits) -> Read<u32> {
    if let Some(extra) = traits.positions {
        return Ok(frame.max_context.saturating_add(extra));
    }
    let learned =
        matches!(keys.text("position_embedding_type")?, Some("learned" | "absolute" | "learned_absolute"));
    let rotary = keys.has("rope_theta") || keys.has("rope_scaling") || keys.has("rope_parameters");
    Ok(if learned && !rotary && !traits.is_known() { frame.max_context } else { 0 })
}

/// Prediction modules, each like the last layer.
fn prediction(keys: &Keys, layers: &[LayerGroup]) -> Read<Option<(u32, LayerGroup)>> {
    let modules =
        keys.whole_first("num_nextn_predict_layers|num_mtp_layers|mtp_num_hidden_layers|mtp_num_layers")?;
    let last = layers.iter().rev().find(|layer| layer.attention != Attention::None);
    Ok(last.filter(|_| modules > 0).map(|last| (modules, LayerGroup { count: 1, ..last.clone() })))
}

/// What the structure is, for the line that says how a file was read.
pub(crate) fn summary(layers: &[LayerGroup]) -> String {
    let has = |wanted: fn(&LayerGroup) -> bool| layers.iter().any(wanted);
    let mut parts = Vec::new();
    if has(|layer| matches!(&layer.attention, Attention::MultiHead(a) if a.kv_heads < a.heads)) {
        parts.push("grouped-query attention");
    } else if has(|layer| matches!(layer.attention, Attention::MultiHead(_))) {
        parts.push("multi-head attention");
    }
    if has(|layer| matches!(layer.attention, Attention::Mla(_))) {
        parts.push("latent attention");
    }
    if has(|layer| matches!(layer.attention, Attention::StateSpace(_))) {
        parts.push("state-space layers");
    }
    if has(|layer| matches!(layer.attention, Attention::Linear(_))) {
        parts.push("linear attention");
    }
    if has(|layer| matches!(layer.attention, Attention::ShortConv(_))) {
        parts.push("short convolutions");
    }
    if has(|layer| matches!(layer.ffn, Ffn::Moe(_))) {
        parts.push("routed experts");
    }
    if has(|layer| matches!(layer.ffn, Ffn::Dense { gated: true, .. })) {
        parts.push("gated feed-forward networks");
    }
    if has(|layer| matches!(layer.ffn, Ffn::Dense { gated: false, .. })) {
        parts.push("feed-forward networks of two matrices");
    }
    parts.join(", ")
}
