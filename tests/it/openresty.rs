//! What OpenResty's functions say and do, where plugins can tell the difference.

use super::gateway::{Builder, TestGateway};
use super::http::{Message, Upstream};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-own: yes\r\n\r\nok";

/// A gateway whose pre-function runs these pieces of code, each in its phase.
fn gateway(upstream: &Upstream, phases: &[(&str, &str)]) -> TestGateway {
    let phases: String = phases
        .iter()
        .map(|(phase, code)| {
            let code = code.trim().replace('\n', "\n        ");
            format!("    {phase}:\n    - |\n        {code}\n")
        })
        .collect();
    let config = format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://{}\n  routes:\n  \
         - name: r\n    paths: [/a]\n    strip_path: false\nplugins:\n- name: pre-function\n  \
         config:\n{phases}",
        upstream.address
    );
    Builder::default().set("untrusted_lua", "on").start(&config)
}

/// What code in `access` prints.
async fn said(code: &str) -> String {
    let upstream = Upstream::replying(OK).await;
    gateway(&upstream, &[("access", code)]).get("/a?x=1").await.text()
}

#[tokio::test]
async fn a_function_without_a_result_gives_nil() {
    let code = "ngx.say(tostring(kong.client.get_credential()))\n\
        ngx.say(tostring(ngx.req.get_body_data()))\nngx.say(tostring(ngx.var.nobody_knows))";
    assert_eq!(said(code).await, "nil\nnil\nnil\n");
}

#[tokio::test]
async fn values_of_a_wrong_type_are_named_as_lua_names_them() {
    let code = "ngx.say(select(2, pcall(kong.service.request.set_header, 7, 'x')))";
    let told = said(code).await;
    assert!(told.ends_with("invalid header name \"7\": got number, expected string\n"), "{told}");
}

#[tokio::test]
async fn escapes_are_nginx_own() {
    let code = "ngx.say(ngx.escape_uri(\"-_.!~*'() /\"))\n\
        ngx.say(ngx.escape_uri('http://a/?b=[c] \"', 0))\n\
        ngx.say(select(2, pcall(ngx.escape_uri, 'a', 9)))";
    let told = said(code).await;
    let mut lines = told.lines();
    assert_eq!(lines.next(), Some("-_.!~*'()%20%2F"));
    assert_eq!(lines.next(), Some("http://a/%3Fb=[c]%20\""));
    assert!(lines.next().unwrap().ends_with("\"type\" 9 out of range"), "{told}");
}

#[tokio::test]
async fn printing_sends_the_head_and_ends_with_eof() {
    let code = "local _, nothing = ngx.flush()\nngx.print({1, nil, true, {'a', 2.5}})\n\
        local ok, told = pcall(kong.response.set_header, 'x', 'y')\nngx.header['x-late'] = '1'\n\
        ngx.say(ngx.headers_sent, nothing, ok, string.sub(told, -33))\n\
        ngx.say(select(2, pcall(ngx.print, {a = 1})))\nngx.eof()\n\
        kong.ctx.shared.more = select(2, ngx.say('more'))";
    let upstream = Upstream::replying(OK).await;
    let response = gateway(&upstream, &[("access", code)]).get("/a").await;
    let text = response.text();
    let expected = "1niltruea2.5truenothing to flushfalseheaders have already been sent\n";
    assert!(text.starts_with(expected), "{text}");
    assert!(text.contains("bad argument #1 to 'print' (non-array table found)"), "{text}");
    assert!(!text.contains("more"), "{text}");
    assert_eq!(response.header("x-late"), None);
}

#[tokio::test]
async fn functions_name_the_phase_that_they_are_not_for() {
    let upstream = Upstream::replying(OK).await;
    let code = "local _, told = pcall(ngx.say, 'x')\nkong.response.set_header('x-told', told)";
    let response = gateway(&upstream, &[("header_filter", code)]).get("/a").await;
    let told = response.header("x-told").unwrap_or_default();
    assert!(told.ends_with("API disabled in the context of header_filter_by_lua*"), "{told}");
}

#[tokio::test]
async fn a_line_break_in_a_header_is_escaped() {
    let upstream = Upstream::replying(OK).await;
    let code = "ngx.header['x-a'] = 'b\\r\\nc: d'\nngx.header.content_type = { 'a/b', 'c/d' }\n\
        kong.service.request.set_header('x-e', 'f\\ng')\nngx.req.set_header('x-empty', '')\n\
        ngx.header.x_dashed = 1";
    let response = gateway(&upstream, &[("access", code)]).get("/a").await;
    assert_eq!(response.header("x-a"), Some("b%0D%0Ac: d"));
    assert_eq!(response.header("x-dashed"), Some("1"));
    let seen: Vec<Message> = upstream.seen();
    assert_eq!(seen[0].header("x-e"), Some("f%0Ag"));
    assert_eq!(seen[0].header("x-empty"), None);
}

#[tokio::test]
async fn arguments_that_rewrite_sets_reach_access_and_the_upstream() {
    let upstream = Upstream::replying(OK).await;
    let phases = [
        ("rewrite", "ngx.req.set_uri_args({ b = 'c d' })\nngx.req.set_uri('/other')"),
        (
            "access",
            "kong.service.request.set_header('x-seen', ngx.var.uri .. ' ' .. ngx.var.arg_b)",
        ),
    ];
    gateway(&upstream, &phases).get("/a?x=1").await;
    let seen = upstream.seen();
    // Kong has a variable of its own for the path.
    assert_eq!(seen[0].target(), "/a?b=c%20d");
    assert_eq!(seen[0].header("x-seen"), Some("/other c%20d"));
}

#[tokio::test]
async fn a_host_that_ngx_req_sets_stays_here() {
    let upstream = Upstream::replying(OK).await;
    let code = "ngx.req.set_header('Host', 'else.test')\n\
        kong.service.request.set_header('x-host', ngx.req.get_headers().host)";
    gateway(&upstream, &[("access", code)]).get("/a").await;
    let seen = upstream.seen();
    assert_eq!(seen[0].header("host"), Some(upstream.address.to_string().as_str()));
    assert_eq!(seen[0].header("x-host"), Some("else.test"));
}

#[tokio::test]
async fn a_body_is_there_once_it_is_read_and_can_be_put_together() {
    let upstream = Upstream::replying(OK).await;
    let code = "local before = tostring(ngx.req.get_body_data())\n\
        local _, unread = pcall(ngx.req.init_body)\nngx.req.read_body()\n\
        local sent = ngx.req.get_body_data()\nngx.req.init_body()\n\
        ngx.req.append_body('ab')\nngx.req.append_body('c')\nngx.req.finish_body()\n\
        kong.service.request.set_header('x-before', before .. ' ' .. sent .. ' ' .. unread)";
    gateway(&upstream, &[("access", code)]).post("/a", "hello").await;
    let seen = upstream.seen();
    assert_eq!(String::from_utf8_lossy(&seen[0].body), "abc");
    let told = seen[0].header("x-before").unwrap_or_default();
    assert!(told.starts_with("nil hello "), "{told}");
    assert!(told.ends_with("request body not read yet"), "{told}");
}

#[tokio::test]
async fn variables_are_refused_in_nginx_words_and_kongs_own_take_effect() {
    let upstream = Upstream::replying(OK).await;
    let code = "local function try(name)\n\
        local _, told = pcall(function() ngx.var[name] = 'x' end)\nreturn told end\n\
        kong.ctx.shared.told = try('request_uri') .. '|' .. try('mine')\n\
        ngx.var.upstream_x_forwarded_for = '9.9.9.9'\nngx.var.upstream_x_forwarded_path = ''\n\
        kong.service.request.set_header('x-told', kong.ctx.shared.told)";
    gateway(&upstream, &[("access", code)]).get("/a").await;
    let seen = upstream.seen();
    let told = seen[0].header("x-told").unwrap_or_default();
    assert!(told.contains("variable \"request_uri\" not changeable|"), "{told}");
    assert!(told.contains("variable \"mine\" not found for writing; maybe it is"), "{told}");
    assert_eq!(seen[0].header("x-forwarded-for"), Some("9.9.9.9"));
    assert_eq!(seen[0].header("x-forwarded-path"), None);
}

#[tokio::test]
async fn the_services_own_headers_are_told_from_those_of_plugins() {
    let upstream = Upstream::replying(OK).await;
    let phases = [
        ("access", "ngx.header['X-Added'] = 'a'"),
        (
            "header_filter",
            "local of = kong.service.response.get_headers()\n\
             kong.response.set_header('x-said', tostring(of['X-Own']) .. tostring(of['X-Added'])\n\
             .. tostring(kong.service.response.get_header('X-Added')))",
        ),
    ];
    let response = gateway(&upstream, &phases).get("/a").await;
    assert_eq!(response.header("x-said"), Some("yesnilnil"));
}

#[tokio::test]
async fn json_is_as_deep_and_as_exact_as_in_kong() {
    let code = "local cjson, safe = require 'cjson', require 'cjson.safe'\n\
        local text = string.rep('[', 1000) .. string.rep(']', 1000)\n\
        ngx.say(#cjson.encode(cjson.decode(text)))\n\
        ngx.say(select(2, safe.decode('[' .. text .. ']')))\n\
        ngx.say(safe.encode(1 / 3), ' ', cjson.encode(1 / 3))\n\
        ngx.say(type(cjson.empty_array), cjson.encode({cjson.empty_array}))\n\
        ngx.say(getmetatable(require('kong.tools.cjson').decode_with_array_mt('[]'))\n\
        == cjson.array_mt)";
    let expected = "2000\nFound too many nested data structures (1001) at character 1001\n\
        0.3333333333333333 0.33333333333333\nuserdata[[]]\ntrue\n";
    assert_eq!(said(code).await, expected);
}

#[tokio::test]
async fn status_444_closes_the_connection_and_says_nothing() {
    let upstream = Upstream::replying(OK).await;
    let gateway = gateway(&upstream, &[("access", "if ngx.var.arg_x then ngx.exit(444) end")]);
    let request = b"GET /a?x=1 HTTP/1.1\r\nHost: a\r\n\r\n";
    assert!(super::http::raw(gateway.address, request).await.is_none());
    assert_eq!(gateway.get("/a").await.status(), 200);
}

#[tokio::test]
async fn os_exit_fails_the_request_and_not_the_gateway() {
    let upstream = Upstream::replying(OK).await;
    let gateway = gateway(&upstream, &[("access", "if ngx.var.arg_x then os.exit(0) end")]);
    assert_eq!(gateway.get("/a?x=1").await.status(), 500);
    assert_eq!(gateway.get("/a").await.status(), 200);
}
