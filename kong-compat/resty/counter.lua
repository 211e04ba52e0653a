-- Counters of a worker that are added to a shared dictionary now and then.

local _M = { _VERSION = "0.2.1" }
_M.__index = _M

-- What each dictionary is still to be given, by key; the same for all counters of a dictionary.
local pending = {}

local function flush(self)
  local increments = pending[self.name]
  for key, step in pairs(increments) do
    increments[key] = nil
    local _, err = self.dict:incr(key, step, 0)
    if err then
      ngx.log(ngx.WARN, "error increasing counter in shdict key: ", key, ", err: ", err)
      if self.error_metric_name then
        self.dict:incr(self.error_metric_name, 1, 0)
      end
    end
  end
  return true
end

-- `sync_interval` seconds lie between two times; without it somebody has to call `sync`.
function _M.new(name, sync_interval, error_metric_name)
  local dict = ngx.shared[name]
  if not dict then
    error('shared dict "' .. (name or "nil") .. '" not defined', 2)
  end
  pending[name] = pending[name] or {}
  local self = setmetatable({
    name = name,
    dict = dict,
    error_metric_name = error_metric_name,
  }, _M)
  if sync_interval then
    local ok, err = ngx.timer.every(sync_interval, function() flush(self) end)
    if not ok then
      return nil, err
    end
  end
  return self
end

function _M.sync(self)
  return flush(self)
end

function _M.incr(self, key, step)
  local increments = pending[self.name]
  increments[key] = (increments[key] or 0) + (step or 1)
  return true
end

function _M.reset(self, key, number)
  if not number then
    return nil, "expect a number at #2"
  end
  return self.dict:incr(key, -number, number)
end

function _M.get(self, key)
  return self.dict:get(key)
end

function _M.get_keys(self, most)
  return self.dict:get_keys(most)
end

return _M
