-- Dates and times as people and programs write them, for the module `date`.

local calendar = require "silverback.calendar"

-- Minutes behind Greenwich.
local ZONES = {
  utc = 0, gmt = 0, est = 300, edt = 240, cst = 360, cdt = 300, mst = 420, mdt = 360, pst = 480,
  pdt = 420,
}

local Reader = {}
Reader.__index = Reader

-- What a pattern matches at the place of the reader, which moves behind it.
function Reader:take(pattern)
  local first, last, a, b, c, d = self.text:find("^" .. pattern, self.at)
  if not first then
    return nil
  end
  self.at = last + 1
  return a or true, b, c, d
end

function Reader:fail(what)
  error(what .. "\n" .. self.text .. "\n" .. ("."):rep(self.at - 1) .. "^", 0)
end

function Reader:set(name, value)
  if self.found[name] ~= nil then
    self:fail "duplicate value: "
  end
  self.found[name] = value
end

function Reader:set_time(hour, min, sec, fraction)
  self:set("hour", tonumber(hour))
  self:set("min", tonumber(min) or 0)
  local part = fraction and tonumber("0." .. fraction:sub(2)) or 0
  self:set("sec", (tonumber(sec) or 0) + part)
end

function Reader:set_zone(sign, hours, minutes)
  local behind = tonumber(hours) * 60 + tonumber(minutes)
  self:set("zone", sign == "+" and -behind or behind)
end

-- ISO 8601: the day by month, week or number.
local function iso_day(self)
  local year, _, month, day = self:take "(%d%d%d%d)(%-?)(%d%d)%2(%d%d)"
  if year then
    self:set("month", tonumber(month))
    self:set("day", tonumber(day))
    return year
  end
  local week, weekday
  year, _, week, weekday = self:take "(%d%d%d%d)(%-?)[Ww](%d%d)%2(%d?)"
  if year then
    self:set("week", tonumber(week))
    self:set("weekday", tonumber(weekday) or 1)
    return year
  end
  year, day = self:take "(%d%d%d%d)%-?(%d%d%d)"
  if year then
    self:set("yearday", tonumber(day))
    return year
  end
  year, month = self:take "(%d%d%d%d)%-?(%d%d)"
  if year then
    self:set("month", tonumber(month))
    self:set("day", 1)
  end
  return year
end

local function iso_zone(self)
  local sign, hours, minutes = self:take "%s*([+-])(%d%d):?(%d%d)%s*$"
  if not sign then
    sign, hours = self:take "%s*([+-])(%d%d)%s*$"
  end
  if sign then
    self:set_zone(sign, hours, minutes or 0)
    return true
  end
  return self:take "%s*[Zz]?%s*$" ~= nil
end

-- Whether the whole text is a date of ISO 8601, with or without a time.
local function iso(self)
  local year = iso_day(self)
  if not year then
    return false
  end
  self:set("year", tonumber(year))
  local hour = self:take "%s*[Tt]?(%d%d):?"
  if hour then
    local min = self:take "(%d%d):?"
    local sec = min and self:take "(%d%d)"
    self:set_time(hour, min, sec, sec and self:take "([,.]%d+)" or nil)
  end
  return iso_zone(self)
end

local function among(word, names)
  if #word < 2 then
    return nil
  end
  for i, name in ipairs(names) do
    if name:sub(1, #word):lower() == word then
      return i
    end
  end
end

local function meridian(self, letter)
  local hour = self.found.hour
  if not hour or hour > 12 then
    self:fail "invalid date: "
  end
  if letter:lower() == "a" then
    self.found.hour = hour == 12 and 0 or hour
  else
    self.found.hour = hour == 12 and 12 or hour + 12
  end
end

-- A word that is no name: half of the day, or an era.
local function short_word(self)
  if self:take "[bB]%s*%.?%s*[cC]%s*%.?%s*[eE]?%s*%.?%s*" then
    self:set("era", -1)
  elseif self:take "[aA]%s*%.?%s*[dD]%s*%.?%s*" or self:take "[cC]%s*%.?%s*[eE]%s*%.?%s*" then
    self:set("era", 1)
  else
    local letter = self:take "([pPaA])%s*%.?%s*[mM]?%s*%.?%s*"
    if not letter then
      self:fail "syntax error: "
    end
    meridian(self, letter)
  end
end

local function word(self)
  local from = self.at
  local text = self:take "(%a+)[/\\%s,-]?%s*"
  if not text then
    return false
  end
  text = text:lower()
  local month, found = among(text, calendar.MONTHS), self.found
  if month then
    if found.month and not found.day and not found.year then
      found.day, found.month = found.month, nil
    end
    self:set("month", month)
  elseif ZONES[text] then
    if ZONES[text] ~= 0 then
      self:set("zone", ZONES[text])
    end
  elseif not among(text, calendar.WEEKDAYS) then
    self.at = from
    short_word(self)
  end
  return true
end

local function digits(self, flip)
  local text = self:take "(%d+)[/\\%s,-]?%s*"
  if not text then
    return false
  end
  local number, found = tonumber(text), self.found
  if number >= 70 or #text > 3 or found.month and found.day and not found.year then
    if number < 100 and #text <= 3 then
      number = number + (number < flip and 2000 or 1900)
    end
    self:set("year", number)
  elseif found.month then
    self:set("day", number)
  else
    found.month = number
  end
  return true
end

local function clock(self)
  local hour = self:take "[tT:]?%s*(%d%d?):"
  if not hour then
    return false
  end
  local min = self:take "%s*(%d%d?)"
  local sec = min and self:take "%s*:%s*(%d%d?)"
  self:set_time(hour, min, sec, sec and self:take "([,.]%d+)" or nil)
  return true
end

local function zone(self)
  local sign, hours, minutes = self:take "([+-])(%d%d?):(%d%d)"
  if not sign then
    sign, hours = self:take "([+-])(%d+)"
    if not sign then
      return self:take "[Zz]%s*$" ~= nil
    end
    local number = tonumber(hours)
    if number >= 24 then
      hours, minutes = math.floor(number / 100), number % 100
    end
  end
  self:set_zone(sign, hours, minutes or 0)
  return true
end

local function free(self, flip)
  repeat
    if not (clock(self) or digits(self, flip) or word(self) or zone(self)) then
      self:fail "syntax error: ?"
    end
    self:take "%s*"
  until self.at > #self.text
end

local function check(self)
  local found = self.found
  local days = (found.month and 1 or 0) + (found.week and 1 or 0) + (found.yearday and 1 or 0)
  local is_half = (found.month ~= nil) ~= (found.day ~= nil)
  if not found.year and not found.hour or is_half or days > 1 then
    self:fail "invalid date: !"
  end
  if found.era == -1 and found.year > 0 then
    found.year = 1 - found.year
  end
end

-- The parts that were found: year, month and day, or week and weekday, or yearday; hour, min and
-- sec; zone in minutes behind Greenwich. Comments in parentheses count for nothing.
return function(text, flip)
  text = text:gsub("%b()", ""):gsub("^%s+", "")
  local self = setmetatable({ text = text, at = 1, found = {} }, Reader)
  local ok, is_iso = pcall(iso, self)
  if not ok or not is_iso then
    self.at, self.found = 1, {}
    free(self, flip)
  end
  check(self)
  return self.found
end
