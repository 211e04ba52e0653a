-- Bodies of `multipart/form-data`: Kong's module `multipart`.

local strip = require "kong.tools.string".strip

local Multipart = {}
Multipart.__index = Multipart

-- What is between the quote in front of `from` and the next, and the place behind that.
local function quoted(text, from)
  local at = from
  while true do
    at = text:find('["\\]', at)
    if not at then
      return text:sub(from), #text + 1
    elseif text:sub(at, at) == '"' then
      return (text:sub(from, at - 1):gsub('\\(["\\])', "%1")), at + 1
    end
    at = at + 2
  end
end

-- The value of a header's parameter, whose name may be in any case.
local function parameter(text, wanted)
  local at = text:find(";", 1, true)
  while at do
    local name, from = text:match("^;%s*([^%s=;]+)%s*=%s*()", at)
    local after = at + 1
    if name then
      local value
      if text:sub(from, from) == '"' then
        value, after = quoted(text, from + 1)
      else
        value = text:match("^[^;]*", from)
        after = from + #value
        value = strip(value)
      end
      if name:lower() == wanted then
        return value
      end
    end
    at = text:find(";", after, true)
  end
end

local function boundary_of(content_type)
  local boundary = content_type and parameter(content_type, "boundary")
  boundary = boundary and (boundary:match("^'(.*)'$") or boundary:match("^%S+"))
  return boundary ~= "" and boundary or nil
end

-- Lines of headers and where the value begins.
local function headers_of(part)
  local headers, name, from = {}, nil, 1
  while true do
    local first, last = part:find("\r?\n", from)
    local line = part:sub(from, first and first - 1)
    if line == "" or not line:find("%S:%s*%S") then
      return headers, name, line == "" and (last or #part) + 1 or from
    end
    headers[#headers + 1] = line
    if line:sub(1, 19):lower() == "content-disposition" then
      name = parameter(line, "name")
    end
    if not first then
      return headers, name, #part + 1
    end
    from = last + 1
  end
end

-- Where a line that begins with the boundary starts, where it ends, and whether it is the last.
local function next_line(body, mark, from)
  while true do
    local at = body:find(mark, from, true)
    if not at then
      return nil
    end
    local before = body:sub(at - 1, at - 1)
    if before == "" or before == "\n" or before == "\r" then
      local _, last = body:find("\n", at, true)
      return at, last or #body, body:sub(at + #mark, at + #mark + 1) == "--"
    end
    from = at + 1
  end
end

local function add(self, part)
  local headers, name, from = headers_of(part)
  if name then
    local data = self._data.data
    data[#data + 1] = { name = name, headers = headers, value = part:sub(from) }
    local indexes = self._data.indexes
    indexes[name] = indexes[name] or {}
    table.insert(indexes[name], #data)
  end
end

function Multipart.new(body, content_type)
  local self = setmetatable({ _data = { data = {}, indexes = {} } }, Multipart)
  self._boundary = boundary_of(content_type)
  if not self._boundary or not body then
    return self
  end
  local mark = "--" .. self._boundary
  local at, last, closed = next_line(body, mark, 1)
  while at and not closed do
    local from = last + 1
    at, last, closed = next_line(body, mark, from)
    local part = body:sub(from, at and at - 1)
    -- The line break in front of the boundary is no part of the value.
    add(self, at and (part:gsub("\r?\n$", "")) or part)
  end
  return self
end

function Multipart:get(name)
  local indexes = self._data.indexes[name]
  return indexes and self._data.data[indexes[1]]
end

-- Headers of a part by their names, in whatever case.
local names_meta = {
  __index = function(headers, name)
    name = name:lower()
    return rawget(headers, name) or rawget(headers, (name:gsub("_", "-")))
  end,
}

local function with_headers(part)
  local headers = setmetatable({}, names_meta)
  for _, line in ipairs(part.headers) do
    local colon = line:find(":", 1, true)
    if colon then
      headers[strip(line:sub(1, colon - 1)):lower()] = strip(line:sub(colon + 1))
    end
  end
  return { value = part.value, headers = headers }
end

local function value_of(part)
  return part.value
end

local function list(self, name, f)
  local values = {}
  for i, index in ipairs(self._data.indexes[name] or {}) do
    values[i] = f(self._data.data[index])
  end
  return values
end

function Multipart:get_as_array(name)
  return list(self, name, value_of)
end

function Multipart:get_with_headers_as_array(name)
  return list(self, name, with_headers)
end

local function each(self, f)
  local values = {}
  for name, indexes in pairs(self._data.indexes) do
    values[name] = f(name, indexes)
  end
  return values
end

function Multipart:get_all()
  return each(self, function(_, indexes) return self._data.data[indexes[1]].value end)
end

function Multipart:get_all_as_arrays()
  return each(self, function(name) return self:get_as_array(name) end)
end

function Multipart:get_all_with_arrays()
  return each(self, function(name, indexes)
    local values = self:get_as_array(name)
    return #indexes == 1 and values[1] or values
  end)
end

function Multipart:get_all_include_headers_with_arrays()
  return each(self, function(name) return self:get_with_headers_as_array(name) end)
end

-- One value for a name; the first of several changes.
function Multipart:set_simple(name, value, filename, content_type)
  local header = 'Content-Disposition: form-data; name="' .. name .. '"'
  if filename then
    header = header .. '; filename="' .. filename .. '"'
  end
  if content_type then
    header = header .. "\r\ncontent-type: " .. content_type
  end
  local indexes, data = self._data.indexes, self._data.data
  indexes[name] = indexes[name] or { #data + 1 }
  data[indexes[name][1]] = { name = name, value = value, headers = { header } }
end

function Multipart:delete(name)
  local kept = {}
  for _, part in ipairs(self._data.data) do
    if part.name ~= name then
      kept[#kept + 1] = part
    end
  end
  local indexes = {}
  for i, part in ipairs(kept) do
    indexes[part.name] = indexes[part.name] or {}
    table.insert(indexes[part.name], i)
  end
  self._data.data, self._data.indexes = kept, indexes
end

function Multipart:tostring()
  local boundary = self._boundary or Multipart.RANDOM_BOUNDARY
  local parts = {}
  for _, part in ipairs(self._data.data) do
    if part.value then
      local headers = table.concat(part.headers, "\r\n")
      parts[#parts + 1] = "--" .. boundary .. "\r\n" .. headers
        .. (headers ~= "" and "\r\n" or "") .. "\r\n" .. part.value .. "\r\n"
    end
  end
  if #parts == 0 then
    return ""
  end
  return table.concat(parts) .. "--" .. boundary .. "--\r\n"
end

Multipart.RANDOM_BOUNDARY = ("%08x%08x"):format(math.random(0, 2 ^ 31), math.random(0, 2 ^ 31))

return setmetatable(Multipart, {
  __call = function(_, ...) return Multipart.new(...) end,
})
