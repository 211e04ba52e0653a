local http = require "resty.http"

local function uri(path)
  return "http://127.0.0.1:" .. peers.http .. path
end

local function connected()
  local httpc = http.new()
  httpc:set_timeout(5000)
  assert(httpc:connect { scheme = "http", host = "127.0.0.1", port = peers.http })
  return httpc
end

describe("resty.http", function()
  it("asks for a URI", function()
    local httpc = http.new()
    local res = assert(httpc:request_uri(uri("/echo?a=1"), {
      method = "POST",
      body = "a body",
      headers = { ["X-Own"] = "1", ["X-Many"] = { "a", "b" } },
    }))
    assert.equal(200, res.status)
    assert.equal("OK", res.reason)
    assert.matches("^POST /echo%?a=1 HTTP/1.1\r\n", res.body)
    assert.matches("\r\nHost: 127.0.0.1:%d+\r\n", res.body)
    assert.matches("\r\nUser%-Agent: lua%-resty%-http/", res.body)
    assert.matches("\r\nContent%-Length: 6\r\n", res.body)
    assert.matches("X%-Many: a\r\nX%-Many: b\r\n", res.body)
    assert.matches("\r\n\r\na body$", res.body)
    res = assert(httpc:request_uri(uri("/echo?a=1"), { path = "/echo", query = { b = 2 } }))
    assert.matches("^GET /echo%?b=2 HTTP", res.body)
    res = assert(httpc:request_uri(uri("/echo"), { method = "PUT", body = { "x", "yz" } }))
    assert.matches("\r\n\r\nxyz$", res.body)
  end)

  it("reads each kind of body", function()
    local httpc = http.new()
    local function body(path, method)
      local res, err = httpc:request_uri(uri(path), { method = method })
      return res and res.body, err
    end
    assert.equal("abcdefg", (body("/chunked")))
    assert.equal("to the end", (body("/until-close")))
    assert.equal("", (body("/no-content")))
    assert.equal("", (body("/not-modified")))
    assert.equal("", (body("/head", "HEAD")))
    assert.equal("went on", (body("/continue")))
    assert.equal("ok", (body("/closing")))
    assert.same({ nil, "closed" }, { body("/broken") })
    assert.same({ nil, "closed" }, { body("/nothing") })
    local _, err = body("/garbage")
    assert.equal("couldn't parse HTTP version from response status line: no http at all", err)
  end)

  it("streams", function()
    local httpc = connected()
    local res = assert(httpc:request { path = "/chunked" })
    assert.is_true(res.has_body)
    local pieces = {}
    repeat
      local piece, err = res.body_reader(2)
      assert.is_nil(err)
      pieces[#pieces + 1] = piece
    until not piece
    assert.same({ "ab", "c", "de", "fg" }, pieces)
    res:read_trailers()
    assert.equal("1", res.headers["x-end"])
    assert.equal(1, httpc:set_keepalive())
    httpc = connected()
    assert.equal(1, httpc:get_reused_times())
    res = httpc:request { path = "/twelve-chars" }
    assert.equal("/twelve", res.body_reader(7))
    assert.equal("-chars", res.body_reader(7))
    assert.is_nil((res.body_reader(7)))
    res = httpc:request { path = "/closing" }
    assert.equal("ok", res:read_body())
    assert.same({ 2, "connection must be closed" }, { httpc:set_keepalive() })
    res = connected():request { path = "/no-content" }
    assert.is_false(res.has_body)
    assert.equal("", res:read_body())
  end)

  it("says of a body that has been read that there is nothing more to read", function()
    local dead = "can't resume a dead coroutine"
    for _, path in ipairs { "/chunked", "/twelve-chars", "/until-close" } do
      local res = assert(connected():request { path = path })
      assert.is_truthy(#res:read_body() > 0)
      assert.same({ nil, dead, "" }, { res:read_body() })
      assert.same({ nil, dead }, { res.body_reader() })
      res = assert(connected():request { path = path })
      repeat
        local piece, err = res.body_reader(65536)
        assert.is_nil(err)
      until not piece
      assert.same({ nil, dead }, { res.body_reader(65536) })
    end
    local res = assert(http.new():request_uri(uri("/twelve-chars")))
    assert.same({ nil, dead, "" }, { res:read_body() })
    res = assert(connected():request { path = "/no-content" })
    assert.same({ "", "" }, { (res:read_body()), (res:read_body()) })
  end)

  it("finds headers by any spelling", function()
    local res = assert(http.new():request_uri(uri("/headers")))
    assert.same({ "1", "2" }, res.headers["X-TWO"])
    assert.same({ "a=1", "b=2" }, res.headers.set_cookie)
    local names = {}
    for name in pairs(res.headers) do
      names[name] = true
    end
    assert.same({ ["X-Two"] = true, ["Set-Cookie"] = true, ["Content-Length"] = true }, names)
  end)

  it("sends bodies from a function", function()
    local parts = { "3\r\nabc\r\n", "0\r\n\r\n" }
    local httpc = connected()
    local res = assert(httpc:request {
      method = "POST", path = "/echo",
      headers = { ["Transfer-Encoding"] = "chunked" },
      body = function() return table.remove(parts, 1) end,
    })
    assert.matches("abc\r\n0\r\n\r\n$", res:read_body())
    local function refused(params)
      return select(2, httpc:request(params))
    end
    assert.equal("Request body is a function but a length or chunked encoding is not specified",
      refused { method = "POST", body = function() end })
    assert.equal("header X has a line break", refused { headers = { X = "a\r\nY: b" } })
  end)

  it("says that there is no body where one is usual", function()
    local res = assert(connected():request { method = "POST", path = "/echo" })
    assert.matches("[Cc]ontent%-[Ll]ength: 0\r\n", res:read_body())
  end)

  it("does not send a length beside chunks", function()
    local res = assert(connected():request {
      method = "POST", path = "/echo", body = "3\r\nabc\r\n0\r\n\r\n",
      headers = { ["Transfer-Encoding"] = "chunked", ["Content-Length"] = "3" },
    })
    local echoed = res:read_body()
    assert.is_nil(echoed:lower():find("content-length", 1, true))
    assert.matches("abc\r\n0\r\n\r\n$", echoed)
  end)

  it("counts the length of a number, and writes methods in capitals", function()
    local res = assert(connected():request { method = "post", path = "/echo", body = 1234 })
    local echoed = res:read_body()
    assert.matches("^POST /echo", echoed)
    assert.matches("\r\nContent%-Length: 4\r\n", echoed)
    assert.matches("\r\n\r\n1234$", echoed)
  end)

  it("refuses a chunk whose size is no number", function()
    for _, size in ipairs { "zz", "", "3zz", "-1" } do
      local read = require("silverback.http_body").chunked {
        receive = function() return size end,
      }
      assert.same({ nil, "unable to read chunksize" }, { read() })
    end
  end)

  it("connects to a port that is a text, and leaves the port of HTTPS out of Host", function()
    local httpc = http.new()
    assert(httpc:connect("127.0.0.1", tostring(peers.http)))
    local res = assert(httpc:request { path = "/echo" })
    assert.matches("\r\nHost: 127.0.0.1:" .. peers.http .. "\r\n", res:read_body())
    assert(httpc:connect("a.test", peers.tls))
    assert(httpc:ssl_handshake(nil, "a.test", true))
    httpc.port = 443
    res = assert(httpc:request { path = "/echo" })
    assert.matches("\r\nHost: a.test\r\n", res:read_body())
  end)

  it("reads what was sent in a row, one after the other", function()
    local all = assert(connected():request_pipeline {
      { path = "/one" }, { path = "/chunked" }, { path = "/two" } })
    assert.equal(200, all[1].status)
    assert.equal("/one", all[1]:read_body())
    assert.equal("abcdefg", all[2]:read_body())
    all[2]:read_trailers()
    assert.equal("/two", all[3]:read_body())
  end)

  it("speaks TLS, and checks who answers", function()
    local address = "https://a.test:" .. peers.tls
    local res = assert(http.new():request_uri(address .. "/safe"))
    assert.equal("/safe", res.body)
    local _, err = http.new():request_uri("https://127.0.0.1:" .. peers.own .. "/")
    assert.equal("18: self-signed certificate", err)
    local options = { ssl_verify = false }
    assert.equal("/x", http.new():request_uri("https://127.0.0.1:" .. peers.own .. "/x",
      options).body)
  end)

  it("keeps connections with other checks apart", function()
    local function reused(verify)
      local httpc = http.new()
      assert(httpc:connect { scheme = "https", host = "a.test", port = peers.tls,
        ssl_verify = verify })
      local times = httpc:get_reused_times()
      local res = httpc:request { path = "/" }
      res:read_body()
      httpc:set_keepalive()
      return times
    end
    reused(true)
    assert.equal(0, reused(false))
    assert.equal(1, reused(false))
  end)

  it("does not reuse a connection with another client certificate", function()
    local ssl = require "ngx.ssl"
    local function reused(cert, key)
      local httpc = http.new()
      local ok, err = httpc:connect {
        scheme = "https", host = "a.test", port = peers.tls, ssl_verify = false,
        ssl_client_cert = assert(ssl.parse_pem_cert(peers.clients[cert].cert)),
        ssl_client_priv_key = assert(ssl.parse_pem_priv_key(peers.clients[key or cert].key)),
      }
      if not ok then
        return err
      end
      local times = httpc:get_reused_times()
      httpc:request({ path = "/" }):read_body()
      httpc:set_keepalive()
      return times
    end
    assert.equal(0, reused(1))
    assert.equal(0, reused(2))
    assert.equal(1, reused(1))
    assert.matches("^could not set client certificate: ", reused(1, 2))
  end)

  it("goes through a proxy", function()
    local httpc = http.new()
    httpc:set_proxy_options { http_proxy = uri(""), no_proxy = "other.test,.direct.test" }
    local res = assert(httpc:request_uri("http://far.test:81/echo", {}))
    assert.equal(200, res.status)
    assert.equal("http://far.test:81/echo", res.body)
    local _, err = httpc:request_uri("http://a.direct.test/")
    assert.matches("DNS resolution failed", err)
    _, err = httpc:connect { scheme = "https", host = "x.test", port = 1,
      proxy_opts = { https_proxy = "socks://x" } }
    assert.matches("^uri parse error: bad uri", err)
  end)

  it("goes through a tunnel of a proxy, once for each who may", function()
    local function ask(authorization)
      local httpc = http.new()
      httpc:set_proxy_options { https_proxy = "http://127.0.0.1:" .. peers.proxy,
        https_proxy_authorization = authorization }
      local target = { scheme = "https", host = "a.test", port = peers.tls,
        ssl_server_name = "a.test" }
      local ok, err = httpc:connect(target)
      if not ok then
        return err
      end
      local times, res = httpc:get_reused_times(), httpc:request { path = "/echo" }
      local head = res:read_body()
      assert.is_nil(head:find("Proxy-Authorization", 1, true))
      assert.matches("Host: a%.test:", head)
      assert.equal(1, httpc:set_keepalive())
      return times
    end
    assert.equal("failed to establish a tunnel through a proxy: 407", ask())
    assert.equal(0, ask("let me"))
    assert.equal(1, ask("let me"))
    assert.equal("failed to establish a tunnel through a proxy: 407", ask("let us"))
    local httpc = http.new()
    httpc:set_proxy_options { https_proxy = "http://127.0.0.1:" .. peers.proxy }
    local res = assert(httpc:request_uri("https://a.test:" .. peers.tls .. "/safe",
      { headers = { ["Proxy-Authorization"] = "let me" } }))
    assert.equal("/safe", res.body)
  end)

  it("goes through a tunnel step by step", function()
    local httpc, proxy = http.new(), "http://127.0.0.1:" .. peers.proxy
    httpc:set_proxy_options { https_proxy = proxy, no_proxy = "a.test" }
    assert.equal(proxy, httpc:get_proxy_uri("https", "b.test"))
    assert.is_nil(httpc:get_proxy_uri("https", "a.test"))
    assert.is_nil(httpc:get_proxy_uri("http", "b.test"))
    local _, err = httpc:connect_proxy(proxy, "https", "a.test", peers.tls)
    assert.equal("failed to establish a tunnel through a proxy: 407", err)
    assert.equal(1, httpc:connect_proxy(proxy, "https", "a.test", peers.tls, "let me"))
    assert(httpc:ssl_handshake(nil, "a.test", true))
    assert.equal("/safe", httpc:request({ path = "/safe" }):read_body())
  end)

  it("reads URIs", function()
    local httpc = http.new()
    assert.same({ "http", "a.test", 80, "/", "" }, httpc:parse_uri("http://a.test"))
    assert.same({ "https", "[::1]", 1, "/p?q=1", "q=1" },
      httpc:parse_uri("https://[::1]:1/p?q=1"))
    assert.same({ "http", "a", 80, "/", "q" }, httpc:parse_uri("http://a?q", false))
    assert.same({ nil, "bad uri: x" }, { httpc:parse_uri("x") })
  end)

  it("tells what sockets tell", function()
    local _, err = http.new():request_uri("http://127.0.0.1:1/")
    assert.equal("connection refused", err)
    _, err = http.new():connect { host = "x", port = 1 }
    assert.equal("'scheme' is required when providing a port", err)
    local httpc = http.new()
    assert.equal(1, httpc:connect("127.0.0.1", peers.http))
    assert.equal("/old", httpc:request({ path = "/old" }):read_body())
  end)
end)
