//! What becomes of messages for Claude on Foundry: nothing but the model.

use super::*;
use crate::llm::Wire;

fn claude(more: Value, model: Value) -> Plan {
    let mut options = json!({"azure_service": "azure-foundry", "azure_foundry_resource": "r",
        "azure_deployment_id": "claude-dep", "azure_foundry_path_prefix": "/anthropic/v1"});
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    plan(json!({}), options, model)
}

fn sent(plan: &Plan, path: &str, body: &str) -> Result<String, String> {
    let prepared = send(plan, path, &[], body).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(prepared.body.unwrap().to_vec()).unwrap())
}

const MESSAGE: &str = r#"{ "max_tokens":1e2, "model" : "claude", "thinking":{"type":"enabled"},
  "stream":true,"top_k":3,"system":[{"type":"text","text":"\u00e9","cache_control":{}}],
  "messages":[],"x":12345678901234567890 }"#;

#[test]
fn a_message_keeps_its_bytes_but_for_the_model() {
    let plan = claude(json!({}), json!({"name": "claude"}));
    assert_eq!(plan.wire(), Wire::Messages);
    let expected = MESSAGE.replace(r#""claude""#, r#""claude-dep""#);
    assert_eq!(sent(&plan, "/v1/messages", MESSAGE), Ok(expected.clone()));
    assert_eq!(sent(&plan, "/v1/messages/count_tokens", MESSAGE), Ok(expected));
    let prepared = prepare(&plan, &Method::POST, "/v1/messages", &[], MESSAGE, true).unwrap();
    assert!(prepared.stream && !prepared.hides_usage && !prepared.is_checked);
    let named = claude(json!({"azure_deployment_id": null}), json!({"name": null}));
    assert_eq!(sent(&named, "/", MESSAGE), Ok(MESSAGE.to_owned()), "the client's own model");
    let other = sent(&plan, "/", r#"{"model":"other"}"#);
    assert_eq!(other, Err("cannot use own model - must be: claude".to_owned()));
    assert!(sent(&plan, "/", "[]").is_err());
}

#[test]
fn options_of_the_configuration_win_where_a_length_is_not_asked() {
    let options = json!({"max_tokens": 5, "temperature": 0.5, "top_k": 2});
    let plan = claude(options, json!({"name": "claude"}));
    let body = r#"{"model":"claude","max_tokens":9,"messages":[]}"#;
    let expected =
        r#"{"model":"claude-dep","max_tokens":5,"messages":[],"temperature":0.5,"top_k":2}"#;
    assert_eq!(sent(&plan, "/v1/messages", body).as_deref(), Ok(expected));
    let counted = r#"{"model":"claude-dep","max_tokens":9,"messages":[]}"#;
    assert_eq!(sent(&plan, "/v1/messages/count_tokens", body).as_deref(), Ok(counted));
}

#[test]
fn the_version_is_the_clients_the_configurations_or_the_first() {
    let version = |options: Value| {
        let plan = claude(options, json!({}));
        plan.anthropic_version().unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!(version(json!({})), "2023-06-01");
    assert_eq!(version(json!({"anthropic_version": "2024-01-01"})), "2024-01-01");
    assert_eq!(plan(json!({}), json!({}), json!({})).anthropic_version(), None);
    let bad = invalid(json!({}), json!({"anthropic_version": "a\nb"}), json!({}));
    assert_eq!(bad, "model.options.anthropic_version: not valid in an HTTP header");
}

#[test]
fn a_stream_of_messages_follows_the_policy() {
    let of = |streaming| {
        let options = json!({"azure_service": "azure-foundry", "azure_foundry_resource": "r",
            "azure_foundry_path_prefix": "/anthropic/v1"});
        Plan::new(&target(json!({}), options, json!({})), streaming).unwrap()
    };
    let body = r#"{"messages":[],"model":"gpt-4o"}"#;
    let always = of(ResponseStreaming::Always);
    let said = sent(&always, "/v1/messages", body).unwrap();
    assert_eq!(said, r#"{"messages":[],"model":"gpt-4o-dep","stream":true}"#);
    let said = sent(&always, "/v1/messages/count_tokens", body).unwrap();
    assert!(!said.contains("stream"), "{said}");
    assert!(sent(&of(ResponseStreaming::Deny), "/", r#"{"stream":true}"#).is_err());
}
