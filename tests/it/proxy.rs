//! Plain proxying: what goes up, what comes down, and what happens when something breaks.

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::gateway::{Builder, TestGateway};
use super::http::{self, Reader, Upstream, raw};
use super::stream_ends::soon;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn config(upstream: &Upstream) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://{}/base\n  routes:\n  \
         - name: r\n    paths: [/a]\n",
        upstream.address
    )
}

#[tokio::test]
async fn connections_beyond_the_limit_are_refused_and_others_served() {
    let builder = Builder::default().set("silverback_max_connections", "1");
    let gateway = builder.start("_format_version: '3.0'\n");
    let first = TcpStream::connect(gateway.address).await.unwrap();
    let mut first = Reader::new(first);
    first.stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(first.message(false).await.unwrap().status(), 404);

    let mut second = Reader::new(TcpStream::connect(gateway.address).await.unwrap());
    let refusal = second.message(false).await.unwrap();
    assert_eq!(refusal.status(), 503);
    assert_eq!(refusal.json()["message"], "Service unavailable");
    let metrics = http::send(gateway.status, "GET", "/metrics", &[], b"").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(metrics.contains("silverback_connections_refused_total 1\n"), "{metrics}");

    first.stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(first.message(false).await.unwrap().status(), 404, "it is still served");
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
async fn two_hosts_or_none_are_refused() {
    let upstream = Upstream::replying(OK).await;
    let gateway = TestGateway::start(&config(&upstream));
    for head in ["GET /a HTTP/1.1\r\n\r\n", "GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"] {
        assert_eq!(raw(gateway.address, head.as_bytes()).await.unwrap().status(), 400);
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn a_client_cannot_take_away_what_a_plugin_tells_the_upstream() {
    let upstream = Upstream::replying(OK).await;
    let plugins = "    plugins:\n    - name: key-auth\n";
    let consumers = "consumers:\n- username: u\n  keyauth_credentials: [{key: k}]\n";
    let gateway = TestGateway::start(&(config(&upstream) + plugins + consumers));
    let headers = [("apikey", "k"), ("Connection", "close, X-Consumer-Username, X-Hop")];
    let response =
        gateway.send("GET", "/a", &[&headers[..], &[("X-Hop", "1")]].concat(), b"").await;
    assert_eq!(response.status(), 200);
    let seen = upstream.seen().remove(0);
    assert_eq!(seen.header("x-consumer-username"), Some("u"));
    assert_eq!(seen.header("x-hop"), None);
}

#[tokio::test]
async fn behind_a_trusted_proxy_that_speaks_tls_nobody_is_sent_to_tls() {
    let upstream = Upstream::replying(OK).await;
    let config = config(&upstream) + "    protocols: [https]\n";
    for (trusted, status) in [("127.0.0.1", 200), ("10.0.0.1", 426)] {
        let gateway = Builder::default().set("trusted_ips", trusted).start(&config);
        let response = gateway.send("GET", "/a", &[("X-Forwarded-Proto", "https")], b"").await;
        assert_eq!(response.status(), status, "trusted_ips = {trusted}");
    }
}

#[tokio::test]
async fn the_host_of_an_absolute_target_reaches_the_upstream() {
    let upstream = Upstream::replying(OK).await;
    let gateway = TestGateway::start(&(config(&upstream) + "    preserve_host: true\n"));
    let request = b"GET http://abs.test/a HTTP/1.1\r\nHost: other.test\r\n\r\n";
    assert_eq!(raw(gateway.address, request).await.unwrap().status(), 200);
    assert_eq!(upstream.seen().remove(0).header("host"), Some("abs.test"));
}

#[tokio::test]
async fn a_body_above_nginx_http_client_max_body_size_is_refused() {
    let upstream = Upstream::replying(OK).await;
    let small = Builder::default().set("nginx_http_client_max_body_size", "1k");
    let gateway = small.start(&config(&upstream));
    let send = async |length| gateway.send("POST", "/a", &[], &vec![b'x'; length]).await.status();
    assert_eq!((send(1024).await, send(1025).await), (200, 413));
    let chunked = b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n";
    let request = [&chunked[..], &[b'x'; 1025], b"\r\n0\r\n\r\n"].concat();
    assert_eq!(raw(gateway.address, &request).await.unwrap().status(), 413);
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn no_content_has_no_length() {
    let upstream = Upstream::replying(OK).await;
    let termination = |status| {
        config(&upstream)
            + &format!(
                "    plugins:\n    - name: request-termination\n      \
                 config: {{status_code: {status}, message: m}}\n"
            )
    };
    let response = TestGateway::start(&termination(204)).get("/a").await;
    assert_eq!((response.status(), response.header("content-length")), (204, None));
    assert_eq!(TestGateway::start(&termination(101)).get("/a").await.status(), 500);
}

#[tokio::test]
async fn a_client_that_leaves_before_its_answer_counts_as_499() {
    // This upstream takes requests and never answers.
    let upstream = Upstream::replying(b"").await;
    let gateway = TestGateway::start(&config(&upstream));
    let mut client = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
    let request = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut client, request).await.unwrap();
    while upstream.seen().is_empty() {
        tokio::task::yield_now().await;
    }
    drop(client);
    let counted = "kong_http_requests_total{service=\"s\",route=\"r\",code=\"499\"} 1";
    loop {
        let metrics = gateway.status("/metrics").await;
        if metrics.text().contains(counted) {
            break;
        }
        assert!(!metrics.text().contains("code=\"200\""), "{}", metrics.text());
    }
}

#[tokio::test]
async fn nobody_waits_for_a_strangers_upload() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", upstream.local_addr().unwrap());
    let accept = async || Reader::new(soon("a connection", upstream.accept()).await.unwrap().0);
    let gateway = TestGateway::start(&format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: {url}\n  routes:\n  \
         - name: r\n    paths: [/a]\n"
    ));
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let mut uploader = Reader::new(stream);
    let head = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\nabc";
    uploader.stream.write_all(head).await.unwrap();
    // The upstream has heard enough, and keeps its connection.
    let mut first = accept().await;
    soon("the head of the upload", first.head()).await.unwrap();
    first.stream.write_all(OK).await.unwrap();
    assert_eq!(soon("its answer", uploader.message(false)).await.unwrap().status(), 200);
    let other = async {
        let mut second = accept().await;
        soon("the other request", second.head()).await.unwrap();
        second.stream.write_all(OK).await.unwrap();
    };
    let (response, ()) = tokio::join!(soon("the other answer", gateway.get("/a")), other);
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn what_is_refused_early_is_counted_and_keeps_to_the_headers_setting() {
    let upstream = Upstream::replying(OK).await;
    let builder = super::gateway::Builder::default().set("headers", "off");
    let gateway = builder.start(&config(&upstream));
    let long = format!("/a?{}", "x".repeat(9000));
    let refused = gateway.get(&long).await;
    assert_eq!((refused.status(), refused.header("server")), (414, None));
    let metrics = gateway.status("/metrics").await;
    let counted = "kong_http_requests_total{service=\"\",route=\"\",code=\"414\"} 1";
    assert!(metrics.text().contains(counted), "{}", metrics.text());
}
