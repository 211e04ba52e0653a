//! WebSocket: a request that becomes a tunnel, and when the tunnel ends.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::PrivatePkcs8KeyDer;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::gateway::{Builder, TestGateway};
use super::http::{Message, Reader, Upstream, raw};
use super::stream_ends::{LogPipe, soon};
use super::tls::{certificate, connect};

const ASK: &[u8] = b"GET /a/chat HTTP/1.1\r\nHost: gw.test\r\nConnection: Upgrade\r\n\
    Upgrade: WebSocket\r\nSec-WebSocket-Key: a2V5\r\nSec-WebSocket-Version: 13\r\n\r\n";
const AGREE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-accept: YWNjZXB0\r\n\r\n";

fn config(url: &str, service: &str, plugins: &str) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: {url}\n{service}  routes:\n  \
         - name: r\n    paths: [/a]\n    plugins: [{plugins}]\n"
    )
}

/// An upstream whose every byte is the test's.
struct Far(TcpListener);

impl Far {
    async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }

    /// The next request, which it agrees to.
    async fn agree(&self) -> (Message, Reader) {
        let (stream, _) = soon("a connection", self.0.accept()).await.unwrap();
        let mut reader = Reader::new(stream);
        let head = soon("a request", reader.head()).await.unwrap();
        reader.stream.write_all(AGREE).await.unwrap();
        (head, reader)
    }
}

/// Both ends of a tunnel that is open, and what was said to open it.
struct Open<S = TcpStream> {
    client: Reader<S>,
    upstream: Reader,
    asked: Message,
    agreed: Message,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Open<S> {
    async fn through(stream: S, far: &Far) -> Self {
        let mut client = Reader::new(stream);
        client.stream.write_all(ASK).await.unwrap();
        let (asked, upstream) = far.agree().await;
        let agreed = soon("an answer", client.head()).await.unwrap();
        assert_eq!(agreed.status(), 101);
        Self { client, upstream, asked, agreed }
    }
}

async fn open(gateway: &TestGateway, far: &Far) -> Open {
    Open::through(TcpStream::connect(gateway.address).await.unwrap(), far).await
}

/// Waits for the end of a connection, however it comes.
async fn ended<S: AsyncRead + Unpin>(reader: &mut Reader<S>) {
    let mut rest = [0; 16];
    let read = soon("the end of the connection", reader.stream.read(&mut rest)).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}: {rest:?}");
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 7 + n / 251) as u8).collect()
}

#[tokio::test]
async fn what_either_side_writes_arrives_as_it_was_and_the_log_comes_last() {
    let far = Far::start().await;
    let mut log = LogPipe::open();
    let gateway = TestGateway::start(&config(&far.url(), "", &log.plugin()));
    let Open { mut client, mut upstream, asked, agreed } = open(&gateway, &far).await;
    assert_eq!(asked.target(), "/chat");
    assert_eq!(asked.header("connection"), Some("keep-alive, Upgrade"));
    assert_eq!(asked.header("upgrade"), Some("websocket"));
    assert_eq!(asked.header("sec-websocket-key"), Some("a2V5"));
    assert_eq!(agreed.header("connection"), Some("upgrade"));
    assert_eq!(agreed.header("upgrade"), Some("websocket"));
    assert_eq!(agreed.header("sec-websocket-accept"), Some("YWNjZXB0"));
    assert!(agreed.header("x-kong-proxy-latency").is_some(), "{agreed:?}");
    assert!(agreed.header("via").is_some_and(|via| via.starts_with("1.1 silverback/")));
    assert_eq!(agreed.header("content-length"), None);
    assert_eq!(agreed.header("transfer-encoding"), None);

    let (up, down) = (bytes(3 << 20), bytes((5 << 20) + 3));
    let (mut from_near, mut to_near) = client.stream.split();
    let (mut from_far, mut to_far) = upstream.stream.split();
    let (mut got_up, mut got_down) = (vec![0; up.len()], vec![0; down.len()]);
    let both = async {
        tokio::try_join!(
            to_near.write_all(&up),
            to_far.write_all(&down),
            from_far.read_exact(&mut got_up),
            from_near.read_exact(&mut got_down),
        )
    };
    soon("all bytes in both directions", both).await.unwrap();
    assert!(got_up == up && got_down == down);

    // A plugin that logs has seen nothing of it yet: another exchange is logged first.
    let other = tokio::spawn(async move {
        let (_, mut reader) = far.agree().await;
        ended(&mut reader).await;
    });
    let refused = raw(gateway.address, b"GET /a/other HTTP/1.1\r\nHost: gw.test\r\n\r\n").await;
    assert_eq!(refused.unwrap().status(), 502, "nobody asked for it");
    other.await.unwrap();
    assert_eq!(log.record().await["request"]["uri"], "/a/other");

    drop(client);
    ended(&mut upstream).await;
    drop(upstream);
    let record = log.record().await;
    assert_eq!(record["request"]["uri"], "/a/chat");
    assert_eq!(record["response"]["status"], 101);
    assert_eq!(record["upstream_status"], "101");
    assert!(record["response"]["size"].as_u64() > Some(down.len() as u64), "{record}");
}

#[tokio::test]
async fn what_is_sent_right_behind_the_head_is_not_lost() {
    let long = [b"\r\n\r\n", bytes(20 << 10).as_slice()].concat();
    for early in [&b"early"[..], b"ear\nly\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", &long] {
        is_not_lost(early).await;
    }
}

async fn is_not_lost(early: &[u8]) {
    let far = Far::start().await;
    let gateway = TestGateway::start(&config(&far.url(), "", ""));
    let mut client = Reader::new(TcpStream::connect(gateway.address).await.unwrap());
    client.stream.write_all(&[ASK, early].concat()).await.unwrap();
    let (stream, _) = soon("a connection", far.0.accept()).await.unwrap();
    let mut upstream = Reader::new(stream);
    soon("a request", upstream.head()).await.unwrap();
    upstream.stream.write_all(&[AGREE, b"at once"].concat()).await.unwrap();
    assert_eq!(soon("an answer", client.head()).await.unwrap().status(), 101);
    assert_eq!(soon("bytes", client.exactly(7)).await.0, b"at once");
    assert!(soon("bytes", upstream.exactly(early.len())).await.0 == early);
    client.stream.write_all(b"la\r\nter").await.unwrap();
    assert_eq!(soon("bytes", upstream.exactly(7)).await.0, b"la\r\nter");
}

#[tokio::test]
async fn what_follows_a_request_for_a_tunnel_that_is_refused_is_judged_as_ever() {
    let upstream = Upstream::replying(b"HTTP/1.1 426 No\r\ncontent-length: 2\r\n\r\nno").await;
    let gateway = TestGateway::start(&config(&format!("http://{}", upstream.address), "", ""));
    let mut client = Reader::new(TcpStream::connect(gateway.address).await.unwrap());
    let plain = b"GET /a/plain HTTP/1.1\r\nHost: gw.test\r\n\r\n";
    let bad = b"GET /a/bad HTTP/1.1\r\nHost : gw.test\r\n\r\n";
    let all = [plain, ASK, plain, ASK, ASK, bad, plain].concat();
    client.stream.write_all(&all).await.unwrap();
    for _ in 0..5 {
        let answer = soon("an answer", client.message(false)).await.unwrap();
        assert_eq!((answer.status(), answer.text().as_str()), (426, "no"));
    }
    assert_eq!(soon("an answer", client.message(false)).await.unwrap().status(), 400);
    ended(&mut client).await;
    let seen: Vec<_> = upstream.seen().iter().map(|seen| seen.target().to_owned()).collect();
    assert_eq!(seen, ["/plain", "/chat", "/plain", "/chat", "/chat"]);
}

#[tokio::test]
async fn a_side_that_has_said_all_may_still_listen() {
    let far = Far::start().await;
    let gateway = TestGateway::start(&config(&far.url(), "", ""));
    let Open { mut client, mut upstream, .. } = open(&gateway, &far).await;
    client.stream.write_all(b"bye").await.unwrap();
    client.stream.shutdown().await.unwrap();
    let mut all = Vec::new();
    soon("the client's end", upstream.stream.read_to_end(&mut all)).await.unwrap();
    assert_eq!(all, b"bye");
    upstream.stream.write_all(b"and you").await.unwrap();
    drop(upstream);
    let mut all = Vec::new();
    soon("the upstream's end", client.stream.read_to_end(&mut all)).await.unwrap();
    assert_eq!(all, b"and you");
}

#[tokio::test]
async fn an_upstream_that_does_not_agree_answers_as_usual() {
    let reply = b"HTTP/1.1 426 Upgrade Required\r\nupgrade: websocket\r\ncontent-length: 2\r\n\
        sec-websocket-version: 13\r\n\r\nno";
    let upstream = Upstream::replying(reply).await;
    let url = format!("http://{}", upstream.address);
    let gateway = TestGateway::start(&config(&url, "", ""));
    let mut client = Reader::new(TcpStream::connect(gateway.address).await.unwrap());
    for _ in 0..2 {
        client.stream.write_all(ASK).await.unwrap();
        let answer = soon("an answer", client.message(false)).await.unwrap();
        assert_eq!((answer.status(), answer.text().as_str()), (426, "no"));
        assert_eq!(answer.header("upgrade"), Some("websocket"), "Kong leaves what was asked for");
    }
}

#[tokio::test]
async fn other_protocols_are_not_asked_for() {
    let upstream =
        Upstream::replying(b"HTTP/1.1 200 OK\r\nupgrade: h2c\r\ncontent-length: 2\r\n\r\nok").await;
    let url = format!("http://{}", upstream.address);
    let gateway = TestGateway::start(&config(&url, "", ""));
    let headers = [
        ("Connection", "Upgrade, HTTP2-Settings"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAAQAoAAAAAIAAAAA"),
    ];
    let answer = gateway.send("GET", "/a", &headers, b"").await;
    assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
    assert_eq!(answer.header("upgrade"), None);
    let old = b"GET /a HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(raw(gateway.address, old).await.unwrap().status(), 200);
    for seen in upstream.seen() {
        for name in ["upgrade", "http2-settings"] {
            assert_eq!(seen.header(name), None, "{seen:?}");
        }
        assert_ne!(seen.header("connection"), Some("keep-alive, Upgrade"));
    }
}

#[tokio::test]
async fn a_switch_to_another_protocol_than_asked_for_is_a_bad_gateway() {
    for reply in [
        &b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"[..],
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ] {
        let upstream = Upstream::replying(reply).await;
        let url = format!("http://{}", upstream.address);
        let gateway = TestGateway::start(&config(&url, "", ""));
        assert_eq!(raw(gateway.address, ASK).await.unwrap().status(), 502);
    }
}

#[tokio::test]
async fn who_has_no_key_gets_no_tunnel() {
    let far = Far::start().await;
    let consumers = "consumers:\n- username: u\n  keyauth_credentials: [{key: k}]\n";
    let config = config(&far.url(), "", "{name: key-auth}") + consumers;
    let gateway = TestGateway::start(&config);
    assert_eq!(raw(gateway.address, ASK).await.unwrap().status(), 401);
    let mut client = Reader::new(TcpStream::connect(gateway.address).await.unwrap());
    let ask = String::from_utf8_lossy(ASK).replace("\r\n\r\n", "\r\napikey: k\r\n\r\n");
    client.stream.write_all(ask.as_bytes()).await.unwrap();
    let (asked, _upstream) = far.agree().await;
    assert_eq!(asked.header("x-consumer-username"), Some("u"));
    assert_eq!(soon("an answer", client.head()).await.unwrap().status(), 101);
}

#[tokio::test]
async fn a_tunnel_in_which_nothing_moves_ends_after_read_timeout() {
    let far = Far::start().await;
    let mut log = LogPipe::open();
    let limits = "  read_timeout: 300\n";
    let gateway = TestGateway::start(&config(&far.url(), limits, &log.plugin()));
    let Open { mut client, mut upstream, .. } = open(&gateway, &far).await;
    ended(&mut client).await;
    ended(&mut upstream).await;
    assert_eq!(log.record().await["response"]["status"], 101);
}

#[tokio::test]
async fn a_client_that_dies_takes_its_tunnel_along() {
    let far = Far::start().await;
    let mut log = LogPipe::open();
    let gateway = TestGateway::start(&config(&far.url(), "", &log.plugin()));
    let Open { client, mut upstream, .. } = open(&gateway, &far).await;
    // Closed like this the system sends a reset, as when a machine has lost its memory of it.
    socket2::SockRef::from(&client.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(client);
    ended(&mut upstream).await;
    assert_eq!(log.record().await["response"]["status"], 101);
}

#[tokio::test]
async fn an_upstream_that_dies_takes_its_tunnel_along() {
    let far = Far::start().await;
    let mut log = LogPipe::open();
    let gateway = TestGateway::start(&config(&far.url(), "", &log.plugin()));
    let Open { mut client, upstream, .. } = open(&gateway, &far).await;
    socket2::SockRef::from(&upstream.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(upstream);
    ended(&mut client).await;
    assert_eq!(log.record().await["response"]["status"], 101);
}

/// What file-log has written to a file.
fn records(path: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_tunnel_that_does_not_end_is_cut_and_logged_at_the_end_of_a_drain() {
    let far = Far::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let plugin = format!("{{name: file-log, config: {{path: \"{}\"}}}}", path.display());
    let builder = Builder::default().set("silverback_drain_secs", "1");
    let gateway = builder.start(&config(&far.url(), "", &plugin));
    let Open { mut client, mut upstream, .. } = open(&gateway, &far).await;
    soon("the end of the drain", tokio::task::spawn_blocking(move || drop(gateway))).await.unwrap();
    ended(&mut client).await;
    ended(&mut upstream).await;
    let records = records(&path);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["response"]["status"], 101);
}

#[tokio::test]
async fn a_tunnel_counts_as_a_connection() {
    let far = Far::start().await;
    let builder = Builder::default().set("silverback_max_connections", "1");
    let gateway = builder.start(&config(&far.url(), "", ""));
    let Open { client, mut upstream, .. } = open(&gateway, &far).await;
    let mut second = Reader::new(TcpStream::connect(gateway.address).await.unwrap());
    assert_eq!(soon("a refusal", second.message(false)).await.unwrap().status(), 503);
    drop(client);
    ended(&mut upstream).await;
}

#[tokio::test]
async fn both_sides_may_be_encrypted() {
    let (near, far) = (certificate("localhost"), certificate("localhost"));
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let key = PrivatePkcs8KeyDer::from(far.key.clone());
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![far.der.clone()], key.into())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let echo = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = TlsAcceptor::from(Arc::new(server)).accept(stream).await.unwrap();
        let mut reader = Reader::new(stream);
        reader.head().await.unwrap();
        reader.stream.write_all(AGREE).await.unwrap();
        let (mut from, mut to) = tokio::io::split(reader.stream);
        let _ = tokio::io::copy(&mut from, &mut to).await;
        let _ = to.shutdown().await;
    });
    let gateway = Builder::default()
        .set("ssl_cert", &file("cert.pem", &near.pem))
        .set("ssl_cert_key", &file("key.pem", &near.key_pem))
        .set("proxy_listen", "127.0.0.1:0 ssl http2")
        .start(&config(&url, "  tls_verify: false\n", ""));
    let stream = connect(gateway.address, &near, b"http/1.1").await;
    let mut client = Reader::new(stream);
    client.stream.write_all(ASK).await.unwrap();
    assert_eq!(soon("an answer", client.head()).await.unwrap().status(), 101);
    let sent = bytes(1 << 20);
    let (mut from, mut to) = tokio::io::split(client.stream);
    let mut got = vec![0; sent.len()];
    let both = async { tokio::try_join!(to.write_all(&sent), from.read_exact(&mut got)) };
    soon("the echo", both).await.unwrap();
    assert!(got == sent);
    soon("the end", to.shutdown()).await.unwrap();
    let mut rest = Vec::new();
    soon("the end of the echo", from.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
    echo.await.unwrap();
}
