describe("modules that plugins require", function()
  it("that have failed say at the second time that they have, as in LuaJIT", function()
    package.preload["test.fails"] = function() error("no luck", 0) end
    assert.same({ false, "no luck" }, { pcall(require, "test.fails") })
    local again = "loop or previous error loading module 'test.fails'"
    assert.same({ false, again }, { pcall(require, "test.fails") })
    package.preload["test.fails"], package.loaded["test.fails"] = nil, nil
    local _, first = pcall(require, "test.absent")
    local _, second = pcall(require, "test.absent")
    assert.matches("^module 'test.absent' not found:", second)
    assert.equal(first, second)
  end)

  it("digest", function()
    local to_hex = require("resty.string").to_hex
    local sha256 = require("resty.sha256").new()
    sha256:update("a")
    sha256:update("bc")
    local of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert.equal(of_abc, to_hex(sha256:final()))
    assert.equal(16, #require("resty.md5").new():final())
    assert.equal(8, #require("resty.random").bytes(8))
  end)

  it("cache what was used last", function()
    local cache = require("resty.lrucache").new(2)
    cache:set("a", 1)
    cache:set("b", 2)
    assert.equal(1, (cache:get("a")))
    cache:set("c", 3)
    assert.is_nil((cache:get("b")))
    assert.same({ "c", "a" }, cache:get_keys())
    cache:set("t", 1, -1)
    assert.same({ nil, 1 }, { (cache:get("t")), (select(2, cache:get("t"))) })
  end)

  it("find nothing where nil was cached, and keep flags of 32 bits", function()
    local cache = require("resty.lrucache").new(2)
    cache:set("a", nil)
    assert.equal(1, select("#", cache:get("a")))
    assert.equal(1, select("#", cache:get("b")))
    for given, kept in pairs { [-1] = 0, [1.5] = 1, [2^33 + 1] = 1, x = 0 } do
      cache:set("a", 1, nil, given)
      assert.same({ 1, nil, kept }, { cache:get("a") })
    end
  end)

  it("write and read numbers as Kong has lua-cjson do", function()
    local cjson, safe = require "cjson", require "cjson.safe"
    assert.equal("9007199254740992", safe.encode(2 ^ 53))
    assert.equal("9.007199254741e+15", cjson.encode(2 ^ 53))
    assert.equal(2 ^ 63, cjson.decode "12345678901234567890")
    assert.equal(-2 ^ 63, cjson.decode "-12345678901234567890")
    assert.equal(cjson.array_mt, getmetatable(setmetatable({}, cjson.array_mt)))
  end)

  it("copy a view of a table", function()
    local copy = require("kong.tools.table").cycle_aware_deep_copy
    local inner = { list = { 1 }, text = "a" }
    local view = setmetatable({}, {
      __index = inner,
      __newindex = function() error "read-only" end,
      __pairs = function() return next, inner end,
    })
    local copied = copy(view)
    copied.list = { 2 }
    assert.same({ 1 }, inner.list)
    assert.equal("a", copied.text)
    local loop = {}
    loop.self = loop
    local again = copy(loop)
    assert.equal(again, again.self)
  end)

  it("load where libraries for clouds are not there", function()
    assert.is_table(require("resty.aws.config").global)
    assert.is_false((pcall(require "resty.aws", {})))
    assert.is_nil((require "resty.aws.request.sign"()))
    assert.is_false((pcall(require("resty.gcp.request.credentials.accesstoken").new)))
  end)

  it("show values", function()
    local inspect = require "inspect"
    assert.equal('{ 1, "x",\n  a = {}\n}', inspect({ 1, "x", a = {} }))
    local loop = {}
    loop.self = loop
    assert.matches("<table 1>", inspect(loop))
  end)

  it("work on texts and tables", function()
    local strings, tables = require "kong.tools.string", require "kong.tools.table"
    assert.same({ "a", "b,c" }, strings.split("a,b,c", ",", 2))
    assert.equal("a b", strings.strip("  a b "))
    assert.equal("2.00 KiB", strings.bytes_to_str(2048, "k"))
    local original = { a = { b = 1 } }
    local copy = tables.deep_copy(original)
    copy.a.b = 2
    assert.equal(1, original.a.b)
    assert.equal(1, tables.table_path(original, { "a", "b" }))
    assert.is_true(tables.table_contains({ 1, 2 }, 2))
    assert.same({ a = 1, b = 3 }, tables.table_merge({ a = 1, b = 2 }, { b = 3 }))
    assert.equal("a-c", (require("pl.stringx").replace("abc", "b", "-")))
    assert.is_true(require("pl.tablex").deepcompare({ { 1 } }, { { 1 } }))
  end)

  it("make ids", function()
    local uuid = require "kong.tools.uuid"
    assert.is_true(uuid.is_valid_uuid(uuid.uuid()))
    assert.is_false(uuid.is_valid_uuid("x"))
    assert.equal(32, #require("kong.tools.rand").random_string())
  end)

  it("extend table", function()
    assert.equal(2, table.nkeys({ 1, a = 2 }))
    assert.is_true(require "table.isempty"({}))
    assert.is_true(table.isarray({ 1, 2 }))
    assert.is_false(table.isarray({ a = 1 }))
  end)
end)

describe("modules of nginx' processes and Kong's nginx", function()
  it("say that workers are threads of one process", function()
    local process = require "ngx.process"
    assert.equal("worker", process.type())
    assert.equal(ngx.worker.pid(), process.get_master_pid())
    assert.matches("API disabled", assert.has_error(process.enable_privileged_agent))
    assert.matches("none ends without the others", assert.has_error(process.signal_graceful_exit))
  end)

  it("know the level of the log, and do not change it", function()
    local log = require "resty.kong.log"
    local level, left, original = log.get_log_level()
    assert.same({ ngx.NOTICE, 0, ngx.NOTICE }, { level, left, original })
    assert.equal(level, require("ngx.errlog").get_sys_filter_level())
    assert.matches("one level", assert.has_error(function() log.set_log_level(ngx.DEBUG, 1) end))
    assert.matches("timeout must be a number",
      assert.has_error(function() log.set_log_level(ngx.DEBUG) end))
  end)
end)

describe("resty.lock", function()
  local resty_lock = require "resty.lock"

  it("has one holder", function()
    local lock = resty_lock:new("kong_locks")
    assert.equal(0, lock:lock("mine"))
    assert.same({ nil, "locked" }, { lock:lock("mine") })
    local other = resty_lock:new("kong_locks", { timeout = 0.01 })
    assert.same({ nil, "timeout" }, { other:lock("mine") })
    assert.is_true(lock:expire(20))
    assert.equal(1, lock:unlock())
    assert.same({ nil, "unlocked" }, { lock:unlock() })
    assert.equal(0, other:lock("mine"))
    assert.equal(1, other:unlock())
    assert.same({ nil, "dictionary not found" }, { resty_lock:new("none") })
  end)

  it("is given to who waits", function()
    local lock, other = resty_lock:new("kong_locks"), resty_lock:new("kong_locks")
    lock:lock("ours")
    local waiting = ngx.thread.spawn(function() return other:lock("ours") end)
    lock:unlock()
    local ok, waited = ngx.thread.wait(waiting)
    assert.is_true(ok and waited > 0)
    other:unlock()
  end)
end)

describe("resty.ipmatcher", function()
  local ipmatcher = require "resty.ipmatcher"

  it("knows networks and addresses", function()
    local ip = assert(ipmatcher.new { "10.0.0.0/8", "192.168.1.1", "fd00::/9", "::1" })
    assert.is_true(ip:match("10.200.0.1"))
    assert.is_false(ip:match("11.0.0.1"))
    assert.is_true(ip:match("192.168.1.1"))
    assert.is_false(ip:match("192.168.1.2"))
    assert.is_true(ip:match("fd7f::1"))
    assert.is_false(ip:match("fdff::1"))
    assert.is_true(ip:match_bin("\10\0\0\1"))
    assert.same({ false, "invalid ip address, not ipv4 and ipv6" }, { ip:match("x") })
    assert.same({ nil, "invalid ip address: x" }, { ipmatcher.new { "x" } })
    assert.same({ nil, "invalid ip address: 1.2.3.4/33" }, { ipmatcher.new { "1.2.3.4/33" } })
  end)

  it("gives the value of the narrowest network", function()
    local ip = assert(ipmatcher.new_with_value {
      ["10.0.0.0/8"] = "wide", ["10.1.0.0/16"] = "narrow", ["0.0.0.0/0"] = "all" })
    assert.equal("narrow", ip:match("10.1.2.3"))
    assert.equal("wide", ip:match("10.2.2.3"))
    assert.equal("all", ip:match("1.2.3.4"))
  end)
end)

describe("tablepool and resty.jit-uuid", function()
  it("lend tables and make ids", function()
    local pool = require "tablepool"
    local t = pool.fetch("tag", 1, 1)
    t.a = 1
    pool.release("tag", t)
    assert.equal(t, pool.fetch("tag", 1, 1))
    assert.is_nil(next(t))
    local uuid = require "resty.jit-uuid"
    assert.is_true(uuid.is_valid(uuid()))
    assert.is_true(uuid.is_valid(uuid.generate_v4()))
    assert.is_false(uuid.is_valid("x"))
  end)
end)

describe("requests for certificates", function()
  local pkey, name = require "resty.openssl.pkey", require "resty.openssl.x509.name"
  local altname, csr = require "resty.openssl.x509.altname", require "resty.openssl.x509.csr"
  local der = require "silverback.openssl.der"

  it("are signed by the key that they name", function()
    local kinds = { { type = "EC", curve = "prime256v1" }, { type = "RSA", bits = 2048 } }
    for _, options in ipairs(kinds) do
      local key = pkey.new(options)
      local request = csr.new()
      assert.is_true((request:set_subject_name(name.new():add("CN", "a.test"))))
      assert.is_true((request:set_subject_alt_name(altname.new():add("DNS", "a.test"))))
      assert.is_true((request:set_pubkey(key)))
      assert.is_nil((request:tostring "DER"))
      assert.is_true((request:sign(key)))
      local parts = der.all(der.take(request:tostring "DER", 1, der.SEQUENCE))
      assert.equal(3, #parts)
      local ecdsa = der.write(der.OID, der.oid "1.2.840.10045.4.3.2")
      assert.equal(options.type == "EC", parts[2].content == ecdsa)
      assert.is_true(key:verify(parts[3].content:sub(2), parts[1].whole, "sha256"))
      assert.matches("a.test", parts[1].whole)
      assert.matches("^%-%-%-%-%-BEGIN CERTIFICATE REQUEST", request:tostring "PEM")
    end
  end)

  it("are made for names that patterns cover, too", function()
    local snis = require("kong.runloop.certificate").produce_wild_snis
    assert.same({ "*.b.c", "a.b.*" }, { snis "a.b.c" })
    assert.is_nil((snis "localhost"))
  end)
end)
