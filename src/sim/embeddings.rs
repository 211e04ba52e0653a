//! Embeddings: a vector that depends on the words of a text alone, so that similar texts are near.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::call::Call;

const DIMENSIONS: usize = 1536;
const DIMENSIONS_MAX: usize = 4096;
const INPUTS_MAX: usize = 2048;
/// Words of a text that count.
const WORDS_MAX: usize = 256;

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

/// Words that say nothing of what a text is about.
const SMALL: [&str; 30] = [
    "a", "an", "and", "are", "at", "be", "can", "do", "does", "for", "from", "how", "i", "in",
    "is", "it", "me", "my", "of", "on", "or", "please", "the", "this", "to", "was", "what", "with",
    "you", "your",
];

/// A vector of length one: the sum of a direction for each word. So texts are the nearer the more
/// words they have in common, whatever their order, and those without a word in common are about
/// at right angles.
fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let told: Vec<&str> = words.clone().filter(|word| !SMALL.contains(word)).collect();
    let told = if told.is_empty() { words.collect() } else { told };
    let mut sum = vec![0.0_f32; dimensions];
    for word in told.iter().take(WORDS_MAX) {
        add(&mut sum, word.strip_suffix('s').unwrap_or(word));
    }
    if told.is_empty() {
        add(&mut sum, text);
    }
    let length = sum.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    sum.into_iter().map(|x| x / length).collect()
}

/// Adds the direction of a word, drawn from its hash.
fn add(sum: &mut [f32], word: &str) {
    let digest = Sha256::digest(word.as_bytes());
    let seed = digest.iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte));
    let mut random = fastrand::Rng::with_seed(seed);
    sum.iter_mut().for_each(|x| *x += random.f32() * 2.0 - 1.0);
}

/// The form that OpenAI's SDKs ask for by default.
fn little_endian(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|x| x.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_the_nearer_the_more_words_they_share() {
        let near = |a: &str, b: &str| -> f32 {
            vector(a, 256).iter().zip(vector(b, 256)).map(|(a, b)| a * b).sum()
        };
        let cats = "How do cats sleep?";
        assert!((near(cats, "the cat: sleep") - 1.0).abs() < 1e-5, "plurals and small words");
        let (half, none) = (near(cats, "Cats and dogs"), near(cats, "invoices of March"));
        assert!(half > 0.35 && half < 0.75, "{half}");
        assert!(none.abs() < 0.25, "{none}");
        assert!((near("?", "?") - 1.0).abs() < 1e-5, "no word at all");
    }
}
