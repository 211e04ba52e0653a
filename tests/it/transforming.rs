//! request-transformer, response-ratelimiting and http-log over sockets.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::gateway::TestGateway;
use super::http::{Message, Reader, Upstream};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn config(upstream: &Upstream, plugins: &str) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://{}\n  routes:\n  \
         - name: r\n    paths: [/a, '~/t/(?<id>\\d+)']\n    plugins:\n{plugins}",
        upstream.address
    )
}

/// What the upstream got of a request, and the status that the client did.
async fn changed(
    changes: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, Option<Message>) {
    let upstream = Upstream::replying(OK).await;
    let plugin = format!("    - name: request-transformer\n      config: {changes}\n");
    let gateway = TestGateway::start(&config(&upstream, &plugin));
    let response = gateway.send(method, target, headers, body.as_bytes()).await;
    (response.status(), upstream.seen().pop())
}

const JSON: (&str, &str) = ("Content-Type", "application/json");

#[tokio::test]
async fn json_that_no_change_names_keeps_its_bytes() {
    let changes = "{remove: {body: [gone]}, rename: {body: ['old:new']}, replace: {body: ['r:R']}, \
                   add: {body: ['a:A', 'f:F']}, append: {body: ['l:2', 's:2', 'o:2', 'n:2']}}";
    let sent = r#"{"big": 12345678901234567890, "gone": 1, "old": 1.0, "r": null, "f": false,
        "l": [ ], "s": "1", "o": {"x":1}, "n": 7, "e": []}"#;
    let (status, seen) = changed(changes, "POST", "/a", &[JSON], sent).await;
    assert_eq!(status, 200);
    let text = seen.unwrap().text();
    assert!(text.contains(r#""big": 12345678901234567890"#) && text.contains("1.0"), "{text}");
    let body: serde_json::Value = serde_json::from_str(&text).unwrap();
    let expected = serde_json::json!({
        "big": 12_345_678_901_234_567_890_u64, "new": 1.0, "r": "R", "f": "F", "l": ["2"],
        "s": ["1", "2"], "o": {"x": 1, "1": "2"}, "n": ["2"], "e": [], "a": "A",
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_body_that_is_no_object_stays_and_an_empty_one_gets_what_is_added() {
    for (sent, expected) in [("[1]", "[1]"), ("{bad", "{bad"), ("", r#"{"a":"A"}"#)] {
        let (_, seen) = changed("{add: {body: ['a:A']}}", "POST", "/a", &[JSON], sent).await;
        assert_eq!(seen.unwrap().text(), expected);
    }
}

#[tokio::test]
async fn the_parts_of_a_multipart_body_change_one_by_one() {
    let part = |head: &str, value: &str| {
        format!("--B\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n")
    };
    let file = part("name=\"f\"; filename=\"x\"", "a\r\n--Bx");
    let sent = format!(
        "{}{}{file}{}--B--\r\n",
        part("name=\"g\"", "1"),
        part("name=r", "1"),
        part("name=\"o\"", "v")
    );
    let changes = "{remove: {body: [g]}, rename: {body: ['o:n']}, replace: {body: ['r:R']}, \
                   add: {body: ['a:A', 'f:no']}}";
    let kind = ("Content-Type", "multipart/form-data; boundary=B");
    let (_, seen) = changed(changes, "POST", "/a", &[kind], &sent).await;
    let (renamed, replaced) = (part("name=\"n\"", "v"), part("name=\"r\"", "R"));
    let expected = format!("{file}{renamed}{replaced}{}--B--\r\n", part("name=\"a\"", "A"));
    assert_eq!(seen.unwrap().text(), expected);
}

#[tokio::test]
async fn a_form_goes_into_the_query_of_a_get() {
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let changes = "{http_method: GET, add: {querystring: ['z:$(query_params.b)']}}";
    let (_, seen) = changed(changes, "POST", "/a?a=1&c", &[form], "a=2&b=%20").await;
    let seen = seen.unwrap();
    assert_eq!(seen.first, "GET /?a=1&a=2&b=%20&c&z=%20 HTTP/1.1");
}

#[tokio::test]
async fn templates_see_the_request_as_it_came() {
    let changes = "{remove: {headers: [x-in]}, replace: {uri: '/u/$(uri_captures[1])', \
                   headers: ['host:h.test']}, add: {headers: ['x-a:$(headers[\"x-in\"])', \
                   'x-b:$(uri_captures.id)', 'x-c:$(type(os))$$(x)', 'Host:no']}, \
                   append: {headers: ['x-d:$(kong.request.get_method())', 'x-d:2']}}";
    let sent = [("x-in", "IN"), ("x-d", "1")];
    let (_, seen) = changed(changes, "GET", "/t/42", &sent, "").await;
    let seen = seen.unwrap();
    assert_eq!(seen.target(), "/u/42");
    let values = |name: &str| -> Vec<&str> {
        let named = seen.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    };
    assert_eq!(values("host"), ["h.test"]);
    assert_eq!(
        (values("x-a"), values("x-b"), values("x-c")),
        (vec!["IN"], vec!["42"], vec!["nil$"])
    );
    assert_eq!(values("x-d"), ["1", "GET", "2"]);
    assert!(values("x-in").is_empty());
}

#[tokio::test]
async fn templates_reach_what_the_sandbox_allows_and_no_more() {
    let upstream = Upstream::replying(OK).await;
    let plugin = "    - name: request-transformer\n      config: {add: {headers: \
                  ['x-a:$(string.upper(query_params.a))', 'x-b:$(require(\"inspect\")({1}))']}}\n";
    let config = config(&upstream, plugin);
    let gateway = super::gateway::Builder::default()
        .set("untrusted_lua_sandbox_requires", "inspect")
        .set("untrusted_lua_sandbox_environment", "string.upper")
        .start(&config);
    assert_eq!(gateway.get("/a?a=x").await.status(), 200);
    let seen = upstream.seen().pop().unwrap();
    assert_eq!((seen.header("x-a"), seen.header("x-b")), (Some("X"), Some("{ 1 }")));
    let gateway = super::gateway::TestGateway::start(&config);
    assert_eq!(gateway.get("/a?a=x").await.status(), 500);
}

#[tokio::test]
async fn a_template_that_fails_is_a_500_and_one_that_is_no_lua_an_error_at_load() {
    let (status, seen) = changed("{add: {headers: ['x:$(no.such)']}}", "GET", "/a", &[], "").await;
    assert_eq!((status, seen.is_none()), (500, true));
    let upstream = Upstream::replying(OK).await;
    let plugin = "    - name: request-transformer\n      config: {add: {body: ['x:$(1 +)']}}\n";
    let refused = super::gateway::Builder::default().try_start(&config(&upstream, plugin));
    let errors = refused.err().unwrap().join("\n");
    assert!(errors.contains("value '$(1 +)' is not in supported format, error:"), "{errors}");
}

#[tokio::test]
async fn what_the_upstream_says_is_counted_against_the_limits_of_the_client() {
    let reply = b"HTTP/1.1 200 OK\r\nX-Kong-Limit: video=2\r\ncontent-length: 2\r\n\r\nok";
    let upstream = Upstream::replying(reply).await;
    let plugin = "    - name: response-ratelimiting\n      config: {limits: {video: {year: 3}}}\n";
    let gateway = TestGateway::start(&config(&upstream, plugin));
    let mut told = Vec::new();
    for _ in 0..3 {
        let response = gateway.get("/a").await;
        let left = response.header("x-ratelimit-remaining-video-year").map(str::to_owned);
        told.push((response.status(), left.unwrap_or_default(), response.text()));
        assert_eq!(response.header("x-kong-limit"), None);
    }
    let told: Vec<_> = told.iter().map(|(s, l, t)| (*s, l.as_str(), t.as_str())).collect();
    assert_eq!(told, [(200, "1", "ok"), (200, "0", "ok"), (429, "0", "")]);
    let seen = upstream.seen();
    let left: Vec<_> = seen.iter().map(|s| s.header("x-ratelimit-remaining-video")).collect();
    assert_eq!(left, [Some("3"), Some("1"), Some("-1")]);
}

#[tokio::test]
async fn records_are_sent_in_batches_and_the_rest_when_the_gateway_drains() {
    let (upstream, server) = (Upstream::replying(OK).await, Upstream::replying(OK).await);
    let plugin = format!(
        "    - name: http-log\n      config: {{http_endpoint: 'http://u:p@{}/in', method: PUT, \
         headers: {{x-own: '1'}}, queue: {{max_batch_size: 2, max_coalescing_delay: 3600}}}}\n",
        server.address
    );
    let gateway = TestGateway::start(&config(&upstream, &plugin));
    for n in 0..3 {
        gateway.get(&format!("/a/{n}")).await;
    }
    // Draining blocks, and the server runs on this thread.
    tokio::task::spawn_blocking(move || drop(gateway)).await.unwrap();
    let seen = server.seen();
    let uris: Vec<Vec<String>> = seen
        .iter()
        .map(|delivery| {
            let records = delivery.json();
            let uri = |r: &serde_json::Value| r["request"]["uri"].as_str().unwrap().to_owned();
            records.as_array().unwrap().iter().map(uri).collect()
        })
        .collect();
    assert_eq!(uris, [vec!["/a/0", "/a/1"], vec!["/a/2"]]);
    assert_eq!(seen[0].first, "PUT /in HTTP/1.1");
    for (name, value) in
        [("authorization", "Basic dTpw"), ("x-own", "1"), ("content-type", "application/json")]
    {
        assert_eq!(seen[0].header(name), Some(value));
    }
}

#[tokio::test]
async fn a_record_that_is_refused_is_sent_again() {
    let upstream = Upstream::replying(OK).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plugin = format!(
        "    - name: http-log\n      config: {{http_endpoint: 'http://{}/in'}}\n",
        listener.local_addr().unwrap()
    );
    let gateway = TestGateway::start(&config(&upstream, &plugin));
    gateway.get("/a").await;
    let mut bodies = Vec::new();
    for reply in [&b"HTTP/1.1 500 E\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"[..], OK] {
        let (stream, _) = listener.accept().await.unwrap();
        let mut reader = Reader::new(stream);
        bodies.push(reader.message(false).await.unwrap().json());
        reader.stream.write_all(reply).await.unwrap();
    }
    assert_eq!(bodies[0], bodies[1]);
    assert_eq!(bodies[0]["response"]["status"], 200);
    tokio::task::spawn_blocking(move || drop(gateway)).await.unwrap();
}
