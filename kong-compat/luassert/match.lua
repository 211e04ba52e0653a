-- Matchers: values of `called_with` that stand for many. `match.is_not.string()`, `match._`.

local namespaces = require "luassert.namespaces"
local luassert = require "luassert"
local util = require "luassert.util"

local matcher_mt = { is_matcher = true }

function matcher_mt.__call(self, value)
  return (not not self.check(value)) == self.mod
end

function matcher_mt.__tostring(self)
  local shown = {}
  for i = 1, self.arguments.n do
    shown[i] = tostring(self.arguments[i])
  end
  return ("%s.%s(%s)"):format(self.mod and "is" or "no", self.name, table.concat(shown, ", "))
end

local function known(name)
  return namespaces.matcher[name] or name == "not" or name == "no" or name == "is"
    or name == "are" or name == "was" or name == "has" or name == "have" or name == "does"
end

local state_mt = {}

function state_mt.__index(self, key)
  util.words(key, self.words)
  return self
end

function state_mt.__call(self, ...)
  local names, unknown = util.names(rawget(self, "words"), known)
  local name = names and names[#names]
  local matcher = name and namespaces.matcher[name]
  if not matcher then
    error(("luassert: unknown modifier/matcher: '%s'"):format(unknown or name),
      util.errorlevel())
  end
  local mod = true
  for i = 1, #names - 1 do
    if names[i] == "not" or names[i] == "no" then
      mod = not mod
    end
  end
  local arguments = util.make_arglist(...)
  local check = matcher.callback({ mod = mod }, arguments, util.errorlevel() + 1)
  return setmetatable({ name = name, mod = mod, check = check, arguments = arguments }, matcher_mt)
end

local function anything()
  return true
end

local match = {
  _ = setmetatable({ name = "_", mod = true, check = anything, arguments = { n = 0 } },
    matcher_mt),
}

function match.is_matcher(value)
  return type(value) == "table" and getmetatable(value) == matcher_mt
end

setmetatable(match, { __index = function(_, key)
  return setmetatable({ words = util.words(key) }, state_mt)
end })

local function matcher(name, make)
  luassert:register("matcher", name, make)
end

for _, kind in ipairs {
  "nil", "boolean", "number", "string", "table", "function", "userdata", "thread",
} do
  matcher(kind, function()
    return function(value) return type(value) == kind end
  end)
end

matcher("true", function() return function(value) return value == true end end)
matcher("false", function() return function(value) return value == false end end)
matcher("truthy", function() return function(value) return not not value end end)
matcher("falsy", function() return function(value) return not value end end)

for _, name in ipairs { "equals", "equal" } do
  matcher(name, function(_, arguments)
    return function(value) return value == arguments[1] end
  end)
end

matcher("same", function(_, arguments)
  local wanted = util.deepcopy(arguments[1])
  return function(value) return (util.deepcompare(value, wanted, true)) end
end)

matcher("ref", function(_, arguments)
  return function(value) return rawequal(value, arguments[1]) end
end)

for _, name in ipairs { "matches", "match" } do
  matcher(name, function(_, arguments)
    local pattern, init, plain = arguments[1], arguments[2], arguments[3]
    return function(value)
      return type(value) == "string" and value:find(pattern, init, plain) ~= nil
    end
  end)
end

matcher("near", function(_, arguments)
  return function(value)
    value = tonumber(value)
    return value and math.abs(value - arguments[1]) <= arguments[2]
  end
end)

matcher("unique", function(_, arguments)
  return function(list)
    return (pcall(luassert.is.unique, list, arguments[1]))
  end
end)

for _, name in ipairs { "error", "errors" } do
  matcher(name, function(_, arguments)
    return function(f)
      return (pcall(luassert.has.error, f, unpack(arguments, 1, arguments.n)))
    end
  end)
end

local function holds(one, value)
  if match.is_matcher(one) then
    return one(value)
  end
  return (util.deepcompare(value, one))
end

local function several(name, judge)
  matcher(name, function(_, arguments)
    return function(value)
      local count = 0
      for i = 1, arguments.n do
        count = count + (holds(arguments[i], value) and 1 or 0)
      end
      return judge(count, arguments.n)
    end
  end)
end

several("all_of", function(count, all) return count == all end)
several("any_of", function(count) return count > 0 end)
several("none_of", function(count) return count == 0 end)

return match
