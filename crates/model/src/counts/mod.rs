//! What an architecture amounts to: parameters, checkpoint bytes, cache bytes and arithmetic, each by part.

mod attention;
mod cache;
mod ffn;
mod flops;
mod part;

pub use cache::{CacheKind, cache_kinds};
pub use flops::Phase;
pub use part::{ByPart, Part};

use crate::arch::{LayerGroup, Model};
use part::Weights;
use units::{Bytes, Dtype};

/// Parameters of a model by part. Sums leave out the multi-token-prediction modules, which a model runs without.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters {
    /// All parameters.
    pub total: ByPart<u64>,
    /// Parameters that one token meets: of the routed experts only those chosen; of the embedding the whole table, as
    /// published figures count it, but nothing of further tables that are looked up.
    pub active: ByPart<u64>,
}

impl Parameters {
    /// All parameters without the prediction modules.
    pub fn total(&self) -> u64 {
        without_mtp(&self.total)
    }

    /// Parameters one token meets, without the prediction modules.
    pub fn active(&self) -> u64 {
        without_mtp(&self.active)
    }
}

fn without_mtp(parts: &ByPart<u64>) -> u64 {
    let kept = parts.iter().filter(|(part, _)| *part != Part::Mtp);
    kept.fold(0, |sum: u64, (_, count)| sum.saturating_add(*count))
}

impl Model {
    /// Parameters by part.
    pub fn parameters(&self) -> Parameters {
        let weights = self.weights();
        let mut total = weights.map(|weights| weights.total());
        let mut active = weights.map(|weights| weights.active());
        if let Some((modules, module)) = self.mtp_weights() {
            let modules = u64::from(modules);
            let sum = |count: fn(&Weights) -> u64| {
                module.iter().fold(0, |sum: u64, (_, weights)| sum.saturating_add(count(weights)))
            };
            total[Part::Mtp] = sum(Weights::total).saturating_mul(modules);
            active[Part::Mtp] = sum(Weights::active).saturating_mul(modules);
        }
        Parameters { total, active }
    }

    /// Size of the weights in the checkpoint's formats, by part.
    pub fn weight_bytes(&self) -> ByPart<Bytes> {
        let size = |part: Part, weights: &Weights| {
            weights.total() as f64 * Bytes::new(self.quantization.bytes(self.format(part)))
        };
        let weights = self.weights();
        let mut bytes = ByPart::from_fn(|part| size(part, &weights[part]));
        if let Some((modules, module)) = self.mtp_weights() {
            let one: Bytes = module.iter().map(|(part, weights)| size(part, weights)).sum();
            bytes[Part::Mtp] = one * f64::from(modules);
        }
        bytes
    }

    /// The checkpoint's format of a part's matrices.
    pub fn format(&self, part: Part) -> Dtype {
        let formats = &self.quantization;
        match part {
            Part::Embedding | Part::OutputHead => formats.embedding,
            Part::Attention => formats.attention,
            Part::DenseFfn | Part::SharedExperts | Part::Latent => formats.weights,
            Part::RoutedExperts => formats.experts,
            Part::Indexer => formats.attention,
            Part::Router | Part::Norms | Part::Residual | Part::Mtp => Dtype::Bf16,
        }
    }

    /// Weights of the whole model without prediction modules.
    pub(crate) fn weights(&self) -> ByPart<Weights> {
        let hidden = u128::from(self.hidden);
        let table = hidden * u128::from(self.vocab);
        let mut parts: ByPart<Weights> = ByPart::default();
        for group in &self.layers {
            parts.add(&self.layer_weights(group), group.count);
        }
        parts[Part::Embedding].table = table + hidden * u128::from(self.learned_positions);
        // Of tables beside the embedding a token reads a few rows: published active counts leave them out.
        parts[Part::Embedding].expert = u128::from(self.lookup_parameters);
        if self.tied_embeddings {
            parts[Part::OutputHead].reused = table;
        } else {
            parts[Part::OutputHead].matrix = table;
        }
        parts[Part::Norms].vector += self.norm(self.outer_norms);
        parts[Part::Residual].matrix += self.collapse();
        parts
    }

    /// Weights of one layer.
    pub(crate) fn layer_weights(&self, layer: &LayerGroup) -> ByPart<Weights> {
        let mut parts: ByPart<Weights> = ByPart::default();
        attention::weights(&mut parts, self.hidden, &layer.attention);
        ffn::weights(&mut parts, self.hidden, &layer.ffn);
        parts[Part::Norms].vector += self.norm(layer.norms);
        parts[Part::Residual].matrix += self.mixing(layer) + u128::from(layer.extra);
        parts
    }

    /// Weights of one prediction module: a layer, the projection of the embedding beside the hidden state, three norms.
    fn mtp_weights(&self) -> Option<(u32, ByPart<Weights>)> {
        let (modules, layer) = self.mtp.as_ref()?;
        let hidden = u128::from(self.hidden);
        let mut parts = self.layer_weights(layer);
        parts[Part::Attention].matrix += 2 * hidden * hidden;
        parts[Part::Norms].vector += self.norm(3);
        parts[Part::Residual].matrix += self.collapse();
        Some((*modules, parts))
    }

    fn norm(&self, count: u32) -> u128 {
        u128::from(self.hidden) * u128::from(count) * if self.norm_bias { 2 } else { 1 }
    }

    /// Mixing of parallel residual streams around each sub-layer: from all streams to the weights that gather, scatter
    /// and mix them (manifold-constrained hyper-connections, arXiv:2512.24880).
    fn mixing(&self, layer: &LayerGroup) -> u128 {
        use crate::arch::{Attention, Ffn};
        let streams = u128::from(self.residual_streams);
        let sublayers = u128::from(layer.attention != Attention::None) + u128::from(layer.ffn != Ffn::None);
        if streams < 2 {
            0
        } else {
            sublayers * (2 + streams) * streams * (streams * u128::from(self.hidden) + 1)
        }
    }

    /// The projection that gathers the streams after the last layer.
    fn collapse(&self) -> u128 {
        let streams = u128::from(self.residual_streams);
        if streams < 2 { 0 } else { streams * (streams * u128::from(self.hidden) + 1) }
    }
}
