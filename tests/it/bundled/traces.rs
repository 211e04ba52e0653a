//! Kong's plugins that tell of traces. The upstream is also who collects them.

use super::{Running, Way};
use crate::http::Message;

fn config(plugin: &str, more: &str) -> String {
    format!(
        "services:\n- name: s\n  url: http://{{upstream}}/own\n  routes:\n  - name: r\n    \
         paths: [/t]\n    plugins:\n    - name: {plugin}\n      config: {{{more}}}\n"
    )
}

/// The first request for a path; spans are sent when their queue is.
async fn collected(scene: &Running, path: &str) -> Message {
    for _ in 0..1000 {
        if let Some(found) = scene.upstream.seen().into_iter().find(|one| one.target() == path) {
            return found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("nothing came for {path}");
}

fn has(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

const OTLP: &str = "traces_endpoint: 'http://{upstream}/v1/traces', \
    resource_attributes: {service.name: shop}, http_response_header_for_traceid: x-trace, \
    sampling_rate: 1, \
    queue: {max_batch_size: 100, max_coalescing_delay: 0.05}";

#[tokio::test]
async fn opentelemetry_sends_the_spans_of_a_request() {
    for way in Way::all() {
        let scene = way.scene(&["opentelemetry"]).set("tracing_instrumentations", "all");
        let scene = scene.start(&config("opentelemetry", OTLP)).await;
        let answer = scene.get("/t", &[]).await;
        let trace = answer.header("x-trace").unwrap().to_owned();
        let sent = collected(&scene, "/own").await;
        let parent: Vec<_> = sent.header("traceparent").unwrap().split('-').collect();
        assert_eq!((parent[0], parent[1], parent[3]), ("00", trace.as_str(), "01"), "{way:?}");
        let spans = collected(&scene, "/v1/traces").await;
        assert_eq!(spans.header("content-type"), Some("application/x-protobuf"));
        for part in ["shop", "kong.balancer", "http.status_code", "http.method", "GET", "/t"] {
            assert!(has(&spans.body, part.as_bytes()), "{way:?}: no {part}");
        }
        assert!(has(&spans.body, &bytes(&trace)) && has(&spans.body, &bytes(parent[2])));
    }
}

#[tokio::test]
async fn opentelemetry_only_passes_traces_on_where_nobody_records_spans() {
    for way in Way::all() {
        let scene = way.scene(&["opentelemetry"]).start(&config("opentelemetry", OTLP)).await;
        let id = "0af7651916cd43dd8448eb211c80319c";
        let parent = format!("00-{id}-b7ad6b7169203331-01");
        let answer = scene.get("/t", &[("traceparent", &parent)]).await;
        assert_eq!(answer.header("x-trace"), Some(id), "{way:?}");
        let sent = collected(&scene, "/own").await;
        let sent: Vec<_> = sent.header("traceparent").unwrap().split('-').collect();
        assert_eq!((sent[1], sent[3]), (id, "00"), "{way:?}");
        assert_ne!(sent[2], "b7ad6b7169203331");
    }
}

const ZIPKIN: &str = "http_endpoint: 'http://{upstream}/api/v2/spans', sample_ratio: 1, \
    static_tags: [{name: team, value: shop}], \
    queue: {max_batch_size: 100, max_coalescing_delay: 0.05}";

#[tokio::test]
async fn zipkin_sends_the_spans_of_a_request() {
    for way in Way::all() {
        let scene = way.scene(&["zipkin"]).start(&config("zipkin", ZIPKIN)).await;
        let id = "463ac35c9f6413ad48485a3953bb6124";
        let headers = [("x-b3-traceid", id), ("x-b3-spanid", "a2fb4a1d1a96d312")];
        assert_eq!(scene.get("/t", &headers).await.status(), 200, "{way:?}");
        let sent = collected(&scene, "/own").await;
        assert_eq!(sent.header("x-b3-traceid"), Some(id), "{way:?}");
        assert_eq!(sent.header("x-b3-sampled"), Some("1"));
        let spans = collected(&scene, "/api/v2/spans").await.json();
        let spans = spans.as_array().unwrap();
        assert!(spans.iter().all(|span| span["traceId"] == id), "{spans:?}");
        let server = spans.iter().find(|span| span["kind"] == "SERVER").unwrap();
        assert_eq!(server["tags"]["team"], "shop", "{way:?}");
        assert_eq!(server["tags"]["http.status_code"], "200");
        let tries = spans.iter().filter(|span| span["tags"]["kong.balancer.try"] == "1").count();
        assert_eq!(tries, 1, "{way:?}: {spans:?}");
    }
}
