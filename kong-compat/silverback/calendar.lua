-- The Gregorian calendar, before and behind the years that the C library knows: what `luatz` and
-- `date` stand on. Days count from 1970-01-01.

local floor = math.floor

local _M = {
  WEEKDAYS = { "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday" },
  MONTHS = {
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
  },
}

function _M.is_leap(year)
  return year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)
end

-- A year of these begins in March, so that the leap day is its last. Months and days may lie
-- outside of their ranges.
function _M.days(year, month, day)
  year, month = year + floor((month - 1) / 12), (month - 1) % 12 + 1
  if month < 3 then
    year = year - 1
  end
  local of_year = floor((153 * ((month + 9) % 12) + 2) / 5) + day - 1
  return 365 * year + floor(year / 4) - floor(year / 100) + floor(year / 400) + of_year - 719468
end

-- Year, month and day.
function _M.civil(days)
  days = days + 719468
  local era = floor(days / 146097)
  local of_era = days - era * 146097
  local leaps = floor(of_era / 1460) - floor(of_era / 36524) + floor(of_era / 146096)
  local year = floor((of_era - leaps) / 365)
  local of_year = of_era - (365 * year + floor(year / 4) - floor(year / 100))
  local month = floor((5 * of_year + 2) / 153)
  local day = of_year - floor((153 * month + 2) / 5) + 1
  month = month < 10 and month + 3 or month - 9
  return year + era * 400 + (month <= 2 and 1 or 0), month, day
end

-- From 1 for Sunday.
function _M.weekday(days)
  return (days + 4) % 7 + 1
end

-- From 1.
function _M.yearday(days)
  return days - _M.days((_M.civil(days)), 1, 1) + 1
end

-- The Monday of the first week of a year, by ISO 8601.
function _M.first_monday(year)
  local fourth = _M.days(year, 1, 4)
  return fourth - (_M.weekday(fourth) + 5) % 7
end

-- Year, week and weekday from Monday, by ISO 8601.
function _M.iso_week(days)
  local year = _M.civil(days)
  if days >= _M.first_monday(year + 1) then
    year = year + 1
  elseif days < _M.first_monday(year) then
    year = year - 1
  end
  return year, floor((days - _M.first_monday(year)) / 7) + 1, (days + 3) % 7 + 1
end

local function days_of(t)
  return _M.days(t.year, t.month, t.day)
end

local function twelve(hour)
  return (hour - 1) % 12 + 1
end

local function half(t)
  return t.hour < 12 and "AM" or "PM"
end

local function short(names, at)
  return names[at]:sub(1, 3)
end

local function week(t, first)
  local days = days_of(t)
  return floor((_M.yearday(days) - 1 + 7 - (_M.weekday(days) - first) % 7) / 7)
end

-- What the letters of `strftime` stand for: a format and a function of the time.
local SPECIFIERS = {
  a = { "%s", function(t) return short(_M.WEEKDAYS, _M.weekday(days_of(t))) end },
  A = { "%s", function(t) return _M.WEEKDAYS[_M.weekday(days_of(t))] end },
  b = { "%s", function(t) return short(_M.MONTHS, t.month) end },
  B = { "%s", function(t) return _M.MONTHS[t.month] end },
  C = { "%02d", function(t) return floor(t.year / 100) end },
  d = { "%02d", function(t) return t.day end },
  D = { "%02d/%02d/%02d", function(t) return t.month, t.day, t.year % 100 end },
  e = { "%2d", function(t) return t.day end },
  F = { "%d-%02d-%02d", function(t) return t.year, t.month, t.day end },
  g = { "%02d", function(t) return _M.iso_week(days_of(t)) % 100 end },
  G = { "%d", function(t) return _M.iso_week(days_of(t)) end },
  H = { "%02d", function(t) return t.hour end },
  I = { "%02d", function(t) return twelve(t.hour) end },
  j = { "%03d", function(t) return _M.yearday(days_of(t)) end },
  m = { "%02d", function(t) return t.month end },
  M = { "%02d", function(t) return t.min end },
  n = { "\n", function() end },
  p = { "%s", half },
  r = { "%02d:%02d:%02d %s", function(t) return twelve(t.hour), t.min, t.sec, half(t) end },
  R = { "%02d:%02d", function(t) return t.hour, t.min end },
  s = { "%d", function(t) return days_of(t) * 86400 + (t.hour * 60 + t.min) * 60 + t.sec end },
  S = { "%02d", function(t) return t.sec end },
  t = { "\t", function() end },
  T = { "%02d:%02d:%02d", function(t) return t.hour, t.min, t.sec end },
  u = { "%d", function(t) return (select(3, _M.iso_week(days_of(t)))) end },
  U = { "%02d", function(t) return week(t, 1) end },
  V = { "%02d", function(t) return (select(2, _M.iso_week(days_of(t)))) end },
  w = { "%d", function(t) return _M.weekday(days_of(t)) - 1 end },
  W = { "%02d", function(t) return week(t, 2) end },
  y = { "%02d", function(t) return t.year % 100 end },
  Y = { "%d", function(t) return t.year end },
  z = { "+0000", function() end },
  Z = { "GMT", function() end },
  ["%"] = { "%%", function() end },
  c = { "%s %s%3d %02d:%02d:%02d %d", function(t)
    return short(_M.WEEKDAYS, _M.weekday(days_of(t))), short(_M.MONTHS, t.month), t.day, t.hour,
      t.min, t.sec, t.year
  end },
}
SPECIFIERS.h, SPECIFIERS.x, SPECIFIERS.X = SPECIFIERS.b, SPECIFIERS.D, SPECIFIERS.T

-- One letter for a time of year, month, day, hour, min and sec; nil if there is no such letter.
function _M.specifier(letter, time)
  local found = SPECIFIERS[letter]
  return found and found[1]:format(found[2](time))
end

return _M
