//! Lua plugins in an exchange, without sockets.

mod ngx;
mod quick;

use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

use http::HeaderMap;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::entity::{Consumer, Protocol};
use crate::lua::Options;
use crate::pdk::request::Connection;
use crate::pdk::{Body, Budget, CURRENT, Phase, Request, Source};

/// A folder of plugins on the path of a VM.
struct Plugins {
    vm: Vm,
    dir: tempfile::TempDir,
}

impl Plugins {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let package_path = format!("{}/?.lua", dir.path().display());
        let vm = Vm::new(&Options { package_path, ..Options::default() }).unwrap();
        Self { vm, dir }
    }

    fn write(&self, name: &str, file: &str, source: &str) {
        let folder = self.dir.path().join("kong/plugins").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(file), source).unwrap();
    }

    /// A handler with these functions.
    fn handler(&self, name: &str, functions: &str) -> Result<Rc<Handler>, String> {
        let source =
            format!("local P = {{ PRIORITY = 10, VERSION = '1.0.0' }}\n{functions}\nreturn P");
        self.write(name, "handler.lua", &source);
        Handler::load(&self.vm, name)
    }

    fn plugin(&self, functions: &str, config: Value) -> LuaPlugin {
        self.handler("probe", functions).unwrap().instance(&entity("probe", config)).unwrap()
    }
}

fn entity(name: &str, config: Value) -> PluginEntity {
    PluginEntity {
        id: Uuid::new_v4(),
        name: name.to_owned(),
        instance_name: None,
        enabled: true,
        config,
        service: None,
        route: None,
        consumer: None,
        consumer_group: None,
        protocols: vec![Protocol::Http],
        tags: None,
        references: Vec::new(),
    }
}

fn exchange(target: &str, headers: &[(&str, &str)], body: &str) -> Rc<Exchange> {
    let local: std::net::SocketAddr = "127.0.0.1:4711".parse().unwrap();
    let connection = Connection {
        client: local,
        peer: local,
        local: local.ip(),
        port: 8000,
        tls: false,
        sni: None,
        session: None,
        shown: None,
        trusted: false,
        lacks_tls: false,
        text: OnceCell::new(),
    };
    let mut request = http::Request::post(target).header("Host", "GW.test:8000");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (head, ()) = request.body(()).unwrap().into_parts();
    let body = Body::Whole(Bytes::copy_from_slice(body.as_bytes()).into());
    let request = Request::new(head, body, Rc::new(connection), Budget::new(1 << 20), 1000);
    Rc::new(Exchange::new(request, Arc::default()))
}

/// Runs a future as a worker does.
fn on_a_worker<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, future)
}

/// Runs `access` of a plugin in its exchange.
async fn access(plugin: &LuaPlugin, ex: &Rc<Exchange>) -> Outcome {
    ex.enter(Phase::Access);
    CURRENT.scope(ex.clone(), plugin.access(ex).outcome()).await
}

fn header_filter(plugin: &LuaPlugin, ex: &Rc<Exchange>) -> Outcome {
    ex.enter(Phase::HeaderFilter);
    CURRENT.sync_scope(ex.clone(), || plugin.header_filter(ex))
}

/// What `access` with this code leaves in the `X-Said` response header, as text.
fn said(code: &str, ex: &Rc<Exchange>) -> String {
    let plugins = Plugins::new();
    let functions = format!(
        "local function text(v) return type(v) == 'string' and v or tostring(v) end
         function P:access(conf)
           local function said(...)
             local parts = {{ ... }}
             for i = 1, select('#', ...) do parts[i] = text(parts[i]) end
             kong.response.set_header('X-Said', table.concat(parts, ' '))
           end
           {code}
         end"
    );
    let plugin = plugins.plugin(&functions, json!({}));
    on_a_worker(access(&plugin, ex)).unwrap();
    text(&ex.response.headers(), "x-said")
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default()
}

#[test]
fn hello_greets() {
    let vm = Vm::new(&Options::default()).unwrap();
    let handler = Handler::load(&vm, "hello").unwrap();
    let config = json!({"header_name": "X-Greeting", "greeting": "hi"});
    let plugin = handler.instance(&entity("hello", config)).unwrap();
    let log = Phases::LOG.and(Phases::RECORD);
    let phases = Phases::ACCESS.and(Phases::HEADER_FILTER).and(log).and(Phases::ASKS_ALL);
    assert_eq!(plugin.phases(), phases);
    let ex = exchange("/", &[("user-agent", "curl")], "");
    on_a_worker(access(&plugin, &ex)).unwrap();
    header_filter(&plugin, &ex).unwrap();
    assert_eq!(text(&ex.response.headers(), "x-greeting"), "hi");
    ex.enter(Phase::Log);
    CURRENT.sync_scope(ex.clone(), || plugin.log(&ex));
}

#[test]
fn an_answer_ends_the_plugin_even_inside_pcall() {
    let plugins = Plugins::new();
    let plugin = plugins.plugin(
        "function P:access(conf)
           pcall(function()
             kong.response.exit(403, { message = 'no', n = 1 }, { ['X-Why'] = 'rule' })
           end)
           kong.response.set_header('X-After', 'yes')
         end",
        json!({}),
    );
    let ex = exchange("/", &[], "");
    assert!(matches!(on_a_worker(access(&plugin, &ex)), Err(Stop::Exit)));
    assert!(ex.response.exited());
    assert_eq!((ex.response.status().as_u16(), ex.response.source()), (403, Source::Exit));
    let body: Value = serde_json::from_slice(&ex.response.body().unwrap()).unwrap();
    assert_eq!(body, json!({"message": "no", "n": 1}));
    let headers = ex.response.headers();
    assert_eq!(text(&headers, "content-type"), "application/json; charset=utf-8");
    assert_eq!((text(&headers, "x-why"), text(&headers, "x-after")), ("rule".into(), "".into()));
}

#[test]
fn an_answer_ends_the_plugin_after_a_wait() {
    let plugins = Plugins::new();
    let plugin = plugins.plugin(
        "function P:access(conf)
           ngx.sleep(0)
           pcall(kong.response.exit, 200, 'text')
           error('not reached')
         end",
        json!({}),
    );
    let ex = exchange("/", &[], "");
    assert!(matches!(on_a_worker(access(&plugin, &ex)), Err(Stop::Exit)));
    assert_eq!(ex.response.body().unwrap(), "text");
    assert_eq!(text(&ex.response.headers(), "content-type"), "");
}

#[test]
fn an_answer_in_a_coroutine_ends_the_coroutine() {
    let plugins = Plugins::new();
    let plugin = plugins.plugin(
        "function P:access(conf)
           local co = coroutine.wrap(function()
             ngx.sleep(0)
             kong.response.exit(200, 'text')
           end)
           co()
           kong.response.set_header('X-After', 'reached')
         end",
        json!({}),
    );
    let ex = exchange("/", &[], "");
    on_a_worker(access(&plugin, &ex)).unwrap();
    assert!(ex.response.exited());
    assert_eq!(ex.response.body().unwrap(), "text");
    assert_eq!(text(&ex.response.headers(), "x-after"), "reached");
}

#[test]
fn a_plugin_that_yields_has_come_to_its_end() {
    let plugins = Plugins::new();
    let plugin = plugins.plugin(
        "function P:access(conf)
           coroutine.yield('what')
           error('not reached')
         end",
        json!({}),
    );
    let ex = exchange("/", &[], "");
    on_a_worker(access(&plugin, &ex)).unwrap();
    assert!(!ex.response.exited());
}

/// OpenResty's rule, which costs a plugin its request where `pcall` should have helped.
#[test]
fn an_error_that_leaves_coroutine_wrap_ends_the_coroutine_around_it() {
    let plugins = Plugins::new();
    let plugin = plugins.plugin(
        "function P:access(conf)
           local co = coroutine.create(function() pcall(coroutine.wrap(error), 'inner') end)
           local ok, err = coroutine.resume(co)
           assert(not ok and err == 'inner' and coroutine.status(co) == 'dead')
           pcall(coroutine.wrap(error), 'outer')
         end",
        json!({}),
    );
    let Err(Stop::Fault(fault)) = on_a_worker(access(&plugin, &exchange("/", &[], ""))) else {
        panic!("no fault");
    };
    assert_eq!(fault.to_string(), "outer");
}

#[test]
fn a_phase_lasts_as_long_as_its_light_threads() {
    let plugins = Plugins::new();
    let plugin = plugins.plugin(
        "function P:access(conf)
           ngx.thread.spawn(function()
             ngx.sleep(0.005)
             kong.response.set_header('X-Thread', 'done')
           end)
         end",
        json!({}),
    );
    let ex = exchange("/", &[], "");
    on_a_worker(access(&plugin, &ex)).unwrap();
    assert_eq!(text(&ex.response.headers(), "x-thread"), "done");
}

#[test]
fn a_light_thread_that_answers_does_not_hang_the_request() {
    let plugins = Plugins::new();
    let plugin = plugins.plugin(
        "function P:access(conf)
           local thread = ngx.thread.spawn(function()
             ngx.sleep(0)
             kong.response.exit(403)
           end)
           ngx.thread.wait(thread)
         end",
        json!({}),
    );
    let ex = exchange("/", &[], "");
    on_a_worker(access(&plugin, &ex)).unwrap();
    assert_eq!(ex.response.status(), 403);
}

/// What `access` with this code answers; `None` if it hangs.
fn status_of(code: &str) -> Option<u16> {
    let plugins = Plugins::new();
    let plugin = plugins.plugin(&format!("function P:access(conf) {code} end"), json!({}));
    let ex = exchange("/", &[], "");
    let limit = std::time::Duration::from_secs(10);
    let ended = on_a_worker(async { tokio::time::timeout(limit, access(&plugin, &ex)).await });
    match ended.ok()? {
        Err(Stop::Fault(_)) => Some(500),
        _ => Some(ex.response.status().as_u16()),
    }
}

#[test]
fn ngx_exit_in_a_light_thread_that_has_waited_does_not_hang_the_request() {
    let exits = "ngx.thread.spawn(function() ngx.sleep(0.001) ngx.exit(403) end)";
    for waits in ["", "ngx.thread.wait(t)", "ngx.sleep(600)"] {
        assert_eq!(status_of(&format!("local t = {exits} {waits}")), Some(403), "{waits}");
    }
    let beside = format!("ngx.thread.spawn(function() ngx.sleep(600) end) {exits}");
    assert_eq!(status_of(&beside), Some(403));
}

#[test]
fn the_end_of_a_plugin_within_a_callback_of_the_cache_in_a_light_thread_does_not_hang_it() {
    let within = |code: &str| {
        status_of(&format!(
            "local t = ngx.thread.spawn(function()
               ngx.sleep(0.001)
               kong.cache:get('k', nil, function() {code} end)
             end)
             ngx.thread.wait(t)"
        ))
    };
    assert_eq!(within("ngx.exit(429)"), Some(429));
    assert_eq!(within("kong.response.exit(418)"), Some(418));
    // The error ends the light thread, and nobody else.
    assert_eq!(within("coroutine.wrap(function() error('x') end)()"), Some(200));
}

#[test]
fn a_callback_of_the_cache_that_is_ended_does_not_keep_others_waiting() {
    let killed = "collectgarbage('stop')
        local function endless() ngx.sleep(600) end
        local t = ngx.thread.spawn(function() kong.cache:get('k', nil, endless) end)
        ngx.thread.kill(t)
        ngx.sleep(0.001)
        local found = kong.cache:get('k', nil, function() return 201 end)
        kong.response.exit(found or 504)";
    assert_eq!(status_of(killed), Some(201));
}

#[test]
fn an_answer_in_a_filter_does_not_end_it() {
    let plugins = Plugins::new();
    let plugin = plugins.plugin(
        "function P:header_filter(conf)
           kong.response.exit(418)
           kong.response.set_header('X-After', 'yes')
         end",
        json!({}),
    );
    let ex = exchange("/", &[], "");
    header_filter(&plugin, &ex).unwrap();
    assert_eq!(ex.response.status(), 418);
    assert_eq!(text(&ex.response.headers(), "x-after"), "yes");
}

#[test]
fn errors_name_the_line() {
    let plugins = Plugins::new();
    let plugin = plugins.plugin("function P:access(conf)\n  local x = nil + 1\nend", json!({}));
    let Err(Stop::Fault(fault)) = on_a_worker(access(&plugin, &exchange("/", &[], ""))) else {
        panic!("no fault");
    };
    assert!(fault.to_string().contains("handler.lua:3: attempt to perform arithmetic"), "{fault}");
}

#[test]
fn each_exchange_has_its_own_context() {
    let plugins = Plugins::new();
    let functions = "function P:access(conf)
           local n = kong.request.get_header('X-N')
           kong.ctx.shared.n, kong.ctx.plugin.n, ngx.ctx.n = n, n .. conf.name, n
           ngx.sleep(0.001 * (tonumber(n) % 7))
           assert(kong.ctx.shared.n == n and kong.ctx.plugin.n == n .. conf.name and ngx.ctx.n == n)
           assert(kong.request.get_header('X-N') == n)
           kong.response.set_header('X-N', n)
         end";
    let one = Rc::new(plugins.plugin(functions, json!({"name": "a"})));
    let two = Rc::new(plugins.plugin(functions, json!({"name": "b"})));
    let done = Rc::new(RefCell::new(0));
    on_a_worker(async {
        let mut tasks = Vec::new();
        for n in 0..200 {
            let (one, two, done) = (one.clone(), two.clone(), done.clone());
            tasks.push(tokio::task::spawn_local(async move {
                let ex = exchange("/", &[("x-n", &n.to_string())], "");
                access(&one, &ex).await.unwrap();
                access(&two, &ex).await.unwrap();
                assert_eq!(text(&ex.response.headers(), "x-n"), n.to_string());
                *done.borrow_mut() += 1;
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!(*done.borrow(), 200);
}

#[test]
fn the_request_is_seen_as_in_kong() {
    let headers = [("x-a", "1"), ("x-a", "2"), ("content-type", "application/json")];
    let ex = || exchange("/a/../b%20c?x=1&y&x=%32+z", &headers, r#"{"k":[1,null]}"#);
    for (code, expected) in [
        ("said(kong.request.get_method(), kong.request.get_scheme())", "POST http"),
        ("said(kong.request.get_host(), kong.request.get_port())", "gw.test 8000"),
        ("said(kong.request.get_path(), kong.request.get_raw_path())", "/b c /a/../b%20c"),
        ("said(kong.request.get_path_with_query())", "/a/../b%20c?x=1&y&x=%32+z"),
        ("said(kong.request.get_raw_query())", "x=1&y&x=%32+z"),
        ("said(kong.request.get_query_arg('x'), kong.request.get_query_arg('y'))", "1 true"),
        ("said(kong.request.get_query_arg('zz'))", "nil"),
        ("local q = kong.request.get_query() said(q.x[2], q.y)", "2 z true"),
        ("said(select(2, kong.request.get_query(2)))", "truncated"),
        ("said(kong.request.get_header('X-A'), kong.request.get_header('x_a'))", "1 1"),
        (
            "local h = kong.request.get_headers() said(h['X-A'][2], h.content_type)",
            "2 application/json",
        ),
        ("said(kong.request.get_raw_body())", r#"{"k":[1,null]}"#),
        (
            "local b, _, m = kong.request.get_body() said(b.k[1], b.k[2] == ngx.null, m)",
            "1 true application/json",
        ),
        (
            "said((select(2, kong.request.get_body('text/plain'))))",
            "unsupported content type 'text/plain'",
        ),
        (
            "said(kong.client.get_ip(), kong.client.get_consumer(), kong.router.get_route())",
            "127.0.0.1 nil nil",
        ),
        ("said(kong.request.get_http_version(), kong.version_num)", "1.1 3010000"),
    ] {
        assert_eq!(said(code, &ex()), expected, "{code}");
    }
}

#[test]
fn the_consumer_is_a_table_without_nulls() {
    let ex = exchange("/", &[], "");
    let id = Uuid::from_u128(7);
    let json = json!({"id": id, "username": "bob", "custom_id": null});
    let consumer = Consumer {
        id,
        username: Some("bob".to_owned()),
        custom_id: None,
        tags: None,
        groups: Vec::new(),
        json: Arc::new(json),
    };
    ex.authenticate(Some(Arc::new(consumer)), None);
    let code = "local c = kong.client.get_consumer() said(c.username, c.custom_id)";
    assert_eq!(said(code, &ex), "bob nil");
}

#[test]
fn the_upstream_request_can_be_changed() {
    let ex = exchange("/", &[("x-a", "1"), ("x-gone", "1")], "old");
    said(
        "local r = kong.service.request
         r.set_header('X-A', 7) r.add_header('X-A', true) r.clear_header('X-Gone')
         r.set_headers({ Host = 'up.test', ['X-List'] = { 'a', 'b' }, ['X-Empty'] = '' })
         r.set_path('/new path?') r.set_raw_query('a=b c') r.set_method('PUT') r.set_scheme('https')
         r.set_raw_body('new') kong.service.set_target('10.0.0.1', 81)",
        &ex,
    );
    let headers = ex.request.headers().clone();
    let all = |name: &str| {
        headers.get_all(name).iter().map(|v| v.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(all("x-a"), ["7", "true"]);
    assert_eq!(all("x-list"), ["a", "b"]);
    assert_eq!(all("x-empty"), [" "]);
    assert!(all("x-gone").is_empty());
    let call = &ex.service;
    assert_eq!(call.host_header().unwrap(), "10.0.0.1", "the last one counts");
    assert_eq!(call.path_and_query(), "/new%20path??a=b%20c");
    assert_eq!(call.method().unwrap(), http::Method::PUT);
    assert_eq!((call.scheme(), &*call.host(), call.port()), (Protocol::Https, "10.0.0.1", 81));
    assert_eq!(on_a_worker(ex.request.body(10)).unwrap(), "new");
}

#[test]
fn the_upstreams_certificate_is_judged_as_a_plugin_says() {
    let ex = exchange("/", &[], "");
    let code = "local s = kong.service said(s.set_tls_verify(false), s.set_tls_verify_depth(2))";
    assert_eq!(said(code, &ex), "true true");
    let asked = ex.service.tls.borrow();
    assert_eq!((asked.verify, asked.depth), (Some(false), Some(2)));
}

#[test]
fn wrong_calls_raise_texts_with_the_callers_line() {
    for (call, message) in [
        ("kong.request.get_header(1)", "header name must be a string"),
        ("kong.service.set_tls_verify('on')", "argument must be a boolean"),
        ("kong.service.set_tls_verify_depth('1')", "argument must be a number"),
        (
            "kong.service.set_tls_verify_depth(-1)",
            "depth expects a non-negative number but found -1",
        ),
        ("kong.request.get_headers(0)", "max_headers must be >= 1"),
        ("kong.request.get_query(1001)", "max_args must be <= 1000"),
        ("kong.response.exit('x')", "code must be a number"),
        ("kong.response.exit(99)", "code must be a number between 100 and 599"),
        ("kong.response.exit(200, true)", "body must be a nil, string or table"),
        ("kong.response.exit(200, '', 1)", "headers must be a nil or table"),
        ("kong.service.request.set_path('x')", "path must start with /"),
        ("kong.service.request.set_method('get')", "invalid method: get"),
        (
            "kong.response.set_header('x', {{}})",
            "invalid header value in array \"x\": got table, expected string",
        ),
        (
            "kong.response.get_status()",
            "function cannot be called in access phase (only in: response, header_filter, \
             body_filter, log, error, admin_api)",
        ),
    ] {
        let code = format!(
            "local ok, err = pcall(function()\n{call}\nend)
             said(type(err), err:match(':(%d+): '), err:match(':%d+: (.*)'))"
        );
        let told = said(&code, &exchange("/", &[], ""));
        let (kind, rest) = told.split_once(' ').unwrap();
        let (line, text) = rest.split_once(' ').unwrap();
        assert_eq!((kind, line, text), ("string", "10", message), "{call}");
    }
}

#[test]
fn waiting_is_refused_where_it_is_impossible() {
    let plugins = Plugins::new();
    let plugin = plugins.plugin(
        "function P:header_filter(conf)
           local ok, err = pcall(ngx.sleep, 0)
           kong.response.set_header('X-Sleep', tostring(err))
           ok, err = pcall(kong.request.get_raw_body)
           kong.response.set_header('X-Body', tostring(err))
         end",
        json!({}),
    );
    let ex = exchange("/", &[], "");
    header_filter(&plugin, &ex).unwrap();
    let headers = ex.response.headers();
    let sleep = text(&headers, "x-sleep");
    assert!(sleep.contains("API disabled in the context of header_filter_by_lua*"), "{sleep}");
    let body = text(&headers, "x-body");
    assert!(body.contains("function cannot be called in header_filter phase"), "{body}");
}

#[test]
fn a_body_filter_changes_pieces() {
    let plugins = Plugins::new();
    let plugin = plugins.plugin(
        "function P:body_filter(conf)
           if ngx.arg[2] then ngx.arg[1] = ngx.arg[1] .. '!'
           elseif ngx.arg[1] == 'drop' then ngx.arg[1] = nil
           else ngx.arg[1] = ngx.arg[1]:upper() end
         end",
        json!({}),
    );
    let ex = exchange("/", &[], "");
    ex.enter(Phase::BodyFilter);
    let filtered = |data: &'static str, last: bool| {
        let mut chunk = Chunk { data: Bytes::from_static(data.as_bytes()), last, broken: false };
        CURRENT.sync_scope(ex.clone(), || plugin.body_filter(&ex, &mut chunk)).unwrap();
        chunk.data
    };
    assert_eq!(filtered("a", false), "A");
    assert_eq!(filtered("drop", false), "");
    assert_eq!(filtered("", true), "!");
}

#[test]
fn the_config_is_one_table_with_its_sets() {
    let plugins = Plugins::new();
    plugins.write(
        "probe",
        "schema.lua",
        "return { name = 'probe', fields = { { config = { type = 'record', fields = {
            { methods = { type = 'set', elements = { type = 'string' } } },
            { none = { type = 'string' } },
            { list = { type = 'array', elements = { type = 'string' } } },
        } } } } }",
    );
    let config = json!({"methods": ["GET", "PUT"], "none": null, "list": ["GET"]});
    let plugin = plugins.plugin(
        "local seen
         function P:access(conf)
           seen = seen or conf
           assert(seen == conf and conf.none == nil)
           assert(conf.methods.GET and not conf.methods.POST and conf.methods[2] == 'PUT')
           assert(#conf.methods == 2 and conf.list.GET == nil)
           assert(#conf.__plugin_id == 36)
         end",
        config,
    );
    let ex = exchange("/", &[], "");
    on_a_worker(async {
        access(&plugin, &ex).await.unwrap();
        access(&plugin, &ex).await.unwrap();
    });
}

#[test]
fn a_handler_must_be_what_kong_demands() {
    let plugins = Plugins::new();
    let refused = |name: &str, functions: &str| plugins.handler(name, functions).err().unwrap();
    assert_eq!(
        refused("p1", "P.PRIORITY = 1.5"),
        "Plugin \"p1\" cannot be loaded because its PRIORITY field is not a valid integer number, \
         got: \"1.5\""
    );
    assert_eq!(
        refused("p2", "P.VERSION = '1.0.0.1'"),
        "Plugin \"p2\" cannot be loaded because its VERSION field does not follow the \"x.y.z\" \
         format, got: \"1.0.0.1\""
    );
    assert!(refused("p5", "P.VERSION = '1..0'").contains("got: \"1..0\""));
    assert!(refused("p6", "P.VERSION = 'soon'").contains("VERSION field"));
    for (given, taken) in [("0.1-t", "0.1"), ("1.0", "1.0"), ("v2", "2"), ("1.2.3-rc.1", "1.2.3")] {
        let name = format!("v{}", taken.replace('.', "-"));
        let handler = plugins.handler(&name, &format!("P.VERSION = '{given}'")).unwrap();
        assert_eq!(handler.version, taken);
    }
    assert!(
        refused("p3", "function P:response() end function P:header_filter() end")
            .contains("implements both `response`")
    );
    let missing = Handler::load(&plugins.vm, "ghost").err().unwrap();
    assert!(missing.starts_with("ghost plugin is enabled but not installed;\n"), "{missing}");
    let handler = plugins.handler("p4", "P.VERSION = '2.1.0-rc1'").unwrap();
    assert_eq!((handler.version.as_str(), handler.priority), ("2.1.0", 10));
}

#[test]
fn workers_and_configurations_are_announced() {
    let plugins = Plugins::new();
    let handler = plugins
        .handler(
            "probe",
            "local told = {}
             function P:init_worker() told[#told + 1] = 'init' end
             function P:configure(configs) told[#told + 1] = configs and #configs or 'none' end
             function P:access() kong.response.set_header('X-Told', table.concat(told, ' ')) end",
        )
        .unwrap();
    let plugin = handler.instance(&entity("probe", json!({}))).unwrap();
    handler.init_worker().unwrap();
    handler.configure(&[]).unwrap();
    handler.configure(&[&plugin]).unwrap();
    let ex = exchange("/", &[], "");
    on_a_worker(access(&plugin, &ex)).unwrap();
    assert_eq!(text(&ex.response.headers(), "x-told"), "init none 1");
}

#[test]
fn a_context_that_a_plugin_replaces_is_not_seen_by_other_requests() {
    let plugins = Plugins::new();
    let plugin = plugins.plugin(
        "local function told()
           local ctx = kong.ctx
           return tostring(ngx.ctx.of) .. tostring(ctx.shared.of) .. tostring(ctx.plugin.of)
         end
         function P:access(conf)
           local of = kong.request.get_query_arg('of')
           if of then
             ngx.ctx, kong.ctx.shared, kong.ctx.plugin = { of = of }, { of = of }, { of = of }
           end
           kong.response.set_header('X-Said', told())
         end",
        json!({}),
    );
    for (target, expected) in [("/?of=a", "aaa"), ("/", "nilnilnil"), ("/?of=b", "bbb")] {
        let ex = exchange(target, &[], "");
        on_a_worker(access(&plugin, &ex)).unwrap();
        assert_eq!(text(&ex.response.headers(), "x-said"), expected, "{target}");
    }
}

#[test]
fn as_many_headers_are_given_as_were_asked_for() {
    let count = |limit: usize, headers: &[(&str, &str)]| {
        let code = format!(
            "local headers, more = kong.request.get_headers({limit})
             local n = 0
             for _, v in pairs(headers) do n = n + (type(v) == 'table' and #v or 1) end
             said(n, more)"
        );
        said(&code, &exchange("/", headers, ""))
    };
    let one_each = [("a", "1"), ("b", "2"), ("c", "3")];
    assert_eq!(count(2, &one_each), "2 truncated");
    assert_eq!(count(4, &one_each), "4 nil");
    // Many of one name do not hide the others.
    let many = [("a", "1"), ("a", "2"), ("a", "3"), ("b", "4")];
    assert_eq!(count(3, &many), "3 truncated");
    assert_eq!(count(5, &many), "5 nil");
}

#[test]
fn a_plugin_that_sets_transfer_encoding_does_not_lose_the_answer() {
    let plugins = Plugins::new();
    let plugin = plugins.plugin(
        "function P:access(conf)
           kong.response.set_header('Transfer-Encoding', 'gzip')
           kong.response.add_header('Transfer-Encoding', 'gzip')
           kong.response.exit(200, 'body', { ['Transfer-Encoding'] = 'chunked', ['X-A'] = 'b' })
         end",
        json!({}),
    );
    let ex = exchange("/", &[], "");
    assert!(matches!(on_a_worker(access(&plugin, &ex)), Err(Stop::Exit)));
    let headers = ex.response.headers();
    assert_eq!(
        (text(&headers, "transfer-encoding"), text(&headers, "x-a")),
        ("".into(), "b".into())
    );
}
