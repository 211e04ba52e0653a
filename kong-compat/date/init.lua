-- Dates and spans of time: the module `date`. Local time is UTC.

local calendar = require "silverback.calendar"
local parse = require "date.parse"

local floor = math.floor

local SECONDS = 86400
-- A day counts from the first of January of the year 1.
local EPOCH = 719162
local LIMIT = 365242500

local ticks_per_second = 1000000
local century_flip = 0
local default_format = "%x %X"
local first_day, last_day = -LIMIT, LIMIT

local methods = {}
methods.__index = methods
methods.__metatable = methods

local _M = { version = 20020001 }

local function invalid()
  error("invalid argument(s)", 0)
end

local function whole(value)
  local number = tonumber(value)
  return number and (number > 0 and floor(number) or math.ceil(number))
end

local function new(days, ticks)
  return setmetatable({ daynum = days, dayfrc = ticks }, methods)
end

local function day_number(year, month, day)
  return calendar.days(year, month, day) + EPOCH
end

local function ticks_of(hour, min, sec, ticks)
  return ((hour * 60 + min) * 60 + sec) * ticks_per_second + ticks
end

local function per_day()
  return SECONDS * ticks_per_second
end

function methods:normalize()
  local days = whole(self.daynum)
  if days < first_day or days > last_day then
    error("date beyond imposed limits", 0)
  end
  self.daynum = days + floor(self.dayfrc / per_day())
  self.dayfrc = self.dayfrc % per_day()
  return self
end

local function iso_day(year, week, weekday)
  return calendar.first_monday(year) + EPOCH + 7 * (week - 1) + weekday - 1
end

local function from_text(text)
  local found = parse(text, century_flip)
  local days = 0
  if found.week then
    days = iso_day(found.year, found.week, found.weekday)
  elseif found.yearday then
    days = day_number(found.year, 1, found.yearday)
  elseif found.year then
    days = day_number(found.year, found.month or 1, found.day or 1)
  end
  local ticks = ticks_of(found.hour or 0, found.min or 0, found.sec or 0, 0)
  return new(days, ticks + (found.zone or 0) * 60 * ticks_per_second)
end

-- The number of a month, or of the one whose name begins so.
local function month_of(value)
  if tonumber(value) then
    return whole(value)
  end
  local text = tostring(value):lower()
  for i, name in ipairs(calendar.MONTHS) do
    if #text >= 2 and name:sub(1, #text):lower() == text then
      return i
    end
  end
end

local function from_table(parts)
  local year, month, day = whole(parts.year), month_of(parts.month), whole(parts.day)
  if (year or month or day) and not (year and month and day) then
    error("incomplete table", 0)
  end
  local hour, min = tonumber(parts.hour), tonumber(parts.min)
  local sec, ticks = tonumber(parts.sec), tonumber(parts.ticks)
  if year or hour or min or sec or ticks then
    local days = year and day_number(year, month, day) or 0
    return new(days, ticks_of(hour or 0, min or 0, sec or 0, ticks or 0))
  end
end

-- A date from whatever is one; the second value tells that it is the one that was given.
local function object(value)
  local kind, made, same = type(value), nil, false
  if kind == "number" then
    made = new(EPOCH, 0):addseconds(value)
  elseif kind == "string" then
    made = from_text(value)
  elseif kind == "boolean" then
    made = from_table(os.date("!*t"))
  elseif kind == "table" and getmetatable(value) == methods then
    made, same = value, true
  elseif kind == "table" then
    made = from_table(value)
  end
  if not made then
    error("invalid date time value", 0)
  end
  return made:normalize(), same
end

local function from_parts(year, month, day, hour, min, sec, ticks)
  year, month, day = whole(year), month_of(month), whole(day)
  hour, min = tonumber(hour or 0), tonumber(min or 0)
  sec, ticks = tonumber(sec or 0), tonumber(ticks or 0)
  if not (year and month and day and hour and min and sec and ticks) then
    invalid()
  end
  return new(day_number(year, month, day), ticks_of(hour, min, sec, ticks)):normalize()
end

function methods:copy()
  return new(self.daynum, self.dayfrc)
end

local function civil(self)
  return calendar.civil(self.daynum - EPOCH)
end

methods.getdate = civil

function methods:getyear() return (civil(self)) end
function methods:getmonth() return (select(2, civil(self))) end
function methods:getday() return (select(3, civil(self))) end

local function second_of_day(self)
  return floor(self.dayfrc / ticks_per_second)
end

function methods:gethours() return floor(second_of_day(self) / 3600) end
function methods:getminutes() return floor(second_of_day(self) / 60) % 60 end
function methods:getseconds() return second_of_day(self) % 60 end

function methods:getticks(unit)
  local ticks = self.dayfrc % ticks_per_second
  return unit and ticks * unit / ticks_per_second or ticks
end

function methods:getfracsec() return self:getseconds() + self:getticks() / ticks_per_second end

function methods:gettime()
  return self:gethours(), self:getminutes(), self:getseconds(), self:getticks()
end

function methods:getclockhour()
  return (self:gethours() - 1) % 12 + 1
end

function methods:getyearday() return calendar.yearday(self.daynum - EPOCH) end
function methods:getweekday() return calendar.weekday(self.daynum - EPOCH) end
function methods:getisoweekday() return (self:getweekday() + 5) % 7 + 1 end

-- Weeks from the first Sunday on, or from another day of the week.
function methods:getweeknumber(first)
  local base = first == nil and 1 or tonumber(first)
  if not base then
    invalid()
  end
  local weekday = (self:getweekday() - base) % 7
  return floor((self:getyearday() - 1 + 7 - weekday) / 7)
end

function methods:getisodate()
  return calendar.iso_week(self.daynum - EPOCH)
end

function methods:getisoyear() return (self:getisodate()) end
function methods:getisoweeknumber() return (select(2, self:getisodate())) end

-- The value that is wanted, or the one that there is.
local function either(wanted, there)
  if wanted == nil then
    return there
  end
  return whole(wanted) or invalid()
end

function methods:setisoyear(year, week, weekday)
  local old_year, old_week, old_weekday = self:getisodate()
  self.daynum = iso_day(either(year, old_year), either(week, old_week),
    either(weekday, old_weekday))
  return self:normalize()
end

function methods:setisoweeknumber(week, weekday) return self:setisoyear(nil, week, weekday) end
function methods:setisoweekday(weekday) return self:setisoyear(nil, nil, weekday) end

function methods:setyear(year, month, day)
  local old_year, old_month, old_day = civil(self)
  if month ~= nil then
    old_month = month_of(month) or invalid()
  end
  self.daynum = day_number(either(year, old_year), old_month, either(day, old_day))
  return self:normalize()
end

function methods:setmonth(month, day) return self:setyear(nil, month, day) end
function methods:setday(day) return self:setyear(nil, nil, day) end

function methods:sethours(hour, min, sec, ticks)
  local old_hour, old_min, old_sec, old_ticks = self:gettime()
  hour, min = tonumber(hour or old_hour), tonumber(min or old_min)
  sec, ticks = tonumber(sec or old_sec), tonumber(ticks or old_ticks)
  if not (hour and min and sec and ticks) then
    invalid()
  end
  self.dayfrc = ticks_of(hour, min, sec, ticks)
  return self:normalize()
end

function methods:setminutes(min, sec, ticks) return self:sethours(nil, min, sec, ticks) end
function methods:setseconds(sec, ticks) return self:sethours(nil, nil, sec, ticks) end
function methods:setticks(ticks) return self:sethours(nil, nil, nil, ticks) end

function methods:addyears(years, months, days)
  local year, month, day = civil(self)
  self.daynum = day_number(year + either(years, 0), month + either(months, 0),
    day + either(days, 0))
  return self:normalize()
end

function methods:addmonths(months, days) return self:addyears(nil, months, days) end

-- Ticks in a unit of so many to the day.
local function unit(units_per_day)
  return function(self, count)
    local n = tonumber(count) or invalid()
    local days = floor(n / units_per_day())
    self.daynum = self.daynum + days
    self.dayfrc = self.dayfrc + (n - days * units_per_day()) * (per_day() / units_per_day())
    return self:normalize()
  end, function(self)
    return (self.daynum * per_day() + self.dayfrc) / (per_day() / units_per_day())
  end
end

methods.adddays, methods.spandays = unit(function() return 1 end)
methods.addhours, methods.spanhours = unit(function() return 24 end)
methods.addminutes, methods.spanminutes = unit(function() return 1440 end)
methods.addseconds, methods.spanseconds = unit(function() return SECONDS end)
methods.addticks, methods.spanticks = unit(per_day)

local FORMATS = {
  ["%c"] = "%x %X", ["%x"] = "%a %b %d %\b", ["%X"] = "%H:%M:%\f", ["%R"] = "%I:%M",
  ["%r"] = "%I:%M:%S %p", ["${iso}"] = "%Y-%m-%dT%T", ["${http}"] = "%a, %d %b %Y %T GMT",
  ["${ctime}"] = "%a %b %d %T GMT %Y", ["${rfc850}"] = "%A, %d-%b-%y %T GMT",
  ["${rfc1123}"] = "%a, %d %b %Y %T GMT", ["${asctime}"] = "%a %b %d %T %Y",
}

local function year_with_era(self)
  local year = self:getyear()
  return ("%04d%s"):format(year > 0 and year or 1 - year, year > 0 and "" or " BCE")
end

function methods:fmt0(format)
  local time = { hour = self:gethours(), min = self:getminutes(), sec = self:getseconds() }
  time.year, time.month, time.day = civil(self)
  return (format:gsub("%%[%a%%\b\f]", function(code)
    if FORMATS[code] then
      return self:fmt0(FORMATS[code])
    elseif code == "%Y" or code == "%G" then
      return ("%04d"):format(code == "%Y" and time.year or self:getisoyear())
    elseif code == "%\b" then
      return year_with_era(self)
    elseif code == "%\f" then
      return ("%012.9f"):format(self:getfracsec())
    elseif code == "%Z" then
      return "UTC"
    end
    return calendar.specifier(code:sub(2), time) or code
  end))
end

function methods:fmt(format)
  format = format or self.fmtstr or default_format
  return self:fmt0((format:gsub("${%w+}", FORMATS)))
end

-- Local time is UTC.
function methods:tolocal() return self end
function methods:toutc() return self end
function methods:getbias() return 0 end
function methods:gettzname() return "UTC" end

function methods.__lt(a, b)
  return a.daynum < b.daynum or a.daynum == b.daynum and a.dayfrc < b.dayfrc
end

function methods.__le(a, b)
  return not (b < a)
end

function methods.__eq(a, b)
  return a.daynum == b.daynum and a.dayfrc == b.dayfrc
end

function methods.__sub(a, b)
  a, b = object(a), object(b)
  return new(a.daynum - b.daynum, a.dayfrc - b.dayfrc):normalize()
end

function methods.__add(a, b)
  a, b = object(a), object(b)
  return new(a.daynum + b.daynum, a.dayfrc + b.dayfrc):normalize()
end

function methods.__concat(a, b)
  return tostring(a) .. tostring(b)
end

methods.__tostring = function(self) return self:fmt() end

_M.diff = methods.__sub

function _M.time(hour, min, sec, ticks)
  hour, min = tonumber(hour or 0), tonumber(min or 0)
  sec, ticks = tonumber(sec or 0), tonumber(ticks or 0)
  if not (hour and min and sec and ticks) then
    invalid()
  end
  return new(0, ticks_of(hour, min, sec, ticks))
end

function _M.epoch()
  return new(EPOCH, 0)
end

function _M.isodate(year, week, weekday)
  return new(iso_day(year + 0, week or 1, weekday or 1), 0)
end

function _M.isleapyear(value)
  return calendar.is_leap(whole(value) or object(value):getyear())
end

function _M.isdateobject(value)
  return getmetatable(value) == methods
end

function _M.getcenturyflip()
  return century_flip
end

function _M.setcenturyflip(year)
  if year ~= floor(year) or year < 0 or year > 100 then
    invalid()
  end
  century_flip = year
end

function _M.fmt(format)
  default_format = format or default_format
  return default_format
end

function _M.ticks(count)
  ticks_per_second = count or ticks_per_second
  return ticks_per_second
end

function _M.daynummin(days)
  first_day = days and days < last_day and days or first_day
  return days and first_day or new(first_day, 0)
end

function _M.daynummax(days)
  last_day = days and days > first_day and days or last_day
  return days and last_day or new(last_day, 0)
end

return setmetatable(_M, {
  __call = function(_, first, ...)
    local count = select("#", ...) + (first == nil and 0 or 1)
    if count > 1 then
      return from_parts(first, ...)
    elseif count == 0 then
      return (object(false))
    end
    local made, same = object(first)
    return same and made:copy() or made
  end,
})
