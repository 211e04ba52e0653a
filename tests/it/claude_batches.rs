//! Batches of messages for Claude on Foundry, and limits of tokens in front of it.

use serde_json::{Value, json};
use silverback::sim::{Options, Rule, Sim};

use super::claude::{KEY, MESSAGES, chats, claude, config, message};
use super::gateway::TestGateway;
use super::messages::events;

const BATCHES: &str = "/agents/v1/messages/batches";

/// A Claude that keeps batches: all that is asked about them gets this answer.
fn keeping_batches(answer: &Value) -> Sim {
    let sim = Sim::start(Options::default()).unwrap();
    let path = Some("/anthropic/v1/messages/batches*".to_owned());
    sim.fault(Rule { path, body: Some(answer.clone()), ..Rule::default() }).unwrap();
    sim
}

#[tokio::test]
async fn a_batch_goes_to_claude_as_it_came_but_for_its_models() {
    let sim = keeping_batches(&json!({"id": "msgbatch_1", "type": "message_batch"}));
    let gateway = TestGateway::start(&config(&[claude(&sim.url(), KEY)], ""));
    let body = r#"{ "requests" : [ {"custom_id":"a", "params": {"model":"claude" ,"max_tokens":1E1,
      "messages":[{"role":"user","content":"h\u00e9"}]}},
      {"params":{"messages":[]},"custom_id":"b"} , 7 ] ,"later":1.0}"#;
    let answer = gateway.post(BATCHES, body).await;
    assert_eq!((answer.status(), &answer.json()["id"]), (200, &json!("msgbatch_1")));
    assert_eq!(answer.header("x-kong-llm-model"), Some("azure/claude"));
    let seen = sim.last().unwrap();
    assert_eq!(seen.target(), "/anthropic/v1/messages/batches");
    assert_eq!(seen.header("anthropic-version"), Some("2023-06-01"));
    let expected = body
        .replace(r#""claude""#, r#""claude-dep""#)
        .replace(r#"{"messages":[]}"#, r#"{"messages":[],"model":"claude-dep"}"#);
    assert_eq!(String::from_utf8_lossy(&seen.body), expected);
}

#[tokio::test]
async fn a_model_that_a_client_may_not_ask_for_is_not_asked_in_a_batch() {
    let sim = keeping_batches(&json!({"id": "msgbatch_1"}));
    let any_model = claude(&sim.url(), KEY).replace("name: claude, ", "");
    let acls = "    acls: {deny: [{match: [{type: model, values: [opus]}]}]}\n";
    let gateway = TestGateway::start(&config(&[any_model], acls));
    for (models, status) in [(["sonnet", "haiku"], 200), (["sonnet", "opus"], 403)] {
        let request = |model| json!({"custom_id": model, "params": {"model": model}});
        let body = json!({"requests": models.map(request)}).to_string();
        assert_eq!(gateway.post(BATCHES, &body).await.status(), status, "{models:?}");
    }
}

#[tokio::test]
async fn what_becomes_of_a_batch_can_be_asked() {
    let sim = keeping_batches(&json!({"id": "msgbatch_1"}));
    let gateway = TestGateway::start(&config(&[claude(&sim.url(), KEY)], ""));
    for (method, rest) in [
        ("GET", ""),
        ("GET", "?limit=2"),
        ("GET", "/msgbatch_1"),
        ("GET", "/msgbatch_1/results"),
        ("POST", "/msgbatch_1/cancel"),
        ("DELETE", "/msgbatch_1"),
    ] {
        let headers: &[(&str, &str)] = match method {
            "POST" => &[("Content-Length", "0")],
            _ => &[],
        };
        let answer = gateway.send(method, &format!("{BATCHES}{rest}"), headers, b"").await;
        assert_eq!(answer.status(), 200, "{method} {rest}: {}", answer.text());
        let seen = sim.last().unwrap();
        let target = format!("/anthropic/v1/messages/batches{rest}");
        assert_eq!((&*seen.method, seen.target(), seen.body.len()), (method, target, 0));
        assert_eq!(seen.header("x-api-key"), Some("sim-key"));
    }
    let before = sim.requests().len();
    for id in ["/..%2f..%2ffiles", "/a%3fb"] {
        let answer = gateway.get(&format!("{BATCHES}{id}")).await;
        assert_eq!(answer.status(), 400, "{id}: {}", answer.text());
    }
    assert_eq!(sim.requests().len(), before);
}

#[tokio::test]
async fn a_batch_for_another_model_is_refused() {
    let sim = keeping_batches(&json!({}));
    let gateway = TestGateway::start(&config(&[claude(&sim.url(), KEY)], ""));
    let request = |model: &str| json!({"custom_id": model, "params": {"model": model}});
    let body = json!({"requests": [request("claude"), request("gpt")]}).to_string();
    let answer = gateway.post(BATCHES, &body).await;
    assert_eq!(answer.status(), 400);
    let message = "cannot use own model - must be: claude";
    assert_eq!(answer.json()["error"]["message"], message, "{}", answer.text());
    assert_eq!(sim.requests().len(), 0);
}

/// Foundry itself, and a target that speaks chats.
#[tokio::test]
async fn where_there_are_no_batches_the_client_is_told() {
    let sim = Sim::start(Options::default()).unwrap();
    let both = [chats(&sim.url(), "gpt-4o"), claude(&sim.url(), KEY)];
    let gateway = TestGateway::start(&config(&both, ""));
    let body = json!({"requests": [{"custom_id": "a", "params": {"model": "claude"}}]}).to_string();
    let answer = gateway.post(BATCHES, &body).await;
    assert_eq!(answer.status(), 404);
    assert_eq!(answer.json()["error"]["message"], "Resource not found", "Azure's own words");
    assert_eq!(sim.last().unwrap().path, "/anthropic/v1/messages/batches");
    let sim = Sim::start(Options::default()).unwrap();
    let gateway = TestGateway::start(&config(&[chats(&sim.url(), "gpt-4o")], ""));
    for (method, rest) in [("POST", ""), ("GET", ""), ("GET", "/msgbatch_1")] {
        let body = if method == "POST" { body.as_str() } else { "" };
        let headers = [("content-type", "application/json")];
        let path = format!("{BATCHES}{rest}");
        let answer = gateway.send(method, &path, &headers, body.as_bytes()).await;
        let error = answer.json();
        assert_eq!((answer.status(), &error["type"]), (404, &json!("error")), "{error}");
        assert_eq!(error["error"]["type"], "not_found_error");
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.starts_with("batches of messages are kept by Claude alone"), "{message}");
    }
    assert_eq!(sim.requests().len(), 0);
}

const LIMIT: &str = "- name: ai-rate-limiting-advanced
  config:
    llm_format: anthropic
    llm_providers: [{name: azure, limit: [100], window_size: [31536000]}]
    window_type: fixed
";

#[tokio::test]
async fn tokens_of_claude_count_against_the_limit() {
    let sim = Sim::start(Options::default()).unwrap();
    let usage = json!({"input_tokens": 8, "cache_read_input_tokens": 2, "output_tokens": 20});
    sim.fault(Rule { usage: Some(usage), ..Rule::default() }).unwrap();
    let gateway = TestGateway::start(&config(&[claude(&sim.url(), KEY)], LIMIT));
    let left = |answer: &super::http::Message| {
        let left = answer.header("x-ai-ratelimit-remaining-year-azure");
        left.unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    };
    let system = json!([{"type": "text", "text": "be brief and kind", "cache_control": {}}]);
    let first = gateway.post(MESSAGES, &message("hi you", json!({ "system": system }))).await;
    assert_eq!((first.status(), &*left(&first)), (200, "94"), "six words, four of the system's");
    let streamed = gateway.post(MESSAGES, &message("hi", json!({"stream": true}))).await;
    assert_eq!((streamed.status(), &*left(&streamed)), (200, "69"), "30 but for a word");
    assert_eq!(events(&streamed).last().unwrap().0, "message_stop");
    let long = message("hi", json!({"system": "word ".repeat(40)}));
    let refused = gateway.post(MESSAGES, &long).await;
    assert_eq!(refused.status(), 429, "40 are left, and the system's words are as many");
    let error = refused.json();
    assert_eq!(
        (&error["type"], &error["error"]["type"]),
        (&json!("error"), &json!("rate_limit_error"))
    );
    let text = "AI token rate limit exceeded for provider(s): azure";
    assert_eq!(error["error"]["message"], text);
    assert!(refused.header("retry-after").is_some());
    let counted = gateway
        .post(
            "/agents/v1/messages/count_tokens",
            r#"{"model":"claude","messages":[{"role":"user","content":"one two"}]}"#,
        )
        .await;
    assert_eq!(counted.status(), 200, "{}", counted.text());
    let last = gateway.post(MESSAGES, &message("hi", json!({}))).await;
    assert_eq!((last.status(), &*left(&last)), (200, "39"), "a length takes no tokens");
}
