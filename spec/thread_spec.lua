describe("light threads", function()
  local spawn, wait, kill = ngx.thread.spawn, ngx.thread.wait, ngx.thread.kill

  it("run at once and are waited for", function()
    local n = 0
    local t = spawn(function(a)
      n = a
      ngx.sleep(0.001)
      n = n + 1
      return n, "x"
    end, 1)
    assert.equal(1, n)
    assert.same({ true, 2, "x" }, { wait(t) })
  end)

  it("give the first that ends", function()
    local slow = spawn(function() ngx.sleep(0.05) return "slow" end)
    local fast = spawn(function() ngx.sleep(0.001) return "fast" end)
    assert.equal("fast", (select(2, wait(slow, fast))))
    assert.equal("slow", (select(2, wait(slow))))
  end)

  it("keep their errors as values", function()
    assert.same({ false, { bad = true } }, { wait(spawn(function() error({ bad = true }) end)) })
  end)

  it("can be killed, once", function()
    local hit = false
    local t = spawn(function() ngx.sleep(5) hit = true end)
    assert.equal(1, kill(t))
    assert.equal("already waited or killed", (select(2, kill(t))))
    assert.is_false(hit)
  end)

  it("do not wait for semaphores any more when they are killed", function()
    collectgarbage("stop")
    local semaphore = require("ngx.semaphore").new(0)
    local waits = ngx.thread.spawn(function() semaphore:wait(600) end)
    assert.equal(-1, semaphore:count())
    ngx.thread.kill(waits)
    while semaphore:count() < 0 do
      ngx.sleep(0.001)
    end
    semaphore:post(1)
    assert.is_true((semaphore:wait(0)))
    collectgarbage("restart")
  end)

  it("wait for semaphores", function()
    local semaphore = require("ngx.semaphore").new(0)
    local order = {}
    local t = spawn(function()
      semaphore:wait(1)
      order[#order + 1] = "got"
    end)
    order[#order + 1] = "before"
    assert.equal(-1, semaphore:count())
    semaphore:post(1)
    wait(t)
    assert.same({ "before", "got" }, order)
    assert.equal("timeout", (select(2, semaphore:wait(0.001))))
    assert.equal("timeout", (select(2, semaphore:wait(0))))
  end)
end)

describe("timers", function()
  it("run later, with their arguments, and not before", function()
    local got
    local done = require("ngx.semaphore").new(0)
    assert(ngx.timer.at(0, function(premature, a)
      got = { premature, a, ngx.get_phase() }
      done:post()
    end, "x"))
    assert.is_nil(got)
    assert.is_true(done:wait(5))
    assert.same({ false, "x", "timer" }, got)
  end)

  it("end with `ngx.exit`, whatever would catch it, and their threads with them", function()
    local steps = {}
    local before, after = ngx.timer.running_count(), nil
    assert(ngx.timer.at(0, function()
      ngx.thread.spawn(function()
        ngx.sleep(0)
        steps[#steps + 1] = "thread"
      end)
      steps[#steps + 1] = "exit"
      pcall(ngx.exit, ngx.OK)
      steps[#steps + 1] = "on"
    end))
    for _ = 1, 1000 do
      ngx.sleep(0.001)
      after = ngx.timer.running_count()
      if #steps > 0 and after == before then
        break
      end
    end
    assert.same({ "exit" }, steps)
    assert.equal(before, after)
  end)
end)
