-- What schemas call of Kong's schema library. The engine itself is the host's.

local Schema = {}

-- A type that can be used as it is, or called with attributes that override its own.
function Schema.define(definition)
  return setmetatable(definition, {
    __call = function(_, overrides)
      local copy = {}
      for name, value in pairs(definition) do
        copy[name] = value
      end
      for name, value in pairs(overrides or {}) do
        copy[name] = value
      end
      return copy
    end,
  })
end

return Schema
