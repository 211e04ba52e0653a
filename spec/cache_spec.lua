-- `kong.cache`: values that are found out once, for all workers.

describe("kong.cache", function()
  local cache = kong.cache
  local count = 0
  local function counted(value)
    count = count + 1
    return value
  end

  before_each(function()
    count = 0
    cache:purge()
  end)

  it("asks once, then the worker's memory, and keeps the very table", function()
    local value = { a = { 1 } }
    local first, err, level = cache:get("k", nil, counted, value)
    assert.same({ a = { 1 } }, first)
    assert.is_nil(err)
    assert.equal(3, level)
    local again, _, from = cache:get("k", nil, counted)
    assert.equal(first, again)
    assert.equal(1, from)
    assert.equal(1, count)
  end)

  it("keeps that there is nothing", function()
    assert.same({ nil, nil, 3 }, { cache:get("none", nil, counted) })
    local value, err, level = cache:get("none", nil, counted)
    assert.is_nil(value)
    assert.is_nil(err)
    assert.equal(1, level)
    assert.equal(1, count)
  end)

  it("finds what another worker has put into the dictionary", function()
    cache:get("far", nil, counted, false)
    cache.mlcache.lru:delete("far")
    local value, _, level = cache:get("far", nil, counted)
    assert.equal(false, value)
    assert.equal(2, level)
  end)

  it("says what the callback said or threw, and keeps neither", function()
    local value, err = cache:get("e", nil, function() return nil, "no luck" end)
    assert.is_nil(value)
    assert.equal("failed to get from node cache: no luck", err)
    value, err = cache:get("e", nil, function() error("bang") end)
    assert.is_nil(value)
    assert.matches("^failed to get from node cache: callback threw an error: .*bang", err)
    assert.equal(7, (cache:get("e", nil, counted, 7)))
  end)

  it("takes a time to live from the callback, and none below 0", function()
    local function never() return counted("v"), nil, -1 end
    cache:get("short", nil, never)
    cache:get("short", nil, never)
    assert.equal(2, count)
    cache:get("ttl", nil, function() return "v", nil, 100 end)
    local left = cache:probe("ttl")
    assert.is_true(left > 90 and left <= 100)
  end)

  it("lets a value live on when it cannot be found again", function()
    cache:get("old", { ttl = 0.01, resurrect_ttl = 10 }, counted, "v")
    ngx.sleep(0.02)
    local value, err, level = cache:get("old", { resurrect_ttl = 10 },
                                        function() return nil, "down" end)
    assert.same({ "v", nil, 4 }, { value, err, level })
    cache.mlcache.lru:delete("old")
    value, err, level = cache:get("old", nil, counted)
    assert.same({ "v", nil, 4 }, { value, err, level })
  end)

  it("makes the worker's copy with l1_serializer", function()
    local options = { l1_serializer = function(value) return { made = value } end }
    assert.same({ made = 1 }, (cache:get("s", options, counted, 1)))
    assert.same({ made = 1 }, (cache:get("s", options, counted, 2)))
    local value, err = cache:get("bad", { l1_serializer = function() error("x") end }, counted, 1)
    assert.is_nil(value)
    assert.matches("l1_serializer threw an error", err)
  end)

  it("calls one callback at a time", function()
    local function slow()
      ngx.sleep(0.01)
      return counted("v")
    end
    local threads = {}
    for i = 1, 5 do
      threads[i] = ngx.thread.spawn(function() return (cache:get("slow", nil, slow)) end)
    end
    for i = 1, 5 do
      assert.same({ true, "v" }, { ngx.thread.wait(threads[i]) })
    end
    assert.equal(1, count)
  end)

  it("forgets, renews and probes", function()
    cache:get("k", nil, counted, 1)
    cache:invalidate("k")
    assert.is_nil((cache:probe("k")))
    assert.equal(2, (cache:get("k", nil, counted, 2)))
    assert.equal(3, (cache:renew("k", nil, counted, 3)))
    local ttl, err, value = cache:probe("k")
    assert.same({ 0, nil, 3 }, { ttl, err, value })
    assert.is_true((cache:safe_set("safe", { 1 })))
    assert.same({ 1 }, (cache:get("safe", nil, counted)))
    assert.has_error(function() cache:get(1, nil, counted) end)
  end)

  it("renews once for all who ask at the same time", function()
    cache:get("k", nil, counted, 0)
    count = 0
    local function slow()
      ngx.sleep(0.01)
      return counted(count)
    end
    local threads = {}
    for i = 1, 5 do
      threads[i] = ngx.thread.spawn(function() return (cache:renew("k", nil, slow)) end)
    end
    for i = 1, 5 do
      assert.same({ true, 0 }, { ngx.thread.wait(threads[i]) })
    end
    assert.equal(1, count)
    assert.equal(1, (cache:renew("k", nil, slow)))
    assert.equal(2, count)
  end)

  it("does not find an old value after one was set to nil", function()
    local inner = cache.mlcache
    assert.is_true((inner:set("k", nil, 1)))
    assert.equal(1, (cache:get("k", nil, counted)))
    assert.is_true((inner:set("k", nil, nil)))
    inner.lru:delete("k")
    assert.is_nil((cache:get("k", nil, counted, 3)))
    assert.equal(0, count)
  end)

  it("tells others of a value when it is there", function()
    local host = require "silverback.cache"
    local changed, inner, seen = host.changed, cache.mlcache, {}
    host.changed = function(...)
      seen[#seen + 1] = select(3, inner:peek("k"))
      return changed(...)
    end
    local ok, told = pcall(function()
      inner:set("k", nil, "set")
      cache:renew("k", nil, counted, "renewed")
    end)
    host.changed = changed
    assert.is_true(ok, told)
    assert.same({ "set", "renewed" }, seen)
    assert.equal("renewed", (cache:get("k", nil, counted)))
  end)

  it("does not keep what a request finds in a configuration that is over", function()
    local rows = require "silverback.rows"
    local hash = rows.hash
    rows.hash = function() return "old" end
    local ok, value = pcall(function()
      assert.equal("old", (cache:renew("k", nil, counted, "old")))
      return (cache:get("k", nil, counted, "old"))
    end)
    rows.hash = hash
    assert.is_true(ok, value)
    assert.equal("old", value)
    assert.is_nil((cache:probe("k")))
    assert.equal("new", (cache:get("k", nil, counted, "new")))
  end)

  it("looks up many at once", function()
    local mlcache = require "kong.resty.mlcache"
    local bulk = mlcache.new_bulk(2)
    bulk:add("a", nil, counted, "A")
    bulk:add("b", nil, function() return nil, "no" end)
    local seen = {}
    for i, value, err, level in mlcache.each_bulk_res(cache:get_bulk(bulk)) do
      seen[i] = { value or false, err or false, level or false }
    end
    assert.same({ { "A", false, 3 }, { false, "no", false } }, seen)
  end)
end)

describe("resty.mlcache", function()
  local mlcache = require "resty.mlcache"
  local function new(options)
    return mlcache.new("own", "kong_db_cache", options)
  end

  it("tells opts.ipc of every change, when it is there, and does what it brings", function()
    local told, events, cache = {}, nil, nil
    cache = assert(new { shm_miss = "kong_db_cache_miss", ipc = {
      register_listeners = function(all) events = all end,
      broadcast = function(channel, key, more)
        told[#told + 1] = { channel, key, more == nil, (select(3, cache:peek("k"))) }
      end,
    } })
    assert.is_true((cache:set("k", nil, "set")))
    assert.equal("renewed", (cache:renew("k", nil, function() return "renewed" end)))
    assert.is_true((cache:delete("k")))
    assert.is_true((cache:purge()))
    local one, all = "mlcache:invalidations:own", "mlcache:purge:own"
    assert.same({ { one, "k", true, "set" }, { one, "k", true, "renewed" }, { one, "k", true },
      { all, "", true } }, told)
    assert.equal(one, events.invalidation.channel)
    for event, arg in pairs { invalidation = "k", purge = "" } do
      cache:get("k", nil, function() return 1 end)
      assert.equal(1, (cache.lru:get("k")))
      events[event].handler(arg)
      assert.is_nil((cache.lru:get("k")))
    end
    assert.matches("no polling configured", assert.has_error(function() cache:update() end))
  end)

  it("says that opts.ipc has not told it, and finds the new value all the same", function()
    local waited
    local cache = assert(new { ipc = {
      register_listeners = function() end,
      broadcast = function() return nil, "nobody there" end,
      poll = function(timeout)
        waited = timeout
        return nil, "late"
      end,
    } })
    cache:get("k", nil, function() return "old" end)
    local function told(_, err) return err end
    assert.equal("could not broadcast update: nobody there", told(cache:set("k", nil, "new")))
    assert.equal("new", (cache:get("k")))
    assert.equal("could not broadcast deletion: nobody there", told(cache:delete("k")))
    assert.is_nil((cache:get("k")))
    assert.equal("could not broadcast renew: nobody there",
      told(cache:renew("k", nil, function() return 1 end)))
    assert.equal("could not broadcast purge: nobody there", told(cache:purge()))
    assert.equal("could not poll ipc events: late", told(cache:update(3)))
    assert.equal(3, waited)
  end)

  it("does not change what nobody else would hear of", function()
    local cache = assert(new())
    for what, call in pairs {
      update = function() cache:set("k", nil, 1) end,
      deletion = function() cache:delete("k") end,
      renew = function() cache:renew("k", nil, function() return 1 end) end,
      purge = function() cache:purge() end,
    } do
      assert.equal("no ipc to propagate " .. what .. ", specify opts.ipc_shm or opts.ipc",
        assert.has_error(call))
    end
    assert.matches("no polling configured, specify opts.ipc_shm or opts.ipc.poll$",
      assert.has_error(function() cache:update() end))
  end)

  it("refuses an ipc that cannot tell, a dictionary that is not there and no tries", function()
    local function nothing() end
    local function wrong(options)
      return assert.has_error(function() new(options) end)
    end
    assert.equal("opts.ipc must be a table", wrong { ipc = false })
    assert.equal("opts.ipc.register_listeners must be a function", wrong { ipc = {} })
    assert.equal("opts.ipc.broadcast must be a function",
      wrong { ipc = { register_listeners = nothing } })
    assert.equal("opts.ipc.poll must be a function",
      wrong { ipc = { register_listeners = nothing, broadcast = nothing, poll = 1 } })
    assert.equal("opts.ipc_shm must be a string", wrong { ipc_shm = 1 })
    assert.equal("cannot specify both of opts.ipc_shm and opts.ipc",
      wrong { ipc_shm = "kong", ipc = {} })
    assert.equal("opts.shm_set_tries must be >= 1", wrong { shm_set_tries = 0 })
    assert.equal("opts must be a table", wrong "options")
    local cache, told = new { ipc_shm = "nowhere" }
    assert.is_nil(cache)
    assert.equal("failed to initialize mlcache IPC (could not instantiate mlcache.ipc): " ..
      "no such lua_shared_dict: nowhere", told)
    cache, told = new { ipc = { broadcast = nothing,
      register_listeners = function() return nil, "no" end } }
    assert.is_nil(cache)
    assert.matches("register_listeners returned an error%): no$", told)
    assert.equal("opts.shm_set_tries must be >= 1", assert.has_error(function()
      assert(new()):get("k", { shm_set_tries = 0 }, nothing)
    end))
    local _, placed = pcall(function() new { ipc = {} } return 1 end)
    assert.matches("_spec.lua:%d+: opts.ipc.register_listeners", placed)
  end)

  it("says how long ago the time of a stale value was over", function()
    local cache = assert(new { shm_miss = "kong_db_cache_miss" })
    cache:get("stale", { ttl = 0.01 }, function() return "v" end)
    cache:get("none", { neg_ttl = 0.01 }, function() return nil end)
    ngx.sleep(0.03)
    for key, value in pairs { stale = "v", none = false } do
      assert.is_nil((cache:peek(key)))
      local left, err, found, is_stale = cache:peek(key, true)
      assert.is_true(left < -0.01 and left > -60, tostring(left))
      assert.same({ false, value, true }, { err or false, found or false, is_stale })
    end
  end)

  it("finds many at once, some at a time", function()
    local cache = assert(new { ipc_shm = "kong" })
    cache:purge()
    cache:set("there", nil, "v")
    local running, most = 0, 0
    local function slow(arg)
      running = running + 1
      most = math.max(most, running)
      ngx.sleep(0.002)
      running = running - 1
      return arg
    end
    for concurrency, wanted in pairs { [1] = 1, [2] = 2, [9] = 4 } do
      most = 0
      local found = cache:get_bulk({ "a" .. concurrency, nil, slow, 1, "there", nil, slow, 2,
        "b" .. concurrency, nil, slow, 3, "c" .. concurrency, nil, slow, nil,
        "d" .. concurrency, nil, slow, 5, n = 5 }, { concurrency = concurrency })
      assert.same({ n = 15, [1] = 1, [3] = 3, [4] = "v", [6] = 1, [7] = 3, [9] = 3, [12] = 3,
        [13] = 5, [15] = 3 }, found)
      assert.equal(wanted, most)
    end
    assert.equal("callback at index 3 must be a function for operation 1 (got nil)",
      assert.has_error(function() cache:get_bulk { "a", nil, nil, nil, n = 1 } end))
    assert.equal("opts.concurrency must be > 0",
      assert.has_error(function() cache:get_bulk({ n = 0 }, { concurrency = 0 }) end))
  end)

  it("shares the worker's copy among caches of one name", function()
    local one, two = assert(new { ipc_shm = "kong" }), assert(new { ipc_shm = "kong" })
    assert.equal(one.lru, two.lru)
    one:set("k", nil, "v")
    assert.same({ "v", nil, 1 }, { two:get("k") })
    one:delete("k")
    assert.same({ nil, nil, -1 }, { two:get("k") })
  end)

  it("does not keep what a dictionary cannot, and says so where it was to be set", function()
    local cache = assert(new { ipc_shm = "kong" })
    assert.matches("cannot cache value of type function",
      assert.has_error(function() cache:set("k", nil, print) end))
    local large = ("x"):rep(ngx.shared.kong_db_cache:capacity())
    assert.same({ nil, "could not write to lua_shared_dict 'kong_db_cache': no memory" },
      { cache:set("k", nil, large) })
    assert.equal(large, (cache:get("k", nil, function() return large end)))
  end)
end)

describe("kong.worker_events", function()
  it("tells every worker, this one too, later", function()
    local got
    kong.worker_events.register(function(data, event, source)
      got = { data, event, source }
    end, "mine", "changed")
    assert.is_true((kong.worker_events.post("mine", "changed", { id = 1 })))
    assert.is_nil(got)
    for _ = 1, 100 do
      if not got then
        ngx.sleep(0.001)
      end
    end
    assert.same({ { id = 1 }, "changed", "mine" }, got)
    assert.equal("source is required", (select(2, kong.worker_events.post("", "e"))))
  end)
end)
