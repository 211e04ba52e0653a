//! `/assistants`, `/threads` and `/vector_stores`: enough of the older API for its SDKs to walk
//! through. A run is done when it is looked at, and has added a message to its thread.

use http::Method;
use serde_json::{Map, Value, json};

use super::super::call::Call;
use super::super::clock;
use super::super::state::State;
use super::store::{Store, new_id};
use super::{Answered, bad, deleted, missing, no_method, ok, required};

pub(super) fn reply(state: &State, call: &Call) -> Answered {
    let mut store = state.store();
    let rest: Vec<&str> = call.rest().iter().map(String::as_str).collect();
    match call.collection() {
        "assistants" => {
            if call.header("openai-beta").is_none_or(|beta| !beta.contains("assistants=")) {
                return Err(bad("", "You must provide the 'OpenAI-Beta' header."));
            }
            things(&mut store, call, &rest, ("assistant", "asst_"))
        }
        "vector_stores" => things(&mut store, call, &rest, ("vector_store", "vs_")),
        _ => threads(&mut store, call, &rest),
    }
}

/// Create, list, show, change, delete.
fn things(
    store: &mut Store,
    call: &Call,
    rest: &[&str],
    (kind, prefix): (&'static str, &str),
) -> Answered {
    match (&call.head.method, rest) {
        (&Method::GET, []) => Ok(ok(&store.list(kind, "", call))),
        (&Method::POST, []) => {
            let thing = made(call, kind, prefix);
            store.add(kind, thing.clone());
            Ok(ok(&thing))
        }
        (&Method::GET, [id]) => Ok(ok(&found(store, kind, id)?)),
        (&Method::POST, [id]) => {
            let thing = store.get(kind, id).ok_or_else(|| missing(kind, id))?;
            for (name, value) in members(call) {
                thing.value[name] = value;
            }
            Ok(ok(&thing.value))
        }
        (&Method::DELETE, [id]) => match store.remove(kind, id) {
            true => Ok(deleted(&format!("{kind}.deleted"), id)),
            false => Err(missing(kind, id)),
        },
        _ => Err(no_method()),
    }
}

fn members(call: &Call) -> Map<String, Value> {
    call.json.as_ref().and_then(Value::as_object).cloned().unwrap_or_default()
}

/// A new thing with what the client says of it.
fn made(call: &Call, kind: &str, prefix: &str) -> Value {
    let mut thing = json!({
        "id": new_id(prefix), "object": kind, "created_at": clock::now_secs(), "metadata": {},
    });
    if kind == "assistant" {
        thing["tools"] = json!([]);
        thing["name"] = Value::Null;
        thing["description"] = Value::Null;
        thing["instructions"] = Value::Null;
    }
    if kind == "vector_store" {
        thing["status"] = "completed".into();
        thing["usage_bytes"] = 0.into();
        thing["file_counts"] = json!({
            "in_progress": 0, "completed": 0, "failed": 0, "cancelled": 0, "total": 0,
        });
    }
    for (name, value) in members(call).into_iter().filter(|(name, _)| name != "messages") {
        thing[name] = value;
    }
    thing
}

fn found(store: &mut Store, kind: &str, id: &str) -> Result<Value, super::Refusal> {
    store.get(kind, id).map(|thing| thing.value.clone()).ok_or_else(|| missing(kind, id))
}

fn threads(store: &mut Store, call: &Call, rest: &[&str]) -> Answered {
    match (&call.head.method, rest) {
        (_, [] | [_]) => things(store, call, rest, ("thread", "thread_")),
        (&Method::GET, [thread, "messages"]) => Ok(ok(&store.list("message", thread, call))),
        (&Method::POST, [thread, "messages"]) => {
            found(store, "thread", thread)?;
            let text = call.member("content").cloned().unwrap_or_default();
            let role = call.member("role").and_then(Value::as_str).unwrap_or("user");
            let said = super::responses::last_text(&text);
            Ok(ok(&say(store, thread, role, &said, Value::Null)))
        }
        (&Method::GET, [_, "messages", id]) => Ok(ok(&found(store, "message", id)?)),
        (&Method::GET, [thread, "runs"]) => Ok(ok(&store.list("run", thread, call))),
        (&Method::POST, [thread, "runs"]) => run(store, call, thread),
        (&Method::GET, [thread, "runs", id]) => look(store, thread, id),
        (&Method::POST, [_, "runs", id, "cancel"]) => {
            let run = store.get("run", id).ok_or_else(|| missing("run", id))?;
            run.value["status"] = "cancelled".into();
            Ok(ok(&run.value))
        }
        _ => Err(no_method()),
    }
}

fn run(store: &mut Store, call: &Call, thread: &str) -> Answered {
    let assistant = required(call, "assistant_id")?;
    found(store, "thread", thread)?;
    let model = found(store, "assistant", assistant)?["model"].clone();
    let mut run = json!({
        "id": new_id("run_"), "object": "thread.run", "created_at": clock::now_secs(),
        "thread_id": thread, "assistant_id": assistant, "status": "queued", "model": model,
        "instructions": "", "tools": [], "metadata": {}, "usage": null, "last_error": null,
        "required_action": null, "incomplete_details": null,
    });
    if let Some(own) = call.member("model") {
        run["model"] = own.clone();
    }
    store.add_with("run", thread, run.clone(), bytes::Bytes::new());
    Ok(ok(&run))
}

fn look(store: &mut Store, thread: &str, id: &str) -> Answered {
    let run = store.get("run", id).ok_or_else(|| missing("run", id))?;
    if run.value["status"] != "queued" {
        return Ok(ok(&run.value));
    }
    run.value["status"] = "completed".into();
    run.value["completed_at"] = clock::now_secs().into();
    run.value["usage"] = json!({ "prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12 });
    let (shown, assistant) = (run.value.clone(), run.value["assistant_id"].clone());
    say(store, thread, "assistant", "Hello from the Azure simulator.", assistant);
    Ok(ok(&shown))
}

fn say(store: &mut Store, thread: &str, role: &str, text: &str, assistant: Value) -> Value {
    let message = json!({
        "id": new_id("msg_"), "object": "thread.message", "created_at": clock::now_secs(),
        "thread_id": thread, "role": role, "assistant_id": assistant, "run_id": null,
        "status": "completed", "attachments": [], "metadata": {},
        "content": [{ "type": "text", "text": { "value": text, "annotations": [] } }],
    });
    store.add_with("message", thread, message.clone(), bytes::Bytes::new());
    message
}
