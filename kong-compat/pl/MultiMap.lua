-- Maps that keep every value of a key: Penlight's `MultiMap`.

local class = require "pl.class"
local utils = require "pl.utils"
local List = require "pl.List"
local Map = require "pl.Map"

local MultiMap = class(Map, nil, utils.stdmt.MultiMap)
MultiMap._name = "MultiMap"

function MultiMap:_init(values)
  if values then
    self:update(values)
  end
end

function MultiMap:update(values)
  utils.assert_arg(1, values, "table")
  local is_map = Map:class_of(values)
  for key, value in pairs(values) do
    self[key] = is_map and List { value } or List(value)
  end
end

function MultiMap:set(key, value)
  if value == nil then
    self[key] = nil
  else
    self[key] = self[key] or List()
    self[key]:append(value)
  end
end

return MultiMap
