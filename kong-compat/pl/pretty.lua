-- Tables as texts that Lua reads back, as Penlight's `pretty`.

local _M = {}

local RESERVED = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat
  return then true until while]]):gmatch("%a+") do
  RESERVED[word] = true
end

local function name_of(key, not_clever)
  local is_name = type(key) == "string" and key:find("^[%a_][%w_]*$") and not RESERVED[key]
  if is_name and not not_clever then
    return key
  end
  return type(key) == "number" and "[" .. key .. "]" or ("[%q]"):format(tostring(key))
end

-- Numbers last.
local function order(a, b)
  local of_a, of_b = type(a) == "number", type(b) == "number"
  if of_a and of_b then
    return a < b
  end
  if of_a ~= of_b then
    return of_b
  end
  if type(a) ~= type(b) then
    return type(a) < type(b)
  end
  return tostring(a) < tostring(b)
end

local function plain(value)
  if value ~= value then
    return "NaN"
  elseif value == math.huge then
    return "Inf"
  elseif value == -math.huge then
    return "-Inf"
  elseif type(value) == "number" and value % 1 == 0 and math.abs(value) < 2 ^ 53 then
    return ("%d"):format(value)
  elseif type(value) == "number" and value % 1 == 0 then
    return (tostring(value):gsub("^(%-?%d)e", "%1.0e"))
  end
  return tostring(value)
end

-- Several lines stand in long brackets.
local function quoted(text)
  if not text:find("\n", 1, true) then
    return (("%q"):format(text):gsub("\r", "\\r"))
  end
  local equals = ""
  while text:find("]" .. equals, 1, true) do
    equals = equals .. "="
  end
  local line = text:sub(1, 1) == "\n" and "\n" or ""
  return "[" .. equals .. "[" .. line .. text .. "]" .. equals .. "]"
end

-- A table over several lines; with an empty `space` in one.
function _M.write(value, space, not_clever)
  space = space or "  "
  local seen = {}
  local function text(inner, depth)
    if type(inner) == "string" then
      return quoted(inner)
    end
    if type(inner) ~= "table" then
      return plain(inner)
    end
    if seen[inner] then
      return "<cycle>"
    end
    seen[inner] = true
    local keys, parts, indent = {}, {}, space:rep(depth + 1)
    for i = 1, not_clever and 0 or #inner do
      parts[i] = indent .. text(inner[i], depth + 1)
    end
    local count = #parts
    for key in pairs(inner) do
      local is_listed = type(key) == "number" and key % 1 == 0 and key >= 1 and key <= count
      if not is_listed then
        keys[#keys + 1] = key
      end
    end
    table.sort(keys, order)
    for _, key in ipairs(keys) do
      local named = name_of(key, not_clever)
      local equals = space == "" and "=" or " = "
      parts[#parts + 1] = indent .. named .. equals .. text(inner[key], depth + 1)
    end
    seen[inner] = nil
    local line = space == "" and "" or "\n"
    local inside = table.concat(parts, "," .. line)
    return "{" .. line .. inside .. (#parts > 0 and line or "") .. space:rep(depth) .. "}"
  end
  if type(value) ~= "table" then
    return text(value, 0), "not a table"
  end
  return text(value, 0)
end

function _M.dump(value)
  print(_M.write(value))
end

-- Runs code that may call nothing: texts have no methods meanwhile.
local function run(chunk)
  local methods = getmetatable("")
  debug.setmetatable("", nil)
  local ok, value = pcall(chunk)
  debug.setmetatable("", methods)
  if not ok then
    return nil, value
  end
  return value
end

-- A table that a text describes; nothing in it may be called.
function _M.read(text)
  text = text:gsub("^%s*%-%-[^\n]*\n", "")
  if not text:find("^%s*{") then
    return nil, "not a Lua table"
  end
  if text:gsub("'[^'\n]*'", ""):gsub('"[^"\n]*"', ""):find("[^%w_]function[^%w_]") then
    return nil, "cannot have functions in table definition"
  end
  local chunk, err = load("return " .. text, "tbl", "t", {})
  if not chunk then
    return nil, err
  end
  return run(chunk)
end

-- The globals that code sets; without `paranoid` it may also call and loop.
function _M.load(text, env, paranoid)
  env = env or {}
  if paranoid then
    for word in text:gmatch("%a+") do
      if word == "for" or word == "while" or word == "repeat" or word == "function" then
        return nil, "looping not allowed"
      end
    end
  end
  local chunk, err = load(text, "tbl", "t", env)
  if not chunk then
    return nil, err
  end
  local _, problem = run(chunk)
  if problem then
    return nil, problem
  end
  return env
end

-- A number with a unit: `K`, `M` for `N`, `KiB` for `M`, thousands with commas for `T`.
function _M.number(number, kind, precision)
  kind, precision = kind or "N", precision or 1
  local text = "%." .. precision .. "f%s"
  if kind == "T" then
    local shown = ("%d"):format(number):reverse():gsub("(%d%d%d)", "%1,"):reverse()
    return (shown:gsub("^,", ""):gsub("^%-,", "-"))
  elseif kind == "M" then
    local units, i = { "B", "KiB", "MiB", "GiB" }, 1
    while number >= 1024 and i < #units do
      number, i = number / 1024, i + 1
    end
    return i == 1 and ("%d%s"):format(number, units[i]) or text:format(number, units[i])
  end
  local units, i = { "", "K", "M", "B" }, 1
  while number >= 1000 and i < #units do
    number, i = number / 1000, i + 1
  end
  return i == 1 and ("%d%s"):format(number, units[i]) or text:format(number, units[i])
end

return setmetatable(_M, { __call = function(_, value) return _M.dump(value) end })
