-- The coroutine relay: a plugin may wait inside a coroutine of its own, as in OpenResty.

describe("a host call that waits", function()
  it("may be made inside coroutine.wrap", function()
    local read = coroutine.wrap(function()
      ngx.sleep(0)
      coroutine.yield("first")
      ngx.sleep(0)
      return "second"
    end)
    assert.equal("first", read())
    assert.equal("second", read())
  end)

  it("does not show itself to coroutine.resume", function()
    local co = coroutine.create(function(a, b)
      ngx.sleep(0)
      local c = coroutine.yield(a + b)
      ngx.sleep(0)
      return c * 2
    end)
    assert.same({ true, 3 }, { coroutine.resume(co, 1, 2) })
    assert.same({ true, 20 }, { coroutine.resume(co, 10) })
    assert.equal("dead", coroutine.status(co))
    local ok, err = coroutine.resume(co)
    assert.is_false(ok)
    assert.matches("dead", err)
  end)

  it("may be made through several coroutines", function()
    local outer = coroutine.wrap(function()
      local inner = coroutine.wrap(function()
        ngx.sleep(0)
        coroutine.yield(1)
        ngx.sleep(0)
        return 2
      end)
      coroutine.yield(inner())
      ngx.sleep(0)
      return inner()
    end)
    assert.equal(1, outer())
    assert.equal(2, outer())
  end)

  it("may be made inside pcall and an iterator", function()
    local sum = 0
    local numbers = coroutine.wrap(function()
      for i = 1, 3 do
        ngx.sleep(0)
        coroutine.yield(i)
      end
    end)
    local ok = pcall(function()
      for n in numbers do
        ngx.sleep(0)
        sum = sum + n
      end
    end)
    assert.is_true(ok)
    assert.equal(6, sum)
  end)
end)

describe("an error in a coroutine", function()
  it("reaches the caller of wrap unchanged", function()
    local reason = { code = 7 }
    local co = coroutine.wrap(function()
      ngx.sleep(0)
      error(reason)
    end)
    assert.equal(reason, assert.has_error(co))
  end)

  it("is returned by resume", function()
    local co = coroutine.create(function()
      ngx.sleep(0)
      error("broken", 0)
    end)
    assert.same({ false, "broken" }, { coroutine.resume(co) })
  end)
end)

describe("values passed through a coroutine", function()
  it("keep their holes", function()
    local co = coroutine.wrap(function(...)
      ngx.sleep(0)
      return select("#", ...), ...
    end)
    local count, a, b, c = co(nil, 2, nil)
    assert.equal(3, count)
    assert.is_nil(a)
    assert.equal(2, b)
    assert.is_nil(c)
  end)
end)
