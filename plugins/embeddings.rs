//! Asks a model what texts mean, for the plugins and balancers that compare meanings.

use sha2::{Digest as _, Sha256};

use super::Context;
use super::ai_proxy_advanced::FieldNames;
use super::model_call::{Caller, Failed, Terms};
use crate::azure;
use crate::entity::Secret;
use crate::llm::embeddings::{self, vector};
use crate::pdk::Exchange;

/// Milliseconds to connect, and between two reads: a request waits for it.
const TIMEOUT_MS: u64 = 10_000;

/// The longest text that is asked about, in bytes. OpenAI's models take 8191 tokens.
pub(super) const TEXT_MAX: usize = 24 << 10;

/// The record's names for fields of a target.
const OWN: &[(&str, &str)] = &[("model.options.azure_", "model.options.azure.")];

/// A model that turns texts into vectors.
pub(super) struct Embeddings {
    caller: Caller,
    provider: &'static str,
    model: String,
    dimensions: usize,
    /// What tells its vectors from those of another model.
    digest: [u8; 32],
}

impl Embeddings {
    /// Compiles the record at `place`, or says all that stands against it.
    pub(super) fn new(
        context: &Context<'_>,
        place: &str,
        record: embeddings::Embeddings,
        dimensions: usize,
    ) -> Result<Self, Vec<String>> {
        let terms =
            Terms { timeout_ms: TIMEOUT_MS, verify: true, http_proxy: None, https_proxy: None };
        if !record.can_be_asked() {
            let use_others = "use azure, openai, mistral or ollama";
            let line = format!("{place}.model.provider: it has no embeddings here; {use_others}");
            return Err(vec![line]);
        }
        let (provider, model) = (record.model.provider.as_str(), record.model.name.clone());
        let target = record.target(dimensions);
        let caller = Caller::new(context, FieldNames::new(place, OWN), target, terms)?;
        let names = caller.target().and_then(|target| target.plan.names());
        let deployment = names.map_or("", |names| &names.azure_deployment_id);
        let address = caller.address();
        let told = format!("{provider}\n{model}\n{address}\n{deployment}\n{dimensions}");
        let digest = Sha256::digest(told).into();
        Ok(Self { caller, provider, model, dimensions, digest })
    }

    /// Kong's name of the provider.
    pub(super) fn provider(&self) -> &'static str {
        self.provider
    }

    /// The name of the model.
    pub(super) fn model(&self) -> &str {
        &self.model
    }

    /// What tells its vectors from those of another model.
    pub(super) fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// What a text means.
    ///
    /// # Errors
    /// The model has no answer, for an operator to read.
    pub(super) async fn of(&self, ex: Option<&Exchange>, text: &str) -> Result<Vec<f32>, String> {
        let target = self.caller.target().ok_or("no target")?;
        let question = target.plan.asks_for_vector(text);
        let answered = self.caller.posted(ex, question).await.map_err(|failed| match failed {
            Failed::NoToken => "no token".to_owned(),
            Failed::NoTarget => "the vault reference of its key was not resolved".to_owned(),
            Failed::Lost(why) => why,
        })?;
        if !answered.status.is_success() {
            let secrets = target.plan.secrets();
            let secrets: Vec<&str> = secrets.iter().map(Secret::expose).collect();
            let said = azure::words(&answered.body.bytes, &secrets).unwrap_or_default();
            return Err(format!("status code {} {said}", answered.status.as_u16()));
        }
        vector(&answered.body.bytes, self.dimensions).map_err(|no| no.to_string())
    }
}

/// The beginning of a text, as long as it is asked about.
pub(super) fn shortened(text: &str) -> &str {
    if text.len() <= TEXT_MAX {
        return text;
    }
    let end = (0..=TEXT_MAX).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_two_characters() {
        let text = "ä".repeat(TEXT_MAX);
        assert_eq!(shortened(&text).len(), TEXT_MAX);
        let text = format!("a{text}");
        assert_eq!(shortened(&text).len(), TEXT_MAX - 1);
        assert_eq!(shortened("a"), "a");
    }
}
