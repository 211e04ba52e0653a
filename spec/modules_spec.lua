describe("modules that plugins require", function()
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
    assert.equal(1, tables.table_path(original, "a.b"))
    assert.is_true((tables.table_contains({ 1, 2 }, 2)))
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
