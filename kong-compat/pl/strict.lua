-- Tables that know what they hold: Penlight's `strict`. Globals stay as they are, for everybody's
-- plugins share them.

local _M = {}

function _M.module(name, module, declared)
  module = module or {}
  declared = declared or {}
  local old = getmetatable(module) or {}
  local index = old.__index
  old.__declared = declared
  old.__newindex = function(self, key, value)
    declared[key] = true
    rawset(self, key, value)
  end
  old.__index = function(self, key)
    local value
    if type(index) == "function" then
      value = index(self, key)
    elseif index then
      value = index[key]
    end
    if value == nil and not declared[key] then
      local of = name and " in '" .. tostring(name) .. "'" or ""
      error("variable '" .. tostring(key) .. "' is not declared" .. of, 2)
    end
    return value
  end
  return setmetatable(module, old)
end

function _M.make_all_strict(modules)
  for name, module in pairs(modules) do
    if type(module) == "table" and module ~= modules then
      _M.module(name, module)
    end
  end
end

return _M
