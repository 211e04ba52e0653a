-- What kind of value a value is: Penlight's `types`.

local utils = require "pl.utils"

local _M = { is_type = utils.is_type, is_callable = utils.is_callable }

function _M.type(value)
  local kind = type(value)
  if kind ~= "table" and kind ~= "userdata" then
    return kind
  end
  local meta = getmetatable(value)
  if meta == getmetatable(io.stdout) then
    return "file"
  elseif meta == nil or meta == false then
    return kind
  end
  return type(meta) == "table" and meta._name or "unknown " .. kind
end

function _M.is_integer(value)
  return math.ceil(value) == value
end

function _M.is_empty(value, ignore_blanks)
  if type(value) == "table" then
    return next(value) == nil
  elseif type(value) == "string" then
    return value == "" or ignore_blanks and value:find("^%s+$") ~= nil or false
  end
  return true
end

-- Whether a value is a table, or has what stands for being one.
local function table_like(...)
  local wanted = { ... }
  return function(value)
    if type(value) == "table" then
      return true
    end
    local meta = getmetatable(value)
    if type(meta) ~= "table" then
      return meta and true
    end
    for _, name in ipairs(wanted) do
      if not meta[name] then
        return nil
      end
    end
    return true
  end
end

_M.is_indexable = table_like("__len", "__index")
_M.is_iterable = table_like("__pairs")
_M.is_writeable = table_like("__newindex")

local TRUE = { yes = true, y = true, ["true"] = true, t = true, ["1"] = true }

-- Whether a value stands for yes; `words` are more texts that do.
function _M.to_bool(value, words, check_objects)
  if words then
    utils.assert_arg(2, words, "table")
  end
  local kind = type(value)
  if kind == "boolean" then
    return value
  elseif kind == "number" then
    return value ~= 0
  elseif kind == "table" then
    return check_objects and next(value) ~= nil or false
  elseif kind == "string" then
    local text = value:lower()
    for _, word in ipairs(words or {}) do
      if type(word) == "string" and word:lower() == text then
        return true
      end
    end
    return TRUE[text] or false
  end
  return check_objects and value ~= nil or false
end

return _M
