//! Anthropic's Messages API in front of a model that speaks OpenAI's chats.
//!
//! A request becomes a chat ([`chat`]), which then goes the way of any other; a reply becomes a
//! message ([`message`]), a stream of chunks a stream of blocks ([`Translator`]), and an error has
//! Anthropic's shape ([`fault`]). Numbers, schemas and texts are copied as they were written.

mod blocks;
pub mod fault;
mod native;
mod reply;
mod request;
mod stream;
mod tools;

use std::borrow::Cow;

use bytes::Bytes;

use crate::llm::json;
use crate::llm::operation::behind;
use crate::llm::splice::{Object, quote};
use crate::llm::usage::{self, Part, Usage};

pub use native::VERSION;
pub(super) use native::version;
pub use reply::message;
pub use request::chat;
pub use stream::Translator;

/// What `llm_format` calls it.
pub const FORMAT: &str = "anthropic";

/// The end of the path under which clients ask how long a request is.
pub const COUNT_TOKENS: &str = "/messages/count_tokens";

/// What a client asks for of its batches, from their name on; `None` where it asks for no batch.
pub fn batches(path: &str) -> Option<&str> {
    let rest = behind(path, "messages/batches")?;
    let from = path.len() - rest.len() - "/batches".len();
    Some(path[from..].trim_end_matches('/'))
}

/// The models of the requests of a batch, each once, in order; `None` is a request that names none.
/// At most one more than [`MODELS_OF_BATCH_MAX`].
pub fn models_of_batch(batch: &Object<Bytes>) -> Vec<Option<String>> {
    let model = |request| {
        let request = Object::read(request).ok()?;
        let params = Object::read(request.get("params")?).ok()?;
        json::text(params.get("model")?).map(Cow::into_owned)
    };
    let mut models = Vec::new();
    for request in batch.get("requests").into_iter().flat_map(json::items) {
        let model = model(request);
        if !models.contains(&model) {
            models.push(model);
        }
        if models.len() > MODELS_OF_BATCH_MAX {
            break;
        }
    }
    models
}

/// A batch that names more models than these is nobody's.
pub const MODELS_OF_BATCH_MAX: usize = 64;

/// An estimate of the tokens of a request, given as the chat that it became: Kong's count of words
/// for what is said, and four bytes to a token for tools and their calls.
pub fn estimate(chat: &Object<Bytes>) -> u64 {
    let calls = |message| {
        let message = Object::read(message).ok()?;
        message.get("tool_calls").map(<[u8]>::len)
    };
    let messages = chat.get("messages").into_iter().flat_map(json::items);
    let calls: usize = messages.filter_map(calls).sum();
    let bytes = calls + chat.get("tools").map_or(0, <[u8]>::len);
    Usage::estimate(usage::estimate_prompt(chat, false), bytes as u64).total_tokens
}

/// Tokens in Anthropic's words: those from the cache are counted apart.
fn usage_json(usage: &Usage) -> String {
    let cached = usage.parts.get(Part::Cached).unwrap_or(0).min(usage.prompt_tokens);
    format!(
        "{{\"input_tokens\":{},\"cache_creation_input_tokens\":0,\
         \"cache_read_input_tokens\":{cached},\"output_tokens\":{}}}",
        usage.prompt_tokens - cached,
        usage.completion_tokens
    )
}

/// Begins a message, as far as it is known before the model has said anything.
fn begin(out: &mut Vec<u8>, id: &str, model: &[u8]) {
    out.push(b'{');
    put(out, "id", &quote(&message_id(id)));
    put(out, "type", br#""message""#);
    put(out, "role", br#""assistant""#);
    put(out, "model", model);
}

/// A call of a tool.
fn tool_use(id: &[u8], name: &[u8], input: &[u8]) -> Vec<u8> {
    let mut block = br#"{"type":"tool_use""#.to_vec();
    put(&mut block, "id", id);
    put(&mut block, "name", name);
    put(&mut block, "input", input);
    block.push(b'}');
    block
}

/// Says why the model stopped. Servers of open models say which sequence it was; OpenAI does not.
fn stopped(out: &mut Vec<u8>, finish_reason: &str, sequence: Option<&[u8]>, said: Said) {
    let sequence = sequence.filter(|sequence| finish_reason == "stop" && is_said(sequence));
    let reason = match sequence {
        Some(_) => "stop_sequence",
        None => stop_reason(finish_reason, said),
    };
    put(out, "stop_reason", &quote(reason));
    put(out, "stop_sequence", sequence.unwrap_or(b"null"));
}

/// What the reason depends on besides the model's own.
#[derive(Debug, Clone, Copy, Default)]
struct Said {
    has_calls: bool,
    has_refused: bool,
}

/// Why the model stopped, in Anthropic's words. Some models that were told which function to call
/// say that they stopped by themselves.
fn stop_reason(finish_reason: &str, said: Said) -> &'static str {
    match finish_reason {
        "length" => "max_tokens",
        "content_filter" => "refusal",
        _ if said.has_refused => "refusal",
        "tool_calls" | "function_call" => "tool_use",
        _ if said.has_calls => "tool_use",
        _ => "end_turn",
    }
}

/// Anthropic's name for the id of a chat.
fn message_id(id: &str) -> String {
    ["msg_", id.strip_prefix("chatcmpl-").unwrap_or(id)].concat()
}

/// Appends a member, or an item where `name` is empty. Values are JSON.
fn put(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    next(out);
    if !name.is_empty() {
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
    }
    out.extend_from_slice(value);
}

/// A comma, where something stands in front.
fn next(out: &mut Vec<u8>) {
    if !matches!(out.last(), None | Some(b'{' | b'[' | b':')) {
        out.push(b',');
    }
}

/// A string without its quotes, escapes as they are.
fn inside(string: &[u8]) -> Option<&[u8]> {
    string.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

/// Whether a value is a string with something in it.
fn is_said(value: &[u8]) -> bool {
    inside(value).is_some_and(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
