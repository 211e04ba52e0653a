-- Sequences, which are functions that give one value after the other: Penlight's `seq`.

local utils = require "pl.utils"

local _M = {}

function _M.greater_than(x)
  return function(value) return tonumber(value) > x end
end

function _M.less_than(x)
  return function(value) return tonumber(value) < x end
end

function _M.equal_to(x)
  return function(value)
    if type(x) == "number" then
      return tonumber(value) == x
    end
    return value == x
  end
end

function _M.matching(pattern)
  return function(value) return value:find(pattern) end
end

function _M.list(t)
  utils.assert_arg(1, t, "table")
  local i = 0
  return function()
    i = i + 1
    return t[i]
  end
end

function _M.iter(values)
  return type(values) == "table" and not utils.is_callable(values) and _M.list(values) or values
end

local iter = _M.iter

function _M.keys(t)
  utils.assert_arg(1, t, "table")
  local key
  return function()
    key = next(t, key)
    return key
  end
end

function _M.range(first, last)
  local i = first - 1
  return function()
    i = i + 1
    return i <= last and i or nil
  end
end

function _M.count(values, test, arg)
  local count = 0
  for value in iter(values) do
    count = count + (test(value, arg) and 1 or 0)
  end
  return count
end

function _M.minmax(values)
  local least, most = 1e70, -1e70
  for value in iter(values) do
    local number = tonumber(value)
    least, most = math.min(least, number), math.max(most, number)
  end
  return least, most
end

function _M.sum(values, f)
  local sum, count = 0, 0
  for value in iter(values) do
    sum, count = sum + (f and f(value) or value), count + 1
  end
  return sum, count
end

function _M.copy(values)
  local list = require "pl.List"()
  for value in iter(values) do
    list:append(value)
  end
  return list
end

function _M.copy2(values, a, b)
  local pairs_of = {}
  for first, second in values, a, b do
    pairs_of[#pairs_of + 1] = { first, second }
  end
  return pairs_of
end

function _M.copy_tuples(values)
  values = iter(values)
  local tuples = {}
  local tuple = { values() }
  while #tuple > 0 do
    tuples[#tuples + 1] = tuple
    tuple = { values() }
  end
  return tuples
end

function _M.random(count, low, high)
  return function()
    if count == 0 then
      return nil
    end
    count = count - 1
    if high then
      return math.random(low, high)
    end
    return low and math.random(low) or math.random()
  end
end

function _M.sort(values, order)
  return _M.list(_M.copy(values):sort(order))
end

function _M.zip(a, b)
  a, b = iter(a), iter(b)
  return function() return a(), b() end
end

function _M.count_map(values)
  local counts = setmetatable({}, require "pl.Map")
  for value in iter(values) do
    rawset(counts, value, (rawget(counts, value) or 0) + 1)
  end
  return counts
end

function _M.unique(values, as_table)
  local found = {}
  for value in pairs(_M.count_map(values)) do
    found[#found + 1] = value
  end
  table.sort(found)
  return as_table and found or _M.list(found)
end

function _M.splice(a, b)
  local first, second = iter(a), iter(b)
  return function()
    local value = first and first()
    if value == nil then
      first = nil
      return second()
    end
    return value
  end
end

function _M.map(f, values, arg)
  f, values = utils.function_arg(1, f), iter(values)
  return function()
    local first, second = values()
    if first ~= nil then
      return f(first, arg or second) or false
    end
  end
end

function _M.filter(values, keep, arg)
  keep, values = utils.function_arg(2, keep), iter(values)
  return function()
    local first, second = values()
    while first ~= nil do
      if keep(first, arg or second) then
        return first, second
      end
      first, second = values()
    end
  end
end

function _M.reduce(f, values, start)
  f, values = utils.function_arg(1, f), iter(values)
  local result = start or values()
  if result == nil then
    return nil
  end
  for value in values do
    result = f(result, value)
  end
  return result
end

function _M.take(values, count)
  values = iter(values)
  return function()
    if count >= 1 then
      count = count - 1
      return values()
    end
  end
end

function _M.skip(values, count)
  values = iter(values)
  for _ = 1, count or 1 do
    if values() == nil then
      return _M.list {}
    end
  end
  return values
end

function _M.enum(values)
  values = iter(values)
  local i = 0
  return function()
    local first, second = values()
    if first then
      i = i + 1
      return i, first, second
    end
  end
end

function _M.mapmethod(values, name, a, b)
  values = iter(values)
  return function()
    local value = values()
    if value then
      local method = value[name]
      if not method then
        error(type(value) .. " does not have method " .. name)
      end
      return method(value, a, b)
    end
  end
end

-- Each value with the one before it.
function _M.last(values)
  values = iter(values)
  local value = values()
  if value == nil then
    return _M.list {}
  end
  return function()
    local before = value
    value = values()
    if value ~= nil then
      return value, before
    end
  end
end

function _M.foreach(values, f)
  f = utils.function_arg(2, f)
  for a, b, c in iter(values) do
    f(a, b, c)
  end
end

-- Sequences as objects: `seq(list):filter(f):map(g):copy()`.
local wrapped = {}

local function wrap(values, ...)
  if utils.is_callable(values) then
    return setmetatable({ iter = values }, wrapped)
  end
  return values, ...
end

local SWAPPED = { map = true, reduce = true }

function wrapped.__index(_, name)
  return function(self, ...)
    if SWAPPED[name] then
      local f = ...
      return wrap(_M[name](f, self.iter, select(2, ...)))
    elseif _M[name] then
      return wrap(_M[name](self.iter, ...))
    end
    return wrap(_M.mapmethod(self.iter, name, ...))
  end
end

function wrapped.__call(self)
  return self.iter()
end

function _M.lines(file, ...)
  return wrap(type(file) == "string" and io.lines(file, ...) or file:lines(...))
end

return setmetatable(_M, {
  __call = function(_, values, extra)
    if not utils.is_callable(values) then
      if type(values) ~= "table" then
        return values
      end
      values = _M.list(values)
    end
    if extra then
      return wrap(function() return values(extra) end)
    end
    return wrap(values)
  end,
})
