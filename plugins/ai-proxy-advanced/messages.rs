//! Clients that speak Anthropic's Messages API (`llm_format: anthropic`).
//!
//! For a target that speaks chats a request of theirs becomes one, and what goes back to them,
//! replies, streams and errors, is put in Anthropic's words here. To Claude itself, and from it,
//! everything passes as it is.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use serde_json::json;

use super::client::Client;
use super::session::{Asked, Refusal, Session};
use super::setup::Setup;
use super::targets::{Indexes, Target};
use crate::llm::anthropic::{self, Translator, fault};
use crate::llm::usage::Usage;
use crate::llm::{self, Body, Wire};
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

/// The chat that a message asks for, for those of the candidates that speak chats. What cannot be
/// said in a chat, and the question for a length, go to Claude only, where it is a candidate.
pub(super) fn chat(
    setup: &Setup,
    body: &Body,
    candidates: &mut Indexes,
    asks_for_count: bool,
) -> Result<Option<Body>, llm::Error> {
    let Some(message) = body.object() else { return Ok(None) };
    let wire = |index: usize| setup.targets.at(index).map(|target| target.plan.wire());
    let is_native = |index: &usize| wire(*index) == Some(Wire::Messages);
    let has_native = candidates.iter().any(is_native);
    if has_native && asks_for_count {
        candidates.retain(|index| is_native(index));
    }
    if candidates.iter().all(is_native) {
        return Ok(None);
    }
    match anthropic::chat(message) {
        Ok(chat) => Body::read(None, chat, 0).map(Some),
        Err(_) if has_native => {
            candidates.retain(|index| is_native(index));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Whether the client asks for a batch of messages, or for what has become of one.
pub(super) fn asks_for_batches(ex: &Exchange) -> bool {
    anthropic::batches(&path::normalise(ex.request.raw_path())).is_some()
}

/// Leaves the candidates that have batches.
pub(super) fn only_claude(setup: &Setup, candidates: &mut Indexes) -> Result<(), llm::Error> {
    let wire = |index: usize| setup.targets.at(index).map(|target| target.plan.wire());
    candidates.retain(|index| wire(*index) == Some(Wire::Messages));
    if candidates.is_empty() { Err(llm::Error::NoBatches) } else { Ok(()) }
}

/// The answer to a client that asks how long its request is, where no target can be asked.
pub(super) fn count(client: &Client) -> Refusal {
    match client.words().object() {
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

/// Puts an answer of the gateway's own, or of another plugin, in Anthropic's words. An answer that
/// the operator has written, a page of request-termination's, stays.
pub(super) fn replace_others(ex: &Exchange) {
    let (status, source) = (ex.response.status(), ex.response.source());
    let is_failure = status.is_client_error() || status.is_server_error();
    let kind = ex.response.header(CONTENT_TYPE);
    let is_call = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if source == Source::Service || !is_failure || is_call {
        return;
    }
    let text = (source == Source::Error).then(|| respond::default_message(status));
    let body = ex.response.body().unwrap_or_default();
    if let Some(error) = fault::others(status.as_u16(), &body, text, ex.id.as_str()) {
        put(ex, error);
    }
}

fn put(ex: &Exchange, body: Bytes) {
    ex.response.clear_header(CONTENT_ENCODING);
    ex.response.set_header(CONTENT_TYPE, JSON);
    ex.response.replace_body(body);
}

/// Names the version of the API to a target that speaks it.
pub(super) fn name_version(ex: &Exchange, target: &Target) {
    let version = target.plan.anthropic_version();
    let version = version.filter(|_| !ex.request.headers().contains_key(anthropic::VERSION));
    if let Some(version) = version {
        ex.request.set_header(anthropic::VERSION, version.clone());
    }
}

/// What puts a stream in other words.
pub(super) fn translator(session: &Session, asked: &Asked) -> Translator {
    Translator::new(asked.model.as_deref().unwrap_or_default(), session.prompt_tokens())
}
