//! What a family's reader hands back, and how layers are put into groups.

use super::keys::{Keys, Read};
use crate::arch::{Attention, Ffn, LayerGroup, Model, Quantization, Tower};

/// The longest context of a file that states none, as those of recurrent models do.
const ASSUMED_CONTEXT: u32 = 131_072;

/// The most layers a model may have.
const LAYER_LIMIT: u32 = 4096;

/// The keys that every family has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub hidden: u32,
    pub vocab: u32,
    pub layers: u32,
    pub max_context: u32,
}

impl Frame {
    pub(crate) fn read(keys: &Keys) -> Read<Self> {
        const HIDDEN: &str = "hidden_size|n_embd|n_embed|d_model|model_dim|dim";
        const LAYERS: &str = "num_hidden_layers|n_layer|num_layers|n_layers|num_transformer_layers";
        let layers = match keys.opt_count(LAYERS)? {
            Some(layers) => layers,
            None => listed_layers(keys).ok_or_else(|| keys.missing(LAYERS))?,
        };
        if layers > LAYER_LIMIT {
            let reason = format!(
                "{layers} layers are more than any model has (limit {LAYER_LIMIT}); correct the value"
            );
            return Err(keys.inconsistent(LAYERS, reason));
        }
        Ok(Self {
            hidden: keys.count(HIDDEN)?,
            vocab: keys.count("vocab_size|padded_vocab_size")?,
            layers,
            max_context: max_context(keys)?,
        })
    }
}

/// The longest context; the tokenizer's limit where the model states none.
fn max_context(keys: &Keys) -> Read<u32> {
    const LONGEST: &str = "max_position_embeddings|n_positions|max_sequence_length|seq_length|max_seq_len|\
                           max_sequence_len|model_max_length|max_context_length|max_length|n_ctx|context_length";
    if let Some(tokens) = keys.opt_first(LONGEST)? {
        return Ok(tokens);
    }
    keys.note(format!("assumed: a longest context of {ASSUMED_CONTEXT} tokens, as the file states none"));
    Ok(ASSUMED_CONTEXT)
}

/// The number of layers where a list of their kinds says it alone.
fn listed_layers(keys: &Keys) -> Option<u32> {
    let kinds = keys.list("layers_block_type").ok()??;
    u32::try_from(kinds.len()).ok().filter(|layers| *layers > 0)
}

/// What the checkpoint calls the modules of a layer, so that lists of exceptions can be understood.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub attention: &'static str,
    pub linear: &'static str,
    pub linear_input: &'static str,
    pub linear_output: &'static str,
    pub dense: &'static str,
    pub experts: &'static str,
    pub shared: &'static str,
    pub up: &'static str,
    pub expert_up: &'static str,
}

impl Layout {
    pub(crate) const COMMON: Self = Self {
        attention: "self_attn",
        linear: "linear_attn",
        linear_input: "in_proj_qkv",
        linear_output: "out_proj",
        dense: "mlp",
        experts: "mlp.experts.0",
        shared: "mlp.shared_experts",
        up: "up_proj",
        expert_up: "up_proj",
    };
}

/// A decoder as a reader builds it: one entry per layer.
#[derive(Debug, Clone)]
pub(crate) struct Decoder {
    pub frame: Frame,
    pub tied: bool,
    pub layers: Vec<LayerGroup>,
    pub mtp: Option<(u32, LayerGroup)>,
    pub outer_norms: u32,
    pub norm_bias: bool,
    pub learned_positions: u32,
    pub lookup_parameters: u64,
    pub residual_streams: u32,
    pub towers: Vec<Tower>,
    pub ignored: Vec<String>,
    pub layout: Layout,
}

impl Decoder {
    /// Pre-norm layers with RMS normalisation, rotary positions and no extras.
    pub(crate) fn new(frame: Frame, tied: bool, layers: Vec<LayerGroup>) -> Self {
        Self {
            frame,
            tied,
            layers,
            mtp: None,
            outer_norms: 1,
            norm_bias: false,
            learned_positions: 0,
            lookup_parameters: 0,
            residual_streams: 1,
            towers: Vec::new(),
            ignored: Vec::new(),
            layout: Layout::COMMON,
        }
    }

    pub(crate) fn into_model(self, id: &str, family: &str, quantization: Quantization) -> Model {
        Model {
            id: id.to_owned(),
            family: family.to_owned(),
            hidden: self.frame.hidden,
            vocab: self.frame.vocab,
            tied_embeddings: self.tied,
            max_context: self.frame.max_context,
            layers: grouped(self.layers),
            mtp: self.mtp,
            quantization,
            outer_norms: self.outer_norms,
            norm_bias: self.norm_bias,
            learned_positions: self.learned_positions,
            lookup_parameters: self.lookup_parameters,
            residual_streams: self.residual_streams,
            towers: self.towers,
            ignored: self.ignored,
            reading: Vec::new(),
        }
    }
}

/// One pre-norm layer.
pub(crate) fn layer(attention: Attention, ffn: Ffn) -> LayerGroup {
    LayerGroup::one(attention, ffn)
}

/// A gated feed-forward network without biases.
pub(crate) fn gated(intermediate: u32) -> Ffn {
    Ffn::Dense { intermediate, gated: true, bias: false }
}

/// Equal layers counted together, in the order in which each kind appears first.
fn grouped(layers: Vec<LayerGroup>) -> Vec<LayerGroup> {
    let mut groups: Vec<LayerGroup> = Vec::new();
    for layer in layers {
        let same = |group: &&mut LayerGroup| {
            group.norms == layer.norms
                && group.extra == layer.extra
                && group.attention == layer.attention
                && group.ffn == layer.ffn
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.count += layer.count,
            None => groups.push(layer),
        }
    }
    groups
}
