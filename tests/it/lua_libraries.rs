//! Lua libraries that look into a request and answer it.

use super::http::Upstream;
use super::lua::{install, with_plugins};
use super::stream_ends::soon;

const HANDLER: &str = r#"local P = { PRIORITY = 10, VERSION = "1.0.0" }
local function pieces()
  local form, steps = assert(require("resty.upload"):new(5)), {}
  repeat
    local kind, value, err = form:read()
    steps[#steps + 1] = { kind or err, type(value) == "table" and value[1] or value }
  until not kind or kind == "eof"
  return steps
end
function P:access()
  if kong.request.get_method() == "POST" then
    return kong.response.exit(200, pieces())
  end
  local cookies = require("resty.cookie"):new()
  cookies:set { key = "n", value = "v", path = "/", httponly = true, samesite = "Lax" }
  cookies:set { key = "m", value = "w" }
  cookies:set { key = "m", value = "w" }
  kong.response.exit(200, { cookies:get("a"), cookies:get("c"), cookies:get_cookie_size() })
end
return P
"#;

#[tokio::test]
async fn cookies_and_uploads_are_read_and_cookies_set() {
    let folder = tempfile::tempdir().unwrap();
    install(folder.path(), "libraries", HANDLER);
    let upstream = Upstream::replying(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let gateway = with_plugins(folder.path(), "bundled,libraries").start(&format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://{}\n  routes:\n  \
         - paths: [/a]\n    plugins:\n    - name: libraries\n",
        upstream.address
    ));
    let answer = gateway.send("GET", "/a", &[("cookie", "a=1; b=2;c=3")], b"").await;
    assert_eq!(answer.json(), serde_json::json!(["1", "3", 12]));
    let cookies = answer.headers.iter().filter(|(name, _)| name == "set-cookie");
    let cookies: Vec<_> = cookies.map(|(_, value)| value.as_str()).collect();
    assert_eq!(cookies, ["n=v; Path=/; HttpOnly; SameSite=Lax", "m=w"]);

    let body = b"preamble\r\n--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1234567\r\n\
        --x--\r\n";
    let kind = [("content-type", "multipart/form-data; boundary=x")];
    let steps = gateway.send("POST", "/a", &kind, body).await.json();
    let expected = serde_json::json!([
        ["header", "Content-Disposition"],
        ["body", "12345"],
        ["body", "67"],
        ["part_end"],
        ["eof"]
    ]);
    assert_eq!(steps, expected);
}

const LIMITS: &str = r#"local P = { PRIORITY = 10, VERSION = "1.0.0" }
local limits
function P:init_worker()
  local conn, count = require "resty.limit.conn", require "resty.limit.count"
  limits = { assert(conn.new("kong", 1, 0, 0.1)), assert(count.new("kong", 3, 3600)) }
end
function P:access()
  local keys, states = { "limits conn", "limits count" }, {}
  local delay, err = require("resty.limit.traffic").combine(limits, keys, states)
  if not delay then
    return kong.response.exit(429, err)
  end
  kong.ctx.plugin.counted = limits[1]:is_committed()
  require("resty.kong.grpc").set_authority("authority.test")
  local seen = require("resty.kong.var").get("upstream_host")
  kong.response.set_header("x-seen", table.concat({ delay, states[1], states[2], seen }, " "))
end
function P:log()
  if kong.ctx.plugin.counted then
    limits[1]:leaving("limits conn", 0.1)
    ngx.shared.kong:incr("limits left", 1, 0)
  end
end
return P
"#;

#[tokio::test]
async fn limits_count_requests_that_are_there_and_those_of_a_window() {
    let folder = tempfile::tempdir().unwrap();
    install(folder.path(), "limits", LIMITS);
    let probe = "local P = { PRIORITY = 1, VERSION = '1' }
        function P:access() kong.response.exit(200, { ngx.shared.kong:get('limits left') }) end
        return P";
    install(folder.path(), "probe", probe);
    let upstream = Upstream::replying(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let gateway = with_plugins(folder.path(), "bundled,limits,probe").start(&format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://{}\n  routes:\n  \
         - paths: [/a]\n    plugins:\n    - name: limits\n  \
         - paths: [/left]\n    plugins:\n    - name: probe\n",
        upstream.address
    ));
    for left in [2, 1, 0] {
        let answer = gateway.get("/a").await;
        assert_eq!(answer.header("x-seen"), Some(&*format!("0 1 {left} authority.test")));
        soon("the request has left", async {
            while gateway.get("/left").await.json() != serde_json::json!([3 - left]) {}
        })
        .await;
    }
    let refused = gateway.get("/a").await;
    assert_eq!((refused.status(), refused.text()), (429, "rejected".to_owned()));
}
