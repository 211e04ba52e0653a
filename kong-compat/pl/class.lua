-- Classes with one parent: `local Dog = class(Animal)`, `Dog._init`, `Dog:is_a(Animal)`.

-- Runs `_init` of the class, or the nearest of its parents; `super` is the parent's.
local function init(class, object, ...)
  local found = class._init
  if not found then
    return
  end
  return found(object, ...)
end

local function make(class, ...)
  local object = setmetatable({}, class)
  local given = init(class, object, ...)
  return given or object
end

local function is_a(self, class)
  local own = getmetatable(self)
  while own do
    if own == class then
      return true
    end
    own = rawget(own, "_base")
  end
  return false
end

local function new_class(base, name)
  local class = { _base = base, _name = name, _class = nil }
  if base then
    for key, value in pairs(base) do
      if class[key] == nil and key ~= "_handler" then
        class[key] = value
      end
    end
    class._base = base
  end
  class._class = class
  class.__index = class
  class.is_a = is_a
  class.class_of = function(_, object)
    return type(object) == "table" and is_a(object, class)
  end
  class.super = function(object, ...)
    if base then
      return init(base, object, ...)
    end
  end
  class._create = function() return {} end
  class.base = base
  return setmetatable(class, { __call = make, __index = base })
end

return setmetatable({}, {
  __call = function(_, base, _, definition)
    if type(base) == "table" and getmetatable(base) == nil and not rawget(base, "_class") then
      base, definition = rawget(base, "_base"), base
    end
    local class = new_class(base)
    for key, value in pairs(definition or {}) do
      if key ~= "_base" then
        class[key] = value
      end
    end
    return class
  end,
})
