//! What Lua plugins have of their worker: its beginning, its end, memory, and neighbours that wait.

use super::gateway::TestGateway;
use super::http::Upstream;
use super::lua::{install, with_plugins};
use super::stream_ends::soon;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn config(upstream: &Upstream, plugins: &str) -> String {
    format!(
        "_format_version: '3.0'\n{plugins}services:\n- name: s\n  url: http://{}\n  routes:\n  \
         - name: r\n    paths: [/a]\n",
        upstream.address
    )
}

fn handler(priority: i64, functions: &str) -> String {
    format!("local P = {{ PRIORITY = {priority}, VERSION = '1.0.0' }}\n{functions}\nreturn P\n")
}

#[tokio::test]
async fn workers_begin_with_every_plugin_that_is_switched_on() {
    let folder = tempfile::tempdir().unwrap();
    let note = "local order = require 'kong.plugins.low.order'\n";
    let begins = |name: &str| {
        format!(
            "{note}function P:init_worker() table.insert(order, '{name}') end\n\
             function P:configure(confs) table.insert(order, '{name}=' .. #(confs or {{}})) end\n"
        )
    };
    install(folder.path(), "low", &handler(1, &begins("low")));
    let shows =
        "function P:access() kong.response.exit(200, table.concat(order, ' ')) end".to_owned();
    install(folder.path(), "high", &handler(9, &(begins("high") + &shows)));
    std::fs::write(folder.path().join("kong/plugins/low/order.lua"), "return {}").unwrap();
    let upstream = Upstream::replying(OK).await;
    let gateway = with_plugins(folder.path(), "bundled,low,high")
        .start(&config(&upstream, "plugins:\n- name: high\n"));
    // `low` is not configured.
    assert_eq!(gateway.get("/a").await.text(), "high low high=1 low=0");
}

#[tokio::test]
async fn timers_that_wait_are_told_when_the_worker_ends() {
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("told");
    let functions = format!(
        "function P:init_worker()\n  local function tell(premature, name)\n    \
         local _, err = ngx.timer.at(1, function() end)\n    \
         local file = io.open('{}', 'a')\n    \
         file:write(name, ' ', tostring(premature), ' ', tostring(ngx.worker.exiting()), ' ', \
         tostring(err), '\\n') file:close()\n  end\n  \
         ngx.timer.at(3600, tell, 'at') ngx.timer.every(3600, tell, 'every')\nend",
        told.display()
    );
    install(folder.path(), "late", &handler(1, &functions));
    let upstream = Upstream::replying(OK).await;
    let gateway = with_plugins(folder.path(), "late").start(&config(&upstream, ""));
    assert!(!told.exists());
    tokio::task::spawn_blocking(move || drop(gateway)).await.unwrap();
    let text = std::fs::read_to_string(&told).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["at true true process exiting", "every true true process exiting"]);
}

#[tokio::test]
async fn a_dictionary_of_the_operator_has_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let functions = "local dict = ngx.shared.mine\n\
        dict:set('loaded', 1)\n\
        function P:access()\n  dict:set('a', 1)\n  \
        kong.response.exit(200, { dict:capacity(), dict:get('a'), ngx.shared.other:capacity() })\n\
        end";
    install(folder.path(), "keeps", &handler(1, functions));
    let upstream = Upstream::replying(OK).await;
    let gateway = with_plugins(folder.path(), "keeps")
        .set("nginx_http_lua_shared_dict", "mine 1m; lua_shared_dict other 16k")
        .start(&config(&upstream, "plugins:\n- name: keeps\n"));
    assert_eq!(gateway.get("/a").await.json(), serde_json::json!([1 << 20, 1, 16 << 10]));
}

/// Waits in access, changes every kind of context on the way, and says what it finds.
const MINGLES: &str = "
  local function mine() return kong.request.get_header('x-name') end
  function P:rewrite() ngx.ctx.early = mine() end
  function P:access()
    local name = mine()
    local list = {}
    kong.ctx.shared.name, kong.ctx.plugin.name, ngx.ctx.name = name, name, name
    local co = coroutine.wrap(function(own)
      for i = 1, 3 do ngx.sleep(0.001 * (#own % 3)) coroutine.yield(own .. i) end
    end)
    for i = 1, 3 do list[i] = co(name) end
    local light = ngx.thread.spawn(function(own) ngx.sleep(0.001) return own end, name)
    local _, back = ngx.thread.wait(light)
    kong.service.request.set_header('x-seen', table.concat({
      name, kong.ctx.shared.name, kong.ctx.plugin.name, ngx.ctx.name, ngx.ctx.early, back,
      ngx.var.http_x_name, unpack(list) }, ' '))
  end
  function P:header_filter()
    kong.response.set_header('x-back', table.concat({
      mine(), kong.ctx.shared.name, kong.ctx.plugin.name, ngx.ctx.name }, ' '))
  end";

#[tokio::test]
async fn hundreds_of_requests_at_once_never_see_each_other() {
    let folder = tempfile::tempdir().unwrap();
    install(folder.path(), "mingles", &handler(1000, MINGLES));
    let upstream = Upstream::replying(OK).await;
    let gateway = with_plugins(folder.path(), "mingles")
        .start(&config(&upstream, "plugins:\n- name: mingles\n"));
    let address = gateway.address;
    let calls = (0..400).map(|n| {
        tokio::spawn(async move {
            let name = format!("n{n}");
            let sent = [("x-name", name.as_str())];
            let response = super::http::send(address, "GET", "/a", &sent, b"").await;
            (name.clone(), response.header("x-back").map(str::to_owned))
        })
    });
    for call in calls.collect::<Vec<_>>() {
        let (name, back) = call.await.unwrap();
        assert_eq!(back.unwrap_or_default(), format!("{name} {name} {name} {name}"));
    }
    let seen = upstream.seen();
    assert_eq!(seen.len(), 400);
    for request in seen {
        let name = request.header("x-name").unwrap();
        let parts = [name; 7].join(" ");
        let expected = format!("{parts} {name}1 {name}2 {name}3");
        assert_eq!(request.header("x-seen").unwrap(), expected);
    }
}

#[tokio::test]
async fn a_plugin_that_leaks_shows_in_the_metrics_and_is_stopped_by_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let functions = "local kept = {}\n\
        function P:access()\n  for i = 1, 64 do kept[#kept + 1] = ('x'):rep(1024) .. #kept end\n\
        end";
    install(folder.path(), "leaks", &handler(1, functions));
    let upstream = Upstream::replying(OK).await;
    let gateway = with_plugins(folder.path(), "leaks")
        .set("silverback_lua_vm_memory", "24m")
        .start(&config(&upstream, "plugins:\n- name: leaks\n"));
    gateway.get("/a").await;
    let before = vm_bytes(&gateway).await;
    for _ in 0..50 {
        assert_eq!(gateway.get("/a").await.status(), 200);
    }
    let after = vm_bytes(&gateway).await;
    assert!(after > before + (2 << 20), "{before} {after}");
    soon("a refusal for want of memory", async {
        while gateway.get("/a").await.status() == 200 {}
    })
    .await;
    assert!(vm_bytes(&gateway).await <= 24 << 20);
}

async fn vm_bytes(gateway: &TestGateway) -> u64 {
    let text = gateway.status("/metrics").await.text();
    let line = text.lines().find(|line| line.starts_with("silverback_lua_vm_bytes{")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_schema_that_is_wrong_is_told_at_start_in_kongs_words() {
    for (fields, told) in [
        (
            "{ config = { type = 'record', fields = { { a = { type = 'string', size = 1 } } } } }",
            "schema violation (fields.1: {\n  fields = {\n    {\n      size = \"unknown field\"",
        ),
        (
            "{ config = { type = 'record', fields = { { a = { type = 'array' } } } } }",
            "schema violation (a: field of type 'array' must declare 'elements')",
        ),
        (
            "{ config = { type = 'record', fields = { \
             { a = { type = 'boolean', uuid = true } } } } }",
            "schema violation (a: field of type 'boolean' cannot have attribute 'uuid')",
        ),
        (
            "{ config = { type = 'record', fields = {} } }, { mine = { type = 'string' } }",
            "error initializing schema for plugin: error in definition of 'odd': mine: cannot \
             create a new field",
        ),
        (
            "{ config = { type = 'string' } }",
            "error in definition of 'odd': config: cannot change type in a specialized field",
        ),
        (
            "{ config = { type = 'record', fields = { \
             { a = { type = 'string', default = 1 } } } } }",
            "default = \"expected a string\"",
        ),
        (
            "{ config = { type = 'record', fields = { \
             { a = require('kong.db.schema.typedefs').no } } } }",
            "schema typedef error: definition no does not exist",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        install(folder.path(), "odd", &handler(1, ""));
        let schema = format!("return {{ name = 'odd', fields = {{ {fields} }} }}");
        std::fs::write(folder.path().join("kong/plugins/odd/schema.lua"), schema).unwrap();
        let started = with_plugins(folder.path(), "odd").try_start("_format_version: '3.0'\n");
        let errors = started.err().unwrap().join("\n");
        assert!(errors.contains("on plugin 'odd': ") && errors.contains(told), "{errors}");
    }
}

#[tokio::test]
async fn each_worker_has_random_numbers_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let functions = "function P:init_worker()\n  \
        ngx.shared.kong:set('random' .. ngx.worker.id(), math.random(2 ^ 30))\nend\n\
        function P:access()\n  local first = ngx.shared.kong:get('random0') or ''\n  \
        kong.response.exit(200, first .. ' ' .. (ngx.shared.kong:get('random1') or ''))\nend";
    install(folder.path(), "throws", &handler(1, functions));
    let upstream = Upstream::replying(OK).await;
    let gateway = with_plugins(folder.path(), "throws")
        .set("nginx_worker_processes", "2")
        .start(&config(&upstream, "plugins:\n- name: throws\n"));
    let both = soon("both workers", async {
        loop {
            let text = gateway.get("/a").await.text();
            let (first, second) = text.split_once(' ').unwrap();
            if !first.is_empty() && !second.is_empty() {
                return (first.to_owned(), second.to_owned());
            }
        }
    })
    .await;
    assert_ne!(both.0, both.1);
}
