//! Replies and refusals of the model endpoints, held against the vectors.

use serde_json::{Value, json};

use super::*;

#[tokio::test]
async fn a_chat_reply_has_azures_shape_and_says_the_prompt_back() {
    let sim = start(Options::default());
    let got = post(&sim, CHAT, &[KEY, ("x-ms-client-request-id", "mine")], HELLO).await;
    assert_eq!(got.status, 200);
    assert_eq!(shape(&got.json()), shape(&vector("chat-01-plain")["response"]["body"]));
    assert_eq!(got.message(), "Hello from the Azure simulator. You said: hello \"there\"");
    let usage = &got.json()["usage"];
    assert_eq!(usage["prompt_tokens"], 5);
    assert_eq!(usage["completion_tokens"], 9);
    assert_eq!(usage["total_tokens"], 14);
    for (name, _) in vector("chat-01-plain")["response"]["headers"].as_object().unwrap() {
        assert!(got.header(name).is_some(), "{name} is missing");
    }
    assert_eq!(got.header("x-ms-client-request-id"), Some("mine"));
}

#[tokio::test]
async fn a_stream_has_azures_odd_events_each_in_its_own_chunk() {
    let sim = start(Options::default());
    let body = STREAM.replace("true", r#"true,"stream_options":{"include_usage":true}"#);
    let got = post(&sim, CHAT, &[KEY], &body).await;
    assert_eq!(got.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let events = got.events();
    assert!(got.complete && got.chunks.len() == events.len());
    assert_eq!(events.last().unwrap(), "[DONE]");
    let parsed: Vec<Value> =
        events[..events.len() - 1].iter().map(|e| serde_json::from_str(e).unwrap()).collect();

    let wire = vector("stream-07-include-usage")["response"]["wire_text"].clone();
    let wanted: Vec<Value> = wire.as_str().unwrap().split("\n\n").filter_map(event_json).collect();
    let n = wanted.len();
    for (ours, theirs) in [(0, 0), (1, 1), (2, 2), (parsed.len() - 2, n - 2)] {
        assert_eq!(shape(&parsed[ours]), shape(&wanted[theirs]), "event {ours}");
    }
    let said: String =
        parsed.iter().filter_map(|e| e["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(said, "Hello from the Azure simulator. You said: hello");
    assert_eq!(parsed.last().unwrap()["usage"]["completion_tokens"], 8);
    assert_eq!(parsed.last().unwrap()["choices"], json!([]));
}

fn event_json(block: &str) -> Option<Value> {
    serde_json::from_str(block.strip_prefix("data: ")?).ok()
}

#[tokio::test]
async fn without_stream_options_no_event_carries_usage() {
    let sim = start(Options { stream_events: 4, ..Options::default() });
    let got = post(&sim, CHAT, &[KEY], STREAM).await;
    assert!(!got.text().contains("usage"));
    // The first event, the role, four of text, the finish reason and [DONE].
    assert_eq!(got.events().len(), 8);
}

#[tokio::test]
async fn the_v1_surface_takes_the_deployment_from_the_body_and_keys_as_bearer_tokens() {
    let sim = start(Options::default());
    let body = r#"{"model":"mine","messages":[{"role":"user","content":"hi"}]}"#;
    let path = "/openai/v1/chat/completions";
    let bearer = ("authorization", "Bearer sim-key");
    let got = post(&sim, path, &[bearer], body).await;
    assert_eq!((got.status, got.header("x-ms-deployment-name")), (200, Some("mine")));
    let dated = post(&sim, CHAT, &[bearer], HELLO).await;
    assert_eq!(dated.status, 401, "on the dated surface a key is no token");
    let unnamed = post(&sim, path, &[bearer], HELLO).await;
    assert_eq!(unnamed.json()["error"]["message"], "you must provide a model parameter");
    let with_date = post(&sim, &format!("{path}?api-version=2024-10-21"), &[bearer], body).await;
    assert_eq!(with_date.json()["error"]["message"], "API version not supported");
}

#[tokio::test]
async fn refusals_have_the_bodies_of_the_vectors() {
    let sim = start(Options { deployments: vec!["gpt-4o".into()], ..Options::default() });
    let no_version = CHAT.split('?').next().unwrap();
    let elsewhere = chat_path("gpt-5-unlisted");
    let blocked = r#"{"messages":[{"role":"user","content":"[[fault-content-filter]]"}]}"#;
    let cases = [
        ("err-01-401-bad-key", CHAT, vec![("api-key", "other")], HELLO),
        ("err-02-401-token-audience", CHAT, vec![], HELLO),
        ("err-02-401-token-audience", CHAT, vec![("authorization", "Bearer no")], HELLO),
        ("err-07-404-deployment", &elsewhere, vec![KEY], HELLO),
        ("err-08-404-resource", no_version, vec![KEY], HELLO),
        ("err-08-404-resource", "/openai/deployments/gpt-4o/chat", vec![KEY], HELLO),
        ("err-09-400-content-filter-prompt", CHAT, vec![KEY], blocked),
    ];
    for (name, path, headers, body) in cases {
        let got = post(&sim, path, &headers, body).await;
        let wanted = &vector(name)["response"];
        assert_eq!(got.status, wanted["status"], "{name}");
        assert_eq!(got.json(), wanted["body"], "{name}");
        assert!(got.header("apim-request-id").is_some(), "{name}");
    }
}

#[tokio::test]
async fn a_resource_without_keys_takes_tokens_only() {
    let sim = start(Options { keys: Vec::new(), ..Options::default() });
    let got = post(&sim, CHAT, &[KEY], HELLO).await;
    assert_eq!(got.status, 403);
    assert_eq!(got.json(), vector("err-04-403-key-auth-disabled")["response"]["body"]);
}

#[tokio::test]
async fn members_that_the_version_or_the_model_does_not_know_are_refused() {
    let sim = start(Options::default());
    let streamed = r#"{"messages":[{"role":"user","content":"hi"}],"stream_options":{}}"#;
    let old = CHAT.replace("2024-10-21", "2023-05-15");
    let got = post(&sim, &old, &[KEY], streamed).await;
    assert_eq!(got.json(), vector("err-12-400-stream-options-old-api")["response"]["body"]);
    assert_eq!(post(&sim, CHAT, &[KEY], streamed).await.status, 200);

    let limited = r#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":2}"#;
    let got = post(&sim, &chat_path("o3-mini"), &[KEY], limited).await;
    assert_eq!(got.json(), vector("err-11-400-max-tokens")["response"]["body"]);
    let got = post(&sim, CHAT, &[KEY], limited).await;
    assert_eq!(
        (got.message().as_str(), &got.json()["choices"][0]["finish_reason"]),
        ("Hello from", &json!("length"))
    );
    for body in ["", "[]", "{}", "not json", r#"{"messages":[]}"#] {
        assert_eq!(post(&sim, CHAT, &[KEY], body).await.status, 400, "{body:?}");
    }
}

#[tokio::test]
async fn text_completions_and_embeddings_are_served() {
    let sim = start(Options::default());
    let path = CHAT.replace("chat/completions", "completions");
    let got = post(&sim, &path, &[KEY], r#"{"prompt":"hi"}"#).await;
    assert_eq!(got.json()["object"], "text_completion");
    assert!(got.json()["choices"][0]["text"].as_str().unwrap().ends_with("You said: hi"));
    let got = post(&sim, &path, &[KEY], r#"{"prompt":"hi","stream":true}"#).await;
    assert!(got.text().contains(r#""text":" hi""#) && !got.text().contains("delta"));

    let path = CHAT.replace("chat/completions", "embeddings");
    let body = r#"{"input":["a","b","a"],"dimensions":2}"#;
    let got = post(&sim, &path, &[KEY], body).await.json();
    let two = json!({ "object": "list", "model": got["model"], "usage": got["usage"],
        "data": [got["data"][0], got["data"][1]] });
    assert_eq!(shape(&two), shape(&vector("chat-10-embeddings")["response"]["body"]));
    assert_eq!(got["data"][0]["embedding"], got["data"][2]["embedding"]);
    assert_ne!(got["data"][0]["embedding"], got["data"][1]["embedding"]);
    let body = r#"{"input":"a","dimensions":2,"encoding_format":"base64"}"#;
    let got = post(&sim, &path, &[KEY], body).await.json();
    assert_eq!(got["data"][0]["embedding"].as_str().unwrap().len(), 12, "two floats in base64");
}
