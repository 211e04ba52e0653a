-- Tables: Penlight's `tablex`. What is made of a list is a `List`, what is made of a table that has
-- a class is of that class.

local utils = require "pl.utils"

local _M = {}

for name, f in pairs(require "silverback.lists") do
  _M[name] = f
end

local function list(values)
  return setmetatable(values, require "pl.List")
end

local function map(values)
  return setmetatable(values, require "pl.Map")
end

-- Of the class of another table; else of Penlight's class of that name, if one is given.
local function like(values, other, class)
  return setmetatable(values, getmetatable(other) or class and require("pl." .. class) or nil)
end

local function check(n, value, kind)
  if not require("pl.types")["is_" .. kind](value) then
    error(("argument %d is not %s"):format(n, kind), 3)
  end
end

function _M.copy(t)
  check(1, t, "iterable")
  local copy = {}
  for key, value in pairs(t) do
    copy[key] = value
  end
  return copy
end

local function deepcopy(value, seen)
  if type(value) ~= "table" then
    return value
  elseif seen[value] then
    return seen[value]
  end
  local copy = {}
  seen[value] = copy
  for key, inner in pairs(value) do
    copy[deepcopy(key, seen)] = deepcopy(inner, seen)
  end
  return setmetatable(copy, getmetatable(value))
end

function _M.deepcopy(t)
  return deepcopy(t, {})
end

local function same(a, b, ignore_meta, tolerance, seen)
  if type(a) ~= "table" or type(b) ~= "table" then
    if type(a) == "number" and type(b) == "number" and tolerance then
      return math.abs(a - b) < tolerance
    end
    return a == b
  end
  local meta = getmetatable(a)
  if not ignore_meta and meta and meta.__eq then
    return a == b
  elseif seen[a] and seen[a][b] then
    return true
  end
  seen[a] = seen[a] or {}
  seen[a][b] = true
  for key in pairs(b) do
    if a[key] == nil then
      return false
    end
  end
  for key, value in pairs(a) do
    if b[key] == nil or not same(value, b[key], ignore_meta, tolerance, seen) then
      return false
    end
  end
  return true
end

function _M.deepcompare(a, b, ignore_meta, tolerance)
  return same(a, b, ignore_meta, tolerance, {})
end

function _M.compare(a, b, test)
  check(1, a, "indexable")
  check(2, b, "indexable")
  if #a ~= #b then
    return false
  end
  test = utils.function_arg(3, test or "==")
  for i = 1, #a do
    if not test(a[i], b[i]) then
      return false
    end
  end
  return true
end

function _M.compare_no_order(a, b, test)
  check(1, a, "indexable")
  check(2, b, "indexable")
  test = utils.function_arg(3, test or "==")
  if #a ~= #b then
    return false
  end
  local rest = _M.sub(b)
  for i = 1, #a do
    local at = _M.find_if(rest, function(value) return test(a[i], value) end)
    if not at then
      return false
    end
    table.remove(rest, at)
  end
  return true
end

function _M.update(t, other)
  check(1, t, "writeable")
  check(2, other, "iterable")
  for key, value in pairs(other) do
    t[key] = value
  end
  return t
end

function _M.size(t)
  check(1, t, "iterable")
  local count = 0
  for _ in pairs(t) do
    count = count + 1
  end
  return count
end

function _M.keys(t)
  check(1, t, "iterable")
  local keys = {}
  for key in pairs(t) do
    keys[#keys + 1] = key
  end
  return list(keys)
end

function _M.values(t)
  check(1, t, "iterable")
  local values = {}
  for _, value in pairs(t) do
    values[#values + 1] = value
  end
  return list(values)
end

local position = _M._position

function _M.find(t, wanted, from)
  check(1, t, "indexable")
  for i = position(t, from or 1), #t do
    if t[i] == wanted then
      return i
    end
  end
end

function _M.rfind(t, wanted, from)
  check(1, t, "indexable")
  for i = position(t, from or #t), 1, -1 do
    if t[i] == wanted then
      return i
    end
  end
end

-- The key of a value that passes a test, and what the test said.
function _M.find_if(t, test, arg)
  check(1, t, "iterable")
  test = utils.function_arg(2, test)
  for key, value in pairs(t) do
    local result = test(value, arg)
    if result then
      return key, result
    end
  end
end

function _M.index_by(t, keys)
  check(1, t, "indexable")
  check(2, keys, "indexable")
  local values = {}
  for i = 1, #keys do
    values[i] = t[keys[i]]
  end
  return like(values, t, "List")
end

function _M.map(f, t, ...)
  check(2, t, "iterable")
  f = utils.function_arg(1, f)
  local mapped = {}
  for key, value in pairs(t) do
    mapped[key] = f(value, ...)
  end
  return like(mapped, t)
end

function _M.imap(f, t, ...)
  check(2, t, "indexable")
  f = utils.function_arg(1, f)
  local mapped = {}
  for i = 1, #t do
    mapped[i] = f(t[i], ...) or false
  end
  return like(mapped, t, "List")
end

function _M.map_named_method(name, t, ...)
  utils.assert_string(1, name)
  check(2, t, "indexable")
  local mapped = {}
  for i = 1, #t do
    mapped[i] = t[i][name](t[i], ...)
  end
  return like(mapped, t, "List")
end

function _M.transform(f, t, ...)
  check(1, t, "iterable")
  f = utils.function_arg(1, f)
  for key, value in pairs(t) do
    t[key] = f(value, ...)
  end
end

function _M.map2(f, a, b, ...)
  check(1, a, "iterable")
  check(2, b, "iterable")
  f = utils.function_arg(1, f)
  local mapped = {}
  for key, value in pairs(a) do
    mapped[key] = f(value, b[key], ...)
  end
  return like(mapped, a, "List")
end

function _M.imap2(f, a, b, ...)
  check(2, a, "indexable")
  check(3, b, "indexable")
  f = utils.function_arg(1, f)
  local mapped = {}
  for i = 1, math.min(#a, #b) do
    mapped[i] = f(a[i], b[i], ...)
  end
  return mapped
end

function _M.mapn(f, ...)
  f = utils.function_arg(1, f)
  local lists, mapped = { ... }, {}
  local shortest = #lists > 0 and math.huge or 0
  for _, one in ipairs(lists) do
    shortest = math.min(shortest, #one)
  end
  for i = 1, shortest do
    local args = {}
    for j, one in ipairs(lists) do
      args[j] = one[i]
    end
    mapped[i] = f(unpack(args, 1, #lists))
  end
  return mapped
end

function _M.zip(...)
  return _M.mapn(function(...) return { ... } end, ...)
end

function _M.reduce(f, t, start)
  check(2, t, "indexable")
  f = utils.function_arg(1, f)
  if #t == 0 then
    return start
  end
  local result = start and f(start, t[1]) or t[1]
  for i = 2, #t do
    result = f(result, t[i])
  end
  return result
end

function _M.foreach(t, f, ...)
  check(1, t, "iterable")
  f = utils.function_arg(2, f)
  for key, value in pairs(t) do
    f(value, key, ...)
  end
end

function _M.foreachi(t, f, ...)
  check(1, t, "indexable")
  f = utils.function_arg(2, f)
  for i = 1, #t do
    f(t[i], i, ...)
  end
end

-- A list of what a function makes of each key and value; with a second result, under that key,
-- where several are a list.
function _M.pairmap(f, t, ...)
  check(1, t, "iterable")
  f = utils.function_arg(1, f)
  local made = {}
  for key, value in pairs(t) do
    local result, name = f(key, value, ...)
    if not name then
      made[#made + 1] = result
    elseif not made[name] then
      made[name] = result
    elseif type(made[name]) == "table" then
      table.insert(made[name], result)
    else
      made[name] = { made[name], result }
    end
  end
  return made
end

function _M.index_map(t)
  check(1, t, "indexable")
  return map(_M.pairmap(function(i, value) return i, value end, t))
end

function _M.makeset(t)
  check(1, t, "indexable")
  local set = {}
  for i = 1, #t do
    set[t[i]] = true
  end
  return setmetatable(set, require "pl.Set")
end

function _M.filter(t, keep, arg)
  check(1, t, "indexable")
  keep = utils.function_arg(2, keep)
  local kept = {}
  for i = 1, #t do
    if keep(t[i], arg) then
      kept[#kept + 1] = t[i]
    end
  end
  return like(kept, t, "List")
end

-- Fields of both, or with `all` of either; the second's win.
function _M.merge(a, b, all)
  check(1, a, "iterable")
  check(2, b, "iterable")
  local merged = {}
  for key, value in pairs(a) do
    if all or b[key] then
      merged[key] = value
    end
  end
  for key, value in pairs(all and b or {}) do
    merged[key] = value
  end
  return like(merged, a, "Map")
end

function _M.union(a, b)
  return _M.merge(a, b, true)
end

function _M.intersection(a, b)
  return _M.merge(a, b, false)
end

function _M.difference(a, b, symmetric)
  check(1, a, "iterable")
  check(2, b, "iterable")
  local rest = {}
  for key, value in pairs(a) do
    if b[key] == nil then
      rest[key] = value
    end
  end
  for key, value in pairs(symmetric and b or {}) do
    if a[key] == nil then
      rest[key] = value
    end
  end
  return like(rest, a, "Map")
end

-- How often each value is there; values that a test takes for equal count together.
function _M.count_map(t, test)
  check(1, t, "indexable")
  test = utils.function_arg(2, test or "==")
  local counts, done = {}, {}
  for i = 1, #t do
    local value = t[i]
    if not done[value] then
      done[value], counts[value] = true, 1
      for j = i + 1, #t do
        if test(value, t[j]) then
          done[t[j]], counts[value] = true, counts[value] + 1
        end
      end
    end
  end
  return map(counts)
end

function _M.range(first, last, step)
  local values = {}
  for i = first, last, step or 1 do
    values[#values + 1] = i
  end
  return list(values)
end

function _M.sub(t, first, last)
  check(1, t, "indexable")
  first, last = _M._normalize_slice(t, first, last)
  local values = {}
  for i = first, last do
    values[#values + 1] = t[i]
  end
  return like(values, t, "List")
end

local function path_to(t, wanted, seen)
  for key, value in pairs(t) do
    if value == wanted then
      return key
    end
  end
  for key, value in pairs(t) do
    if type(value) == "table" and not seen[value] then
      seen[value] = true
      local rest = path_to(value, wanted, seen)
      if rest then
        return type(key) == "string" and key .. "." .. tostring(rest)
          or "[" .. tostring(key) .. "]" .. tostring(rest)
      end
    end
  end
end

-- Where a value is, as a path.
function _M.search(t, wanted, exclude)
  check(1, t, "iterable")
  local seen = { [t] = true }
  for _, value in pairs(exclude or {}) do
    seen[value] = true
  end
  return path_to(t, wanted, seen)
end

local function in_order(t, order)
  local keys = {}
  for key in pairs(t) do
    keys[#keys + 1] = key
  end
  table.sort(keys, order)
  local i = 0
  return function()
    i = i + 1
    return keys[i], t[keys[i]]
  end
end

-- Keys in their order, with their values.
function _M.sort(t, order)
  return in_order(t, order)
end

-- In the order of the values.
function _M.sortv(t, order)
  order = utils.function_arg(2, order or "<")
  return in_order(t, function(a, b) return order(t[a], t[b]) end)
end

function _M.readonly(t)
  return setmetatable({}, {
    __index = t,
    __newindex = function() error("Attempt to modify read-only table", 2) end,
    __pairs = function() return pairs(t) end,
    __ipairs = function() return ipairs(t) end,
    __len = function() return #t end,
    __metatable = false,
  })
end

return _M
