//! Uploads that stream and that the client does not finish: its fault, and nobody else's.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::gateway::TestGateway;
use super::http::{Message, Reader, Upstream, raw};
use super::log_lines;
use super::stream_ends::soon;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const CHUNKED: &str = "Transfer-Encoding: chunked";
/// More than is read ahead.
const LONG: &str = "Content-Length: 9000000";

/// One target, which the first failure that counts takes out.
fn config(target: SocketAddr) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://up.test\n  routes:\n  \
         - name: r\n    paths: [/a]\n    request_buffering: false\nupstreams:\n- name: up.test\n  \
         healthchecks: {{passive: {{unhealthy: {{http_failures: 1, tcp_failures: 1, timeouts: 1, \
         http_statuses: [400, 408, 499, 502]}}}}}}\n  targets:\n  - target: {target}\n"
    )
}

/// Sends a PUT with a body that ends like this, and nothing more.
async fn put(gateway: &TestGateway, framing: &str, body: &str) -> Message {
    let mut client = Reader::new(TcpStream::connect(gateway.address).await.unwrap());
    let request = format!("PUT /a HTTP/1.1\r\nHost: gw.test\r\n{framing}\r\n\r\n{body}");
    client.stream.write_all(request.as_bytes()).await.unwrap();
    client.stream.shutdown().await.unwrap();
    soon("an answer", client.message(false)).await.expect("no answer")
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_not_sent_again_as_an_empty_one() {
    let upstream = Upstream::replying(OK).await;
    let gateway = TestGateway::start(&config(upstream.address));
    for (framing, body) in [
        (CHUNKED, ""),
        (CHUNKED, "zz\r\n"),
        (CHUNKED, "3\r\nab"),
        (CHUNKED, "3\r\nabc\r\n"),
        (CHUNKED, "3\r\nabcd\r\n0\r\n\r\n"),
        (LONG, ""),
        (LONG, "abc"),
    ] {
        let answer = put(&gateway, framing, body).await;
        assert_eq!(answer.status(), 400, "{framing}: {body:?}");
        assert_eq!(answer.text().lines().next(), Some("Bad request"), "{framing}: {body:?}");
    }
    let complete: Vec<_> = upstream.seen().into_iter().filter(|seen| seen.complete).collect();
    assert!(complete.is_empty(), "{complete:?}");
    let whole = format!("PUT /a HTTP/1.1\r\nHost: a\r\n{CHUNKED}\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    let answer = soon("an answer", raw(gateway.address, whole.as_bytes())).await.unwrap();
    assert_eq!(answer.status(), 200, "an upload that ends");
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_the_clients_fault_and_hurts_no_target() {
    log_lines::keep();
    let upstream = Upstream::replying(OK).await;
    let gateway = TestGateway::start(&config(upstream.address));
    let began = log_lines::mark();
    let answer = put(&gateway, CHUNKED, "3\r\nabc\r\nzz\r\n").await;
    assert_eq!(answer.status(), 400);
    gateway.settled().await;
    let lines = log_lines::since(began, answer.header("x-kong-request-id").unwrap());
    let faults: Vec<_> = lines.iter().map(|line| &line["fields"]["fault"]).collect();
    assert_eq!(faults, ["client"], "{lines:?}");
    let metrics = gateway.status("/metrics").await.text();
    assert!(metrics.contains("code=\"400\"") && !metrics.contains("code=\"502\""), "{metrics}");
    let status = gateway.status("/status").await.json();
    let target = &status["upstreams"]["up.test"][upstream.address.to_string()];
    assert_eq!(*target, "HEALTHY", "{status}");
    assert_eq!(gateway.get("/a").await.status(), 200);
}

#[tokio::test]
async fn a_reply_that_ends_because_the_upload_broke_off_is_the_clients_fault() {
    log_lines::keep();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = TestGateway::start(&config(listener.local_addr().unwrap()));
    let began = log_lines::mark();
    let mut client = Reader::new(TcpStream::connect(gateway.address).await.unwrap());
    let request = format!("PUT /a HTTP/1.1\r\nHost: gw.test\r\n{CHUNKED}\r\n\r\n3\r\nabc\r\n");
    client.stream.write_all(request.as_bytes()).await.unwrap();
    let mut upstream = Reader::new(soon("a connection", listener.accept()).await.unwrap().0);
    soon("a request", upstream.head()).await.unwrap();
    let early = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n";
    upstream.stream.write_all(early).await.unwrap();
    let answer = soon("an answer", client.head()).await.unwrap();
    assert_eq!(soon("a chunk", client.chunk()).await, Some(Ok(b"ok".to_vec())));
    client.stream.write_all(b"zz\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = soon("the end of the reply", client.stream.read_to_end(&mut rest)).await;
    assert!(!rest.ends_with(b"0\r\n\r\n"), "it must not look whole");
    gateway.settled().await;
    let lines = log_lines::since(began, answer.header("x-kong-request-id").unwrap());
    let faults: Vec<_> = lines.iter().map(|line| &line["fields"]["fault"]).collect();
    assert_eq!(faults, ["client"], "{lines:?}");
}

#[tokio::test]
async fn a_reply_that_a_plugin_waits_for_and_the_upload_breaks_is_no_fault_of_the_upstream() {
    log_lines::keep();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plugin = "plugins: [{name: response-transformer, config: {add: {json: ['a:b']}}}]\n";
    let gateway = TestGateway::start(&(config(listener.local_addr().unwrap()) + plugin));
    let began = log_lines::mark();
    let mut client = Reader::new(TcpStream::connect(gateway.address).await.unwrap());
    let request = format!("PUT /a HTTP/1.1\r\nHost: gw.test\r\n{CHUNKED}\r\n\r\n3\r\nabc\r\n");
    client.stream.write_all(request.as_bytes()).await.unwrap();
    let mut upstream = Reader::new(soon("a connection", listener.accept()).await.unwrap().0);
    soon("a request", upstream.head()).await.unwrap();
    let early = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
        transfer-encoding: chunked\r\n\r\n1\r\n{\r\n";
    upstream.stream.write_all(early).await.unwrap();
    client.stream.write_all(b"zz\r\n").await.unwrap();
    let answer = soon("an answer", client.message(false)).await.unwrap();
    assert_eq!(answer.status(), 400, "{}", answer.text());
    gateway.settled().await;
    let lines = log_lines::since(began, answer.header("x-kong-request-id").unwrap());
    let faults: Vec<_> = lines.iter().map(|line| &line["fields"]["fault"]).collect();
    assert_eq!(faults, ["client"], "{lines:?}");
}

#[tokio::test]
async fn a_client_cannot_bring_in_its_trailers_what_plugins_take_out_of_its_headers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = TestGateway::start(&config(listener.local_addr().unwrap()));
    let mut client = Reader::new(TcpStream::connect(gateway.address).await.unwrap());
    let request = format!(
        "PUT /a HTTP/1.1\r\nHost: gw.test\r\nTE: trailers\r\nTrailer: X-Consumer-Username\r\n\
         {CHUNKED}\r\n\r\n3\r\nabc\r\n0\r\nX-Consumer-Username: admin\r\n\r\n"
    );
    client.stream.write_all(request.as_bytes()).await.unwrap();
    let mut upstream = soon("a connection", listener.accept()).await.unwrap().0;
    let mut seen = Vec::new();
    soon("the end of the request", async {
        while !(seen.ends_with(b"\r\n\r\n") && seen.windows(5).any(|five| five == b"\r\n0\r\n")) {
            assert_ne!(upstream.read_buf(&mut seen).await.unwrap(), 0);
        }
    })
    .await;
    let seen = String::from_utf8(seen).unwrap();
    assert!(seen.ends_with("3\r\nabc\r\n0\r\n\r\n"), "{seen}");
    upstream.write_all(OK).await.unwrap();
    assert_eq!(soon("an answer", client.message(false)).await.unwrap().status(), 200);
}

#[tokio::test]
async fn the_connection_lives_on_behind_an_upload_that_nobody_has_read() {
    let refuses = "_format_version: '3.0'\nroutes:\n- name: r\n  paths: [/a]\n  plugins:\n  \
                   - name: request-termination\n    config: {status_code: 403}\n";
    let gateway = TestGateway::start(refuses);
    let mut client = Reader::new(TcpStream::connect(gateway.address).await.unwrap());
    for (framing, body) in [
        ("Content-Length: 2000000", "x".repeat(2_000_000)),
        (CHUNKED, format!("2dc6c0\r\n{}\r\n0\r\n\r\n", "x".repeat(3_000_000))),
    ] {
        let head = format!("POST /a HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n");
        client.stream.write_all(head.as_bytes()).await.unwrap();
        let answer = soon("an answer", client.message(false)).await.expect("no answer");
        assert_eq!((answer.status(), answer.header("connection")), (403, Some("keep-alive")));
        client.stream.write_all(body.as_bytes()).await.unwrap();
    }
    client.stream.write_all(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let answer = soon("an answer", client.message(false)).await.expect("no answer");
    assert_eq!(answer.status(), 403);
}
