//! What a gateway that stops does with connections that are open.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::cli_process::{Process, silverback};
use super::grpc_ends::Client;
use super::http::Reader;
use super::stream_ends::soon;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A process in front of an upstream that answers when the test says so.
struct Scene {
    process: Process,
    upstream: TcpListener,
    address: std::net::SocketAddr,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn start(words: &str) -> Self {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kong.yaml");
        let config = format!(
            "_format_version: '3.0'\nservices:\n- name: s\n  url: http://{}\n  routes:\n  \
             - {{name: r, paths: [/a]}}\n",
            upstream.local_addr().unwrap()
        );
        std::fs::write(&path, config).unwrap();
        let start = silverback(&["run", path.to_str().unwrap()]);
        let mut process = start
            .env("KONG_PROXY_LISTEN", &format!("127.0.0.1:0 {words}"))
            .env("KONG_STATUS_LISTEN", "127.0.0.1:0")
            .env("KONG_SILVERBACK_DRAIN_SECS", "20")
            .spawn();
        let address = process.proxy().await;
        Self { process, upstream, address, _folder: folder }
    }

    /// The upstream's end of the next exchange, whose request is there.
    async fn exchange(&self) -> Reader {
        let mut upstream = Reader::new(soon("a call", self.upstream.accept()).await.unwrap().0);
        soon("a request", upstream.head()).await.unwrap();
        upstream
    }

    async fn stop(&mut self) {
        self.process.signal("TERM");
        self.process.line_with("draining").await;
    }
}

#[tokio::test]
async fn open_streams_of_http_2_end_before_the_gateway_does_and_no_more_are_taken() {
    let mut scene = Scene::start("http2").await;
    let client = Client::connect(scene.address).await;
    let mut calling = client.begin("/a", &[("content-type", "text/plain")]).await;
    calling.stream.send_data(bytes::Bytes::from_static(b"x"), true).unwrap();
    let mut upstream = scene.exchange().await;
    scene.stop().await;
    soon("the goodbye", async { while client.may_call().await {} }).await;
    upstream.stream.write_all(OK).await.unwrap();
    assert_eq!(calling.answer().await.status(), 200);
    assert_eq!(scene.process.ended().await.code, Some(0));
}

#[tokio::test]
async fn an_open_answer_ends_before_the_gateway_does_and_closes_its_connection() {
    let mut scene = Scene::start("").await;
    let mut idle = TcpStream::connect(scene.address).await.unwrap();
    let mut slow = TcpStream::connect(scene.address).await.unwrap();
    slow.write_all(b"GET /a HTTP/1.1\r\nHo").await.unwrap();
    let mut client = Reader::new(TcpStream::connect(scene.address).await.unwrap());
    client.stream.write_all(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut upstream = scene.exchange().await;
    scene.stop().await;
    // Who has asked for nothing, or not yet, does not hold up the stop.
    for stream in [&mut idle, &mut slow] {
        let mut rest = Vec::new();
        let _ = soon("the end of a connection", stream.read_to_end(&mut rest)).await;
        assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    }
    upstream.stream.write_all(OK).await.unwrap();
    let answer = soon("the answer", client.message(false)).await.unwrap();
    assert_eq!((answer.text().as_str(), answer.header("connection")), ("ok", Some("close")));
    assert_eq!(scene.process.ended().await.code, Some(0));
}
