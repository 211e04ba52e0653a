//! Lua plugins beside native ones, through the same chain.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::gateway::{Builder, TestGateway};
use super::http::{Reader, Upstream};
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
async fn the_sample_plugin_greets() {
    let upstream = Upstream::replying(OK).await;
    let plugins = "    - name: hello\n      config: {greeting: good morning}\n";
    let gateway = TestGateway::start(&config(&upstream, plugins));
    assert_eq!(gateway.get("/a").await.header("x-hello"), Some("good morning"));
}

/// A plugin of the user's, in a folder of its own.
pub fn install(folder: &std::path::Path, name: &str, handler: &str) {
    let home = folder.join("kong/plugins").join(name);
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("handler.lua"), handler).unwrap();
    let schema = format!(
        "return {{ name = \"{name}\", \
         fields = {{ {{ config = {{ type = \"record\", fields = {{}} }} }} }} }}"
    );
    std::fs::write(home.join("schema.lua"), schema).unwrap();
}

pub fn with_plugins(folder: &std::path::Path, names: &str) -> Builder {
    let path = format!("{}/?.lua", folder.display());
    Builder::default().set("lua_package_path", &path).set("plugins", names)
}

#[tokio::test]
async fn an_exit_inside_pcall_cannot_be_caught() {
    let folder = tempfile::tempdir().unwrap();
    let handler = "local P = { PRIORITY = 1000, VERSION = '1.0.0' }\n\
        function P:access() pcall(kong.response.exit, 418, { message = 'tea' }) \
        kong.service.request.set_header('x-after', 'ran') end\nreturn P\n";
    install(folder.path(), "teapot", handler);
    let upstream = Upstream::replying(OK).await;
    let gateway = with_plugins(folder.path(), "bundled,teapot")
        .start(&config(&upstream, "    - name: teapot\n    - name: hello\n"));
    let response = gateway.get("/a").await;
    assert_eq!((response.status(), response.json()["message"].as_str()), (418, Some("tea")));
    assert_eq!(response.header("x-hello"), Some("hello"), "filters run after an exit");
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn a_lua_error_is_kongs_500_and_the_worker_lives() {
    let folder = tempfile::tempdir().unwrap();
    let handler = "local P = { PRIORITY = 1000, VERSION = '1.0.0' }\n\
        function P:access() if kong.request.get_header('x-break') then error('secret') end end\n\
        return P\n";
    install(folder.path(), "fragile", handler);
    let upstream = Upstream::replying(OK).await;
    let gateway = with_plugins(folder.path(), "bundled,fragile")
        .start(&config(&upstream, "    - name: fragile\n"));
    let broken = gateway.send("GET", "/a", &[("x-break", "1")], b"").await;
    assert_eq!(broken.status(), 500);
    assert_eq!(broken.json()["message"], "An unexpected error occurred");
    assert!(!broken.text().contains("secret"), "{}", broken.text());
    assert_eq!(gateway.get("/a").await.status(), 200);
}

#[tokio::test]
async fn a_users_handler_replaces_ours() {
    let folder = tempfile::tempdir().unwrap();
    let handler = "local P = { PRIORITY = 2, VERSION = '1.0.0' }\n\
        function P:access() kong.response.exit(299, 'mine') end\nreturn P\n";
    install(folder.path(), "request-termination", handler);
    let upstream = Upstream::replying(OK).await;
    let gateway = with_plugins(folder.path(), "bundled")
        .start(&config(&upstream, "    - name: request-termination\n"));
    let response = gateway.get("/a").await;
    assert_eq!((response.status(), response.text().as_str()), (299, "mine"));
}

#[tokio::test]
async fn interleaved_requests_keep_their_own_context() {
    let folder = tempfile::tempdir().unwrap();
    let handler = "local P = { PRIORITY = 1000, VERSION = '1.0.0' }\n\
        function P:access() kong.ctx.shared.name = kong.request.get_header('x-name') \
        ngx.sleep(0.01) kong.response.exit(200, kong.ctx.shared.name) end\nreturn P\n";
    install(folder.path(), "echo-name", handler);
    let upstream = Upstream::replying(OK).await;
    let gateway = with_plugins(folder.path(), "bundled,echo-name")
        .start(&config(&upstream, "    - name: echo-name\n"));
    let address = gateway.address;
    let calls = (0..100).map(|n| {
        tokio::spawn(async move {
            let name = format!("n{n}");
            let sent = [("x-name", name.as_str())];
            let response = super::http::send(address, "GET", "/a", &sent, b"").await;
            (name.clone(), response.text())
        })
    });
    for call in calls.collect::<Vec<_>>() {
        let (sent, got) = call.await.unwrap();
        assert_eq!(sent, got);
    }
}

/// What the upstream says of a body of its own.
const PACKED: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\netag: e\r\ncontent-length: 4\r\n\r\nABCD";

#[tokio::test]
async fn a_filter_that_fails_before_anything_went_out_is_an_answer_of_its_own() {
    for (phase, code, status) in [
        ("header_filter", "error('boom')", 500),
        ("header_filter", "kong.response.exit(403, { message = 'no' })", 403),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let handler = format!(
            "local P = {{ PRIORITY = 1000, VERSION = '1.0.0' }}\n\
             function P:{phase}() {code} end\nreturn P\n"
        );
        install(folder.path(), "boom", &handler);
        let upstream = Upstream::replying(PACKED).await;
        let gateway = with_plugins(folder.path(), "bundled,boom")
            .start(&config(&upstream, "    - name: boom\n"));
        let response = gateway.get("/a").await;
        assert_eq!(response.status(), status, "{code}");
        assert!(response.json()["message"].is_string(), "{code}");
        assert_eq!((response.header("content-encoding"), response.header("etag")), (None, None));
    }
}

#[tokio::test]
async fn a_body_filter_that_fails_on_a_whole_body_is_a_500() {
    let folder = tempfile::tempdir().unwrap();
    let handler = "local P = { PRIORITY = 1000, VERSION = '1.0.0' }\n\
        function P:body_filter() error('boom') end\nreturn P\n";
    install(folder.path(), "boom", handler);
    let upstream = Upstream::replying(OK).await;
    let plugins = "    - name: boom\n    - name: request-termination\n      \
                   config: {status_code: 200, message: m}\n";
    let gateway = with_plugins(folder.path(), "bundled,boom").start(&config(&upstream, plugins));
    let response = gateway.get("/a").await;
    assert_eq!((response.status(), response.json()["message"].is_string()), (500, true));
}

#[tokio::test]
async fn a_body_filter_sees_the_end_of_a_body_with_trailers() {
    let folder = tempfile::tempdir().unwrap();
    let handler = "local P = { PRIORITY = 1000, VERSION = '1.0.0' }\n\
        function P:body_filter() if ngx.arg[2] then ngx.arg[1] = 'end' end end\nreturn P\n";
    install(folder.path(), "tail", handler);
    let upstream = Upstream::replying(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n\
          5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n",
    )
    .await;
    let gateway =
        with_plugins(folder.path(), "bundled,tail").start(&config(&upstream, "    - name: tail\n"));
    let response = gateway.send("GET", "/a", &[("TE", "trailers")], b"").await;
    assert_eq!(response.text(), "helloend");
}

#[tokio::test]
async fn a_body_that_is_still_on_its_way_survives_a_drain() {
    const LENGTH: usize = 16 << 20;
    let folder = tempfile::tempdir().unwrap();
    let handler = format!(
        "local P = {{ PRIORITY = 1000, VERSION = '1.0.0' }}\n\
         function P:access() kong.response.exit(200, string.rep('x', {LENGTH})) end\nreturn P\n"
    );
    install(folder.path(), "long", &handler);
    let upstream = Upstream::replying(OK).await;
    let gateway =
        with_plugins(folder.path(), "bundled,long").start(&config(&upstream, "    - name: long\n"));
    let address = gateway.address;
    let mut client = Reader::new(TcpStream::connect(address).await.unwrap());
    client.stream.write_all(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    client.stream.readable().await.unwrap();
    let drained = tokio::task::spawn_blocking(|| drop(gateway));
    soon("the listener closes", async { while TcpStream::connect(address).await.is_ok() {} }).await;
    let response = soon("the answer", client.message(false)).await.unwrap();
    assert_eq!((response.complete, response.body.len()), (true, LENGTH));
    soon("the drain", drained).await.unwrap();
}

#[tokio::test]
async fn a_plugin_that_wants_more_memory_than_a_vm_has_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    let handler = "local P = { PRIORITY = 1000, VERSION = '1.0.0' }\n\
        function P:access() if kong.request.get_header('x-greedy') then local t = {} \
        for i = 1, 1e9 do t[i] = ('x'):rep(1024) .. i end end end\nreturn P\n";
    install(folder.path(), "greedy", handler);
    let upstream = Upstream::replying(OK).await;
    let gateway = with_plugins(folder.path(), "bundled,greedy")
        .set("silverback_lua_vm_memory", "32m")
        .start(&config(&upstream, "    - name: greedy\n"));
    assert_eq!(gateway.send("GET", "/a", &[("x-greedy", "1")], b"").await.status(), 500);
    assert_eq!(gateway.get("/a").await.status(), 200);
    let metrics = gateway.status("/metrics").await.text();
    let line = metrics.lines().find(|line| line.starts_with("silverback_lua_vm_bytes{worker="));
    let bytes: f64 = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(bytes > 0.0 && bytes <= f64::from(32 << 20), "{bytes}");
}
