//! What a model is made of, as a JSON document.

use crate::arch::Model;
use crate::counts::{ByPart, Part, Phase, cache_kinds};
use serde_json::{Map, Value, json};
use units::{Bytes, Flop};

/// Tokens of the prompt and the context that arithmetic is counted at, as [`crate::show()`] does.
const CONTEXT: u32 = 4096;

/// The sizes, formats and counts of a model: bytes and floating-point operations as plain numbers of the unit that the key
/// names, layers as the built-in descriptions state them.
pub fn document(model: &Model) -> Value {
    let parameters = model.parameters();
    let towers: u64 = model.towers.iter().map(|tower| tower.parameters).sum();
    let context = f64::from(CONTEXT.min(model.max_context));
    let work = |phase: Phase| by_part(&model.flops_per_token(phase), Flop::get);
    json!({
        "schema": "supernode.model/1",
        "model": model.id, "family": model.family, "hidden_size": model.hidden, "vocabulary": model.vocab,
        "tied_embeddings": model.tied_embeddings, "longest_context_tokens": model.max_context,
        "residual_streams": model.residual_streams,
        "layers": model.layers, "prediction_modules": model.mtp,
        "parameters": {
            "total": parameters.total(), "active_per_token": parameters.active(),
            "with_towers": parameters.total().saturating_add(towers),
            "by_part": by_part(&parameters.total, |count| count),
            "active_by_part": by_part(&parameters.active, |count| count),
        },
        "towers": model.towers, "formats": model.quantization,
        "weight_bytes": by_part(&model.weight_bytes(), Bytes::get),
        "cache": {
            "bytes_per_token": model.kv_bytes_per_token().get(),
            "bytes_at_longest_context": model.cache_bytes(f64::from(model.max_context)).get(),
            "kinds": cache_kinds(model).iter().map(|kind| json!({
                "what": kind.label, "layers": kind.layers, "bytes_per_token": kind.per_token.get(),
                "tokens_at_most": kind.tokens_max, "bytes_per_sequence": kind.per_sequence.get(),
            })).collect::<Vec<_>>(),
        },
        "flop_per_token": {
            "context_tokens": context,
            "prefill": work(Phase::Prefill { tokens: context }), "decode": work(Phase::Decode { context }),
        },
        "reading": model.reading, "not_described": model.ignored,
    })
}

/// The parts that are not zero, by name; prediction modules are listed, and no sum has them.
fn by_part<T: Copy, U: Into<Value> + PartialEq + Default>(
    parts: &ByPart<T>,
    number: impl Fn(T) -> U,
) -> Map<String, Value> {
    let name = |part: Part| part.name().replace([' ', '-'], "_");
    let shown = parts.iter().map(|(part, value)| (part, number(*value)));
    shown
        .filter(|(_, value)| *value != U::default())
        .map(|(part, value)| (name(part), value.into()))
        .collect()
}
