//! Plugins that tell somebody about a request, and those that look at the response.

use super::Plugin;
use crate::http::{Message, Upstream};
use crate::stream_ends::soon;

const ACCEPTED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

/// The first message of this target that a collector gets.
async fn collected(collector: &Upstream, target: &str) -> Message {
    soon(target, async {
        loop {
            let found = collector.seen().into_iter().find(|one| one.target().starts_with(target));
            if let Some(found) = found {
                return found;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await
}

#[tokio::test]
async fn ddtrace_sends_a_trace_to_the_agent() {
    let plugin = Plugin {
        name: "ddtrace",
        place: "DataDog+kong-plugin-ddtrace/kong/plugins/ddtrace",
        libraries: &[],
    };
    let Some(scene) = plugin.builder() else { return };
    let agent = Upstream::replying(ACCEPTED).await;
    let config = format!(
        "{{agent_host: 127.0.0.1, trace_agent_port: {}, service_name: svc}}",
        agent.address.port()
    );
    let scene = scene.start(&config, "").await;
    assert_eq!(scene.get("/a/7", &[]).await.status(), 200);
    assert!(scene.sent().header("x-datadog-trace-id").is_some());
    let trace = collected(&agent, "/v").await;
    assert_eq!(trace.header("content-type"), Some("application/msgpack"));
    assert!(trace.text().contains("kong.request"), "{}", trace.text());
}

#[tokio::test]
async fn kong_splunk_log_sends_events() {
    let plugin =
        Plugin { name: "kong-splunk-log", place: "Optum+kong-splunk-log/src", libraries: &[] };
    let Some(scene) = plugin.builder() else { return };
    let splunk = Upstream::replying(ACCEPTED).await;
    let config = format!("{{splunk_endpoint: 'http://{}/services/collector'}}", splunk.address);
    let scene = scene.env("SPLUNK_HOST", "here").start(&config, "").await;
    assert_eq!(scene.get("/a/7", &[]).await.status(), 200);
    let event = collected(&splunk, "/services").await;
    assert_eq!(event.target(), "/services/collector");
    assert!(event.header("authorization").is_some_and(|token| token.starts_with("Splunk ")));
    assert_eq!(event.json()["event"]["HTTPStatus"], 200);
}

#[tokio::test]
async fn usagelogger_sends_request_and_response() {
    let plugin = Plugin {
        name: "usagelogger",
        place: "resurfaceio+kong-plugin/kong/plugins/usagelogger",
        libraries: &[("resurfaceio+logger-lua", "")],
    };
    let Some(scene) = plugin.builder() else { return };
    let collector = Upstream::replying(ACCEPTED).await;
    let config = format!("{{url: 'http://{}/usage'}}", collector.address);
    let scene = scene.start(&config, "").await;
    assert_eq!(scene.post("/a/7?x=1", &[], r#"{"k":1}"#).await.status(), 200);
    let usage = collected(&collector, "/usage").await.json();
    let has = |name: &str, value: &str| {
        usage.as_array().unwrap().contains(&serde_json::json!([name, value]))
    };
    assert!(has("request_method", "POST") && has("request_param:x", "1"), "{usage}");
    assert!(has("response_code", "200") && has("response_body", "ok"), "{usage}");
}

#[tokio::test]
async fn moesif_sends_events() {
    let plugin = Plugin {
        name: "moesif",
        place: "Moesif+kong-plugin-moesif/kong/plugins/moesif",
        libraries: &[],
    };
    let Some(scene) = plugin.builder() else { return };
    let collector = Upstream::replying(ACCEPTED).await;
    let config = format!(
        "{{application_id: abcdefghijklmnopqrstuvwxyz, api_endpoint: 'http://{}', batch_size: 1, \
         disable_gzip_payload_decompression: true}}",
        collector.address
    );
    let scene = scene.start(&config, "").await;
    assert_eq!(scene.post("/a/7", &[], r#"{"k":1}"#).await.status(), 200);
    assert!(scene.sent().header("x-moesif-transaction-id").is_some());
    collected(&collector, "/v1/events").await;
}

#[tokio::test]
async fn response_size_limiting_refuses_what_says_it_is_long() {
    let plugin = Plugin {
        name: "kong-response-size-limiting",
        place: "Optum+kong-response-size-limiting/src",
        libraries: &[],
    };
    let Some(scene) = plugin.builder() else { return };
    let body = "x".repeat(1_100_000);
    let long = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let scene = scene.start_before(long.leak().as_bytes(), "{allowed_payload_size: 1}", "").await;
    let refused = scene.get("/a", &[]).await;
    assert_eq!(
        (refused.status(), refused.json()["message"].as_str()),
        (413, Some("Response size limit exceeded"))
    );
}
