//! Named faults and rules, seen from the wire.

use std::io::Read;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::sim::{Kind, Outcome, Quirk, Rule, RuleError};

#[tokio::test]
async fn named_faults_answer_with_azures_statuses_and_headers() {
    let sim = start(Options { deployments: vec!["real".into()], ..Options::default() });
    let none: &[(&str, &str)] = &[];
    let cases = [
        ("fault-401", 401, none),
        ("fault-429", 429, &[("retry-after", "2")]),
        ("fault-429-30", 429, &[("retry-after", "30")]),
        ("fault-429-ms-40", 429, &[("retry-after-ms", "40")]),
        ("fault-429-day", 429, &[("retry-after", "86400")]),
        ("fault-500", 500, none),
        ("fault-502", 502, &[("content-type", "application/json")]),
        ("fault-503-html", 503, &[("content-type", "text/html")]),
    ];
    for (name, status, headers) in cases {
        let got = post(&sim, &chat_path(name), &[KEY], HELLO).await;
        assert_eq!(got.status, status, "{name}");
        for (header, value) in headers {
            assert_eq!(got.header(header), Some(*value), "{name}");
        }
        assert_eq!(sim.last().unwrap().fault.as_deref(), Some(name));
    }
    let got = post(&sim, &chat_path("fault-429"), &[KEY], HELLO).await;
    assert_eq!(got.json(), vector("err-14-429-token-rate")["response"]["body"]);
    let got = post(&sim, &chat_path("fault-429"), &[], HELLO).await;
    assert_eq!(got.status, 401, "credentials come before a deployment's fault");
}

#[tokio::test]
async fn a_once_fault_fires_once_until_the_faults_are_cleared() {
    let sim = start(Options::default());
    let path = chat_path("fault-503-once");
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(post(&sim, &path, &[KEY], HELLO).await.status);
    }
    sim.clear_faults();
    statuses.push(post(&sim, &path, &[KEY], HELLO).await.status);
    assert_eq!(statuses, [503, 200, 200, 503]);
}

#[tokio::test]
async fn a_marker_in_the_prompt_works_as_a_deployment_name() {
    let sim = start(Options::default());
    let body = HELLO.replace("hello", "hello [[fault-418]]");
    assert_eq!(post(&sim, CHAT, &[KEY], &body).await.status, 418);
}

#[tokio::test]
async fn connections_are_dropped_and_cut_where_asked() {
    let sim = start(Options::default());
    assert!(call(&sim, "POST", &chat_path("fault-drop"), &[KEY], HELLO).await.is_none());
    let record = sim.last().unwrap();
    assert_eq!((record.status, record.outcome()), (0, Outcome::Cut));

    let got = post(&sim, &chat_path("fault-cut-stream-2"), &[KEY], STREAM).await;
    assert_eq!((got.status, got.chunks.len(), got.complete), (200, 2, false));
    assert_eq!(sim.settled(&sim.last().unwrap()).await, Outcome::Cut);

    let got = post(&sim, &chat_path("fault-cut-10"), &[KEY], HELLO).await;
    assert_eq!((got.body.len(), got.complete), (10, false));
    let got = post(&sim, &chat_path("fault-cut-10"), &[KEY], STREAM).await;
    assert_eq!((got.text().as_str(), got.complete), ("data: {\"ch", false));
}

#[tokio::test]
async fn quirks_bend_a_stream() {
    let sim = start(Options::default());
    let stream = |name: &str| format!("fault-{name}");
    let mut texts = Vec::new();
    for name in ["no-done", "crlf", "error-event", "async-filter", "one-byte", "malformed"] {
        let got = post(&sim, &chat_path(&stream(name)), &[KEY], STREAM).await;
        assert_eq!((got.status, got.complete), (200, true), "{name}");
        texts.push(got.text());
        assert_eq!(got.chunks.iter().all(|chunk| chunk.len() == 1), name == "one-byte");
    }
    let [no_done, crlf, error, async_filter, one_byte, malformed] = &texts[..] else { panic!() };
    assert!(no_done.ends_with("}\n\n") && !no_done.contains("[DONE]"));
    assert!(crlf.ends_with("data: [DONE]\r\n\r\n"));
    assert!(error.contains("server_error") && !error.contains("[DONE]"));
    let after_stop = async_filter.split_once(r#""finish_reason":"stop""#).unwrap().1;
    assert!(after_stop.contains("content_filter_offsets") && !after_stop.contains("\"delta\":{\""));
    assert!(one_byte.ends_with("data: [DONE]\n\n"));
    let third = malformed.split("\n\n").nth(2).unwrap().strip_prefix("data: ").unwrap();
    assert!(serde_json::from_str::<Value>(third).is_err());
}

#[tokio::test]
async fn the_form_of_a_reply_can_contradict_the_request() {
    let sim = start(Options::default());
    let got = post(&sim, &chat_path("fault-json-instead-of-stream"), &[KEY], STREAM).await;
    assert_eq!(got.header("content-type"), Some("application/json"));
    assert!(got.message().ends_with("hello"));
    let got = post(&sim, &chat_path("fault-stream-instead-of-json"), &[KEY], HELLO).await;
    assert_eq!(got.events().last().unwrap(), "[DONE]");
    let got = post(&sim, &chat_path("fault-empty"), &[KEY], HELLO).await;
    assert_eq!((got.status, got.body.len(), got.complete), (200, 0, true));
    assert_eq!(sim.settled(&sim.last().unwrap()).await, Outcome::Sent);
    let got = post(&sim, &chat_path("fault-filtered-output"), &[KEY], HELLO).await;
    let wanted = &vector("chat-02-content-filtered-output")["response"]["body"]["choices"];
    assert_eq!(got.json()["choices"], *wanted);
}

#[tokio::test]
async fn gzip_is_sent_only_to_those_who_accept_it() {
    let sim = start(Options::default());
    let path = chat_path("fault-gzip");
    for body in [HELLO, STREAM] {
        let got = post(&sim, &path, &[KEY, ("accept-encoding", "br, gzip")], body).await;
        assert_eq!(got.header("content-encoding"), Some("gzip"));
        let mut plain = String::new();
        flate2::read::GzDecoder::new(&got.body[..]).read_to_string(&mut plain).unwrap();
        assert!(plain.contains("finish_reason"));
        for accepts in ["identity", "gzip;q=0, identity"] {
            let got = post(&sim, &path, &[KEY, ("accept-encoding", accepts)], body).await;
            assert_eq!(got.header("content-encoding"), None, "{accepts}");
        }
    }
}

#[tokio::test]
async fn scripted_chunks_keep_the_borders_of_every_stream_vector() {
    let sim = start(Options::default());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("spec/vectors/azure");
    let mut seen = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let Some(name) = name.strip_suffix(".json").filter(|n| n.starts_with("stream-")) else {
            continue;
        };
        let chunks = vector(name)["response"]["wire_chunks_b64"].clone();
        let rule = json!({ "kind": "chat", "times": 1, "chunks_b64": chunks, "cut": true });
        let added = post(&sim, "/sim/faults", &[], &rule.to_string()).await;
        assert_eq!(added.status, 201, "{name}: {}", added.text());
        let got = post(&sim, CHAT, &[], STREAM).await;
        let sent: Vec<String> = got.chunks.iter().map(|chunk| STANDARD.encode(chunk)).collect();
        assert_eq!((json!(sent), got.complete), (chunks, false), "{name}");
        seen += 1;
    }
    assert_eq!(seen, 18);
}

#[tokio::test]
async fn rules_match_count_and_give_way() {
    let sim = start(Options::default());
    let rule = Rule {
        deployment: Some("gpt-4o".into()),
        kind: Some(Kind::Openai),
        path: Some("/openai/deployments/*".into()),
        skip: 1,
        times: Some(2),
        status: Some(529),
        headers: vec![("x-a".into(), "1".into()), ("x-a".into(), "2".into())],
        body: Some("busy".into()),
        ..Rule::default()
    };
    let id = sim.fault(rule).unwrap();
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(post(&sim, CHAT, &[KEY], HELLO).await.status);
        assert_eq!(post(&sim, &chat_path("other"), &[KEY], HELLO).await.status, 200);
    }
    assert_eq!(statuses, [200, 529, 529, 200]);
    let faulty = sim.take().into_iter().find(|record| record.status == 529).unwrap();
    assert_eq!(faulty.fault, Some(format!("rule {id}")));
    let list = get(&sim, "/sim/faults", &[]).await.json();
    assert_eq!((&list[0]["fired"], &list[0]["left"]), (&json!(2), &json!(0)));
    assert_eq!(list[0]["rule"]["headers"], json!({ "x-a": ["1", "2"] }));
    assert!(list[0]["rule"].get("drop").is_none(), "fields that say nothing are left out");
}

#[tokio::test]
async fn a_rule_changes_the_usual_reply() {
    let sim = start(Options::default());
    let rule = json!([
        { "kind": "chat", "content": "Forty two.", "headers": { "x-ms-region": "Mars" },
          "delay_ms": 30, "status": 203 },
        { "kind": "entra", "status": 429, "headers": { "retry-after": 8 } },
        { "kind": "imds", "status": 410 },
        { "fault": "fault-500", "deployment": "real-name", "times": 1 },
    ]);
    let added = post(&sim, "/sim/faults", &[], &rule.to_string()).await;
    assert_eq!(added.json(), json!({ "ids": [1, 2, 3, 4] }));
    let before = Instant::now();
    let got = post(&sim, CHAT, &[KEY], HELLO).await;
    assert!(before.elapsed() >= Duration::from_millis(30));
    assert_eq!((got.status, got.message().as_str()), (203, "Forty two."));
    assert_eq!(got.header("x-ms-region"), Some("Mars"));
    assert_eq!(post(&sim, CHAT, &[], HELLO).await.status, 401, "a refusal is not changed");
    assert_eq!(
        post(&sim, "/t/oauth2/v2.0/token", &[], "").await.json(),
        vector("entra-15-throttled-retry-after")["response"]["body"]
    );
    let imds = get(&sim, "/metadata/identity/oauth2/token", &[]).await;
    assert_eq!(imds.json(), vector("imds-09-410-window")["responses_repeat"]["body"]);
    sim.clear_faults();
    assert_eq!(post(&sim, CHAT, &[KEY], HELLO).await.status, 200);
}

#[tokio::test]
async fn rules_that_cannot_work_are_refused_with_a_reason() {
    let sim = start(Options::default());
    let refused = |rule| sim.fault(rule).unwrap_err();
    let named = |name: &str| Rule { fault: Some(name.into()), ..Rule::default() };
    assert_eq!(refused(named("fault-x")), RuleError::UnknownFault("fault-x".into()));
    let mixed = Rule { quirk: Some(Quirk::Crlf), ..named("fault-500") };
    assert_eq!(refused(mixed), RuleError::Mixed);
    assert_eq!(refused(Rule { status: Some(99), ..Rule::default() }), RuleError::Status(99));
    let header = Rule { headers: vec![("a b".into(), "".into())], ..Rule::default() };
    assert_eq!(refused(header), RuleError::Header("a b".into()));
    assert_eq!(refused(Rule { delay_ms: 600_001, ..Rule::default() }), RuleError::Delay);
    for body in ["", "3", r#"{"stauts":500}"#, r#"{"chunks_b64":["?"]}"#, r#"[{},{"status":1}]"#] {
        let got = post(&sim, "/sim/faults", &[], body).await;
        assert_eq!(got.status, 400, "{body}");
        assert!(got.json()["error"].is_string());
    }
    assert_eq!(
        get(&sim, "/sim/faults", &[]).await.json(),
        json!([]),
        "none of a bad list is added"
    );
}

#[tokio::test]
async fn the_record_tells_when_the_client_has_left() {
    let sim = start(Options::default());
    let rule = Rule { chunk_delay_ms: Some(600_000), ..Rule::default() };
    sim.fault(Rule { times: Some(1), ..rule }).unwrap();
    let mut stream = TcpStream::connect(sim.addr()).await.unwrap();
    stream.write_all(&request("POST", CHAT, &[KEY], STREAM, "keep-alive")).await.unwrap();
    stream.read_u8().await.unwrap();
    let record = sim.last().unwrap();
    assert_eq!(record.outcome(), Outcome::Pending);
    drop(stream);
    assert_eq!(sim.settled(&record).await, Outcome::ClientGone);

    let mut stream = TcpStream::connect(sim.addr()).await.unwrap();
    let hang = request("POST", &chat_path("fault-hang"), &[KEY], HELLO, "keep-alive");
    stream.write_all(&hang).await.unwrap();
    let record = sim.wait_for(2).await.pop().unwrap();
    drop(stream);
    assert_eq!(sim.settled(&record).await, Outcome::ClientGone);
}

#[tokio::test]
async fn chunks_from_rust_are_sent_as_they_are() {
    let sim = start(Options::default());
    let chunks = vec![Bytes::from_static(b"\xff\x00"), Bytes::new(), Bytes::from_static(b"b")];
    let headers = vec![("content-type".into(), "application/octet-stream".into())];
    sim.fault(Rule { chunks: Some(chunks), headers, ..Rule::default() }).unwrap();
    let got = get(&sim, "/anything", &[]).await;
    assert_eq!((got.status, got.chunks, got.complete), (200, vec![vec![255, 0], vec![b'b']], true));
}
