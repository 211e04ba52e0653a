-- The module `inspect`: a value as text that a person can read.

local inspect = {}

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

local ESCAPES = { ["\\"] = "\\\\", ["\n"] = "\\n", ["\t"] = "\\t", ["\r"] = "\\r" }

local function escaped(byte)
  return ESCAPES[byte] or ("\\%03d"):format(byte:byte())
end

local function quoted(text)
  if text:find('"') and not text:find("'") then
    return "'" .. text:gsub("[%c\\]", escaped) .. "'"
  end
  return '"' .. text:gsub("[%c\\]", escaped):gsub('"', '\\"') .. '"'
end

local function is_name(key)
  return type(key) == "string" and key:match("^[%a_][%w_]*$") ~= nil
end

local function writer(options)
  local depth_limit = options.depth or math.huge
  local newline, indent = options.newline or "\n", options.indent or "  "
  local ids, next_id, seen = {}, {}, {}

  local function id(value)
    if not ids[value] then
      local kind = type(value)
      next_id[kind] = (next_id[kind] or 0) + 1
      ids[value] = next_id[kind]
    end
    return ids[value]
  end

  local function write(value, depth)
    local kind = type(value)
    if kind == "string" then
      return quoted(value)
    elseif kind ~= "table" then
      if kind == "number" or kind == "boolean" or kind == "nil" or kind == "cdata" then
        return tostring(value)
      end
      return ("<%s %d>"):format(kind, id(value))
    elseif seen[value] then
      return ("<table %d>"):format(id(value))
    elseif depth >= depth_limit then
      return "{...}"
    end
    seen[value] = true
    local length, parts, keys = #value, {}, {}
    for i = 1, length do
      parts[i] = write(value[i], depth + 1)
    end
    for key in pairs(value) do
      local in_list = type(key) == "number" and key >= 1 and key <= length and key % 1 == 0
      if not in_list then
        keys[#keys + 1] = key
      end
    end
    table.sort(keys, before)
    local margin = newline .. indent:rep(depth + 1)
    for _, key in ipairs(keys) do
      local name = is_name(key) and key or "[" .. write(key, depth + 1) .. "]"
      parts[#parts + 1] = margin .. name .. " = " .. write(value[key], depth + 1)
    end
    local mt = getmetatable(value)
    if type(mt) == "table" and options.metatables ~= false then
      parts[#parts + 1] = margin .. "<metatable> = " .. write(mt, depth + 1)
      keys[#keys + 1] = mt
    end
    if #parts == 0 then
      return "{}"
    end
    local text = "{"
    for i, part in ipairs(parts) do
      text = text .. (i > 1 and "," or "") .. (i <= length and " " or "") .. part
    end
    return text .. (#keys > 0 and newline .. indent:rep(depth) or " ") .. "}"
  end

  return write
end

function inspect.inspect(value, options)
  return writer(options or {})(value, 0)
end

return setmetatable(inspect, { __call = function(_, ...) return inspect.inspect(...) end })
