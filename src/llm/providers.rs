//! Providers whose wire is OpenAI's: where they are, and which operations they have.
//!
//! One row each, with the base URLs and paths of Kong's documents. Providers with a wire of their
//! own are not here, and a target of theirs is refused when the configuration loads.

use crate::llm::operation::Operation;
use crate::llm::{Provider, RouteType};

/// Where the operations of a provider are.
pub(super) struct Base {
    /// The host; `None`: `upstream_url` says it.
    pub(super) host: Option<String>,
    /// What stands before the path of an operation.
    pub(super) prefix: &'static str,
}

/// What the options of a provider say of its base.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Variant<'a> {
    /// `dashscope.international`; true unless set.
    pub(super) is_mainland: bool,
    /// `databricks.workspace_instance_id`.
    pub(super) workspace: Option<&'a str>,
}

/// The base of a provider; `None` when its wire is not OpenAI's.
pub(super) fn base(provider: Provider, variant: Variant<'_>) -> Option<Base> {
    let at = |host: &str, prefix| Some(Base { host: Some(host.to_owned()), prefix });
    match provider {
        Provider::Openai => at("api.openai.com", "/v1"),
        Provider::Mistral => at("api.mistral.ai", "/v1"),
        Provider::Deepseek => at("api.deepseek.com", "/v1"),
        Provider::Xai => at("api.x.ai", "/v1"),
        Provider::Cerebras => at("api.cerebras.ai", "/v1"),
        Provider::Huggingface => at("router.huggingface.co", "/v1"),
        Provider::Dashscope if variant.is_mainland => {
            at("dashscope.aliyuncs.com", "/compatible-mode/v1")
        }
        Provider::Dashscope => at("dashscope-intl.aliyuncs.com", "/compatible-mode/v1"),
        Provider::Databricks => Some(Base {
            host: variant.workspace.map(|id| format!("{id}.cloud.databricks.com")),
            prefix: "/serving-endpoints/v1",
        }),
        Provider::Vllm | Provider::Ollama | Provider::Llama2 => {
            Some(Base { host: None, prefix: "/v1" })
        }
        Provider::Anthropic
        | Provider::Azure
        | Provider::Bedrock
        | Provider::Cohere
        | Provider::Gemini => None,
    }
}

/// Whether anything of a provider is built.
pub(super) fn is_built(provider: Provider) -> bool {
    provider == Provider::Azure || base(provider, Variant::default()).is_some()
}

/// The route types that a provider has, in the words of Kong's documents.
pub(super) fn takes(provider: Provider, route: RouteType) -> bool {
    use RouteType::{Chat, Completions, Embeddings, ImageGenerations, Preserve, Responses};
    match provider {
        Provider::Azure | Provider::Openai => true,
        _ if route == Preserve => base(provider, Variant::default()).is_some(),
        Provider::Xai => matches!(route, Chat | Responses | ImageGenerations),
        Provider::Mistral | Provider::Dashscope | Provider::Ollama => {
            matches!(route, Chat | Embeddings)
        }
        Provider::Llama2 => matches!(route, Chat | Completions | Embeddings),
        Provider::Cerebras
        | Provider::Databricks
        | Provider::Deepseek
        | Provider::Huggingface
        | Provider::Vllm => route == Chat,
        Provider::Anthropic | Provider::Bedrock | Provider::Cohere | Provider::Gemini => false,
    }
}

/// Whether a stream of theirs can be asked for its tokens (`stream_options`): whose documents have
/// it. Of the others some refuse members that they do not know, and some count unasked.
pub(super) fn counts_streams(provider: Provider) -> bool {
    use Provider::{Azure, Dashscope, Deepseek, Huggingface, Ollama, Openai, Vllm, Xai};
    matches!(provider, Azure | Openai | Dashscope | Deepseek | Huggingface | Ollama | Vllm | Xai)
}

/// The path of an operation of theirs.
pub(super) fn path(base: &Base, operation: &Operation) -> String {
    [base.prefix, operation.path].concat()
}
