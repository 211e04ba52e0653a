-- What plugins use of Penlight's `tablex`.

local tables = require "kong.tools.table"

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
  local mapped = {}
  for key, value in pairs(t) do
    mapped[key] = f(value, ...)
  end
  return mapped
end

function _M.imap(f, list, ...)
  local mapped = {}
  for i, value in ipairs(list) do
    mapped[i] = f(value, ...) or false
  end
  return mapped
end

function _M.filter(list, keep, arg)
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

return _M
