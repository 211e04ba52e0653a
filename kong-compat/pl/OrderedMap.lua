-- Maps that remember the order of their keys: Penlight's `OrderedMap`.

local class = require "pl.class"
local tablex = require "pl.tablex"
local utils = require "pl.utils"
local List = require "pl.List"
local Map = require "pl.Map"

local OrderedMap = class(Map)
OrderedMap._name = "OrderedMap"

function OrderedMap:_init(values)
  rawset(self, "_keys", List())
  if values then
    local ok, err = self:update(values)
    if not ok then
      error(err, 2)
    end
  end
end

-- From another, from pairs in a list, which keep their order, or from a table.
function OrderedMap:update(values)
  utils.assert_arg(1, values, "table")
  if OrderedMap:class_of(values) then
    for key, value in values:iter() do
      self:set(key, value)
    end
  elseif #values == 0 then
    for key, value in pairs(values) do
      self:set(key, value)
    end
  elseif type(values[1]) ~= "table" then
    return utils.raise "cannot use an array to initialize an OrderedMap"
  else
    for _, pair in ipairs(values) do
      local key, value = next(pair)
      if key == nil then
        return utils.raise "empty pair initialization table"
      end
      self:set(key, value)
    end
  end
  return self
end

function OrderedMap:set(key, value)
  if value == nil then
    self._keys:remove_value(key)
  elseif rawget(self, key) == nil then
    self._keys:append(key)
  end
  rawset(self, key, value)
  return self
end

OrderedMap.__newindex = OrderedMap.set

function OrderedMap:insert(at, key, value)
  local old = self[key]
  if value == nil then
    value = old
  end
  if old ~= nil then
    self._keys:remove_value(key)
  end
  if value ~= nil then
    self._keys:insert(at, key)
    rawset(self, key, value)
  end
  return self
end

function OrderedMap:keys()
  return self._keys
end

function OrderedMap:values()
  return List(tablex.index_by(self, self._keys))
end

function OrderedMap:sort(order)
  table.sort(self._keys, order)
  return self
end

function OrderedMap:iter()
  local i = 0
  return function()
    i = i + 1
    local key = self._keys[i]
    if key ~= nil then
      return key, self[key]
    end
  end
end

OrderedMap.__pairs = OrderedMap.iter

function OrderedMap.__tostring(self)
  local parts = {}
  for key, value in self:iter() do
    local text = type(value) == "number" and tostring(value) or '"' .. tostring(value) .. '"'
    parts[#parts + 1] = tostring(key) .. "=" .. text
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

return OrderedMap
