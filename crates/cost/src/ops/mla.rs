//! Multi-head latent attention, priced with the forms of ordinary attention.
//!
//! Prefill expands the latent cache to ordinary keys and values, one per head. Decode stays in the latent space: one
//! key/value head whose value is part of its key, shared by all query heads, 64 rows of them to a block.

use super::attention_decode::PARAMS as DECODE_PARAMS;
use super::attention_prefill::PARAMS as PREFILL_PARAMS;
use super::common::pn;
use super::{AttentionDecode, AttentionPrefill, Machine};
use crate::kernels::ParamSpec;
use units::Seconds;

/// Widths of a latent attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latent {
    /// Width of the compressed key/value.
    pub rank: f64,
    /// Width of the rotary part of query and key.
    pub rope: f64,
    /// Width of the other part.
    pub nope: f64,
    /// Width of a value head.
    pub value: f64,
}

impl Latent {
    /// DeepSeek-V2 and -V3, and the models made after them; the tables measure these.
    pub const DEEPSEEK: Self = Self { rank: 512.0, rope: 64.0, nope: 128.0, value: 128.0 };

    /// Prefill of `new` tokens after `past` cached ones, keys and values expanded to `heads` heads.
    pub fn prefill(&self, batch: f64, new: f64, past: f64, heads: f64) -> AttentionPrefill {
        AttentionPrefill {
            batch,
            new_tokens: new,
            past_tokens: past,
            heads,
            kv_heads: heads,
            qk_dim: self.nope + self.rope,
            v_dim: self.value,
            window: None,
        }
    }

    /// Decode of `queries` tokens per sequence against `context` cached ones (the queries included).
    pub fn decode(&self, batch: f64, queries: f64, context: f64, heads: f64) -> AttentionDecode {
        AttentionDecode {
            batch,
            queries,
            context,
            heads,
            kv_heads: 1.0,
            qk_dim: self.rank + self.rope,
            v_dim: self.rank,
            kv_dim: self.rank + self.rope,
            window: None,
        }
    }
}

/// A whole latent-attention module as some tables measure it: projections around the attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Module {
    /// Width of the residual stream.
    pub hidden: f64,
    /// Width of the compressed query.
    pub query_rank: f64,
    /// Widths of the attention.
    pub latent: Latent,
}

impl Module {
    /// DeepSeek-V3, which the tables measure.
    pub const DEEPSEEK_V3: Self = Self { hidden: 7168.0, query_rank: 1536.0, latent: Latent::DEEPSEEK };

    /// Elements of the projections' weights with `heads` heads, which is also the multiply-adds per token: down to the
    /// ranks, up to queries, between latent and heads (once for keys, once for values), and out.
    pub fn weights(&self, heads: f64) -> f64 {
        let latent = &self.latent;
        self.hidden * (self.query_rank + latent.rank + latent.rope)
            + self.query_rank * heads * (latent.nope + latent.rope)
            + latent.rank * heads * (latent.nope + latent.value)
            + heads * latent.value * self.hidden
    }

    /// Time of the projections of `tokens` tokens: arithmetic at `share` of the machine's peak against weights of
    /// `weight_bytes` bytes per element and bf16 activations, streamed at `STREAM_SHARE` of memory bandwidth.
    pub fn projections(
        &self,
        machine: &Machine,
        tokens: f64,
        heads: f64,
        weight_bytes: f64,
        share: f64,
    ) -> Seconds {
        let weights = self.weights(heads);
        let inner = heads * (2.0 * self.latent.nope + self.latent.value + 2.0 * self.latent.rank);
        let bytes = weights * weight_bytes + 2.0 * tokens * (2.0 * self.hidden + inner);
        let arithmetic = 2.0 * tokens * weights / (share * machine.peak.get());
        Seconds::new(pn(arithmetic, bytes / (STREAM_SHARE * machine.bandwidth.get()), 2.0))
    }
}

/// Share of peak memory bandwidth at which projections are taken to stream.
const STREAM_SHARE: f64 = 0.8;

/// The coefficient of [`Module::projections`].
pub const PROJECTION: ParamSpec =
    ParamSpec::new("eg", "", "share of the queries' peak that the projections reach", 0.02, 4.0, 0.6, 0.6);

const fn adjusted<const N: usize>(
    mut specs: [ParamSpec; N],
    changes: &[(usize, f64, f64)],
) -> [ParamSpec; N] {
    let mut i = 0;
    while i < changes.len() {
        let (at, prior, sd) = changes[i];
        specs[at] = specs[at].with_prior(prior, sd);
        i += 1;
    }
    specs
}

/// Coefficients of the prefill form with the medians and spreads of latent kernels.
pub const PREFILL: [ParamSpec; 10] = adjusted(
    PREFILL_PARAMS,
    &[
        (0, 1.3e-5, 0.5),
        (1, 0.62, 0.4),
        (2, 0.5, 0.8),
        (3, 60.0, 0.3),
        (4, 60.0, 2.0),
        (5, 8e-7, 1.5),
        (7, 9.0, 2.0),
    ],
);

/// Coefficients of the decode form with the medians and spreads of latent kernels, which do enough arithmetic per
/// byte to be bound by it.
pub const DECODE: [ParamSpec; 10] = adjusted(
    DECODE_PARAMS,
    &[
        (0, 5.9e-6, 0.5),
        (1, 0.85, 0.08),
        (2, 1.0, 0.35),
        (4, 8.0, 0.6),
        (5, 2.5e-6, 1.0),
        (6, 5.7e-6, 0.8),
        (7, 1.2, 0.45),
        (9, 0.46, 0.4),
    ],
);
