//! Embeddings: a vector that depends on the text alone, so that equal texts are near.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::call::Call;

const DIMENSIONS: usize = 1536;
const DIMENSIONS_MAX: usize = 4096;
const INPUTS_MAX: usize = 2048;

/// The reply to an embeddings request.
pub(super) fn reply(call: &Call) -> Value {
    let inputs = inputs(call.member("input"));
    let asked = call.member("dimensions").and_then(Value::as_u64);
    let dimensions = asked.and_then(|n| usize::try_from(n).ok()).unwrap_or(DIMENSIONS);
    let dimensions = dimensions.clamp(1, DIMENSIONS_MAX);
    let as_base64 = call.member("encoding_format").and_then(Value::as_str) == Some("base64");
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let vector = vector(text, dimensions);
            let embedding = match as_base64 {
                true => json!(STANDARD.encode(little_endian(&vector))),
                false => json!(vector),
            };
            json!({ "object": "embedding", "index": index, "embedding": embedding })
        })
        .collect();
    let tokens: usize = inputs.iter().map(|text| text.split_whitespace().count().max(1)).sum();
    json!({
        "object": "list",
        "model": "text-embedding-3-small",
        "data": data,
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    })
}

/// One text, a list of texts, or lists of token numbers, which count as their own text.
fn inputs(input: Option<&Value>) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match input {
        Some(Value::Array(items)) if items.first().is_some_and(|first| !first.is_number()) => {
            items.iter().take(INPUTS_MAX).map(text).collect()
        }
        Some(value) => vec![text(value)],
        None => Vec::new(),
    }
}

/// A vector of length one in a direction drawn from the text's hash.
fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let digest = Sha256::digest(text.as_bytes());
    let seed = digest.iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte));
    let mut random = fastrand::Rng::with_seed(seed);
    let raw: Vec<f32> = (0..dimensions).map(|_| random.f32() * 2.0 - 1.0).collect();
    let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    raw.into_iter().map(|x| x / length).collect()
}

/// The form that OpenAI's SDKs ask for by default.
fn little_endian(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|x| x.to_le_bytes()).collect()
}
