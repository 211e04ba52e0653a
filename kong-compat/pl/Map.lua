-- Tables with methods: Penlight's `Map`.

local class = require "pl.class"
local tablex = require "pl.tablex"
local utils = require "pl.utils"

local Map = class(nil, nil, utils.stdmt.Map)
Map._name = "Map"

function Map:_init(values)
  local meta = getmetatable(values)
  if meta == utils.stdmt.Set or meta == Map then
    self:update(values)
  else
    return values
  end
end

Map.keys, Map.values, Map.len, Map.update = tablex.keys, tablex.values, tablex.size, tablex.update

function Map:iter()
  return pairs(self)
end

-- Pairs of key and value, by key.
function Map:items()
  local List = require "pl.List"
  local items = List()
  for key, value in pairs(self) do
    items[#items + 1] = List { key, value }
  end
  return items:sort(function(a, b) return a[1] < b[1] end)
end

function Map:setdefault(key, default)
  local value = self[key]
  if value ~= nil then
    return value
  end
  self:set(key, default)
  return default
end

function Map:set(key, value)
  self[key] = value
end

function Map:get(key)
  return rawget(self, key)
end

function Map:getvalues(keys)
  return setmetatable(tablex.index_by(self, keys), require "pl.List")
end

function Map.__eq(a, b)
  return tablex.deepcompare(a, b, true)
end

function Map.__tostring(self)
  return (require("pl.pretty").write(self, ""))
end

return Map
