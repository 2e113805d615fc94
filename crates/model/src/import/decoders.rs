//! Telling decoders of text from everything else that has a `config.json`.

use super::error::ImportError;
use super::family::Names;
use serde_json::{Map, Value};

/// Architectures that read whole texts, images or sound at once and generate nothing token by token.
const ENCODERS: &[&str] = &[
    "albert",
    "bert",
    "big_bird",
    "camembert",
    "clip",
    "data2vec-text",
    "deberta",
    "deberta-v2",
    "distilbert",
    "electra",
    "ernie",
    "esm",
    "flaubert",
    "funnel",
    "ibert",
    "layoutlm",
    "layoutlmv3",
    "longformer",
    "luke",
    "megatron-bert",
    "mobilebert",
    "modernbert",
    "mpnet",
    "new",
    "nomic_bert",
    "nystromformer",
    "rembert",
    "roberta",
    "roberta-prelayernorm",
    "roc_bert",
    "roformer",
    "siglip",
    "siglip2",
    "squeezebert",
    "vit",
    "dinov2",
    "wav2vec2",
    "hubert",
    "xlm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
    "eurobert",
    "swin",
    "beit",
    "convnext",
    "segformer",
    "detr",
];

/// Refuses what is not a decoder of text, for that reason.
pub(super) fn check(
    origin: &str,
    names: &Names,
    root: &Map<String, Value>,
    config: &Map<String, Value>,
) -> Result<(), ImportError> {
    let name = names.types.first().or(names.architectures.first()).cloned().unwrap_or_default();
    let refuse = |reason: &str| {
        Err(ImportError::NotADecoder {
            origin: origin.to_owned(),
            model_type: name.clone(),
            reason: reason.to_owned(),
        })
    };
    let flag =
        |key: &str| [root, config].iter().any(|map| map.get(key).and_then(Value::as_bool) == Some(true));
    if flag("is_encoder_decoder")
        || config.contains_key("encoder_layers")
        || config.contains_key("num_decoder_layers")
    {
        return refuse(
            "it is an encoder with a decoder that reads it (translation, speech), which is not described",
        );
    }
    let decodes =
        flag("is_decoder") || names.architectures.iter().any(|class| class.ends_with("ForCausalLM"));
    let encoder = names.types.first().is_some_and(|name| ENCODERS.contains(&name.as_str()));
    if !decodes && (encoder || config.contains_key("type_vocab_size")) {
        return refuse("it is an encoder, which reads its whole input at once and keeps no cache");
    }
    if config.contains_key("num_train_timesteps") || config.contains_key("_class_name") {
        return refuse("it is a part of a diffusion pipeline");
    }
    Ok(())
}
