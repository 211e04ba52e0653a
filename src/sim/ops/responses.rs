//! `/responses`: an answer as one object or as named events, and what is stored of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::super::answer;
use super::super::call::Call;
use super::super::clock;
use super::super::rule::Rule;
use super::super::state::State;
use super::super::wire::{Reply, Script};
use super::store::{Store, new_id};
use super::{Answered, bad, deleted, missing, no_method, object, ok};

const KIND: &str = "response";

pub(super) fn reply(state: &State, call: &Call, rule: &Rule) -> Answered {
    let rest: Vec<&str> = call.rest().iter().map(String::as_str).collect();
    match (&call.head.method, rest.as_slice()) {
        (&Method::POST, []) => create(state, call, rule),
        (&Method::GET, [id]) => {
            let mut store = state.store();
            let found = store.get(KIND, id).ok_or_else(|| missing(KIND, id))?;
            if found.value["status"] == "queued" {
                found.value["status"] = "completed".into();
            }
            Ok(ok(&found.value))
        }
        (&Method::DELETE, [id]) => match state.store().remove(KIND, id) {
            true => Ok(deleted("response.deleted", id)),
            false => Err(missing(KIND, id)),
        },
        (&Method::POST, [id, "cancel"]) => cancel(&mut state.store(), id),
        (&Method::GET, [id, "input_items"]) => input_items(&mut state.store(), id),
        _ => Err(no_method()),
    }
}

fn create(state: &State, call: &Call, rule: &Rule) -> Answered {
    let body = object(call)?;
    if body.get("input").is_none_or(Value::is_null) && body.get("prompt").is_none() {
        return Err(bad("input", "Missing required parameter: 'input'."));
    }
    let said = rule.content.clone().unwrap_or_else(|| {
        let asked: String = last_text(&body["input"]).chars().take(2000).collect();
        format!("Hello from the Azure simulator. You said: {asked}")
    });
    let pieces = answer::words(&said);
    let is_background = body["background"] == true;
    let mut response = response(state, body, &said, pieces.len(), is_background);
    rule.usage.iter().for_each(|more| answer::lay(&mut response["usage"], more));
    if body["store"] != false {
        let input = Bytes::from(body["input"].to_string());
        state.store().add_with(KIND, "", response.clone(), input);
    }
    if body["stream"] != true {
        return Ok(ok(&response));
    }
    let pieces = answer::regroup(pieces, state.options.stream_events);
    let frames: Arc<[Bytes]> = events(&response, &pieces).into();
    let delay = rule.chunk_delay_ms.map_or(state.event_delay(), Duration::from_millis);
    let script = Script::new(frames, delay).flush_each();
    Ok(Reply::script("text/event-stream; charset=utf-8", script))
}

fn response(
    state: &State,
    body: &Value,
    said: &str,
    output_tokens: usize,
    is_background: bool,
) -> Value {
    let input_tokens = last_text(&body["input"]).split_whitespace().count() + 3;
    let or = |name: &str, other: Value| match &body[name] {
        Value::Null => other,
        own => own.clone(),
    };
    json!({
        "id": new_id("resp_"),
        "object": "response",
        "created_at": clock::now_secs(),
        "status": if is_background { "queued" } else { "completed" },
        "background": is_background,
        "error": null,
        "incomplete_details": null,
        "instructions": or("instructions", Value::Null),
        "max_output_tokens": or("max_output_tokens", Value::Null),
        "metadata": or("metadata", json!({})),
        "model": state.options.model,
        "output": [message(said, "completed")],
        "parallel_tool_calls": true,
        "previous_response_id": or("previous_response_id", Value::Null),
        "reasoning": { "effort": null, "summary": null },
        "store": or("store", true.into()),
        "temperature": or("temperature", 1.0.into()),
        "text": { "format": { "type": "text" } },
        "tool_choice": "auto",
        "tools": or("tools", json!([])),
        "top_p": or("top_p", 1.0.into()),
        "truncation": "disabled",
        "usage": {
            "input_tokens": input_tokens,
            "input_tokens_details": { "cached_tokens": 0 },
            "output_tokens": output_tokens,
            "output_tokens_details": { "reasoning_tokens": 0 },
            "total_tokens": input_tokens + output_tokens,
        },
        "user": null,
        "content_filters": [],
    })
}

fn message(text: &str, status: &str) -> Value {
    json!({
        "id": new_id("msg_"),
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [{ "type": "output_text", "text": text, "annotations": [], "logprobs": [] }],
    })
}

/// The events in the order of the API; there is no `[DONE]`.
fn events(response: &Value, pieces: &[String]) -> Vec<Bytes> {
    let item = &response["output"][0];
    let (id, part) = (&item["id"], &item["content"][0]);
    let mut begun = response.clone();
    begun["status"] = "in_progress".into();
    begun["output"] = json!([]);
    begun["usage"] = Value::Null;
    let mut empty = item.clone();
    empty["status"] = "in_progress".into();
    empty["content"] = json!([]);
    let mut blank = part.clone();
    blank["text"] = "".into();
    let place = json!({ "item_id": id, "output_index": 0, "content_index": 0 });
    let at = |mut more: Value| {
        for name in ["item_id", "output_index", "content_index"] {
            more[name] = place[name].clone();
        }
        more
    };
    let mut all = vec![
        ("response.created", json!({ "response": begun })),
        ("response.in_progress", json!({ "response": begun })),
        ("response.output_item.added", json!({ "output_index": 0, "item": empty })),
        ("response.content_part.added", at(json!({ "part": blank }))),
    ];
    let delta = |piece: &String| {
        ("response.output_text.delta", at(json!({ "delta": piece, "logprobs": [] })))
    };
    all.extend(pieces.iter().map(delta));
    all.extend([
        ("response.output_text.done", at(json!({ "text": part["text"], "logprobs": [] }))),
        ("response.content_part.done", at(json!({ "part": part }))),
        ("response.output_item.done", json!({ "output_index": 0, "item": item })),
        ("response.completed", json!({ "response": response })),
    ]);
    let frame = |(number, (name, mut event)): (usize, (&str, Value))| {
        event["type"] = name.into();
        event["sequence_number"] = number.into();
        Bytes::from(format!("event: {name}\ndata: {event}\n\n"))
    };
    all.into_iter().enumerate().map(frame).collect()
}

/// Only what runs in the background can be cancelled.
fn cancel(store: &mut Store, id: &str) -> Answered {
    let found = store.get(KIND, id).ok_or_else(|| missing(KIND, id))?;
    if found.value["background"] != true {
        return Err(bad("", "Cannot cancel a synchronous response."));
    }
    if found.value["status"] == "queued" {
        found.value["status"] = "cancelled".into();
    }
    Ok(ok(&found.value))
}

fn input_items(store: &mut Store, id: &str) -> Answered {
    let found = store.get(KIND, id).ok_or_else(|| missing(KIND, id))?;
    let input: Value = serde_json::from_slice(&found.data).unwrap_or_default();
    let content = json!([{ "type": "input_text", "text": last_text(&input) }]);
    let item = json!({
        "id": id.replace("resp_", "msg_"), "type": "message", "role": "user",
        "status": "completed", "content": content,
    });
    Ok(ok(&json!({
        "object": "list", "has_more": false, "first_id": item["id"], "last_id": item["id"],
        "data": [item],
    })))
}

/// The text of an input: itself, or that of its last message.
pub(in super::super) fn last_text(input: &Value) -> String {
    match input {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.last().map(last_text).unwrap_or_default(),
        item => match item.get("content").or_else(|| item.get("text")) {
            Some(inner) => last_text(inner),
            None => String::new(),
        },
    }
}
