//! Embeddings: vectors that depend on the text alone. Equal texts are equal, others are as good as orthogonal.

use crate::app::App;
use crate::body::{Answer, json};
use crate::openai::{ApiError, Embeddings, parse};
use crate::routes::{Call, Told, hash, prompts};
use crate::text::mix;
use serde_json::{Value, json};

/// Length of a vector where the client does not say.
const DIMENSIONS: usize = 1024;

/// Answers a call.
///
/// # Errors
/// 400 for what cannot be embedded.
pub fn answer(app: &App, call: &Call<'_>) -> Result<Answer, ApiError> {
    let asked: Embeddings = parse(&call.body)?;
    let model = app.model(asked.model.as_deref())?;
    let dimensions = match asked.dimensions {
        None => DIMENSIONS,
        Some(given @ 1..=8192) => given as usize,
        Some(_) => return Err(ApiError::bad("dimensions", "dimensions must be between 1 and 8192")),
    };
    if !matches!(asked.encoding_format.as_deref(), None | Some("float" | "base64")) {
        return Err(ApiError::bad("encoding_format", "encoding_format must be float or base64"));
    }
    let base64 = asked.encoding_format.as_deref() == Some("base64");
    let told = prompts(app, model, asked.input)?;
    let mut tokens = 0;
    let vector = |(index, (blocks, text)): (usize, &Told)| {
        tokens += blocks.tokens;
        let seed = if text.is_empty() { blocks.hashes.last().copied().unwrap_or(0) } else { hash(text) };
        let values = unit_vector(seed, dimensions);
        let embedding = if base64 {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            Value::from(base64_of(&bytes))
        } else {
            Value::from(values.iter().map(|value| f64::from(*value)).collect::<Vec<f64>>())
        };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    };
    let data: Vec<Value> = told.iter().enumerate().map(vector).collect();
    Ok(json(
        200,
        &json!({
            "object": "list", "data": data, "model": app.models[model].name,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }),
    ))
}

fn unit_vector(seed: u64, dimensions: usize) -> Vec<f32> {
    let value = |index: usize| (mix(seed ^ mix(index as u64)) >> 11) as f64 / (1u64 << 53) as f64 - 0.5;
    let values: Vec<f64> = (0..dimensions).map(value).collect();
    let norm = values.iter().map(|value| value * value).sum::<f64>().sqrt().max(1e-12);
    values.iter().map(|value| (value / norm) as f32).collect()
}

fn base64_of(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word =
            group.iter().enumerate().fold(0u32, |word, (at, byte)| word | u32::from(*byte) << (16 - 8 * at));
        for digit in 0..4 {
            let index = (word >> (18 - 6 * digit) & 63) as usize;
            text.push(if digit <= group.len() { char::from(DIGITS[index]) } else { '=' });
        }
    }
    text
}
