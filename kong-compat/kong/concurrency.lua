-- One at a time: of all workers, or of this one.

local locks = require "resty.lock"
local alone = require("silverback.cache").alone
local in_yieldable_phase = require("kong.tools.yield").in_yieldable_phase

local _M = {}

local function check(options, required)
  if type(options) ~= "table" then
    error("opts must be a table", 3)
  elseif type(options.name) ~= "string" then
    error("opts.name is required and must be a string", 3)
  end
  for _, name in ipairs(required) do
    if options[name] and type(options[name]) ~= "number" then
      error("opts." .. name .. " must be a number", 3)
    end
  end
end

-- What the function gives; nil and its error, or `timeout` and how long the lock is still held.
function _M.with_worker_mutex(options, f)
  check(options, { "timeout", "exptime" })
  local timeout = options.timeout or 60
  local lock, err = locks:new("kong_locks", {
    timeout = timeout, exptime = options.exptime or timeout })
  if not lock then
    return nil, "failed to create worker lock: " .. err
  end
  local waited
  waited, err = lock:lock(options.name)
  if not waited then
    if err == "timeout" then
      return nil, err, ngx.shared.kong_locks:ttl(options.name)
    end
    return nil, "failed to acquire worker lock: " .. err
  end
  local ran, result, problem = pcall(f, waited)
  lock:unlock()
  if not ran then
    return nil, result
  end
  return result, problem
end

function _M.with_coroutine_mutex(options, f)
  check(options, { "timeout" })
  local otherwise = options.on_timeout
  if otherwise and otherwise ~= "run_unlocked" and otherwise ~= "return_true" then
    error("invalid value for opts.on_timeout", 2)
  end
  if not in_yieldable_phase() then
    return f()
  end
  local name = ("kong.concurrency:%d:%s"):format(ngx.worker.id() or -1, options.name)
  -- It ends with its caller, even if that is ended where it waits.
  local mine, ran, result, err = alone(name, options.timeout or 60, pcall, f)
  if not mine then
    if otherwise == "return_true" then
      return true
    elseif otherwise ~= "run_unlocked" then
      return nil, "timeout acquiring " .. options.name .. " lock"
    end
    kong.log.warn("bypassing ", options.name, " lock: timeout")
    ran, result, err = pcall(f)
  end
  if not ran then
    return nil, result
  end
  return result, err
end

return _M
