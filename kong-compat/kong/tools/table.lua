-- Tables.

local _M = {}

-- A new table with the fields of both; the second's win.
function _M.table_merge(a, b)
  local merged = {}
  for _, part in ipairs { a or {}, b or {} } do
    for key, value in pairs(part) do
      merged[key] = value
    end
  end
  return merged
end

-- The same, but nulls of the second take nothing away.
function _M.null_aware_table_merge(a, b)
  local merged = _M.table_merge(a)
  for key, value in pairs(b or {}) do
    if merged[key] == nil or value ~= ngx.null then
      merged[key] = value
    end
  end
  return merged
end

-- Arguments as a table that knows how many there are, and back.
_M.pack = table.pack

function _M.unpack(values, first, last)
  return unpack(values, first or 1, last or values.n or #values)
end

-- Whether a table holds a value.
function _M.table_contains(values, wanted)
  for _, value in pairs(values or {}) do
    if value == wanted then
      return true
    end
  end
  return false
end

-- Lapis takes texts of numbers for keys of a list.
function _M.is_lapis_array(value)
  if type(value) ~= "table" then
    return false
  end
  local n = 0
  for _ in pairs(value) do
    n = n + 1
    if value[n] == nil and value[tostring(n)] == nil then
      return false
    end
  end
  return true
end

-- Keys from 1 on without a hole; `fast` leaves holes alone.
function _M.is_array(value, mode)
  if type(value) ~= "table" then
    return false
  elseif mode == "lapis" then
    return _M.is_lapis_array(value)
  elseif mode == "fast" then
    return table.isarray(value)
  end
  local greatest, count = 0, 0
  for key in pairs(value) do
    if type(key) ~= "number" or key < 1 or key % 1 ~= 0 then
      return false
    end
    greatest, count = math.max(greatest, key), count + 1
  end
  return greatest == count
end

local function copy(value, with_meta, seen)
  if type(value) ~= "table" then
    return value
  end
  if seen[value] then
    return seen[value]
  end
  local new = {}
  seen[value] = new
  for key, inner in next, value do
    new[copy(key, with_meta, seen)] = copy(inner, with_meta, seen)
  end
  if with_meta then
    setmetatable(new, getmetatable(value))
  end
  return new
end

-- A copy of everything; metatables are shared, unless `copy_mt` is false.
function _M.deep_copy(value, copy_mt)
  return copy(value, copy_mt ~= false, {})
end

function _M.shallow_copy(value)
  return type(value) == "table" and table.clone(value) or value
end

function _M.deep_merge(a, b)
  local merged = _M.deep_copy(a)
  for key, value in pairs(b) do
    if type(value) == "table" and type(merged[key]) == "table" then
      merged[key] = _M.deep_merge(merged[key], value)
    else
      merged[key] = _M.deep_copy(value)
    end
  end
  return merged
end

-- A copy that goes through `__pairs`, and gets the metatable once it is filled: what a view of
-- another table shows as tables is copied, the rest is still seen through the metatable.
function _M.cycle_aware_deep_copy(value, remove_metatables, deep_copy_keys, seen)
  if type(value) ~= "table" then
    return value
  end
  seen = seen or {}
  if seen[value] then
    return seen[value]
  end
  local new = table.clone(value)
  seen[value] = new
  for key, inner in pairs(value) do
    if type(inner) == "table" then
      new[key] = _M.cycle_aware_deep_copy(inner, remove_metatables, deep_copy_keys, seen)
    end
    if deep_copy_keys and type(key) == "table" then
      inner, new[key] = new[key], nil
      new[_M.cycle_aware_deep_copy(key, remove_metatables, true, seen)] = inner
    end
  end
  local meta = getmetatable(value)
  if meta and not remove_metatables then
    setmetatable(new, meta)
  end
  return new
end

-- A copy of the first with what is in the second, all the way down.
function _M.cycle_aware_deep_merge(a, b, remove_metatables, deep_copy_keys, seen)
  seen = seen or {}
  local merged = _M.cycle_aware_deep_copy(a, remove_metatables, deep_copy_keys, seen)
  for key, value in pairs(b) do
    if type(value) ~= "table" then
      merged[key] = value
    elseif type(merged[key]) == "table" then
      merged[key] =
        _M.cycle_aware_deep_merge(merged[key], value, remove_metatables, deep_copy_keys, seen)
    else
      merged[key] = _M.cycle_aware_deep_copy(value, remove_metatables, deep_copy_keys, seen)
    end
  end
  return merged
end

-- All lists as one.
function _M.concat(...)
  local all = {}
  for _, list in ipairs { ... } do
    for _, item in ipairs(list) do
      all[#all + 1] = item
    end
  end
  return all
end

-- Lists that were made here: an error that is a table is one error.
local several = {}

-- Several errors of one field are a list.
function _M.add_error(errors, key, value)
  errors = errors or {}
  local old = errors[key]
  if not old then
    errors[key] = value
  elseif getmetatable(old) == several then
    table.insert(old, value)
  else
    errors[key] = setmetatable({ old, value }, several)
  end
  return errors
end

-- The value at `a.b.c`.
function _M.table_path(t, path)
  if type(path) == "string" then
    local names = {}
    for name in path:gmatch("[^%.]+") do
      names[#names + 1] = name
    end
    path = names
  end
  for _, name in ipairs(path) do
    if type(t) ~= "table" then
      return nil
    end
    t = t[name]
  end
  return t
end

_M.EMPTY = setmetatable({}, {
  __newindex = function() error("the EMPTY table is read-only", 2) end,
})

return _M
