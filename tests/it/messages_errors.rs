//! Clients of Anthropic's API read errors in its shape, whoever refuses them.

use serde_json::json;

use super::azure_scene::{Scene, Scope, Target};
use super::gateway::TestGateway;
use super::http::{Message, Upstream, closed_port};

const BODY: &str =
    r#"{"model":"gpt-4o","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;

/// A Route with `llm_format: anthropic` and these plugins, and one beside it without it.
fn config(plugins: &str, upstream: &str) -> String {
    let route = |name: &str, format: &str| {
        format!(
            "  - name: {name}
    paths: [/{name}]
    plugins:
    - name: ai-proxy-advanced
      config:
        llm_format: {format}
        balancer: {{read_timeout: 200, retries: 0}}
        targets:
        - route_type: llm/v1/chat
          auth: {{header_name: api-key, header_value: sim-key}}
          model: {{provider: azure, name: gpt-4o, options: {{azure_instance: i,
            azure_deployment_id: gpt-4o, upstream_url: 'http://{upstream}/x'}}}}
"
        )
    };
    format!(
        "_format_version: '3.0'
services:
- name: s
  url: http://127.0.0.1:9
  retries: 0
  routes:
{}{}plugins:
{plugins}",
        route("agents", "anthropic"),
        route("chats", "openai")
    )
}

/// What it says, once its shape is that of Anthropic's API.
fn said(answer: &Message, status: u16, kind: &str) -> String {
    assert_eq!(answer.status(), status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let error = answer.json();
    assert_eq!((&error["type"], &error["error"]["type"]), (&json!("error"), &json!(kind)));
    assert_eq!(error["request_id"].as_str(), answer.header("x-kong-request-id"), "{error}");
    assert!(answer.complete);
    error["error"]["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_other_plugins_refuse_has_anthropics_shape() {
    let nobody = closed_port();
    let upstream = nobody.local_addr().unwrap().to_string();
    for (plugin, status, kind, message) in [
        ("{name: key-auth}", 401, "authentication_error", "No API key found in request"),
        (
            "{name: ip-restriction, config: {deny: [127.0.0.1/32]}}",
            403,
            "permission_error",
            "IP address not allowed: 127.0.0.1",
        ),
        (
            "{name: request-size-limiting, config: {allowed_payload_size: 1, size_unit: bytes}}",
            413,
            "request_too_large",
            "Request size limit exceeded",
        ),
        (
            "{name: request-termination, config: {status_code: 503, message: closed}}",
            503,
            "overloaded_error",
            "closed",
        ),
        (
            "{name: pre-function, config: {access: [\"kong.response.exit(418, {error = {message = \
            'tea', code = 'pot'}})\"]}}",
            418,
            "invalid_request_error",
            "tea",
        ),
        (
            "{name: pre-function, config: {access: [\"error('x')\"]}}",
            500,
            "api_error",
            "An unexpected error occurred",
        ),
    ] {
        let gateway = TestGateway::start(&config(&format!("- {plugin}\n"), &upstream));
        let answer = gateway.post("/agents/v1/messages", BODY).await;
        assert_eq!(said(&answer, status, kind), message, "{plugin}");
        let other = gateway.post("/chats", BODY).await;
        assert_eq!(other.status(), status);
        assert_ne!(other.json()["type"], "error", "as Kong, for other clients: {}", other.text());
    }
}

#[tokio::test]
async fn what_an_operator_has_written_stays() {
    let plugin = "- {name: request-termination, config: {status_code: 503, \
        content_type: text/html, body: <h1>closed</h1>}}\n";
    let gateway = TestGateway::start(&config(plugin, "127.0.0.1:9"));
    let answer = gateway.post("/agents/v1/messages", BODY).await;
    assert_eq!((answer.status(), &*answer.text()), (503, "<h1>closed</h1>"));
}

#[tokio::test]
async fn failures_of_the_gateway_have_anthropics_shape() {
    let nobody = closed_port();
    let (broken, silent) =
        (Upstream::replying(b"nonsense\r\n\r\n").await, Upstream::replying(b"").await);
    for (upstream, status, kind, text) in [
        (
            nobody.local_addr().unwrap(),
            503,
            "overloaded_error",
            "The upstream server is currently unavailable",
        ),
        (
            broken.address,
            502,
            "api_error",
            "An invalid response was received from the upstream server",
        ),
        (silent.address, 504, "timeout_error", "The upstream server is timing out"),
    ] {
        let gateway = TestGateway::start(&config("", &upstream.to_string()));
        // Kong has a page for each of these.
        for accept in ["application/json", "text/html", "text/plain"] {
            let headers = [("content-type", "application/json"), ("accept", accept)];
            let answer = gateway.send("POST", "/agents", &headers, BODY.as_bytes()).await;
            assert_eq!(said(&answer, status, kind), text);
        }
        let kong = gateway.post("/chats", BODY).await;
        assert_eq!(kong.status(), status);
        assert_eq!(kong.json()["message"], text, "{}", kong.text());
        // Nothing says whose client it is where there is no Route.
        let nowhere = gateway.post("/nowhere", BODY).await;
        assert_eq!((nowhere.status(), nowhere.json()["type"].is_null()), (404, true));
    }
}

#[tokio::test]
async fn a_gateway_that_answers_nothing_but_messages_says_so_everywhere() {
    let target = Target::with_key().config("llm_format: anthropic").scope(Scope::Global);
    let scene = Scene::start(&target);
    let answer = scene.gateway.get("/nowhere").await;
    assert_eq!(said(&answer, 404, "not_found_error"), "no Route matched with those values");
}
