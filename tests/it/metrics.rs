//! The plugin prometheus on the status listener.

use super::gateway::{Builder, TestGateway};
use super::http::Upstream;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn config(upstream: &Upstream, plugin: &str) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://{0}\n  routes:\n  \
         - {{name: a, paths: [/a], plugins: [{{name: key-auth}}]}}\n  \
         - {{name: b, paths: [/b], plugins: [{{name: request-termination}}]}}\n\
         consumers:\n- {{username: bob, keyauth_credentials: [{{key: kb}}]}}\n\
         upstreams:\n- {{name: u, targets: [{{target: '{0}'}}]}}\n{plugin}",
        upstream.address
    )
}

/// The metrics, once `line` is among them.
pub async fn metrics_with(gateway: &TestGateway, line: &str) -> String {
    let mut text = String::new();
    for _ in 0..1000 {
        text = gateway.status("/metrics").await.text();
        if text.lines().any(|known| known == line) {
            return text;
        }
        tokio::task::yield_now().await;
    }
    panic!("no {line} in:\n{text}");
}

#[tokio::test]
async fn the_plugin_counts_under_kongs_names() {
    let upstream = Upstream::replying(OK).await;
    let plugin = "plugins:\n- name: prometheus\n  config: {per_consumer: true, \
                  status_code_metrics: true, latency_metrics: true, bandwidth_metrics: true}\n";
    let builder = Builder::default().set("nginx_worker_processes", "2");
    let gateway = builder.start(&config(&upstream, plugin));
    for _ in 0..3 {
        gateway.send("GET", "/a", &[("apikey", "kb")], b"").await;
    }
    gateway.get("/a").await;
    gateway.get("/none").await;
    gateway.get("/b").await;
    let series = |route, code, source, consumer| {
        format!(
            "kong_http_requests_total{{service=\"s\",route=\"{route}\",code=\"{code}\",\
             source=\"{source}\",workspace=\"default\",consumer=\"{consumer}\"}}"
        )
    };
    metrics_with(&gateway, &format!("{} 3", series("a", 200, "service", "bob"))).await;
    metrics_with(&gateway, &format!("{} 1", series("a", 401, "kong", ""))).await;
    let text = metrics_with(&gateway, &format!("{} 1", series("b", 503, "kong", ""))).await;
    let labels = "service=\"s\",route=\"a\",workspace=\"default\"";
    for line in [
        format!("kong_upstream_latency_ms_count{{{labels}}} 3"),
        format!("kong_request_latency_ms_bucket{{{labels},le=\"+Inf\"}} 4"),
        "kong_datastore_reachable 1".to_owned(),
    ] {
        assert!(text.lines().any(|known| known == line), "{line} in:\n{text}");
    }
    assert!(text.contains("kong_bandwidth_bytes{service=\"s\",route=\"a\",direction=\"egress\""));
    assert!(!text.contains("code=\"404\""), "what has no Route is not counted:\n{text}");
    assert!(!text.contains("kong_upstream_target_health"), "nobody asked for it:\n{text}");
    assert!(text.contains("silverback_connections_accepted_total"), "our own series stay:\n{text}");
    let families = text.lines().filter(|line| line.starts_with("# TYPE kong_http_requests_total"));
    assert_eq!(families.count(), 1);
}

#[tokio::test]
async fn what_nobody_asked_for_is_not_there() {
    let upstream = Upstream::replying(OK).await;
    let plugin = "plugins:\n- {name: prometheus, config: {upstream_health_metrics: true}}\n";
    let gateway = TestGateway::start(&config(&upstream, plugin));
    gateway.send("GET", "/a", &[("apikey", "kb")], b"").await;
    let text = gateway.status("/metrics").await.text();
    for name in ["kong_http_requests_total", "latency_ms", "bandwidth", "kong_ai_llm"] {
        assert!(!text.contains(name), "{name} in:\n{text}");
    }
    assert!(text.contains("kong_upstream_target_health{upstream=\"u\""), "{text}");
    assert!(text.contains("kong_node_info{node_id="), "{text}");
}
