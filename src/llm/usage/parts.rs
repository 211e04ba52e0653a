//! What tokens are made of: those from the cache, of reasoning, of sound and pictures.
//!
//! Upstreams tell them in records beside the sums, under names that differ: chats say
//! `prompt_tokens_details`, responses `input_tokens_details`, realtime sessions
//! `input_token_details`. Anthropic counts what concerns its cache beside the prompt.

use super::count;
use crate::llm::json;
use crate::llm::splice::Object;

/// A part of the prompt or of the completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Of the prompt: read from the upstream's cache.
    Cached,
    /// Of those: text.
    CachedText,
    /// Of those: sound.
    CachedAudio,
    /// Of those: pictures.
    CachedImage,
    /// Of the prompt: put into the cache.
    Written,
    /// Of those: for five minutes.
    Written5m,
    /// Of those: for an hour.
    Written1h,
    /// Of the prompt: text.
    PromptText,
    /// Of the prompt: sound.
    PromptAudio,
    /// Of the prompt: pictures.
    PromptImage,
    /// Of the completion: what the model kept to itself.
    Reasoning,
    /// Of the completion: text.
    CompletionText,
    /// Of the completion: sound.
    CompletionAudio,
    /// Of the completion: pictures.
    CompletionImage,
    /// Of the client's prediction: what came true.
    Accepted,
    /// Of the client's prediction: what did not, and is paid all the same.
    Rejected,
}

const COUNT: usize = Part::Rejected as usize + 1;

/// The parts that an upstream has told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parts([Option<u64>; COUNT]);

/// Members of the record of the prompt.
const PROMPT: [(&str, Part); 5] = [
    ("cached_tokens", Part::Cached),
    ("cache_write_tokens", Part::Written),
    ("text_tokens", Part::PromptText),
    ("audio_tokens", Part::PromptAudio),
    ("image_tokens", Part::PromptImage),
];

/// Members of `cached_tokens_details` in it.
const CACHED: [(&str, Part); 3] = [
    ("text_tokens", Part::CachedText),
    ("audio_tokens", Part::CachedAudio),
    ("image_tokens", Part::CachedImage),
];

/// Members of the record of the completion.
const COMPLETION: [(&str, Part); 6] = [
    ("reasoning_tokens", Part::Reasoning),
    ("text_tokens", Part::CompletionText),
    ("audio_tokens", Part::CompletionAudio),
    ("image_tokens", Part::CompletionImage),
    ("accepted_prediction_tokens", Part::Accepted),
    ("rejected_prediction_tokens", Part::Rejected),
];

/// Anthropic's own.
const ANTHROPIC: [(&str, Part); 2] =
    [("cache_read_input_tokens", Part::Cached), ("cache_creation_input_tokens", Part::Written)];
const ANTHROPIC_TTLS: [(&str, Part); 2] = [
    ("ephemeral_5m_input_tokens", Part::Written5m),
    ("ephemeral_1h_input_tokens", Part::Written1h),
];

impl Parts {
    /// This part, if it was told.
    pub fn get(&self, part: Part) -> Option<u64> {
        self.0[part as usize]
    }

    /// The same parts and this one.
    pub fn with(mut self, part: Part, tokens: u64) -> Self {
        self.0[part as usize] = Some(tokens);
        self
    }

    /// The sum with the parts of another reply.
    pub(super) fn plus(mut self, other: &Self) -> Self {
        for (own, theirs) in self.0.iter_mut().zip(other.0) {
            *own = match (*own, theirs) {
                (Some(own), Some(theirs)) => Some(own.saturating_add(theirs)),
                (own, theirs) => own.or(theirs),
            };
        }
        self
    }

    /// From the member `usage` of a reply; and whether the cache is counted beside the prompt.
    pub(super) fn read(usage: &Object<&[u8]>) -> (Self, bool) {
        let mut parts = Self::default();
        let record = |names: [&str; 3]| names.iter().find_map(|name| object(usage.get(name)));
        let prompt =
            record(["prompt_tokens_details", "input_tokens_details", "input_token_details"]);
        if let Some(prompt) = &prompt {
            parts.take(prompt, &PROMPT);
            if let Some(cached) = object(prompt.get("cached_tokens_details")) {
                parts.take(&cached, &CACHED);
            }
        }
        let completion =
            record(["completion_tokens_details", "output_tokens_details", "output_token_details"]);
        if let Some(completion) = &completion {
            parts.take(completion, &COMPLETION);
        }
        let is_beside = parts.take(usage, &ANTHROPIC);
        if let Some(written) = object(usage.get("cache_creation")) {
            parts.take(&written, &ANTHROPIC_TTLS);
        }
        (parts, is_beside)
    }

    /// Takes the members of a record; whether there is one.
    fn take(&mut self, record: &Object<&[u8]>, members: &[(&str, Part)]) -> bool {
        let mut is_any = false;
        for (name, part) in members {
            if let Some(tokens) = count(record.get(name)) {
                self.0[*part as usize] = Some(tokens);
                is_any = true;
            }
        }
        is_any
    }
}

fn object(value: Option<&[u8]>) -> Option<Object<&[u8]>> {
    Object::read(value?).ok()
}

/// The seconds of sound that a reply was counted by in place of tokens, in milliseconds.
pub(super) fn duration_ms(usage: &Object<&[u8]>) -> Option<u64> {
    usage.get("type").and_then(json::text).filter(|kind| kind == "duration")?;
    let seconds: f64 = std::str::from_utf8(usage.get("seconds")?).ok()?.parse().ok()?;
    (0.0..1e9).contains(&seconds).then_some((seconds * 1000.0).round() as u64)
}
