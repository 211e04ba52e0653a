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
