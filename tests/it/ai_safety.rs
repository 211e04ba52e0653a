//! ai-azure-content-safety between a client and a model; the simulator plays Azure.

use serde_json::{Value, json};
use silverback::sim::{Kind, Options, Sim};

use super::gateway::{Builder, TestGateway};
use super::http::{Message, Upstream, closed_port};
use super::stream_ends::{self, Client, LogPipe};

const KEY: &str = "content_safety_key: sim-key";

/// A model behind the guard. `more` are lines of the plugin's configuration.
fn config(model: &str, url: &str, more: &str) -> String {
    let more: String = more.lines().map(|line| format!("        {line}\n")).collect();
    format!(
        "_format_version: '3.0'
services:
- name: s
  url: http://127.0.0.1:9
  routes:
  - name: r
    paths: [/a]
    plugins:
    - name: ai-azure-content-safety
      config:
        content_safety_url: {url}/contentsafety/text:analyze
        categories: [{{name: Hate, rejection_level: 2}}, {{name: Violence, rejection_level: 4}}]
{more}    - name: ai-proxy
      config:
        route_type: llm/v1/chat
        auth: {{header_name: api-key, header_value: k}}
        model: {{provider: openai, name: m, options: {{upstream_url: '{model}'}}}}
"
    )
}

fn sim() -> Sim {
    Sim::start(Options { keys: vec!["sim-key".to_owned()], ..Options::default() }).unwrap()
}

fn chat(texts: &[(&str, &str)]) -> String {
    let message = |(role, content): &(&str, &str)| json!({ "role": role, "content": content });
    json!({ "messages": texts.iter().map(message).collect::<Vec<_>>() }).to_string()
}

fn model_saying(says: &str) -> &'static [u8] {
    let body = json!({ "model": "m", "choices": [{ "message": { "content": says } }] }).to_string();
    let kind = "content-type: application/json";
    let text = format!("HTTP/1.1 200 OK\r\n{kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    Box::leak(text.into_bytes().into_boxed_slice())
}

fn streaming(pieces: &[&str]) -> &'static [u8] {
    let event = |piece: &&str| {
        let chunk = json!({ "choices": [{ "index": 0, "delta": { "content": piece } }] });
        format!("data: {chunk}\n\n")
    };
    let body: String = pieces.iter().map(event).collect::<String>() + "data: [DONE]\n\n";
    let kind = "content-type: text/event-stream";
    let text = format!("HTTP/1.1 200 OK\r\n{kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    Box::leak(text.into_bytes().into_boxed_slice())
}

async fn model(says: &str) -> (Upstream, String) {
    let upstream = Upstream::replying(model_saying(says)).await;
    let url = format!("http://{}/v1", upstream.address);
    (upstream, url)
}

fn told(answer: &Message) -> String {
    answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_request_that_is_too_much_goes_no_further() {
    let (safety, (model, url)) = (sim(), model("fine").await);
    let gateway = TestGateway::start(&config(&url, &safety.url(), KEY));
    let talk = [("system", "be kind"), ("user", "severity:Hate=1 severity:Violence=3")];
    let answer = gateway.post("/a", &chat(&talk)).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let asked = safety.last().unwrap();
    assert_eq!(asked.kind, Kind::ContentSafety);
    let seen: Value = serde_json::from_slice(&asked.body).unwrap();
    assert_eq!(seen["text"], "be kind; severity:Hate=1 severity:Violence=3");
    assert_eq!(seen["categories"], json!(["Hate", "Violence"]));
    assert_eq!(seen["outputType"], "FourSeverityLevels");
    let answer = gateway.post("/a", &chat(&[("user", "severity:Hate=2")])).await;
    assert_eq!(answer.status(), 400);
    assert_eq!(
        told(&answer),
        "request failed content safety check: breached category [Hate] at level 2"
    );
    assert_eq!(model.seen().len(), 1);
}

#[tokio::test]
async fn a_client_is_told_no_more_than_the_operator_wants() {
    let (safety, (_model, url)) = (sim(), model("fine").await);
    let more = format!(
        "{KEY}\nreveal_failure_reason: false\nblocklist_names: [rivals]\ntext_source: last_message"
    );
    let mut log = LogPipe::open();
    let file = config(&url, &safety.url(), &more) + &format!("    - {}\n", log.plugin());
    let gateway = TestGateway::start(&file);
    let talk = [("user", "severity:Hate=6"), ("user", "who are our rivals?")];
    let answer = gateway.post("/a", &chat(&talk)).await;
    assert_eq!(
        (answer.status(), told(&answer).as_str()),
        (400, "request failed content safety check")
    );
    let record = log.record().await;
    let logged = &record["ai"]["proxy"]["azure-content-safety"];
    assert_eq!(logged["input_block_reason"], "breached blocklist [rivals]");
    assert_eq!(logged["guards_triggered_count"], 1);
    assert!(logged["input_processing_latency"].is_u64());
    assert!(logged.get("input_faulty_prompt").is_none());
}

#[tokio::test]
async fn a_reply_that_is_too_much_does_not_arrive() {
    let safety = sim();
    let more = format!("{KEY}\nguarding_mode: OUTPUT");
    for (upstream, status) in [
        (model_saying("hello"), 200),
        (model_saying("severity:Hate=4"), 400),
        (streaming(&["hel", "lo"]), 200),
        (streaming(&["severity:Ha", "te=4"]), 400),
    ] {
        let model = Upstream::replying(upstream).await;
        let url = format!("http://{}/v1", model.address);
        let gateway = TestGateway::start(&config(&url, &safety.url(), &more));
        let answer = gateway.post("/a", &chat(&[("user", "severity:Hate=6")])).await;
        assert_eq!(answer.status(), status, "{}", answer.text());
        if status == 400 {
            let text = "response failed content safety check: breached category [Hate] at level 4";
            assert_eq!(told(&answer), text);
        } else {
            let sent = upstream.split(|byte| *byte == b'\n').next_back().unwrap_or_default();
            assert!(answer.text().as_bytes().ends_with(sent), "{}", answer.text());
        }
        assert_eq!(model.seen().len(), 1);
    }
}

#[tokio::test]
async fn what_could_not_be_looked_at_stops_unless_it_may_pass() {
    let (model, url) = model("fine").await;
    let closed = closed_port();
    let nobody = format!("http://{}", closed.local_addr().unwrap());
    let gateway = TestGateway::start(&config(&url, &nobody, KEY));
    let answer = gateway.post("/a", &chat(&[("user", "hi")])).await;
    assert_eq!(answer.status(), 500);
    assert_eq!(told(&answer), "request could not be checked for content safety");
    let safety = sim();
    let wrong = TestGateway::start(&config(&url, &safety.url(), "content_safety_key: wrong"));
    assert_eq!(wrong.post("/a", &chat(&[("user", "hi")])).await.status(), 500);
    assert!(model.seen().is_empty());
    let gateway =
        TestGateway::start(&config(&url, &nobody, &format!("{KEY}\nstop_on_error: false")));
    assert_eq!(gateway.post("/a", &chat(&[("user", "hi")])).await.status(), 200);
}

#[tokio::test]
async fn the_service_is_asked_as_an_azure_identity() {
    let (safety, (_model, url)) = (sim(), model("fine").await);
    let more = "azure_use_managed_identity: true\nazure_client_id: app\n\
                azure_client_secret: sim-secret\nazure_tenant_id: tenant";
    let gateway = Builder::default().env("AZURE_AUTHORITY_HOST", &safety.url()).start(&config(
        &url,
        &safety.url(),
        more,
    ));
    let answer = gateway.post("/a", &chat(&[("user", "severity:Violence=4")])).await;
    assert_eq!(answer.status(), 400, "{}", answer.text());
    let kinds: Vec<_> = safety.requests().iter().map(|one| one.kind).collect();
    assert!(kinds.contains(&Kind::Entra) && kinds.contains(&Kind::ContentSafety), "{kinds:?}");
}

#[tokio::test]
async fn what_cannot_work_is_refused_in_the_names_of_its_own_fields() {
    let refused = |url: &str, more: &str| {
        let config = config("http://127.0.0.1:9/v1", url, more);
        Builder::default().try_start(&config).err().unwrap().join("\n")
    };
    let url = "http://127.0.0.1:9";
    let identity = "azure_use_managed_identity: true\nazure_client_id: app";
    let lines = refused(url, &format!("{identity}\nazure_client_secret: s"));
    let text = "config.auth: azure_tenant_id is missing (set config.azure_tenant_id or \
        AZURE_TENANT_ID; config.azure_client_secret gives a client secret)";
    assert!(lines.contains(text), "{lines}");
    let lines = refused(url, &format!("{identity}\nazure_tenant_id: t"));
    let text = "for a managed identity remove config.azure_tenant_id)";
    assert!(lines.contains(text), "{lines}");
    let lines = refused("http://safety.test", KEY);
    let text = "config.content_safety_url: the credential would cross the network to safety.test";
    assert!(lines.contains(text), "{lines}");
    let lines = refused(url, "content_safety_key: \"a\\nb\"");
    assert!(lines.contains("config.content_safety_key: not valid in an HTTP header"), "{lines}");
}

#[tokio::test]
async fn without_a_key_or_an_identity_the_service_refuses_and_nothing_passes() {
    let (safety, (model, url)) = (sim(), model("fine").await);
    let gateway = TestGateway::start(&config(&url, &safety.url(), "guarding_mode: BOTH"));
    assert_eq!(gateway.post("/a", &chat(&[("user", "hi")])).await.status(), 500);
    assert_eq!((safety.last().unwrap().status, model.seen().len()), (401, 0));
}

fn delta(piece: &str) -> String {
    json!({ "choices": [{ "index": 0, "delta": { "content": piece } }] }).to_string()
}

/// What an event says.
fn said(event: &str) -> String {
    let data: Value = serde_json::from_str(event.trim().strip_prefix("data: ").unwrap()).unwrap();
    let error = &data["error"]["message"];
    let text = data["choices"][0]["delta"]["content"].as_str().or(error.as_str());
    text.unwrap_or_default().to_owned()
}

const BAD: &str = "response failed content safety check: breached category [Hate] at level 4";

#[tokio::test]
async fn a_stream_goes_on_as_far_as_it_has_been_looked_at() {
    let safety = sim();
    let more = format!("{KEY}\nguarding_mode: OUTPUT\nresponse_buffer_size: 20");
    // The second look is not at its first part alone: what is bad stands on both sides.
    for (first, second) in [
        ("hello dear friend of mine", "severity:Hate=4 and so on"),
        ("hello my friends, severity:", "Hate=4 and then some more"),
    ] {
        let model = stream_ends::Upstream::start().await;
        let gateway = TestGateway::start(&config(&model.url(), &safety.url(), &more));
        let body = chat(&[("user", "x")]).replacen('{', r#"{"stream":true,"#, 1);
        let mut client = Client::post(gateway.address, "/a", "", &body).await;
        let mut answering = model.request().await;
        answering.begin().await;
        answering.event(&delta(first)).await;
        assert_eq!(client.head().await.status(), 200);
        assert_eq!(said(&client.event().await.unwrap()), first);
        answering.event(&delta(second)).await;
        assert_eq!(said(&client.event().await.unwrap()), BAD);
        assert_eq!(client.event().await, None);
    }
    let model = Upstream::replying(streaming(&["hel", "lo"])).await;
    let url = format!("http://{}/v1", model.address);
    let gateway = TestGateway::start(&config(&url, &safety.url(), &more));
    let answer = gateway.post("/a", &chat(&[("user", "x")])).await;
    let text = answer.text();
    let events: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!((answer.status(), events.len(), events[2]), (200, 3, "data: [DONE]"), "{text}");
}

#[tokio::test]
async fn a_stream_of_which_nothing_has_gone_out_gets_an_honest_answer() {
    let safety = sim();
    let model = Upstream::replying(streaming(&["severity:Hate=4", " and so on"])).await;
    let url = format!("http://{}/v1", model.address);
    for size in [5, 0] {
        let more = format!("{KEY}\nguarding_mode: OUTPUT\nresponse_buffer_size: {size}");
        let gateway = TestGateway::start(&config(&url, &safety.url(), &more));
        let answer = gateway.post("/a", &chat(&[("user", "x")])).await;
        assert_eq!((answer.status(), told(&answer).as_str()), (400, BAD), "{}", answer.text());
    }
}

/// No ai-proxy, which would end a stream with an event that is too long by itself.
fn without_ai_proxy(model: &str, safety: &Sim, more: &str) -> TestGateway {
    let more = format!("{KEY}\nguarding_mode: OUTPUT\n{more}");
    let whole = config("", &safety.url(), &more).replace("http://127.0.0.1:9", model);
    TestGateway::start(whole.split_once("    - name: ai-proxy").unwrap().0)
}

#[tokio::test]
async fn an_event_above_the_bound_is_neither_lost_nor_passed_in_silence() {
    let safety = sim();
    let first = "hello dear friend of mine";
    let long = format!("data: {}\n\n", delta(&"x".repeat(1 << 20)));
    let rest = format!("{long}data: {}\n\ndata: [DONE]\n\n", delta("bye"));
    for stops in [true, false] {
        let model = stream_ends::Upstream::start().await;
        let more = format!("response_buffer_size: 20\nstop_on_error: {stops}");
        let gateway = without_ai_proxy(&model.url(), &safety, &more);
        let mut client = Client::post(gateway.address, "/a", "", "{}").await;
        let mut answering = model.request().await;
        answering.begin().await;
        answering.event(&delta(first)).await;
        assert_eq!(client.head().await.status(), 200);
        assert_eq!(said(&client.event().await.unwrap()), first);
        let (head, tail) = rest.split_at(1000);
        answering.write(format!("{:x}\r\n{head}\r\n", head.len()).as_bytes()).await;
        answering.write(format!("{:x}\r\n{tail}\r\n", tail.len()).as_bytes()).await;
        if stops {
            let last = said(&client.event().await.unwrap());
            assert_eq!(last, "response could not be checked for content safety");
            assert_eq!(client.event().await, None);
            continue;
        }
        answering.end().await;
        let events = client.events().await;
        let events: String = events.iter().map(|one| format!("{one}\n\n")).collect();
        assert!(events == rest, "{} bytes", events.len());
    }
}

#[tokio::test]
async fn a_whole_stream_with_an_event_above_the_bound_passes_only_if_it_may() {
    let safety = sim();
    let stream = streaming(&["hello", &"x".repeat(1 << 20), "severity:Hate=4"]);
    let model = Upstream::replying(stream).await;
    let url = format!("http://{}", model.address);
    for (stops, status) in [(true, 500), (false, 200)] {
        let more = format!("response_buffer_size: 0\nstop_on_error: {stops}");
        let gateway = without_ai_proxy(&url, &safety, &more);
        let answer = gateway.post("/a", "{}").await;
        assert_eq!(answer.status(), status);
        assert!(stops || stream.ends_with(&answer.body) && answer.body.len() > 1 << 20);
    }
    let asked = safety.last().unwrap();
    let seen: Value = serde_json::from_slice(&asked.body).unwrap();
    assert_eq!(seen["text"], "hello", "what could be read was looked at");
}
