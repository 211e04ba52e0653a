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

    /// Takes a member of `usage` if it tells parts; whether it is one that counts the cache beside
    /// the prompt.
    pub(super) fn take(&mut self, name: &[u8], value: &[u8]) -> bool {
        match name {
            b"prompt_tokens_details" | b"input_tokens_details" | b"input_token_details" => {
                self.prompt(value);
            }
            b"completion_tokens_details" | b"output_tokens_details" | b"output_token_details" => {
                self.completion(value);
            }
            b"cache_creation" => self.written(value),
            // Anthropic's own.
            b"cache_read_input_tokens" => return self.set(Part::Cached, value),
            b"cache_creation_input_tokens" => return self.set(Part::Written, value),
            _ => {}
        }
        false
    }

    fn prompt(&mut self, record: &[u8]) {
        each(record, |name, value| {
            let part = match name {
                // What Anthropic's own names say counts, whichever comes first.
                b"cached_tokens" if self.get(Part::Cached).is_none() => Part::Cached,
                b"cache_write_tokens" if self.get(Part::Written).is_none() => Part::Written,
                b"text_tokens" => Part::PromptText,
                b"audio_tokens" => Part::PromptAudio,
                b"image_tokens" => Part::PromptImage,
                b"cached_tokens_details" => return self.cached(value),
                _ => return,
            };
            self.set(part, value);
        });
    }

    fn cached(&mut self, record: &[u8]) {
        each(record, |name, value| {
            let part = match name {
                b"text_tokens" => Part::CachedText,
                b"audio_tokens" => Part::CachedAudio,
                b"image_tokens" => Part::CachedImage,
                _ => return,
            };
            self.set(part, value);
        });
    }

    fn completion(&mut self, record: &[u8]) {
        each(record, |name, value| {
            let part = match name {
                b"reasoning_tokens" => Part::Reasoning,
                b"text_tokens" => Part::CompletionText,
                b"audio_tokens" => Part::CompletionAudio,
                b"image_tokens" => Part::CompletionImage,
                b"accepted_prediction_tokens" => Part::Accepted,
                b"rejected_prediction_tokens" => Part::Rejected,
                _ => return,
            };
            self.set(part, value);
        });
    }

    /// Anthropic's `cache_creation`.
    fn written(&mut self, record: &[u8]) {
        each(record, |name, value| {
            let part = match name {
                b"ephemeral_5m_input_tokens" => Part::Written5m,
                b"ephemeral_1h_input_tokens" => Part::Written1h,
                _ => return,
            };
            self.set(part, value);
        });
    }

    /// Sets a part; whether the value is a number of tokens.
    fn set(&mut self, part: Part, value: &[u8]) -> bool {
        let Some(tokens) = count(value) else { return false };
        self.0[part as usize] = Some(tokens);
        true
    }
}

/// Shows the members of a record, if it is one.
fn each(record: &[u8], mut show: impl FnMut(&[u8], &[u8])) {
    let Ok(record) = Object::read_text(record) else { return };
    record.pairs().for_each(|(name, value)| show(&name, value));
}

/// The seconds of sound that a reply was counted by in place of tokens, in milliseconds.
pub(super) fn duration_ms(usage: &Object<&[u8]>) -> Option<u64> {
    usage.get("type").and_then(json::text).filter(|kind| kind == "duration")?;
    let seconds: f64 = std::str::from_utf8(usage.get("seconds")?).ok()?.parse().ok()?;
    (0.0..1e9).contains(&seconds).then_some((seconds * 1000.0).round() as u64)
}
