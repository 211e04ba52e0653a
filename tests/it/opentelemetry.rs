//! The plugin opentelemetry before a collector: traces, and metrics.

use super::azure_scene::{STREAM, Scene, Target};
use super::cli_process::silverback;
use super::gateway::{Builder, TestGateway};
use super::http::{self, Upstream, closed_port};
use super::lua::{install, with_plugins};
use super::otlp::{Collector, Span};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

const ID: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT: &str = "b7ad6b7169203331";

/// Sent as soon as possible.
const QUEUE: &str = "queue: {max_coalescing_delay: 0.02, max_batch_size: 200}";

fn traced() -> Builder {
    Builder::default().set("tracing_instrumentations", "all").set("tracing_sampling_rate", "1")
}

fn config(upstream: &str, plugin: &str) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://{upstream}/own\n  \
         retries: 1\n  routes:\n  - {{name: r, paths: [/t, /u]}}\n  - {{name: own, \
         paths: [/stop], plugins: [{{name: request-termination}}]}}\n  \
         - {{name: locked, paths: [/locked], plugins: [{{name: key-auth}}]}}\nplugins:\n\
         - name: opentelemetry\n  config: {{{plugin}}}\n"
    )
}

/// A gateway with the plugin, its upstream and its collector.
struct Traced {
    gateway: TestGateway,
    upstream: Upstream,
    collector: Collector,
}

async fn start(builder: Builder, more: &str) -> Traced {
    let (upstream, collector) = (Upstream::replying(OK).await, Collector::start().await);
    let plugin = format!("traces_endpoint: '{}', {QUEUE}{more}", collector.url("traces"));
    let gateway = builder.start(&config(&upstream.address.to_string(), &plugin));
    Traced { gateway, upstream, collector }
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

fn parent_header(flags: &str) -> (&'static str, String) {
    ("traceparent", format!("00-{ID}-{CLIENT}-{flags}"))
}

#[tokio::test]
async fn a_request_is_a_trace_that_goes_on_from_the_client_to_the_upstream() {
    let more = ", resource_attributes: {service.name: shop, team: a}, headers: {x-key: k}, \
                http_response_header_for_traceid: x-trace";
    let traced = start(traced(), more).await;
    let (name, parent) = parent_header("01");
    let answer = traced.gateway.send("GET", "/t/a?b=c", &[(name, &parent)], b"").await;
    assert_eq!((answer.status(), answer.header("x-trace")), (200, Some(ID)));
    let spans = traced.collector.spans(4).await;
    assert!(spans.iter().all(|span| span.trace == ID && span.start <= span.end), "{spans:?}");
    let [root] = named(&spans, "kong")[..] else { panic!("{spans:?}") };
    assert_eq!((root.parent.as_str(), root.kind, root.status), (CLIENT, 2, 0));
    for (name, value) in [
        ("http.method", "GET"),
        ("http.url", "http://gw.test/t/a?b=c"),
        ("http.host", "gw.test"),
        ("http.scheme", "http"),
        ("http.flavor", "1.1"),
        ("http.route", "/t"),
        ("http.status_code", "200"),
        ("http.client_ip", "127.0.0.1"),
        ("net.peer.ip", "127.0.0.1"),
        ("kong.request.id", answer.header("x-kong-request-id").unwrap()),
    ] {
        assert_eq!(root.attributes.get(name).map(String::as_str), Some(value), "{name}");
    }
    let [attempt] = named(&spans, "kong.balancer")[..] else { panic!("{spans:?}") };
    assert_eq!((attempt.parent == root.id, attempt.kind), (true, 3));
    assert_eq!(attempt.attributes["net.peer.port"], traced.upstream.address.port().to_string());
    assert_eq!(attempt.attributes["try_count"], "1");
    let (first, rest) =
        (named(&spans, "kong.upstream.ttfb")[0], named(&spans, "kong.upstream.read_response")[0]);
    assert!(first.parent == attempt.id && rest.parent == attempt.id && first.end == rest.start);
    let seen = traced.upstream.seen().pop().unwrap();
    let told = format!("00-{ID}-{}-01", attempt.id);
    assert_eq!(seen.header("traceparent"), Some(told.as_str()));
    let sent = traced.collector.deliveries().pop().unwrap();
    assert_eq!(sent.header("content-type"), Some("application/x-protobuf"));
    assert_eq!(sent.header("x-key"), Some("k"));
    let resource = traced.collector.resource("traces");
    assert_eq!((resource["service.name"].as_str(), resource["team"].as_str()), ("shop", "a"));
    assert!(resource["service.instance.id"].len() == 36 && !resource["service.version"].is_empty());
}

#[tokio::test]
async fn failed_attempts_and_answers_of_the_gateway_are_spans_too() {
    let (closed, collector) = (closed_port(), Collector::start().await);
    let plugin = format!("traces_endpoint: '{}', {QUEUE}", collector.url("traces"));
    let upstream = closed.local_addr().unwrap().to_string();
    let gateway = traced().start(&config(&upstream, &plugin));
    assert_eq!(gateway.get("/u").await.status(), 502);
    let spans = collector.spans(3).await;
    let [root] = named(&spans, "kong")[..] else { panic!("{spans:?}") };
    assert_eq!((root.status, root.parent.as_str()), (2, ""));
    assert_eq!(root.attributes["http.status_code"], "502");
    let attempts = named(&spans, "kong.balancer");
    assert_eq!(attempts.len(), 2, "{spans:?}");
    for (number, attempt) in attempts.iter().enumerate() {
        assert_eq!((attempt.status, attempt.parent == root.id), (2, true));
        assert_eq!(attempt.attributes["http.status_code"], "502");
        assert_eq!(attempt.attributes["try_count"], (number + 1).to_string());
    }
    gateway.get("/stop").await;
    // Answered before the plugin has its turn, and yet its trace is the client's.
    let (name, parent) = parent_header("01");
    assert_eq!(gateway.send("GET", "/locked", &[(name, &parent)], b"").await.status(), 401);
    let spans = collector.spans(5).await;
    let statuses: Vec<_> =
        spans[3..].iter().map(|span| &span.attributes["http.status_code"]).collect();
    assert_eq!(statuses, ["503", "401"]);
    assert_eq!((spans[4].trace.as_str(), spans[4].parent.as_str()), (ID, CLIENT));
}

#[tokio::test]
async fn without_tracing_instrumentations_traces_are_only_passed_on() {
    let traced = start(Builder::default(), ", sampling_rate: 1").await;
    let (name, parent) = parent_header("01");
    traced.gateway.send("GET", "/t", &[(name, &parent)], b"").await;
    let seen = traced.upstream.seen().pop().unwrap();
    let told: Vec<_> = seen.header("traceparent").unwrap().split('-').collect();
    assert_eq!((told[1], told[3]), (ID, "00"));
    assert_ne!(told[2], CLIENT);
    drop(traced.gateway); // sends what there is
    assert!(traced.collector.deliveries().is_empty());
}

#[tokio::test]
async fn a_client_that_does_not_record_is_followed_and_so_is_the_rate() {
    let traced = start(traced(), ", sampling_rate: 0.5").await;
    let header = |id: &str, flags: &str| format!("00-{id}-{CLIENT}-{flags}");
    let (late, early) = ("ffffffffffffffff0000000000000001", "0000000000000010ffffffffffffffff");
    for (id, flags) in [(late, "01"), (early, "00"), (early, "01")] {
        let parent = header(id, flags);
        traced.gateway.send("GET", "/t", &[("traceparent", &parent)], b"").await;
    }
    let flags: Vec<_> = traced
        .upstream
        .seen()
        .iter()
        .map(|seen| seen.header("traceparent").unwrap().rsplit_once('-').unwrap().1.to_owned())
        .collect();
    assert_eq!(flags, ["00", "00", "01"]);
    drop(traced.gateway);
    let spans = traced.collector.spans(4).await;
    assert!(spans.len() == 4 && spans.iter().all(|span| span.trace == early), "{spans:?}");
}

#[tokio::test]
async fn only_the_kinds_that_the_setting_names_are_there() {
    let builder = traced().set("tracing_instrumentations", "request");
    let traced = start(builder, ", propagation: {default_format: datadog}").await;
    traced.gateway.get("/t").await;
    let seen = traced.upstream.seen().pop().unwrap();
    drop(traced.gateway);
    let [root] = &traced.collector.spans(1).await[..] else { panic!() };
    // Without spans of attempts the upstream hangs below the request.
    let parent: u64 = seen.header("x-datadog-parent-id").unwrap().parse().unwrap();
    assert_eq!(root.id, format!("{parent:016x}"));
}

#[tokio::test]
async fn log_records_name_the_trace_and_lua_plugins_beside_it_keep_their_tracer() {
    let folder = tempfile::tempdir().unwrap();
    let handler = "local P = { PRIORITY = 1, VERSION = '1' }
        function P:access()
          local span = kong.tracing.start_span('mine')
          span:finish()
          kong.response.set_header('x-active', kong.tracing.active_span().name)
        end
        function P:log()
          kong.log.notice(kong.log.serialize().trace_id.w3c)
        end
        return P";
    install(folder.path(), "asks", handler);
    let (upstream, collector) = (Upstream::replying(OK).await, Collector::start().await);
    let plugin = format!("traces_endpoint: '{}', {QUEUE}", collector.url("traces"));
    let log = folder.path().join("log.json");
    let config = config(&upstream.address.to_string(), &plugin)
        + &format!("- name: asks\n- {{name: file-log, config: {{path: {}}}}}\n", log.display());
    let gateway = with_plugins(folder.path(), "bundled,asks")
        .set("tracing_instrumentations", "all")
        .set("tracing_sampling_rate", "1")
        .start(&config);
    let (name, parent) = parent_header("01");
    let answer = gateway.send("GET", "/t", &[(name, &parent)], b"").await;
    assert_eq!(answer.header("x-active"), Some("kong"));
    drop(gateway);
    let record = std::fs::read_to_string(&log).unwrap();
    let record: serde_json::Value = serde_json::from_str(record.lines().next().unwrap()).unwrap();
    assert_eq!(record["trace_id"]["w3c"], ID);
    assert_eq!(collector.spans(4).await[0].trace, ID);
}

#[tokio::test]
async fn log_records_belong_to_their_traces() {
    let (upstream, collector) = (Upstream::replying(OK).await, Collector::start().await);
    let plugin = format!(
        "traces_endpoint: '{}', access_logs_endpoint: '{}', {QUEUE}",
        collector.url("traces"),
        collector.url("logs")
    );
    let gateway = traced().start(&config(&upstream.address.to_string(), &plugin));
    let (name, parent) = parent_header("01");
    gateway.send("GET", "/t?a=b", &[(name, &parent)], b"").await;
    let [(body, attributes, trace, span)] = &collector.records(1).await[..] else { panic!() };
    let record: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        (&record["route"]["name"], &record["request"]["uri"]),
        (&"r".into(), &"/t?a=b".into())
    );
    assert_eq!(attributes["http.status_code"], "200");
    let spans = collector.spans(4).await;
    assert_eq!((trace.as_str(), span), (ID, &named(&spans, "kong")[0].id));
}

/// A scene with the plugin, with spans and metrics.
async fn ai(collector: &Collector) -> Scene {
    let plugin = format!(
        "{{name: opentelemetry, config: {{traces_endpoint: '{}', {QUEUE}, \
         metrics: {{endpoint: '{}', push_interval: 0.1}}}}}}",
        collector.url("traces"),
        collector.url("metrics")
    );
    let target = Target::with_key().plugin(&plugin);
    Scene::with(&target, silverback::sim::Options::default(), |builder, _| {
        builder.set("tracing_instrumentations", "all").set("tracing_sampling_rate", "1")
    })
}

#[tokio::test]
async fn a_call_of_a_model_is_a_span_of_its_own_without_its_words() {
    let collector = Collector::start().await;
    let scene = ai(&collector).await;
    let answer = scene.say("a secret of mine").await.json();
    let stream = scene.gateway.post("/chat", STREAM).await;
    assert_eq!(stream.status(), 200);
    scene.say("[[fault-429]]").await;
    let spans = collector.spans(15).await;
    let calls = named(&spans, "kong.gen_ai");
    let [whole, stream, refused] = calls[..] else { panic!("{spans:?}") };
    for (name, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "azure.ai.openai"),
        ("gen_ai.system", "azure.ai.openai"),
        ("gen_ai.request.model", "gpt-4o"),
        ("gen_ai.response.model", answer["model"].as_str().unwrap()),
        ("gen_ai.response.id", answer["id"].as_str().unwrap()),
        ("gen_ai.response.finish_reasons", "stop"),
        ("gen_ai.usage.input_tokens", &answer["usage"]["prompt_tokens"].to_string()),
        ("gen_ai.usage.output_tokens", &answer["usage"]["completion_tokens"].to_string()),
        ("server.address", "127.0.0.1"),
        ("server.port", &scene.sim.addr().port().to_string()),
    ] {
        assert_eq!(whole.attributes.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(
        (whole.kind, whole.status, whole.attributes.contains_key("error.type")),
        (3, 0, false)
    );
    assert_eq!(stream.attributes["gen_ai.response.finish_reasons"], "stop");
    assert!(stream.attributes["gen_ai.response.id"].starts_with("chatcmpl-sim"));
    assert!(stream.attributes.contains_key("gen_ai.response.time_to_first_chunk"));
    assert_eq!((refused.attributes["error.type"].as_str(), refused.status), ("429", 2));
    assert!(!refused.attributes.contains_key("gen_ai.usage.input_tokens"));
    let wire: Vec<u8> = collector.deliveries().into_iter().flat_map(|sent| sent.body).collect();
    assert!(!wire.windows(6).any(|six| six == b"secret"));
}

#[tokio::test]
async fn metrics_come_at_their_interval_and_once_more_at_the_end() {
    let collector = Collector::start().await;
    let scene = ai(&collector).await;
    let answer = scene.hello().await.json();
    scene.gateway.post("/chat", STREAM).await;
    scene.say("[[fault-429]]").await;
    scene.gateway.get("/nowhere").await;
    drop(scene);
    let name = "gen_ai.client.token.usage";
    let output = collector.metric(name, "gen_ai.token.type", "output").await;
    let attributes = &output.attributes;
    assert_eq!(attributes["gen_ai.request.model"], "gpt-4o");
    assert_eq!(attributes["gen_ai.response.model"], answer["model"].as_str().unwrap());
    assert!(output.sum >= answer["usage"]["completion_tokens"].as_f64().unwrap(), "{output:?}");
    assert_eq!(output.buckets.len(), output.bounds.len() + 1);
    assert_eq!(output.buckets.iter().sum::<u64>(), output.count);
    assert!(output.start > 0 && output.start < output.time);
    let name = "gen_ai.client.operation.duration";
    let refused = collector.metric(name, "error.type", "429").await;
    assert_eq!((refused.count, refused.bounds[0], refused.bounds[13]), (1, 0.01, 81.92));
    let name = "gen_ai.client.operation.time_to_first_chunk";
    assert_eq!(collector.metric(name, "gen_ai.operation.name", "chat").await.count, 1);
    let name = "http.server.request.duration";
    let chats = collector.metric(name, "http.response.status_code", "200").await;
    assert_eq!((chats.count, chats.attributes["kong.route.name"].as_str()), (2, "chat"));
    let lost = collector.metric(name, "http.response.status_code", "404").await;
    assert!(lost.count == 1 && !lost.attributes.contains_key("kong.route.name"), "{lost:?}");
    assert_eq!(
        collector.metric("silverback.overhead", "url.scheme", "http").await.bounds[0],
        25e-6
    );
    assert_eq!(collector.resource("metrics")["service.name"], "kong");
}

#[test]
fn what_cannot_work_is_said_when_the_configuration_loads() {
    let at = "traces_endpoint: 'http://127.0.0.1:9/v1/traces'";
    for (plugin, error) in [
        (String::new(), "at least one of these fields must be non-empty: 'traces_endpoint'"),
        (format!("{at}, resource_attributes: {{a: ''}}"), "length must be at least 1"),
        (format!("{at}, resource_attributes: {{a: $(os.time())}}"), "'a' has a template"),
        (format!("{at}, sampling_rate: 2"), "value should be between 0 and 1"),
        (format!("{at}, propagation: {{default_format: x}}"), "expected one of:"),
        (format!("{at}, http_response_header_for_traceid: 'a b'"), "no name of a header"),
        ("traces_endpoint: 'ftp://a.test'".to_owned(), "must begin with http:// or https://"),
    ] {
        let text = config("127.0.0.1:9", &plugin);
        let errors = Builder::default().try_start(&text).err().unwrap_or_default().join("\n");
        assert!(errors.contains(error), "{plugin}: {errors}");
    }
}

#[tokio::test]
async fn fields_of_old_still_say_where_spans_go() {
    let (upstream, collector) = (Upstream::replying(OK).await, Collector::start().await);
    let plugin =
        format!("endpoint: '{}', header_type: b3, batch_flush_delay: 0", collector.url("traces"));
    let gateway = traced().start(&config(&upstream.address.to_string(), &plugin));
    gateway.get("/t").await;
    let spans = collector.spans(4).await;
    let seen = upstream.seen().pop().unwrap();
    let attempt = named(&spans, "kong.balancer")[0];
    assert_eq!(seen.header("x-b3-spanid"), Some(attempt.id.as_str()));
    assert_eq!(seen.header("x-b3-parentspanid"), Some(attempt.parent.as_str()));
    assert!(seen.header("traceparent").unwrap().contains(&attempt.trace));
}

#[tokio::test]
async fn a_stream_is_counted_for_its_trace_though_nothing_else_asks_for_its_tokens() {
    let collector = Collector::start().await;
    let plugin = format!(
        "{{name: opentelemetry, config: {{traces_endpoint: '{}', {QUEUE}}}}}",
        collector.url("traces")
    );
    let mut target = Target::with_key().plugin(&plugin);
    target.statistics = false;
    let scene = Scene::with(&target, silverback::sim::Options::default(), |builder, _| {
        builder.set("tracing_instrumentations", "all").set("tracing_sampling_rate", "1")
    });
    let body = STREAM.replacen('{', r#"{"max_tokens": 64, "temperature": 0.5, "#, 1);
    let stream = scene.gateway.post("/chat", &body).await;
    assert!(!stream.text().contains("usage\":{"), "the client has not asked for it");
    let spans = collector.spans(5).await;
    let [call] = named(&spans, "kong.gen_ai")[..] else { panic!("{spans:?}") };
    assert!(call.attributes.contains_key("gen_ai.usage.output_tokens"), "{call:?}");
    assert_eq!(call.attributes["gen_ai.request.max_tokens"], "64");
    assert_eq!(call.attributes["gen_ai.request.temperature"], "0.5");
}

#[tokio::test]
async fn spans_of_lua_code_hang_below_the_request() {
    let folder = tempfile::tempdir().unwrap();
    let handler = "local P = { PRIORITY = 1000, VERSION = '1' }
        function P:access()
          local outer = kong.tracing.start_span('outer')
          kong.tracing.set_active_span(outer)
          outer:set_attribute('team', 'a')
          outer:set_attribute('http.status_code', 204)
          local inner = kong.tracing.start_span('inner', { span_kind = 3 })
          inner:record_error('no luck')
          inner:set_status(2)
          inner:finish()
          outer:finish()
          kong.tracing.start_span('never ended')
        end
        return P";
    install(folder.path(), "spans", handler);
    let (upstream, collector) = (Upstream::replying(OK).await, Collector::start().await);
    let plugin = format!("traces_endpoint: '{}', {QUEUE}", collector.url("traces"));
    let config = config(&upstream.address.to_string(), &plugin) + "- name: spans\n";
    let gateway = with_plugins(folder.path(), "bundled,spans")
        .set("tracing_instrumentations", "all")
        .set("tracing_sampling_rate", "1")
        .start(&config);
    let (name, parent) = parent_header("01");
    gateway.send("GET", "/t", &[(name, &parent)], b"").await;
    let spans = collector.spans(6).await;
    assert!(spans.iter().all(|span| span.trace == ID), "{spans:?}");
    let one = |name| named(&spans, name).first().copied().unwrap();
    let (root, outer, inner) = (one("kong"), one("outer"), one("inner"));
    assert_eq!((&outer.parent, &inner.parent), (&root.id, &outer.id));
    assert_eq!((outer.kind, inner.kind, inner.status), (1, 3, 2));
    assert_eq!(outer.attributes["team"], "a");
    assert_eq!(outer.attributes["http.status_code"], "204");
    assert!(outer.start <= inner.start && inner.end <= outer.end && outer.end <= root.end);
    assert!(named(&spans, "never ended").is_empty());
}

#[tokio::test]
async fn resource_attributes_may_depend_on_the_request() {
    let attributes = "resource_attributes: {service.name: '$(headers.host)', team: \
                      'a-$(headers[\"x-team\"] or \"none\")', gone: '$(query_params.q)'}";
    let traced = start(traced(), &format!(", {attributes}")).await;
    traced.gateway.send("GET", "/t", &[("x-team", "b")], b"").await;
    traced.collector.spans(4).await;
    let resource = traced.collector.resource("traces");
    assert_eq!((resource["service.name"].as_str(), resource["team"].as_str()), ("gw.test", "a-b"));
    assert!(!resource.contains_key("gone") && resource.contains_key("service.version"));
    traced.gateway.get("/t?q=1").await;
    traced.collector.spans(8).await;
    let resource = traced.collector.resource("traces");
    assert_eq!((resource["team"].as_str(), resource["gone"].as_str()), ("a-none", "1"));
}

#[tokio::test]
async fn the_gateways_lines_go_to_a_collector_with_the_trace_of_their_request() {
    let (upstream, collector) = (Upstream::replying(OK).await, Collector::start().await);
    let plugin = format!(
        "traces_endpoint: '{}', logs_endpoint: '{}', {QUEUE}",
        collector.url("traces"),
        collector.url("logs")
    );
    let says = "- name: pre-function\n  config: {access: [\"kong.log.warn('not well')\"]}\n";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kong.yaml");
    std::fs::write(&path, config(&upstream.address.to_string(), &plugin) + says).unwrap();
    let start = silverback(&["run", path.to_str().unwrap()]).on_free_ports();
    let start = start.env("KONG_TRACING_INSTRUMENTATIONS", "all");
    let mut process = start.env("KONG_TRACING_SAMPLING_RATE", "1").spawn();
    let proxy = process.proxy().await;
    let (name, parent) = parent_header("01");
    let answer = http::send(proxy, "GET", "/t", &[(name, &parent)], b"").await;
    let lines = collector.records(1).await;
    let own: Vec<_> = lines.iter().filter(|line| line.0.contains("not well")).collect();
    let [(_, attributes, trace, span)] = own[..] else { panic!("{lines:?}") };
    assert_eq!(attributes["request.id"], answer.header("x-kong-request-id").unwrap());
    assert_eq!(trace, ID);
    let spans = collector.spans(4).await;
    assert_eq!(span, &named(&spans, "kong")[0].id);
    // Those of the process itself belong to no trace.
    let others = lines.iter().filter(|line| line.2.is_empty());
    assert!(others.clone().any(|line| line.0.contains("listens on")), "{lines:?}");
}
