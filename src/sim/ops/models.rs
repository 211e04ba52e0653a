//! `/models`: what there is to ask. Azure lists models, not deployments.

use http::Method;
use serde_json::{Value, json};

use super::super::call::Call;
use super::super::state::State;
use super::{Answered, missing, no_method, ok};

pub(super) fn reply(state: &State, call: &Call) -> Answered {
    if call.head.method != Method::GET {
        return Err(no_method());
    }
    let model = |id: &str| {
        json!({
            "id": id,
            "object": "model",
            "created": 1_731_974_400,
            "created_at": 1_731_974_400,
            "owned_by": "azure-openai",
            "status": "succeeded",
            "lifecycle_status": "generally-available",
            "capabilities": {
                "chat_completion": true, "completion": false, "embeddings": false,
                "fine_tune": false, "inference": true,
            },
        })
    };
    let known: Vec<&str> = match state.options.deployments.as_slice() {
        [] => vec![&state.options.model],
        listed => listed.iter().map(String::as_str).collect(),
    };
    match call.rest() {
        [] => {
            let data: Vec<Value> = known.into_iter().map(model).collect();
            Ok(ok(&json!({ "object": "list", "data": data })))
        }
        [info] if info == "info" && call.is_inference() => Ok(ok(&json!({
            "model_name": state.options.model,
            "model_type": "chat_completion",
            "model_provider_name": "azure-openai",
        }))),
        [id] if known.contains(&id.as_str()) => Ok(ok(&model(id))),
        [id, ..] => Err(missing("model", id)),
    }
}
