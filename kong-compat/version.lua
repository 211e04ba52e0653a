-- Versions such as 1.2.3, and ranges of them: the module `version`.

local Version = {}
Version.__index = Version

local function parse(text)
  if type(text) ~= "string" and type(text) ~= "number" then
    return nil, "Not a valid version element: '" .. tostring(text) .. "'"
  end
  local parts, shown = {}, tostring(text)
  for part in shown:gmatch("[^.]+") do
    if not part:find("^%d+$") then
      return nil, "Not a valid version element: '" .. part .. "'"
    end
    parts[#parts + 1] = tonumber(part)
  end
  if #parts == 0 or shown:find("..", 1, true) then
    return nil, "Not a valid version element: '" .. shown .. "'"
  end
  return parts
end

local function version(text)
  if getmetatable(text) == Version then
    return text
  end
  local parts, err = parse(text)
  if not parts then
    return nil, err
  end
  return setmetatable(parts, Version)
end

local function compare(a, b)
  for i = 1, math.max(#a, #b) do
    local x, y = a[i] or 0, b[i] or 0
    if x ~= y then
      return x < y and -1 or 1
    end
  end
  return 0
end

function Version.__eq(a, b) return compare(a, b) == 0 end
function Version.__lt(a, b) return compare(a, b) < 0 end
function Version.__le(a, b) return compare(a, b) <= 0 end
function Version:__tostring() return table.concat(self, ".") end

-- Whether a version is at least this one and of the same major version.
function Version:semver(other)
  other = assert(version(other))
  return self[1] == other[1] and self <= other
end

local Range = {}
Range.__index = Range

local function range(from, to)
  local low, err = version(from)
  local high = low and to
  if low then
    high, err = version(to == nil and from or to)
  end
  if not high then
    return nil, err
  elseif high < low then
    return nil, "FROM version must be less than or equal to the TO version"
  end
  return setmetatable({ from = low, to = high }, Range)
end

function Range:matches(text)
  local one, err = version(text)
  if not one then
    return nil, err
  end
  return self.from <= one and one <= self.to
end

function Range:__tostring()
  local from, to = tostring(self.from), tostring(self.to)
  return from == to and from or from .. " to " .. to
end

-- Ranges that are allowed, but for those that are not.
local Set = {}
Set.__index = Set

function Set:allowed(from, to)
  table.insert(self.ok, assert(range(from, to)))
  return self
end

function Set:disallowed(from, to)
  table.insert(self.nok, assert(range(from, to)))
  return self
end

function Set:matches(text)
  local one, err = version(text)
  if not one then
    return nil, err
  end
  for _, no in ipairs(self.nok) do
    if no:matches(one) then
      return false
    end
  end
  for _, yes in ipairs(self.ok) do
    if yes:matches(one) then
      return true
    end
  end
  return false
end

local function set(from, to)
  local made = setmetatable({ ok = {}, nok = {} }, Set)
  return from and made:allowed(from, to) or made
end

return setmetatable({
  version = version, range = range, set = set,
  strict = { version = version, range = range, set = set },
}, { __call = function(_, text) return version(text) end })
