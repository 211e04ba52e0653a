//! Routing, forwarded headers and error bodies as a client and an upstream see them.

use super::gateway::{Builder, TestGateway};
use super::http::{Upstream, raw};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A gateway with one Service and these routes, as YAML flow mappings.
fn config(upstream: &Upstream, routes: &[&str]) -> String {
    let address = upstream.address;
    let head = format!("_format_version: '3.0'\nservices:\n- name: s\n  url: http://{address}/s\n");
    let routes: String = routes.iter().map(|route| format!("  - {route}\n")).collect();
    format!("{head}  routes:\n{routes}")
}

#[tokio::test]
async fn a_route_is_matched_on_the_decoded_path_and_the_upstream_gets_it_escaped() {
    let upstream = Upstream::replying(OK).await;
    let routes = ["{name: r, paths: ['~/d/(?<x>[^/]+ [^/]+)', /é]}"];
    let gateway = TestGateway::start(&config(&upstream, &routes));
    for (path, status) in
        [("/d/a%20b/{c}", 200), ("/%C3%A9/x%2Fy", 200), ("/d/ab", 404), ("/%C3%A9/%FF", 404)]
    {
        assert_eq!(gateway.get(path).await.status(), status, "{path}");
    }
    let seen = upstream.seen();
    let targets: Vec<&str> = seen.iter().map(|one| one.target()).collect();
    assert_eq!(targets, ["/s/%7Bc%7D", "/s/x%2Fy"]);
    assert_eq!(seen[0].header("x-forwarded-prefix"), Some("/d/a b"));
    assert_eq!(seen[1].header("x-forwarded-prefix"), Some("/é"));
}

#[tokio::test]
async fn a_route_without_a_path_leaves_no_slash_behind() {
    let upstream = Upstream::replying(OK).await;
    let gateway = TestGateway::start(&config(&upstream, &["{name: r, hosts: [gw.test]}"]));
    assert_eq!(gateway.get("/").await.status(), 200);
    assert_eq!(gateway.get("/x").await.status(), 200);
    let targets: Vec<String> = upstream.seen().iter().map(|one| one.target().to_owned()).collect();
    assert_eq!(targets, ["/s", "/s/x"]);
}

#[tokio::test]
async fn expressions_route_by_what_criteria_cannot_say() {
    let upstream = Upstream::replying(OK).await;
    let routes = [
        "{name: e, expression: 'http.path ^= \"/m\" && http.queries.v == \"2\"', priority: 5}",
        "{name: rest, paths: [/m/x], strip_path: false}",
    ];
    let config = config(&upstream, &routes);
    let refused = Builder::default().try_start(&config).err().unwrap();
    assert!(refused.iter().any(|line| line.contains("expression: unknown field")), "{refused:?}");
    let gateway = Builder::default().set("router_flavor", "expressions").start(&config);
    assert_eq!(gateway.get("/m/x?v=2").await.status(), 200);
    assert_eq!(gateway.get("/m/x?v=3").await.status(), 200);
    assert_eq!(gateway.get("/m/y").await.status(), 404);
    let targets: Vec<String> = upstream.seen().iter().map(|one| one.target().to_owned()).collect();
    assert_eq!(targets, ["/s/x?v=2", "/s/m/x?v=3"]);
}

#[tokio::test]
async fn the_old_router_routes_and_joins_paths_in_the_old_way() {
    let upstream = Upstream::replying(OK).await;
    let old =
        |config: &str| Builder::default().set("router_flavor", "traditional").try_start(config);
    let routes = [
        "{name: v1, paths: [/r], path_handling: v1, strip_path: false}",
        "{name: v0, paths: [/q], strip_path: false}",
        "{name: wild, hosts: ['*.test'], paths: null}",
    ];
    let gateway = old(&config(&upstream, &routes)).unwrap();
    for (host, path) in [("h", "/r"), ("h", "/q"), ("a.test", "/q")] {
        gateway.send("GET", path, &[("Host", host)], b"").await;
    }
    let targets: Vec<String> = upstream.seen().iter().map(|one| one.target().to_owned()).collect();
    assert_eq!(targets, ["/sr", "/s/q", "/s/q"]);
    let wild = config(&upstream, &["{name: r, protocols: [https], snis: ['*.test']}"]);
    let errors = old(&wild).err().unwrap();
    assert!(errors[0].contains("snis"), "{errors:?}");
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_forwarded_headers_begin_with_the_client() {
    let upstream = Upstream::replying(OK).await;
    let routes = [
        "{name: r, paths: [/a]}",
        "{name: s, paths: [/t], protocols: [https], \
        https_redirect_status_code: 308}",
    ];
    let gateway = Builder::default()
        .set("trusted_ips", "127.0.0.1")
        .set("real_ip_header", "X-Real-IP")
        .start(&config(&upstream, &routes));
    let client = ("X-Real-IP", "9.9.9.9");
    gateway.send("GET", "/a", &[client], b"").await;
    let chain = [client, ("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-Prefix", "/front")];
    gateway.send("GET", "/a/%C3%A9?q", &chain, b"").await;
    let seen = upstream.seen();
    assert_eq!(seen[0].header("x-forwarded-for"), Some("9.9.9.9"));
    assert_eq!(seen[1].header("x-forwarded-for"), Some("1.1.1.1, 127.0.0.1"));
    assert_eq!(seen[1].header("x-real-ip"), Some("9.9.9.9"));
    assert_eq!(seen[1].header("x-forwarded-prefix"), Some("/front"));
    assert_eq!(seen[1].header("x-forwarded-path"), Some("/a/%C3%A9"));
    let named = ("X-Forwarded-Host", "public.test");
    let sent_away = gateway.send("GET", "/t?x=1", &[named], b"").await;
    assert_eq!(sent_away.status(), 308);
    assert_eq!(sent_away.header("location"), Some("https://public.test/t?x=1"));
}

#[tokio::test]
async fn grpc_routes_turn_others_away() {
    let upstream = Upstream::replying(OK).await;
    let routes = ["{name: g, paths: [/g], protocols: [grpc], strip_path: false}"];
    let gateway = TestGateway::start(&config(&upstream, &routes));
    let other = gateway.get("/g").await;
    assert_eq!(other.status(), 415);
    assert_eq!(other.json()["message"], "Non-gRPC request matched gRPC route");
    let old = gateway.send("POST", "/g", &[("Content-Type", "application/grpc+x")], b"x").await;
    assert_eq!((old.status(), old.header("upgrade")), (426, Some("HTTP/2")));
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn every_token_of_the_headers_setting_stands_for_itself() {
    let upstream = Upstream::replying(OK).await;
    let config = config(&upstream, &["{name: r, paths: [/a]}"]);
    for (setting, proxied, own) in [
        ("Via, X-Kong-Upstream-Status", &["via", "x-kong-upstream-status"][..], &[][..]),
        ("server", &["server"], &["server"]),
        ("X-Kong-Response-Latency", &[], &["x-kong-response-latency"]),
        ("off", &[], &[]),
    ] {
        let gateway = Builder::default().set("headers", setting).start(&config);
        let names = |message: super::http::Message| {
            let mut names: Vec<_> = message.headers.into_iter().map(|(name, _)| name).collect();
            let usual = ["content-length", "content-type", "date", "connection"];
            names.retain(|name| !usual.contains(&name.as_str()));
            names.sort();
            names
        };
        assert_eq!(names(gateway.get("/a").await), proxied, "{setting}");
        assert_eq!(names(gateway.get("/none").await), own, "{setting}");
    }
}

#[tokio::test]
async fn via_tells_the_version_that_the_client_spoke() {
    let upstream = Upstream::replying(OK).await;
    let gateway = TestGateway::start(&config(&upstream, &["{name: r, paths: [/a]}"]));
    raw(gateway.address, b"GET /a HTTP/1.0\r\n\r\n").await.unwrap();
    gateway.get("/a").await;
    let seen = upstream.seen();
    assert!(seen[0].header("via").unwrap().starts_with("1 silverback/"));
    assert!(seen[1].header("via").unwrap().starts_with("1.1 silverback/"));
}

#[tokio::test]
async fn error_bodies_follow_the_settings() {
    let upstream = Upstream::replying(OK).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("error.html");
    std::fs::write(&path, "<h1>%s</h1><!-- %s -->").unwrap();
    let gateway = Builder::default()
        .set("error_template_html", path.to_str().unwrap())
        .set("error_default_type", "text/html")
        .start(&config(&upstream, &["{name: r, paths: [/a]}"]));
    let html = gateway.send("GET", "/none", &[("Accept", "text/html")], b"").await;
    assert!(html.text().starts_with("<h1>no Route matched with those values</h1><!-- "));
    // What nginx refuses speaks the default type; what Kong says, JSON.
    let early = gateway.send("TRACE", "/a", &[], b"").await;
    assert!(early.text().starts_with("<h1>Method not allowed</h1>"), "{}", early.text());
    assert_eq!(gateway.get("/none").await.json()["message"], "no Route matched with those values");
    let missing = Builder::default()
        .set("error_template_json", "/nowhere")
        .try_start(&config(&upstream, &["{name: r, paths: [/a]}"]));
    assert!(missing.err().unwrap()[0].starts_with("error_template_json: /nowhere: "));
}

#[tokio::test]
async fn a_request_id_of_somebody_else_passes_where_ours_is_not_wanted() {
    const THEIRS: &[u8] =
        b"HTTP/1.1 200 OK\r\nx-kong-request-id: theirs\r\ncontent-length: 0\r\n\r\n";
    for (value, ours) in [("X-Kong-Request-Id", true), ("off", false)] {
        let upstream = Upstream::replying(THEIRS).await;
        let builder = Builder::default().set("headers", value).set("headers_upstream", value);
        let gateway = builder.start(&config(&upstream, &["{name: r, paths: [/a]}"]));
        let reply = gateway.send("GET", "/a", &[("X-Kong-Request-Id", "mine")], b"").await;
        let seen = upstream.seen();
        let sent = seen[0].header("x-kong-request-id");
        assert_eq!(sent == Some("mine"), !ours, "{sent:?}");
        assert_eq!(reply.header("x-kong-request-id") == Some("theirs"), !ours);
        assert!(!ours || sent == reply.header("x-kong-request-id"));
    }
}
