-- The time in milliseconds, and the periods that it lies in.

local timetable = require "luatz.timetable"

local _M = {}

-- What is larger counts in milliseconds: seconds would be beyond the year 20000.
local MILLISECONDS_FROM = 568971820800

_M.timestamp_table_fields = require("pl.tablex").readonly {
  "second", "minute", "hour", "day", "month", "year",
}

-- Whole seconds, in milliseconds.
function _M.get_utc()
  return math.floor(ngx.now()) * 1000
end

function _M.get_utc_ms()
  return ngx.now() * 1000
end

function _M.get_timetable(now)
  local time = now or _M.get_utc()
  if time > MILLISECONDS_FROM then
    time = time / 1000
  end
  return timetable.new_from_timestamp(time)
end

-- When the second, minute, hour, day, month and year of a time began.
function _M.get_timestamps(now)
  local time = _M.get_timetable(now)
  local began = {}
  local function note(period)
    began[period] = time:timestamp() * 1000
  end
  time.sec = math.floor(time.sec)
  note "second"
  time.sec = 0
  note "minute"
  time.min = 0
  note "hour"
  time.hour = 0
  note "day"
  time.day = 1
  note "month"
  time.month = 1
  note "year"
  return began
end

return _M
