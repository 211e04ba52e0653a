-- Templates whose lines that begin with `#` are Lua, and whose `$(...)` are values: Penlight's.

local _M = {}

-- A text with its `$(...)` as Lua that calls `__put`.
local function line_of(text, options)
  local parts, from = {}, 1
  local open = options.inline_escape .. options.brackets:sub(1, 1)
  while true do
    local first = text:find(open, from, true)
    if not first then
      break
    end
    local inside = text:match("^%b" .. options.brackets, first + #options.inline_escape)
    if not inside then
      break
    end
    if first > from then
      parts[#parts + 1] = ("__put(%q)"):format(text:sub(from, first - 1))
    end
    parts[#parts + 1] = "__put(__text(" .. inside:sub(2, -2) .. "))"
    from = first + #options.inline_escape + #inside
  end
  if from <= #text then
    parts[#parts + 1] = ("__put(%q)"):format(text:sub(from))
  end
  return table.concat(parts, " ")
end

local function code_of(text, options)
  local code = {}
  for line, ending in text:gmatch("([^\n]*)(\n?)") do
    local lua = line:match("^" .. options.escape .. "(.*)$")
    if lua then
      code[#code + 1] = lua
    elseif line ~= "" or ending ~= "" then
      code[#code + 1] = line_of(options.newline and line or line .. ending, options)
    end
  end
  return table.concat(code, "\n")
end

local function magic(text)
  return (text:gsub("%p", "%%%0"))
end

local function options_of(given)
  given = given or {}
  return {
    escape = magic(given.escape or given._escape or "#"),
    inline_escape = given.inline_escape or given._inline_escape or "$",
    brackets = given.inline_brackets or given.brackets or given._brackets or "()",
    name = given.chunk_name or given._chunk_name or "TMP",
    newline = given.newline,
  }
end

local template = {}
template.__index = template

-- The text; nil, what is wrong, and the code.
function template:render(env, parent, debug)
  local scope = setmetatable(env or {}, parent and { __index = parent } or getmetatable(env))
  local parts = {}
  local function put(part)
    parts[#parts + 1] = tostring(part)
  end
  local function text(value)
    return value == nil and "" or value
  end
  local chunk, err = load("local __put, __text = ... " .. self.code, self.name, "t", scope)
  if not chunk then
    return nil, err, self.code
  end
  local ok, problem = pcall(chunk, put, text)
  if not ok then
    return nil, problem, self.code
  end
  return table.concat(parts), nil, debug and self.code or nil
end

-- A template that can be rendered many times; nil and what is wrong if it is not Lua.
function _M.compile(text, given)
  local options = options_of(given)
  local self = setmetatable({ name = options.name, code = code_of(text, options) }, template)
  local chunk, err = load("local __put, __text = ... " .. self.code, options.name, "t", {})
  if not chunk then
    return nil, err, self.code
  end
  return self
end

-- Renders at once; the options are fields `_escape`, `_parent` and so on of the environment.
function _M.substitute(text, env)
  env = env or {}
  local self, err, code = _M.compile(text, env)
  if not self then
    return nil, err, code
  end
  return self:render(env, rawget(env, "_parent"), rawget(env, "_debug"))
end

return _M
