//! Tokens and money: what the gateway asks of a model to count them, what clients see of it, and
//! what is told.

use serde_json::{Value, json};
use silverback::sim::{Options, Sim};

use super::azure_scene::{STREAM, Scene, Target};
use super::gateway::TestGateway;
use super::stream_ends::{Client, LogPipe};

/// The events of an answer, `[DONE]` and all.
fn events(body: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(body).unwrap();
    text.split("\n\n").filter(|event| !event.is_empty()).map(str::to_owned).collect()
}

/// The event that `include_usage` brings.
fn is_usage(event: &str) -> bool {
    let data = event.strip_prefix("data: ").and_then(|data| serde_json::from_str(data).ok());
    data.is_some_and(|data: Value| data["choices"] == json!([]) && data["usage"].is_object())
}

#[tokio::test]
async fn a_stream_is_counted_by_the_model_and_its_client_sees_nothing_of_it() {
    let mut log = LogPipe::open();
    let scene = Scene::start(&Target::with_key().plugin(&log.plugin()));
    let answer = scene.gateway.post("/chat", STREAM).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let seen: Value = serde_json::from_slice(&scene.chats()[0].body).unwrap();
    assert_eq!(seen["stream_options"], json!({"include_usage": true}));
    let events = events(&answer.body);
    assert!(!events.iter().any(|event| is_usage(event)), "{events:?}");
    assert_eq!(events.last().map(String::as_str), Some("data: [DONE]"));
    let usage = log.record().await["ai"]["proxy"]["usage"].clone();
    // The simulator counts three for a message and one for a word.
    assert_eq!((&usage["prompt_tokens"], &usage["estimated"]), (&json!(6), &Value::Null));
    let words = events.iter().filter(|event| event.contains(r#""content":""#)).count();
    assert_eq!(usage["completion_tokens"], json!(words - 1), "one begins without text: {usage}");
}

#[tokio::test]
async fn a_client_that_asks_for_the_tokens_gets_them() {
    let scene = Scene::start(&Target::with_key());
    let asks = STREAM.replacen('{', r#"{"stream_options":{"include_usage":true},"#, 1);
    let answer = scene.gateway.post("/chat", &asks).await;
    let events = events(&answer.body);
    assert!(is_usage(&events[events.len() - 2]), "{events:?}");
    let sent = String::from_utf8(scene.chats()[0].body.to_vec()).unwrap();
    assert!(sent.starts_with(&asks[..asks.len() - 1]), "{sent}");
}

#[tokio::test]
async fn an_api_version_that_knows_no_such_option_is_not_asked_and_estimated() {
    let mut log = LogPipe::open();
    let scene = Scene::start(&Target::with_key().plugin(&log.plugin()));
    let answer = scene.gateway.post("/chat?api-version=2024-06-01", STREAM).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let usage = log.record().await["ai"]["proxy"]["usage"].clone();
    assert_eq!(usage["estimated"], true, "{usage}");
}

#[tokio::test]
async fn what_a_client_does_not_wait_for_is_estimated_and_says_so() {
    let mut log = LogPipe::open();
    let scene = Scene::start(&Target::with_key().plugin(&log.plugin()));
    let rule = silverback::sim::Rule { chunk_delay_ms: Some(60_000), ..Default::default() };
    scene.sim.fault(rule).unwrap();
    let mut client = Client::post(scene.gateway.address, "/chat", "", STREAM).await;
    client.head().await;
    client.event().await.unwrap();
    drop(client);
    let usage = log.record().await["ai"]["proxy"]["usage"].clone();
    assert_eq!((&usage["estimated"], &usage["prompt_tokens"]), (&json!(true), &json!(5)));
}

#[tokio::test]
async fn a_limit_counts_what_a_stream_has_used_though_nobody_logs_it() {
    let sim = Sim::start(Options::default()).unwrap();
    let config = |plugins: &str| {
        format!(
            "_format_version: '3.0'
services:
- name: s
  url: http://localhost:1
  routes:
  - name: r
    paths: [/chat]
    plugins:
    - name: ai-proxy-advanced
      config:
        targets:
        - route_type: llm/v1/chat
          auth: {{header_name: api-key, header_value: sim-key}}
          model:
            provider: azure
            name: gpt-4o
            options: {{azure_instance: i, azure_deployment_id: d, azure_api_version: v1,
              upstream_url: '{}/openai/v1/chat/completions'}}
{plugins}",
            sim.url()
        )
    };
    let plain = TestGateway::start(&config(""));
    plain.post("/chat", STREAM).await;
    let mut log = LogPipe::open();
    let limits = format!(
        "    - name: ai-rate-limiting-advanced
      config:
        llm_providers: [{{name: azure, limit: [1000], window_size: [31536000]}}]
        window_type: fixed
    - {}
",
        log.plugin()
    );
    let limited = TestGateway::start(&config(&limits));
    let first = limited.post("/chat", STREAM).await;
    log.record().await;
    let last = limited.post("/chat", STREAM).await;
    let asked: Vec<bool> = sim
        .requests()
        .iter()
        .map(|seen| seen.json().unwrap()["stream_options"].is_object())
        .collect();
    assert_eq!(asked, [false, true, true], "nobody wants to know but the limit");
    let words = events(&first.body).iter().filter(|e| e.contains(r#""content":""#)).count() - 1;
    let left = last.header("x-ai-ratelimit-remaining-year-azure").unwrap();
    let used = 6 + words;
    assert_eq!(left, (1000 - used - 3).to_string(), "and the estimate of the second");
}

#[tokio::test]
async fn filter_events_are_folded_or_dropped_for_clients_that_stumble_over_them() {
    for (mode, tells) in [("raw", true), ("fold", true), ("drop", false)] {
        let target = Target::with_key().option(&format!("azure_filter_events: {mode}"));
        let scene = Scene::start(&target);
        for prompt in ["plain", "[[fault-async-filter]]", "[[fault-crlf]]", "[[fault-one-byte]]"] {
            let body = json!({"stream": true, "messages": [{"role": "user", "content": prompt}]});
            let answer = scene.gateway.post("/chat", &body.to_string()).await;
            let text = answer.text().replace("\r\n", "\n");
            let events = text.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
            let events = events.filter_map(|data| serde_json::from_str::<Value>(data).ok());
            let strict = events.filter(|event| {
                let choices = event["choices"].as_array().unwrap();
                choices.is_empty() || choices.iter().any(|choice| choice["delta"].is_null())
            });
            assert_eq!(strict.count() > 0, mode == "raw", "{mode} {prompt}: {text}");
            assert_eq!(text.contains("prompt_filter_results"), tells, "{mode} {prompt}: {text}");
            assert!(text.ends_with("data: [DONE]\n\n"), "{mode} {prompt}: {text}");
        }
    }
}
