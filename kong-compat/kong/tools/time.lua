-- The time in several units. The clock of a worker does not stand still, so there is nothing to
-- update.

local libc = require "silverback.libc"
local ffi = require "ffi"

local _M = {}

local spec = ffi.new("nanotime[1]")

local function clock(which)
  libc.clock_gettime(which, spec)
  return tonumber(spec[0].tv_sec), tonumber(spec[0].tv_nsec)
end

function _M.time_ns()
  local seconds, nanoseconds = clock(0)
  return seconds * 1e9 + nanoseconds
end

function _M.get_now_ms()
  return ngx.now() * 1000
end

_M.get_updated_now = ngx.now
_M.get_updated_now_ms = _M.get_now_ms

function _M.get_updated_monotonic_ms()
  local seconds, nanoseconds = clock(ffi.os == "Linux" and 1 or 6)
  return math.floor(seconds * 1e3 + nanoseconds / 1e6)
end

function _M.get_start_time_ms()
  return ngx.req.start_time() * 1000
end

local UNITS = {
  ms = 0.001, s = 1, m = 60, h = 3600, d = 86400, w = 604800, M = 2592000, y = 31536000,
}

-- Seconds of a time as nginx' configuration writes it: `1h 30m`.
function _M.nginx_conf_time_to_seconds(text)
  local seconds, rest = 0, text
  while rest ~= "" do
    local number, unit, behind = rest:match("^%s*(%d+)(%a*)%s*(.*)$")
    if not number or unit ~= "" and not UNITS[unit] then
      error("bad argument #1 'str'", 2)
    end
    seconds = seconds + tonumber(number) * (UNITS[unit] or 1)
    rest = behind
  end
  return seconds
end

return _M
