//! What plugins of others rely on beside Kong's kit: what the core keeps in `ngx.ctx`, and what
//! OpenResty's code looks like from within.

use super::gateway::TestGateway;
use super::http::Upstream;
use super::lua::{install, with_plugins};

const OK: &[u8] =
    b"HTTP/1.1 200 OK\r\nx-upstream: 1\r\ncache-control: no-store\r\ncontent-length: 2\r\n\r\nok";

/// A gateway whose only plugin, `probe`, has these phases.
async fn probe(phases: &str, more: &str) -> (TestGateway, Upstream, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let handler =
        format!("local P = {{ PRIORITY = 1000, VERSION = '1.0.0' }}\n{phases}\nreturn P\n");
    install(folder.path(), "probe", &handler);
    let upstream = Upstream::replying(OK).await;
    let config = format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://{}\n  read_timeout: 4000\n  \
         routes:\n  - name: r\n    paths: ['~/a/(?<id>[0-9]+)']\n    strip_path: false\n    \
         plugins:\n    - name: probe\n{more}",
        upstream.address
    );
    let gateway = with_plugins(folder.path(), "bundled,probe").start(&config);
    (gateway, upstream, folder)
}

#[tokio::test]
async fn the_core_leaves_route_service_and_captures_in_ngx_ctx() {
    let (gateway, upstream, _folder) = probe(
        "function P:access()
           local c = ngx.ctx
           assert(c.route == c.route and rawequal(c.service, ngx.ctx.service))
           c.mine = 'kept'
           local data = c.balancer_data
           kong.response.set_header('x-access', table.concat({ c.route.name, c.service.name,
             c.router_matches.uri_captures.id, data.host, data.port, data.type, data.scheme,
             data.read_timeout, data.retries, data.try_count, tostring(data.ip) }, ' '))
         end
         function P:header_filter()
           local c = ngx.ctx
           kong.response.set_header('x-filter', table.concat({ c.mine, c.balancer_data.ip,
             c.balancer_data.try_count, #c.balancer_data.tries, tostring(c.KONG_PROXIED),
             type(c.KONG_PROXY_LATENCY), type(c.KONG_WAITING_TIME), tostring(c.nobody) }, ' '))
         end",
        "",
    )
    .await;
    let response = gateway.get("/a/42").await;
    let port = upstream.address.port();
    let access = format!("r s 42 127.0.0.1 {port} ipv4 http 4000 5 0 nil");
    assert_eq!(response.header("x-access"), Some(access.as_str()));
    let filter = "kept 127.0.0.1 1 1 true number number nil";
    assert_eq!(response.header("x-filter"), Some(filter));
}

#[tokio::test]
async fn a_request_goes_where_balancer_data_says() {
    let elsewhere = Upstream::replying(OK).await;
    let phases = format!(
        "function P:access()
           ngx.ctx.balancer_data.host = 'localhost'
           ngx.ctx.balancer_data.port = {}
           ngx.ctx.balancer_data.read_timeout = 3000
           kong.response.set_header('x-timeout', ngx.ctx.balancer_data.read_timeout)
         end",
        elsewhere.address.port()
    );
    let (gateway, upstream, _folder) = probe(&phases, "").await;
    let response = gateway.get("/a/1").await;
    assert_eq!((response.status(), response.header("x-timeout")), (200, Some("3000")));
    assert!(upstream.seen().is_empty());
    assert_eq!(elsewhere.seen()[0].header("host"), Some("localhost"));
}

#[tokio::test]
async fn a_consumer_that_a_plugin_leaves_in_ngx_ctx_counts() {
    let (gateway, ..) = probe(
        "function P:access()
           ngx.ctx.authenticated_credential = { id = 'c1', consumer_id = 'x' }
           ngx.ctx.authenticated_consumer = kong.client.load_consumer('joe', true)
           kong.response.set_header('x-who', kong.client.get_consumer().username .. ' '
             .. kong.client.get_credential().id .. ' ' .. ngx.ctx.authenticated_consumer.username)
         end",
        "consumers:\n- username: joe\n  acls:\n  - group: gold\n\
         plugins:\n- name: acl\n  config: {allow: [gold]}\n",
    )
    .await;
    let response = gateway.get("/a/1").await;
    assert_eq!(response.status(), 200, "a native plugin knows the consumer: {}", response.text());
    assert_eq!(response.header("x-who"), Some("joe c1 joe"));
}

#[tokio::test]
async fn raw_header_names_are_spelled_as_usual() {
    let (gateway, ..) = probe(
        "function P:access()
           local raw = ngx.req.get_headers(0, true)
           kong.response.set_header('x-req', tostring(raw['X-Own']) .. tostring(raw['x-own']))
         end
         function P:header_filter()
           local raw, any = ngx.resp.get_headers(0, true), ngx.resp.get_headers()
           kong.response.set_header('x-resp', tostring(raw['X-Upstream'])
             .. tostring(raw['x-upstream']) .. raw['Cache-Control'] .. any['Cache-Control'])
         end",
        "",
    )
    .await;
    let response = gateway.send("GET", "/a/1", &[("x-own", "1")], b"").await;
    assert_eq!(response.header("x-req"), Some("1nil"));
    assert_eq!(response.header("x-resp"), Some("1nilno-storeno-store"));
}

#[tokio::test]
async fn ngx_is_a_module() {
    let phases = "function P:access() kong.response.exit(200, tostring(require('ngx') == ngx)) end";
    let (gateway, ..) = probe(phases, "").await;
    assert_eq!(gateway.get("/a/1").await.text(), "true");
}

/// Rocks bring libraries that are bound to nginx and OpenSSL; those that work here win over them.
#[tokio::test]
async fn libraries_that_need_nginx_are_taken_from_here() {
    let (gateway, _upstream, folder) = probe(
        "function P:access()
           kong.response.exit(200, require('resty.string').to_hex('A') .. require('mine.text'))
         end",
        "",
    )
    .await;
    for (file, code) in [("resty/string.lua", "error('no nginx')"), ("mine/text.lua", "return '!'")]
    {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, code).unwrap();
    }
    assert_eq!(gateway.get("/a/1").await.text(), "41!");
}

#[tokio::test]
async fn a_timer_has_a_context_of_its_own() {
    let (gateway, ..) = probe(
        "local seen
         function P:access()
           if seen then kong.response.exit(200, seen) end
           kong.ctx.shared.who, ngx.ctx.who = 'request', 'request'
           ngx.timer.at(0, function()
             kong.ctx.shared.who = (kong.ctx.shared.who or 'nobody') .. '1'
             ngx.ctx.who = (ngx.ctx.who or 'nobody') .. '2'
             ngx.sleep(0)
             seen = kong.ctx.shared.who .. ' ' .. ngx.ctx.who
           end)
           while not seen do ngx.sleep(0.001) end
         end",
        "",
    )
    .await;
    gateway.get("/a/1").await;
    assert_eq!(gateway.get("/a/1").await.text(), "nobody1 nobody2");
}

#[tokio::test]
async fn plugins_ask_for_the_groups_of_a_consumer() {
    let (gateway, ..) = probe(
        "local groups = require('kong.plugins.acl.groups')
         function P:access()
           local joe = kong.client.load_consumer('joe', true)
           kong.client.authenticate(joe)
           local of = groups.get_consumer_groups(groups.get_current_consumer_id())
           assert(of == groups.get_consumer_groups(joe.id), 'the same table')
           kong.ctx.shared.authenticated_groups = { 'staff' }
           local named = groups.get_authenticated_groups()
           kong.response.exit(200, table.concat({ of[1], of.gold, named.staff,
             tostring(groups.consumer_in_groups({ 'none', 'gold' }, of)),
             tostring(groups.consumer_in_groups({ 'none' }, of)),
             tostring(groups.get_consumer_groups(kong.node.get_id())) }, ' '))
         end",
        "consumers:\n- username: joe\n  acls:\n  - group: gold\n",
    )
    .await;
    assert_eq!(gateway.get("/a/1").await.text(), "gold gold staff true false nil");
}

#[tokio::test]
async fn what_kong_declares_for_itself_in_c_is_declared() {
    let (gateway, ..) = probe(
        "local ffi = require('ffi')
         local now = ffi.new('nanotime[1]')
         function P:access()
           ffi.C.clock_gettime(0, now)
           kong.response.exit(200, tostring(math.abs(tonumber(now[0].tv_sec) - ngx.time()) < 5))
         end",
        "",
    )
    .await;
    assert_eq!(gateway.get("/a/1").await.text(), "true");
}

#[tokio::test]
async fn a_variable_that_cannot_be_set_is_told_whatever_the_value() {
    let (gateway, ..) = probe(
        "function P:access()
           local ok, err = pcall(function() ngx.var.session_secret = '\\255\\254' end)
           kong.response.exit(200, tostring(ok) .. ' ' .. tostring(err))
         end",
        "",
    )
    .await;
    let told = gateway.get("/a/1").await.text();
    assert!(told.starts_with("false ") && told.contains("\"session_secret\" not"), "{told}");
}

#[tokio::test]
async fn plugins_ask_for_consumer_groups_and_set_them() {
    let (gateway, ..) = probe(
        "local function names(groups)
           local all = {}
           for _, group in ipairs(groups or {}) do all[#all + 1] = group.name end
           return groups and table.concat(all, ',') or 'none'
         end
         function P:access()
           local client, said = kong.client, {}
           local function say()
             local one = client.get_consumer_group()
             said[#said + 1] = names(client.get_consumer_groups()) .. '/'
               .. (one and one.name or 'none')
           end
           say()
           client.authenticate(client.load_consumer('joe', true), nil)
           say()
           client.set_authenticated_consumer_group({ id = 'x', name = 'mine' })
           say()
           client.set_authenticated_consumer_groups({ { name = 'b' }, { name = 'a' } })
           say()
           client.authenticate_consumer_group_by_consumer_id(client.get_consumer().id)
           say()
           said[#said + 1] = select(2, pcall(client.set_authenticated_consumer_groups, 1))
           said[#said + 1] = select(2, pcall(client.set_authenticated_consumer_group, 'x'))
           kong.response.exit(200, table.concat(said, ' '))
         end",
        "consumer_groups:\n- name: gold\nconsumers:\n- username: joe\n  groups:\n  - name: gold\n",
    )
    .await;
    let told = gateway.get("/a/1").await.text();
    let wanted = "none/none gold/gold mine/mine b,a/b gold/gold \
        groups must be a table or nil group must be a table or nil";
    assert_eq!(told, wanted);
}

#[tokio::test]
async fn a_body_may_come_from_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "out of a file").unwrap();
    let phases = format!(
        "function P:access()
           local unread = select(2, pcall(ngx.req.set_body_file, [[{0}]]))
           ngx.req.read_body()
           local missing = select(2, pcall(ngx.req.set_body_file, [[{0}.none]]))
           ngx.req.set_body_file([[{0}]])
           kong.response.set_header('x-told', unread .. '; ' .. missing)
         end",
        file.path().display()
    );
    let (gateway, upstream, _folder) = probe(&phases, "").await;
    let response = gateway.post("/a/1", "old").await;
    let told = response.header("x-told").unwrap();
    let wanted =
        format!("request body not read yet; stat() \"{}.none\" failed", file.path().display());
    assert_eq!(told, wanted);
    let seen = upstream.seen().remove(0);
    assert_eq!(
        (seen.text().as_str(), seen.header("content-length")),
        ("out of a file", Some("13"))
    );
}
