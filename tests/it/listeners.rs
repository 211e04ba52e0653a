//! Listeners: the PROXY protocol, TLS without a certificate, readiness, the log level.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::gateway::{Builder, TestGateway};
use super::http::{self, Reader, Upstream};
use super::stream_ends::soon;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const GET: &str =
    "GET /a HTTP/1.1\r\nHost: h\r\nX-Real-IP: 198.51.100.1\r\nConnection: close\r\n\r\n";

fn config(upstream: &Upstream) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://{}\n  routes:\n  \
         - name: r\n    paths: [/a]\n",
        upstream.address
    )
}

fn behind_a_balancer() -> Builder {
    Builder::default()
        .set("proxy_listen", "127.0.0.1:0 proxy_protocol")
        .set("real_ip_header", "proxy_protocol")
        .set("nginx_http_ssl_handshake_timeout", "200ms")
}

/// Sends bytes and reads to the end.
async fn exchange(gateway: &TestGateway, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ = soon("the end", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_trusted_balancer_names_the_client() {
    let upstream = Upstream::replying(OK).await;
    let named = "PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\r\n";
    for (trusted, address) in [("127.0.0.0/8", "203.0.113.7"), ("10.0.0.0/8", "127.0.0.1")] {
        let gateway = behind_a_balancer().set("trusted_ips", trusted).start(&config(&upstream));
        let answer = exchange(&gateway, format!("{named}{GET}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let seen = upstream.seen().pop().unwrap();
        assert_eq!(seen.header("x-real-ip"), Some(address));
        assert_eq!(seen.header("x-forwarded-for"), Some(address));
    }
    // Another header is believed: then that of the PROXY protocol is only read.
    let gateway = behind_a_balancer()
        .set("real_ip_header", "X-Real-IP")
        .set("trusted_ips", "127.0.0.1")
        .start(&config(&upstream));
    exchange(&gateway, format!("{named}{GET}").as_bytes()).await;
    assert_eq!(upstream.seen().pop().unwrap().header("x-real-ip"), Some("198.51.100.1"));
}

#[tokio::test]
async fn without_a_proxy_header_the_connection_ends() {
    let upstream = Upstream::replying(OK).await;
    let gateway = behind_a_balancer().start(&config(&upstream));
    for bytes in [GET.as_bytes(), b"PROXY ", b"", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c"] {
        assert_eq!(exchange(&gateway, bytes).await, "", "{bytes:?}");
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn every_worker_serves_when_the_gateway_has_started() {
    for _ in 0..5 {
        let builder = Builder::default().set("nginx_worker_processes", "4");
        let gateway = builder.start("_format_version: '3.0'\n");
        let ready = gateway.status("/status/ready").await;
        assert_eq!((ready.status(), ready.text().as_str()), (200, r#"{"message":"ready"}"#));
    }
}

#[tokio::test]
async fn the_log_level_is_changed_for_a_while_in_kongs_words() {
    let gateway = TestGateway::start("_format_version: '3.0'\n");
    let put = async |path: &str, body: &str| {
        let path = format!("/debug/node/log-level/{path}");
        let form = [("Content-Type", "application/x-www-form-urlencoded")];
        let answer = http::send(gateway.status, "PUT", &path, &form, body.as_bytes()).await;
        (answer.status(), answer.json()["message"].as_str().unwrap().to_owned())
    };
    let level = async || gateway.status("/debug/node/log-level").await.json()["message"].clone();
    assert_eq!(level().await, "log level: notice");
    assert_eq!(put("notice", "").await, (200, "log level is already notice".into()));
    assert_eq!(put("loud", "").await, (400, "unknown log level: loud".into()));
    let text = "timeout must be greater than or equal to 0";
    assert_eq!(put("debug", "timeout=-1").await, (400, text.into()));
    assert_eq!(put("debug?timeout=30", "").await, (200, "log level changed".into()));
    assert_eq!(level().await, "log level: debug");
    let status = gateway.status("/status").await.json();
    assert_eq!(status["log_level"], "debug");
    assert!(status["log_level_reverts_in_secs"].as_u64().unwrap() <= 30);
    assert_eq!(put("error", "timeout=0").await, (200, "log level changed".into()));
    soon("the configured level", async { while level().await != "log level: notice" {} }).await;
}

#[tokio::test]
async fn a_full_buffer_budget_is_an_early_503_and_passes() {
    let upstream = Upstream::replying(OK).await;
    let builder = Builder::default().set("silverback_buffer_budget", "1k");
    let gateway = builder.start(&config(&upstream));
    let mut holder = Reader::new(TcpStream::connect(gateway.address).await.unwrap());
    let head = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n";
    holder.stream.write_all(format!("{head}{}", "x".repeat(900)).as_bytes()).await.unwrap();
    soon("900 bytes in memory", async {
        while gateway.status("/status").await.json()["memory"]["buffered_body_bytes"] != 900 {}
    })
    .await;
    // It does not wait for the body: nothing of it is sent.
    let mut other = Reader::new(TcpStream::connect(gateway.address).await.unwrap());
    other.stream.write_all(head.as_bytes()).await.unwrap();
    let refused = soon("the refusal", other.message(false)).await.unwrap();
    assert_eq!((refused.status(), refused.header("retry-after")), (503, Some("1")));
    assert_eq!(gateway.get("/a").await.status(), 200, "who sends no body is served");
    let metrics = gateway.status("/metrics").await.text();
    assert!(metrics.contains("silverback_buffer_refusals_total 1\n"), "{metrics}");

    holder.stream.write_all(&[b'x'; 100]).await.unwrap();
    assert_eq!(soon("its answer", holder.message(false)).await.unwrap().status(), 200);
    assert_eq!(gateway.post("/a", &"x".repeat(900)).await.status(), 200, "there is room again");
}
