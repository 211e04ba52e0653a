-- Arguments of a query or a form, in the order in which they came.

local _M = {}
_M.__index = _M

local function decoded(text)
  text = text:gsub("+", " ")
  return (text:gsub("%%(%x%x)", function(digits)
    return string.char(tonumber(digits, 16))
  end))
end

local function encoded(text)
  return (text:gsub("[^%w%-%._~]", function(char)
    return ("%%%02X"):format(char:byte())
  end))
end

-- A bare argument is true; what comes several times is a list.
local function add(arguments, name, value)
  local known = arguments.values[name]
  if known == nil then
    arguments.names[#arguments.names + 1] = name
    arguments.values[name] = value
  elseif type(known) == "table" then
    known[#known + 1] = value
  else
    arguments.values[name] = { known, value }
  end
end

-- Reads `a=1&b`.
function _M.parse(text)
  local arguments = setmetatable({ names = {}, values = {} }, _M)
  for part in text:gmatch("[^&]+") do
    local name, value = part:match("^([^=]*)=(.*)$")
    if name ~= "" then
      add(arguments, decoded(name or part), value and decoded(value) or true)
    end
  end
  return arguments
end

-- The same from a table of names and values.
function _M.of(table)
  local arguments = setmetatable({ names = {}, values = {} }, _M)
  for name, value in pairs(table) do
    for _, one in ipairs(type(value) == "table" and value or { value }) do
      add(arguments, name, one)
    end
  end
  return arguments
end

function _M:get(name)
  return self.values[name]
end

-- Sets a value; nil takes the argument away.
function _M:set(name, value)
  if value == nil then
    for at, known in ipairs(self.names) do
      if known == name then
        table.remove(self.names, at)
        break
      end
    end
  elseif self.values[name] == nil then
    self.names[#self.names + 1] = name
  end
  self.values[name] = value
end

function _M:rename(old, new)
  local value = self.values[old]
  if old ~= new and value then
    self:set(old, nil)
    self:set(new, value)
    return true
  end
end

-- Adds a value to those that are there. A bare argument has none, and gives way (Kong).
function _M:append(name, value)
  if self.values[name] == true then
    self.values[name] = value
  else
    add(self, name, value)
  end
end

function _M:is_empty()
  return #self.names == 0
end

-- The arguments as text; in the order of names if Kong sends them so.
function _M:encode(sorted)
  local names = { unpack(self.names) }
  if sorted then
    table.sort(names)
  end
  local parts = {}
  for _, name in ipairs(names) do
    local values = self.values[name]
    for _, value in ipairs(type(values) == "table" and values or { values }) do
      local bare = value == true
      parts[#parts + 1] = encoded(name) .. (bare and "" or "=" .. encoded(value))
    end
  end
  return table.concat(parts, "&")
end

return _M
