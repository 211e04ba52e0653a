-- Modules of Penlight as fields of a table, loaded when they are asked for.

local NAMES = {}
for name in ([[utils path dir tablex sip seq stringx config pretty func text operator xml types file
  class template url compat List Map Set OrderedMap MultiMap Date]]):gmatch("%S+") do
  NAMES[name] = true
end

return function(env)
  env = type(env) == "table" and env or {}
  local old = getmetatable(env)
  local before = type(old) == "table" and old.__index
  setmetatable(env, {
    __newindex = type(old) == "table" and old.__newindex or nil,
    __index = function(self, name)
      if NAMES[name] then
        local module = require("pl." .. name)
        rawset(self, name, module)
        return module
      elseif type(before) == "function" then
        return before(self, name)
      end
      return before and before[name]
    end,
  })
  return env, env
end
