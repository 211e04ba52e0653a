//! A reload takes changed Lua files: new requests meet the new code, old ones end with the old.

use std::path::Path;

use super::cli_process::silverback;
use super::gateway::TestGateway;
use super::http;
use super::lua::{install, with_plugins};
use super::stream_ends::{Client, Upstream, soon};

const CONFIG: &str = "_format_version: '3.0'\nservices:\n- name: s\n  url: http://127.0.0.1:9\n  \
                      routes:\n  - name: r\n    paths: [/a]\n    plugins:\n    - name: mine\n";

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";

/// Answers with this text, and with how often its VM has been asked.
fn saying(text: &str) -> String {
    format!(
        "local P = {{ PRIORITY = 1000, VERSION = '1.0.0' }}\nlocal count = 0\n\
         function P:access() count = count + 1 kong.response.exit(200, {text} .. ' ' .. count) end\
         \nreturn P\n"
    )
}

async fn answer(gateway: &TestGateway) -> String {
    gateway.get("/a").await.text().trim().to_owned()
}

fn start(folder: &Path) -> TestGateway {
    with_plugins(folder, "bundled,mine").set("nginx_worker_processes", "1").start(CONFIG)
}

#[tokio::test]
async fn a_changed_handler_answers_after_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    install(folder.path(), "mine", &saying("'old'"));
    let gateway = start(folder.path());
    assert_eq!(answer(&gateway).await, "old 1");
    install(folder.path(), "mine", &saying("'newer'"));
    assert_eq!(answer(&gateway).await, "old 2", "before the reload");
    gateway.reload().await.unwrap();
    assert_eq!(answer(&gateway).await, "newer 1");
}

#[tokio::test]
async fn a_changed_module_of_a_plugin_counts_and_an_unchanged_one_keeps_its_state() {
    let folder = tempfile::tempdir().unwrap();
    let helper = folder.path().join("kong/plugins/mine/words.lua");
    install(folder.path(), "mine", &saying("require('kong.plugins.mine.words')"));
    std::fs::write(&helper, "return 'old'").unwrap();
    let gateway = start(folder.path());
    assert_eq!(answer(&gateway).await, "old 1");
    gateway.reload().await.unwrap();
    assert_eq!(answer(&gateway).await, "old 2", "nothing has changed");
    // The helper is loaded by the first request, in a worker: the loader has never seen it.
    std::fs::write(&helper, "return 'newer'").unwrap();
    gateway.reload().await.unwrap();
    assert_eq!(answer(&gateway).await, "newer 1");
}

#[tokio::test]
async fn a_broken_file_refuses_the_reload_and_the_old_code_serves() {
    let folder = tempfile::tempdir().unwrap();
    install(folder.path(), "mine", &saying("'old'"));
    let gateway = start(folder.path());
    assert_eq!(answer(&gateway).await, "old 1");
    install(folder.path(), "mine", "local P = {");
    let errors = gateway.reload().await.unwrap_err();
    assert!(errors[0].contains("kong/plugins/mine/handler.lua:1"), "{errors:?}");
    assert_eq!(answer(&gateway).await, "old 2");
    install(folder.path(), "mine", &saying("'newer'"));
    gateway.reload().await.unwrap();
    assert_eq!(answer(&gateway).await, "newer 1");
}

#[tokio::test]
async fn a_changed_schema_is_used_by_the_next_reload() {
    let folder = tempfile::tempdir().unwrap();
    install(folder.path(), "mine", &saying("'old'"));
    let gateway = start(folder.path());
    let schema = "return { name = 'mine', fields = { { config = { type = 'record', fields = {
        { size = { type = 'integer', required = true } } } } } } }";
    std::fs::write(folder.path().join("kong/plugins/mine/schema.lua"), schema).unwrap();
    let errors = gateway.reload().await.unwrap_err();
    assert!(errors.iter().any(|error| error.contains("required field missing")), "{errors:?}");
    assert_eq!(answer(&gateway).await, "old 1");
}

#[tokio::test]
async fn a_request_that_has_begun_ends_with_the_old_code() {
    let folder = tempfile::tempdir().unwrap();
    let handler = |text: &str| {
        format!(
            "local P = {{ PRIORITY = 1000, VERSION = '1.0.0' }}\n\
             function P:header_filter() kong.response.set_header('x-code', '{text}') end\n\
             return P\n"
        )
    };
    install(folder.path(), "mine", &handler("old"));
    let upstream = Upstream::start().await;
    let config = CONFIG.replace("http://127.0.0.1:9", &upstream.url());
    let gateway = with_plugins(folder.path(), "bundled,mine").start(&config);
    let mut first = Client::post(gateway.address, "/a", "", "{}").await;
    let mut asked = upstream.request().await;
    install(folder.path(), "mine", &handler("newer"));
    gateway.reload().await.unwrap();
    asked.write(OK).await;
    assert_eq!(first.head().await.header("x-code"), Some("old"));
    let mut second = Client::post(gateway.address, "/a", "", "{}").await;
    let mut asked = upstream.request().await;
    asked.write(OK).await;
    assert_eq!(second.head().await.header("x-code"), Some("newer"));
}

/// A worker of Kong that ends calls its timers at once and says so; `init_worker` runs in the next.
#[tokio::test]
async fn timers_of_the_old_code_are_called_as_premature_and_its_memory_is_freed() {
    let folder = tempfile::tempdir().unwrap();
    let notes = folder.path().join("notes");
    let handler = |text: &str| {
        format!(
            "local P = {{ PRIORITY = 1000, VERSION = '1.0.0' }}
            local function note(what)
              local file = io.open('{}', 'a')
              file:write('{text} ', what, '\\n')
              file:close()
            end
            local gone = newproxy(true)
            local serves = false
            getmetatable(gone).__gc = function() if serves then note('freed') end end
            P.gone = gone
            function P:init_worker()
              serves = true
              note('begins')
              ngx.timer.every(3600, function(premature) note('every ' .. tostring(premature)) end)
              ngx.timer.at(3600, function(premature)
                note('at ' .. tostring(premature) .. ' ' .. tostring(ngx.worker.exiting()))
                note(tostring(select(2, ngx.timer.at(1, note))))
              end)
            end
            function P:access() kong.response.exit(200, 'x') end
            return P",
            notes.display()
        )
    };
    install(folder.path(), "mine", &handler("old"));
    let gateway = start(folder.path());
    gateway.get("/a").await;
    install(folder.path(), "mine", &handler("newer"));
    gateway.reload().await.unwrap();
    let read = || std::fs::read_to_string(&notes).unwrap_or_default();
    soon("the old VM is freed", async {
        while !read().contains("old freed") {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    let mut lines: Vec<_> = read().lines().map(str::to_owned).collect();
    lines.sort();
    for wanted in
        ["newer begins", "old at true true", "old begins", "old every true", "old process exiting"]
    {
        assert!(lines.iter().any(|line| line == wanted), "{wanted}: {lines:?}");
    }
    assert!(!lines.iter().any(|line| line.starts_with("newer at")), "{lines:?}");
}

#[tokio::test]
async fn a_signal_does_it_too() {
    let folder = tempfile::tempdir().unwrap();
    install(folder.path(), "mine", &saying("'old'"));
    std::fs::write(folder.path().join("kong.yaml"), CONFIG).unwrap();
    let start = silverback(&["run", "kong.yaml"]).folder(folder.path()).on_free_ports();
    let start = start.env("KONG_PLUGINS", "bundled,mine").env("KONG_NGINX_WORKER_PROCESSES", "1");
    let mut process = start.env("KONG_PROXY_ACCESS_LOG", "off").spawn();
    let address = process.proxy().await;
    assert_eq!(http::send(address, "GET", "/a", &[], b"").await.text().trim(), "old 1");
    install(folder.path(), "mine", &saying("'newer'"));
    process.signal("HUP");
    process.line_with("configuration loaded").await;
    soon("the new code answers", async {
        while !http::send(address, "GET", "/a", &[], b"").await.text().starts_with("newer") {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
