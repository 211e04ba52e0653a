//! Records, control endpoints, TLS, the lean mode, start and stop.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use serde_json::json;
use tokio_rustls::TlsConnector;

use super::*;
use crate::sim::{Kind, Outcome, Rule, named};

#[tokio::test]
async fn a_request_is_recorded_as_it_came() {
    let sim = start(Options::default());
    post(&sim, CHAT, &[("X-B", "1"), KEY, ("X-A", "2")], HELLO).await;
    let record = sim.last().unwrap();
    assert_eq!((record.number, record.method.as_str(), record.status), (1, "POST", 200));
    assert_eq!(record.target(), CHAT);
    assert_eq!((record.kind, record.deployment.as_deref()), (Kind::Chat, Some("gpt-4o")));
    assert_eq!(record.body, HELLO);
    let names: Vec<&str> = record.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["host", "connection", "x-b", "api-key", "x-a", "content-length"]);
    assert_eq!(record.header("API-KEY"), Some("sim-key"));
    assert_eq!(sim.settled(&record).await, Outcome::Sent);
}

#[tokio::test]
async fn the_ring_keeps_the_newest_and_take_starts_anew() {
    let sim = start(Options { record: 2, ..Options::default() });
    for deployment in ["a", "b", "c"] {
        post(&sim, &chat_path(deployment), &[KEY], HELLO).await;
    }
    let kept = sim.wait_for(3).await;
    let names: Vec<_> = kept.iter().filter_map(|r| r.deployment.as_deref()).collect();
    assert_eq!(names, ["b", "c"]);
    assert_eq!(sim.take().len(), 2);
    assert!(sim.last().is_none());
    let waiting = sim.wait_for(1);
    let path = chat_path("d");
    let calling = post(&sim, &path, &[KEY], HELLO);
    let (records, _) = tokio::join!(waiting, calling);
    assert_eq!(records[0].number, 4);
}

#[tokio::test]
async fn no_secret_is_shown_unless_that_is_asked_for() {
    let secrets = ["planted-key", "planted-token", "planted-secret", "planted-header"];
    let send = async |sim: &Sim| {
        let key = [("api-key", secrets[0]), ("authorization", "Bearer planted-token")];
        post(sim, CHAT, &key, r#"{"api_key":"planted-key"}"#).await;
        let form = ("content-type", "application/x-www-form-urlencoded");
        let body = "client_id=visible-id&client_secret=planted-secret";
        post(sim, "/t/oauth2/v2.0/token", &[form], body).await;
        get(sim, "/msi/token?api-key=planted-key", &[("x-identity-header", secrets[3])]).await;
        let list = get(sim, "/sim/requests", &[]).await.text();
        (list, format!("{:?}", sim.requests()))
    };
    let (list, debug) = send(&start(Options::default())).await;
    assert!(!list.contains("planted") && !debug.contains("planted"), "{list}");
    assert!(list.contains("visible-id") && list.contains("Bearer sha256:"));
    let (list, debug) = send(&start(Options { raw_secrets: true, ..Options::default() })).await;
    assert!(secrets.iter().all(|secret| list.contains(secret)));
    assert!(!debug.contains("planted"), "what tests print is never raw");
}

#[tokio::test]
async fn scripts_can_wait_for_requests_and_clear_them() {
    let sim = start(Options::default());
    let early = get(&sim, "/sim/requests?wait=1&timeout_ms=1", &[]).await;
    assert_eq!((early.status, early.json()), (408, json!([])));
    let waiting = get(&sim, "/sim/requests?wait=1", &[]);
    let (list, _) = tokio::join!(waiting, post(&sim, CHAT, &[KEY], HELLO));
    assert_eq!(list.json()[0]["body"]["messages"][0]["role"], "user");
    assert_eq!(call(&sim, "DELETE", "/sim/requests", &[], "").await.unwrap().status, 204);
    assert_eq!(get(&sim, "/sim/requests", &[]).await.json(), json!([]));
    assert_eq!(get(&sim, "/sim/requests?wait=x", &[]).await.status, 400);
}

#[tokio::test]
async fn the_help_page_lists_the_faults_and_wrong_paths_point_to_it() {
    let sim = start(Options::default());
    let help = get(&sim, "/sim", &[]).await.text();
    for part in ["fault-429", "fault-cut-stream", "POST   /sim/faults", "token_lifetime_secs"] {
        assert!(help.contains(part), "{part}");
    }
    assert_eq!(get(&sim, "/sim/typo", &[]).await.status, 404);
    assert_eq!(call(&sim, "PUT", "/sim/faults", &[], "").await.unwrap().status, 405);
    assert_eq!(get(&sim, "/elsewhere", &[]).await.status, 404);
    assert_eq!(sim.requests().len(), 1, "control requests are not recorded");
}

#[test]
fn the_manual_names_every_fault_and_every_field_of_a_rule() {
    let manual = include_str!("../../../docs/simulator.md");
    for row in named::TABLE {
        assert!(manual.contains(&format!("| `fault-{}`", row.name)), "{}", row.name);
    }
    for (field, _) in json!(Rule::default()).as_object().unwrap() {
        assert!(manual.contains(&format!("`{field}`")), "{field}");
    }
}

#[tokio::test]
async fn lean_mode_answers_in_the_same_shapes_without_checks_or_records() {
    let sim = start(Options { lean: true, stream_events: 5, ..Options::default() });
    let got = post(&sim, CHAT, &[], HELLO).await;
    assert_eq!(shape(&got.json()), shape(&vector("chat-01-plain")["response"]["body"]));
    for body in [STREAM, r#"{ "stream" : true }"#] {
        let got = post(&sim, CHAT, &[], body).await;
        assert_eq!(got.events().len(), 9, "{body}");
    }
    for body in [r#"{"stream":false}"#, r#"{"stream_options":true}"#] {
        assert_eq!(post(&sim, CHAT, &[], body).await.header("transfer-encoding"), None, "{body}");
    }
    let path = CHAT.replace("chat/completions", "embeddings");
    assert_eq!(post(&sim, &path, &[], "{}").await.json()["object"], "list");
    assert!(sim.requests().is_empty());
    let imds = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://a";
    assert_eq!(get(&sim, imds, &[("metadata", "true")]).await.status, 200);
    assert_eq!(sim.requests().len(), 1, "tokens go the full way");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let sim = start(Options::default());
    let mut stream = TcpStream::connect(sim.addr()).await.unwrap();
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: sim\r\ncontent-length: 99000000\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut chunk = vec![b'x'; 1 << 20];
    let mut reply = Vec::new();
    while stream.write_all(&chunk).await.is_ok() {}
    // The reply may be lost to the reset that follows unread data; the server must not be.
    let _ = stream.read_to_end(&mut reply).await;
    chunk.clear();
    assert_eq!(post(&sim, CHAT, &[KEY], HELLO).await.status, 200);
}

#[tokio::test]
async fn it_speaks_tls_with_the_configuration_it_is_given() {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let sim = start(Options { tls: Some(Arc::new(server)), ..Options::default() });
    assert!(sim.url().starts_with("https://127.0.0.1:"));

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(sim.addr()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(client)).connect(name, stream).await.unwrap();
    let got = exchange(stream, "POST", CHAT, &[KEY], HELLO).await.unwrap();
    assert_eq!(got.status, 200);
}

#[tokio::test]
async fn stopping_frees_the_port_and_ends_its_connections() {
    let sim = start(Options::default());
    let addr = sim.addr();
    let mut idle = TcpStream::connect(addr).await.unwrap();
    idle.write_all(&request("POST", CHAT, &[KEY], HELLO, "keep-alive")).await.unwrap();
    sim.wait_for(1).await;
    sim.stop();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(5), idle.read_to_end(&mut rest)).await;
    assert!(ended.is_ok());
    let again = Sim::start(Options { listen: addr, ..Options::default() });
    assert!(again.is_ok());
    let taken = Sim::start(Options { listen: addr, ..Options::default() });
    assert_eq!(taken.err().unwrap().kind(), std::io::ErrorKind::AddrInUse);
}
