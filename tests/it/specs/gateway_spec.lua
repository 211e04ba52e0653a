-- Run by specs.rs: gateways of `spec.helpers`.

local helpers = require "spec.helpers"
local http_mock = require "spec.helpers.http_mock"

describe("a gateway", function()
  local bp, client, port
  local fixtures = { http_mock = {} }

  lazy_setup(function()
    port = helpers.get_available_port()
    bp = helpers.get_db_utils("off", {}, {})
    local route = bp.routes:insert { hosts = { "key.test" } }
    bp.plugins:insert { name = "key-auth", route = { id = route.id } }
    local consumer = bp.consumers:insert { username = "ann" }
    bp.keyauth_credentials:insert { key = "k1", consumer = { id = consumer.id } }
    bp.routes:insert { hosts = { "open.test" } }
    local service = bp.services:insert { name = "by-hand", port = port }
    bp.routes:insert { hosts = { "hand.test" }, service = service }
    fixtures.http_mock.by_hand = ([[
      server {
        server_name by_hand;
        listen %d;
        location = "/exact" {
          content_by_lua_block {
            local braces = "}" -- and a brace }
            ngx.status = 201
            ngx.print(braces .. ngx.req.get_method())
          }
        }
        location ~ "^/re/\d+$" { return 202 "by pattern"; }
        location ~/joined { return 203 "one word"; }
        location / { default_type 'application/json'; content_by_lua_block { ngx.say("{}") } }
      }]]):format(port)
    assert(helpers.start_kong({ nginx_conf = "spec/fixtures/custom_nginx.template",
      database = "off" }, nil, nil, fixtures))
  end)

  lazy_teardown(function() helpers.stop_kong() end)
  before_each(function() client = helpers.proxy_client() end)
  after_each(function() client:close() end)

  it("has what was inserted", function()
    local res = client:get("/request?apikey=k1&b=2", { headers = { host = "key.test" } })
    assert.response(res).has.status(200)
    assert.equal("ann", assert.request(res).has.header("x-consumer-username"))
    assert.equal("2", assert.request(res).has.queryparam("b"))
    assert.request(res).has.no.header("x-nothing")
  end)

  it("refuses who has no key, and says so in its log", function()
    local res = client:get("/request", { headers = { host = "key.test" } })
    local body = assert.res_status(401, res)
    assert.matches("No API key found", body, 1, true)
    assert.same("No API key found in request", assert.response(res).has.jsonbody().message)
    assert.logfile().has.no.line("[error]", true, 0)
  end)

  it("sends forms and JSON to the mock upstream", function()
    local headers = { host = "open.test", ["Content-Type"] = "application/x-www-form-urlencoded" }
    local res = client:post("/post", { headers = headers, body = { a = "1 2" } })
    assert.equal("1 2", assert.request(res).has.formparam("a"))
    headers["Content-Type"] = "application/json"
    res = client:post("/anything", { headers = headers, body = { list = { 1, 2 } } })
    assert.same({ list = { 1, 2 } }, assert.request(res).has.jsonbody().params)
    headers["Content-Type"] = "multipart/form-data"
    res = client:post("/anything", { headers = headers, body = { part = "one" } })
    assert.equal("one", assert.request(res).has.formparam("part"))
  end)

  it("has the paths of Kong's mock upstream", function()
    local function get(path, wanted)
      local res = client:get(path, { headers = { host = "open.test" } })
      assert.response(res).has.status(wanted or 200)
      return res
    end
    get("/status/418", 418)
    get("/nowhere", 404)
    get("/post", 405)
    assert.equal("b", get("/response-headers?a=b").headers.a)
    assert.equal("public, max-age=7", get("/cache/7").headers["cache-control"])
    get("/basic-auth/u/p", 401)
    assert.equal("0", get("/count_log/none"):read_body():match("%d+"))
  end)

  it("speaks TLS", function()
    local secure = helpers.proxy_ssl_client()
    local res = secure:get("/request", { headers = { host = "open.test" } })
    assert.response(res).has.status(200)
    secure:close()
  end)

  it("takes server blocks of nginx", function()
    local function get(path)
      return client:get(path, { headers = { host = "hand.test" } })
    end
    assert.equal("}GET", assert.res_status(201, get("/exact")))
    assert.equal("by pattern", assert.res_status(202, get("/re/12")))
    assert.equal("one word", assert.res_status(203, get("/is/joined")))
    local res = get("/other")
    assert.equal("{}", assert.res_status(200, res))
    assert.equal("application/json", assert.response(res).has.header("content-type"))
  end)

  it("takes what is inserted later with a reload", function()
    bp.routes:insert { hosts = { "later.test" } }
    assert(helpers.reload_kong())
    helpers.wait_until(function()
      local fresh = helpers.proxy_client()
      local res = fresh:get("/request", { headers = { host = "later.test" } })
      fresh:close()
      return res.status == 200
    end)
  end)

  it("keeps what is written to its Admin API, and loads it", function()
    local admin = helpers.admin_client()
    local json = { ["Content-Type"] = "application/json" }
    local function send(method, path, body, status)
      local text = assert.res_status(status, admin:send { method = method, path = path,
        body = body, headers = json })
      return text ~= "" and require("cjson").decode(text)
    end
    local function status(key)
      local fresh = helpers.proxy_client()
      local res = fresh:get("/request", { headers = { host = "written.test", apikey = key } })
      fresh:close()
      return res.status
    end
    local url = helpers.mock_upstream_url
    local service = send("POST", "/services", { name = "written", url = url }, 201)
    send("POST", "/services/written/routes", { name = "w", hosts = { "written.test" } }, 201)
    send("POST", "/routes/w/plugins", { name = "key-auth" }, 201)
    send("PUT", "/consumers/eve", {}, 200)
    local key = send("POST", "/consumers/eve/key-auth", { key = "k9" }, 201)
    assert.equal(200, status("k9"))
    send("PATCH", "/consumers/eve/key-auth/" .. key.id, { key = "k10" }, 200)
    assert.same({ 401, 200 }, { status("k9"), status("k10") })
    assert.equal(1, #send("GET", "/consumers/eve/key-auth", nil, 200).data)
    send("DELETE", "/consumers/eve", nil, 204)
    assert.equal(401, status("k10"))
    send("GET", "/consumers/eve", nil, 404)
    local refused = send("POST", "/routes/w/plugins", { name = "key-auth", config = 1 }, 400)
    assert.equal("schema violation", refused.name)
    send("DELETE", "/services/" .. service.id, nil, 204)
    assert.equal(404, status("k10"))
  end)

  it("has no Admin API beside that, which is no failure", function()
    local res = helpers.admin_client():get("/status")
    assert.is_nil(res)
  end)
end)

it("says why a gateway does not start", function()
  helpers.get_db_utils()
  local ok, said = helpers.start_kong { proxy_listen = "nonsense" }
  assert.is_false(ok)
  assert.matches("proxy_listen", said, 1, true)
end)

describe("spec.helpers.http_mock", function()
  it("keeps what it was asked", function()
    local says_hi = { access = "ngx.print('hi') ngx.exit(200)" }
    local mock, port = http_mock.new(nil, { ["/hi"] = says_hi })
    mock:start()
    local client = helpers.http_client("127.0.0.1", tonumber(port))
    assert.equal("hi", client:get("/hi/there"):read_body())
    client:close()
    assert.equal("/hi/there", mock:get_request().uri)
    client = helpers.http_client("127.0.0.1", tonumber(port))
    assert.equal("hi", client:get("/hi/again"):read_body())
    client:close()
    assert.equal("/hi/again", mock:get_request().uri)
    assert.equal(2, #mock.logs)
    mock:stop()
  end)
end)

it("has an upstream that is well until it is told otherwise", function()
  local port = helpers.get_available_port()
  local upstream = helpers.https_server.new(port)
  upstream:start()
  local client = helpers.http_client("127.0.0.1", port)
  assert.equal(200, client:get("/").status)
  client:get("/unhealthy"):read_body()
  assert.equal(500, client:get("/").status)
  client:close()
  local counts = upstream:shutdown()
  assert.same({ 1, 1, 2 }, { counts.ok, counts.fail, counts.total })
end)
