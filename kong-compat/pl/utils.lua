-- What plugins use of Penlight's `utils`.

local strings = require "kong.tools.string"

local _M = {
  _VERSION = "1.14.0",
  pack = table.pack,
  unpack = function(t, i, j) return unpack(t, i or 1, j or t.n or #t) end,
  load = load,
  setfenv = setfenv,
  getfenv = getfenv,
}

-- A file as a text; nil and what went wrong.
function _M.readfile(name, is_bin)
  local file, err = io.open(name, is_bin and "rb" or "r")
  if not file then
    return nil, err
  end
  local text
  text, err = file:read("*a")
  file:close()
  if not text then
    return nil, name .. ": " .. tostring(err)
  end
  return text
end

function _M.writefile(name, text, is_bin)
  local file, err = io.open(name, is_bin and "wb" or "w")
  if not file then
    return nil, err
  end
  local ok
  ok, err = file:write(text)
  file:close()
  if not ok then
    return nil, name .. ": " .. tostring(err)
  end
  return true
end

function _M.readlines(name)
  local text, err = _M.readfile(name)
  if not text then
    return nil, err
  end
  return require("pl.stringx").splitlines(text)
end

-- Plain by pattern; without one at white space.
function _M.split(text, pattern, plain, max)
  if plain and pattern and pattern ~= "" then
    return strings.split(text, pattern, max)
  end
  pattern = pattern or "%s+"
  if pattern == "" then
    return { text }
  end
  local parts, from = {}, 1
  while not max or #parts + 1 < max do
    local first, last = text:find(pattern, from)
    if not first or last < first then
      break
    end
    parts[#parts + 1] = text:sub(from, first - 1)
    from = last + 1
  end
  if from <= #text then
    parts[#parts + 1] = text:sub(from)
  end
  return #parts == 1 and parts[1] == "" and {} or parts
end

function _M.splitv(...)
  return unpack(_M.split(...))
end

-- Pattern characters stand for themselves.
function _M.escape(text)
  return (text:gsub("[%-%.%+%[%]%(%)%$%^%%%?%*]", "%%%0"))
end

function _M.choose(condition, a, b)
  if condition then
    return a
  end
  return b
end

function _M.is_type(value, kind)
  if type(kind) == "string" then
    return type(value) == kind
  end
  return getmetatable(value) == kind
end

function _M.is_callable(value)
  local meta = getmetatable(value)
  return type(value) == "function" or type(meta) == "table" and meta.__call ~= nil
end

function _M.assert_arg(n, value, kind, verify, message, level)
  if type(value) ~= kind then
    error(("argument %d expected a '%s' got a '%s'"):format(n, kind, type(value)), level or 2)
  end
  if verify and not verify(value) then
    error(("argument %d: '%s' %s"):format(n, tostring(value), message), level or 2)
  end
  return value
end

function _M.assert_string(n, value)
  return _M.assert_arg(n, value, "string", nil, nil, 3)
end

local OPERATORS = {
  ["#"] = function(a) return #a end,
  ["+"] = function(a, b) return a + b end,
  ["-"] = function(a, b) return a - b end,
  ["*"] = function(a, b) return a * b end,
  ["/"] = function(a, b) return a / b end,
  [".."] = function(a, b) return a .. b end,
  ["=="] = function(a, b) return a == b end,
  ["~="] = function(a, b) return a ~= b end,
  ["<"] = function(a, b) return a < b end,
  [">"] = function(a, b) return a > b end,
  ["<="] = function(a, b) return a <= b end,
  [">="] = function(a, b) return a >= b end,
}

-- A function, or the name of an operator that stands for one.
function _M.function_arg(n, f, message)
  if _M.is_callable(f) then
    return f
  end
  if OPERATORS[f] then
    return OPERATORS[f]
  end
  error(message or ("argument %d: must be callable"):format(n), 2)
end

function _M.npairs(t, from, to, step)
  step = step or 1
  local i = (from or 1) - step
  to = to or t.n or #t
  return function()
    i = i + step
    if step > 0 and i <= to or step < 0 and i >= to then
      return i, t[i]
    end
  end
end

function _M.kpairs(t)
  local key
  return function()
    local value
    repeat
      key, value = next(t, key)
    until type(key) ~= "number" or key % 1 ~= 0
    return key, value
  end
end

function _M.bind1(f, first)
  return function(...) return f(first, ...) end
end

function _M.bind2(f, second)
  return function(first, ...) return f(first, second, ...) end
end

function _M.memoize(f)
  local known = {}
  return function(key)
    local value = known[key]
    if value == nil then
      value = f(key)
      known[key] = value
    end
    return value
  end
end

function _M.raise(message)
  return nil, message
end

return _M
