-- `resty.kong.log`: the level of the log, which is that of the setting `log_level`.

local _M = {}

local LEVELS = {
  debug = ngx.DEBUG, info = ngx.INFO, notice = ngx.NOTICE, warn = ngx.WARN,
  error = ngx.ERR, crit = ngx.CRIT, alert = ngx.ALERT, emerg = ngx.EMERG,
}

-- The level, the seconds until it changes back, and what it will be then.
function _M.get_log_level()
  local level = LEVELS[kong.configuration.log_level] or ngx.NOTICE
  return level, 0, level
end

local function check(name, value)
  assert(type(value) == "number", name .. " must be a number")
  assert(math.floor(value) == value, name .. " must be an integer")
end

function _M.set_log_level(level, timeout)
  check("level", level)
  check("timeout", timeout)
  error("failed to set dynamic log level: the log of this gateway has one level: log_level", 2)
end

return _M
