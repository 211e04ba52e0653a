-- Queries as browsers read them: `resty.ada.search`.

local _M = {}
local methods = {}
local meta = { __index = methods }

local function decoded(text)
  return ngx.unescape_uri((text:gsub("+", " ")))
end

-- The form encoding of the URL standard.
local function encoded(text)
  return (text:gsub("[^%w*%-._ ]", function(char)
    return ("%%%02X"):format(char:byte())
  end):gsub(" ", "+"))
end

local function check(text, what)
  assert(type(text) == "string", "invalid " .. what)
end

local function fill(self, query)
  for i = #self, 1, -1 do
    self[i] = nil
  end
  for pair in query:gsub("^%?", ""):gmatch("[^&]+") do
    local key, value = pair:match("^([^=]*)=?(.*)$")
    self[#self + 1] = { decoded(key), decoded(value) }
  end
  return self
end

function _M.parse(query)
  check(query, "search")
  return fill(setmetatable({}, meta), query)
end

function methods:reset(query)
  check(query, "search")
  return fill(self, query)
end

function methods:get_all(key)
  check(key, "key")
  local values = {}
  for _, pair in ipairs(self) do
    if pair[1] == key then
      values[#values + 1] = pair[2]
    end
  end
  return values
end

function methods:get(key)
  return self:get_all(key)[1]
end

function methods:has(key)
  return self:get(key) ~= nil
end

function methods:has_value(key, value)
  check(value, "value")
  for _, one in ipairs(self:get_all(key)) do
    if one == value then
      return true
    end
  end
  return false
end

local function remove_where(self, f)
  for i = #self, 1, -1 do
    if f(self[i]) then
      table.remove(self, i)
    end
  end
  return self
end

function methods:remove(key)
  check(key, "key")
  return remove_where(self, function(pair) return pair[1] == key end)
end

function methods:remove_value(key, value)
  check(key, "key")
  check(value, "value")
  return remove_where(self, function(pair) return pair[1] == key and pair[2] == value end)
end

function methods:append(key, value)
  check(key, "key")
  check(value, "value")
  self[#self + 1] = { key, value }
  return self
end

-- The first of a name changes, and the others go.
function methods:set(key, value)
  check(key, "key")
  check(value, "value")
  local found = false
  local kept = {}
  for _, pair in ipairs(self) do
    if pair[1] ~= key then
      kept[#kept + 1] = pair
    elseif not found then
      found = true
      kept[#kept + 1] = { key, value }
    end
  end
  if not found then
    kept[#kept + 1] = { key, value }
  end
  remove_where(self, function() return true end)
  for i, pair in ipairs(kept) do
    self[i] = pair
  end
  return self
end

-- By name; those of one name keep their order.
function methods:sort()
  local order = {}
  for i, pair in ipairs(self) do
    order[i] = { i, pair }
  end
  table.sort(order, function(a, b)
    if a[2][1] ~= b[2][1] then
      return a[2][1] < b[2][1]
    end
    return a[1] < b[1]
  end)
  for i, one in ipairs(order) do
    self[i] = one[2]
  end
  return self
end

local function entry(pair)
  return { key = pair[1], value = pair[2] }
end

local function iterator(f)
  return function(self)
    local i = 0
    return function()
      i = i + 1
      if self[i] then
        return f(self[i], i)
      end
    end
  end
end

methods.each = iterator(entry)
methods.each_key = iterator(function(pair) return pair[1] end)
methods.each_value = iterator(function(pair) return pair[2] end)
methods.pairs = iterator(function(pair) return pair[1], pair[2] end)
methods.ipairs = iterator(function(pair, i) return i, entry(pair) end)

-- The first value of every name.
function methods:decode()
  local values = {}
  for _, pair in ipairs(self) do
    if values[pair[1]] == nil then
      values[pair[1]] = pair[2]
    end
  end
  return values
end

-- All values of every name.
function methods:decode_all()
  local values = {}
  for _, pair in ipairs(self) do
    local list = values[pair[1]] or {}
    list[#list + 1], values[pair[1]] = pair[2], list
  end
  return values
end

function methods:size()
  return #self
end

function methods:tostring()
  local parts = {}
  for i, pair in ipairs(self) do
    parts[i] = encoded(pair[1]) .. "=" .. encoded(pair[2])
  end
  return table.concat(parts, "&")
end

meta.__tostring = methods.tostring

function methods:free()
  setmetatable(self, nil)
  self[1] = nil
end

-- The same for texts: what changes a query returns it as a text.
for name, method in pairs(methods) do
  if name ~= "free" and name ~= "reset" then
    _M[name] = function(query, ...)
      local parsed = _M.parse(query)
      local result, second = method(parsed, ...)
      if result == parsed then
        return parsed:tostring()
      end
      return result, second
    end
  end
end

local function text_of(value)
  local kind = type(value)
  local is_number = kind == "number" and value == value and math.abs(value) ~= math.huge
  assert(kind == "string" or kind == "boolean" or is_number, "invalid value")
  return (value == true or value == "") and "" or tostring(value)
end

-- A query of a table, by name; lists repeat their name, `true` stands for an empty value.
function _M.encode(params)
  if type(params) ~= "table" then
    return _M.parse(params):tostring()
  end
  local made = _M.parse("")
  for key, value in pairs(params) do
    for _, one in ipairs(type(value) == "table" and value or { value }) do
      if one ~= false then
        made:append(key, text_of(one))
      end
    end
  end
  return made:sort():tostring()
end

return _M
