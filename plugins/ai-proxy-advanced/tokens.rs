//! Tokens in log records (`ai.proxy.usage`) and in counters of our own.
//!
//! The names are Kong's: a reply that counts input and output is told in those words, too. What
//! Kong has no name for has the upstream's. `kong_ai_llm_tokens_total` has the sums only, so the
//! parts have a series of ours.

use std::cell::OnceCell;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::llm::usage::{Part, Usage};
use crate::metrics::{Counter, Metrics};

/// The tokens of a record.
pub(super) fn describe(usage: &Usage) -> Value {
    let mut record = Map::new();
    let mut put = |name: &str, tokens: u64| record.insert(name.to_owned(), tokens.into());
    put("prompt_tokens", usage.prompt_tokens);
    put("completion_tokens", usage.completion_tokens);
    put("total_tokens", usage.total_tokens);
    if usage.is_input {
        put("input_tokens", usage.prompt_tokens);
        put("output_tokens", usage.completion_tokens);
    }
    let mut details = |name: &str, members: &[(&str, Part)]| {
        let told = members.iter().filter_map(|(name, part)| Some((name, usage.parts.get(*part)?)));
        let told: Map<String, Value> =
            told.map(|(name, tokens)| ((*name).to_owned(), tokens.into())).collect();
        if !told.is_empty() {
            record.insert(name.to_owned(), told.into());
        }
    };
    details("prompt_tokens_details", &PROMPT);
    details("completion_tokens_details", &COMPLETION);
    if usage.is_input {
        details("input_tokens_details", &INPUT);
        details("output_tokens_details", &OUTPUT);
    }
    details(CACHED_DETAILS, &CACHED);
    if let Some(cached) = record.remove(CACHED_DETAILS) {
        let prompt = record.entry("prompt_tokens_details").or_insert_with(|| json!({}));
        prompt[CACHED_DETAILS] = cached;
    }
    if let Some(ms) = usage.duration_ms {
        record.insert("seconds".to_owned(), (ms as f64 / 1000.0).into());
    }
    record.into()
}

const CACHED_DETAILS: &str = "cached_tokens_details";

const PROMPT: [(&str, Part); 3] = [
    ("cached_tokens", Part::Cached),
    ("audio_tokens", Part::PromptAudio),
    ("cache_write_tokens", Part::Written),
];

const CACHED: [(&str, Part); 3] = [
    ("text_tokens", Part::CachedText),
    ("audio_tokens", Part::CachedAudio),
    ("image_tokens", Part::CachedImage),
];

const COMPLETION: [(&str, Part); 4] = [
    ("reasoning_tokens", Part::Reasoning),
    ("audio_tokens", Part::CompletionAudio),
    ("accepted_prediction_tokens", Part::Accepted),
    ("rejected_prediction_tokens", Part::Rejected),
];

const INPUT: [(&str, Part); 3] = [
    ("text_tokens", Part::PromptText),
    ("image_tokens", Part::PromptImage),
    // Kong's name of it.
    ("audio_tokens_count", Part::PromptAudio),
];

const OUTPUT: [(&str, Part); 4] = [
    ("text_tokens", Part::CompletionText),
    ("image_tokens", Part::CompletionImage),
    ("audio_tokens", Part::CompletionAudio),
    ("reasoning_tokens", Part::Reasoning),
];

/// The parts that are counted, under these values of the label `token_type`.
const COUNTED: [(&str, Part); 7] = [
    ("cached_tokens", Part::Cached),
    ("cache_write_tokens", Part::Written),
    ("prompt_audio_tokens", Part::PromptAudio),
    ("prompt_image_tokens", Part::PromptImage),
    ("reasoning_tokens", Part::Reasoning),
    ("completion_audio_tokens", Part::CompletionAudio),
    ("completion_image_tokens", Part::CompletionImage),
];

/// The counters of one model's parts, there from the first token on.
#[derive(Default)]
pub(super) struct PartCounters([OnceCell<Counter>; COUNTED.len()]);

impl PartCounters {
    pub(super) fn count(&self, metrics: &Metrics, provider: &str, model: &Arc<str>, usage: &Usage) {
        for (cell, (kind, part)) in self.0.iter().zip(COUNTED) {
            let Some(tokens) = usage.parts.get(part).filter(|tokens| *tokens > 0) else { continue };
            let labels = [("ai_provider", provider), ("ai_model", &**model), ("token_type", kind)];
            let help = "Tokens that are a part of a prompt or of a completion, by what they are";
            let make = || metrics.counter("silverback_ai_llm_token_parts_total", help, &labels);
            cell.get_or_init(make).add(tokens);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(usage: &str) -> Value {
        describe(&Usage::read(usage.as_bytes()).unwrap())
    }

    #[test]
    fn a_chat_is_told_in_the_words_of_chats() {
        let chat = described(
            r#"{"prompt_tokens":9,"completion_tokens":8,"total_tokens":17,
            "prompt_tokens_details":{"cached_tokens":3,"audio_tokens":0},
            "completion_tokens_details":{"reasoning_tokens":5,"audio_tokens":1,
            "accepted_prediction_tokens":2,"rejected_prediction_tokens":0}}"#,
        );
        assert_eq!(
            chat,
            json!({
                "prompt_tokens": 9, "completion_tokens": 8, "total_tokens": 17,
                "prompt_tokens_details": {"cached_tokens": 3, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 1,
                    "accepted_prediction_tokens": 2, "rejected_prediction_tokens": 0},
            })
        );
    }

    #[test]
    fn a_session_is_told_in_both() {
        let session = described(
            r#"{"total_tokens":30,"input_tokens":20,"output_tokens":10,"input_token_details":
            {"text_tokens":5,"audio_tokens":15,"cached_tokens":8,"cached_tokens_details":
            {"text_tokens":3,"audio_tokens":5}},"output_token_details":
            {"text_tokens":4,"audio_tokens":6}}"#,
        );
        assert_eq!(
            session,
            json!({
                "prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30,
                "input_tokens": 20, "output_tokens": 10,
                "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 15,
                    "cached_tokens_details": {"text_tokens": 3, "audio_tokens": 5}},
                "completion_tokens_details": {"audio_tokens": 6},
                "input_tokens_details": {"text_tokens": 5, "audio_tokens_count": 15},
                "output_tokens_details": {"text_tokens": 4, "audio_tokens": 6},
            })
        );
        let whisper = described(r#"{"type":"duration","seconds":2.5}"#);
        assert_eq!(whisper["seconds"], 2.5);
    }
}
