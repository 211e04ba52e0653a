//! Claude on Foundry: Anthropic's Messages API, plain and as a stream, and the length of a message.
//!
//! The front door is Azure's, so credentials and deployments are refused in Azure's words; what
//! stands behind it speaks Anthropic's.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::Answered;
use crate::sim::answer::{self, lay};
use crate::sim::call::Call;
use crate::sim::openai::{self, ECHO_CHARS_MAX, Prompt};
use crate::sim::rule::{Quirk, Rule};
use crate::sim::state::State;
use crate::sim::stream;
use crate::sim::wire::Refusal;

pub(super) fn reply(state: &State, call: &Call, rule: &Rule) -> Answered {
    if !is_known(call) {
        return Err(openai::not_found());
    }
    let counts = !call.rest().is_empty();
    check(call, counts)?;
    if counts {
        let body = json!({ "input_tokens": Prompt::of(call).tokens });
        return Ok(openai::plain(call, body.to_string(), rule.quirk));
    }
    let asked = call.member("stream").and_then(Value::as_bool).unwrap_or(false);
    let streamed = match rule.quirk {
        Some(Quirk::JsonInsteadOfStream) => false,
        Some(Quirk::StreamInsteadOfJson) => true,
        _ => asked,
    };
    let said = Said::new(state, call, rule, streamed);
    if !streamed {
        return Ok(openai::plain(call, said.whole().to_string(), rule.quirk));
    }
    let frames = frames(said.events(), rule.quirk);
    Ok(openai::streamed_reply(state, call, frames, rule.quirk))
}

/// Whether there is such an operation: Foundry has neither batches nor files of Anthropic's API.
pub(in crate::sim) fn is_known(call: &Call) -> bool {
    call.rest().is_empty() || call.rest() == ["count_tokens"]
}

/// Without the version of the API nothing is answered.
pub(in crate::sim) fn check_version(call: &Call) -> Result<(), Refusal> {
    match call.header("anthropic-version") {
        Some("2023-06-01") => Ok(()),
        None => Err(refused("anthropic-version: header is required")),
        Some(other) => {
            Err(refused(&format!("anthropic-version: {other:?} is not a valid version")))
        }
    }
}

pub(in crate::sim) fn refused(message: &str) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, error(400, message))
}

/// An error in Anthropic's shape.
pub(in crate::sim) fn error(status: u16, message: &str) -> Value {
    let kind = match status {
        400 => "invalid_request_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    json!({
        "type": "error",
        "error": { "type": kind, "message": message },
        "request_id": format!("req_sim{:016x}", fastrand::u64(..)),
    })
}

/// Members that OpenAI has and Anthropic refuses; what has a length takes no limit either.
const UNKNOWN: [&str; 5] = ["stream_options", "max_completion_tokens", "n", "stop", "user"];
const NOT_COUNTED: [&str; 5] = ["max_tokens", "stream", "temperature", "top_p", "top_k"];

fn check(call: &Call, counts: bool) -> Result<(), Refusal> {
    if call.json.as_ref().is_none_or(|json| !json.is_object()) {
        return Err(refused("The request body is not valid JSON"));
    }
    let more: &[&str] = if counts { &NOT_COUNTED } else { &[] };
    if let Some(name) = UNKNOWN.iter().chain(more).find(|name| call.member(name).is_some()) {
        return Err(refused(&format!("{name}: Extra inputs are not permitted")));
    }
    let needed: &[&str] = if counts { &["messages"] } else { &["max_tokens", "messages"] };
    if let Some(name) = needed.iter().find(|name| call.member(name).is_none_or(Value::is_null)) {
        return Err(refused(&format!("{name}: Field required")));
    }
    let messages = call.member("messages").and_then(Value::as_array);
    if messages.is_none_or(Vec::is_empty) {
        return Err(refused("messages: at least one message is required"));
    }
    let is_known = |message: &Value| matches!(message["role"].as_str(), Some("user" | "assistant"));
    match messages.into_iter().flatten().position(|message| !is_known(message)) {
        None => Ok(()),
        Some(at) => {
            let text = "Input should be 'user' or 'assistant'";
            Err(refused(&format!("messages.{at}.role: {text}")))
        }
    }
}

/// One answer.
struct Said {
    id: String,
    model: String,
    pieces: Vec<String>,
    stop_reason: &'static str,
    usage: Value,
}

impl Said {
    fn new(state: &State, call: &Call, rule: &Rule, streamed: bool) -> Self {
        let prompt = Prompt::of(call);
        let said: String = prompt.last.chars().take(ECHO_CHARS_MAX).collect();
        let echo = || format!("Hello from the Azure simulator. You said: {said}");
        let mut pieces = answer::words(&rule.content.clone().unwrap_or_else(echo));
        let mut stop_reason = "end_turn";
        let limit = call.member("max_tokens").and_then(Value::as_u64);
        let limit = limit.and_then(|limit| usize::try_from(limit).ok());
        if let Some(limit) = limit.filter(|limit| *limit < pieces.len()) {
            pieces.truncate(limit);
            stop_reason = "max_tokens";
        }
        if streamed {
            pieces = answer::regroup(pieces, state.options.stream_events);
        }
        if rule.quirk == Some(Quirk::FilteredOutput) {
            pieces.truncate(pieces.len() / 2);
            stop_reason = "refusal";
        }
        let mut usage = json!({
            "input_tokens": prompt.tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": pieces.len(),
            "service_tier": "standard",
        });
        if let Some(more) = &rule.usage {
            lay(&mut usage, more);
        }
        let id = format!("msg_sim{:016x}", fastrand::u64(..));
        let model = call.deployment.clone().unwrap_or_default();
        Self { id, model, pieces, stop_reason, usage }
    }

    fn whole(&self) -> Value {
        let mut message = self.begun(&self.usage);
        message["content"] = json!([{ "type": "text", "text": self.pieces.concat() }]);
        message["stop_reason"] = self.stop_reason.into();
        message
    }

    fn begun(&self, usage: &Value) -> Value {
        json!({
            "id": self.id, "type": "message", "role": "assistant", "model": self.model,
            "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage,
        })
    }

    /// The events of a stream, each of which has its name in it.
    fn events(&self) -> Vec<Value> {
        let mut begun = self.usage.clone();
        begun["output_tokens"] = 1.into();
        let block = json!({ "type": "text", "text": "" });
        let mut events = vec![
            json!({ "type": "message_start", "message": self.begun(&begun) }),
            json!({ "type": "content_block_start", "index": 0, "content_block": block }),
            json!({ "type": "ping" }),
        ];
        events.extend(self.pieces.iter().map(|piece| {
            let delta = json!({ "type": "text_delta", "text": piece });
            json!({ "type": "content_block_delta", "index": 0, "delta": delta })
        }));
        let delta = json!({ "stop_reason": self.stop_reason, "stop_sequence": null });
        let usage = json!({ "output_tokens": self.usage["output_tokens"] });
        events.extend([
            json!({ "type": "content_block_stop", "index": 0 }),
            json!({ "type": "message_delta", "delta": delta, "usage": usage }),
            json!({ "type": "message_stop" }),
        ]);
        events
    }
}

/// The writes of a stream: one an event, unless the quirk says otherwise.
fn frames(mut events: Vec<Value>, quirk: Option<Quirk>) -> Vec<Bytes> {
    match quirk {
        Some(Quirk::NoDone) => drop(events.pop()),
        Some(Quirk::ErrorEvent) => {
            events.truncate(events.len() / 2);
            events.push(error(500, "Internal server error"));
        }
        _ => {}
    }
    let end = if quirk == Some(Quirk::Crlf) { "\r\n" } else { "\n" };
    let frame = |event: &Value| {
        let name = event["type"].as_str().unwrap_or_default();
        format!("event: {name}{end}data: {event}{end}{end}")
    };
    let mut frames: Vec<String> = events.iter().map(frame).collect();
    if quirk == Some(Quirk::Malformed)
        && let Some(first) = frames.get_mut(3)
    {
        *first = format!("event: content_block_delta{end}data: {{\"type\":{end}{end}");
    }
    stream::written(frames, quirk)
}
