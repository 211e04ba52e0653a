//! Calls of models in the words of OpenTelemetry's conventions for generative AI. What was said is
//! never in them.

use super::spans::Maker;
use crate::otlp::{CLIENT, KeyValue, Span, Status, Value};
use crate::pdk::{ModelCall, Parameter};

/// `gen_ai.provider.name`: the conventions have names of their own for some of Kong's providers.
pub(super) fn provider(kongs: &'static str) -> &'static str {
    match kongs {
        "azure" => "azure.ai.openai",
        "bedrock" => "aws.bedrock",
        "gemini" => "gcp.gemini",
        "mistral" => "mistral_ai",
        "xai" => "x_ai",
        other => other,
    }
}

/// The span of a call, which Kong calls `kong.gen_ai`.
pub(super) fn span(call: &ModelCall, maker: &Maker<'_>) -> Span {
    let mut span = maker.span("kong.gen_ai", CLIENT, None, (call.sent, call.sent + call.took));
    let (host, port) = &call.server;
    let provider = provider(call.provider);
    let optional = [
        call.model.as_ref().map(|model| KeyValue::new("gen_ai.request.model", model)),
        call.answered_by.as_deref().map(|model| KeyValue::new("gen_ai.response.model", model)),
        call.id.as_deref().map(|id| KeyValue::new("gen_ai.response.id", id)),
        (!call.reasons.is_empty())
            .then(|| KeyValue::new("gen_ai.response.finish_reasons", call.reasons.as_slice())),
        call.prompt_tokens.map(|tokens| KeyValue::new("gen_ai.usage.input_tokens", tokens)),
        call.completion_tokens.map(|tokens| KeyValue::new("gen_ai.usage.output_tokens", tokens)),
        call.first
            .map(|time| KeyValue::new("gen_ai.response.time_to_first_chunk", time.as_secs_f64())),
        call.error.as_deref().map(|error| KeyValue::new("error.type", error)),
    ];
    span.attributes = vec![
        KeyValue::new("gen_ai.operation.name", call.operation),
        KeyValue::new("gen_ai.provider.name", provider),
        // What it was called before there was `gen_ai.provider.name`.
        KeyValue::new("gen_ai.system", provider),
        KeyValue::new("server.address", &**host),
        KeyValue::new("server.port", *port),
    ];
    span.attributes.extend(optional.into_iter().flatten());
    span.attributes.extend(call.parameters.iter().map(|(name, value)| match value {
        Parameter::Whole(number) => KeyValue::new(name, Value::Number(*number)),
        Parameter::Number(number) => KeyValue::new(name, *number),
        Parameter::Kind(kind) => KeyValue::new(name, *kind),
    }));
    span.status = call.error.is_some().then(Status::error);
    span
}
