//! The operations beside chats: what is stored, spoken, drawn and listed.
//!
//! Each file plays one of them in Azure's shapes. What clients store is kept in memory, within
//! bounds, until the simulator stops.

mod assistants;
mod batches;
mod files;
mod form;
mod media;
pub(super) mod messages;
mod models;
pub(super) mod realtime;
mod responses;
mod safety;
mod store;
mod videos;

use http::{Method, StatusCode};
use serde_json::{Value, json};

pub(super) use store::Store;

use super::call::{Call, Kind};
use super::errors;
use super::rule::Rule;
use super::state::State;
use super::wire::{Refusal, Reply};

/// What an operation comes to.
type Answered = Result<Reply, Refusal>;

/// The reply to a request that was let in.
pub(super) fn reply(state: &State, call: &Call, rule: &Rule) -> Reply {
    let answered = match call.kind {
        Kind::Files => files::reply(state, call),
        Kind::Batches => batches::reply(state, call),
        Kind::Responses => responses::reply(state, call, rule),
        Kind::Assistants => assistants::reply(state, call),
        Kind::Speech | Kind::Transcriptions | Kind::Translations | Kind::Images => {
            media::reply(call, rule)
        }
        Kind::Videos => videos::reply(state, call),
        Kind::Models => models::reply(state, call),
        Kind::ContentSafety => safety::reply(call),
        Kind::Messages => messages::reply(state, call, rule),
        Kind::Realtime => Err(realtime::not_a_socket(call)),
        _ => Err(super::openai::not_found()),
    };
    answered.unwrap_or_else(Reply::from)
}

/// Whether the request needs a deployment, which Azure looks for first.
pub(super) fn needs_deployment(call: &Call) -> bool {
    let is_root = call.rest().is_empty();
    let makes = call.head.method == Method::POST && is_root;
    match call.kind {
        Kind::Files | Kind::Batches | Kind::Models | Kind::ContentSafety => false,
        Kind::Responses | Kind::Videos => makes,
        Kind::Assistants => makes && call.collection() == "assistants",
        Kind::Realtime => is_root,
        _ => true,
    }
}

fn ok(body: &Value) -> Reply {
    Reply::json(StatusCode::OK, body)
}

fn bad(param: &str, text: &str) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, errors::invalid_request(Value::Null, param.into(), text))
}

/// The body as a JSON object.
fn object(call: &Call) -> Result<&Value, Refusal> {
    let text = "We could not parse the JSON body of your request.";
    call.json.as_ref().filter(|json| json.is_object()).ok_or_else(|| bad("", text))
}

/// A text member that must be there.
fn required<'c>(call: &'c Call, name: &str) -> Result<&'c str, Refusal> {
    let text = || format!("Missing required parameter: '{name}'.");
    object(call)?.get(name).and_then(Value::as_str).ok_or_else(|| bad(name, &text()))
}

fn missing(kind: &str, id: &str) -> Refusal {
    let text = format!("No {kind} found with id '{id}'.");
    let body = errors::invalid_request(Value::Null, Value::Null, &text);
    Refusal(StatusCode::NOT_FOUND, body)
}

fn no_method() -> Refusal {
    let text = "Not allowed to use this method on this path.";
    Refusal(StatusCode::METHOD_NOT_ALLOWED, errors::error("405", text))
}

/// What Azure says of something that is gone.
fn deleted(object: &str, id: &str) -> Reply {
    ok(&json!({ "id": id, "object": object, "deleted": true }))
}
