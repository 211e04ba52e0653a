-- So many requests at the same time for each key, over a shared dictionary, with the interface of
-- the module of the same name of lua-resty-limit-traffic: others wait up to a burst.

local _M = { _VERSION = "0.09" }
_M.__index = _M

-- `delay` is how long a request takes, in seconds; what `leaving` is told refines it.
function _M.new(dict_name, max, burst, delay)
  local dict = ngx.shared[dict_name]
  if not dict then
    return nil, "shared dict not found"
  end
  assert(max > 0 and burst >= 0 and delay > 0)
  return setmetatable({ dict = dict, max = max + 0, burst = burst, unit_delay = delay }, _M)
end

-- Seconds to wait, and how many there are with this one; or nil and "rejected". Only with `commit`
-- does the request count.
function _M:incoming(key, commit)
  self.committed = false
  local count, err
  if commit then
    count, err = self.dict:incr(key, 1, 0)
    if not count then
      return nil, err
    end
  else
    count = (self.dict:get(key) or 0) + 1
  end
  if count > self.max + self.burst then
    if commit then
      count, err = self.dict:incr(key, -1)
    end
    return nil, count and "rejected" or err
  end
  self.committed = commit and true or false
  if count > self.max then
    return self.unit_delay * math.floor((count - 1) / self.max), count
  end
  return 0, count
end

-- Whether the last `incoming` has counted its request, so that `leaving` has to be called.
function _M:is_committed()
  return self.committed
end

-- One less; `latency` is how long it took, in seconds. How many are left.
function _M:leaving(key, latency)
  assert(key)
  local count, err = self.dict:incr(key, -1)
  if not count then
    return nil, err
  end
  if latency then
    self.unit_delay = (self.unit_delay + latency) / 2
  end
  return count
end

-- Takes back what was committed.
function _M:uncommit(key)
  assert(key)
  return self.dict:incr(key, -1)
end

function _M:set_conn(max)
  self.max = max
end

function _M:set_burst(burst)
  self.burst = burst
end

return _M
