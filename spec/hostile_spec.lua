-- Texts that are made to take long, or to be read as something else.

local MANY = 100000

describe("a text of nothing but marks", function()
  it("is no PEM", function()
    local der = require "silverback.openssl.der"
    assert.is_nil((der.from_pem(("-----BEGIN "):rep(MANY))))
    assert.is_nil((der.from_pem(("-----BEGIN A-----"):rep(MANY) .. "-----END B-----")))
    assert.equal("abc", (der.from_pem("-----BEGIN B-----\n-----BEGIN A-----\nYWJj\n-----END A-----",
      function(name) return name == "A" end)))
    local bytes, name, headers = der.from_pem(
      "x\n-----BEGIN K-----\r\nProc-Type: 4\r\nA: b\r\n\r\nYWJj\r\n-----END K-----\n")
    assert.same({ "abc", "K", "Proc-Type: 4\r\nA: b" }, { bytes, name, headers })
  end)

  it("is no XML", function()
    local lom = require "lxp.lom"
    assert.is_nil((lom.parse("<a>" .. ("&a"):rep(MANY))))
    assert.is_nil((lom.parse("<a " .. ("b"):rep(MANY) .. ">")))
    assert.is_nil((lom.parse(("<a "):rep(MANY))))
    local read = lom.parse [[<a b='1"' c = "&lt;&amp;"><d/>t &x; &#65;</a>]]
    assert.same({ "b", "c", b = '1"', c = "<&" }, read.attr)
    assert.same({ tag = "d", attr = {} }, read[1])
    assert.equal("t &x; A", read[2])
    assert.is_nil((lom.parse "<a b='1' b='2'/>"))
    assert.is_nil((lom.parse "<a b='1' c/>"))
  end)

  it("is no trace of AWS", function()
    local extract = require "kong.observability.tracing.propagation.extract"
    local blanks = (" "):rep(MANY)
    local function read(text)
      return extract("aws", { ["x-amzn-trace-id"] = text })
    end
    assert.is_nil(read(blanks .. "Root" .. blanks).trace_id)
    local found = read(blanks .. "Sampled =" .. blanks .. "1 ;x")
    assert.is_true(found.should_sample)
  end)
end)

describe("multipart", function()
  local Multipart = require "multipart"

  local function form(disposition, type, behind)
    return Multipart("--a\r\nContent-Disposition: form-data" .. disposition .. "\r\n\r\n1\r\n--a--"
      .. (behind or "\r\n"), type or "multipart/form-data; boundary=a")
  end

  it("takes the boundary with parameters behind it, quoted, in any case", function()
    for _, parameters in ipairs {
      "; boundary=a; charset=utf-8", "; Boundary=a", ';charset=x;BOUNDARY="a";x=y',
      "; x=\"; boundary=b\"; boundary=a", "; boundary='a'",
    } do
      local read = form('; name="n"', "multipart/form-data" .. parameters)
      assert.same({ n = "1" }, read:get_all())
    end
  end)

  it("takes the name from its own parameter", function()
    assert.same({ x = "1" }, form('; filename="a; name=\\"y\\""; name="x"'):get_all())
    assert.same({ ["a=b;c"] = "1" }, form('; NAME="a=b;c"'):get_all())
    assert.same({}, form('; filename="x; name=y"'):get_all())
  end)

  it("stops at the closing mark, and takes no long time", function()
    local behind = '\r\n--a\r\nContent-Disposition: form-data; name="late"\r\n\r\n2\r\n--a--'
    assert.same({ n = "1" }, form('; name="n"', nil, behind):get_all())
    local blanks = (" "):rep(MANY)
    assert.same({}, form(";" .. blanks .. ";" .. blanks):get_all())
    local headers = form('; name="n"\r\nX:' .. blanks .. "y"):get_with_headers_as_array("n")
    assert.equal("1", headers[1].value)
  end)
end)

describe("a queue", function()
  it("may have a percent sign in its name, and works again after an error", function()
    local Queue = require "kong.tools.queue"
    local conf = {
      name = "100%d of it", log_tag = "spec %s", max_batch_size = 1, max_coalescing_delay = 0,
      max_entries = 10, max_retry_time = 1, initial_retry_delay = 0.001, max_retry_delay = 1,
      concurrency_limit = 1,
    }
    for _ = 1, 2 do
      local seen
      assert.is_true(Queue.enqueue(conf, function(_, batch)
        seen = batch[1]
        return true
      end, nil, "x"))
      while not seen or Queue.exists(conf.name) do
        ngx.sleep(0.001)
      end
      assert.equal("x", seen)
    end
  end)
end)

describe("resty.template", function()
  it("keeps the contexts of renders apart that wait", function()
    local template = require("resty.template").new()
    template.wait = coroutine.yield
    local function start(name)
      return coroutine.wrap(function()
        return template.process("{% mine = name %}{{name}}{% wait() %}{{name}}{{mine}}", {
          name = name,
        })
      end)
    end
    local a, b = start "a", start "b"
    a()
    b()
    assert.equal("aaa", a())
    assert.equal("bbb", b())
    assert.equal("[x 1 2]", template.process(
      '{% layout = "[{*view*} {{size}} {{out}}]" %}x', { size = 1, out = 2 }))
    assert.equal("bbb/i", template.process("{-b-}bbb{-b-}{*blocks.b*}/{[part]}", { part = "i" }))
  end)
end)

describe("a sandbox", function()
  it("has globals of its own behind _G, too", function()
    local sandbox = require "silverback.sandbox"
    local one, other = sandbox.new {}, sandbox.new {}
    one._G.leaked = 1
    assert.equal(1, one.leaked)
    assert.is_nil(other.leaked)
    assert.is_nil(other._G.leaked)
  end)
end)

describe("what is random", function()
  it("is within its bounds, and as long as was asked for", function()
    local random = require "resty.random"
    assert.equal(20000, #random.token(20000))
    assert.matches("^[ab]+$", random.token(9, "ab"))
    for _ = 1, 100 do
      local number = random.number(3, 5)
      assert.is_true(number >= 3 and number <= 5 and number % 1 == 0)
    end
  end)
end)

describe("what looks like another thing", function()
  it("is refused", function()
    local head = require("silverback.http_request").head
    assert.equal("the request line has a line break",
      select(2, head({}, { path = "/ HTTP/1.1\r\nX: y", headers = {} })))
    assert.is_nil((require("resty.openssl.x509.csr").new "text"))
    local jwk = '{"kty":"RSA","n":"AQ","e":"AQ","d":"!geheim"}'
    local _, err = require("resty.openssl.pkey").new(jwk, { format = "JWK" })
    assert.is_nil(err:find("geheim", 1, true))
    local parser = require "kong.plugins.jwt.jwt_parser"
    local encode = ngx.encode_base64
    local token = encode '{"alg":"HS256"}' .. "." .. encode '"text"' .. ".eA"
    assert.same({ nil, "invalid claims" }, { parser:new(token) })
    local signing = require "silverback.openssl.signing"
    local der = signing.to_der "\1\2"
    assert.equal("\1\2", signing.from_der(der, 1))
    assert.is_nil(signing.from_der(der .. "x", 1))
    assert.is_nil((require("resty.openssl.x509").new():digest()))
  end)

  it("is read in linear time", function()
    local http = require "kong.tools.http"
    local blanks = (" "):rep(MANY)
    assert.same({ ["max-age"] = 5, public = true },
      http.parse_directive_header(blanks .. "max-age=5, public" .. blanks))
    assert.same({ a = "1", b = "2" }, require("resty.ada.search").decode "a=1&b=2&a=3")
  end)

  it("cannot end the process", function()
    assert.matches("os.exit is not available", assert.has_error(function() os.exit(0) end))
  end)
end)
