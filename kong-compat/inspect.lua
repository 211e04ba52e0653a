-- The module `inspect`: a value as text that a person can read.

local inspect = {
  _VERSION = "inspect.lua 3.1.0",
  _DESCRIPTION = "human-readable representations of tables",
}

local function marker(name)
  return setmetatable({}, { __tostring = function() return name end })
end

-- What stands in the paths of `process` for a key and for a metatable.
inspect.KEY, inspect.METATABLE = marker("inspect.KEY"), marker("inspect.METATABLE")

local ORDER = {
  number = 1, boolean = 2, string = 3, table = 4, ["function"] = 5, userdata = 6, thread = 7,
}

local function before(a, b)
  local kind_a, kind_b = type(a), type(b)
  if kind_a == kind_b and (kind_a == "string" or kind_a == "number") then
    return a < b
  end
  local order_a, order_b = ORDER[kind_a] or 100, ORDER[kind_b] or 100
  return order_a == order_b and tostring(a) < tostring(b) or order_a < order_b
end

local ESCAPES = {
  ["\\"] = "\\\\", ["\a"] = "\\a", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r",
  ["\t"] = "\\t", ["\v"] = "\\v",
}

-- Three digits only where another digit follows.
local function escaped(byte, next_byte)
  local format = next_byte:find("%d") and "\\%03d" or "\\%d"
  return ESCAPES[byte] or format:format(byte:byte())
end

local function quoted(text)
  local safe = text:gsub("([%c\\])()", function(byte, at)
    return escaped(byte, text:sub(at, at))
  end)
  if text:find('"') and not text:find("'") then
    return "'" .. safe .. "'"
  end
  return '"' .. safe:gsub('"', '\\"') .. '"'
end

local WORDS = {}
for word in ([[
  and break do else elseif end false for function goto if in local nil not or repeat return then
  true until while
]]):gmatch "%S+" do
  WORDS[word] = true
end

local function is_name(key)
  return type(key) == "string" and key:match("^[%a_][%w_]*$") ~= nil and not WORDS[key]
end

-- How often each table is met: one that is met again is numbered.
local function count(value, counts)
  if type(value) ~= "table" then
    return
  end
  counts[value] = (counts[value] or 0) + 1
  if counts[value] == 1 then
    for key, inner in next, value do
      count(key, counts)
      count(inner, counts)
    end
    count(getmetatable(value), counts)
  end
end

local function extended(path, ...)
  local longer = {}
  for i = 1, #path do
    longer[i] = path[i]
  end
  for i = 1, select("#", ...) do
    longer[#longer + 1] = (select(i, ...))
  end
  return longer
end

-- A copy of a value, every part of which `process` has seen; nil leaves a part out.
local function processed(process, value, path, seen)
  if value == nil then
    return nil
  elseif seen[value] ~= nil then
    return seen[value]
  end
  local result = process(value, path)
  if type(result) ~= "table" then
    return result
  end
  local copy = {}
  seen[value] = copy
  for key, inner in next, result do
    local new_key = processed(process, key, extended(path, key, inspect.KEY), seen)
    if new_key ~= nil then
      copy[new_key] = processed(process, inner, extended(path, new_key), seen)
    end
  end
  local mt = processed(process, getmetatable(result), extended(path, inspect.METATABLE), seen)
  return setmetatable(copy, type(mt) == "table" and mt or nil)
end

-- Keys that are no part of the list at the front, in order, and the length of that list.
local function keys_of(value)
  local length, keys = 0, {}
  while rawget(value, length + 1) ~= nil do
    length = length + 1
  end
  for key in next, value do
    local in_list = type(key) == "number" and key >= 1 and key <= length and key % 1 == 0
    if not in_list then
      keys[#keys + 1] = key
    end
  end
  table.sort(keys, before)
  return keys, length
end

local PLAIN = { number = true, boolean = true, ["nil"] = true, cdata = true }

local function writer(options, counts)
  local newline, indent = options.newline or "\n", options.indent or "  "
  local limit = options.depth or math.huge
  local ids, last_id, write = {}, {}, nil

  local function id(value)
    local kind = type(value)
    if not ids[value] then
      last_id[kind] = (last_id[kind] or 0) + 1
      ids[value] = last_id[kind]
    end
    return ids[value]
  end

  local function write_table(value, depth)
    if value == inspect.KEY or value == inspect.METATABLE then
      return tostring(value)
    elseif depth >= limit then
      return "{...}"
    end
    local prefix = counts[value] > 1 and ("<%d>"):format(id(value)) or ""
    local keys, length = keys_of(value)
    local margin = newline .. indent:rep(depth + 1)
    local parts = {}
    for i = 1, length do
      parts[i] = " " .. write(rawget(value, i), depth + 1)
    end
    for _, key in ipairs(keys) do
      local name = is_name(key) and key or "[" .. write(key, depth + 1) .. "]"
      parts[#parts + 1] = margin .. name .. " = " .. write(rawget(value, key), depth + 1)
    end
    local mt = getmetatable(value)
    local has_lines = #keys > 0 or type(mt) == "table"
    if type(mt) == "table" then
      parts[#parts + 1] = margin .. "<metatable> = " .. write(mt, depth + 1)
    end
    local close = has_lines and newline .. indent:rep(depth) or length > 0 and " " or ""
    return prefix .. "{" .. table.concat(parts, ",") .. close .. "}"
  end

  function write(value, depth)
    local kind = type(value)
    if kind == "string" then
      return quoted(value)
    elseif PLAIN[kind] then
      return tostring(value)
    elseif kind == "table" and not ids[value] then
      return write_table(value, depth)
    end
    return ("<%s %d>"):format(kind, id(value))
  end

  return write
end

function inspect.inspect(value, options)
  options = options or {}
  if options.process then
    value = processed(options.process, value, {}, {})
  end
  local counts = {}
  count(value, counts)
  return writer(options, counts)(value, 0)
end

return setmetatable(inspect, { __call = function(_, ...) return inspect.inspect(...) end })
