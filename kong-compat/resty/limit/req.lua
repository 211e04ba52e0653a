-- A leaky bucket for each key, over a shared dictionary, with the interface of the module of the
-- same name of lua-resty-limit-traffic: so many requests a second, others wait up to a burst.
--
-- The level of a bucket is counted in thousandths of a request, its time in milliseconds.

local _M = { _VERSION = "0.09" }
_M.__index = _M

local ONE = 1000

function _M.new(dict_name, rate, burst)
  local dict = ngx.shared[dict_name]
  if not dict then
    return nil, "shared dict not found"
  end
  assert(rate > 0 and burst >= 0)
  return setmetatable({ dict = dict, rate = rate * ONE, burst = burst * ONE }, _M)
end

-- The level of a bucket and when it was so; false without one; nil if the key is somebody else's.
local function read(self, key)
  local text = self.dict:get(key)
  if not text then
    return false
  end
  local level, at = tostring(text):match("^bucket (%d+) (%d+)$")
  return tonumber(level), tonumber(at)
end

local function write(self, key, level, at)
  self.dict:set(key, ("bucket %d %d"):format(level, at))
end

-- Seconds to wait, and by how many requests the key is ahead of its rate; or nil and "rejected".
-- Only with `commit` does the request count.
function _M:incoming(key, commit)
  local now = math.floor(ngx.now() * 1000)
  local level, at = read(self, key)
  if level == nil then
    return nil, "shdict abused by other users"
  elseif not level then
    level = 0
  else
    local leaked = self.rate * math.abs(now - at) / 1000
    level = math.max(level - leaked + ONE, 0)
    if level > self.burst then
      return nil, "rejected"
    end
  end
  if commit then
    write(self, key, level, now)
  end
  return level / self.rate, level / ONE
end

-- Takes back what was committed.
function _M:uncommit(key)
  assert(key)
  local level, at = read(self, key)
  if level == nil then
    return nil, "shdict abused by other users"
  elseif not level then
    return nil, "not found"
  end
  write(self, key, math.max(level - ONE, 0), at)
  return true
end

function _M:set_rate(rate)
  self.rate = rate * ONE
end

function _M:set_burst(burst)
  self.burst = burst * ONE
end

return _M
