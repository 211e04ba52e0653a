-- Sets: Penlight's `Set`. Its functions take the set first; a set has no methods.

local class = require "pl.class"
local tablex = require "pl.tablex"
local utils = require "pl.utils"
local Map = require "pl.Map"

local Set = class(Map, nil, utils.stdmt.Set)
Set._name = "Set"
Set.__index = nil

local function is_set(value)
  local meta = getmetatable(value)
  return meta == Set or meta == Map
end

local function set(values)
  return setmetatable(values, Set)
end

function Set:_init(values)
  if is_set(values) then
    for key in pairs(values) do
      self[key] = true
    end
  else
    for _, value in ipairs(values or {}) do
      self[value] = true
    end
  end
end

Set.values = tablex.keys
Set.len, Set.__len = tablex.size, tablex.size

function Set.map(self, f, ...)
  f = utils.function_arg(1, f)
  local made = set {}
  for key in pairs(self) do
    made[f(key, ...)] = true
  end
  return made
end

function Set.union(a, b)
  return set(tablex.merge(a, b, true))
end

function Set.intersection(a, b)
  return set(tablex.merge(a, b, false))
end

function Set.difference(a, b)
  return set(tablex.difference(a, b, false))
end

function Set.symmetric_difference(a, b)
  return set(tablex.difference(a, b, true))
end

function Set.issubset(a, b)
  for key in pairs(a) do
    if not b[key] then
      return false
    end
  end
  return true
end

function Set.isempty(self)
  return next(self) == nil
end

function Set.isdisjoint(a, b)
  return Set.isempty(Set.intersection(a, b))
end

-- A set with a value more, or less.
local function with(self, value, there)
  local made = Set(self)
  made[value] = there
  return made
end

function Set.__add(a, b)
  return is_set(b) and Set.union(a, b) or with(a, b, true)
end

function Set.__sub(a, b)
  return is_set(b) and Set.difference(a, b) or with(a, b, nil)
end

Set.__mul, Set.__pow, Set.__lt = Set.intersection, Set.symmetric_difference, Set.issubset

function Set.__eq(a, b)
  return Set.issubset(a, b) and Set.issubset(b, a)
end

function Set.__tostring(self)
  return "[" .. table.concat(utils.array_tostring(Set.values(self)), ",") .. "]"
end

return Set
