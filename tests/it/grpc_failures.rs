//! Calls by gRPC that fail at the gateway: they are told in gRPC's words, with Kong's codes.

use super::grpc::{PATH, config, gateway, scene};
use super::grpc_ends::{Client, Manners, Upstream};
use super::http;

#[tokio::test]
async fn what_the_gateway_refuses_is_told_in_grpcs_words() {
    let closed = http::closed_port();
    let url = format!("grpc://{}\n  retries: 0", closed.local_addr().unwrap());
    let more = "  - name: keyed
    protocols: [grpc]
    paths: [/keyed]
    plugins: [{name: key-auth}]
  - name: stopped
    protocols: [grpc]
    paths: [/stopped]
    plugins: [{name: request-termination, config: {status_code: 403, message: 'no'}}]
  - name: secure
    protocols: [grpcs]
    paths: [/secure]
";
    let gateway = gateway(&config(&url, more));
    let client = Client::connect(gateway.address).await;
    let unreached = "An invalid response was received from the upstream server";
    for (path, status, kind, grpc_status, message) in [
        (PATH, 502, None, "13", unreached),
        ("/nowhere", 404, Some("application/grpc"), "5", "NotFound"),
        ("/keyed", 401, Some("application/grpc"), "16", "Unauthenticated"),
        ("/stopped", 403, None, "7", "no"),
        ("/secure", 200, Some("application/grpc"), "1", "gRPC request matched gRPCs route"),
    ] {
        let answer = client.call(path, &[], b"x").await;
        let field = |name: &str| answer.headers.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(field("content-type"), kind, "{path}");
        assert_eq!(field("grpc-status"), Some(grpc_status), "{path}");
        assert_eq!(field("grpc-message"), Some(message), "{path}");
        assert_eq!(field("content-length"), Some("0"), "{path}");
        assert!(answer.body.is_empty() && answer.ends_at_once, "{path}");
    }
}

#[tokio::test]
async fn a_late_upstream_is_a_deadline_that_has_passed() {
    let upstream = Upstream::start(Manners::default()).await;
    let url = format!("grpc://{}\n  retries: 0\n  read_timeout: 200", upstream.address);
    let gateway = gateway(&config(&url, ""));
    let client = Client::connect(gateway.address).await;
    let (answer, call) = tokio::join!(client.call(PATH, &[], b"x"), upstream.call());
    assert_eq!((answer.status, answer.field("grpc-status")), (504, Some("4")));
    assert_eq!(answer.field("grpc-message"), Some("The upstream server is timing out"));
    drop(call);
    // What did not answer is not asked again over the same connection.
    let (answer, ()) = tokio::join!(client.call(PATH, &[], b"x"), async {
        let call = upstream.call().await;
        assert_eq!(call.connection, 1);
        call.echo().await;
    });
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn what_is_no_call_is_refused_by_a_route_for_calls() {
    let (_upstream, gateway, client) = scene(Manners::default()).await;
    let answer = client.call(PATH, &[("content-type", "application/json")], b"{}").await;
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(answer.status, 415);
    assert_eq!(body["message"], "Non-gRPC request matched gRPC route");
    let plain = gateway.send("POST", PATH, &[("Content-Type", "application/grpc")], b"x").await;
    assert_eq!(plain.status(), 426);
    assert_eq!(plain.json()["message"], "Please use HTTP2 protocol");
    assert_eq!(plain.header("upgrade"), Some("HTTP/2"));
    assert_eq!(plain.header("connection"), Some("Upgrade"));
    let other = gateway.send("POST", PATH, &[("Content-Type", "text/plain")], b"x").await;
    assert_eq!(other.status(), 415);
}

#[tokio::test]
async fn an_upstream_that_does_not_speak_http_2_is_a_bad_gateway() {
    let reply = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    let upstream = http::Upstream::replying(reply).await;
    let gateway = gateway(&config(&format!("grpc://{}", upstream.address), ""));
    let client = Client::connect(gateway.address).await;
    let answer = client.call(PATH, &[], b"x").await;
    assert_eq!((answer.status, answer.field("grpc-status")), (502, Some("13")));
}
