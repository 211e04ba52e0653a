//! Clients of Anthropic's Messages API on a deployment of Azure.

use serde_json::{Value, json};

use super::azure_scene::{Scene, Target};
use super::gateway::{Builder, TestGateway};
use super::http::{Message, Upstream};

const MESSAGES: &str = "/chat/v1/messages";

fn target() -> Target {
    Target::with_key().config("llm_format: anthropic")
}

/// A request with these words and members.
fn request(prompt: &str, more: Value) -> String {
    let mut request = json!({
        "model": "gpt-4o", "max_tokens": 64, "system": "be brief",
        "messages": [{"role": "user", "content": [{"type": "text", "text": prompt}]}],
    });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request.to_string()
}

async fn say(gateway: &TestGateway, prompt: &str, more: Value) -> Message {
    gateway.post(MESSAGES, &request(prompt, more)).await
}

/// Names and data of the events of a stream.
pub fn events(message: &Message) -> Vec<(String, Value)> {
    let text = message.text();
    let event = |event: &str| {
        let (name, data) = event.split_once('\n').unwrap();
        let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        (name.strip_prefix("event: ").unwrap().to_owned(), data)
    };
    text.split_terminator("\n\n").map(event).collect()
}

#[tokio::test]
async fn a_message_is_answered_by_a_chat_model() {
    let scene = Scene::start(&target());
    let answer = say(&scene.gateway, "hello", json!({"stop_sequences": ["x"]})).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(answer.header("x-kong-llm-model"), Some("azure/gpt-4o"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = answer.json();
    assert_eq!((&body["type"], &body["role"]), (&json!("message"), &json!("assistant")));
    assert!(body["id"].as_str().unwrap().starts_with("msg_"), "{body}");
    assert!(body["content"][0]["text"].as_str().unwrap().contains("hello"), "{body}");
    assert_eq!((&body["stop_reason"], &body["stop_sequence"]), (&json!("end_turn"), &Value::Null));
    assert!(body["usage"]["output_tokens"].as_u64().unwrap() > 0);
    let sent: Value = serde_json::from_slice(&scene.chats()[0].body).unwrap();
    assert_eq!(sent["messages"][0], json!({"role": "system", "content": "be brief"}));
    assert_eq!((&sent["max_tokens"], &sent["stop"]), (&json!(64), &json!(["x"])));
    assert!(sent.get("system").is_none());
}

#[tokio::test]
async fn a_stream_has_anthropics_events_and_the_tokens_of_the_model() {
    let scene = Scene::start(&target());
    let whole = say(&scene.gateway, "one two three", json!({})).await.json();
    let stream = say(&scene.gateway, "one two three", json!({"stream": true})).await;
    assert_eq!(stream.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let events = events(&stream);
    let names: Vec<_> = events.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names[..3], ["message_start", "ping", "content_block_start"]);
    let end = names.len() - 3;
    assert_eq!(names[end..], ["content_block_stop", "message_delta", "message_stop"]);
    let deltas = &events[3..end];
    let text: String = deltas.iter().map(|(_, e)| e["delta"]["text"].as_str().unwrap()).collect();
    assert_eq!(json!(text), whole["content"][0]["text"]);
    assert_eq!(events[end + 1].1["usage"], whole["usage"]);
    assert!(!stream.text().contains("[DONE]"));
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_an_error_event() {
    let scene = Scene::start(&target());
    for fault in ["[[fault-cut-stream-3]]", "[[fault-cut-700]]"] {
        let prompt = format!("one two three four {fault}");
        let stream = say(&scene.gateway, &prompt, json!({"stream": true})).await;
        let (name, data) = events(&stream).pop().unwrap();
        assert_eq!((&*name, &data["error"]["type"]), ("error", &json!("api_error")), "{fault}");
    }
}

#[tokio::test]
async fn errors_of_the_model_have_anthropics_shape() {
    let scene = Scene::start(&target());
    for (fault, status, kind) in [
        ("[[fault-429]]", 429, "rate_limit_error"),
        ("[[fault-401]]", 401, "authentication_error"),
        ("[[fault-500]]", 500, "api_error"),
        ("[[fault-503-html]]", 503, "overloaded_error"),
        ("[[fault-content-filter]]", 400, "invalid_request_error"),
    ] {
        for stream in [false, true] {
            let answer = say(&scene.gateway, fault, json!({ "stream": stream })).await;
            assert_eq!(answer.status(), status, "{fault}");
            assert_eq!(answer.header("content-type"), Some("application/json"), "{fault}");
            let body = answer.json();
            assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!(kind)));
            assert!(body["error"]["message"].is_string() && body["request_id"].is_string());
            assert_eq!(answer.header("retry-after").is_some(), status == 429, "{fault}");
            assert_eq!(body["error"]["innererror"].is_object(), status == 400, "{body}");
        }
    }
}

#[tokio::test]
async fn what_the_plugin_refuses_has_anthropics_shape() {
    let scene = Scene::start(&target());
    let tool = json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]});
    for (more, expected) in [
        (json!({"model": "claude"}), "cannot use own model - must be: gpt-4o"),
        (json!({"messages": []}), "request body doesn't contain valid prompts"),
        (tool, "tools.0: a tool of type 'web_search_20250305' cannot be offered to this model"),
    ] {
        let answer = say(&scene.gateway, "hi", more).await;
        let body = answer.json();
        assert_eq!((answer.status(), &body["error"]["message"]), (400, &json!(expected)));
        assert_eq!(body["error"]["type"], "invalid_request_error");
    }
    assert!(scene.chats().is_empty());
}

#[tokio::test]
async fn tokens_are_estimated_without_a_model() {
    let scene = Scene::start(&target());
    let path = "/chat/v1/messages/count_tokens";
    let counted = scene.gateway.post(path, &request("one two three", json!({}))).await;
    assert_eq!((counted.status(), counted.json()), (200, json!({"input_tokens": 5})));
    assert_eq!(scene.gateway.post(path, "{").await.status(), 400);
    assert!(scene.chats().is_empty());
}

/// A model that calls a tool.
async fn caller() -> Upstream {
    let call = json!({"id": "call_1", "type": "function",
        "function": {"name": "look", "arguments": "{\"n\":1e2}"}});
    let body = json!({"id": "chatcmpl-1", "model": "m", "choices": [{"index": 0,
        "finish_reason": "tool_calls",
        "message": {"role": "assistant", "content": null, "tool_calls": [call]}}],
        "usage": {"prompt_tokens": 30, "completion_tokens": 10, "total_tokens": 40}});
    let body = body.to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
    let reply = format!("{head}{}\r\n\r\n{body}", body.len());
    Upstream::replying(Box::leak(reply.into_bytes().into_boxed_slice())).await
}

#[tokio::test]
async fn a_tool_is_called_and_its_tokens_are_limited() {
    let model = caller().await;
    let config = format!(
        "_format_version: '3.0'
services:
- name: s
  url: http://localhost:1
  routes:
  - name: r
    paths: [/chat]
    plugins:
    - name: ai-rate-limiting-advanced
      config:
        llm_format: anthropic
        window_type: fixed
        llm_providers: [{{name: azure, limit: [60], window_size: [31536000]}}]
    - name: ai-proxy
      config:
        llm_format: anthropic
        route_type: llm/v1/chat
        auth: {{header_name: api-key, header_value: x}}
        model:
          provider: azure
          name: gpt-4o
          options: {{azure_instance: i, azure_deployment_id: d,
            upstream_url: 'http://{}/'}}
",
        model.address
    );
    let gateway = TestGateway::start(&config);
    let tools = json!({
        "tools": [{"name": "look", "input_schema": {"type": "object", "x": 1.0}}],
        "tool_choice": {"type": "any"},
    });
    let answer = say(&gateway, "hi", tools).await;
    assert!(answer.text().contains(r#""input":{"n":1e2}"#), "{}", answer.text());
    assert_eq!(answer.json()["stop_reason"], "tool_use");
    let sent = model.seen()[0].text();
    assert!(sent.contains(r#""parameters":{"type":"object","x":1.0}"#), "{sent}");
    assert!(sent.contains(r#""tool_choice":"required""#), "{sent}");
    let second = say(&gateway, "hi", json!({})).await;
    let left = second.header("x-ai-ratelimit-remaining-year-azure");
    assert_eq!((second.status(), left), (200, Some("17")), "60 but 40 and the words now reserved");
    assert_eq!(say(&gateway, "hi", json!({})).await.status(), 429);
}

#[tokio::test]
async fn a_format_or_route_type_that_is_not_built_is_refused_at_load() {
    for (line, route, expected) in [
        ("llm_format: cohere", "llm/v1/chat", "config.llm_format: 'cohere' is not built yet"),
        (
            "llm_format: anthropic",
            "llm/v1/embeddings",
            "config.targets[0].route_type: llm_format anthropic takes llm/v1/chat only",
        ),
    ] {
        let yaml = Target::with_key().config(line).yaml("http://127.0.0.1:1");
        let yaml = yaml.replace("route_type: llm/v1/chat", &format!("route_type: {route}"));
        let refused = Builder::default().try_start(&yaml).err().unwrap();
        assert!(refused.iter().any(|line| line.contains(expected)), "{refused:?}");
    }
}
