//! OpenResty's functions in an exchange, and what a plugin must not see of another's.

use super::*;
use crate::pdk::client::Id;

#[test]
fn variables_are_those_of_the_request() {
    let ex = exchange("/a%20b/c?x=1&y", &[("X-One", "1"), ("Cookie", "k=v; l=w")], "body");
    let code = "local v = ngx.var
        said(v.request_uri, v.uri, v.args, v.is_args, v.arg_x, v.http_x_one, v.cookie_l,
          v.request_method, v.scheme, v.host, v.server_port, v.remote_addr, v.content_type)";
    let expected = "/a%20b/c?x=1&y /a b/c x=1&y ? 1 1 w POST http gw.test 8000 127.0.0.1 nil";
    assert_eq!(said(code, &ex), expected);
}

#[test]
fn sockets_are_for_phases_that_may_wait() {
    let plugins = Plugins::new();
    let plugin = plugins.plugin(
        "function P:header_filter(conf)
           local ok, err = pcall(ngx.socket.tcp)
           kong.response.set_header('X-Said', tostring(err))
         end",
        json!({}),
    );
    let ex = exchange("/", &[], "");
    header_filter(&plugin, &ex).unwrap();
    let said = text(&ex.response.headers(), "x-said");
    assert!(said.ends_with("API disabled in the context of header_filter_by_lua*"), "{said}");
    let vm = Vm::new(&Options { worker: Some(0), ..Options::default() }).unwrap();
    let told: String = vm.lua().load("return select(2, pcall(ngx.socket.udp))").eval().unwrap();
    assert!(told.ends_with("API disabled in the context of init_worker_by_lua*"), "{told}");
}

#[test]
fn the_body_of_a_request_is_a_socket() {
    let ex = exchange("/", &[], "one\ntwo");
    let code = "local sock = ngx.req.socket() said(sock:receive(), sock:receive('*a'))";
    assert_eq!(said(code, &ex), "one two");
    let code = "said(ngx.req.socket())";
    assert_eq!(said(code, &exchange("/", &[], "")), "nil no body");
    let code = "said(select(2, pcall(ngx.location.capture, '/')))";
    assert!(said(code, &ex).ends_with("there are no locations"));
}

#[test]
fn what_cannot_be_written_is_told() {
    let ex = exchange("/", &[], "");
    let code = "local ok, err = pcall(function() ngx.var.request_uri = '/x' end) said(ok, err)";
    assert!(said(code, &ex).ends_with("variable \"request_uri\" not changeable"));
}

#[test]
fn the_request_is_read_and_changed_through_ngx_req() {
    let ex = exchange("/?a=1&a=2", &[("X-Two", "2")], "k=v");
    let code = "ngx.req.read_body()
        local args = ngx.req.get_uri_args()
        ngx.req.set_header('X-New', { 'p', 'q' })
        ngx.req.clear_header('X-Two')
        ngx.req.set_method(ngx.HTTP_PUT)
        ngx.req.set_body_data('new')
        said(ngx.req.get_method(), ngx.req.http_version(), #args.a, ngx.req.get_body_data(),
          ngx.req.get_headers()['x-new'][2], ngx.req.get_post_args().new)";
    assert_eq!(said(code, &ex), "PUT 1.1 2 new q true");
    assert!(ex.request.header("x-two").is_none());
    assert_eq!(ex.request.whole_body().unwrap(), "new");
}

#[test]
fn response_headers_follow_lua_names() {
    let ex = exchange("/", &[], "");
    let code = "ngx.header.x_many = { 'a', 'b' } ngx.header['X-Gone'] = '1'
        ngx.header['X-Gone'] = nil ngx.status = 207
        said(ngx.header['X-Many'][2], ngx.header.x_gone, ngx.status, ngx.headers_sent)";
    assert_eq!(said(code, &ex), "b nil 207 false");
    assert_eq!(ex.response.status(), 207);
}

/// Two requests take turns in one VM; neither may see a bit of the other.
#[test]
fn interleaved_requests_keep_apart() {
    let plugins = Plugins::new();
    let plugin = plugins.plugin(
        "function P:access(conf)
           local me = kong.request.get_query_arg('n')
           ngx.ctx.me, kong.ctx.shared.me, kong.ctx.plugin.me = me, me, me
           ngx.status = 200 + tonumber(me)
           ngx.header['X-Me'] = me
           ngx.print(me)
           local thread = ngx.thread.spawn(function()
             ngx.sleep(0.001)
             ngx.ctx.thread = me .. ngx.var.arg_n
             ngx.print(me)
           end)
           for _ = 1, 5 do
             ngx.sleep(0.0005)
             assert(ngx.ctx.me == me and kong.ctx.shared.me == me and kong.ctx.plugin.me == me)
             assert(ngx.header['X-Me'] == me and ngx.var.arg_n == me)
             assert(ngx.status == 200 + tonumber(me))
           end
           ngx.thread.wait(thread)
           assert(ngx.ctx.thread == me .. me)
           ngx.exit(200)
         end",
        json!({}),
    );
    let exchanges: Vec<_> = (1..=20).map(|n| exchange(&format!("/?n={n}"), &[], "")).collect();
    let all = exchanges.iter().map(|ex| access(&plugin, ex));
    let outcomes = on_a_worker(futures_util::future::join_all(all));
    for (n, (outcome, ex)) in (1..).zip(outcomes.iter().zip(&exchanges)) {
        assert!(matches!(outcome, Err(Stop::Exit)), "{outcome:?}");
        assert_eq!(ex.response.body().unwrap(), format!("{n}{n}"));
        assert_eq!(ex.response.status().as_u16(), 200 + n);
    }
}

#[test]
fn what_is_printed_without_an_exit_is_the_answer() {
    let plugins = Plugins::new();
    let plugin = plugins
        .plugin("function P:access(conf) ngx.say('a', { 'b', { 1 } }, nil, true) end", json!({}));
    let ex = exchange("/", &[], "");
    assert!(matches!(on_a_worker(access(&plugin, &ex)), Err(Stop::Exit)));
    assert_eq!(ex.response.body().unwrap(), "ab1niltrue\n");
    assert!(ex.response.is_last_word.get());
}

#[test]
fn a_body_is_collected_until_its_last_piece() {
    let plugins = Plugins::new();
    let plugin = plugins.plugin(
        "function P:body_filter(conf)
           local body = kong.response.get_raw_body()
           if body then kong.response.set_raw_body('<' .. body .. '>') end
         end",
        json!({}),
    );
    let ex = exchange("/", &[], "");
    ex.enter(Phase::BodyFilter);
    let filter = |data: &'static str, last: bool| {
        let mut chunk = Chunk { data: Bytes::from_static(data.as_bytes()), last, broken: false };
        CURRENT.sync_scope(ex.clone(), || plugin.body_filter(&ex, &mut chunk)).unwrap();
        (String::from_utf8(chunk.data.to_vec()).unwrap(), chunk.last)
    };
    assert_eq!(filter("ab", false), (String::new(), false));
    assert_eq!(filter("cd", false), (String::new(), false));
    assert_eq!(filter("", true), ("<abcd>".to_owned(), true));
}

#[test]
fn a_credential_that_lua_names_is_given_back() {
    let ex = exchange("/", &[], "");
    let code = "kong.client.authenticate({ id = 'c' }, { id = 'k', own = 1 })
        said(kong.client.get_consumer().id, kong.client.get_credential().own)";
    assert_eq!(said(code, &ex), "c 1");
    let code = "said(pcall(kong.client.authenticate))";
    assert!(said(code, &ex).ends_with("either credential or consumer must be provided"));
}

#[test]
fn a_credential_that_is_a_text_counts_as_one() {
    let ex = exchange("/", &[], "");
    let code = "ngx.ctx.authenticated_credential = 'x' said(kong.client.get_credential())";
    assert_eq!(said(code, &ex), "x");
    assert!(ex.client.credential().is_some());
    let ex = exchange("/", &[], "");
    let code = format!("{code} ngx.ctx.authenticated_credential = nil");
    assert_eq!(said(&code, &ex), "x");
    assert!(ex.client.credential().is_none());
}

#[test]
fn clients_that_lua_names_by_a_text_are_not_all_the_same() {
    for (code, consumer, credential) in [
        ("{ id = 'c' }, { id = 'k' }", "c", "k"),
        ("nil, { id = 7 }", "", "7"),
        ("{ id = 'd', username = 'x' }, nil", "d", ""),
        ("{ username = 'x' }, { key = 'k' }", "", ""),
    ] {
        let ex = exchange("/", &[], "");
        said(&format!("kong.client.authenticate({code}) said()"), &ex);
        let text = |id: Option<Id>| id.map(|id| id.to_string()).unwrap_or_default();
        assert_eq!(text(ex.client.named().id()), consumer, "{code}");
        assert_eq!(text(ex.client.credential().and_then(|known| known.id)), credential, "{code}");
    }
}

#[test]
fn limits_of_the_upstream_call_are_checked_as_in_kong() {
    let ex = exchange("/", &[], "");
    let code = "kong.service.set_retries(2) kong.service.set_timeouts(1, 2, 3)
        said(select(2, pcall(kong.service.set_timeouts, 0, 2, 3)))";
    let told = said(code, &ex);
    assert!(told.ends_with("connect_timeout must be an integer between 1 and 2147483646: given 0"));
    let limits = ex.service.limits.get();
    assert_eq!((limits.retries, limits.connect_ms, limits.write_ms, limits.read_ms), (2, 1, 2, 3));
    let code = "said(kong.service.set_upstream('none'))";
    assert_eq!(said(code, &ex), "nil could not find an Upstream named 'none'");
}

#[test]
fn a_form_of_parts_is_read() {
    let body = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n\
                --b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n2\r\n--b--\r\n";
    let ex = exchange("/", &[("content-type", "multipart/form-data; boundary=b")], body);
    let code = "local t, err, mime = kong.request.get_body() said(t.a[1], t.a[2], err, mime)";
    assert_eq!(said(code, &ex), "1 2 nil multipart/form-data");
}

#[test]
fn ngx_exit_in_a_header_filter_takes_the_place_of_the_upstreams_answer() {
    let answered = |code: &str| {
        let plugins = Plugins::new();
        let code = format!("function P:header_filter(conf) {code} ngx.ctx.went_on = true end");
        let plugin = plugins.plugin(&code, json!({}));
        let ex = exchange("/", &[], "");
        header_filter(&plugin, &ex).unwrap();
        let body = ex.response.body().map(|body| String::from_utf8(body.to_vec()).unwrap());
        (ex.response.exited(), ex.response.status().as_u16(), body.unwrap_or_default())
    };
    let (exited, status, page) = answered("ngx.exit(403)");
    assert!(exited && status == 403 && page.contains("403 Forbidden"), "{page}");
    assert_eq!(answered("ngx.exit(403) ngx.exit(200)"), (true, 200, String::new()));
    assert_eq!(answered("ngx.exit(444)"), (true, 444, String::new()));
    assert_eq!(answered("ngx.exit(ngx.OK)"), (false, 200, String::new()));
}

#[test]
fn a_host_that_a_plugin_sets_is_the_host_from_then_on() {
    let ex = exchange("/", &[], "");
    let code = "local function host()
          return tostring(ngx.var.host) .. '/' .. tostring(kong.request.get_host())
        end
        local before = host()
        ngx.req.set_header('Host', { 'x', 'A.b:80' })
        local set = host() .. '/' .. tostring(ngx.var.http_host)
        ngx.req.clear_header('Host')
        said(before, set, kong.request.get_host() == '')";
    assert_eq!(said(code, &ex), "gw.test/gw.test a.b/a.b/A.b:80 true");
    let told = ex.service.forwarded().get("x-forwarded-host").cloned();
    assert_eq!(told.unwrap(), "gw.test");
}

#[test]
fn the_upstreams_uri_is_read_as_it_was_written() {
    let ex = exchange("/", &[], "");
    ex.service.set_path("/first".to_owned());
    let code = "ngx.var.upstream_uri = '/other?x=1' local written = ngx.var.upstream_uri
        kong.service.request.set_path('/third') said(written, ngx.var.upstream_uri == written)";
    assert_eq!(said(code, &ex), "/other?x=1 false");
    assert_eq!(ex.service.query().as_deref(), Some("x=1"));
}

#[test]
fn filters_find_what_nginx_says_of_the_connection() {
    let plugins = Plugins::new();
    let code = "local function seen(self)
          local headers = ngx.resp.get_headers()
          self.words = table.concat({ headers.connection, ngx.var.sent_http_connection,
            kong.response.get_header('Connection'), kong.response.get_headers().connection }, ' ')
          kong.ctx.shared.seen = self.words
        end
        P.header_filter, P.log = seen, seen";
    let plugin = plugins.plugin(code, json!({}));
    let seen = |ex: &Rc<Exchange>| ex.shared.value("seen").unwrap();
    let ex = exchange("/", &[], "");
    header_filter(&plugin, &ex).unwrap();
    assert_eq!(seen(&ex), "keep-alive keep-alive keep-alive keep-alive");
    ex.enter(Phase::Log);
    CURRENT.sync_scope(ex.clone(), || plugin.log(&ex));
    assert_eq!(seen(&ex), "close close close close");
    let ex = exchange("/", &[("Connection", "te, Close")], "");
    header_filter(&plugin, &ex).unwrap();
    assert_eq!(seen(&ex), "close close close close");
}

#[test]
fn what_is_put_in_place_of_a_piece_is_looked_at() {
    let plugins = Plugins::new();
    let code = "function P:body_filter(conf)
          local told = {}
          local function try(key, value)
            local ok, err = pcall(function() ngx.arg[key] = value end)
            told[#told + 1] = ok and tostring(ngx.arg[key]) or err:match('%d+: (.*)')
          end
          try(3, 1) try('x', 1) try(1, true) try(1, print) try(1, { x = 'a' })
          try(1, nil) try(2, 'x') try(2, nil) try(1, 12) try(1, { 'a', { 'b', 2 } })
          told[#told + 1] = tostring(ngx.arg[3])
          kong.ctx.shared.told = table.concat(told, '; ')
        end";
    let plugin = plugins.plugin(code, json!({}));
    let ex = exchange("/", &[], "");
    ex.enter(Phase::BodyFilter);
    let mut chunk = Chunk { data: Bytes::from_static(b"piece"), last: false, broken: false };
    CURRENT.sync_scope(ex.clone(), || plugin.body_filter(&ex, &mut chunk)).unwrap();
    assert_eq!(
        ex.shared.value("told").unwrap(),
        "bad index: 3; bad argument #2 to '__newindex' (number expected, got string); \
         bad chunk data type: boolean; bad chunk data type: function; \
         bad argument #3 to '__newindex' (non-array table found); ; true; false; 12; ab2; nil"
    );
    assert_eq!(chunk.data, "ab2");
}

#[test]
fn filters_have_no_light_threads_and_wait_for_no_semaphore() {
    let plugins = Plugins::new();
    let code = "function P:header_filter(conf)
          local semaphore = require('ngx.semaphore').new(1)
          local ok, err = semaphore:wait(0)
          local _, told = pcall(ngx.thread.spawn, function() end)
          kong.ctx.shared.told = tostring(ok) .. ' ' .. err .. ', ' .. told
        end";
    let plugin = plugins.plugin(code, json!({}));
    let ex = exchange("/", &[], "");
    header_filter(&plugin, &ex).unwrap();
    let told = ex.shared.value("told").unwrap().as_str().unwrap().to_owned();
    let disabled = "API disabled in the context of header_filter_by_lua*";
    assert!(told.starts_with(&format!("nil {disabled}")) && told.ends_with(disabled), "{told}");
}

#[test]
fn references_of_a_config_are_where_kong_vault_looks_for_them() {
    let plugins = Plugins::new();
    let code = "function P:access(conf)
          kong.ctx.shared.refs = conf.redis['$refs'].password .. ' ' .. conf['$refs'].list[2]
        end";
    let config = json!({ "redis": { "password": "p" }, "list": ["a", "b"] });
    let mut entity = entity("probe", config);
    let refer = |record: &[&str], field: &str, item: Option<u64>| crate::entity::Referenced {
        record: record.iter().map(|name| Value::from(*name)).collect(),
        field: field.to_owned(),
        item: item.map(Value::from),
        text: format!("{{vault://env/{field}}}"),
    };
    entity.references = vec![refer(&["redis"], "password", None), refer(&[], "list", Some(2))];
    let plugin = plugins.handler("probe", code).unwrap().instance(&entity).unwrap();
    let ex = exchange("/", &[], "");
    on_a_worker(access(&plugin, &ex)).unwrap();
    assert_eq!(ex.shared.value("refs").unwrap(), "{vault://env/password} {vault://env/list}");
}

#[test]
fn a_timer_without_a_delay_has_run_when_the_next_request_comes() {
    let plugins = Plugins::new();
    let code = "function P:access(conf)
          kong.ctx.shared.seen = ngx.shared.kong:get('n') or 0
          ngx.timer.at(0, function() ngx.shared.kong:incr('n', 1, 0) end)
        end";
    let plugin = plugins.plugin(code, json!({}));
    on_a_worker(async {
        for n in 0..20 {
            let ex = exchange("/", &[], "");
            access(&plugin, &ex).await.unwrap();
            assert_eq!(ex.shared.value("seen").unwrap(), n);
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn odd_names_of_headers_are_escaped_and_not_refused() {
    let ex = exchange("/", &[], "");
    let code = "kong.service.request.set_header('X A', 'v')
        kong.service.request.set_header('X:\\255', 'w')
        kong.response.set_header('Y A', 'v') said('set')";
    assert_eq!(said(code, &ex), "set");
    assert_eq!(ex.request.header("x%20a").unwrap(), "v");
    assert_eq!(ex.request.header("x%3a%ff").unwrap(), "w");
    assert_eq!(ex.response.headers().get("y%20a").unwrap(), "v");
}

#[test]
fn a_header_that_came_with_an_underscore_is_found_by_a_dash() {
    let ex = exchange("/", &[("x_under", "u"), ("a-b_c", "v")], "");
    let code = "local get = kong.request.get_header
        said(get('X-Under'), get('a-b-c'), get('a_b_c'), get('a-bc'))";
    assert_eq!(said(code, &ex), "u v v nil");
}

#[test]
fn a_path_that_a_plugin_sets_keeps_its_query_and_its_bytes() {
    let ex = exchange("/", &[], "");
    assert_eq!(said("kong.service.request.set_path('/x y?z=1') said(1)", &ex), "1");
    assert_eq!(ex.service.path(), "/x%20y?z=1");
    assert_eq!(said("kong.service.request.set_path('/\\255#') said(1)", &ex), "1");
    assert_eq!(ex.service.path(), "/%FF%23");
}

#[test]
fn statuses_of_a_closed_connection_close_it() {
    for (call, hangs_up) in [
        ("kong.response.exit(408, 'x')", true),
        ("kong.response.error(499)", true),
        ("kong.response.exit(444)", true),
        ("ngx.exit(408)", true),
        ("kong.response.exit(418)", false),
    ] {
        let plugins = Plugins::new();
        let plugin = plugins.plugin(&format!("function P:access() {call} end"), json!({}));
        let ex = exchange("/", &[], "");
        assert!(on_a_worker(access(&plugin, &ex)).is_err());
        assert_eq!(ex.response.hangs_up.get(), hangs_up, "{call}");
    }
}
