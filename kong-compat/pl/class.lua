-- Classes with one parent: Penlight's `class`.

-- The class at or above one that has an `_init` of its own.
local function with_init(class)
  while class and not rawget(class, "_init") do
    class = rawget(class, "_base")
  end
  return class
end

-- Runs a class's constructor; while it runs, `super` of the object is that of its parent.
local function construct(class, object, ...)
  local owner = with_init(class)
  if not owner then
    return nil
  end
  local parent = with_init(rawget(owner, "_base"))
  if parent then
    rawset(object, "super", function(_, ...)
      return construct(parent, object, ...)
    end)
  else
    rawset(object, "super", nil)
  end
  local given = rawget(owner, "_init")(object, ...)
  rawset(object, "super", nil)
  return given
end

local function make(class, ...)
  local object = rawget(class, "_create") and class._create(...) or {}
  setmetatable(object, class)
  local given = construct(class, object, ...)
  if given then
    object = setmetatable(given, class)
  end
  local base = rawget(class, "_base")
  if base and rawget(base, "_post_init") then
    base._post_init(object)
  end
  return object
end

local function is_a(self, class)
  local own = getmetatable(self)
  if class == nil then
    return own
  end
  while type(own) == "table" do
    if own == class then
      return true
    end
    own = rawget(own, "_base")
  end
  return false
end

local function class_of(class, object)
  return type(class) == "table" and rawget(class, "is_a") ~= nil and class.is_a(object, class)
end

local function show(object)
  local class = getmetatable(object)
  setmetatable(object, nil)
  local text = tostring(object)
  setmetatable(object, class)
  local name = rawget(class, "_name")
  return name and name .. text:gsub("table", "") or text
end

-- `class(parent, argument, table)`, or `class { _base = parent, ... }` with the methods in it.
local function new_class(base, argument, class)
  local is_plain = type(base) == "table" and not getmetatable(base)
  if is_plain then
    base, class = rawget(base, "_base"), base
  end
  class = class or {}
  if base ~= nil and type(base) ~= "table" then
    error("must derive from a table type", 3)
  end
  for key, value in pairs(base or {}) do
    if not is_plain or class[key] == nil then
      class[key] = value
    end
  end
  class._base = base
  if not is_plain then
    class._init = nil
  elseif base and class._init == base._init then
    class._init = nil
  end
  local meta = { __call = make, __index = base and rawget(class, "_handler") or nil }
  class.__index = class
  setmetatable(class, meta)
  if base and rawget(base, "_class_init") then
    base._class_init(class, argument)
  end
  -- What is looked up where nothing is found.
  function class.catch(self, handler)
    handler = type(self) == "function" and self or handler
    rawset(class, "_handler", handler)
    meta.__index = handler
  end
  class.is_a, class.class_of, class._class = is_a, class_of, class
  function class.cast(_, object)
    return setmetatable(object, class)
  end
  if not rawget(class, "__tostring") then
    class.__tostring = show
  end
  return class
end

local class = setmetatable({}, {
  __call = function(_, ...) return new_class(...) end,
  -- `class.Name(...)` also makes it a global of the caller.
  __index = function(_, name)
    local env = getfenv(2)
    return function(...)
      local made = new_class(...)
      made._name = name
      rawset(env, name, made)
      return made
    end
  end,
})

-- Classes whose fields have `get_` and `set_` functions.
local properties = new_class()
rawset(class, "properties", properties)

function properties._class_init(of)
  of.__index = function(object, key)
    local value = of[key]
    if value then
      return value
    end
    local getter = rawget(of, "get_" .. key)
    if getter then
      return getter(object)
    end
    return rawget(object, "_" .. key)
  end
  of.__newindex = function(object, key, value)
    local setter = of["set_" .. key]
    if setter then
      setter(object, value)
    else
      rawset(object, key, value)
    end
  end
end

return class
