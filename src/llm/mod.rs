//! Large language models: what a client's request becomes for a provider, and what comes back.
//!
//! Pure conversions on bytes: no socket, no clock, no token. A plugin reads its [`config`], makes
//! a [`Plan`] per target when it loads, and per request reads the [`Body`] once and prepares it
//! for the target that was chosen. Replies are checked ([`reply`]), streams are cut into events
//! ([`sse`]) and counted ([`usage`]). Bodies are never decoded and encoded again ([`splice`]).

use std::fmt;

use serde::Deserialize;

pub mod address;
pub mod anthropic;
pub mod assembled;
pub mod azure;
pub mod cjson;
pub mod config;
mod convert;
mod credential;
pub mod embeddings;
pub mod ending;
pub mod errand;
pub mod error;
pub mod filter;
pub mod filter_events;
pub mod form;
pub mod include_usage;
pub mod json;
mod models;
pub mod openai;
mod operation;
pub mod parameters;
pub mod plan;
pub mod price;
mod providers;
pub mod question;
pub mod realtime;
pub mod reply;
mod site;
pub mod splice;
pub mod sse;
pub mod stored;
pub mod template;
pub mod token_limit;
pub mod transcript;
pub mod unsupported;
pub mod usage;

pub use error::Error;
pub use openai::Body;
pub use plan::{Plan, Prepared};
pub use question::{NoQuestion, Question};
pub use template::Client;

/// What Kong sends as `Accept-Encoding`: no brotli may come back, since replies are read here.
pub const ACCEPT_ENCODING: &str = "gzip, identity";

/// What a target does, `config.route_type` (Kong).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[allow(missing_docs)]
pub enum RouteType {
    #[serde(rename = "llm/v1/chat")]
    Chat,
    #[serde(rename = "llm/v1/completions")]
    Completions,
    #[serde(rename = "llm/v1/embeddings")]
    Embeddings,
    #[serde(rename = "llm/v1/files")]
    Files,
    #[serde(rename = "llm/v1/batches")]
    Batches,
    #[serde(rename = "llm/v1/assistants")]
    Assistants,
    #[serde(rename = "llm/v1/responses")]
    Responses,
    #[serde(rename = "audio/v1/audio/speech")]
    Speech,
    #[serde(rename = "audio/v1/audio/transcriptions")]
    Transcriptions,
    #[serde(rename = "audio/v1/audio/translations")]
    Translations,
    #[serde(rename = "image/v1/images/generations")]
    ImageGenerations,
    #[serde(rename = "image/v1/images/edits")]
    ImageEdits,
    #[serde(rename = "video/v1/videos/generations")]
    VideoGenerations,
    #[serde(rename = "realtime/v1/realtime")]
    Realtime,
    /// The client's path and body go through as they are.
    #[serde(rename = "preserve")]
    Preserve,
}

impl RouteType {
    /// What OpenTelemetry calls it (`gen_ai.operation.name`), which has names for some.
    pub fn gen_ai_operation(self) -> &'static str {
        match self {
            Self::Completions => "text_completion",
            Self::Embeddings => "embeddings",
            Self::Files => "files",
            Self::Batches => "batches",
            Self::Chat | Self::Assistants | Self::Responses | Self::Preserve => "chat",
            _ => "generate_content",
        }
    }

    /// Kong's name of it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "llm/v1/chat",
            Self::Completions => "llm/v1/completions",
            Self::Embeddings => "llm/v1/embeddings",
            Self::Files => "llm/v1/files",
            Self::Batches => "llm/v1/batches",
            Self::Assistants => "llm/v1/assistants",
            Self::Responses => "llm/v1/responses",
            Self::Speech => "audio/v1/audio/speech",
            Self::Transcriptions => "audio/v1/audio/transcriptions",
            Self::Translations => "audio/v1/audio/translations",
            Self::ImageGenerations => "image/v1/images/generations",
            Self::ImageEdits => "image/v1/images/edits",
            Self::VideoGenerations => "video/v1/videos/generations",
            Self::Realtime => "realtime/v1/realtime",
            Self::Preserve => "preserve",
        }
    }
}

impl fmt::Display for RouteType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whose API a target speaks for chats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wire {
    /// OpenAI's.
    #[default]
    Openai,
    /// Anthropic's Messages: what clients of it send and get passes as it is.
    Messages,
}

/// Who runs the model, `config.model.provider` (Kong).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Provider {
    Anthropic,
    Azure,
    Bedrock,
    Cerebras,
    Cohere,
    Dashscope,
    Databricks,
    Deepseek,
    Gemini,
    Huggingface,
    Llama2,
    Mistral,
    Ollama,
    Openai,
    Vllm,
    Xai,
}

impl Provider {
    /// Kong's name of it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Azure => "azure",
            Self::Bedrock => "bedrock",
            Self::Cerebras => "cerebras",
            Self::Cohere => "cohere",
            Self::Dashscope => "dashscope",
            Self::Databricks => "databricks",
            Self::Deepseek => "deepseek",
            Self::Gemini => "gemini",
            Self::Huggingface => "huggingface",
            Self::Llama2 => "llama2",
            Self::Mistral => "mistral",
            Self::Ollama => "ollama",
            Self::Openai => "openai",
            Self::Vllm => "vllm",
            Self::Xai => "xai",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_configuration() {
        for name in ["llm/v1/chat", "preserve", "video/v1/videos/generations"] {
            let route: RouteType = serde_json::from_value(name.into()).unwrap();
            assert_eq!(route.as_str(), name);
        }
        for name in ["azure", "openai", "llama2", "xai", "huggingface"] {
            let provider: Provider = serde_json::from_value(name.into()).unwrap();
            assert_eq!(provider.as_str(), name);
        }
    }
}
