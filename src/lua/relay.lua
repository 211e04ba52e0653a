-- Coroutines of plugins, which stand between a host call that waits and the driver.
--
-- A host call that must wait yields `pending` to the driver. A user coroutine stands between the
-- two, so resume and wrap pass `pending` upward and return here when the driver resumes them.
local pending, outside, fail = ...
local create, resume, yield = coroutine.create, coroutine.resume, coroutine.yield
local running, status = coroutine.running, coroutine.status
local info = debug.getinfo

-- Coroutines that plugins have made, and light threads with what the host knows of them.
local weak = { __mode = "k" }
local made, light = setmetatable({}, weak), setmetatable({}, weak)

-- Coroutines that an error has ended from outside; see `raise`.
local doomed, DOOM = setmetatable({}, weak), {}

local function relay(co, ok, first, ...)
  if ok and first == pending then
    return relay(co, resume(co, yield(pending)))
  elseif ok and first == DOOM then
    return false, doomed[co].err
  end
  return ok, first, ...
end

-- In OpenResty an error that leaves `coroutine.wrap` ends the coroutine around it, whatever that
-- one does to catch it.
local function raise(ok, ...)
  if ok then
    return ...
  end
  local co, err = running(), ...
  if made[co] then
    doomed[co] = { err = err }
    yield(DOOM)
  elseif not light[co] then
    fail(err)
  end
  error(err, 0)
end

function coroutine.create(f)
  local co = create(f)
  made[co] = true
  return co
end

function coroutine.resume(co, ...)
  if doomed[co] then
    return false, "cannot resume dead coroutine"
  end
  return relay(co, resume(co, ...))
end

function coroutine.wrap(f)
  local co = coroutine.create(f)
  return function(...)
    return raise(relay(co, resume(co, ...)))
  end
end

-- Outside of the coroutines of a plugin it is Kong, or OpenResty, that is yielded to. The wrapper
-- of a host call that waits takes `coroutine.yield` from here, too, if it is made late.
local function yield_of_plugins(...)
  local co = running()
  if made[co] or (...) == pending and pending ~= nil then
    return yield(...)
  end
  if select("#", ...) == 0 and info(2, "S").source == "=__mlua_async_poll" then
    return yield()
  end
  return outside(light[co] ~= nil)
end

-- A light thread that waits is at work.
function coroutine.status(co)
  local said = doomed[co] and "dead" or status(co)
  return said == "suspended" and light[co] and "running" or said
end

-- Ends the code that runs, for `kong.response.exit`: a coroutine of a plugin yields to whoever
-- resumed it, a light thread goes on, and a plugin goes no further.
local function leave(suspend)
  local co = running()
  if made[co] then
    yield()
  elseif not light[co] then
    suspend()
  end
end

-- Called last, when the host's own calls are made.
local function cover()
  coroutine.yield = yield_of_plugins
end

return light, leave, cover
