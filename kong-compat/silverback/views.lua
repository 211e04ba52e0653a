-- Views: tables through which others are read and not changed. What is found behind a view is a
-- view, too, so that code in the sandbox cannot change what everybody uses.

local _M = {}

-- What happens to a new field: Kong's error, which has no place in it.
function _M.protected(name)
  return function(_, key)
    error(("Cannot modify %s.%s. Protected by the sandbox."):format(name, tostring(key)), 0)
  end
end

-- A function that gets the object when it is called as a method of the object's view.
local function method_of(object, view, method)
  return function(...)
    if (...) == view then
      return method(object, select(2, ...))
    end
    return method(...)
  end
end

-- What `__index` of a view does. `open` are the fields that are given as they are. Functions of
-- what has methods may be called on the view.
function _M.reader(source, name, open, has_methods)
  local known = {}
  return function(view, key)
    local value = source[key]
    local kind = type(value)
    local is_method = kind == "function" and has_methods
    if not is_method and kind ~= "table" or open and open[key] then
      return value
    end
    local seen = known[key]
    if not seen or not rawequal(seen.value, value) then
      local shown
      if is_method then
        shown = method_of(source, view, value)
      else
        shown = _M.view(value, name .. "." .. tostring(key), has_methods)
      end
      seen = { value = value, shown = shown }
      known[key] = seen
    end
    return seen.shown
  end
end

-- A view whose fields cannot be set.
function _M.view(source, name, has_methods)
  return setmetatable({}, {
    __index = _M.reader(source, name, nil, has_methods),
    __newindex = _M.protected(name),
    __call = function(_, ...)
      return source(...)
    end,
    __metatable = false,
  })
end

-- A view that keeps what is set, for those who see this view. Who copies it with its metatable, as
-- request-transformer does for each request, has another.
function _M.keeping(source, name)
  return setmetatable({}, {
    __index = type(source) == "table" and _M.reader(source, name) or nil,
  })
end

return _M
