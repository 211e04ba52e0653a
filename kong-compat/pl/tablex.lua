-- What plugins use of Penlight's `tablex`.

local tables = require "kong.tools.table"
local utils = require "pl.utils"

local _M = { copy = table.clone, deepcopy = tables.deep_copy }

function _M.keys(t)
  local keys = {}
  for key in pairs(t) do
    keys[#keys + 1] = key
  end
  return keys
end

function _M.values(t)
  local values = {}
  for _, value in pairs(t) do
    values[#values + 1] = value
  end
  return values
end

function _M.size(t)
  return table.nkeys(t)
end

function _M.find(list, value, from)
  for i = from or 1, #list do
    if list[i] == value then
      return i
    end
  end
end

function _M.map(f, t, ...)
  f = utils.function_arg(1, f)
  local mapped = {}
  for key, value in pairs(t) do
    mapped[key] = f(value, ...)
  end
  return mapped
end

function _M.imap(f, list, ...)
  f = utils.function_arg(1, f)
  local mapped = {}
  for i, value in ipairs(list) do
    mapped[i] = f(value, ...) or false
  end
  return mapped
end

function _M.filter(list, keep, arg)
  keep = utils.function_arg(1, keep)
  local kept = {}
  for _, value in ipairs(list) do
    if keep(value, arg) then
      kept[#kept + 1] = value
    end
  end
  return kept
end

function _M.update(t, other)
  for key, value in pairs(other) do
    t[key] = value
  end
  return t
end

-- Fields of both, or with `all` of either.
function _M.merge(a, b, all)
  local merged = {}
  for key, value in pairs(a) do
    if all or b[key] ~= nil then
      merged[key] = value
    end
  end
  if all then
    for key, value in pairs(b) do
      merged[key] = value
    end
  end
  return merged
end

function _M.union(a, b)
  return _M.merge(a, b, true)
end

function _M.makeset(list)
  local set = {}
  for _, value in ipairs(list) do
    set[value] = true
  end
  return set
end

function _M.deepcompare(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then
    return a == b
  end
  for key, value in pairs(a) do
    if not _M.deepcompare(value, b[key]) then
      return false
    end
  end
  for key in pairs(b) do
    if a[key] == nil then
      return false
    end
  end
  return true
end

-- Keys in their order, with their values.
function _M.sort(t, f)
  local keys = _M.keys(t)
  table.sort(keys, f)
  local i = 0
  return function()
    i = i + 1
    return keys[i], t[keys[i]]
  end
end

function _M.readonly(t)
  return setmetatable({}, {
    __index = t,
    __newindex = function() error("attempt to modify a read-only table", 2) end,
  })
end

function _M.foreach(t, f, ...)
  f = utils.function_arg(1, f)
  for key, value in pairs(t) do
    f(value, key, ...)
  end
end

function _M.foreachi(list, f, ...)
  f = utils.function_arg(1, f)
  for i = 1, #list do
    f(list[i], i, ...)
  end
end

function _M.reduce(f, list, start)
  f = utils.function_arg(1, f)
  local from = 1
  if start == nil then
    start, from = list[1], 2
  end
  for i = from, #list do
    start = f(start, list[i])
  end
  return start
end

function _M.transform(f, t, ...)
  f = utils.function_arg(1, f)
  for key, value in pairs(t) do
    t[key] = f(value, ...)
  end
end

-- Keys and values that a function of both gives: a list, or by key where it gives a second value.
function _M.pairmap(f, t, ...)
  local mapped = {}
  for key, value in pairs(t) do
    local given, own = f(key, value, ...)
    if own ~= nil then
      mapped[own] = given
    else
      mapped[#mapped + 1] = given
    end
  end
  return mapped
end

function _M.map2(f, a, b, ...)
  f = utils.function_arg(1, f)
  local mapped = {}
  for key, value in pairs(a) do
    local other = b[key]
    if other ~= nil then
      mapped[key] = f(value, other, ...)
    end
  end
  return mapped
end

-- A part of a list; negative positions count from its end.
function _M.sub(list, first, last)
  first, last = first or 1, last or -1
  first = first < 0 and #list + first + 1 or first
  last = last < 0 and #list + last + 1 or last
  local part = {}
  for i = first, math.min(last, #list) do
    part[#part + 1] = list[i]
  end
  return part
end

function _M.range(first, last, step)
  local list = {}
  for i = first, last, step or 1 do
    list[#list + 1] = i
  end
  return list
end

function _M.rfind(list, value, from)
  for i = from or #list, 1, -1 do
    if list[i] == value then
      return i
    end
  end
end

-- The first place of which `test` is true, and what it said.
function _M.find_if(list, test, arg)
  test = utils.function_arg(1, test)
  for i = 1, #list do
    local said = test(list[i], arg)
    if said then
      return i, said
    end
  end
end

-- Positions by value.
function _M.index_map(list)
  local map = {}
  for i = 1, #list do
    map[list[i]] = i
  end
  return map
end

-- Fields of the first that the second has not; with `symmetric` also the other way round.
function _M.difference(a, b, symmetric)
  local different = {}
  for key, value in pairs(a) do
    if b[key] == nil then
      different[key] = value
    end
  end
  if symmetric then
    for key, value in pairs(b) do
      if a[key] == nil then
        different[key] = value
      end
    end
  end
  return different
end

function _M.intersection(a, b)
  return _M.merge(a, b)
end

function _M.count_map(list)
  local counts = {}
  for i = 1, #list do
    counts[list[i]] = (counts[list[i]] or 0) + 1
  end
  return counts
end

-- Whether two lists agree, by a function of two values.
function _M.compare(a, b, test)
  test = utils.function_arg(1, test)
  if #a ~= #b then
    return false
  end
  for i = 1, #a do
    if not test(a[i], b[i]) then
      return false
    end
  end
  return true
end

-- Whether two lists hold the same values in some order.
function _M.compare_no_order(a, b)
  if #a ~= #b then
    return false
  end
  local left, right = _M.count_map(a), _M.count_map(b)
  for value, count in pairs(left) do
    if right[value] ~= count then
      return false
    end
  end
  return true
end

function _M.insertvalues(list, at, values)
  if values == nil then
    at, values = #list + 1, at
  end
  for i = 1, #values do
    table.insert(list, at + i - 1, values[i])
  end
  return list
end

function _M.removevalues(list, first, last)
  for i = last, first, -1 do
    table.remove(list, i)
  end
  return list
end

function _M.icopy(list, other, at, from, count)
  at, from = at or 1, from or 1
  for i = 0, (count or #other - from + 1) - 1 do
    list[at + i] = other[from + i]
  end
  return list
end

function _M.clear(list, from)
  for i = #list, from or 1, -1 do
    list[i] = nil
  end
end

-- Lists of the first values, the second ones, and so on.
function _M.zip(...)
  local lists, zipped = { ... }, {}
  for i = 1, #lists[1] do
    zipped[i] = {}
    for n = 1, #lists do
      zipped[i][n] = lists[n][i]
    end
  end
  return zipped
end

function _M.sortv(t, f)
  f = f or function(a, b) return a < b end
  local keys = _M.keys(t)
  table.sort(keys, function(a, b) return f(t[a], t[b]) end)
  local i = 0
  return function()
    i = i + 1
    return keys[i], t[keys[i]]
  end
end

return _M
