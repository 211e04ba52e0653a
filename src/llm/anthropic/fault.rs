//! Errors in Anthropic's shape, the gateway's own and those of the model.

use bytes::Bytes;

use super::{is_said, put};
use crate::llm::error::Error;
use crate::llm::json;
use crate::llm::splice::{Object, quote};

/// The longest text of an error that is no JSON, in characters.
const TEXT_MAX: usize = 500;

/// What Anthropic calls an error of this status.
fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

/// An answer of the gateway.
pub fn own(error: &Error, request_id: &str) -> Bytes {
    shaped(error.status().as_u16(), &quote(&error.to_string()), &[], request_id)
}

/// An answer of the gateway or of another plugin that fails, where it is an error in Kong's shape
/// or in OpenAI's; `text` stands for a page without one. `None`: it stays as it is.
pub fn others(status: u16, body: &[u8], text: Option<&str>, request_id: &str) -> Option<Bytes> {
    let object = Object::read(body).ok();
    let inner = object.as_ref().and_then(|object| object.get("error"));
    let inner = inner.and_then(|error| Object::read(error).ok());
    let kind = object.as_ref().and_then(|object| object.get("type")).and_then(json::text);
    if inner.is_some() && kind.as_deref() == Some("error") {
        return None;
    }
    let says = |object: &Option<Object<_>>| {
        object.as_ref().and_then(|object| object.get("message")).is_some_and(is_said)
    };
    if says(&inner) || says(&object) {
        return Some(theirs(status, body, request_id));
    }
    text.map(|text| shaped(status, &quote(text), &[], request_id))
}

/// An error of the model: its words, and what it says more of them (`code`, `innererror`).
pub fn theirs(status: u16, body: &[u8], request_id: &str) -> Bytes {
    let object = Object::read(body).ok();
    let inner = object.as_ref().and_then(|object| object.get("error"));
    let inner = inner.and_then(|error| Object::read(error).ok());
    let message = inner.as_ref().and_then(|error| error.get("message"));
    // Azure's front door and plugins of the gateway say it without `error`.
    let message = message.or_else(|| object.as_ref().and_then(|object| object.get("message")));
    let message = message.filter(|message| is_said(message));
    let text = || {
        let text = String::from_utf8_lossy(body);
        let text: String = text.trim().chars().take(TEXT_MAX).collect();
        quote(if text.is_empty() { "the model answered without a reason" } else { &text })
    };
    let message = message.map_or_else(text, <[u8]>::to_vec);
    let more = ["code", "param", "innererror", "inner_error"].map(|name| {
        let value = inner.as_ref().and_then(|error| error.get(name));
        (name, value.filter(|value| *value != b"null"))
    });
    let more: Vec<_> = more.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    shaped(status, &message, &more, request_id)
}

fn shaped(status: u16, message: &[u8], more: &[(&str, &[u8])], request_id: &str) -> Bytes {
    let mut out = br#"{"type":"error","error":{"#.to_vec();
    put(&mut out, "type", &quote(kind(status)));
    put(&mut out, "message", message);
    for (name, value) in more {
        put(&mut out, name, value);
    }
    out.push(b'}');
    if !request_id.is_empty() {
        put(&mut out, "request_id", &quote(request_id));
    }
    out.push(b'}');
    out.into()
}

/// The error of a stream, which has no status of its own any more.
pub(super) fn in_stream(error: &[u8]) -> Bytes {
    let said = Object::read(error).ok();
    let said = said.as_ref().and_then(|error| Object::read(error.get("error")?).ok());
    let code = said.as_ref().and_then(|error| error.get("code").or_else(|| error.get("type")));
    let status = match code.map(|code| json::text(code).unwrap_or_default()).as_deref() {
        Some("429" | "rate_limit_exceeded" | "too_many_requests") => 429,
        Some("503" | "overloaded_error" | "service_unavailable") => 503,
        Some("content_filter" | "invalid_request_error") => 400,
        _ => 500,
    };
    theirs(status, error, "")
}

/// The same, in words of ours.
pub(super) fn broken(message: &str) -> Bytes {
    shaped(500, &quote(message), &[], "")
}
