//! Clients that are slow, silent, or not what they should be: they hold nothing for long.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::gateway::{Builder, TestGateway};
use super::http::{Reader, Upstream, raw};
use super::stream_ends::soon;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn config(address: std::net::SocketAddr) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://{address}\n  retries: 0\n  \
         routes:\n  - name: r\n    paths: [/a]\n"
    )
}

/// A gateway in front of nothing, with one setting.
fn with(name: &str, value: &str) -> TestGateway {
    Builder::default().set(name, value).start("_format_version: '3.0'\n")
}

/// Sends bytes and waits until the gateway hangs up; what it has sent until then.
async fn until_closed(gateway: &TestGateway, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ = soon("the end of the connection", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_head_that_does_not_end_closes_its_connection() {
    let gateway = with("nginx_http_client_header_timeout", "100ms");
    assert_eq!(until_closed(&gateway, b"").await, "");
    assert_eq!(until_closed(&gateway, b"GET / HTTP/1.1\r\nHost: a\r\nX").await, "");
    let second = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HT";
    assert!(until_closed(&gateway, second).await.starts_with("HTTP/1.1 404 "));
}

#[tokio::test]
async fn a_connection_that_is_idle_is_closed() {
    let gateway = with("nginx_http_keepalive_timeout", "100ms");
    let answer = until_closed(&gateway, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 404 ") && !answer.contains("connection: close"));
    let gateway = with("nginx_http_keepalive_timeout", "0");
    let answer = until_closed(&gateway, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn an_exchange_may_take_longer_than_an_idle_connection() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Builder::default()
        .set("nginx_http_keepalive_timeout", "50ms")
        .set("nginx_http_client_header_timeout", "50ms")
        .start(&config(upstream.local_addr().unwrap()));
    let slow = async {
        let mut stream = Reader::new(upstream.accept().await.unwrap().0);
        stream.head().await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        stream.stream.write_all(OK).await.unwrap();
    };
    let (response, ()) = tokio::join!(soon("the answer", gateway.get("/a")), slow);
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_connection_ends_with_its_last_request() {
    let gateway = with("nginx_http_keepalive_requests", "2");
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = until_closed(&gateway, request.repeat(3).as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 404").count(), 2, "{answer}");
    assert_eq!(answer.matches("connection: close").count(), 1, "{answer}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_a_timeout() {
    let upstream = Upstream::replying(OK).await;
    let gateway = Builder::default()
        .set("nginx_http_client_body_timeout", "100ms")
        .start(&config(upstream.address));
    let request = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc";
    let answer = until_closed(&gateway, request).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn a_body_that_breaks_its_framing_is_refused() {
    let upstream = Upstream::replying(OK).await;
    let gateway = TestGateway::start(&config(upstream.address));
    for chunks in
        ["3\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "-1\r\n", "0x3\r\nabc\r\n0\r\n\r\n"]
    {
        let head = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = until_closed(&gateway, format!("{head}{chunks}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{chunks:?}: {answer}");
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn a_refused_head_is_answered_with_kongs_page_behind_those_before_it() {
    let gateway = TestGateway::start("_format_version: '3.0'\n");
    let good = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let bad = "GET / HTTP/1.1\r\nAccept: application/json\r\nHost : a\r\n\r\n";
    let answer = until_closed(&gateway, format!("{good}{bad}{good}").as_bytes()).await;
    let codes: Vec<_> = answer.split("HTTP/1.1 ").skip(1).map(|part| &part[..3]).collect();
    assert_eq!(codes, ["404", "400"], "{answer}");
    assert!(answer.contains("\"message\":\"Bad request\""), "{answer}");
    let metrics = gateway.status("/metrics").await.text();
    assert!(metrics.contains("code=\"400\"} 1"), "{metrics}");
}

#[tokio::test]
async fn requests_that_others_could_read_otherwise_are_refused() {
    let upstream = Upstream::replying(OK).await;
    let gateway = TestGateway::start(&config(upstream.address));
    for (framing, status) in [
        ("Content-Length: 4\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 4", 400),
        ("Content-Length: 4\r\nContent-Length: 4", 400),
        ("Content-Length: 4, 4", 400),
        ("Content-Length : 4", 400),
        ("Content-Length: +4", 400),
        ("Transfer-Encoding: identity", 501),
        ("Transfer-Encoding: gzip, chunked", 501),
        ("Transfer-Encoding:\r\n chunked", 400),
        ("X: y\nContent-Length: 4", 400),
    ] {
        let request = format!("POST /a HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n0\r\n\r\n");
        let answer = raw(gateway.address, request.as_bytes()).await.unwrap();
        assert_eq!(answer.status(), status, "{framing}");
        assert_eq!(answer.header("connection"), Some("close"), "{framing}");
        let page = "<html>\r\n<head><title>501 Not Implemented</title></head>";
        assert_eq!(answer.text().starts_with(page), status == 501, "{framing}");
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn heads_are_as_long_as_the_setting_says() {
    let gateway = with("nginx_http_large_client_header_buffers", "4 1k");
    let uri = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(1024));
    assert_eq!(raw(gateway.address, uri.as_bytes()).await.unwrap().status(), 414);
    let line = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(1024));
    let refused = raw(gateway.address, line.as_bytes()).await.unwrap();
    assert_eq!(refused.status(), 400);
    assert!(refused.text().starts_with("Request header or cookie too large\n"));
    let line = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: bcdefgh\r\n".repeat(400));
    assert_eq!(raw(gateway.address, line.as_bytes()).await.unwrap().status(), 400);
}

#[tokio::test]
async fn a_head_may_have_hundreds_of_lines() {
    let upstream = Upstream::replying(OK).await;
    let gateway = TestGateway::start(&config(upstream.address));
    let lines: String = (0..300).map(|n| format!("X-{n}: {n}\r\n")).collect();
    let request = format!("GET /a HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    assert_eq!(raw(gateway.address, request.as_bytes()).await.unwrap().status(), 200);
    assert_eq!(upstream.seen()[0].header("x-299"), Some("299"));
}

/// An upstream that sends without an end; it says when somebody has hung up on it.
async fn endless(upstream: &TcpListener) {
    let mut reader = Reader::new(upstream.accept().await.unwrap().0);
    reader.head().await.unwrap();
    reader.stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    while reader.stream.write_all(&[b'x'; 1 << 16]).await.is_ok() {}
}

#[tokio::test]
async fn a_client_that_reads_nothing_does_not_hold_an_upstream() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Builder::default()
        .set("nginx_http_send_timeout", "100ms")
        .start(&config(upstream.local_addr().unwrap()));
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client.write_all(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    soon("the end of the upstream's connection", endless(&upstream)).await;
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `GET http://a/a`
const GET: &[u8] = b"\x82\x86\x04\x02/a\x01\x01a";

/// What a client begins with; its streams have no window.
fn preface() -> Vec<u8> {
    let no_window = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &no_window].concat()
}

fn over_http2(name: &str, value: &str, address: std::net::SocketAddr) -> TestGateway {
    let builder = Builder::default().set("proxy_listen", "127.0.0.1:0 http2").set(name, value);
    builder.start(&config(address))
}

#[tokio::test]
async fn a_stream_without_a_window_does_not_hold_an_upstream() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = upstream.local_addr().unwrap();
    let gateway = over_http2("nginx_http_send_timeout", "100ms", address);
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    let request = frame(HEADERS, END_STREAM | END_HEADERS, 1, GET);
    client.write_all(&[preface(), request].concat()).await.unwrap();
    tokio::select! {
        () = soon("the end of the upstream's connection", endless(&upstream)) => {}
        _ = frames(&mut client) => panic!("the connection has ended, not only the stream"),
    }
}

/// Reads frames to the end and answers what must be answered; their kinds.
async fn frames(client: &mut TcpStream) -> Vec<u8> {
    const PING: u8 = 6;
    const ACK: u8 = 1;
    let mut kinds = Vec::new();
    let mut head = [0; 9];
    while client.read_exact(&mut head).await.is_ok() {
        let [_, high, low, kind, flags, ..] = head;
        kinds.push(kind);
        let mut payload = vec![0; usize::from(high) << 8 | usize::from(low)];
        client.read_exact(&mut payload).await.unwrap();
        if matches!(kind, SETTINGS | PING) && flags & ACK == 0 {
            let answer = if kind == PING { payload } else { Vec::new() };
            let _ = client.write_all(&frame(kind, ACK, 0, &answer)).await;
        }
    }
    kinds
}

/// Sends frames until the gateway hangs up.
async fn flood(gateway: &TestGateway, frames: impl Iterator<Item = Vec<u8>>) {
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client.write_all(&preface()).await.unwrap();
    let (mut reads, mut writes) = client.split();
    let sends = async {
        for frame in frames {
            if writes.write_all(&frame).await.is_err() {
                return;
            }
        }
    };
    let ends = async { while reads.read(&mut [0; 4096]).await.is_ok_and(|n| n > 0) {} };
    soon("the end of the connection", async { tokio::join!(sends, ends) }).await;
}

#[tokio::test]
async fn floods_of_http_2_frames_end_their_connection() {
    let upstream = Upstream::replying(OK).await;
    let gateway = over_http2("nginx_http_keepalive_requests", "1000000", upstream.address);
    let resets = (0..100_000_u32).map(|n| {
        let stream = 2 * n + 1;
        let request = frame(HEADERS, END_STREAM | END_HEADERS, stream, GET);
        [request, frame(RESET, 0, stream, &[0, 0, 0, 8])].concat()
    });
    flood(&gateway, resets).await;
    let endless_head = std::iter::once(frame(HEADERS, END_STREAM, 1, GET));
    let more =
        std::iter::repeat_with(|| frame(CONTINUATION, 0, 1, b"\x00\x01x\x01y")).take(100_000);
    flood(&gateway, endless_head.chain(more)).await;
    assert_eq!(gateway.get("/a").await.status(), 200, "others are served");
}

#[tokio::test]
async fn floods_that_ask_for_answers_and_read_none_end_their_connection() {
    const PING: u8 = 6;
    let upstream = Upstream::replying(OK).await;
    let gateway = over_http2("nginx_http_send_timeout", "100ms", upstream.address);
    for frame in [frame(PING, 0, 0, b"12345678"), frame(SETTINGS, 0, 0, &[])] {
        let mut client = TcpStream::connect(gateway.address).await.unwrap();
        client.write_all(&preface()).await.unwrap();
        let piece = frame.repeat(1000);
        // Who does not read is not read either: what waits is bounded by the buffers of the system.
        soon("the end", async { while client.write_all(&piece).await.is_ok() {} }).await;
    }
    assert_eq!(gateway.get("/a").await.status(), 200, "others are served");
}

#[tokio::test]
async fn an_http_2_connection_says_goodbye_after_its_last_request_and_when_it_is_idle() {
    const GOAWAY: u8 = 7;
    let upstream = Upstream::replying(OK).await;
    for (name, value) in
        [("nginx_http_keepalive_requests", "1"), ("nginx_http_keepalive_timeout", "100ms")]
    {
        let gateway = over_http2(name, value, upstream.address);
        let mut client = TcpStream::connect(gateway.address).await.unwrap();
        let request = frame(HEADERS, END_STREAM | END_HEADERS, 1, GET);
        let window = frame(8, 0, 1, &[0, 0, 1, 0]);
        client.write_all(&[preface(), request, window].concat()).await.unwrap();
        let kinds = soon("the end of the connection", frames(&mut client)).await;
        assert!(kinds.contains(&HEADERS) && kinds.contains(&GOAWAY), "{name}: {kinds:?}");
    }
}
