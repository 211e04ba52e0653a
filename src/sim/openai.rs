//! The data plane: which requests Azure OpenAI lets in, and the replies of the model behind it.

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::Value;
use uuid::Uuid;

use super::answer::{self, Answer};
use super::auth::Caller;
use super::call::{Call, Kind, Surface};
use super::clock;
use super::embeddings;
use super::errors;
use super::metadata::is_version;
use super::named;
use super::ops;
use super::rule::{Quirk, Rule};
use super::state::State;
use super::stream;
use super::wire::{Refusal, Reply, Script, header_value};

/// Lets a request in, or refuses it in the order of Azure's own checks: path, credentials,
/// version, deployment. What is in the body is the model's business.
pub(super) fn admit(state: &State, call: &Call, caller: &mut Caller) -> Result<(), Refusal> {
    let is_posted = asks_model(call) || call.kind == Kind::Messages;
    if call.kind == Kind::Openai || (is_posted && call.head.method != Method::POST) {
        return Err(not_found());
    }
    if let Some(refusal) = caller.refusal.take() {
        return Err(refusal);
    }
    check_version(call)?;
    match ops::needs_deployment(call) {
        true => check_deployment(state, call),
        false => Ok(()),
    }
}

/// Chats, completions and embeddings, which are played here.
fn asks_model(call: &Call) -> bool {
    matches!(call.kind, Kind::Chat | Kind::Completions | Kind::Embeddings)
}

/// What the model finds wrong with a request that was let in.
pub(super) fn check_body(call: &Call) -> Result<(), Refusal> {
    if !asks_model(call) {
        return Ok(());
    }
    if call.json.as_ref().is_none_or(|json| !json.is_object()) {
        let text = "We could not parse the JSON body of your request.";
        return Err(bad_request(Value::Null, Value::Null, text));
    }
    check_members(call)
}

/// The fault that the deployment's name or a marker in the prompt asks for.
pub(super) fn fault_name(call: &Call) -> Option<String> {
    let deployment = call.deployment.clone().filter(|name| name.starts_with("fault-"));
    deployment.or_else(|| named::marker(&Prompt::of(call).last).map(str::to_owned))
}

/// The model's reply.
pub(super) fn answer(state: &State, call: &Call, rule: &Rule) -> Reply {
    if ops::realtime::opens(call) {
        return ops::realtime::agree(call);
    }
    if !asks_model(call) {
        return ops::reply(state, call, rule);
    }
    if call.kind == Kind::Embeddings {
        return plain(call, embeddings::reply(call).to_string(), rule.quirk);
    }
    let asked = call.member("stream").and_then(Value::as_bool).unwrap_or(false);
    let streamed = match rule.quirk {
        Some(Quirk::JsonInsteadOfStream) => false,
        Some(Quirk::StreamInsteadOfJson) => true,
        _ => asked,
    };
    let answer = make_answer(state, call, rule, streamed);
    if !streamed {
        return plain(call, answer.json().to_string(), rule.quirk);
    }
    let frames = stream::frames(answer.events(rule.quirk), rule.quirk);
    streamed_reply(state, call, frames, rule.quirk)
}

/// A stream of these writes.
pub(super) fn streamed_reply(
    state: &State,
    call: &Call,
    mut frames: Vec<Bytes>,
    quirk: Option<Quirk>,
) -> Reply {
    let compress = quirk == Some(Quirk::Gzip) && accepts_gzip(call);
    if compress {
        frames = stream::gzip(&frames);
    }
    let script = Script::new(frames.into(), state.event_delay()).flush_each();
    let mut reply = Reply::script("text/event-stream; charset=utf-8", script);
    if compress {
        reply.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    reply
}

/// Adds Azure's headers, and ours that says who called; those a rule has set stay.
pub(super) fn stamp(reply: &mut Reply, call: &Call, identity: &str) {
    let mut add = |name: &'static str, value: HeaderValue| {
        reply.headers.entry(HeaderName::from_static(name)).or_insert(value);
    };
    add("apim-request-id", header_value(&Uuid::new_v4().to_string()));
    add("x-sim-identity", header_value(identity));
    if let Some(id) = call.head.headers.get("x-ms-client-request-id") {
        add("x-ms-client-request-id", id.clone());
    }
    if reply.status.is_success() {
        add("x-request-id", header_value(&Uuid::new_v4().to_string()));
        if let Some(deployment) = &call.deployment {
            add("x-ms-deployment-name", header_value(deployment));
        }
        for (name, value) in SUCCESS_HEADERS {
            add(name, HeaderValue::from_static(value));
        }
    }
}

/// Earlier versions have no responses.
const RESPONSES_SINCE: &str = "2025-03-01";

/// What every successful reply carries; the quota never changes.
pub(super) const SUCCESS_HEADERS: [(&str, &str); 9] = [
    ("x-ms-region", "East US"),
    ("azureml-model-session", "d001-20261101000000"),
    ("x-ratelimit-limit-requests", "1000"),
    ("x-ratelimit-remaining-requests", "999"),
    ("x-ratelimit-limit-tokens", "1000000"),
    ("x-ratelimit-remaining-tokens", "999000"),
    ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
    ("x-content-type-options", "nosniff"),
    ("set-cookie", "ARRAffinity=x; Path=/"),
];

fn check_version(call: &Call) -> Result<(), Refusal> {
    let version = call.argument("api-version");
    let since = if call.kind == Kind::Responses { RESPONSES_SINCE } else { "" };
    match (call.surface, version.as_deref()) {
        (Surface::Anthropic, _) => ops::messages::check_version(call),
        (Surface::Dated | Surface::Inference, Some(version)) => {
            if is_version(version) && version >= since { Ok(()) } else { Err(not_found()) }
        }
        (Surface::Dated | Surface::Inference, None) => Err(not_found()),
        (Surface::V1, None | Some("v1" | "preview")) => Ok(()),
        (Surface::V1, Some(_)) => {
            let body = errors::error("BadRequest", "API version not supported");
            Err(Refusal(StatusCode::BAD_REQUEST, body))
        }
    }
}

fn check_deployment(state: &State, call: &Call) -> Result<(), Refusal> {
    let Some(deployment) = call.deployment.as_deref().filter(|name| !name.is_empty()) else {
        return Err(match call.surface {
            Surface::Dated => not_found(),
            Surface::Anthropic if !ops::messages::is_known(call) => not_found(),
            Surface::Anthropic => ops::messages::refused("model: Field required"),
            Surface::V1 | Surface::Inference => {
                bad_request(Value::Null, Value::Null, "you must provide a model parameter")
            }
        });
    };
    let listed = &state.options.deployments;
    let known = listed.is_empty()
        || listed.iter().any(|name| name == deployment)
        || named::rule(deployment).is_some();
    match known {
        true => Ok(()),
        false => Err(Refusal(StatusCode::NOT_FOUND, errors::deployment_not_found())),
    }
}

/// Members that came with an api-version; older ones refuse them.
const MEMBERS_SINCE: [(&str, &str); 2] =
    [("stream_options", "2024-09-01"), ("max_completion_tokens", "2024-09-01")];
/// Deployments with these names take `max_completion_tokens` only.
const REASONING: [&str; 4] = ["o1", "o3", "o4", "gpt-5"];

fn check_members(call: &Call) -> Result<(), Refusal> {
    let needed = match call.kind {
        Kind::Chat => "messages",
        Kind::Completions => "prompt",
        _ => "input",
    };
    if call.member(needed).is_none_or(Value::is_null) {
        let text = format!("Missing required parameter: '{needed}'.");
        return Err(bad_request("missing_required_parameter".into(), needed.into(), &text));
    }
    if call.member("messages").and_then(Value::as_array).is_some_and(Vec::is_empty) {
        let text = "Invalid 'messages': empty array. Expected an array with minimum length 1, but \
                    got an empty array instead.";
        return Err(bad_request("empty_array".into(), "messages".into(), text));
    }
    let is_prompt = |value: &Value| value.is_string() || value.is_array();
    if needed == "prompt" && !call.member(needed).is_some_and(is_prompt) {
        let text = "Invalid type for 'prompt': expected one of a string, an array of strings, or \
                    an array of tokens.";
        return Err(bad_request("invalid_type".into(), needed.into(), text));
    }
    let version = call.argument("api-version").unwrap_or_default();
    for (name, since) in MEMBERS_SINCE {
        let dated = call.surface == Surface::Dated;
        if dated && version.as_str() < since && call.member(name).is_some() {
            let text = format!("Unrecognized request argument supplied: {name}");
            return Err(bad_request(Value::Null, Value::Null, &text));
        }
    }
    let deployment = call.deployment.as_deref().unwrap_or_default();
    let reasoning = REASONING.iter().any(|family| deployment.starts_with(family));
    if reasoning && call.member("max_tokens").is_some_and(|value| !value.is_null()) {
        let text = "Unsupported parameter: 'max_tokens' is not supported with this model. Use \
                    'max_completion_tokens' instead.";
        return Err(bad_request("unsupported_parameter".into(), "max_tokens".into(), text));
    }
    Ok(())
}

/// The longest part of a prompt that is said back.
pub(super) const ECHO_CHARS_MAX: usize = 2000;

fn make_answer(state: &State, call: &Call, rule: &Rule, streamed: bool) -> Answer {
    let prompt = Prompt::of(call);
    let said: String = prompt.last.chars().take(ECHO_CHARS_MAX).collect();
    let echo = || format!("Hello from the Azure simulator. You said: {said}");
    let mut pieces = answer::words(&rule.content.clone().unwrap_or_else(echo));
    let mut finish = "stop";
    let limit = ["max_completion_tokens", "max_tokens"]
        .iter()
        .find_map(|name| usize::try_from(call.member(name)?.as_u64()?).ok());
    if let Some(limit) = limit.filter(|limit| *limit < pieces.len()) {
        pieces.truncate(limit);
        finish = "length";
    }
    if streamed {
        pieces = answer::regroup(pieces, state.options.stream_events);
    }
    if rule.quirk == Some(Quirk::FilteredOutput) {
        pieces.truncate(if streamed { pieces.len() / 2 } else { 0 });
        finish = "content_filter";
    }
    let include_usage = call.member("stream_options").and_then(|o| o.get("include_usage"));
    Answer {
        id: format!("chatcmpl-sim{:016x}", fastrand::u64(..)),
        created: clock::now_secs(),
        model: state.options.model.clone(),
        pieces,
        finish,
        prompt_tokens: prompt.tokens,
        legacy: call.kind == Kind::Completions,
        include_usage: include_usage.and_then(Value::as_bool).unwrap_or(false),
        more_usage: rule.usage.clone(),
    }
}

/// What the client asked.
pub(super) struct Prompt {
    /// The last user message, or the whole prompt of a text completion.
    pub(super) last: String,
    /// One a word and three a message: roughly what a tokenizer would say.
    pub(super) tokens: usize,
}

impl Prompt {
    pub(super) fn of(call: &Call) -> Self {
        let input = call.member("input").filter(|_| call.kind == Kind::Responses);
        if let Some(prompt) = input.or_else(|| call.member("prompt")) {
            let last = text_of(prompt);
            return Self { tokens: count(&last), last };
        }
        let messages = call.member("messages").and_then(Value::as_array);
        let system = call.member("system").map(|system| 3 + count(&text_of(system)));
        let mut prompt = Self { last: String::new(), tokens: system.unwrap_or(0) };
        for message in messages.into_iter().flatten() {
            let text = message.get("content").map(text_of).unwrap_or_default();
            prompt.tokens += 3 + count(&text);
            if message.get("role").and_then(Value::as_str) == Some("user") {
                prompt.last = text;
            }
        }
        prompt
    }
}

fn count(text: &str) -> usize {
    text.split_whitespace().count()
}

/// A text, or the texts of a list of parts or prompts.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let text = |part: &Value| match part {
                Value::String(text) => Some(text.clone()),
                part => part.get("text").and_then(Value::as_str).map(str::to_owned),
            };
            parts.iter().filter_map(text).collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    }
}

pub(super) fn plain(call: &Call, body: String, quirk: Option<Quirk>) -> Reply {
    let mut writes = stream::plain(body, quirk);
    let compress = quirk == Some(Quirk::Gzip) && accepts_gzip(call);
    if compress {
        writes = vec![stream::gzip(&writes).concat().into()];
    }
    let mut reply = match <[Bytes; 1]>::try_from(writes) {
        Ok([body]) => Reply::new(StatusCode::OK, "application/json", body),
        Err(writes) => {
            let script = Script::new(writes.into(), std::time::Duration::ZERO);
            Reply::script("application/json", script.flush_each())
        }
    };
    if compress {
        reply.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    reply
}

fn accepts_gzip(call: &Call) -> bool {
    accepted(&call.head.headers).any(|coding| coding.trim().eq_ignore_ascii_case("gzip"))
}

/// The codings of `Accept-Encoding`, without those that weigh nothing.
fn accepted(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(ACCEPT_ENCODING).into_iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|item| {
        let (coding, weight) = item.split_once(';').unwrap_or((item, ""));
        (!matches!(weight.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000")).then_some(coding)
    })
}

pub(super) fn not_found() -> Refusal {
    Refusal(StatusCode::NOT_FOUND, errors::resource_not_found())
}

fn bad_request(code: Value, param: Value, message: &str) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, errors::invalid_request(code, param, message))
}
