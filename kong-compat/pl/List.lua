-- Lists with methods: Penlight's `List`. What does not return a value returns the list.

local class = require "pl.class"
local tablex = require "pl.tablex"
local utils = require "pl.utils"

local List = class(nil, nil, utils.stdmt.List)
List._name = "List"

local function list(values, like)
  return setmetatable(values, like and getmetatable(like) or List)
end

-- A function that gives what is in a text, a table, a file, or what a function gives.
function List.iterate(values)
  local kind = type(values)
  if kind == "function" then
    return values
  elseif kind == "string" or kind == "table" then
    local i, n = 0, #values
    return function()
      i = i + 1
      if i <= n then
        return kind == "string" and values:sub(i, i) or values[i]
      end
    end
  elseif io.type(values) == "file" then
    return values:lines()
  end
end

-- A plain list becomes one with methods; nothing is copied.
function List._create(values)
  if type(values) == "table" and not getmetatable(values) and #values > 0 then
    return values
  end
end

function List:_init(values)
  if values and values ~= self then
    for value in List.iterate(values) do
      self[#self + 1] = value
    end
  end
end

List.new = List

function List.range(first, last, step)
  if not last then
    first, last = 1, first
  end
  step = utils.assert_arg(3, step or 1, "number")
  utils.assert_arg(1, first, "number")
  utils.assert_arg(2, last, "number")
  -- Steps with a fraction would miss their end by a little.
  last = step % 1 == 0 and last or last + 1e-10
  local made = List()
  for i = first, last, step do
    made[#made + 1] = i
  end
  return made
end

function List.split(text, separator)
  utils.assert_arg(1, text, "string")
  return list(utils.split(text, separator))
end

function List:clone()
  return list({}, self):extend(self)
end

function List:append(value)
  self[#self + 1] = value
  return self
end

List.push = table.insert

function List:extend(values)
  utils.assert_arg(1, values, "table")
  for i = 1, #values do
    self[#self + 1] = values[i]
  end
  return self
end

function List:insert(at, value)
  table.insert(self, utils.assert_arg(1, at, "number"), value)
  return self
end

function List:put(value)
  return self:insert(1, value)
end

function List:remove(at)
  table.remove(self, utils.assert_arg(1, at, "number"))
  return self
end

function List:remove_value(value)
  local at = tablex.find(self, value)
  return at and self:remove(at) or self
end

function List:pop(at)
  return table.remove(self, utils.assert_arg(1, at or #self, "number"))
end

List.get = List.pop
List.index = tablex.find

function List:contains(value)
  return self:index(value) ~= nil
end

function List:count(value)
  local count = 0
  for i = 1, #self do
    count = count + (self[i] == value and 1 or 0)
  end
  return count
end

function List:sort(order)
  table.sort(self, order and utils.function_arg(1, order))
  return self
end

function List:sorted(order)
  return self:clone():sort(order)
end

function List:reverse()
  local n = #self
  for i = 1, math.floor(n / 2) do
    self[i], self[n - i + 1] = self[n - i + 1], self[i]
  end
  return self
end

function List:minmax()
  local least, most = 1e70, -1e70
  for i = 1, #self do
    least, most = math.min(least, self[i]), math.max(most, self[i])
  end
  return least, most
end

function List:slice(first, last)
  return tablex.sub(self, first, last)
end

function List:chop(first, last)
  return tablex.removevalues(self, first, last)
end

function List:splice(at, values)
  utils.assert_arg(1, at, "number")
  for value in List.iterate(values) do
    table.insert(self, at, value)
    at = at + 1
  end
  return self
end

function List:slice_assign(first, last, values)
  first, last = tablex._normalize_slice(self, first, last)
  if last >= first then
    self:chop(first, last)
  end
  return self:splice(first, values)
end

function List:clear()
  for i = #self, 1, -1 do
    self[i] = nil
  end
  return self
end

function List:len()
  return #self
end

function List:iter()
  return List.iterate(self)
end

List.concat = table.concat

function List:join(separator)
  return table.concat(utils.array_tostring(self), separator or "")
end

function List:map(f, ...)
  return list(tablex.imap(f, self, ...), self)
end

function List:map2(f, other, ...)
  return list(tablex.imap2(f, self, other, ...), self)
end

function List:mapm(name, ...)
  return list(tablex.map_named_method(name, self, ...), self)
end

function List:transform(f, ...)
  tablex.transform(f, self, ...)
  return self
end

function List:filter(keep, arg)
  return list(tablex.filter(self, keep, arg), self)
end

function List:foreach(f, ...)
  f = utils.function_arg(1, f)
  for i = 1, #self do
    f(self[i], ...)
  end
end

function List:foreachm(name, ...)
  for i = 1, #self do
    self[i][name](self[i], ...)
  end
end

function List:reduce(f, start)
  return tablex.reduce(f, self, start)
end

-- Lists by what a function says of their values.
function List:partition(f, ...)
  f = utils.function_arg(1, f)
  local parts = {}
  for i = 1, #self do
    local key = f(self[i], ...)
    key = key == nil and "<nil>" or key
    parts[key] = parts[key] or List()
    parts[key]:append(self[i])
  end
  return setmetatable(parts, require "pl.MultiMap")
end

function List.default_map_with(functions)
  return function(self, name)
    local f = functions[name]
    if not f then
      error(type(functions) .. " does not have method " .. name, 3)
    end
    local function method(values, ...)
      return values:map(f, ...)
    end
    getmetatable(self)[name] = method
    return method
  end
end

function List.__concat(a, b)
  utils.assert_arg(1, b, "table")
  return a:clone():extend(b)
end

function List.__eq(a, b)
  if #a ~= #b then
    return false
  end
  for i = 1, #a do
    if a[i] ~= b[i] then
      return false
    end
  end
  return true
end

function List.__tostring(self)
  return "{" .. self:join(",") .. "}"
end

return List
