//! proxy-cache: what is kept, for whom, and what is not.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::gateway::{Builder, TestGateway};
use super::http::{Message, Reader, Upstream};
use super::stream_ends::soon;

const JSON: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-up: 1\r\n\
    x-ratelimit-remaining-minute: 4\r\nserver: up\r\ncontent-length: 2\r\n\r\n{}";

fn config(upstream: SocketAddr, plugin: &str) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://{upstream}\n  routes:\n  \
         - name: r\n    paths: [/a]\n    plugins:\n    \
         - {{name: proxy-cache, config: {{strategy: memory{plugin}}}}}\n"
    )
}

fn status(message: &Message) -> &str {
    message.header("x-cache-status").unwrap_or("none")
}

#[tokio::test]
async fn a_reply_is_given_to_who_asks_the_same() {
    let upstream = Upstream::replying(JSON).await;
    let gateway = TestGateway::start(&config(upstream.address, ""));
    let first = gateway.get("/a?x=1&y=2").await;
    assert_eq!((status(&first), first.header("age")), ("Miss", None));
    let second = gateway.get("/a?y=2&x=1").await;
    assert_eq!((second.status(), second.text().as_str(), status(&second)), (200, "{}", "Hit"));
    assert_eq!(second.header("x-cache-key"), first.header("x-cache-key"));
    assert!(second.header("age").is_some());
    assert_eq!((second.header("server"), second.header("x-up")), (Some("up"), Some("1")));
    assert_eq!(second.header("x-ratelimit-remaining-minute"), None);
    assert_eq!(second.header("x-kong-upstream-latency"), Some("0"));
    assert_eq!(second.header("x-kong-response-latency"), None);
    for other in ["/a?x=1", "/a/b?x=1&y=2", "/a"] {
        assert_eq!(status(&gateway.get(other).await), "Miss", "{other}");
    }
    assert_eq!(status(&gateway.post("/a?x=1", "{}").await), "Bypass");
    assert_eq!(upstream.seen().len(), 5);
}

#[tokio::test]
async fn workers_share_what_is_kept() {
    let upstream = Upstream::replying(JSON).await;
    let builder = Builder::default().set("nginx_worker_processes", "4");
    let gateway = builder.start(&config(upstream.address, ""));
    assert_eq!(status(&gateway.get("/a").await), "Miss");
    for _ in 0..12 {
        assert_eq!(status(&gateway.get("/a").await), "Hit");
    }
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn head_and_empty_replies_are_kept_too() {
    const EMPTY: &[u8] = b"HTTP/1.1 301 Moved Permanently\r\ncontent-type: text/plain\r\n\
        location: /b\r\ncontent-length: 0\r\n\r\n";
    let upstream = Upstream::replying(EMPTY).await;
    let gateway = TestGateway::start(&config(upstream.address, ""));
    for method in ["HEAD", "GET"] {
        for expected in ["Miss", "Hit"] {
            let reply = gateway.send(method, "/a", &[], b"").await;
            assert_eq!((reply.status(), status(&reply)), (301, expected), "{method}");
            assert_eq!(reply.header("location"), Some("/b"));
        }
    }
}

#[tokio::test]
async fn what_is_of_another_kind_is_not_kept() {
    for reply in [
        &b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 0\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json; a=b\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 500 No\r\ncontent-type: text/plain\r\ncontent-length: 0\r\n\r\n",
    ] {
        let upstream = Upstream::replying(reply).await;
        let gateway = TestGateway::start(&config(upstream.address, ""));
        for _ in 0..2 {
            assert_eq!(status(&gateway.get("/a").await), "Bypass");
        }
    }
}

#[tokio::test]
async fn cache_control_counts_where_it_is_asked_for() {
    const FRESH: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\
        cache-control: max-age=60\r\ncontent-length: 0\r\n\r\n";
    let upstream = Upstream::replying(FRESH).await;
    let gateway = TestGateway::start(&config(upstream.address, ", cache_control: true"));
    let ask = async |name, value| gateway.send("GET", "/a", &[(name, value)], b"").await;
    let missing = ask("cache-control", "only-if-cached").await;
    assert_eq!((missing.status(), missing.text().as_str()), (504, ""));
    assert_eq!(status(&ask("cache-control", "no-store").await), "Bypass");
    assert_eq!(status(&ask("authorization", "Basic eDp5").await), "Bypass");
    assert_eq!(status(&ask("accept", "*/*").await), "Miss");
    assert_eq!(status(&ask("cache-control", "only-if-cached, max-age=50").await), "Hit");
    assert_eq!(status(&ask("cache-control", "min-fresh=90").await), "Refresh");

    const PRIVATE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\
        cache-control: private, max-age=60\r\ncontent-length: 0\r\n\r\n";
    for reply in [PRIVATE, JSON] {
        let upstream = Upstream::replying(reply).await;
        let gateway = TestGateway::start(&config(upstream.address, ", cache_control: true"));
        for _ in 0..2 {
            assert_eq!(status(&gateway.get("/a").await), "Bypass");
        }
    }
}

#[tokio::test]
async fn consumers_and_headers_have_replies_of_their_own() {
    let upstream = Upstream::replying(JSON).await;
    let config = config(upstream.address, ", vary_headers: [X-V], vary_query_params: [q]")
        + "    - name: key-auth\n\
           consumers:\n- {username: a, keyauth_credentials: [{key: ka}]}\n\
           - {username: b, keyauth_credentials: [{key: kb}]}\n";
    let gateway = TestGateway::start(&config);
    for (headers, query, expected) in [
        ([("apikey", "ka"), ("x-v", "1")], "", "Miss"),
        ([("apikey", "ka"), ("x-v", "1")], "?other=1", "Miss"),
        ([("apikey", "ka"), ("x-v", "1")], "?other=2", "Hit"),
        ([("apikey", "ka"), ("x-v", "2")], "?other=2", "Miss"),
        ([("apikey", "kb"), ("x-v", "1")], "?other=2", "Miss"),
        ([("apikey", "ka"), ("x-v", "1")], "?q=2", "Miss"),
        ([("apikey", "kb"), ("x-v", "1")], "?other=3", "Hit"),
    ] {
        let reply = gateway.send("GET", &format!("/a{query}"), &headers, b"").await;
        assert_eq!(status(&reply), expected, "{headers:?} {query}");
    }
}

#[tokio::test]
async fn the_headers_can_be_left_out_and_asked_for() {
    let upstream = Upstream::replying(JSON).await;
    let shown = ", response_headers: {age: false, X-Cache-Status: false, X-Cache-Key: false}";
    let gateway = TestGateway::start(&config(upstream.address, shown));
    for _ in 0..2 {
        let reply = gateway.get("/a").await;
        for name in ["age", "x-cache-status", "x-cache-key"] {
            assert_eq!(reply.header(name), None, "{name}");
        }
    }
    let reply = gateway.send("GET", "/a", &[("kong-debug", "1")], b"").await;
    assert_eq!(status(&reply), "Hit");
    assert!(reply.header("x-cache-key").is_some() && reply.header("age").is_some());
}

/// An upstream that writes as it is told, and a client that reads piece by piece.
struct Ends {
    listener: TcpListener,
    gateway: TestGateway,
}

impl Ends {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = TestGateway::start(&config(listener.local_addr().unwrap(), ""));
        Self { listener, gateway }
    }

    /// Asks, and returns both connections once the upstream has the request.
    async fn ask(&self) -> (Reader, TcpStream) {
        let mut client = Reader::new(TcpStream::connect(self.gateway.address).await.unwrap());
        client.stream.write_all(b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let (upstream, _) =
            soon("the upstream's connection", self.listener.accept()).await.unwrap();
        let mut upstream = Reader::new(upstream);
        soon("the request", upstream.head()).await.unwrap();
        (client, upstream.stream)
    }
}

const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\
    transfer-encoding: chunked\r\n\r\n3\r\none\r\n";

#[tokio::test]
async fn keeping_a_reply_does_not_hold_it_up() {
    let ends = Ends::new().await;
    let (mut client, mut upstream) = ends.ask().await;
    upstream.write_all(CHUNKED).await.unwrap();
    assert_eq!(status(&soon("the head", client.head()).await.unwrap()), "Miss");
    assert_eq!(soon("the first piece", client.chunk()).await.unwrap().unwrap(), b"one");
    upstream.write_all(b"3\r\ntwo\r\n0\r\n\r\n").await.unwrap();
    assert_eq!(soon("the second piece", client.chunk()).await.unwrap().unwrap(), b"two");
    assert!(soon("the end", client.chunk()).await.is_none());
    let kept = ends.gateway.get("/a").await;
    assert_eq!((status(&kept), kept.text().as_str()), ("Hit", "onetwo"));
}

#[tokio::test]
async fn a_reply_that_breaks_off_is_not_kept() {
    let ends = Ends::new().await;
    let (mut client, mut upstream) = ends.ask().await;
    upstream.write_all(CHUNKED).await.unwrap();
    soon("the head", client.head()).await.unwrap();
    assert_eq!(soon("the first piece", client.chunk()).await.unwrap().unwrap(), b"one");
    drop(upstream);
    assert!(soon("the break", client.chunk()).await.unwrap().is_err());
    // Were it kept, this would never reach the upstream.
    let (mut client, mut upstream) = ends.ask().await;
    upstream.write_all(CHUNKED).await.unwrap();
    upstream.write_all(b"0\r\n\r\n").await.unwrap();
    let again = soon("the answer", client.message(false)).await.unwrap();
    assert_eq!((status(&again), again.text().as_str()), ("Miss", "one"));
}
