//! Clients that speak Anthropic's Messages API (`llm_format: anthropic`).
//!
//! Behind `client` a request of theirs is a chat like any other. What goes back to them, replies,
//! streams and errors, is put in Anthropic's words here.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use serde_json::json;

use super::client::Client;
use super::session::{Asked, Refusal, Session};
use crate::llm;
use crate::llm::anthropic::{self, Translator, fault};
use crate::llm::usage::Usage;
use crate::pdk::{Exchange, Source};
use crate::plugin::Outcome;
use crate::respond;
use crate::router::path;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Whether the client only asks how long its request is.
pub(super) fn asks_for_count(ex: &Exchange) -> bool {
    ex.request.method == Method::POST
        && path::normalise(ex.request.raw_path()).ends_with(anthropic::COUNT_TOKENS)
}

/// The answer to that.
pub(super) fn count(client: &Client) -> Refusal {
    match client.body.object() {
        Some(chat) => Refusal::Counted(anthropic::estimate(chat)),
        None => llm::Error::NoPrompts.into(),
    }
}

pub(super) fn counted(ex: &Exchange, tokens: u64) -> Outcome {
    respond::exit_json(ex, StatusCode::OK, &json!({ "input_tokens": tokens }))
}

/// Refuses a request.
pub(super) fn refuse(ex: &Exchange, error: &llm::Error) -> Outcome {
    let body = fault::own(error, ex.id.as_str());
    ex.response.exit(error.status(), Some("application/json"), body)
}

/// Whether a reply is put in other words as a whole: all that the model says but streams.
pub(super) fn is_converted(ex: &Exchange) -> bool {
    ex.response.source() == Source::Service && ex.request.method != Method::HEAD
}

/// Puts the message in the place of a chat.
pub(super) fn replace(session: &Session, ex: &Exchange, reply: &Bytes, usage: Option<Usage>) {
    let usage = usage.unwrap_or_else(|| Usage::estimate(session.prompt_tokens(), 0));
    let asked = session.asked().and_then(|asked| asked.model.clone());
    let model = asked.as_deref().unwrap_or_default();
    if let Some(message) = anthropic::message(reply, model, &usage) {
        put(ex, message);
    }
}

/// Puts an error of Anthropic's in the place of the model's.
pub(super) fn replace_error(ex: &Exchange, body: &[u8]) {
    let status = ex.response.status();
    if status.is_client_error() || status.is_server_error() {
        put(ex, fault::theirs(status.as_u16(), body, ex.id.as_str()));
    }
}

fn put(ex: &Exchange, body: Bytes) {
    ex.response.clear_header(CONTENT_ENCODING);
    ex.response.set_header(CONTENT_TYPE, JSON);
    ex.response.replace_body(body);
}

/// What puts a stream in other words.
pub(super) fn translator(session: &Session, asked: &Asked) -> Translator {
    Translator::new(asked.model.as_deref().unwrap_or_default(), session.prompt_tokens())
}
