//! ai-request-transformer and ai-response-transformer over sockets: a model, an upstream, a log.

use serde_json::{Value, json};
use silverback::sim::{Kind, Options, Sim};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::gateway::{Builder, TestGateway};
use super::http::{Message, Reader, Upstream, closed_port};
use super::otlp::Collector;
use super::stream_ends::LogPipe;

/// A whole response, for as long as the test runs.
fn response(status: u16, headers: &str, body: &str) -> &'static [u8] {
    let length = body.len();
    let text = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n{body}");
    Box::leak(text.into_bytes().into_boxed_slice())
}

/// A model that says this.
async fn model(says: &str) -> Upstream {
    let body = json!({
        "model": "m-2024",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": says}}],
        "usage": {"prompt_tokens": 25, "completion_tokens": 12, "total_tokens": 37},
    });
    Upstream::replying(response(200, "content-type: application/json\r\n", &body.to_string())).await
}

/// A file with the plugin `ai-<kind>-transformer`; `more` are fields of its configuration.
fn config(kind: &str, upstream: &str, url: &str, more: &str, plugins: &str) -> String {
    format!(
        "_format_version: '3.0'
services:
- name: s
  url: http://{upstream}
  routes:
  - name: r
    paths: [/a]
    plugins:
    - name: ai-{kind}-transformer
      config:
        prompt: do it
{more}        llm:
          route_type: llm/v1/chat
          logging: {{log_statistics: true, log_payloads: true}}
          auth: {{header_name: Authorization, header_value: Bearer k}}
          model:
            provider: openai
            name: gpt-4
            options: {{max_tokens: 512, temperature: 0.5, input_cost: 10, output_cost: 10,
              upstream_url: '{url}'}}
{plugins}"
    )
}

fn at(upstream: &Upstream) -> String {
    format!("http://{}/llm?v=1", upstream.address)
}

/// What the client got for `{"a":1}`.
async fn asked(kind: &str, upstream: &Upstream, url: &str, more: &str) -> Message {
    let address = upstream.address.to_string();
    let gateway = TestGateway::start(&config(kind, &address, url, more, ""));
    gateway.post("/a", r#"{"a":1}"#).await
}

fn refusal(answer: &Message) -> String {
    answer.json()["error"]["message"].as_str().unwrap().to_owned()
}

const OK: &str = "from the upstream";

async fn upstream() -> Upstream {
    Upstream::replying(response(201, "x-up: 1\r\nset-cookie: a=b\r\nset-cookie: c=d\r\n", OK)).await
}

#[tokio::test]
async fn what_a_model_makes_of_a_request_goes_upstream() {
    let (llm, upstream) = (model("{\"b\":2}").await, upstream().await);
    let answer = asked("request", &upstream, &at(&llm), "").await;
    assert_eq!((answer.status(), answer.text().as_str()), (201, OK));
    assert_eq!(upstream.seen()[0].text(), "{\"b\":2}");
    assert_eq!(upstream.seen()[0].header("content-type"), Some("application/json"));
    let chat = &llm.seen()[0];
    assert_eq!(
        (chat.first.as_str(), chat.header("authorization")),
        ("POST /llm?v=1 HTTP/1.1", Some("Bearer k"))
    );
    let expected = json!({
        "messages": [{"role": "system", "content": "do it"},
            {"role": "user", "content": "{\"a\":1}"}],
        "model": "gpt-4", "stream": false, "max_tokens": 512, "temperature": 0.5,
    });
    assert_eq!(chat.json(), expected);
}

#[tokio::test]
async fn what_a_model_makes_of_a_reply_goes_to_the_client() {
    let (llm, upstream) = (model("changed").await, upstream().await);
    let answer = asked("response", &upstream, &at(&llm), "").await;
    assert_eq!((answer.status(), answer.text().as_str()), (201, "changed"));
    assert_eq!(answer.header("x-up"), Some("1"));
    let cookies = answer.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
    assert_eq!(cookies.count(), 2);
    assert!(answer.header("via").is_none() && answer.header("x-kong-upstream-latency").is_none());
    assert!(answer.header("x-kong-response-latency").is_some());
    assert_eq!(upstream.seen()[0].text(), r#"{"a":1}"#);
    assert_eq!(llm.seen()[0].json()["messages"][1]["content"], OK);
}

#[tokio::test]
async fn a_model_may_say_status_headers_and_body() {
    let says = r#"{"status": 209, "headers": {"content-type": "application/xml"}, "body": "<a/>"}"#;
    let (llm, upstream) = (model(says).await, upstream().await);
    let more = "        parse_llm_response_json_instructions: true\n";
    let answer = asked("response", &upstream, &at(&llm), more).await;
    assert_eq!((answer.status(), answer.text().as_str()), (209, "<a/>"));
    assert_eq!(answer.header("content-type"), Some("application/xml"));
    assert_eq!(answer.header("x-up"), Some("1"));
    let answer = asked("response", &upstream, &at(&model("tool: x").await), more).await;
    assert_eq!(answer.status(), 500);
    assert_eq!(
        refusal(&answer),
        "failed to parse JSON response instructions from AI backend: Expected value but found \
         invalid token at character 1"
    );
}

#[tokio::test]
async fn every_failure_of_the_model_is_told_in_kongs_words() {
    let introspect = "failed to introspect request with AI service: ";
    let convert = "failed to convert AI response to Kong format: transformation failed from type \
                   openai://llm/v1/chat: ";
    let no_choices = "no 'choices' in upstream AI service response".to_owned();
    for (status, body, message) in [
        (400, "{}", format!("{introspect}status code 400")),
        (500, "<html>", format!("{introspect}status code 500")),
        (302, "", format!("{introspect}status code 302")),
        (200, "<html>", format!("{convert}failed to decode llm/v1/chat response")),
        (200, "{}", format!("{convert}'choices' not in llm/v1/chat response")),
        (200, r#"{"choices":[]}"#, no_choices.clone()),
        (200, r#"{"choices":[{"message":{"content":null}}]}"#, no_choices),
    ] {
        let llm = Upstream::replying(response(status, "", body)).await;
        for kind in ["request", "response"] {
            let upstream = upstream().await;
            let answer = asked(kind, &upstream, &at(&llm), "").await;
            assert_eq!((answer.status(), refusal(&answer)), (400, message.clone()), "{body}");
            assert_eq!(upstream.seen().len(), usize::from(kind == "response"));
        }
    }
    let held = closed_port();
    let closed = held.local_addr().unwrap();
    let answer = asked("request", &upstream().await, &format!("http://{closed}/"), "").await;
    let failed = "request to ai service failed: request failed: connection refused";
    assert_eq!((answer.status(), refusal(&answer)), (400, format!("{introspect}{failed}")));
}

#[tokio::test]
async fn the_first_match_of_the_pattern_is_used() {
    let (llm, upstream) = (model("Sure!\n{\"B\":2} bye").await, upstream().await);
    let more = "        transformation_extract_pattern: '^\\{\"b\".*\\}'\n";
    asked("request", &upstream, &at(&llm), more).await;
    assert_eq!(upstream.seen()[0].text(), "{\"B\":2}");
    let more = "        transformation_extract_pattern: nowhere\n";
    let answer = asked("request", &upstream, &at(&llm), more).await;
    assert_eq!(refusal(&answer), "AI response did not match specified regular expression");
    let more = "        transformation_extract_pattern: '['\n";
    let answer = asked("request", &upstream, &at(&llm), more).await;
    assert!(refusal(&answer).starts_with("failed regex matching ai response: "));
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_a_500_in_kongs_words() {
    let llm = model("x").await;
    let held = closed_port();
    let closed = held.local_addr().unwrap().to_string();
    let gateway = TestGateway::start(&config("response", &closed, &at(&llm), "", ""));
    let answer = gateway.post("/a", "{}").await;
    let message = "failed to connect to upstream: connection refused";
    assert_eq!((answer.status(), refusal(&answer).as_str()), (500, message));
    assert!(llm.seen().is_empty());
}

#[tokio::test]
async fn statistics_and_payloads_are_logged_under_the_name_of_the_plugin() {
    for kind in ["request", "response"] {
        let (llm, upstream) = (model("x").await, upstream().await);
        let mut log = LogPipe::open();
        let plugin = format!(
            "    - {}\n    - name: prometheus\n      config: {{ai_metrics: true}}\n",
            log.plugin()
        );
        let address = upstream.address.to_string();
        let file = config(kind, &address, &at(&llm), "", &plugin);
        let gateway = TestGateway::start(&file);
        gateway.post("/a", "{}").await;
        let record = log.record().await;
        let own = &record["ai"][format!("ai-{kind}-transformer")];
        assert_eq!(own["meta"]["provider_name"], "openai", "{record}");
        assert_eq!(own["meta"]["request_model"], "UNSPECIFIED");
        assert_eq!(own["meta"]["response_model"], "m-2024");
        assert!(own["meta"]["llm_latency"].is_u64() && own["meta"]["plugin_id"].is_string());
        let mut usage = own["usage"].clone();
        assert!(usage.as_object_mut().unwrap().remove("time_per_token").unwrap().is_u64());
        let expected = json!({"prompt_tokens": 25, "completion_tokens": 12, "total_tokens": 37,
            "cost": 0.00037});
        assert_eq!((usage, &own["cache"]), (expected, &json!({})));
        assert_eq!(own["payload"]["request"], "{}");
        let said: Value =
            serde_json::from_str(own["payload"]["response"].as_str().unwrap()).unwrap();
        assert_eq!(said["model"], "m-2024");
        let (source, tries) = if kind == "request" { ("upstream", 1) } else { ("kong", 0) };
        assert_eq!(record["source"], source);
        assert_eq!(record["tries"].as_array().map_or(0, Vec::len), tries);
        let metrics = gateway.status("/metrics").await.text();
        let series = "kong_ai_llm_tokens_total{ai_provider=\"openai\",ai_model=\"UNSPECIFIED\"";
        assert!(metrics.lines().any(|line| line.starts_with(series)), "{metrics}");
    }
}

const IDENTITY: &str = "{azure_use_managed_identity: true}";

#[tokio::test]
async fn a_model_of_azure_gets_a_token_and_the_upstream_none() {
    let sim = Sim::start(Options::default()).unwrap();
    let upstream = upstream().await;
    let url = format!("{}/openai/deployments/gpt-4o/chat/completions", sim.url());
    let address = upstream.address.to_string();
    let file = config("request", &address, &format!("{url}?api-version=2024-10-21"), "", "");
    let file = file
        .replace("{header_name: Authorization, header_value: Bearer k}", IDENTITY)
        .replace("provider: openai", "provider: azure")
        .replace("options: {", "options: {azure_instance: i, azure_deployment_id: gpt-4o, ");
    let gateway = Builder::default()
        .env("AZURE_AUTHORITY_HOST", &sim.url())
        .env("AZURE_POD_IDENTITY_AUTHORITY_HOST", &sim.url())
        .start(&file);
    let chats = || {
        let seen = sim.requests();
        seen.into_iter().filter(|one| matches!(one.kind, Kind::Chat)).collect::<Vec<_>>()
    };
    let answer = gateway.post("/a", "{}").await;
    assert_eq!(answer.status(), 201, "{}", answer.text());
    assert_eq!(chats().len(), 1);
    assert!(!upstream.seen()[0].text().is_empty());
    assert!(upstream.seen()[0].header("authorization").is_none(), "the token is for the model");
}

#[tokio::test]
async fn a_proxy_stands_between_gateway_and_model() {
    let (llm, upstream) = (model("x").await, upstream().await);
    let more = format!(
        "        http_proxy_host: 127.0.0.1\n        http_proxy_port: {}\n",
        llm.address.port()
    );
    // Nobody resolves the name but the proxy, which here answers for the model.
    let file = config("request", &upstream.address.to_string(), "http://localhost:81/x", &more, "");
    let gateway = TestGateway::start(&file);
    assert_eq!(gateway.post("/a", "{}").await.status(), 201);
    assert_eq!(llm.seen()[0].first, "POST http://localhost:81/x HTTP/1.1");
    assert_eq!(llm.seen()[0].header("host"), Some("localhost:81"));
}

#[tokio::test]
async fn a_proxy_is_asked_for_a_tunnel_to_an_encrypted_model() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let more = format!(
        "        https_proxy_host: 127.0.0.1\n        https_proxy_port: {}\n",
        listener.local_addr().unwrap().port()
    );
    let upstream = upstream().await;
    let file = config("request", &upstream.address.to_string(), "https://m.test/x", &more, "");
    let gateway = TestGateway::start(&file);
    let proxy = async {
        let mut reader = Reader::new(listener.accept().await.unwrap().0);
        let head = reader.head().await.unwrap();
        reader.stream.write_all(b"HTTP/1.1 403 No\r\n\r\n").await.unwrap();
        head
    };
    let (head, answer) = tokio::join!(proxy, gateway.post("/a", "{}"));
    assert_eq!(head.first, "CONNECT m.test:443 HTTP/1.1");
    assert_eq!(answer.status(), 400);
    let told = refusal(&answer);
    assert!(told.ends_with("the proxy does not connect to m.test:443: HTTP/1.1 403 No"), "{told}");
}

#[tokio::test]
async fn the_upstream_of_a_reply_is_asked_through_the_proxy_too() {
    let (llm, proxy) = (model("x").await, upstream().await);
    let more = format!(
        "        http_proxy_host: 127.0.0.1\n        http_proxy_port: {}\n",
        proxy.address.port()
    );
    let file = config("response", "m.test:81", &at(&llm), &more, "");
    let gateway = TestGateway::start(&file);
    let answer = gateway.post("/a", "{}").await;
    // Both requests meet the proxy, which here is no model.
    assert_eq!(answer.status(), 400, "{}", answer.text());
    let seen = proxy.seen();
    let lines: Vec<_> = seen.iter().map(|one| one.first.clone()).collect();
    assert_eq!(
        lines,
        ["POST http://m.test:81/ HTTP/1.1".to_owned(), format!("POST {} HTTP/1.1", at(&llm))]
    );
    assert!(llm.seen().is_empty());
}

#[tokio::test]
async fn a_key_in_the_body_for_another_model_is_in_no_log() {
    let (llm, mut log) = (model("x").await, LogPipe::open());
    let proxy = format!(
        "    - name: ai-proxy
      config:
        route_type: llm/v1/chat
        auth: {{param_name: secret, param_value: canary, param_location: body}}
        model: {{provider: openai, name: m, options: {{upstream_url: 'http://{}/v1'}}}}
    - {}
",
        llm.address,
        log.plugin()
    );
    let file = config("response", "127.0.0.1:9", &at(&llm), "", &proxy);
    let gateway = TestGateway::start(&file);
    let chat = r#"{"messages":[{"role":"user","content":"hi"}]}"#;
    assert_eq!(gateway.post("/a", chat).await.text(), "x");
    assert_eq!(llm.seen()[0].json()["secret"], "canary");
    let record = log.record().await.to_string();
    assert!(record.contains("ai-response-transformer") && !record.contains("canary"), "{record}");
}

#[tokio::test]
async fn the_call_for_a_request_is_a_span_though_it_runs_ahead_of_the_plugin() {
    let (model, collector) = (model("better").await, Collector::start().await);
    let upstream = Upstream::replying(response(200, "", "ok")).await;
    let address = upstream.address.to_string();
    let plugin = format!(
        "plugins:\n- name: opentelemetry\n  config: {{traces_endpoint: '{}', queue: \
         {{max_coalescing_delay: 0.02}}}}\n",
        collector.url("traces")
    );
    let gateway = Builder::default()
        .set("tracing_instrumentations", "request")
        .set("tracing_sampling_rate", "1")
        .start(&config("request", &address, &at(&model), "", &plugin));
    assert_eq!(gateway.post("/a", r#"{"a":1}"#).await.status(), 200);
    let spans = collector.spans(2).await;
    let call = spans.iter().find(|span| span.name == "kong.gen_ai").unwrap();
    for (name, value) in [
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.request.model", "gpt-4"),
        ("gen_ai.response.model", "m-2024"),
        ("gen_ai.usage.output_tokens", "12"),
        ("server.port", &model.address.port().to_string()),
    ] {
        assert_eq!(call.attributes.get(name).map(String::as_str), Some(value), "{name}");
    }
}
