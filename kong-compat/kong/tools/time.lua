-- The time in several units.

local _M = {}

function _M.time_ns()
  return ngx.now() * 1e9
end

function _M.get_now_ms()
  return ngx.now() * 1000
end

function _M.get_updated_now_ms()
  return ngx.now() * 1000
end

function _M.get_updated_now()
  return ngx.now()
end

function _M.get_start_now_ms()
  return kong.request.get_start_time()
end

return _M
