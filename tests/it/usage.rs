//! Tokens and money: what the gateway asks of a model to count them, what clients see of it, and
//! what is told.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use silverback::sim::{Options, Rule, Sim};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::azure_scene::{HELLO, STREAM, Scene, Target};
use super::gateway::{Builder, TestGateway};
use super::log_lines;
use super::stream_ends::{Client, LogPipe, soon};

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
async fn an_upstream_that_refuses_to_be_asked_gets_the_request_without_and_is_not_asked_again() {
    log_lines::keep();
    let mut log = LogPipe::open();
    let target = Target::with_key().option("include_usage: always").plugin(&log.plugin());
    let scene = Scene::start(&target);
    let mark = log_lines::mark();
    let path = "/chat?api-version=2024-06-01";
    let theirs = STREAM.replacen('{', r#"{"stream_options":5,"#, 1);
    let answer = scene.gateway.post(path, &theirs).await;
    assert_eq!(answer.status(), 400, "the client's own mistake");
    log.record().await;
    let mut told = Vec::new();
    for _ in 0..2 {
        let answer = scene.gateway.post(path, STREAM).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert_eq!(log.record().await["ai"]["proxy"]["usage"]["estimated"], true);
        told.extend(log_lines::since(mark, answer.header("x-kong-request-id").unwrap()));
    }
    let asks: Vec<_> = scene
        .chats()
        .iter()
        .map(|seen| seen.json().unwrap()["stream_options"].is_object())
        .collect();
    assert_eq!(asks, [false, true, false, false]);
    let lines = told.iter().filter_map(|line| line["fields"]["message"].as_str());
    let lines: Vec<_> = lines.filter(|line| line.contains("stream_options")).collect();
    assert!(matches!(lines[..], [line] if line.ends_with("include_usage to never")), "{lines:?}");
}

#[tokio::test]
async fn a_target_that_tells_its_tokens_is_not_asked_twice_for_what_it_refuses() {
    let scene = Scene::start(&Target::with_key());
    assert_eq!(scene.gateway.post("/chat", STREAM).await.status(), 200);
    let rule = Rule { status: Some(400), ..Default::default() };
    scene.sim.fault(rule).unwrap();
    assert_eq!(scene.gateway.post("/chat", STREAM).await.status(), 400);
    assert_eq!(scene.chats().len(), 2);
}

#[tokio::test]
async fn what_a_client_does_not_wait_for_is_estimated_and_says_so() {
    let mut log = LogPipe::open();
    let scene = Scene::start(&Target::with_key().plugin(&log.plugin()));
    let rule = Rule { chunk_delay_ms: Some(60_000), ..Default::default() };
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

/// A gateway with this one target at the simulator, and the log of its requests.
struct Counted {
    sim: Sim,
    gateway: TestGateway,
    log: LogPipe,
}

impl Counted {
    /// `path` is behind `/openai/v1`; `options` are more lines of `model.options`, in flow style.
    fn new(route_type: &str, path: &str, options: &str) -> Self {
        let (sim, log) = (Sim::start(Options::default()).unwrap(), LogPipe::open());
        let category = if path == "/realtime" { "realtime" } else { "text" };
        let gateway = TestGateway::start(&format!(
            "_format_version: '3.0'
services:
- name: s
  url: http://localhost:1
  routes:
  - name: r
    paths: [/]
    plugins:
    - {}
    - name: ai-proxy-advanced
      config:
        genai_category: {category}/generation
        targets:
        - route_type: {route_type}
          auth: {{header_name: api-key, header_value: sim-key}}
          logging: {{log_statistics: true}}
          model:
            provider: azure
            name: gpt-4o
            options: {{azure_instance: i, azure_deployment_id: gpt-4o, azure_api_version: v1,
              input_cost: 1000000, output_cost: 2000000, {options}
              upstream_url: '{}/openai/v1{path}'}}
",
            log.plugin(),
            sim.url()
        ));
        Self { sim, gateway, log }
    }

    /// The tokens of the next record.
    async fn usage(&mut self) -> Value {
        self.log.record().await["ai"]["proxy"]["usage"].clone()
    }
}

/// A chat that says what it cost.
fn chat(usage: Value, tier: &str) -> Value {
    json!({
        "model": "m", "service_tier": tier, "usage": usage,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}}],
    })
}

#[tokio::test]
async fn cached_tokens_long_prompts_and_tiers_have_their_prices() {
    let options = "cache_read_cost: 100000, cache_write_cost: 1250000, \
        context_window_factor: [{above: 1k, input_factor: 2, output_factor: 1.5}], \
        service_tier_factor: [{tier: priority, factor: 2}],";
    let mut counted = Counted::new("llm/v1/chat", "/chat/completions", options);
    let usage = json!({
        "prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110,
        "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 4},
    });
    let long = json!({"prompt_tokens": 2000, "completion_tokens": 10, "total_tokens": 2010});
    for (usage, tier, cost) in [
        (&usage, "default", 32.0 + 6.0 + 10.0 + 20.0),
        (&usage, "priority", 2.0 * (32.0 + 6.0 + 10.0 + 20.0)),
        (&long, "default", 2.0 * 2000.0 + 1.5 * 20.0),
    ] {
        counted.sim.clear_faults();
        let body = Some(chat(usage.clone(), tier));
        counted.sim.fault(Rule { body, ..Rule::default() }).unwrap();
        let answer = counted.gateway.post("/", HELLO).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let logged = counted.usage().await;
        assert_eq!(logged["cost"].as_f64(), Some(cost), "{tier}: {logged}");
        assert_eq!(logged["service_tier"], tier);
        for details in ["prompt_tokens_details", "completion_tokens_details"] {
            assert_eq!(logged[details], usage[details], "{logged}");
        }
    }
    let metrics = counted.gateway.status("/metrics").await.text();
    let labels = r#"{ai_provider="azure",ai_model="gpt-4o",token_type="#;
    for (kind, tokens) in [("cached_tokens", 120), ("cache_write_tokens", 16)] {
        let line = format!("silverback_ai_llm_token_parts_total{labels}\"{kind}\"}} {tokens}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    let cost = 68.0 + 136.0 + 4030.0;
    let line = metrics.lines().find(|line| line.starts_with("kong_ai_llm_cost_total")).unwrap();
    assert!(line.ends_with(&format!(" {cost}")), "{line}");
}

#[tokio::test]
async fn a_price_that_means_nothing_is_refused_at_load() {
    let config = Target::with_key().option(
        "context_window_factor: [{above: lots, \
        input_factor: 1, output_factor: 1}]",
    );
    let refused = Builder::default().try_start(&config.yaml("http://127.0.0.1:1"));
    let errors = refused.err().unwrap().join("\n");
    let line = "model.options.context_window_factor[0].above: must be a number of tokens";
    assert!(errors.contains(line), "{errors}");
}

#[tokio::test]
async fn a_response_is_counted_whole_streamed_and_cut() {
    let mut counted = Counted::new("llm/v1/responses", "/responses", "");
    let details = json!({
        "input_tokens_details": {"cached_tokens": 2},
        "output_tokens_details": {"reasoning_tokens": 3},
    });
    counted.sim.fault(Rule { usage: Some(details), ..Rule::default() }).unwrap();
    for stream in [false, true] {
        let asked = json!({"input": "one two three", "stream": stream}).to_string();
        let answer = counted.gateway.post("/responses", &asked).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let usage = counted.usage().await;
        assert_eq!((&usage["prompt_tokens"], &usage["input_tokens"]), (&json!(6), &json!(6)));
        assert_eq!(usage["total_tokens"], json!(6 + usage["output_tokens"].as_u64().unwrap()));
        assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 2, "{usage}");
        assert_eq!(usage["output_tokens_details"]["reasoning_tokens"], 3, "{usage}");
        assert!(usage["cost"].as_f64().unwrap() > 6.0 && usage["estimated"].is_null(), "{usage}");
    }
    counted.sim.clear_faults();
    counted.sim.fault(Rule { chunk_delay_ms: Some(60_000), ..Rule::default() }).unwrap();
    let asked = r#"{"input":"one two three","stream":true}"#;
    let mut client = Client::post(counted.gateway.address, "/responses", "", asked).await;
    client.head().await;
    drop(client);
    let usage = counted.usage().await;
    assert_eq!((&usage["estimated"], &usage["prompt_tokens"]), (&json!(true), &json!(5)));
}

#[tokio::test]
async fn pictures_and_vectors_that_are_too_long_to_keep_are_counted() {
    let mut pictures = Counted::new("image/v1/images/generations", "/images/generations", "");
    let usage = json!({
        "input_tokens": 8, "output_tokens": 272, "total_tokens": 280,
        "input_tokens_details": {"text_tokens": 8, "image_tokens": 0},
    });
    let long = "A".repeat(3 << 20);
    let whole = json!({"created": 1, "data": [{"b64_json": long}], "usage": usage});
    let last = json!({"type": "image_generation.completed", "b64_json": long, "usage": usage});
    let events = format!("event: image_generation.completed\ndata: {last}\n\n");
    let streamed = Rule { chunks: Some(vec![events.clone().into()]), ..Rule::default() };
    for (rule, body) in [
        (Rule { body: Some(whole.clone()), ..Rule::default() }, whole.to_string()),
        (streamed, events),
    ] {
        pictures.sim.clear_faults();
        pictures.sim.fault(rule).unwrap();
        let answer = pictures.gateway.post("/images", r#"{"prompt":"a cat"}"#).await;
        assert_eq!(answer.status(), 200);
        assert!(answer.text() == body, "every byte passes");
        let usage = pictures.usage().await;
        assert_eq!(usage["total_tokens"], 280, "{usage}");
        assert_eq!(usage["input_tokens_details"]["text_tokens"], 8, "{usage}");
        assert_eq!(usage["cost"].as_f64(), Some(8.0 + 2.0 * 272.0), "{usage}");
    }
}

#[tokio::test]
async fn a_session_costs_what_its_answers_cost() {
    let mut counted = Counted::new("realtime/v1/realtime", "/realtime", "");
    let mut stream = TcpStream::connect(counted.gateway.address).await.unwrap();
    let ask = "GET /realtime HTTP/1.1\r\nHost: gw\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Key: a2V5\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon("the head", stream.read_u8()).await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
    let upgrade = counted.sim.last().unwrap();
    assert_eq!(upgrade.header("sec-websocket-extensions"), None, "nothing is compressed");
    let mut words = 0;
    for said in ["one", "one two"] {
        let item = json!({"type": "message", "role": "user",
            "content": [{"type": "input_text", "text": said}]});
        let create = json!({"type": "conversation.item.create", "item": item});
        socket.send(Message::text(create.to_string())).await.unwrap();
        socket.send(Message::text(r#"{"type":"response.create"}"#)).await.unwrap();
        loop {
            let message = soon("the answer", socket.next()).await.unwrap().unwrap();
            let event: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
            if event["type"] == "response.done" {
                words += event["response"]["usage"]["output_tokens"].as_u64().unwrap();
                break;
            }
        }
    }
    socket.close(None).await.unwrap();
    drop(socket);
    let record = counted.log.record().await;
    let usage = &record["ai"]["proxy"]["usage"];
    assert_eq!(record["ai"]["proxy"]["meta"]["request_mode"], "realtime", "{record}");
    assert_eq!((&usage["input_tokens"], &usage["output_tokens"]), (&json!(14), &json!(words)));
    assert_eq!(usage["input_tokens_details"]["text_tokens"], 14, "{usage}");
    assert_eq!(usage["cost"].as_f64(), Some(14.0 + 2.0 * words as f64), "{usage}");
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
