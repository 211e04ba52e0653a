//! What nginx does around Kong: which requests it refuses, what it adds, and what it leaves out.

use super::gateway::{Builder, TestGateway};
use super::http::{Upstream, closed_port, raw};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn config(address: std::net::SocketAddr) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://{address}\n  retries: 0\n  \
         routes:\n  - {{name: r, paths: [/a]}}\n  \
         - {{name: t, paths: [/t], protocols: [https], https_redirect_status_code: 302}}\n"
    )
}

#[tokio::test]
async fn what_nginx_refuses_is_refused() {
    let upstream = Upstream::replying(OK).await;
    let gateway = TestGateway::start(&config(upstream.address));
    for (head, status) in [
        ("GET /a/.. HTTP/1.1\r\nHost: x", 404),
        ("GET /a/../.. HTTP/1.1\r\nHost: x", 400),
        ("GET /%2e%2e/a HTTP/1.1\r\nHost: x", 400),
        ("GET /a%00 HTTP/1.1\r\nHost: x", 400),
        ("OPTIONS * HTTP/1.1\r\nHost: x", 400),
        ("GET /a HTTP/1.1\r\nHost:", 400),
        ("GET /a HTTP/1.1\r\nHost: :80", 400),
        ("GET /a HTTP/1.1\r\nHost: x\r\nAuthorization: a\r\nAuthorization: b", 400),
        ("CONNECT /a HTTP/1.1\r\nHost: x", 405),
        ("GET /a HTTP/1.1\r\nHost: [::1]:80", 200),
    ] {
        let reply = raw(gateway.address, format!("{head}\r\n\r\n").as_bytes()).await.unwrap();
        assert_eq!(reply.status(), status, "{head}");
    }
}

#[tokio::test]
async fn a_refused_request_line_is_answered_before_accept_is_read() {
    let upstream = Upstream::replying(OK).await;
    let gateway = TestGateway::start(&config(upstream.address));
    for (target, kind) in
        [("/%zz", "text/plain; charset=utf-8"), ("/a", "text/html; charset=utf-8")]
    {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a/b\r\nAccept: text/html\r\n\r\n");
        let reply = raw(gateway.address, head.as_bytes()).await.unwrap();
        assert_eq!((reply.status(), reply.header("content-type")), (400, Some(kind)));
        assert!(reply.header("date").is_some());
    }
}

#[tokio::test]
async fn global_plugins_see_what_nginx_refuses_and_what_came_over_another_protocol() {
    let upstream = Upstream::replying(OK).await;
    let log = tempfile::NamedTempFile::new().unwrap();
    let plugins = format!(
        "plugins:\n\
         - {{name: correlation-id, config: {{header_name: x-c, echo_downstream: true}}}}\n\
         - {{name: file-log, config: {{path: {}}}}}\n\
         - {{name: response-transformer, route: t, config: {{add: {{headers: ['x-r:1']}}}}}}\n",
        log.path().display()
    );
    let gateway = TestGateway::start(&(config(upstream.address) + &plugins));
    let refused = raw(gateway.address, b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!((refused.status(), refused.header("connection")), (400, Some("close")));
    let away = gateway.get("/t").await;
    assert_eq!((away.status(), away.header("x-r")), (302, None));
    for reply in [&refused, &away] {
        assert!(reply.header("x-c").is_some(), "{reply:?}");
        assert!(reply.header("x-kong-response-latency").is_some(), "{reply:?}");
    }
    drop(gateway);
    let records = std::fs::read_to_string(log.path()).unwrap();
    let records: Vec<serde_json::Value> =
        records.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let statuses: Vec<_> = records.iter().map(|one| one["response"]["status"].as_u64()).collect();
    assert_eq!(statuses, [Some(400), Some(302)]);
    assert!(records.iter().all(|one| one.get("route").is_none() && one["source"] == "kong"));
}

#[tokio::test]
async fn a_body_is_announced_as_the_client_announced_it() {
    let upstream = Upstream::replying(OK).await;
    let gateway = TestGateway::start(&config(upstream.address));
    for (request, length) in [
        ("POST /a HTTP/1.1\r\nHost: x\r\n\r\n", None),
        ("GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", Some("0")),
        ("PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Some("0")),
        ("DELETE /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab", Some("2")),
    ] {
        raw(gateway.address, request.as_bytes()).await.unwrap();
        let seen = upstream.seen().pop().unwrap();
        assert_eq!(seen.header("content-length"), length, "{request}");
        assert_eq!(seen.header("transfer-encoding"), None, "{request}");
    }
}

#[tokio::test]
async fn an_upstreams_head_is_passed_on_with_its_own_words_and_without_a_date() {
    let upstream = Upstream::replying(
        b"HTTP/1.1 299 Quite Fine\r\ncontent-length: 0\r\nx-accel-redirect: /x\r\nx-pad: 1\r\n\
          set-cookie: a=1\r\nset-cookie: b=2\r\nx-odd: \xE9\r\n\r\n",
    )
    .await;
    let gateway = TestGateway::start(&config(upstream.address));
    let reply = gateway.get("/a").await;
    assert_eq!(reply.first, "HTTP/1.1 299 Quite Fine");
    let ours = ["via", "server", "x-kong-"];
    let mut kept: Vec<_> = reply.headers.iter().map(|(name, _)| name.as_str()).collect();
    kept.retain(|name| !ours.iter().any(|ours| name.starts_with(ours)));
    kept.sort_unstable();
    assert_eq!(kept, ["connection", "content-length", "set-cookie", "set-cookie", "x-odd"]);
    let ours = gateway.get("/t").await;
    assert_eq!(ours.first, "HTTP/1.1 302 Moved Temporarily");
    assert!(ours.header("date").is_some());
}

#[tokio::test]
async fn an_attempt_that_failed_stands_for_a_status() {
    let nobody = closed_port();
    let gateway = Builder::default()
        .set("headers", "X-Kong-Upstream-Status")
        .start(&config(nobody.local_addr().unwrap()));
    let reply = gateway.get("/a").await;
    assert_eq!((reply.status(), reply.header("x-kong-upstream-status")), (502, Some("502")));
}

#[tokio::test]
async fn errors_for_grpc_clients_over_http_1_are_as_in_kong() {
    let nobody = closed_port();
    let gateway = TestGateway::start(&config(nobody.local_addr().unwrap()));
    let grpc = [("Accept", "application/grpc")];
    let reply = gateway.send("GET", "/none", &grpc, b"").await;
    assert_eq!(
        (reply.status(), reply.header("content-type"), reply.text()),
        (404, None, "".into())
    );
    let reply = gateway.send("GET", "/a", &grpc, b"").await;
    let message = "An invalid response was received from the upstream server";
    assert_eq!(reply.text(), format!("{{\"message\":\"{message}\"}}"));
}

#[tokio::test]
async fn of_what_a_trusted_proxy_says_twice_the_first_counts() {
    let upstream = Upstream::replying(OK).await;
    let gateway =
        Builder::default().set("trusted_ips", "127.0.0.1").start(&config(upstream.address));
    let headers = [
        ("X-Forwarded-Host", "one.test"),
        ("X-Forwarded-Host", "two.test"),
        ("X-Forwarded-Prefix", ""),
        ("X-Forwarded-Proto", "HTTPS"),
    ];
    gateway.send("GET", "/a", &headers, b"").await;
    let seen = upstream.seen().pop().unwrap();
    let hosts = seen.headers.iter().filter(|(name, _)| name == "x-forwarded-host");
    assert_eq!(hosts.map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["one.test"]);
    assert_eq!(seen.header("x-forwarded-prefix"), None);
    // Kong compares the scheme letter by letter.
    assert_eq!(gateway.send("GET", "/t", &headers, b"").await.status(), 302);
    let https = [("X-Forwarded-Proto", "https")];
    assert_eq!(gateway.send("GET", "/t", &https, b"").await.status(), 200);
}

#[tokio::test]
async fn every_answer_says_what_becomes_of_its_connection() {
    let upstream = Upstream::replying(OK).await;
    for (limit, head, says) in [
        ("1000", "GET /a HTTP/1.1\r\nHost: x", "keep-alive"),
        ("1000", "GET /none HTTP/1.1\r\nHost: x", "keep-alive"),
        ("1000", "GET /a HTTP/1.1\r\nHost: x\r\nConnection: x-a, Close", "close"),
        ("1000", "GET /a HTTP/1.0\r\nHost: x", "close"),
        ("1000", "GET /a HTTP/1.0\r\nHost: x\r\nConnection: keep-alive", "keep-alive"),
        ("1000", "GET /a/%zz HTTP/1.1\r\nHost: x", "close"),
        ("1", "GET /a HTTP/1.1\r\nHost: x", "close"),
    ] {
        let builder = Builder::default().set("nginx_http_keepalive_requests", limit);
        let gateway = builder.start(&config(upstream.address));
        let reply = raw(gateway.address, format!("{head}\r\n\r\n").as_bytes()).await.unwrap();
        let said = reply.headers.iter().filter(|(name, _)| name == "connection");
        let said: Vec<_> = said.map(|(_, value)| value.as_str()).collect();
        assert_eq!(said, [says], "{limit} {head}");
    }
}

#[tokio::test]
async fn a_header_named_close_is_no_business_of_the_connection() {
    let upstream = Upstream::replying(OK).await;
    let gateway = TestGateway::start(&config(upstream.address));
    let headers = [("Connection", "close"), ("Close", "kept"), ("X-Foo", "kept")];
    gateway.send("GET", "/a", &headers, b"").await;
    let headers = [("Connection", "X-Foo, X-Bar"), ("Close", "kept"), ("X-Foo", "gone")];
    gateway.send("GET", "/a", &headers, b"").await;
    let seen = upstream.seen();
    assert_eq!((seen[0].header("close"), seen[0].header("x-foo")), (Some("kept"), Some("kept")));
    assert_eq!((seen[1].header("close"), seen[1].header("x-foo")), (Some("kept"), None));
}

#[tokio::test]
async fn a_record_of_a_refused_head_says_what_was_asked_for() {
    let upstream = Upstream::replying(OK).await;
    let log = tempfile::NamedTempFile::new().unwrap();
    let plugin = format!(
        "plugins:\n- {{name: file-log, config: {{path: {}, reopen: true}}}}\n",
        log.path().display()
    );
    let gateway = TestGateway::start(&(config(upstream.address) + &plugin));
    let long = "a".repeat(10 << 10);
    for (head, status) in [
        (format!("POST /a?foo=bar HTTP/1.1\r\nHost: x\r\nX-Large: {long}"), 400),
        (format!("PUT /?foo={long} HTTP/1.1\r\nHost: x"), 414),
        ("PUT /a?foo=bar HTTP/1.1\r\nHost: x\r\nContent-Length: x".to_owned(), 400),
    ] {
        let reply = raw(gateway.address, format!("{head}\r\n\r\n").as_bytes()).await.unwrap();
        assert_eq!(reply.status(), status);
    }
    drop(gateway);
    let lines = std::fs::read_to_string(log.path()).unwrap();
    let records =
        lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let asked: Vec<_> = records
        .map(|record| {
            assert_eq!(record["request"]["headers"], serde_json::json!({}));
            assert_eq!(record["upstream_uri"], "");
            let request = &record["request"];
            (request["method"].clone(), request["querystring"]["foo"].clone())
        })
        .collect();
    let bar = serde_json::json!("bar");
    assert_eq!(
        asked,
        [
            ("POST".into(), bar.clone()),
            ("PUT".into(), serde_json::Value::Null),
            ("PUT".into(), bar),
        ]
    );
}

#[tokio::test]
async fn the_last_attempt_has_failed_in_the_record_when_no_more_were_allowed() {
    const FAILS: &[u8] = b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n";
    let upstream = Upstream::replying(FAILS).await;
    let (closed, log) = (closed_port(), tempfile::NamedTempFile::new().unwrap());
    let text = format!(
        "_format_version: '3.0'\nservices:\n\
         - {{name: s, url: 'http://{}', retries: 0, routes: [{{name: r, paths: [/none]}}]}}\n\
         - {{name: t, url: 'http://{}', retries: 5, routes: [{{name: t, paths: [/five]}}]}}\n\
         - {{name: u, url: 'http://{}', retries: 1, routes: [{{name: u, paths: [/one]}}]}}\n\
         plugins:\n- {{name: file-log, config: {{path: {}, reopen: true}}}}\n",
        upstream.address,
        upstream.address,
        closed.local_addr().unwrap(),
        log.path().display()
    );
    let gateway = TestGateway::start(&text);
    for (path, status) in [("/none", 500), ("/five", 500), ("/one", 502)] {
        assert_eq!(gateway.get(path).await.status(), status, "{path}");
    }
    drop(gateway);
    let lines = std::fs::read_to_string(log.path()).unwrap();
    let records =
        lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let codes: Vec<Vec<_>> = records
        .map(|record| {
            let tries = record["tries"].as_array().unwrap();
            tries.iter().map(|one| one["code"].as_u64()).collect()
        })
        .collect();
    assert_eq!(codes, [vec![Some(500)], vec![None], vec![Some(502), Some(502)]]);
}

#[tokio::test]
async fn the_charset_of_texts_is_a_setting() {
    const TEXT: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 0\r\n\r\n";
    let upstream = Upstream::replying(TEXT).await;
    for (charset, kind) in [
        ("", "text/plain; charset=UTF-8"),
        ("off", "text/plain"),
        ("utf-8", "text/plain; charset=utf-8"),
    ] {
        let builder = Builder::default().set("nginx_http_charset", charset);
        let reply = builder.start(&config(upstream.address)).get("/a").await;
        assert_eq!(reply.header("content-type"), Some(kind), "{charset}");
    }
}
