//! `/files`: uploads, their list, their content.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::super::call::Call;
use super::super::clock;
use super::super::state::State;
use super::super::wire::Reply;
use super::store::{Store, new_id};
use super::{Answered, bad, deleted, form, missing, no_method, ok};

const KIND: &str = "file";

pub(super) fn reply(state: &State, call: &Call) -> Answered {
    let mut store = state.store();
    let rest: Vec<&str> = call.rest().iter().map(String::as_str).collect();
    match (&call.head.method, rest.as_slice()) {
        (&Method::GET, []) => Ok(ok(&store.list(KIND, "", call))),
        (&Method::POST, []) => upload(&mut store, call),
        (&Method::GET, [id]) => {
            let file = store.get(KIND, id).ok_or_else(|| missing(KIND, id))?;
            Ok(ok(&file.value))
        }
        (&Method::DELETE, [id]) => match store.remove(KIND, id) {
            true => Ok(deleted(KIND, id)),
            false => Err(missing(KIND, id)),
        },
        (&Method::GET, [id, "content"]) => {
            let file = store.get(KIND, id).ok_or_else(|| missing(KIND, id))?;
            Ok(Reply::new(StatusCode::OK, "application/octet-stream", file.data.clone()))
        }
        _ => Err(no_method()),
    }
}

/// Azure says 201.
fn upload(store: &mut Store, call: &Call) -> Answered {
    let parts = form::parts(call);
    let text = "'file' is a required property";
    let file = form::file(&parts, "file").ok_or_else(|| bad("file", text))?;
    let purpose = form::text(&parts, "purpose")
        .ok_or_else(|| bad("purpose", "'purpose' is a required property"))?;
    let value = keep(store, file.file.as_deref().unwrap_or("upload"), &purpose, file.data.clone());
    Ok(Reply::json(StatusCode::CREATED, &value))
}

/// Keeps a file that somebody has made.
pub(super) fn keep(store: &mut Store, name: &str, purpose: &str, data: Bytes) -> Value {
    let value = json!({
        "id": new_id("file-"),
        "object": "file",
        "bytes": data.len(),
        "created_at": clock::now_secs(),
        "filename": name,
        "purpose": purpose,
        "status": "processed",
    });
    store.add_with(KIND, "", value.clone(), data);
    value
}
