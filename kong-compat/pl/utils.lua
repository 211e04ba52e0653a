-- Penlight's `utils`.

local _M = {
  _VERSION = "1.14.0",
  pack = table.pack,
  unpack = function(t, i, j) return unpack(t, i or 1, j or t.n or #t) end,
  -- Classes that know each other by these tables.
  stdmt = {
    List = { _name = "List" }, Map = { _name = "Map" }, Set = { _name = "Set" },
    MultiMap = { _name = "MultiMap" },
  },
  patterns = {
    FLOAT = "[%+%-%d]%d*%.?%d*[eE]?[%+%-]?%d*", INTEGER = "[+%-%d]%d*", IDEN = "[%a_][%w_]*",
    FILE = "[%a%.\\][:%][%w%._%-\\]*",
  },
}

for name, value in pairs(require "pl.compat") do
  _M[name] = value
end

local error_mode = "default"

-- What functions that fail do: return nil and the error, or raise it.
function _M.on_error(mode)
  if mode ~= "default" and mode ~= "error" and mode ~= "quit" then
    local told = "Bad argument expected string; 'default', 'quit', or 'error'. Got '"
    error(told .. tostring(mode) .. "'", 2)
  end
  error_mode = mode
end

-- A gateway does not end because of a plugin.
function _M.quit(code, message, ...)
  local text = type(code) == "string" and code or message or "quit"
  error(text:format(type(code) == "string" and message or ..., ...), 2)
end

function _M.raise(message)
  if error_mode == "default" then
    return nil, message
  end
  error(message, 2)
end

function _M.printf(format, ...)
  print((format:format(...)))
end

function _M.fprintf(file, format, ...)
  _M.assert_string(2, format)
  file:write(format:format(...))
end

function _M.array_tostring(list, into, show)
  into, show = into or {}, show or tostring
  for i = 1, #list do
    into[i] = show(list[i], i)
  end
  return into
end

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

-- At a pattern, or plain text; without one at white space. Nothing follows the last separator.
function _M.split(text, pattern, plain, max)
  _M.assert_string(1, text)
  pattern = pattern or "%s+"
  if pattern == "" then
    return { text }
  end
  local parts, from = {}, 1
  while true do
    local first, last = text:find(pattern, from, plain)
    if not first or last < first then
      break
    end
    if max and #parts == max - 1 then
      parts[max] = text:sub(from)
      return parts
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
  local meta = debug.getmetatable(value)
  return type(value) == "function"
    or type(meta) == "table" and type(rawget(meta, "__call")) == "function"
end

function _M.assert_arg(n, value, kind, verify, message, level)
  if type(value) ~= kind then
    error(("argument %d expected a '%s', got a '%s'"):format(n, kind, type(value)), level or 2)
  end
  if verify and not verify(value) then
    error(("argument %d: '%s' %s"):format(n, tostring(value), message), level or 2)
  end
  return value
end

function _M.assert_string(n, value)
  return _M.assert_arg(n, value, "string", nil, nil, 3)
end

local factories = {}

-- Says how a value of a class becomes a function.
function _M.add_function_factory(class, make)
  factories[class] = make
end

-- A function, the name of an operator, a short function as a text, or what can be called.
function _M.function_arg(n, f, message)
  local factory = type(f) ~= "string" and factories[getmetatable(f)]
  if factory then
    return factory(f)
  elseif _M.is_callable(f) then
    return f
  elseif type(f) == "string" then
    local operator = require("pl.operator").optable[f]
    if operator then
      return operator
    end
    local made, err = _M.string_lambda(f)
    if not made then
      error(err .. ": " .. f, 2)
    end
    return made
  end
  error(message or ("argument %d: must be callable"):format(n), 2)
end

function _M.npairs(t, from, to, step)
  step = step or 1
  if step == 0 then
    error("iterator step-size cannot be 0", 2)
  end
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
  f = _M.function_arg(1, f)
  return function(...) return f(first, ...) end
end

function _M.bind2(f, second)
  f = _M.function_arg(1, f)
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

-- `|a, b| a + b`, or an expression of `_`.
_M.string_lambda = _M.memoize(function(text)
  local args, body = text:match("^|([^|]*)|(.+)")
  if not args and text:find("_", 1, true) and not text:find("^|") then
    args, body = "_", text
  elseif not args then
    return _M.raise(text:find("^|") and "bad string lambda" or "not a string lambda")
  end
  local chunk, err = load("return function(" .. args .. ") return " .. body .. " end")
  if not chunk then
    return _M.raise(err)
  end
  return chunk()
end)

-- The names that an enumeration has, and a list of them in order.
local function enum_values(...)
  local values, order, first = {}, {}, (...)
  if type(first) ~= "table" then
    for i, name in _M.npairs(_M.pack(...)) do
      values[_M.assert_arg(i, name, "string", nil, nil, 4)] = name
      order[i] = name
    end
    return values, order
  end
  for i, name in ipairs(first) do
    if type(name) ~= "string" then
      error(("expected 'string' but got '%s' at index %d"):format(type(name), i), 4)
    end
    values[name], order[i] = name, name
  end
  for name, value in _M.kpairs(first) do
    if type(name) ~= "string" then
      error(("expected key to be 'string' but got '%s'"):format(type(name)), 4)
    elseif values[name] then
      error(("duplicate entry in array and hash part: '%s'"):format(name), 4)
    end
    values[name] = value
    order[#order + 1] = name
  end
  return values, order
end

-- A table of names that knows no others.
function _M.enum(...)
  local values, order = enum_values(...)
  if not order[1] then
    error("expected at least 1 entry", 2)
  end
  local known = "(expected one of: '" .. table.concat(order, "', '") .. "')"
  local function unknown(name)
    return ("'%s' is not a valid value %s"):format(tostring(name), known)
  end
  return setmetatable(values, {
    __index = function(_, name) error(unknown(name), 2) end,
    __newindex = function() error("the Enum object is read-only", 2) end,
    __call = function(self, name)
      local value = type(name) == "string" and rawget(self, name)
      if value then
        return value
      end
      return nil, unknown(name)
    end,
  })
end

function _M.quote_arg(argument)
  if type(argument) == "table" then
    local parts = {}
    for i, one in ipairs(argument) do
      parts[i] = _M.quote_arg(one)
    end
    return table.concat(parts, " ")
  end
  if argument == "" or argument:find("[^a-zA-Z0-9_@%+=:,./-]") then
    return "'" .. argument:gsub("'", [['\'']]) .. "'"
  end
  return argument
end

-- Runs a command and waits for it, as all of the worker does: whether it went well, its status, and
-- what it wrote.
function _M.executeex(command, is_bin)
  local out, err = os.tmpname(), os.tmpname()
  local ok, code = _M.execute(command .. " > " .. _M.quote_arg(out) .. " 2> " .. _M.quote_arg(err))
  local written, errors = _M.readfile(out, is_bin), _M.readfile(err, is_bin)
  os.remove(out)
  os.remove(err)
  return ok, code, written or "", errors or ""
end

function _M.import(t, into)
  into = into or _G
  t = type(t) == "string" and require(t) or t or _M
  for key, value in pairs(t) do
    if rawget(into, key) == nil then
      rawset(into, key, value)
    end
  end
end

local deprecation = function(message)
  ngx.log(ngx.WARN, message)
end

function _M.set_deprecation_func(f)
  if f ~= nil then
    _M.assert_arg(1, f, "function")
  end
  deprecation = f or function() end
end

function _M.raise_deprecation(options)
  _M.assert_arg(1, options, "table")
  if type(options.message) ~= "string" then
    error("field 'message' of the options table must be a string", 2)
  end
  local trace = not options.no_trace and debug.traceback("", 2):match("[\n%s]*(.-)$") or nil
  local notes = {}
  if options.deprecated_after then
    notes[1] = "deprecated after " .. tostring(options.deprecated_after)
  end
  if options.version_removed then
    notes[#notes + 1] = "scheduled for removal in " .. tostring(options.version_removed)
  end
  local note = #notes > 0 and " (" .. table.concat(notes, ", ") .. ")" or ""
  local message = options.message .. note
  if options.source then
    message = "[" .. options.source .. "] " .. message
  elseif message:sub(1, 1) == "@" then
    error("message cannot start with '@'", 2)
  end
  deprecation(message, trace)
end

return _M
