-- The limits of lua-resty-limit-traffic.

local dict = ngx.shared.kong

describe("resty.limit.req", function()
  local req = require "resty.limit.req"
  local clock, time = ngx.now, nil

  before_each(function()
    dict:flush_all()
    time = 1700000000
    ngx.now = function() return time end
  end)
  after_each(function() ngx.now = clock end)

  it("lets the rate through, delays the burst and rejects the rest", function()
    local limit = assert(req.new("kong", 2, 3))
    local seen = {}
    for i = 1, 5 do
      seen[i] = { limit:incoming("k", true) }
    end
    assert.same({ { 0, 0 }, { 0.5, 1 }, { 1, 2 }, { 1.5, 3 }, { nil, "rejected" } }, seen)
    time = time + 1
    assert.same({ 1, 2 }, { limit:incoming("k", true) })
    time = time + 100
    assert.same({ 0, 0 }, { limit:incoming("k", true) })
    assert.same({ 0, 0 }, { limit:incoming("other", true) })
  end)

  it("counts only what is committed, and takes it back", function()
    local limit = assert(req.new("kong", 1, 1))
    limit:incoming("k", true)
    for _ = 1, 3 do
      assert.same({ 1, 1 }, { limit:incoming("k", false) })
    end
    assert.same({ 1, 1 }, { limit:incoming("k", true) })
    assert.same({ nil, "rejected" }, { limit:incoming("k", true) })
    assert.is_true(limit:uncommit("k"))
    assert.same({ 1, 1 }, { limit:incoming("k", true) })
    assert.same({ nil, "not found" }, { limit:uncommit("never") })
    limit:set_burst(3)
    assert.same({ 2, 2 }, { limit:incoming("k", true) })
    limit:set_rate(4)
    assert.same({ 0.75, 3 }, { limit:incoming("k", true) })
  end)

  it("does not take another's value for its own", function()
    local limit = assert(req.new("kong", 1, 1))
    for _, value in ipairs { "text", 5, true } do
      dict:set("k", value)
      assert.same({ nil, "shdict abused by other users" }, { limit:incoming("k", true) })
      assert.same({ nil, "shdict abused by other users" }, { limit:uncommit("k") })
      assert.equal(value, (dict:get("k")))
    end
  end)

  it("refuses a dictionary that is not there and a rate of nothing", function()
    assert.same({ nil, "shared dict not found" }, { req.new("nowhere", 1, 1) })
    assert.equal("assertion failed!", assert.has_error(function() req.new("kong", 0, 1) end))
  end)
end)

describe("resty.limit.conn", function()
  local conn = require "resty.limit.conn"
  before_each(function() dict:flush_all() end)

  it("delays whom it has no room for, and rejects beyond the burst", function()
    local limit = assert(conn.new("kong", 2, 2, 0.5))
    local seen = {}
    for i = 1, 5 do
      seen[i] = { limit:incoming("k", true) }
      assert.equal(i < 5, limit:is_committed())
    end
    assert.same({ { 0, 1 }, { 0, 2 }, { 0.5, 3 }, { 0.5, 4 }, { nil, "rejected" } }, seen)
    assert.equal(3, limit:leaving("k"))
    assert.same({ 0.5, 4 }, { limit:incoming("k", false) })
    assert.is_false(limit:is_committed())
    assert.equal(2, limit:uncommit("k"))
    assert.equal(1, limit:leaving("k", 1.5))
    limit:incoming("k", true)
    assert.same({ 1, 3 }, { limit:incoming("k", true) })
    limit:set_conn(4)
    limit:set_burst(0)
    assert.same({ 0, 4 }, { limit:incoming("k", true) })
    assert.same({ nil, "rejected" }, { limit:incoming("k", true) })
    assert.same({ nil, "not found" }, { limit:leaving("never") })
  end)
end)

describe("resty.limit.count", function()
  local count = require "resty.limit.count"
  before_each(function() dict:flush_all() end)

  it("counts down in a window that opens with the first request", function()
    local limit = assert(count.new("kong", 2, 100))
    assert.same({ 0, 1 }, { limit:incoming("k", false) })
    assert.same({ 0, 1 }, { limit:incoming("k", true) })
    local left = dict:ttl("k")
    assert.is_true(left > 90 and left <= 100)
    assert.same({ 0, 0 }, { limit:incoming("k", true) })
    assert.same({ nil, "rejected" }, { limit:incoming("k", true) })
    assert.equal(0, limit:uncommit("k"))
    assert.equal(1, limit:uncommit("k"))
    assert.same({ 0, 0 }, { limit:incoming("k", true) })
    assert.equal(2, limit:uncommit("never"))
    dict:set("text", "v")
    assert.same({ nil, "not a number" }, { limit:incoming("text", true) })
  end)
end)

describe("resty.limit.traffic", function()
  local traffic = require "resty.limit.traffic"
  local conn, count = require "resty.limit.conn", require "resty.limit.count"
  before_each(function() dict:flush_all() end)

  it("waits for the slowest, and counts with none what one rejects", function()
    local slow, few = assert(conn.new("kong", 1, 5, 0.5)), assert(count.new("kong", 3, 100))
    local keys, states = { "conn", "count" }, {}
    assert.equal(0, traffic.combine({ slow, few }, keys, states))
    assert.equal(0.5, traffic.combine({ slow, few }, keys, states))
    assert.same({ 2, 1 }, states)
    slow:set_burst(0)
    assert.same({ nil, "rejected" }, { traffic.combine({ few, slow }, { "count", "conn" }) })
    assert.same({ nil, "rejected" }, { traffic.combine({ slow, few }, keys) })
    assert.same({ 2, 1 }, { (dict:get("conn")), (dict:get("count")) })
  end)

  it("takes back what was counted when one rejects at the second asking", function()
    local few = assert(count.new("kong", 3, 100))
    local fickle = { incoming = function(_, _, commit)
      if commit then
        return nil, "changed its mind"
      end
      return 0, 1
    end }
    local limits = { few, fickle, few }
    assert.same({ nil, "changed its mind" }, { traffic.combine(limits, { "a", "b", "c" }) })
    assert.same({ 3, 3 }, { (dict:get("a")), (dict:get("c")) })
  end)
end)
