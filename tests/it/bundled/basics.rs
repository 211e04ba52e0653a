//! Plugins that change a request or a response, or answer it: transformers, functions and the like.

use super::Way;

/// A Service whose Routes each have one plugin of a kind.
fn config(plugin: &str, routes: &[(&str, &str)]) -> String {
    let route = |(path, config): &(&str, &str)| {
        format!(
            "  - paths: [{path}]\n    plugins:\n    - name: {plugin}\n      config: {}\n",
            config.trim()
        )
    };
    let routes: String = routes.iter().map(route).collect();
    format!("services:\n- name: s\n  url: http://{{upstream}}/base\n  routes:\n{routes}")
}

#[tokio::test]
async fn request_termination_answers_in_its_own_words() {
    let routes = [
        ("/default", "{}"),
        ("/message", "{status_code: 406, message: Invalid}"),
        ("/body", "{status_code: 451, content_type: text/html, body: '<b>gone</b>'}"),
        ("/echo", "{status_code: 404, echo: true, trigger: gimme}"),
    ];
    for way in Way::all() {
        let scene = way
            .scene(&["request-termination"])
            .start(&config("request-termination", &routes))
            .await;
        let default = scene.get("/default", &[]).await;
        assert_eq!((default.status(), default.text()), (503, message("Service unavailable")));
        let message_of = scene.get("/message", &[]).await;
        assert_eq!((message_of.status(), message_of.text()), (406, message("Invalid")), "{way:?}");
        let body = scene.get("/body", &[]).await;
        assert_eq!((body.status(), body.text().as_str()), (451, "<b>gone</b>"), "{way:?}");
        assert_eq!(body.header("content-type"), Some("text/html; charset=UTF-8"));
        assert!(scene.upstream.seen().is_empty());
        assert_eq!(scene.get("/echo", &[]).await.status(), 200, "no trigger");
        let echo = scene.get("/echo/x?gimme=1&a=2", &[("x-mine", "yes")]).await;
        let said = echo.json();
        assert_eq!((echo.status(), &said["message"]), (404, &"Not found".into()), "{way:?}");
        assert_eq!(said["request"]["query"]["a"], "2");
        assert_eq!(said["request"]["headers"]["x-mine"], "yes");
        assert_eq!(said["matched_service"]["name"], "s");
    }
}

fn message(text: &str) -> String {
    format!("{{\"message\":\"{text}\"}}")
}

#[tokio::test]
async fn correlation_id_names_requests_that_have_no_name() {
    let routes = [
        ("/uuid", "{generator: uuid, header_name: X-Id, echo_downstream: true}"),
        ("/counter", "{generator: 'uuid#counter'}"),
        ("/tracker", "{generator: tracker, echo_downstream: true}"),
    ];
    for way in Way::all() {
        let scene = way.scene(&["correlation-id"]).start(&config("correlation-id", &routes)).await;
        let answer = scene.get("/uuid", &[]).await;
        let id = answer.header("x-id").unwrap();
        assert_eq!((id.len(), scene.sent().header("x-id")), (36, Some(id)), "{way:?}");
        let named = scene.get("/uuid", &[("x-id", "mine")]).await;
        assert_eq!(
            (named.header("x-id"), scene.sent().header("x-id")),
            (Some("mine"), Some("mine"))
        );
        let counted = |sent: super::Message| sent.header("kong-request-id").unwrap().to_owned();
        let first = scene.get("/counter", &[]).await;
        assert_eq!(first.header("kong-request-id"), None);
        let first = counted(scene.sent());
        scene.get("/counter", &[]).await;
        let second = counted(scene.sent());
        assert_eq!(first.split_once('#').unwrap().0, second.split_once('#').unwrap().0);
        assert_ne!(first, second, "{way:?}");
        let tracked = scene.get("/tracker", &[]).await;
        let tracked = tracked.header("kong-request-id").unwrap().to_owned();
        assert_eq!((tracked.split('-').count(), tracked.starts_with("127.0.0.1-")), (6, true));
    }
}

#[tokio::test]
async fn request_size_limiting_counts_bytes() {
    let routes = [
        ("/few", "{allowed_payload_size: 10, size_unit: bytes}"),
        ("/length", "{require_content_length: true}"),
    ];
    for way in Way::all() {
        let scene = way
            .scene(&["request-size-limiting"])
            .start(&config("request-size-limiting", &routes))
            .await;
        let post = |path, headers, body| scene.gateway.send("POST", path, headers, body);
        assert_eq!(post("/few", &[], b"1234567890").await.status(), 200, "{way:?}");
        let large = post("/few", &[], b"12345678901").await;
        assert_eq!(large.status(), 413);
        assert_eq!(large.json()["message"], "Request size limit exceeded", "{way:?}");
        let expecting = post("/few", &[("expect", "100-continue")], b"12345678901").await;
        assert_eq!(expecting.status(), 417, "{way:?}");
        let head = "POST /few HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        // So long that it is in a file for the plugin.
        let chunked = format!("{head}4000\r\n{}\r\n0\r\n\r\n", "x".repeat(0x4000));
        let answer = crate::http::raw(scene.gateway.address, chunked.as_bytes()).await.unwrap();
        assert_eq!(answer.status(), 413, "{way:?}");
        assert_eq!(scene.get("/length", &[]).await.status(), 411, "{way:?}");
        assert_eq!(scene.upstream.seen().len(), 1);
    }
}

#[tokio::test]
async fn redirect_leads_elsewhere() {
    let routes = [
        ("/plain", "{status_code: 301, location: 'https://example.com/x'}"),
        (
            "/keep",
            "{status_code: 302, location: 'https://example.com:443/x?y=1', \
             keep_incoming_path: true}",
        ),
    ];
    for way in Way::all() {
        let scene = way.scene(&["redirect"]).start(&config("redirect", &routes)).await;
        let plain = scene.get("/plain/a?b", &[]).await;
        assert_eq!(
            (plain.status(), plain.header("location")),
            (301, Some("https://example.com/x"))
        );
        assert_eq!(plain.text(), "redirecting");
        let kept = scene.get("/keep/a?b=c&d", &[]).await;
        let location = Some("https://example.com/keep/a?b=c&d");
        assert_eq!((kept.status(), kept.header("location")), (302, location), "{way:?}");
    }
}

const JSON: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-old: 1\r\n\
    x-gone: 1\r\ncontent-length: 32\r\n\r\n{\"path\":\"/\",\"n\":[],\"old\":\"text\"}";

#[tokio::test]
async fn response_transformer_changes_heads_and_json() {
    let routes = [(
        "/a",
        "{remove: {headers: [x-gone], json: [path]}, rename: {headers: ['x-old:x-new'], \
         json: ['old:new']}, replace: {headers: ['x-none:1']}, add: {headers: ['x-a:b'], \
         json: ['k:v', 'i:7', 'yes:true'], json_types: [string, number, boolean]}, \
         append: {headers: ['x-a:c'], json: ['n:2'], json_types: [number]}}",
    )];
    for way in Way::all() {
        let scene = way.scene(&["response-transformer"]).reply(JSON);
        let scene = scene.start(&config("response-transformer", &routes)).await;
        let answer = scene.get("/a", &[]).await;
        assert_eq!((answer.header("x-gone"), answer.header("x-none")), (None, None), "{way:?}");
        assert_eq!((answer.header("x-old"), answer.header("x-new")), (None, Some("1")));
        let added: Vec<_> = answer.headers.iter().filter(|(name, _)| name == "x-a").collect();
        assert_eq!(added.len(), 2, "{added:?}");
        let expected = serde_json::json!({
            "k": "v", "i": 7, "yes": true, "n": [2], "new": "text"
        });
        assert_eq!(answer.json(), expected, "{way:?}: {}", answer.text());
    }
}

const TRANSFORM: &str = "
services:
- name: s
  url: http://{upstream}/base
  routes:
  - paths: ['~/users/(?<user>\\w+)$']
    strip_path: false
    plugins:
    - name: request-transformer
      config:
        remove: {headers: [x-gone], querystring: [drop]}
        rename: {headers: ['x-old:x-new'], querystring: ['a:b']}
        replace: {uri: '/of/$(uri_captures.user)', headers: ['x-here:new', 'x-none:new']}
        add: {headers: ['x-user:$(uri_captures[1])', 'x-q:$(query_params.q or \"none\")'],
              querystring: ['added:$(headers[\"x-user\"])']}
        append: {headers: ['x-here:more']}
  - paths: [/body]
    plugins:
    - name: request-transformer
      config:
        http_method: PUT
        remove: {body: [gone]}
        rename: {body: ['old:new']}
        replace: {body: ['here:2']}
        add: {body: ['added:x']}
  - paths: [/bad]
    plugins:
    - name: request-transformer
      config: {add: {headers: ['x-bad:$(os.execute(1))']}}
";

#[tokio::test]
async fn request_transformer_changes_heads_queries_and_paths() {
    for way in Way::all() {
        let scene = way.scene(&["request-transformer"]).start(TRANSFORM).await;
        let headers = [("x-gone", "1"), ("x-old", "1"), ("x-here", "old")];
        scene.get("/users/ann?a=1&drop=2&q=3", &headers).await;
        let sent = scene.sent();
        let (path, query) = sent.target().split_once('?').unwrap();
        assert_eq!(path, "/of/ann", "{way:?}");
        let mut arguments: Vec<_> = query.split('&').collect();
        arguments.sort_unstable();
        assert_eq!(arguments, ["added=ann", "b=1", "q=3"], "{way:?}");
        let header = |name| sent.header(name);
        assert_eq!((header("x-gone"), header("x-old"), header("x-new")), (None, None, Some("1")));
        assert_eq!((header("x-user"), header("x-q")), (Some("ann"), Some("3")), "{way:?}");
        assert_eq!((header("x-here"), header("x-none")), (Some("new"), None), "{way:?}");
        let bad = scene.get("/bad", &[]).await;
        assert_eq!(bad.status(), 500, "a template that reaches out");
    }
}

#[tokio::test]
async fn request_transformer_changes_bodies_in_each_form() {
    let multipart = "--xyz\r\nContent-Disposition: form-data; name=\"old\"\r\n\r\n1\r\n--xyz\r\n\
        Content-Disposition: form-data; name=\"gone\"\r\n\r\n2\r\n--xyz--\r\n";
    for way in Way::all() {
        let scene = way.scene(&["request-transformer"]).start(TRANSFORM).await;
        let send = async |kind, body: &[u8]| {
            scene.gateway.send("POST", "/body", &[("content-type", kind)], body).await
        };
        send("application/json", br#"{"old":1,"gone":2,"here":1}"#).await;
        let sent = scene.sent();
        assert!(sent.first.starts_with("PUT "), "{}", sent.first);
        let expected = serde_json::json!({"new": 1, "here": "2", "added": "x"});
        assert_eq!(sent.json(), expected, "{way:?}");
        send("application/x-www-form-urlencoded", b"old=1&gone=2&here=1").await;
        let text = scene.sent().text();
        let mut arguments: Vec<_> = text.split('&').collect();
        arguments.sort_unstable();
        assert_eq!(arguments, ["added=x", "here=2", "new=1"], "{way:?}");
        send("multipart/form-data; boundary=xyz", multipart.as_bytes()).await;
        let text = scene.sent().text();
        assert!(text.contains("name=\"new\"\r\n\r\n1\r\n") && text.contains("name=\"added\""));
        assert!(!text.contains("gone") && text.ends_with("--xyz--\r\n"), "{way:?}: {text}");
    }
}

const PHASES: &str = "{rewrite: [\"kong.ctx.shared.from = 'rewrite'\"], \
    access: [\"kong.service.request.set_header('x-from', kong.ctx.shared.from or 'none')\", \
    \"local n = 0 return function() n = n + 1 kong.service.request.set_header('x-n', n) end\"], \
    header_filter: [\"kong.response.set_header('x-filter', kong.response.get_source())\"], \
    body_filter: [\"ngx.arg[1] = ngx.arg[1] and ngx.arg[1]:upper()\"]}";

#[tokio::test]
async fn functions_run_in_every_phase() {
    let routes = [
        ("/a", PHASES),
        ("/exit", "{access: [\"kong.response.exit(299, { at = 'access' })\"]}"),
        ("/denied", "{access: [\"os.execute('true')\"]}"),
    ];
    for way in Way::all() {
        for (plugin, other) in
            [("pre-function", "post-function"), ("post-function", "pre-function")]
        {
            let rest = "  - paths: [/other]\n    plugins:\n    - name: ";
            let settings = config(plugin, &routes)
                + rest
                + other
                + "\n      config: {access: [\"local a\"]}\n";
            let scene = way.scene(&["pre-function", "post-function"]).start(&settings).await;
            let answer = scene.get("/a", &[]).await;
            assert_eq!(
                (answer.text().as_str(), answer.header("x-filter")),
                ("OK", Some("service"))
            );
            let sent = scene.sent();
            assert_eq!((sent.header("x-from"), sent.header("x-n")), (Some("none"), Some("1")));
            scene.get("/a", &[]).await;
            assert_eq!(scene.sent().header("x-n"), Some("2"), "{way:?} {plugin}: one closure");
            let exit = scene.get("/exit", &[]).await;
            assert_eq!((exit.status(), exit.json()["at"].as_str()), (299, Some("access")));
            assert_eq!(scene.get("/denied", &[]).await.status(), 500, "{way:?} {plugin}");
        }
    }
}
