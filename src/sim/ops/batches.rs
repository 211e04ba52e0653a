//! `/batches`: work on an uploaded file, in the states that Azure shows one after another.
//!
//! Each look at a batch moves it on: validating, in_progress, completed.

use http::Method;
use serde_json::{Value, json};

use super::super::call::Call;
use super::super::clock;
use super::super::state::State;
use super::store::{Store, new_id};
use super::{Answered, bad, files, missing, no_method, ok, required};

const KIND: &str = "batch";

/// Lines of a batch that are worked on.
const LINES_MAX: usize = 10_000;

const DAY_SECS: u64 = 86_400;

pub(super) fn reply(state: &State, call: &Call) -> Answered {
    let mut store = state.store();
    let rest: Vec<&str> = call.rest().iter().map(String::as_str).collect();
    match (&call.head.method, rest.as_slice()) {
        (&Method::GET, []) => Ok(ok(&store.list(KIND, "", call))),
        (&Method::POST, []) => create(&mut store, call),
        (&Method::GET, [id]) => look(&mut store, id),
        (&Method::POST, [id, "cancel"]) => {
            let batch = store.get(KIND, id).ok_or_else(|| missing(KIND, id))?;
            if batch.value["status"] == "completed" {
                return Err(bad("", "Cannot cancel a batch with status 'completed'."));
            }
            batch.value["status"] = "cancelling".into();
            batch.value["cancelling_at"] = clock::now_secs().into();
            Ok(ok(&batch.value))
        }
        _ => Err(no_method()),
    }
}

fn create(store: &mut Store, call: &Call) -> Answered {
    let input = required(call, "input_file_id")?;
    let endpoint = required(call, "endpoint")?;
    if required(call, "completion_window")? != "24h" {
        let text = "Invalid value: 'completion_window' must be '24h'.";
        return Err(bad("completion_window", text));
    }
    store.get("file", input).ok_or_else(|| missing("file", input))?;
    let now = clock::now_secs();
    let batch = json!({
        "id": new_id("batch_"),
        "object": "batch",
        "endpoint": endpoint,
        "errors": null,
        "input_file_id": input,
        "completion_window": "24h",
        "status": "validating",
        "output_file_id": null,
        "error_file_id": null,
        "created_at": now,
        "in_progress_at": null,
        "expires_at": now + DAY_SECS,
        "completed_at": null,
        "request_counts": { "total": 0, "completed": 0, "failed": 0 },
        "metadata": call.member("metadata").cloned().unwrap_or(Value::Null),
    });
    store.add(KIND, batch.clone());
    Ok(ok(&batch))
}

fn look(store: &mut Store, id: &str) -> Answered {
    let batch = store.get(KIND, id).ok_or_else(|| missing(KIND, id))?.value.clone();
    let next = match batch["status"].as_str() {
        Some("validating") => "in_progress",
        Some("in_progress") => "completed",
        Some("cancelling") => "cancelled",
        _ => return Ok(ok(&batch)),
    };
    let input = batch["input_file_id"].as_str().unwrap_or_default();
    let data = store.get("file", input).map(|file| file.data.clone()).unwrap_or_default();
    let text = String::from_utf8_lossy(&data);
    let lines = text.lines().filter(|line| !line.trim().is_empty()).take(LINES_MAX);
    let answers: Vec<String> = lines.map(answer).collect();
    let output = (next == "completed").then(|| {
        let text = answers.join("\n") + "\n";
        files::keep(store, "output.jsonl", "batch_output", text.into())["id"].clone()
    });
    let value = &mut store.get(KIND, id).ok_or_else(|| missing(KIND, id))?.value;
    value["status"] = next.into();
    value[format!("{next}_at")] = clock::now_secs().into();
    value["request_counts"]["total"] = answers.len().into();
    if let Some(output) = output {
        value["output_file_id"] = output;
        value["request_counts"]["completed"] = answers.len().into();
    }
    Ok(ok(value))
}

/// One line of the output.
fn answer(line: &str) -> String {
    let asked: Value = serde_json::from_str(line).unwrap_or_default();
    let body = json!({
        "id": new_id("chatcmpl-sim"),
        "object": "chat.completion",
        "created": clock::now_secs(),
        "model": asked["body"]["model"],
        "choices": [{
            "index": 0,
            "finish_reason": "stop",
            "message": { "role": "assistant", "content": "Hello from the Azure simulator." },
        }],
        "usage": { "prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 9 },
    });
    let line = json!({
        "id": new_id("batch_req_"),
        "custom_id": asked["custom_id"],
        "response": { "status_code": 200, "request_id": new_id("req_"), "body": body },
        "error": null,
    });
    line.to_string()
}
