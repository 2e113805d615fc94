//! Whether an engine starts a model with these sizes at all.
//!
//! Engines refuse shards that do not come out whole. vLLM and SGLang check it when they build the model; what they check
//! is the same in both: attention heads divide over tensor-parallel ranks (`ModelConfig.verify_with_parallel_config`),
//! key-value heads divide or are replicated whole (`QKVParallelLinear`), the widths of feed-forward layers and experts
//! divide, shards of block-quantised weights are whole blocks (`validate_fp8_block_shape`, and `create_weights` of the
//! FP8 experts: "output_size of gate's and up's weight = 192 is not divisible by weight quantization block_n = 128"),
//! inputs of group-quantised weights are whole groups (`create_weights` of AWQ, GPTQ and ModelOpt's NVFP4), and the
//! vocabulary, padded to a multiple of 64, divides (`VocabParallelEmbedding`). TensorRT-LLM pads the vocabulary.

use super::deployment::{Deployment, Layout};
use model::{Attention, Ffn, LayerGroup, Model, Moe, Quantization};
use units::Dtype;

/// Why an engine does not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unstartable {
    /// Something that is cut does not come out even.
    #[error(
        "{engine} does not start: {size} {part} do not divide over {key} {ranks}; use a {key} of {choices}{instead}"
    )]
    Uneven {
        /// The engine's name.
        engine: String,
        /// What is cut, for example `attention heads`.
        part: &'static str,
        /// How many there are.
        size: u32,
        /// Which size of the layout cuts it: `tp` or `moe_tp`.
        key: &'static str,
        /// Over how many ranks.
        ranks: u32,
        /// Sizes that do.
        choices: String,
        /// What else would do.
        instead: &'static str,
    },
    /// A shard of quantised weights ends within a block or group.
    #[error(
        "{engine} does not start: {key} {ranks} cuts the {part} ({size}) into shards of {shard}, no multiple of the \
         {block} that share a scale in {format}; use a {key} of {choices}{instead}"
    )]
    Block {
        /// The engine's name.
        engine: String,
        /// What is cut, for example `width of an expert`.
        part: &'static str,
        /// How wide it is.
        size: u32,
        /// Which size of the layout cuts it: `tp` or `moe_tp`.
        key: &'static str,
        /// Over how many ranks.
        ranks: u32,
        /// Width of a shard.
        shard: u32,
        /// Weights that share a scale.
        block: u32,
        /// Format of the weights.
        format: Dtype,
        /// Sizes that do.
        choices: String,
        /// What else would do.
        instead: &'static str,
    },
    /// Experts with their replicas are not shared out evenly.
    #[error(
        "{engine} does not start: {experts} experts and {redundant} replicas do not divide over ep {ep}; \
         use {needed} redundant experts"
    )]
    Replicas {
        /// The engine's name.
        engine: String,
        /// Experts of a layer.
        experts: u32,
        /// Replicas beyond one of each.
        redundant: u32,
        /// Expert-parallel ranks.
        ep: u32,
        /// The next number that does.
        needed: u32,
    },
}

/// Weights along an edge of a shard that share a scale, where engines insist on whole ones. MXFP4 and MXFP8 weights are
/// padded when they are loaded; how many integers share a scale is the checkpoint's, where it says so (the Marlin kernels
/// of AWQ and GPTQ want whole groups in a shard).
fn block(format: Dtype, formats: &Quantization) -> Option<u32> {
    match format {
        Dtype::Fp8Block => Some(128),
        Dtype::Nvfp4 => Some(16),
        _ => formats.group_of(format).map(|group| group.size),
    }
}

/// What is cut over which ranks.
struct Cut<'a> {
    engine: &'a str,
    key: &'static str,
    ranks: u32,
    instead: &'static str,
    formats: &'a Quantization,
}

impl Cut<'_> {
    /// `size` of `part` divides over the ranks.
    fn even(&self, part: &'static str, size: u32) -> Result<(), Unstartable> {
        if size % self.ranks == 0 {
            return Ok(());
        }
        Err(Unstartable::Uneven {
            engine: self.engine.to_owned(),
            part,
            size,
            key: self.key,
            ranks: self.ranks,
            choices: choices(self.ranks, |ranks| size % ranks == 0),
            instead: self.instead,
        })
    }

    /// A width of weights in `format` divides over the ranks, into whole blocks.
    fn weights(&self, part: &'static str, size: u32, format: Dtype) -> Result<(), Unstartable> {
        if size == 0 || self.ranks == 1 {
            return Ok(());
        }
        self.even(part, size)?;
        let Some(block) = block(format, self.formats).filter(|block| size / self.ranks % block != 0) else {
            return Ok(());
        };
        Err(Unstartable::Block {
            engine: self.engine.to_owned(),
            part,
            size,
            key: self.key,
            ranks: self.ranks,
            shard: size / self.ranks,
            block,
            format,
            choices: choices(self.ranks, |ranks| ranks == 1 || size % (ranks * block) == 0),
            instead: self.instead,
        })
    }
}

/// Numbers of ranks below `ranks` that are good, as words.
fn choices(ranks: u32, good: impl Fn(u32) -> bool) -> String {
    let found: Vec<String> =
        (1..ranks).rev().filter(|ranks| good(*ranks)).take(4).map(|ranks| ranks.to_string()).collect();
    if found.is_empty() { "1".to_owned() } else { found.into_iter().rev().collect::<Vec<_>>().join(", ") }
}

/// Checks that the engine of a deployment starts it.
///
/// # Errors
/// The first thing that the engine refuses.
pub(super) fn check(deployment: &Deployment) -> Result<(), Unstartable> {
    let Deployment { engine, layout, model, .. } = deployment;
    if engine.sharding.pads {
        return Ok(());
    }
    let tp = Cut {
        engine: &engine.name,
        key: "tp",
        ranks: layout.tp,
        instead: ", data-parallel attention or pipeline stages",
        formats: &model.quantization,
    };
    let drafts = model.mtp.iter().map(|(_, group)| group).filter(|_| deployment.speculation.tokens > 0);
    for group in model.layers.iter().chain(drafts) {
        attention(&tp, &group.attention, model.quantization.attention)?;
        feed_forward(&tp, group, layout, model)?;
    }
    if let Some(padded) = &engine.sharding.vocabulary {
        tp.even("entries of the padded vocabulary", model.vocab.next_multiple_of(padded.value))?;
    }
    Ok(())
}

fn attention(tp: &Cut, attention: &Attention, format: Dtype) -> Result<(), Unstartable> {
    match attention {
        Attention::MultiHead(heads) => {
            tp.even("attention heads", heads.heads)?;
            // Fewer key-value heads than ranks are replicated, each on equally many.
            let replicated =
                heads.kv_heads > 0 && heads.kv_heads < tp.ranks && tp.ranks % heads.kv_heads == 0;
            if heads.kv_heads > 0 && !replicated {
                tp.even("key-value heads", heads.kv_heads)?;
            }
            tp.weights("query heads' width", heads.heads * heads.head_dim, format)?;
            tp.weights("input of the output projection", heads.heads * heads.v_head_dim, format)
        }
        Attention::Mla(mla) => {
            tp.even("attention heads", mla.heads)?;
            let key = mla.qk_nope_head_dim;
            tp.weights("query heads' width", mla.heads * (key + mla.qk_rope_head_dim), format)?;
            tp.weights("key-value up-projection", mla.heads * (key + mla.v_head_dim), format)?;
            tp.weights("input of the output projection", mla.heads * mla.v_head_dim, format)
        }
        Attention::Compressed(compressed) => tp.even("attention heads", compressed.heads),
        Attention::Linear(linear) => {
            tp.even("key heads of linear attention", linear.k_heads)?;
            tp.even("value heads of linear attention", linear.v_heads)
        }
        Attention::StateSpace(space) => tp.even("heads of state-space layers", space.heads),
        Attention::ShortConv(conv) => tp.even("channels of short convolutions", conv.width),
        Attention::None => Ok(()),
    }
}

fn feed_forward(tp: &Cut, group: &LayerGroup, layout: &Layout, model: &Model) -> Result<(), Unstartable> {
    let formats = &model.quantization;
    match &group.ffn {
        Ffn::Dense { intermediate, .. } => {
            tp.weights("width of the feed-forward layers", *intermediate, formats.weights)
        }
        Ffn::Moe(moe) => {
            tp.weights("width of the shared experts", moe.shared_intermediate, formats.weights)?;
            tp.weights("width of the dense part", moe.dense_intermediate, formats.weights)?;
            let expert = Cut {
                key: "moe_tp",
                ranks: layout.moe_tp,
                instead: ", or whole experts (ep instead of moe_tp)",
                ..*tp
            };
            expert.weights("width of an expert", moe.intermediate, formats.experts)?;
            replicas(tp.engine, moe, layout)
        }
        Ffn::None => Ok(()),
    }
}

/// Balancers of expert load hold equally many experts and replicas on every rank; without replicas engines share
/// experts out unevenly where they must.
fn replicas(engine: &str, moe: &Moe, layout: &Layout) -> Result<(), Unstartable> {
    let held = moe.experts.saturating_add(layout.redundant_experts);
    if layout.redundant_experts == 0 || held % layout.ep == 0 {
        return Ok(());
    }
    Err(Unstartable::Replicas {
        engine: engine.to_owned(),
        experts: moe.experts,
        redundant: layout.redundant_experts,
        ep: layout.ep,
        needed: held.next_multiple_of(layout.ep) - moe.experts,
    })
}
