-- Times in parts: the module `luatz.timetable`.

local calendar = require "silverback.calendar"
local strftime = require("luatz.strftime").strftime

local floor = math.floor

local _M = { is_leap = calendar.is_leap }

function _M.day_of_year(day, month, year)
  return calendar.yearday(calendar.days(year, month, day))
end

function _M.day_of_week(day, month, year)
  return calendar.weekday(calendar.days(year, month, day))
end

local function month_length(month, year)
  return calendar.days(year, month + 1, 1) - calendar.days(year, month, 1)
end

-- What lies behind the point goes to the next smaller unit, of which the larger has so many.
local function lend(large, small, size)
  local fraction = large % 1
  return large - fraction, small + fraction * size
end

-- Parts within their ranges, from parts that are not.
function _M.normalise(year, month, day, hour, min, sec)
  year, month = lend(year, month, 12)
  year, month = year + floor((month - 1) / 12), (month - 1) % 12 + 1
  month, day = lend(month, day, month_length(floor(month), year))
  day, hour = lend(day, hour, 24)
  hour, min = lend(hour, min, 60)
  min, sec = lend(min, sec, 60)
  min, sec = min + floor(sec / 60), sec % 60
  hour, min = hour + floor(min / 60), min % 60
  day, hour = day + floor(hour / 24), hour % 24
  year, month, day = calendar.civil(calendar.days(year, month, day))
  return year, month, day, hour, min, sec
end

function _M.timestamp(...)
  local year, month, day, hour, min, sec = _M.normalise(...)
  return calendar.days(year, month, day) * 86400 + hour * 3600 + min * 60 + sec
end

local methods = {}
local meta = { __index = methods }
_M.timetable_mt = meta

function _M.cast(parts)
  return setmetatable(parts, meta)
end

function _M.new(year, month, day, hour, min, sec, yday, wday)
  return _M.cast {
    year = year, month = month, day = day, hour = hour, min = min, sec = sec, yday = yday,
    wday = wday,
  }
end

function _M.new_from_timestamp(time)
  if type(time) ~= "number" then
    error("bad argument #1 to 'new_from_timestamp' (number expected, got " .. type(time) .. ")", 2)
  end
  return _M.new(1970, 1, 1, 0, 0, time):normalise()
end

function methods:unpack()
  return assert(self.year, "year required"), assert(self.month, "month required"),
    assert(self.day, "day required"), self.hour or 12, self.min or 0, self.sec or 0, self.yday,
    self.wday
end

function methods:normalise()
  local year, month, day, hour, min, sec = _M.normalise(self:unpack())
  self.year, self.month, self.day = year, month, day
  self.hour, self.min, self.sec = hour, min, sec
  self.yday = _M.day_of_year(day, month, year)
  self.wday = _M.day_of_week(day, month, year)
  return self
end

methods.normalize = methods.normalise

function methods:timestamp()
  return _M.timestamp(self:unpack())
end

function methods:clone()
  return _M.new(self:unpack())
end

function methods:strftime(format)
  return strftime(format, self)
end

function methods:rfc_3339()
  local year, month, day, hour, min, sec = self:unpack()
  local whole = floor(sec)
  return ("%04d-%02d-%02dT%02d:%02d:%02d.%03d"):format(year, month, day, hour, min, whole,
    floor((sec - whole) * 1000))
end

meta.__tostring = methods.rfc_3339

local function number_of(value)
  return getmetatable(value) == meta and value:timestamp() or value
end

function meta.__eq(a, b)
  return a:timestamp() == b:timestamp()
end

function meta.__lt(a, b)
  return a:timestamp() < b:timestamp()
end

function meta.__sub(a, b)
  return number_of(a) - number_of(b)
end

return _M
