-- A clock that never goes back: what plugins use of `resty.core.time`.

local time = require "kong.tools.time"

return {
  monotonic_msec = time.get_updated_monotonic_ms,
  monotonic_time = function() return time.get_updated_monotonic_ms() / 1000 end,
}
