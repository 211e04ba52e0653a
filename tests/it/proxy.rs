//! Plain proxying: what goes up, what comes down, and what happens when something breaks.

use super::gateway::TestGateway;
use super::http::{Upstream, raw};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn config(upstream: &Upstream) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://{}/base\n  routes:\n  \
         - name: r\n    paths: [/a]\n",
        upstream.address
    )
}

#[tokio::test]
async fn a_request_reaches_its_service_under_its_path() {
    let upstream = Upstream::replying(OK).await;
    let gateway = TestGateway::start(&config(&upstream));
    let response = gateway.get("/a/x?q=1").await;
    assert_eq!((response.status(), response.text().as_str()), (200, "ok"));
    let seen = upstream.seen().remove(0);
    assert_eq!(seen.target(), "/base/x?q=1");
    assert_eq!(seen.header("host"), Some(upstream.address.to_string().as_str()));
    assert_eq!(seen.header("x-forwarded-prefix"), Some("/a"));
    assert_eq!(response.header("via"), seen.header("via"));
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let upstream = Upstream::replying(OK).await;
    let gateway = TestGateway::start(&config(&upstream));
    for _ in 0..5 {
        assert_eq!(gateway.get("/a").await.status(), 200);
    }
    assert_eq!(upstream.seen().len(), 5);
}

#[tokio::test]
async fn a_request_framed_twice_is_reframed_and_ends_its_connection() {
    let upstream = Upstream::replying(OK).await;
    let gateway = TestGateway::start(&config(&upstream));
    let smuggled = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 40\r\n\
        Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let response = raw(gateway.address, smuggled).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.header("connection"), Some("close"));
    let seen = upstream.seen().remove(0);
    assert_eq!((seen.header("content-length"), seen.text().as_str()), (Some("3"), "abc"));
    assert_eq!(seen.header("transfer-encoding"), None);
}

#[tokio::test]
async fn two_hosts_or_none_are_refused() {
    let upstream = Upstream::replying(OK).await;
    let gateway = TestGateway::start(&config(&upstream));
    for head in ["GET /a HTTP/1.1\r\n\r\n", "GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"] {
        assert_eq!(raw(gateway.address, head.as_bytes()).await.unwrap().status(), 400);
    }
    assert!(upstream.seen().is_empty());
}
