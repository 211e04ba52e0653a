//! pre-function, post-function and `custom_fields_by_lua`: Lua code in the configuration.

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::gateway::{Builder, TestGateway};
use super::http::{Reader, Upstream};
use super::stream_ends::soon;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A Route for each piece of code that `pre-function` runs in `access`.
fn config(upstream: &Upstream, routes: &[(&str, &str)]) -> String {
    let route = |(path, code): &(&str, &str)| {
        format!(
            "  - paths: [{path}]\n    plugins:\n    - name: pre-function\n      config:\n        \
             access:\n        - |\n          {}\n",
            code.replace('\n', "\n          ")
        )
    };
    format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://{}\n  routes:\n{}",
        upstream.address,
        routes.iter().map(route).collect::<String>()
    )
}

#[tokio::test]
async fn the_sandbox_keeps_code_from_the_machine() {
    let upstream = Upstream::replying(OK).await;
    let exit = |code: &str| format!("kong.response.exit(200, tostring({code}))");
    let codes = [
        ("/a", "os.execute", "nil"),
        ("/b", "io.open", "nil"),
        ("/c", "select(2, pcall(require, 'ffi'))", "require 'ffi' not allowed within sandbox"),
        ("/d", "require('cjson').encode({1})", "[1]"),
        ("/e", "setmetatable", "nil"),
        ("/f", "debug and debug.traceback ~= nil", "true"),
        ("/g", "select(2, pcall(function() string.x = 1 end))", "Protected by the sandbox."),
        ("/h", "kong.configuration.database", "off"),
        ("/i", "kong.configuration.pg_password", "******"),
    ];
    let exits: Vec<_> = codes.iter().map(|(path, code, _)| (*path, exit(code))).collect();
    let routes: Vec<_> = exits.iter().map(|(path, code)| (*path, code.as_str())).collect();
    let gateway = Builder::default()
        .set("untrusted_lua_sandbox_requires", "cjson")
        .set("untrusted_lua_sandbox_environment", "debug.traceback")
        .set("pg_password", "a secret")
        .start(&config(&upstream, &routes));
    for (path, code, expected) in codes {
        let said = String::from_utf8_lossy(&gateway.get(path).await.body).into_owned();
        assert!(said.ends_with(expected), "{code}: {said}");
    }
}

#[tokio::test]
async fn untrusted_code_runs_as_far_as_the_setting_goes() {
    let upstream = Upstream::replying(OK).await;
    let code = "kong.response.exit(200, type(os.getenv) .. ' ' .. type(ngx.timer))";
    for (setting, status, said) in [
        ("on", 200, "function table"),
        ("sandbox", 200, "nil table"),
        ("strict", 200, "nil nil"),
        ("off", 500, "An unexpected error occurred"),
    ] {
        let gateway = Builder::default()
            .set("untrusted_lua", setting)
            .start(&config(&upstream, &[("/a", code)]));
        let response = gateway.get("/a").await;
        assert_eq!(response.status(), status, "{setting}");
        let body = String::from_utf8_lossy(&response.body).into_owned();
        assert!(body.contains(said), "{setting}: {body}");
    }
}

#[tokio::test]
async fn globals_of_one_piece_of_code_are_not_seen_by_another() {
    let upstream = Upstream::replying(OK).await;
    let routes = [
        ("/set", "leak = 'secret' kong.response.exit(200, leak)"),
        ("/get", "kong.response.exit(200, tostring(leak))"),
    ];
    let gateway = TestGateway::start(&config(&upstream, &routes));
    assert_eq!(gateway.get("/set").await.body, b"secret");
    assert_eq!(gateway.get("/get").await.body, b"nil");
}

#[tokio::test]
async fn a_piece_of_code_may_change_where_a_request_goes_and_what_it_holds() {
    let upstream = Upstream::replying(OK).await;
    let routes = [
        ("/query", "kong.service.request.set_query({b = {1, 2}, a = true, c = 'x y'})"),
        ("/clear", "kong.service.request.clear_query_arg('a')"),
        (
            "/form",
            "kong.service.request.set_body({b = 1, a = '&'}, 'application/x-www-form-urlencoded')",
        ),
        ("/json", "kong.service.request.set_body({a = {1}}, 'application/json')"),
        (
            "/var",
            "ngx.var.upstream_uri = '/elsewhere'\nngx.req.set_header('x-mine', ngx.var.arg_q)",
        ),
    ];
    let gateway = TestGateway::start(&config(&upstream, &routes));
    let mut seen = Vec::new();
    for path in ["/query?z=1", "/clear?a=1&b=2/%41&%61=3&d", "/form", "/json", "/var?q=7"] {
        assert_eq!(gateway.post(path, "old").await.status(), 200, "{path}");
        seen.push(upstream.seen().pop().unwrap());
    }
    assert_eq!(seen[0].target(), "/?a&b=1&b=2&c=x%20y");
    assert_eq!(seen[1].target(), "/?b=2%2FA&d=");
    assert_eq!(seen[2].body, b"a=%26&b=1");
    assert_eq!(seen[2].header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(seen[3].body, br#"{"a":[1]}"#);
    assert_eq!(seen[4].target(), "/elsewhere?q=7");
    assert_eq!(seen[4].header("x-mine"), Some("7"));
}

#[tokio::test]
async fn ngx_exit_ends_the_request_with_what_was_printed() {
    let upstream = Upstream::replying(OK).await;
    let routes = [
        ("/say", "ngx.status = 409 ngx.header['X-Raw'] = '1' ngx.say('a', {'b', 1}) ngx.exit(409)"),
        ("/exit", "pcall(ngx.exit, 403) kong.service.request.set_header('x-after', '1')"),
        ("/go", "ngx.redirect('/else?x=1', 307)"),
    ];
    let gateway = TestGateway::start(&config(&upstream, &routes));
    let response = gateway.get("/say").await;
    assert_eq!((response.status(), &response.body[..]), (409, &b"ab1\n"[..]));
    assert_eq!(response.header("x-raw"), Some("1"));
    assert_eq!(gateway.get("/exit").await.status(), 403);
    let response = gateway.get("/go").await;
    assert_eq!((response.status(), response.header("location")), (307, Some("/else?x=1")));
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn custom_fields_are_in_the_record_of_a_native_plugin() {
    let upstream = Upstream::replying(OK).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("record.log");
    let config = format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://{}\n  routes:\n  \
         - paths: [/a]\nplugins:\n- name: file-log\n  config:\n    path: {}\n    \
         custom_fields_by_lua:\n      extra.deep: return kong.request.get_header('x-e')\n      \
         route: return nil\n",
        upstream.address,
        path.display()
    );
    let gateway = TestGateway::start(&config);
    assert_eq!(gateway.send("GET", "/a", &[("x-e", "E")], b"").await.status(), 200);
    let line = loop {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if text.ends_with('\n') {
            break text;
        }
        tokio::task::yield_now().await;
    };
    let record: serde_json::Value = serde_json::from_str(line.trim()).unwrap();
    assert_eq!(record["extra"]["deep"], "E");
    assert!(record.get("route").is_none(), "nil takes a field out");
}

/// A body that is chunked may change its length; the last piece is where the plugin says.
#[tokio::test]
async fn a_body_is_collected_and_replaced() {
    let chunked =
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n";
    let upstream = Upstream::replying(chunked).await;
    let config = format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://{}\n  routes:\n  \
         - paths: [/a]\n    plugins:\n    - name: pre-function\n      config:\n        \
         body_filter:\n        - |\n          local body = kong.response.get_raw_body()\n          \
         if body then kong.response.set_raw_body('<' .. body .. '>') end\n    \
         - name: post-function\n      config:\n        access: \
         [kong.service.request.enable_buffering()]\n        header_filter: \
         [\"kong.response.set_header('x-up', kong.service.response.get_raw_body())\"]\n",
        upstream.address
    );
    let gateway = TestGateway::start(&config);
    let response = gateway.get("/a").await;
    assert_eq!(String::from_utf8_lossy(&response.body), "<abcdef>");
    assert_eq!(response.header("x-up"), Some("abcdef"));
}

#[tokio::test]
async fn a_filter_sees_the_end_of_a_body_whose_length_is_known() {
    let upstream = Upstream::replying(OK).await;
    let config = format!(
        "
_format_version: '3.0'
services:
- name: s
  url: http://{}
  routes:
  - paths: [/]
plugins:
- name: pre-function
  config:
    access:
    - |
      kong.response.set_header('X-Ended', tostring(ngx.shared.kong:get('ended')))
    body_filter:
    - |
      if ngx.arg[2] then ngx.shared.kong:set('ended', 'yes') end
",
        upstream.address
    );
    let gateway = TestGateway::start(&config);
    let first = gateway.get("/").await;
    assert_eq!((first.header("content-length"), first.text().as_str()), (Some("2"), "ok"));
    assert_eq!(gateway.get("/").await.header("x-ended"), Some("yes"));
}

/// A gateway whose body filter may fail, in front of an upstream that waits with its body until it
/// is told, and then breaks off.
async fn waiting(buffering: bool) -> (TestGateway, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://{}\n  routes:\n  \
         - paths: [/]\n    response_buffering: {buffering}\nplugins:\n- name: pre-function\n  \
         config:\n    body_filter: ['ngx.ctx.seen = true']\n",
        listener.local_addr().unwrap()
    );
    let (go, told) = oneshot::channel();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut reader = Reader::new(stream);
        reader.head().await.unwrap();
        reader.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").await.unwrap();
        let _ = told.await;
    });
    (TestGateway::start(&config), go)
}

async fn asked(gateway: &TestGateway) -> Reader {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    Reader::new(stream)
}

#[tokio::test]
async fn the_head_of_an_answer_that_breaks_before_its_body_is_not_lost_on_body_filters() {
    let (gateway, go) = waiting(true).await;
    let mut client = asked(&gateway).await;
    go.send(()).unwrap();
    let head = soon("the head", client.head()).await.unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(soon("the end", client.exactly(9)).await, (Vec::new(), false));
}

#[tokio::test]
async fn body_filters_do_not_hold_back_the_head_of_an_answer_that_is_not_buffered() {
    let (gateway, go) = waiting(false).await;
    let mut client = asked(&gateway).await;
    let head = soon("the head", client.head()).await.unwrap();
    assert_eq!(head.status(), 200);
    go.send(()).unwrap();
}
