//! Streams end to end: events as they come, broken upstreams, clients that leave.

use std::io::Read;

use bytes::Bytes;
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use silverback::sim::{Kind, Options, Outcome, Quirk, Rule};

use super::azure_scene::{HELLO, STREAM, Scene, Target};
use super::gateway::TestGateway;
use super::http::Message;
use super::stream_ends::{Client, LogPipe, Upstream, soon};

/// A gateway in front of an upstream that is moved by hand.
fn by_hand(upstream: &Upstream, target: &Target) -> TestGateway {
    TestGateway::start(&target.yaml(&upstream.url()))
}

fn piece(text: &str) -> String {
    json!({
        "id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}],
    })
    .to_string()
}

/// The events of a body, without `data: `.
fn events(body: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(body).unwrap().replace("\r\n", "\n");
    let events = text.split("\n\n").filter(|event| !event.is_empty());
    events.map(|event| event.trim_start_matches("data: ").to_owned()).collect()
}

fn rule() -> Rule {
    Rule { kind: Some(Kind::Chat), ..Rule::default() }
}

#[tokio::test]
async fn each_event_reaches_the_client_before_the_upstream_sends_the_next() {
    let upstream = Upstream::start().await;
    let gateway = by_hand(&upstream, &Target::with_key());
    let mut client = Client::post(gateway.address, "/chat", "", STREAM).await;
    let mut answering = upstream.request().await;
    answering.begin().await;
    let head = client.head().await;
    assert_eq!(head.status(), 200, "{head:?}");
    assert!(head.header("content-type").unwrap().starts_with("text/event-stream"), "{head:?}");
    for text in ["one", " two", " three"] {
        let data = piece(text);
        answering.event(&data).await;
        assert_eq!(client.event().await.unwrap(), format!("data: {data}"));
    }
    answering.event("[DONE]").await;
    answering.end().await;
    assert_eq!(client.events().await, ["data: [DONE]"]);
}

#[tokio::test]
async fn a_stream_cut_at_any_byte_is_the_same_stream() {
    let mut log = LogPipe::open();
    let scene = Scene::start(&Target::with_key().plugin(&log.plugin()));
    let usage = json!({"id": "c1", "model": "m", "choices": [],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 9}});
    let wire = format!(
        ": comment\r\n\r\ndata: {}\n\ndata: {usage}\r\n\r\ndata: [DONE]\n\n",
        json!({"model": "m", "choices": [{"index": 0, "delta": {"content": "ü 好 \"x\"\n"}}]}),
    );
    let wire = Bytes::from(wire);
    let asks = STREAM.replacen('{', r#"{"stream_options":{"include_usage":true},"#, 1);
    for at in 0..=wire.len() {
        let chunks = [wire.slice(..at), wire.slice(at..)];
        let chunks = chunks.into_iter().filter(|chunk| !chunk.is_empty()).collect();
        scene.sim.fault(Rule { chunks: Some(chunks), times: Some(1), ..rule() }).unwrap();
        let answer = scene.gateway.post("/chat", &asks).await;
        assert!(answer.complete, "cut at {at}");
        assert_eq!(events(&answer.body), events(&wire), "cut at {at}");
        let record = log.record().await;
        assert_eq!(record["ai"]["proxy"]["usage"]["total_tokens"], 9, "cut at {at}: {record}");
        scene.sim.clear_faults();
    }
}

#[tokio::test]
async fn azures_first_event_without_choices_and_its_odd_ones_pass() {
    let scene = Scene::start(&Target::with_key());
    for prompt in ["plain", "[[fault-async-filter]]", "[[fault-crlf]]", "[[fault-one-byte]]"] {
        let body = json!({"stream": true, "messages": [{"role": "user", "content": prompt}]});
        let answer = scene.gateway.post("/chat", &body.to_string()).await;
        let events = events(&answer.body);
        let first: Value = serde_json::from_str(&events[0]).unwrap();
        assert_eq!(first["choices"], json!([]), "{prompt}: {events:?}");
        assert!(first["prompt_filter_results"].is_array(), "{prompt}: {events:?}");
        assert_eq!(events.last().unwrap(), "[DONE]", "{prompt}");
        if prompt == "[[fault-async-filter]]" {
            let odd = events.iter().filter(|event| event.contains("content_filter_offsets"));
            assert_eq!(odd.count(), 2, "{events:?}");
        }
    }
}

/// Asserts that a stream ended in an error event, and properly.
#[track_caller]
fn assert_ends_in_error(events: &[String], what: &str) {
    let last = events.last().unwrap_or_else(|| panic!("{what}: no event at all"));
    let last: Value = serde_json::from_str(last.trim_start_matches("data: "))
        .unwrap_or_else(|_| panic!("{what}: the last event is {last}"));
    assert!(last["error"]["message"].is_string(), "{what}: {last}");
    assert!(events.iter().all(|event| !event.contains("[DONE]")), "{what}: {events:?}");
}

#[tokio::test]
async fn a_broken_upstream_ends_in_an_error_event_and_no_done() {
    let scene = Scene::start(&Target::with_key());
    for fault in ["fault-cut-stream", "fault-cut-stream-1", "fault-cut-700"] {
        let prompt = format!("a longer prompt, one two three four five [[{fault}]]");
        let body = json!({"stream": true, "messages": [{"role": "user", "content": prompt}]});
        let answer = scene.gateway.post("/chat", &body.to_string()).await;
        assert_eq!(answer.status(), 200, "{fault}");
        assert!(answer.complete, "{fault}: the connection was cut: {}", answer.text());
        assert_ends_in_error(&events(&answer.body), fault);
    }
}

#[tokio::test]
async fn an_error_event_of_the_upstream_passes_as_it_is() {
    let scene = Scene::start(&Target::with_key());
    let body = r#"{"stream":true,"messages":[{"role":"user","content":"[[fault-error-event]]"}]}"#;
    let answer = scene.gateway.post("/chat", body).await;
    let events = events(&answer.body);
    assert_ends_in_error(&events, "error event");
    assert!(events.last().unwrap().contains("The server had an error"), "{events:?}");
}

#[tokio::test]
async fn a_streamed_request_that_is_not_answered_with_a_stream_keeps_status_and_body() {
    let scene = Scene::start(&Target::with_key());
    let cases = [
        ("fault-429-7", 429, "application/json", "retry after"),
        ("fault-503-html", 503, "text/html", "<"),
        ("fault-content-filter", 400, "application/json", "ResponsibleAIPolicyViolation"),
        ("fault-json-instead-of-stream", 200, "application/json", "\"chat.completion\""),
    ];
    for (fault, status, kind, word) in cases {
        let prompt = format!("[[{fault}]]");
        let body = json!({"stream": true, "messages": [{"role": "user", "content": prompt}]});
        let answer = scene.gateway.post("/chat", &body.to_string()).await;
        assert_eq!(answer.status(), status, "{fault}: {}", answer.text());
        assert!(answer.complete, "{fault}");
        assert!(answer.header("content-type").unwrap().starts_with(kind), "{fault}: {answer:?}");
        assert!(answer.text().contains(word), "{fault}: {}", answer.text());
        if status == 429 {
            assert_eq!(answer.header("retry-after"), Some("7"));
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_upstream_call_and_is_still_logged() {
    let mut log = LogPipe::open();
    let scene = Scene::start(&Target::with_key().plugin(&log.plugin()));
    scene.sim.fault(Rule { chunk_delay_ms: Some(60_000), ..rule() }).unwrap();
    let mut client = Client::post(scene.gateway.address, "/chat", "", STREAM).await;
    client.head().await;
    client.event().await.unwrap();
    let seen = scene.chats().remove(0);
    assert_eq!(seen.outcome(), Outcome::Pending);
    drop(client);
    let outcome = soon("the upstream call ends", scene.sim.settled(&seen)).await;
    assert_eq!(outcome, Outcome::ClientGone);
    let record = log.record().await;
    assert_eq!(record["response"]["status"], 200, "{record}");
    assert_eq!(record["ai"]["proxy"]["meta"]["provider_name"], "azure", "{record}");
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_ends_the_upstream_call_too() {
    let mut log = LogPipe::open();
    let scene = Scene::start(&Target::with_key().plugin(&log.plugin()));
    scene.sim.fault(Rule { delay_ms: 60_000, ..rule() }).unwrap();
    let client = Client::post(scene.gateway.address, "/chat", "", HELLO).await;
    let seen = soon("the call arrives", scene.sim.wait_for(1)).await.remove(0);
    drop(client);
    let outcome = soon("the upstream call ends", scene.sim.settled(&seen)).await;
    assert_eq!(outcome, Outcome::ClientGone);
    log.record().await;
}

fn gunzipped(answer: &Message) -> Vec<u8> {
    let mut plain = Vec::new();
    GzDecoder::new(answer.body.as_slice()).read_to_end(&mut plain).unwrap();
    plain
}

#[tokio::test]
async fn compressed_replies_are_readable_for_every_client() {
    let mut log = LogPipe::open();
    let scene = Scene::start(&Target::with_key().plugin(&log.plugin()));
    scene.sim.fault(Rule { quirk: Some(Quirk::Gzip), ..rule() }).unwrap();
    for (body, word) in [(STREAM, "[DONE]"), (HELLO, "\"chat.completion\"")] {
        let plain = scene.gateway.post("/chat", body).await;
        assert_eq!(plain.header("content-encoding"), None, "{plain:?}");
        assert!(plain.complete && plain.text().contains(word), "{}", plain.text());
        let length = plain.header("content-length").map(|length| length.parse().unwrap());
        assert!(length.is_none_or(|length: usize| length == plain.body.len()), "{plain:?}");
        let usage = log.record().await["ai"]["proxy"]["usage"]["total_tokens"].clone();
        assert!(usage.as_u64().unwrap() > 0, "{usage}");
        let headers = [("Content-Type", "application/json"), ("Accept-Encoding", "gzip")];
        let answer = scene.gateway.send("POST", "/chat", &headers, body.as_bytes()).await;
        assert!(answer.complete, "{answer:?}");
        let text = match answer.header("content-encoding") {
            Some("gzip") => gunzipped(&answer),
            other => {
                assert_eq!(other, None);
                answer.body.clone()
            }
        };
        assert!(String::from_utf8(text).unwrap().contains(word));
        log.record().await;
    }
    assert_eq!(scene.chats()[0].header("accept-encoding"), Some("gzip, identity"));
}

#[tokio::test]
async fn compressed_events_are_not_held_back() {
    let scene = Scene::start(&Target::with_key());
    let slow = Rule { quirk: Some(Quirk::Gzip), chunk_delay_ms: Some(60_000), ..rule() };
    scene.sim.fault(slow).unwrap();
    let mut client = Client::post(scene.gateway.address, "/chat", "", STREAM).await;
    assert_eq!(client.head().await.status(), 200);
    assert!(client.event().await.unwrap().contains("prompt_filter_results"));
}

/// The value of a counter on `/metrics`, summed over the lines that have these parts.
async fn metric(gateway: &TestGateway, parts: &[&str]) -> f64 {
    let text = gateway.status("/metrics").await.text();
    let lines = text.lines().filter(|line| parts.iter().all(|part| line.contains(part)));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[tokio::test]
async fn usage_of_a_stream_is_logged_and_counted() {
    let mut log = LogPipe::open();
    let scene = Scene::start(&Target::with_key().plugin(&log.plugin()));
    let body = r#"{"stream":true,"stream_options":{"include_usage":true},
        "messages":[{"role":"user","content":"one two three"}]}"#;
    let answer = scene.gateway.post("/chat", body).await;
    let totals = events(&answer.body).into_iter().find(|e| e.contains("\"total_tokens\"")).unwrap();
    let totals: Value = serde_json::from_str(&totals).unwrap();
    let total = totals["usage"]["total_tokens"].clone();
    let record = log.record().await;
    let proxy = &record["ai"]["proxy"];
    assert_eq!(proxy["usage"]["total_tokens"], total, "{record}");
    assert_eq!(proxy["meta"]["request_mode"], "stream", "{record}");
    assert_eq!(proxy["meta"]["azure_deployment_id"], "gpt-4o", "{record}");
    let counted = metric(&scene.gateway, &["llm_tokens_total", "total_tokens"]).await;
    assert_eq!(counted, total.as_f64().unwrap());
}

#[tokio::test]
async fn usage_is_counted_although_nobody_logs_it() {
    let scene = Scene::start(&Target::with_key());
    assert_eq!(scene.gateway.post("/chat", HELLO).await.status(), 200);
    assert_eq!(scene.gateway.post("/chat", STREAM).await.status(), 200);
    assert_eq!(metric(&scene.gateway, &["llm_requests_total", "gpt-4o"]).await, 2.0);
    assert!(metric(&scene.gateway, &["llm_tokens_total", "total_tokens"]).await > 10.0);
}

#[tokio::test]
async fn usage_of_a_stream_without_totals_is_estimated() {
    let mut log = LogPipe::open();
    let scene = Scene::start(&Target::with_key().plugin(&log.plugin()));
    let answer = scene.gateway.post("/chat", STREAM).await;
    assert!(!answer.text().contains("total_tokens"), "{}", answer.text());
    let record = log.record().await;
    let usage = &record["ai"]["proxy"]["usage"];
    assert!(usage["completion_tokens"].as_u64().unwrap() > 0, "{record}");
}

#[tokio::test]
async fn a_stalled_stream_ends_after_the_read_timeout() {
    let upstream = Upstream::start().await;
    let target = Target::with_key().config("balancer: {read_timeout: 200, retries: 0}");
    let gateway = by_hand(&upstream, &target);
    let mut client = Client::post(gateway.address, "/chat", "", STREAM).await;
    let mut answering = upstream.request().await;
    answering.begin().await;
    answering.event(&piece("one")).await;
    assert_eq!(client.head().await.status(), 200);
    let events = client.events().await;
    assert_eq!(events[0], format!("data: {}", piece("one")));
    assert_ends_in_error(&events, "stalled");
    answering.abandoned().await;
}

#[tokio::test]
async fn a_stream_without_done_ends_without_one() {
    let scene = Scene::with(&Target::with_key(), Options::default(), |builder, _| builder);
    let body = r#"{"stream":true,"messages":[{"role":"user","content":"a [[fault-no-done]]"}]}"#;
    let answer = scene.gateway.post("/chat", body).await;
    assert!(answer.complete && !answer.text().contains("[DONE]"), "{}", answer.text());
    assert!(!answer.text().contains("\"error\""), "{}", answer.text());
}
