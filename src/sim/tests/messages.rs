//! Claude on Foundry: what it answers and what it refuses.

use serde_json::{Value, json};

use super::*;

const MESSAGES: &str = "/anthropic/v1/messages";
const COUNT: &str = "/anthropic/v1/messages/count_tokens";
const VERSION: (&str, &str) = ("anthropic-version", "2023-06-01");
const SIGNED: [(&str, &str); 2] = [("x-api-key", "sim-key"), VERSION];
const HI: &str =
    r#"{"model":"claude","max_tokens":64,"messages":[{"role":"user","content":"hi you"}]}"#;

#[tokio::test]
async fn a_message_is_answered_plain_and_as_a_stream() {
    let sim = start(Options::default());
    let whole = post(&sim, MESSAGES, &SIGNED, HI).await.json();
    let text = "Hello from the Azure simulator. You said: hi you";
    assert_eq!(whole["content"], json!([{"type": "text", "text": text}]));
    assert_eq!((&whole["model"], &whole["stop_reason"]), (&json!("claude"), &json!("end_turn")));
    assert_eq!(whole["usage"]["input_tokens"], 5);
    let body = HI.replace(r#""max_tokens":64"#, r#""max_tokens":64,"stream":true"#);
    let stream = post(&sim, MESSAGES, &SIGNED, &body).await;
    let frames = stream.text();
    let events: Vec<Value> = frames
        .lines()
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
        .collect();
    let names: Vec<_> = frames.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(names, kinds);
    assert_eq!((kinds[0], *kinds.last().unwrap()), ("message_start", "message_stop"));
    let said: String = events.iter().filter_map(|e| e["delta"]["text"].as_str()).collect();
    assert_eq!(said, text);
    let counted = HI.replace(r#""max_tokens":64,"#, "");
    let counted = post(&sim, COUNT, &SIGNED, &counted).await.json();
    assert_eq!(counted, json!({"input_tokens": 5}));
}

#[tokio::test]
async fn requests_are_refused_as_foundry_does() {
    let sim = start(Options { deployments: vec!["claude".into()], ..Options::default() });
    let missing = HI.replace(r#""max_tokens":64,"#, "");
    let options = HI.replacen('{', r#"{"stream_options":{},"#, 1);
    let cases = [
        (MESSAGES, &SIGNED[..1], HI.to_owned(), 400, "anthropic-version: header is required"),
        (MESSAGES, &SIGNED[..], missing, 400, "max_tokens: Field required"),
        (MESSAGES, &SIGNED[..], options, 400, "stream_options: Extra inputs are not permitted"),
        (COUNT, &SIGNED[..], HI.to_owned(), 400, "max_tokens: Extra inputs are not permitted"),
        (MESSAGES, &SIGNED[..], "{}".to_owned(), 400, "model: Field required"),
        (MESSAGES, &[VERSION][..], HI.to_owned(), 401, ""),
        (MESSAGES, &[("api-key", "sim-key"), VERSION][..], HI.to_owned(), 401, ""),
        (MESSAGES, &SIGNED[..], HI.replace("claude", "other"), 404, ""),
        ("/anthropic/v1/models", &SIGNED[..], HI.to_owned(), 404, ""),
        ("/anthropic/v1/messages/batches", &SIGNED[..], HI.to_owned(), 404, ""),
        ("/openai/v1/messages", &[KEY][..], HI.to_owned(), 404, ""),
    ];
    for (path, headers, body, status, message) in cases {
        let got = post(&sim, path, headers, &body).await;
        assert_eq!(got.status, status, "{path} {body}: {}", got.text());
        if !message.is_empty() {
            assert_eq!(got.json()["error"]["message"], message);
            assert_eq!(got.json()["type"], "error");
        }
    }
    let limited = post(&sim, MESSAGES, &SIGNED, &HI.replace("hi you", "[[fault-429]]")).await;
    assert_eq!((limited.status, limited.header("retry-after")), (429, Some("2")));
    assert_eq!(limited.json()["error"]["type"], "rate_limit_error");
    let bearer = ("authorization", "Bearer sim-key");
    assert_eq!(post(&sim, MESSAGES, &[bearer, VERSION], HI).await.status, 200);
}
