//! Exchanges over sockets: what goes up, what comes down, what is told.

pub(super) mod harness;

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use self::harness::*;
use crate::llm::config::Target;
use crate::llm::config::tests::target;
use crate::pdk::Exchange;

const HI: &str = r#"{"messages":[{"role":"user","content":"hi"}]}"#;
const STREAM_HI: &str = r#"{"messages":[{"role":"user","content":"hi"}],"stream":true}"#;
const CHAT: &str = r#"{"id": "c", "model": "gpt-4o-2024", "choices": [{"index": 0}], "usage":
    {"prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19,
    "prompt_tokens_details": {"cached_tokens": 3}}}"#;
const JSON: &str = "content-type: application/json\r\nset-cookie: a=b\r\nserver: up\r\n";
const EVENTS: &str = "data: {\"model\":\"\",\"choices\":[]}\n\n: ping\n\n\
    data: {\"model\":\"m-1\",\"choices\":[{\"delta\":{\"content\":\"Hello\"}}]}\n\n";

/// A target at an upstream, with a key.
fn keyed(upstream: &Upstream, options: Value, model: Value) -> Target {
    let mut all = json!({ "upstream_url": upstream.url() });
    all.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    let auth = json!({"header_name": "api-key", "header_value": "sk-canary"});
    let mut target = target(auth, all, model);
    if let Some(logging) = &mut target.logging {
        (logging.log_statistics, logging.log_payloads) = (Some(true), Some(false));
    }
    target
}

fn logs_payloads(mut target: Target) -> Target {
    target.logging.as_mut().unwrap().log_payloads = Some(true);
    target
}

/// An address where nobody listens, as long as its socket is held.
fn nobody() -> (tokio::net::TcpSocket, String) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/x", socket.local_addr().unwrap());
    (socket, url)
}

/// Serves one exchange with one target.
async fn one(target: Target, ex: Exchange) -> Answer {
    serve(&plugin(&shared(&[]), vec![target], json!({})), ex).await
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_chat_goes_to_its_deployment_and_back() {
    worker(async {
        let upstream = Upstream::new(&[&reply(200, JSON, CHAT)]).await;
        let theirs = [
            ("authorization", "Bearer client"),
            ("api-key", "client"),
            ("accept-encoding", "br"),
            ("x-own", "1"),
        ];
        let answer = one(keyed(&upstream, json!({}), json!({})), post(&theirs, HI)).await;
        assert_eq!((answer.status, answer.text()), (200, CHAT));
        assert_eq!(answer.header("x-kong-llm-model"), Some("azure/gpt-4o"));
        assert_eq!((answer.header("set-cookie"), answer.header("server")), (None, Some("up")));
        let sent = &upstream.seen()[0];
        assert!(sent.starts_with("POST /up?api-version=2023-05-15 HTTP/1.1\r\n"), "{sent}");
        for line in ["host: 127.0.0.1", "api-key: sk-canary", "accept-encoding: gzip, identity"] {
            assert!(sent.contains(&format!("\r\n{line}\r\n")), "{line}: {sent}");
        }
        assert!(sent.contains("x-own: 1") && !sent.contains("lient"), "{sent}");
        assert!(sent.ends_with(r#""content":"hi"}],"model":"gpt-4o","stream":false}"#), "{sent}");
    })
    .await;
}

#[tokio::test]
async fn a_chat_is_logged_and_counted() {
    worker(async {
        let upstream = Upstream::new(&[&reply(200, JSON, CHAT)]).await;
        let shared = shared(&[]);
        let prices = json!({"input_cost": 2.5, "output_cost": 10.0});
        let plugin = plugin(&shared, vec![keyed(&upstream, prices, json!({}))], json!({}));
        let answer = serve(&plugin, post(&[], HI)).await;
        let mut ai = answer.ai().clone();
        ai["meta"]["llm_latency"] = 0.into();
        ai["usage"]["time_per_token"] = 0.into();
        ai["tried_targets"][0]["ms"] = 0.into();
        assert_eq!(
            ai,
            json!({
                "meta": {
                    "plugin_id": "id-1", "provider_name": "azure", "request_model": "gpt-4o",
                    "response_model": "gpt-4o-2024", "llm_latency": 0, "request_mode": "oneshot",
                    "azure_instance_id": "my-instance", "azure_deployment_id": "gpt-4o-dep",
                    "azure_api_version": "2023-05-15"
                },
                "usage": {
                    "prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19,
                    "time_per_token": 0, "cost": 0.0001,
                    "prompt_tokens_details": {"cached_tokens": 3}
                },
                "tried_targets": [{
                    "provider": "azure", "route_type": "llm/v1/chat", "model": "gpt-4o",
                    "host": "127.0.0.1", "port": upstream.port, "status": 200, "ms": 0
                }]
            })
        );
        assert!(!answer.log.to_string().contains("canary"), "{}", answer.log);
        let metrics = shared.metrics.render();
        let labels = "{ai_provider=\"azure\",ai_model=\"gpt-4o\",cache_status=\"\",\
            vector_db=\"\",embeddings_provider=\"\",embeddings_model=\"\",";
        for line in [
            format!("kong_ai_llm_requests_total{labels}workspace=\"default\"}} 1\n"),
            format!("kong_ai_llm_cost_total{labels}workspace=\"default\"}} 0.0001\n"),
            format!(
                "kong_ai_llm_tokens_total{labels}token_type=\"total_tokens\",\
                 workspace=\"default\"}} 19\n"
            ),
        ] {
            assert!(metrics.contains(&line), "{line}{metrics}");
        }
        assert!(metrics.contains("kong_ai_llm_provider_latency_ms_count{"), "{metrics}");
    })
    .await;
}

#[tokio::test]
async fn what_is_refused_is_logged_too() {
    worker(async {
        let upstream = Upstream::new(&[&reply(200, JSON, CHAT)]).await;
        let target = logs_payloads(keyed(&upstream, json!({}), json!({})));
        let answer = one(target, post(&[], "{}")).await;
        let text = r#"{"error":{"message":"request body doesn't contain valid prompts"}}"#;
        assert_eq!((answer.status, answer.text()), (400, text));
        assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
        assert!(upstream.seen().is_empty());
        let ai = answer.ai();
        assert_eq!(ai["meta"]["provider_name"], "UNSPECIFIED");
        assert_eq!(ai["payload"], json!({"request": "{}"}));
        let zero = json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0,
            "time_per_token": 0, "cost": 0});
        assert_eq!(ai["usage"], zero);
    })
    .await;
}

#[tokio::test]
async fn the_body_limit_is_exact() {
    worker(async {
        let upstream = Upstream::new(&[&reply(200, JSON, CHAT)]).await;
        let shared = shared(&[]);
        for (limit, status) in [(HI.len(), 200), (HI.len() - 1, 400), (0, 200)] {
            let more = json!({ "max_request_body_size": limit });
            let plugin = plugin(&shared, vec![keyed(&upstream, json!({}), json!({}))], more);
            assert_eq!(serve(&plugin, post(&[], HI)).await.status, status, "{limit}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_200_that_is_no_reply_becomes_500_with_its_headers() {
    worker(async {
        let html = "content-type: text/html\r\nset-cookie: a=b\r\nx-up: 1\r\n";
        let zipped = gzip("{}");
        for (headers, body) in [
            (html.to_owned(), b"<html>".to_vec()),
            (format!("{html}content-encoding: gzip\r\n"), zipped),
            (format!("{html}content-encoding: gzip\r\n"), b"no gzip".to_vec()),
        ] {
            let upstream = Upstream::new(&[&reply(200, &headers, body)]).await;
            let answer = one(keyed(&upstream, json!({}), json!({})), post(&[], HI)).await;
            assert_eq!(answer.status, 500);
            let start = r#"{"error":{"message":"transformation failed from type azure://llm/v1/"#;
            assert!(answer.text().starts_with(start), "{}", answer.text());
            assert_eq!(answer.header("content-type"), Some("text/html"));
            assert_eq!(answer.header("x-kong-llm-model"), Some("azure/gpt-4o"));
            assert_eq!(answer.header("content-encoding"), None);
            assert_eq!((answer.header("set-cookie"), answer.header("x-up")), (None, Some("1")));
            let length = answer.body.len().to_string();
            assert_eq!(answer.header("content-length"), Some(length.as_str()));
        }
    })
    .await;
}

#[tokio::test]
async fn other_statuses_pass_untouched() {
    worker(async {
        for status in [201, 302, 404, 429, 500] {
            let upstream = Upstream::new(&[&reply(status, JSON, "{\"error\":1}")]).await;
            let target = logs_payloads(keyed(&upstream, json!({"input_cost": 1}), json!({})));
            let answer = one(target, post(&[], HI)).await;
            assert_eq!((answer.status, answer.text()), (status, "{\"error\":1}"));
            assert_eq!(answer.header("set-cookie"), Some("a=b"));
            assert_eq!(answer.header("x-kong-llm-model"), None);
            assert_eq!(answer.header("content-length"), Some("11"));
            // The recording ai-log-payloads: what was sent is counted, and costs nothing.
            let usage = &answer.ai()["usage"];
            assert_eq!((&usage["prompt_tokens"], &usage["cost"]), (&json!(1), &json!(0)));
            assert_eq!(answer.ai()["payload"]["response"], "{\"error\":1}");
        }
    })
    .await;
}

#[tokio::test]
async fn gzip_goes_on_to_clients_that_read_it() {
    worker(async {
        let headers = format!("{JSON}content-encoding: gzip\r\n");
        let zipped = gzip(CHAT);
        let upstream = Upstream::new(&[&reply(200, &headers, &zipped)]).await;
        let target = || keyed(&upstream, json!({}), json!({}));
        let kept = one(target(), post(&[("accept-encoding", "gzip")], HI)).await;
        assert_eq!((kept.status, &kept.body[..]), (200, &zipped[..]));
        assert_eq!(kept.header("content-encoding"), Some("gzip"));
        let plain = one(target(), post(&[], HI)).await;
        assert_eq!((plain.status, plain.text()), (200, CHAT));
        assert_eq!(plain.header("content-encoding"), None);
        assert_eq!(plain.header("content-length"), Some(CHAT.len().to_string().as_str()));
        for answer in [&kept, &plain] {
            assert_eq!(answer.ai()["usage"]["total_tokens"], 19);
        }
        let failing = Upstream::new(&[&reply(429, &headers, gzip("slow down"))]).await;
        let error = one(keyed(&failing, json!({}), json!({})), post(&[], HI)).await;
        assert_eq!((error.status, error.text()), (429, "slow down"));
        assert_eq!(
            (error.header("content-encoding"), error.header("content-length")),
            (None, None)
        );
    })
    .await;
}

#[tokio::test]
async fn streams_pass_byte_for_byte() {
    worker(async {
        let wire = format!("{EVENTS}data: [DONE]");
        let kind = "content-type: text/event-stream\r\nset-cookie: a=b\r\n";
        let gzipped = format!("{kind}content-encoding: gzip\r\n");
        for reply in [reply(200, kind, &wire), reply(200, &gzipped, gzip(&wire))] {
            let upstream = Upstream::new(&[&reply]).await;
            let target = logs_payloads(keyed(&upstream, json!({}), json!({})));
            let client = [("accept-encoding", "gzip")];
            let answer = one(target, post(&client, STREAM_HI)).await;
            assert_eq!((answer.status, answer.text()), (200, format!("{wire}\n\n").as_str()));
            for name in ["content-length", "content-encoding", "set-cookie"] {
                assert_eq!(answer.header(name), None, "{name}");
            }
            let ai = answer.ai();
            assert_eq!(ai["meta"]["response_model"], "m-1");
            assert_eq!(ai["meta"]["request_mode"], "stream");
            let usage = &ai["usage"];
            assert_eq!(
                (&usage["prompt_tokens"], &usage["completion_tokens"]),
                (&json!(2), &json!(2))
            );
            assert_eq!((&usage["total_tokens"], &usage["estimated"]), (&json!(4), &json!(true)));
            assert!(usage["time_to_first_token"].is_u64(), "{usage}");
            let text = ai["payload"]["response"].as_str().unwrap();
            assert!(text.contains("\"response\":\"Hello\""), "{text}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_an_error_event() {
    worker(async {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";
        let size = EVENTS.len() + 6;
        let cut = format!("{head}transfer-encoding: chunked\r\n\r\n{size:x}\r\n{EVENTS}data: ");
        let bad_gzip = format!("{head}content-encoding: gzip\r\ncontent-length: 4\r\n\r\nnope");
        for (wire, events) in [(cut, EVENTS), (bad_gzip, "")] {
            let upstream = Upstream::new(&[wire.as_bytes()]).await;
            let target = keyed(&upstream, json!({}), json!({}));
            let answer = one(target, post(&[], STREAM_HI)).await;
            let (text, error) = answer.text().split_at(events.len());
            assert_eq!((answer.status, text), (200, events));
            assert!(error.starts_with("data: {\"error\":{"), "{error}");
            assert!(error.ends_with("\n\n") && !error.contains("[DONE]"), "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_stream_with_an_endless_event_is_cut_after_the_error() {
    worker(async {
        let wire = reply(200, "content-type: text/event-stream\r\n", vec![b'x'; 3 << 20]);
        let upstream = Upstream::new(&[&wire]).await;
        let answer = one(keyed(&upstream, json!({}), json!({})), post(&[], STREAM_HI)).await;
        assert!(answer.text().starts_with("data: {\"error\"") && answer.is_cut);
    })
    .await;
}

#[tokio::test]
async fn what_is_no_stream_passes_where_one_was_asked_for() {
    worker(async {
        let upstream = Upstream::new(&[&reply(200, JSON, CHAT)]).await;
        let target = || keyed(&upstream, json!({}), json!({}));
        let answer = one(target(), post(&[], STREAM_HI)).await;
        assert_eq!((answer.status, answer.text()), (200, CHAT));
        assert_eq!(answer.header("set-cookie"), None);
        assert_eq!(answer.ai()["usage"]["total_tokens"], 19);
        let html = Upstream::new(&[&reply(200, "content-type: text/html\r\n", "<p>")]).await;
        let answer = one(keyed(&html, json!({}), json!({})), post(&[], STREAM_HI)).await;
        assert_eq!((answer.status, answer.text()), (200, "<p>"));
    })
    .await;
}

#[tokio::test]
async fn preserve_leaves_path_body_and_cookies_alone() {
    worker(async {
        let upstream = Upstream::new(&[&reply(200, JSON, CHAT)]).await;
        let target = keyed(&upstream, json!({}), json!({"route_type": "preserve"}));
        let kind = [("content-type", "multipart/form-data; boundary=x")];
        let body = "--x--";
        let ex = Exchange::for_test_with_text("POST", "/ai/files", &kind, body);
        let answer = one(target, ex).await;
        assert_eq!((answer.status, answer.text()), (200, CHAT));
        assert_eq!(answer.header("set-cookie"), Some("a=b"));
        assert_eq!(answer.header("x-kong-llm-model"), Some("azure/gpt-4o"));
        assert_eq!(answer.ai()["usage"]["total_tokens"], 19);
        let sent = &upstream.seen()[0];
        assert!(sent.starts_with("POST /ai/files?api-version=2023-05-15 HTTP"), "{sent}");
        assert!(sent.ends_with("\r\n\r\n--x--"), "{sent}");
    })
    .await;
}

#[tokio::test]
async fn keys_in_url_and_body_are_not_logged() {
    worker(async {
        let upstream = Upstream::new(&[&reply(200, JSON, CHAT)]).await;
        for location in ["query", "body"] {
            let mut config = logs_payloads(keyed(&upstream, json!({}), json!({})));
            let auth = config.auth.as_mut().unwrap();
            auth.param_name = Some("code".to_owned());
            auth.param_value = Some(crate::entity::Secret::new("canary 2"));
            auth.param_location = serde_json::from_value(location.into()).unwrap();
            let answer = one(config, post(&[], HI)).await;
            let log = answer.log.to_string();
            assert_eq!(answer.status, 200);
            assert!(log.contains("***") && !log.contains("canary"), "{log}");
        }
        let seen = upstream.seen();
        assert!(seen[0].contains("code=canary%202") && seen[1].contains("\"code\":\"canary 2\""));
    })
    .await;
}

#[tokio::test]
async fn a_lost_target_gives_way_to_the_next() {
    worker(async {
        let (_socket, refusing) = nobody();
        let shared = shared(&[]);
        for url in [refusing, "https://no-such.invalid/".to_owned()] {
            let second = Upstream::new(&[&reply(200, JSON, CHAT)]).await;
            let open = json!({"name": null});
            let mut first = keyed(&second, json!({ "upstream_url": url }), open.clone());
            first.auth.as_mut().unwrap().header_name = Some("x-first-key".to_owned());
            let targets = vec![first, keyed(&second, json!({}), open)];
            let plugin = plugin(&shared, targets, balancer(&["error", "timeout"]));
            let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
            let answer = serve(&plugin, post(&[("x-first-key", "theirs")], body)).await;
            assert_eq!(answer.status, 200, "{url}");
            let sent = &second.seen()[0];
            assert!(sent.contains("\r\nx-first-key: theirs\r\n"), "{sent}");
            assert!(sent.contains("\r\napi-key: sk-canary\r\n"), "{sent}");
            assert_eq!(answer.ai()["tried_targets"].as_array().unwrap().len(), 2);
        }
    })
    .await;
}

#[tokio::test]
async fn a_chat_is_sent_twice_only_if_the_operator_says_so() {
    worker(async {
        let shared = shared(&[]);
        for (criteria, status) in
            [(&["http_429"][..], 429), (&["http_429", "non_idempotent"][..], 200)]
        {
            let busy = Upstream::new(&[&reply(429, JSON, "{}")]).await;
            let free = Upstream::new(&[&reply(200, JSON, CHAT)]).await;
            let targets = [&busy, &free].map(|up| keyed(up, json!({}), json!({})));
            let plugin = plugin(&shared, targets.into(), balancer(criteria));
            assert_eq!(serve(&plugin, post(&[], HI)).await.status, status, "{criteria:?}");
        }
        let busy = Upstream::new(&[&reply(429, JSON, "{}")]).await;
        let criteria = balancer(&["http_429", "non_idempotent"]);
        let plugin = plugin(&shared, vec![keyed(&busy, json!({}), json!({}))], criteria);
        assert_eq!(serve(&plugin, post(&[], HI)).await.status, 429);
        assert_eq!(busy.seen().len(), 1, "the only target is not hit again at once");
    })
    .await;
}

#[tokio::test]
async fn a_target_that_is_down_is_503_as_in_kong() {
    worker(async {
        let (_socket, url) = nobody();
        let down = target(json!({}), json!({ "upstream_url": url }), json!({}));
        let answer = one(down, post(&[], HI)).await;
        assert_eq!(answer.status, 503);
        assert!(answer.text().contains("The upstream server is currently unavailable"));
    })
    .await;
}

/// A token endpoint of App Service, and the environment that leads to it.
async fn tokens(replies: &[&str]) -> (Upstream, Vec<(&'static str, String)>) {
    let replies: Vec<_> =
        replies.iter().map(|r| reply(200, "content-type: application/json\r\n", r)).collect();
    let replies: Vec<&[u8]> = replies.iter().map(Vec::as_slice).collect();
    let endpoint = Upstream::new(&replies).await;
    let address = format!("http://127.0.0.1:{}/msi/token", endpoint.port);
    let env = vec![("IDENTITY_ENDPOINT", address), ("IDENTITY_HEADER", "h".to_owned())];
    (endpoint, env)
}

fn token(text: &str) -> String {
    json!({"access_token": text, "expires_on": "4102444800", "token_type": "Bearer"}).to_string()
}

/// Serves exchanges with one target that signs in with an identity.
async fn with_identity(
    upstream: &Upstream,
    env: &[(&'static str, String)],
    allow_override: bool,
    requests: Vec<Exchange>,
) -> Vec<Answer> {
    let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let auth = json!({"azure_use_managed_identity": true, "allow_override": allow_override});
    let target = target(auth, json!({ "upstream_url": upstream.url() }), json!({}));
    let plugin = plugin(&shared(&env), vec![target], json!({}));
    let mut answers = Vec::new();
    for ex in requests {
        answers.push(serve(&plugin, ex).await);
    }
    answers
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    worker(async {
        let (first, second) = (token("canary-1"), token("canary-2"));
        let (endpoint, env) = tokens(&[&first, &second]).await;
        let denied = reply(401, JSON, "{}");
        let upstream = Upstream::new(&[&denied, &reply(200, JSON, CHAT), &denied]).await;
        let theirs = [("api-key", "client"), ("authorization", "Bearer client")];
        let requests = vec![post(&theirs, HI), post(&[], HI)];
        let answers = with_identity(&upstream, &env, false, requests).await;
        assert_eq!((answers[0].status, answers[1].status), (200, 401));
        let bearers: Vec<_> = upstream
            .seen()
            .iter()
            .map(|sent| sent.split("Bearer ").nth(1).unwrap().lines().next().unwrap().to_owned())
            .collect();
        assert_eq!(bearers, ["canary-1", "canary-2", "canary-2"], "{bearers:?}");
        assert!(upstream.seen().iter().all(|sent| !sent.contains("client")));
        assert_eq!(endpoint.seen().len(), 2);
        for answer in answers {
            assert!(!answer.log.to_string().contains("canary"), "{}", answer.log);
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_may_sign_in_itself_where_the_operator_allows_it() {
    worker(async {
        let (_endpoint, env) = tokens(&[&token("ours")]).await;
        let upstream = Upstream::new(&[&reply(200, JSON, CHAT)]).await;
        let requests = vec![post(&[("authorization", "Bearer theirs")], HI), post(&[], HI)];
        with_identity(&upstream, &env, true, requests).await;
        let seen = upstream.seen();
        assert!(seen[0].contains("\r\nauthorization: Bearer theirs\r\n"), "{}", seen[0]);
        assert!(seen[1].contains("\r\nauthorization: Bearer ours\r\n"), "{}", seen[1]);
    })
    .await;
}

#[tokio::test]
async fn nothing_is_sent_without_a_token() {
    worker(async {
        let (_endpoint, env) = tokens(&["{\"error\":\"secret detail\"}"]).await;
        let upstream = Upstream::new(&[&reply(200, JSON, CHAT)]).await;
        let answers = with_identity(&upstream, &env, false, vec![post(&[], HI)]).await;
        let body: Value = serde_json::from_str(answers[0].text()).unwrap();
        let error = json!({"message": "LLM request failed before proxying",
            "type": "server_error", "param": null, "code": "credential_unavailable"});
        assert_eq!((answers[0].status, &body["error"]), (500, &error));
        assert_eq!(body["request_id"], answers[0].log["request"]["id"]);
        assert!(upstream.seen().is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_unresolved_reference_fails_the_request_that_needs_it() {
    worker(async {
        let upstream = Upstream::new(&[&reply(200, JSON, CHAT)]).await;
        let mut target = keyed(&upstream, json!({}), json!({}));
        let reference = crate::entity::Secret::new("{vault://env/no-such}");
        target.auth.as_mut().unwrap().header_value = Some(reference);
        let answer = one(target, post(&[], HI)).await;
        assert_eq!(answer.status, 500);
        assert!(answer.text().contains("An unexpected error occurred"), "{}", answer.text());
        assert!(upstream.seen().is_empty());
    })
    .await;
}
