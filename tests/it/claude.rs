//! Clients of Anthropic's Messages API, and Claude on Azure's Foundry behind the gateway.

use serde_json::{Value, json};
use silverback::sim::{Kind, Options, Rule, Sim};

use super::azure_wire::public_host;
use super::gateway::{Builder, TestGateway};
use super::http::Message;
use super::messages::events;
use super::stream_ends::LogPipe;

pub const MESSAGES: &str = "/agents/v1/messages";
const COUNT: &str = "/agents/v1/messages/count_tokens";
pub const KEY: &str = "{header_name: x-api-key, header_value: sim-key}";

/// A target that is Claude, in flow style.
pub fn claude(url: &str, auth: &str) -> String {
    format!(
        "{{route_type: llm/v1/chat, auth: {auth}, logging: {{log_statistics: true, \
         log_payloads: true}}, model: {{provider: azure, name: claude, options: {{azure_service: \
         azure-foundry, azure_foundry_resource: my-foundry, azure_deployment_id: claude-dep, \
         input_cost: 3.0, output_cost: 15.0, cache_read_cost: 0.3, \
         azure_foundry_path_prefix: /anthropic/v1{}}}}}}}",
        match url {
            "" => String::new(),
            url => format!(", upstream_url: '{url}/anthropic/v1/messages'"),
        }
    )
}

/// A target that speaks chats.
pub fn chats(url: &str, deployment: &str) -> String {
    format!(
        "{{route_type: llm/v1/chat, auth: {{header_name: api-key, header_value: sim-key}}, \
         model: {{provider: azure, name: claude, options: {{azure_instance: i, \
         azure_deployment_id: {deployment}, azure_api_version: '2024-10-21', upstream_url: \
         '{url}/openai/deployments/{deployment}/chat/completions'}}}}}}"
    )
}

pub fn config(targets: &[String], plugin: &str) -> String {
    let targets: String = targets.iter().map(|target| format!("    - {target}\n")).collect();
    format!(
        "_format_version: '3.0'
services:
- name: s
  url: http://127.0.0.1:9
  routes:
  - name: r
    paths: [/agents]
plugins:
- name: ai-proxy-advanced
  config:
    llm_format: anthropic
    balancer: {{algorithm: priority, retries: 3, failover_criteria: [error, http_500, http_429,
      non_idempotent]}}
    targets:
{targets}{plugin}"
    )
}

struct Scene {
    sim: Sim,
    gateway: TestGateway,
}

impl Scene {
    fn start() -> Self {
        let sim = Sim::start(Options::default()).unwrap();
        let gateway = TestGateway::start(&config(&[claude(&sim.url(), KEY)], ""));
        Self { sim, gateway }
    }

    async fn say(&self, prompt: &str, more: Value) -> Message {
        self.gateway.post(MESSAGES, &message(prompt, more)).await
    }
}

pub fn message(prompt: &str, more: Value) -> String {
    let mut message = json!({"model": "claude", "max_tokens": 64,
        "messages": [{"role": "user", "content": [{"type": "text", "text": prompt}]}]});
    message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    message.to_string()
}

#[tokio::test]
async fn a_message_goes_to_claude_as_it_came_but_for_the_model() {
    let scene = Scene::start();
    let body = r#"{ "model" : "claude","max_tokens": 64,  "thinking":{"type":"enabled"},
      "tools":[{"type":"web_search_20250305","name":"web_search"}],"top_k":1E1,
      "messages":[{"role":"user","content":"h\u00e9llo"}] }"#;
    let headers = [
        ("content-type", "application/json"),
        ("anthropic-beta", "context-1m-2025-08-07"),
        ("x-api-key", "the-clients-own"),
        ("authorization", "Bearer the-clients-own"),
    ];
    let target = format!("{MESSAGES}?beta=true");
    let answer = scene.gateway.send("POST", &target, &headers, body.as_bytes()).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(answer.header("x-kong-llm-model"), Some("azure/claude"));
    assert!(answer.json()["content"][0]["text"].as_str().unwrap().contains("héllo"));
    let seen = scene.sim.last().unwrap();
    let expected = body.replace(r#""claude""#, r#""claude-dep""#);
    assert_eq!(String::from_utf8_lossy(&seen.body), expected);
    assert_eq!(seen.target(), "/anthropic/v1/messages?beta=true");
    assert_eq!(seen.header("anthropic-version"), Some("2023-06-01"));
    assert_eq!(seen.header("anthropic-beta"), Some("context-1m-2025-08-07"));
    assert_eq!(seen.header("x-api-key"), Some("sim-key"));
    assert_eq!(seen.header("authorization"), None);
}

#[tokio::test]
async fn the_version_of_the_api_is_the_clients_or_the_configurations() {
    let sim = Sim::start(Options::default()).unwrap();
    let target = claude(&sim.url(), KEY)
        .replace("azure_service:", "anthropic_version: '2024-01-01', azure_service:");
    let gateway = TestGateway::start(&config(&[target], ""));
    let refused = gateway.post(MESSAGES, &message("hi", json!({}))).await;
    assert_eq!(refused.status(), 400);
    let text = "anthropic-version: \"2024-01-01\" is not a valid version";
    assert_eq!(refused.json()["error"]["message"], text, "what Claude says reaches the client");
    let headers = [("content-type", "application/json"), ("anthropic-version", "2023-06-01")];
    let body = message("hi", json!({}));
    let own = gateway.send("POST", MESSAGES, &headers, body.as_bytes()).await;
    assert_eq!(own.status(), 200, "{}", own.text());
}

#[tokio::test]
async fn what_claude_answers_passes_byte_for_byte() {
    let scene = Scene::start();
    let reply = r#"{ "id":"msg_1","type":"message","content":[ {"type":"thinking","x":1E2} ],
      "usage":{"input_tokens":1,"output_tokens":2} }"#;
    let json = vec![("content-type".to_owned(), "application/json".to_owned())];
    let fault = |rule: Rule| scene.sim.fault(Rule { times: Some(1), ..rule }).unwrap();
    fault(Rule { body: Some(reply.into()), headers: json.clone(), ..Rule::default() });
    assert_eq!(scene.say("hi", json!({})).await.text(), reply);
    let chunks = [
        "event: message_start\r\ndata:  {\"type\":\"message_start\",\"message\":{}}\r\n\r\n:\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":",
        "\"signature_delta\",\"signature\":\"x\"}}\n\nevent: message_stop\ndata: {\"type\":\"mess",
        "age_stop\"}\n\n",
    ];
    let bytes = chunks.iter().map(|chunk| (*chunk).into()).collect();
    fault(Rule { chunks: Some(bytes), ..Rule::default() });
    let stream = scene.say("hi", json!({"stream": true})).await;
    assert_eq!(stream.text(), chunks.concat());
    let error = r#"{ "type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let status = Some(529);
    fault(Rule { status, body: Some(error.into()), headers: json, ..Rule::default() });
    let answer = scene.say("hi", json!({})).await;
    assert_eq!((answer.status(), answer.text()), (529, error.to_owned()));
}

#[tokio::test]
async fn a_stream_of_claude_that_breaks_ends_with_an_error_event() {
    let scene = Scene::start();
    for fault in ["[[fault-cut-stream-4]]", "[[fault-cut-700]]", "[[fault-no-done]]"] {
        let prompt = format!("one two three four {fault}");
        let stream = scene.say(&prompt, json!({"stream": true})).await;
        let events = events(&stream);
        let (name, data) = events.last().unwrap();
        assert_eq!((&**name, &data["error"]["type"]), ("error", &json!("api_error")), "{fault}");
        assert_eq!(events[0].0, "message_start");
    }
    let own = scene.say("one two [[fault-error-event]]", json!({"stream": true})).await;
    let told = events(&own).into_iter().filter(|(name, _)| name == "error");
    assert_eq!(told.count(), 1, "{}", own.text());
}

#[tokio::test]
async fn claude_says_itself_how_long_a_message_is() {
    let scene = Scene::start();
    let body = r#"{"model":"claude","messages":[{"role":"user","content":"one two three"}]}"#;
    let answer = scene.gateway.post(COUNT, body).await;
    assert_eq!((answer.status(), answer.json()), (200, json!({"input_tokens": 6})));
    let seen = scene.sim.last().unwrap();
    assert_eq!(
        (seen.kind, seen.target()),
        (Kind::Messages, "/anthropic/v1/messages/count_tokens".into())
    );
    assert_eq!(String::from_utf8_lossy(&seen.body), body.replace(r#""claude""#, r#""claude-dep""#));
}

#[tokio::test]
async fn tokens_and_cost_of_claude_are_in_the_log() {
    let sim = Sim::start(Options::default()).unwrap();
    let mut log = LogPipe::open();
    let plugin = format!("- {}\n", log.plugin());
    let gateway = TestGateway::start(&config(&[claude(&sim.url(), KEY)], &plugin));
    let usage = json!({"input_tokens": 10, "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 50, "output_tokens": 7});
    sim.fault(Rule { usage: Some(usage), content: Some("Hi".into()), ..Rule::default() }).unwrap();
    for stream in [false, true] {
        let answer = gateway.post(MESSAGES, &message("hi", json!({ "stream": stream }))).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let record = log.record().await;
        let proxy = record["ai"]["proxy"].clone();
        let usage = &proxy["usage"];
        assert_eq!(
            (&usage["prompt_tokens"], &usage["completion_tokens"]),
            (&json!(160), &json!(7))
        );
        let details = json!({"cached_tokens": 100, "cache_write_tokens": 50});
        assert_eq!(usage["prompt_tokens_details"], details, "{stream}: {usage}");
        let cost = usage["cost"].as_f64().unwrap() * 1e6;
        assert!((cost - (60.0 * 3.0 + 100.0 * 0.3 + 7.0 * 15.0)).abs() < 1.0, "{cost}");
        assert_eq!(proxy["meta"]["response_model"], "claude-dep");
        let said = proxy["payload"]["response"].to_string();
        assert!(said.contains("Hi"), "{proxy}");
    }
    gateway.post(COUNT, r#"{"model":"claude","messages":[{"role":"user","content":"a b"}]}"#).await;
    let counted = log.record().await["ai"]["proxy"]["usage"].clone();
    assert_eq!((&counted["total_tokens"], &counted["cost"]), (&json!(0), &json!(0)), "{counted}");
}

#[tokio::test]
async fn a_message_goes_on_from_claude_to_a_chat_model_and_back() {
    let sim = Sim::start(Options::default()).unwrap();
    let url = sim.url();
    let both = |first: &str, second: &str| {
        let weighed =
            |target: &str, weight| target.replacen('{', &format!("{{weight: {weight}, "), 1);
        TestGateway::start(&config(&[weighed(first, 200), weighed(second, 100)], ""))
    };
    let body = message("one two", json!({"thinking": {"type": "enabled"}, "system": "brief"}));
    let to_chats = both(&claude(&url, KEY), &chats(&url, "gpt-4o"));
    let (status, times) = (Some(500), Some(1));
    sim.fault(Rule { kind: Some(Kind::Messages), status, times, ..Rule::default() }).unwrap();
    let answer = to_chats.post(MESSAGES, &body).await;
    assert_eq!((answer.status(), &answer.json()["type"]), (200, &json!("message")));
    let seen = sim.take();
    assert_eq!((seen[0].kind, seen[1].kind), (Kind::Messages, Kind::Chat));
    let chat = seen[1].json().unwrap();
    assert_eq!(chat["messages"][0], json!({"role": "system", "content": "brief"}));
    assert_eq!(chat.get("thinking"), None);
    assert_eq!(seen[1].header("anthropic-version"), None, "it was the gateway's");
    assert_eq!(seen[1].header("x-api-key"), None);

    let to_claude = both(&chats(&url, "gpt-4o"), &claude(&url, KEY));
    sim.fault(Rule { kind: Some(Kind::Chat), status, times, ..Rule::default() }).unwrap();
    let stream = body.replace("\"max_tokens\"", "\"stream\":true,\"max_tokens\"");
    let answer = to_claude.post(MESSAGES, &stream).await;
    assert_eq!(events(&answer).last().unwrap().0, "message_stop");
    let seen = sim.take();
    assert_eq!((seen[0].kind, seen[1].kind), (Kind::Chat, Kind::Messages));
    let expected = stream.replace("\"claude\"", "\"claude-dep\"");
    assert_eq!(String::from_utf8_lossy(&seen[1].body), expected);
}

#[tokio::test]
async fn what_no_chat_can_say_and_how_long_it_is_goes_to_claude_only() {
    let sim = Sim::start(Options::default()).unwrap();
    let targets = [
        chats(&sim.url(), "gpt-4o").replacen('{', "{weight: 200, ", 1),
        claude(&sim.url(), KEY).replacen('{', "{weight: 100, ", 1),
    ];
    let gateway = TestGateway::start(&config(&targets, ""));
    let tool = json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]});
    for (path, body) in [
        (MESSAGES, message("hi", tool)),
        (COUNT, message("hi", json!({"max_tokens": null})).replace(r#""max_tokens":null,"#, "")),
    ] {
        let answer = gateway.post(path, &body).await;
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
        assert_eq!(sim.last().unwrap().kind, Kind::Messages, "{path}");
    }
    assert_eq!(gateway.post(MESSAGES, &message("hi", json!({}))).await.status(), 200);
    assert_eq!(sim.last().unwrap().kind, Kind::Chat, "the better one otherwise");
}

#[tokio::test]
async fn an_identity_has_a_token_for_foundry() {
    let (sim, builder, _folder) =
        public_host("my-foundry.services.ai.azure.com", Options::default());
    let tokens = Sim::start(Options::default()).unwrap();
    let builder = builder.env("AZURE_POD_IDENTITY_AUTHORITY_HOST", &tokens.url());
    let target = claude("", "{azure_use_managed_identity: true}");
    let gateway = builder.start(&config(&[target], ""));
    let answer = gateway.post(MESSAGES, &message("hi", json!({}))).await;
    // The token is another simulator's, so it is refused here.
    assert_eq!(answer.status(), 401, "{}", answer.text());
    let seen = sim.last().unwrap();
    assert_eq!(seen.header("host"), Some("my-foundry.services.ai.azure.com"));
    assert!(seen.header("authorization").unwrap().starts_with("Bearer "));
    let asked = tokens.last().unwrap();
    assert!(asked.query.contains("resource=https%3A%2F%2Fai.azure.com"), "{}", asked.query);
}

#[tokio::test]
async fn clients_of_openai_are_not_sent_to_claude() {
    let yaml =
        config(&[claude("http://127.0.0.1:1", KEY)], "").replace("llm_format: anthropic", "");
    let refused = Builder::default().try_start(&yaml).err().unwrap();
    let expected = "config.targets[0].model.options.azure_foundry_path_prefix: Anthropic's \
        Messages API is spoken there; set config.llm_format to anthropic, or use /openai/v1";
    assert!(refused.iter().any(|line| line.contains(expected)), "{refused:?}");
}
