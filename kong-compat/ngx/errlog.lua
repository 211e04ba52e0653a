-- ngx.errlog: lines for the log. Nobody may read them back or filter them.

local _M = {}

-- Without the place of the caller, which `ngx.log` would put in front.
function _M.raw_log(level, message)
  if type(level) ~= "number" then
    error("bad argument #1 to 'raw_log' (must be a number)", 2)
  end
  ngx.log(level, message)
end

function _M.get_sys_filter_level()
  return (require("resty.kong.log").get_log_level())
end

function _M.set_filter_level()
  return nil, "the log of this gateway has one level: log_level"
end

function _M.get_logs()
  return {}
end

return _M
