-- What libraries say of values at the edges, as the originals say it.

local function fails(...)
  return assert.has_error(...)
end

describe("inspect", function()
  local inspect = require "inspect"

  it("writes words of Lua in brackets and control characters as they are written", function()
    assert.equal('{\n  ["end"] = 1\n}', inspect { ["end"] = 1 })
    assert.equal('"\\27[\\0271\\a"', inspect "\27[\0271\a")
  end)

  it("numbers a table that comes again", function()
    local shared = { 1 }
    assert.equal("{ <1>{ 1 }, <table 1> }", inspect { shared, shared })
    local loop = {}
    loop.self = loop
    assert.equal("<1>{\n  self = <table 1>\n}", inspect(loop))
  end)

  it("asks a function what becomes of each part", function()
    local value = setmetatable({ a = 1, b = { c = "x" } }, { d = 1 })
    local function without(wanted)
      return function(part, path)
        if path[#path] ~= wanted then
          return part
        end
      end
    end
    local text = inspect(value, { process = without(inspect.METATABLE), newline = "", indent = "" })
    assert.equal('{a = 1,b = {c = "x"}}', text)
    text = inspect(value, { process = without "b", newline = "", indent = "" })
    assert.equal("{a = 1,<metatable> = {d = 1}}", text)
  end)
end)

describe("texts of Kong", function()
  local tools, ip = require "kong.tools.string", require "kong.tools.ip"

  it("take numbers for texts", function()
    assert.same({ "5" }, (tools.splitn(5, ",")))
    assert.equal(1.5, tools.replace_dashes(1.5))
    assert.equal("ipv4", ip.hostname_type(1.5))
  end)

  it("find no address in what is no text", function()
    local checks = { "is_valid_ip", "is_valid_ipv6", "is_valid_cidr", "is_valid_ip_or_cidr" }
    for _, check in ipairs(checks) do
      assert.is_false(ip[check](nil))
      assert.is_false(ip[check](true))
    end
  end)

  it("escape a path and leave one without dots alone", function()
    local uri = require "kong.tools.uri"
    assert.equal("/a%20b/%C3%A9%2f", uri.escape "/a b/é%2f")
    assert.equal("/a b", uri.normalize "/a b")
  end)

  it("digest nothing as the empty text", function()
    local sha256 = require "kong.tools.sha256"
    assert.equal(sha256.sha256_hex "", sha256.sha256_hex(nil))
  end)
end)

describe("libraries of OpenResty", function()
  it("say what is no text", function()
    local to_hex = require("resty.string").to_hex
    local told = fails(function() to_hex() end)
    assert.matches("attempt to get length of local 's' %(a nil value%)", told)
    local sha = require("resty.sha256"):new()
    assert.matches("a number value", fails(function() sha:update(5) end))
    assert.equal(-1, require("resty.string").atoi "x")
  end)

  it("list keys into a table that is given", function()
    local cache = require("resty.lrucache").new(3)
    cache:set("a", 1)
    cache:set("b", 2)
    local keys = { 9, 9, 9 }
    assert.is_true(cache:get_keys(nil, keys) == keys)
    assert.same({ "b", "a" }, { keys[1], keys[2] })
    assert.is_nil(keys[3])
  end)

  it("make UUIDs of names", function()
    local uuid, dns = require "resty.jit-uuid", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
    assert.equal("4c104dd0-4821-30d5-9ce3-0e7a1f8b7c0d", uuid.generate_v3(dns, "a"))
    assert.equal("4f3f2898-69e3-5a0d-820a-c4e87987dbce", uuid.generate_v5(dns, "a"))
    assert.equal("namespace must be a valid UUID", (select(2, uuid.generate_v5("x", "a"))))
  end)

  it("read addresses as numbers", function()
    local ipmatcher = require "resty.ipmatcher"
    assert.equal(16909060, ipmatcher.parse_ipv4 "1.2.3.4")
    assert.same({ 0, 0, 65535, 16909060 }, ipmatcher.parse_ipv6 "::ffff:1.2.3.4")
    assert.matches("missing valid ip argument", fails(function() ipmatcher.new(nil) end))
  end)
end)

describe("socket.url", function()
  local url = require "socket.url"

  it("keeps defaults, and a port that is empty", function()
    assert.equal("1", url.parse("http://h/", { port = "1" }).port)
    assert.equal("http://h:/", url.build(url.parse "http://h:/"))
  end)
end)

describe("pl.stringx", function()
  local stringx = require "pl.stringx"

  it("says which argument is no text", function()
    local told = fails(function() stringx.strip {} end)
    assert.matches("argument 1 expected a 'string', got a 'table'", told)
    told = fails(function() stringx.partition("a", 1) end)
    assert.matches("argument 2 expected a 'string', got a 'number'", told)
  end)

  it("quotes brackets, and knows small letters from others", function()
    assert.equal("[=[[1]]=]", stringx.quote_string "[1]")
    assert.equal("[[a\nb]]", stringx.quote_string "a\nb")
    assert.same({ true, false, false }, { stringx.islower "a b", stringx.islower "a1",
      stringx.isupper "Ab" })
    assert.equal(1, select("#", stringx.replace("aa", "a", "b")))
  end)
end)

describe("timers, threads and semaphores", function()
  it("refuse what is no delay and no function in the words of Kong's timers", function()
    assert.matches("expected `callback` to be a function", fails(function() ngx.timer.at(0) end))
    assert.matches("expected `delay to be a number", fails(function() ngx.timer.at("x", print) end))
    assert.matches("expected `interval` to be greater than or equal to 0",
      fails(function() ngx.timer.every(0, print) end))
  end)

  it("have names, but for delays that are left to nginx", function()
    assert.matches("^unix_timestamp=%d+;counter=%d+$", (ngx.timer.at(0, function() end)))
    assert.equal(1, (ngx.timer.at(0.01, function() end)))
  end)

  it("refuse negative numbers", function()
    local semaphore = require("ngx.semaphore").new()
    assert.matches("no negative number", fails(function() semaphore:wait(-1) end))
    assert.matches("positive number required", fails(function() semaphore:post(0) end))
    assert.matches('invalid sleep duration "%-1000"', fails(function() ngx.sleep(-1) end))
    assert.matches("number expected, got nil", fails(function() ngx.sleep(nil) end))
  end)

  it("log at levels that there are", function()
    assert.matches("bad log level: 99", fails(function() ngx.log(99, "x") end))
    assert.matches("number expected, got string", fails(function() ngx.log("x", "y") end))
  end)
end)
