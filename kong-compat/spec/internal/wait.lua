-- Waiting for what happens a little later.

local wait = {}

local TIMEOUT, STEP = 5, 0.05

local function deadline(timeout)
  ngx.update_time()
  return ngx.now() + (timeout or TIMEOUT)
end

local function is_over(at)
  ngx.update_time()
  return ngx.now() >= at
end

-- `wait_until(f, timeout, step)`: until it returns something that is true. Its errors are the
-- caller's.
function wait.wait_until(f, timeout, step)
  local ends = deadline(timeout)
  while true do
    local result, err = f()
    if result then
      return result
    elseif is_over(ends) then
      error(("wait_until() timeout (after %s seconds)%s"):format(timeout or TIMEOUT,
        err and ": " .. tostring(err) or ""), 2)
    end
    ngx.sleep(step or STEP)
  end
end

-- The same, until it raises no error.
function wait.pwait_until(f, timeout, step)
  local ends = deadline(timeout)
  while true do
    local ok, result = pcall(f)
    if ok and result ~= false then
      return result == nil or result
    elseif is_over(ends) then
      error(ok and "pwait_until() timeout" or result, 2)
    end
    ngx.sleep(step or STEP)
  end
end

-- Timers have no names here that could be asked for: a moment has to do.
function wait.wait_timer()
  ngx.sleep(0.1)
  return true
end

function wait.wait_for_all_config_update()
  return true
end

function wait.wait_for_invalidation()
  return true
end

function wait.wait_for_file(mode, path, timeout)
  return wait.wait_until(function()
    local file = io.open(path, "r")
    if file then
      file:close()
      return true
    end
    return nil, "no " .. tostring(mode) .. " at " .. path
  end, timeout or 10)
end

function wait.wait_for_file_contents(path, timeout)
  return wait.wait_until(function()
    local file = io.open(path, "r")
    local text = file and file:read("*a")
    if file then
      file:close()
    end
    return text and #text > 0 and text
  end, timeout or 10)
end

wait.is_over, wait.deadline = is_over, deadline

return wait
