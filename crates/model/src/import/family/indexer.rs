//! Selection of tokens or blocks in front of attention.

use crate::arch::{Attention, LayerGroup, SparseIndexer};
use crate::import::decoder::Frame;
use crate::import::keys::{Keys, Read};

/// The selector of sparse attention, where there is one: of tokens (DeepSeek V3.2) or of blocks (MiniMax-M3).
pub(crate) fn indexer(keys: &Keys) -> Read<Option<SparseIndexer>> {
    let blocks = keys.opt_count("index_topk_blocks")?;
    let topk = match (keys.opt_count("index_topk")?, blocks) {
        (Some(tokens), _) => tokens,
        (None, Some(blocks)) => {
            let near = keys.whole("index_local_blocks")?.saturating_add(keys.whole("index_init_blocks")?);
            blocks.saturating_add(near).saturating_mul(keys.count("index_block_size")?)
        }
        (None, None) => return Ok(None),
    };
    keys.ignore(
        "indexer_rope_interleave|index_share_for_mtp_iteration|index_topk_freq|index_skip_topk_offset|index_topk_pattern|index_kpool|index_kpool_always_select_tail",
    );
    Ok(Some(SparseIndexer {
        heads: keys.count("index_n_heads")?,
        head_dim: keys.count("index_head_dim")?,
        topk,
        compression: 1,
        shared: false,
    }))
}

/// Takes the selector from layers whose kind has none, where `layer_types` tells them apart, and marks those that take
/// the selection of an earlier layer (`indexer_types`).
pub(crate) fn by_layer(keys: &Keys, frame: Frame, layers: &mut [LayerGroup]) -> Read<()> {
    let selects = |kind: &str| kind.contains("indexed") || kind.contains("sparse");
    let kinds = keys.list("layer_types")?.unwrap_or_default();
    let kinds: Vec<&str> = kinds.iter().filter_map(serde_json::Value::as_str).collect();
    if kinds.len() == layers.len() && kinds.iter().any(|kind| selects(kind)) {
        for (layer, _) in layers.iter_mut().zip(&kinds).filter(|(_, kind)| !selects(kind)) {
            if let Some(own) = of(&mut layer.attention) {
                *own = None;
            }
        }
    }
    let Some(types) = keys.per_layer("indexer_types", frame.layers)? else { return Ok(()) };
    for (layer, kind) in layers.iter_mut().zip(types) {
        let shared = match kind.as_str() {
            Some("full") => false,
            Some("shared") => true,
            _ => {
                return Err(keys.unknown(
                    "indexer_types",
                    &kind.to_string(),
                    "known types are full and shared",
                ));
            }
        };
        of(&mut layer.attention).into_iter().flatten().for_each(|indexer| indexer.shared = shared);
    }
    Ok(())
}

fn of(attention: &mut Attention) -> Option<&mut Option<SparseIndexer>> {
    match attention {
        Attention::Mla(mla) => Some(&mut mla.indexer),
        Attention::MultiHead(heads) => Some(&mut heads.indexer),
        _ => None,
    }
}
