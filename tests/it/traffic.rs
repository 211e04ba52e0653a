//! Plugins that decide who and what passes, over sockets.

use std::net::Ipv4Addr;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use super::gateway::{Builder, TestGateway};
use super::http::{Reader, Upstream, raw};
use super::stream_ends::soon;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn config(upstream: &Upstream, plugins: &str) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://{}\n  routes:\n  \
         - name: r\n    paths: [/a]\n    plugins:\n{plugins}",
        upstream.address
    )
}

#[tokio::test]
async fn ip_restriction_judges_the_client_behind_a_trusted_proxy() {
    let upstream = Upstream::replying(OK).await;
    let plugin = "    - name: ip-restriction\n      config: {allow: [192.0.2.0/24]}\n";
    let config = config(&upstream, plugin);
    for (trusted, forwarded, status) in [
        (true, "192.0.2.7", 200),
        (true, "198.51.100.1", 403),
        (true, "192.0.2.7, 198.51.100.1", 403),
        (false, "192.0.2.7", 403),
    ] {
        let network = if trusted { "127.0.0.0/8" } else { "10.0.0.0/8" };
        let builder =
            Builder::default().set("trusted_ips", network).set("real_ip_header", "X-Forwarded-For");
        let gateway = builder.start(&config);
        let response = gateway.send("GET", "/a", &[("X-Forwarded-For", forwarded)], b"").await;
        assert_eq!(response.status(), status, "{trusted} {forwarded}");
        if status == 403 {
            let from =
                if trusted { "198.51.100.1".to_owned() } else { Ipv4Addr::LOCALHOST.to_string() };
            assert_eq!(response.json()["message"], format!("IP address not allowed: {from}"));
        }
    }
    assert_eq!(upstream.seen().len(), 1);
}

const SIZE: &str = "    - name: request-size-limiting\n      \
                    config: {allowed_payload_size: 4, size_unit: bytes}\n";

#[tokio::test]
async fn a_body_in_chunks_is_measured_before_the_upstream_is_asked() {
    let upstream = Upstream::replying(OK).await;
    let gateway = TestGateway::start(&config(&upstream, SIZE));
    for (chunks, status) in
        [("2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n", 200), ("2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n", 413)]
    {
        let head = "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        let response = raw(gateway.address, format!("{head}{chunks}").as_bytes()).await.unwrap();
        assert_eq!(response.status(), status);
    }
    let seen = upstream.seen();
    assert_eq!((seen.len(), seen[0].text().as_str()), (1, "abcd"));
}

#[tokio::test]
async fn a_client_that_asks_for_leave_and_is_refused_keeps_its_connection() {
    let upstream = Upstream::replying(OK).await;
    let gateway = TestGateway::start(&config(&upstream, SIZE));
    let mut client = Reader::new(TcpStream::connect(gateway.address).await.unwrap());
    let head = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    for _ in 0..2 {
        client.stream.write_all(head.as_bytes()).await.unwrap();
        // OpenResty asks for what it then reads away.
        let first = soon("leave", client.head()).await.unwrap();
        assert_eq!(first.first, "HTTP/1.1 100 Continue");
        client.stream.write_all(b"abcde").await.unwrap();
        let answer = soon("an answer", client.message(false)).await.unwrap();
        assert_eq!((answer.status(), answer.header("connection")), (417, Some("keep-alive")));
    }
    assert!(upstream.seen().is_empty());
    client.stream.write_all(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    assert_eq!(soon("an answer", client.message(false)).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_client_that_asks_for_leave_gets_it_though_nobody_takes_its_body() {
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = closed.local_addr().unwrap();
    let config = format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://{address}\n  retries: 0\n  \
         routes: [{{name: r, paths: [/a]}}]\n"
    );
    let gateway = TestGateway::start(&config);
    let mut client = Reader::new(TcpStream::connect(gateway.address).await.unwrap());
    for (path, status) in [("/a", 502), ("/nowhere", 404)] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        );
        client.stream.write_all(head.as_bytes()).await.unwrap();
        let first = soon("leave", client.head()).await.unwrap();
        assert_eq!(first.first, "HTTP/1.1 100 Continue");
        client.stream.write_all(b"abcde").await.unwrap();
        let answer = soon("an answer", client.message(false)).await.unwrap();
        assert_eq!((answer.status(), answer.header("connection")), (status, Some("keep-alive")));
    }
}

#[tokio::test]
async fn a_bot_is_turned_away_before_it_is_asked_who_it_is() {
    let upstream = Upstream::replying(OK).await;
    let plugins = "    - name: key-auth\n    - name: bot-detection\n";
    let gateway = TestGateway::start(&config(&upstream, plugins));
    for (agent, status) in [("Googlebot/2.1", 403), ("curl/8", 401)] {
        let response = gateway.send("GET", "/a", &[("User-Agent", agent)], b"").await;
        assert_eq!(response.status(), status, "{agent}");
    }
}

#[tokio::test]
async fn a_redirect_needs_no_service() {
    let config = "_format_version: '3.0'\nroutes:\n- name: r\n  paths: [/a]\n  plugins:\n  \
        - name: redirect\n    config: {location: 'https://x.test', keep_incoming_path: true}\n";
    let response = TestGateway::start(config).get("/a/b?q=1").await;
    assert_eq!(response.status(), 301);
    assert_eq!(response.header("location"), Some("https://x.test/a/b?q=1"));
}

#[tokio::test]
async fn workers_share_their_counters_and_a_reload_keeps_them() {
    let upstream = Upstream::replying(OK).await;
    // An hour may end during the test; a year is less likely to.
    let plugin = "    - name: rate-limiting\n      config: {year: 30}\n";
    let builder = Builder::default().set("nginx_worker_processes", "3");
    let gateway = builder.start(&config(&upstream, plugin));
    let mut passed = 0;
    for n in 0..40 {
        let response = gateway.get("/a").await;
        passed += usize::from(response.status() == 200);
        if n == 20 {
            gateway.reload().await.unwrap();
        }
        if n == 39 {
            assert_eq!(response.status(), 429);
            assert_eq!(response.json()["message"], "API rate limit exceeded");
            assert_eq!(response.header("x-ratelimit-remaining-year"), Some("0"));
        }
    }
    assert_eq!((passed, upstream.seen().len()), (30, 30));
}

#[tokio::test]
async fn each_consumer_has_limits_of_its_own() {
    let upstream = Upstream::replying(OK).await;
    let plugins = "    - name: key-auth\n    - name: rate-limiting\n      config: {year: 1}\n";
    let consumers = "consumers:\n- username: a\n  keyauth_credentials: [{key: ka}, {key: kb}]\n\
        - username: c\n  keyauth_credentials: [{key: kc}]\n";
    let gateway = TestGateway::start(&(config(&upstream, plugins) + consumers));
    for (key, status) in [("ka", 200), ("kb", 429), ("kc", 200), ("none", 401)] {
        let response = gateway.send("GET", "/a", &[("apikey", key)], b"").await;
        assert_eq!(response.status(), status, "{key}");
    }
}

#[tokio::test]
async fn the_old_names_of_redis_fields_still_load() {
    let upstream = Upstream::replying(OK).await;
    let plugin = "    - name: rate-limiting\n      config: {year: 1, policy: local, \
        redis_host: r.test, redis_port: 6380, redis_timeout: 100, redis_database: 1}\n";
    let gateway = TestGateway::start(&config(&upstream, plugin));
    assert_eq!(gateway.get("/a").await.status(), 200);
}
