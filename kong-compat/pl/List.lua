-- Lists with methods, as Penlight's `List`; what does not return a value returns the list.

local stringx = require "pl.stringx"
local tablex = require "pl.tablex"

local List = { _name = "List" }
List.__index = List

local function list(values)
  return setmetatable(values, List)
end

function List.new(values)
  if values ~= nil and type(values) ~= "table" then
    local made = list {}
    for value in values do
      made[#made + 1] = value
    end
    return made
  end
  local made = list {}
  for i = 1, values and #values or 0 do
    made[i] = values[i]
  end
  return made
end

function List.range(first, last, step)
  local made = list {}
  if not last then
    first, last = 1, first
  end
  for i = first, last, step or 1 do
    made[#made + 1] = i
  end
  return made
end

function List.split(text, separator)
  return list(stringx.split(text, separator))
end

function List:clone()
  return List.new(self)
end

function List:append(value)
  self[#self + 1] = value
  return self
end

List.push = List.append

function List:extend(values)
  for i = 1, #values do
    self[#self + 1] = values[i]
  end
  return self
end

function List:insert(at, value)
  table.insert(self, at, value)
  return self
end

function List:put(value)
  return self:insert(1, value)
end

function List:remove(at)
  table.remove(self, at)
  return self
end

function List:remove_value(value)
  for i = 1, #self do
    if self[i] == value then
      table.remove(self, i)
      break
    end
  end
  return self
end

function List:pop(at)
  return table.remove(self, at or #self)
end

List.get = List.pop

function List:index(value, from)
  return tablex.find(self, value, from)
end

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
  if order == "<" then
    order = nil
  elseif order == ">" then
    order = function(a, b) return a > b end
  end
  table.sort(self, order)
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

function List:slice(first, last)
  return list(tablex.sub(self, first, last))
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
  local i = 0
  return function()
    i = i + 1
    return self[i]
  end
end

function List:concat(separator)
  return table.concat(self, separator)
end

function List:join(separator)
  local texts = {}
  for i = 1, #self do
    texts[i] = tostring(self[i])
  end
  return table.concat(texts, separator or "")
end

function List:map(f, ...)
  return list(tablex.imap(f, self, ...))
end

function List:filter(keep, arg)
  return list(tablex.filter(self, keep, arg))
end

function List:foreach(f, ...)
  for i = 1, #self do
    f(self[i], ...)
  end
end

function List:reduce(f, start)
  return tablex.reduce(f, self, start)
end

function List.__concat(a, b)
  return List.new(a):extend(b)
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

return setmetatable(List, { __call = function(_, values) return List.new(values) end })
