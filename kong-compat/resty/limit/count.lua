-- So many requests in a window of time for each key, over a shared dictionary, with the interface
-- of the module of the same name of lua-resty-limit-traffic. The window opens with the first one.

local _M = { _VERSION = "0.09" }
_M.__index = _M

-- `window` is in seconds.
function _M.new(dict_name, limit, window)
  local dict = ngx.shared[dict_name]
  if not dict then
    return nil, "shared dict not found"
  end
  assert(limit > 0 and window > 0)
  return setmetatable({ dict = dict, limit = limit, window = window }, _M)
end

-- 0, and how many are left; or nil and "rejected". Only with `commit` does the request count.
function _M:incoming(key, commit)
  local left, err
  if commit then
    left, err = self.dict:incr(key, -1, self.limit, self.window)
    if not left then
      return nil, err
    end
  else
    left = (self.dict:get(key) or self.limit) - 1
  end
  if left < 0 then
    return nil, "rejected"
  end
  return 0, left
end

-- Takes back what was committed; how many are left.
function _M:uncommit(key)
  assert(key)
  local left, err = self.dict:incr(key, 1)
  if left then
    return left
  elseif err == "not found" then
    return self.limit
  end
  return nil, err
end

return _M
