-- Locks over a shared dictionary: one holder in all workers, and an end for one who forgets.

local _M = { _VERSION = "0.09" }
local methods = { __index = _M }

local DEFAULTS = { timeout = 5, exptime = 30, step = 0.001, ratio = 2, max_step = 0.5 }

function _M.new(_, dict_name, options)
  local dict = ngx.shared[dict_name]
  if not dict then
    return nil, "dictionary not found"
  end
  local lock = { dict = dict }
  for name, default in pairs(DEFAULTS) do
    lock[name] = options and tonumber(options[name]) or default
  end
  lock.timeout = math.min(lock.timeout, lock.exptime)
  return setmetatable(lock, methods)
end

-- The seconds that it took; nil and "timeout" if somebody else holds it all the time.
function _M.lock(self, key)
  if not key then
    return nil, "nil key"
  end
  if self.key then
    return nil, "locked"
  end
  local step, waited = self.step, 0
  while true do
    local ok, err = self.dict:add(key, true, self.exptime)
    if ok then
      self.key = key
      return waited
    end
    if err ~= "exists" then
      return nil, err
    end
    if waited >= self.timeout then
      return nil, "timeout"
    end
    step = math.min(step, self.timeout - waited)
    ngx.sleep(step)
    waited = waited + step
    step = math.min(math.max(step * self.ratio, 0.001), self.max_step)
  end
end

function _M.unlock(self)
  local key = self.key
  if not key then
    return nil, "unlocked"
  end
  self.key = nil
  local ok, err = self.dict:delete(key)
  if not ok and err then
    return nil, err
  end
  return 1
end

-- Holds it for so many seconds from now.
function _M.expire(self, seconds)
  if not self.key then
    return nil, "unlocked"
  end
  seconds = seconds or self.exptime
  local ok, err = self.dict:replace(self.key, true, seconds)
  if not ok then
    return nil, err
  end
  return true
end

return _M
