-- The assertions and modifiers that luassert has, and their texts.

local luassert = require "luassert"
local say = require "say"
local util = require "luassert.util"

local unpack = util.unpack

-- What a caller says after the values goes before the message.
local function note(state, arguments, at)
  if arguments.n >= at and arguments[at] ~= nil then
    rawset(state, "failure_message", arguments[at])
  end
end

local function swap(arguments)
  arguments[1], arguments[2] = arguments[2], arguments[1]
  if arguments.fmtargs then
    arguments.fmtargs[1], arguments.fmtargs[2] = arguments.fmtargs[2], arguments.fmtargs[1]
  end
end

local function need(arguments, count, name, level)
  if arguments.n < count then
    local text = "the '%s' function requires a minimum of %d arguments, got: %d"
    error(text:format(name, count, arguments.n), level + 1)
  end
end

local checks = {}

function checks.equals(state, arguments, level)
  need(arguments, 2, "equals", level)
  note(state, arguments, 3)
  local result = arguments[1] == arguments[2]
  swap(arguments)
  arguments.n = 2
  return result, { arguments[2], arguments[1], n = 2 }
end

function checks.same(state, arguments, level)
  need(arguments, 2, "same", level)
  note(state, arguments, 3)
  local result, crumbs = util.deepcompare(arguments[1], arguments[2], true)
  arguments.fmtargs = { { crumbs = crumbs }, { crumbs = crumbs } }
  swap(arguments)
  arguments.n = 2
  return result, { arguments[2], arguments[1], n = 2 }
end

function checks.near(state, arguments, level)
  need(arguments, 3, "near", level)
  note(state, arguments, 4)
  local expected, actual, tolerance =
    tonumber(arguments[1]), tonumber(arguments[2]), tonumber(arguments[3])
  if not expected or not actual or not tolerance then
    error("bad argument to 'near' (number expected)", level)
  end
  arguments[1], arguments[2] = arguments[2], arguments[1]
  arguments.n = 3
  return actual >= expected - tolerance and actual <= expected + tolerance,
    { expected, actual, tolerance, n = 3 }
end

-- `matches(pattern, text [, init [, plain]] [, message])`.
local function pattern_of(state, arguments, at)
  local init, plain
  if type(arguments[at]) == "number" or arguments[at] == nil then
    init = arguments[at]
    at = at + 1
  end
  if type(arguments[at]) == "boolean" or arguments[at] == nil then
    plain = arguments[at]
    at = at + 1
  end
  note(state, arguments, at)
  return init, plain
end

function checks.matches(state, arguments, level)
  need(arguments, 2, "matches", level)
  local init, plain = pattern_of(state, arguments, 3)
  local pattern, actual = arguments[1], arguments[2]
  if type(actual) ~= "string" and not util.hastostring(actual) and type(actual) ~= "number" then
    error(("bad argument #2 to 'matches' (string expected, got %s)"):format(type(actual)), level)
  end
  local found
  if plain then
    found = { (tostring(actual):find(pattern, init, true)) and pattern or nil }
  else
    found = util.make_arglist(tostring(actual):match(pattern, init))
  end
  swap(arguments)
  arguments.n = 2
  found.n = found.n or #found
  return found[1] ~= nil, found
end

local function error_matches(wanted, err)
  if wanted == nil then
    return true
  elseif type(err) == "string" and type(wanted) == "string" then
    -- The place that `error` puts before a text does not count.
    return err == wanted or err:gsub("^.-:%d+: ", "", 1) == wanted
  elseif type(err) ~= "string" and type(wanted) == "string" and util.hastostring(err) then
    return tostring(err) == wanted
  end
  return (util.deepcompare(err, wanted, true))
end

function checks.error(state, arguments, level)
  need(arguments, 1, "error", level)
  local f = arguments[1]
  local wants = arguments.n > 1
  local wanted = arguments[2]
  if not util.callable(f) then
    -- An error that `pcall` has caught.
    error(("bad argument #1 to 'error' (function expected, got %s)"):format(type(f)), level)
  end
  note(state, arguments, 3)
  local ok, err = pcall(f)
  local shown = type(err) == "string" and err:gsub("^.-:%d+: ", "", 1) or err
  if ok then
    arguments[1] = "(no error)"
    arguments.nofmt = { true }
  else
    arguments[1] = shown
  end
  arguments[2] = wanted
  arguments.n = 2
  if not wants then
    arguments.nofmt = arguments.nofmt or {}
    arguments.nofmt[2], arguments[2] = true, "(error)"
  end
  return not ok and (not wants or error_matches(wanted, err)), { shown, wanted, n = 2 }
end

function checks.error_matches(state, arguments, level)
  need(arguments, 2, "error_matches", level)
  local f, pattern = arguments[1], arguments[2]
  local init, plain = pattern_of(state, arguments, 3)
  local ok, err = pcall(f)
  local text = tostring(err)
  arguments[1] = ok and "(no error)" or err
  arguments.nofmt = ok and { true } or nil
  arguments[2], arguments.n = pattern, 2
  local found = not ok and util.make_arglist(text:find(pattern, init, plain)) or { n = 0 }
  return found[1] ~= nil, { err, n = 1 }
end

function checks.unique(state, arguments, level)
  need(arguments, 1, "unique", level)
  local list = arguments[1]
  local deep = arguments[2]
  if type(deep) == "boolean" or arguments.n > 2 then
    note(state, arguments, 3)
  else
    note(state, arguments, 2)
    deep = false
  end
  arguments.n = 1
  for i, a in pairs(list) do
    for j, b in pairs(list) do
      if i ~= j and (a == b or (deep and util.deepcompare(a, b, true))) then
        return false
      end
    end
  end
  return true
end

function checks.returned_arguments(state, arguments, level)
  need(arguments, 1, "returned_arguments", level)
  arguments[2] = arguments.n - 1
  arguments[1], arguments[2] = arguments[2], arguments[1]
  local result = arguments[1] == arguments[2]
  arguments.n = 2
  return result
end

-- A function that returns nothing is as good as one that returns nil.
local function truth(name, check)
  return function(state, arguments, level)
    if name ~= "is_nil" and name ~= "is_falsy" then
      need(arguments, 1, name, level)
    end
    note(state, arguments, 2)
    arguments.n = 1
    return check(arguments[1])
  end
end

checks["true"] = truth("is_true", function(value) return value == true end)
checks["false"] = truth("is_false", function(value) return value == false end)
checks.truthy = truth("is_truthy", function(value) return value ~= false and value ~= nil end)
checks.falsy = truth("is_falsy", function(value) return value == false or value == nil end)

for _, kind in ipairs {
  "nil", "boolean", "number", "string", "table", "function", "userdata", "thread",
} do
  checks[kind] = truth("is_" .. kind, function(value) return type(value) == kind end)
end

-- `assert.is.array(list).has.no.holes()`.
function checks.holes(state, arguments)
  local list = rawget(state, "array")
  local length = arguments[1]
  note(state, arguments, 2)
  local count, highest = 0, 0
  for key in pairs(list) do
    if type(key) == "number" and key > 0 then
      count, highest = count + 1, math.max(highest, key)
    end
  end
  length = length or highest
  for i = 1, length do
    if list[i] == nil then
      arguments[1], arguments.n = i, 1
      return true
    end
  end
  arguments[1], arguments.n = count, 1
  return false
end

local texts = {
  ["true"] = { "Expected to be true, but value was:\n%s",
    "Expected not to be true, but value was:\n%s" },
  ["false"] = { "Expected to be false, but value was:\n%s",
    "Expected not to be false, but value was:\n%s" },
  truthy = { "Expected to be truthy, but value was:\n%s",
    "Expected not to be truthy, but value was:\n%s" },
  falsy = { "Expected to be falsy, but value was:\n%s",
    "Expected not to be falsy, but value was:\n%s" },
  equals = { "Expected objects to be equal.\nPassed in:\n%s\nExpected:\n%s",
    "Expected objects to not be equal.\nPassed in:\n%s\nDid not expect:\n%s" },
  same = { "Expected objects to be the same.\nPassed in:\n%s\nExpected:\n%s",
    "Expected objects to not be the same.\nPassed in:\n%s\nDid not expect:\n%s" },
  near = { "Expected values to be near.\nPassed in:\n%s\nExpected:\n%s +/- %s",
    "Expected values to not be near.\nPassed in:\n%s\nDid not expect:\n%s +/- %s" },
  matches = { "Expected strings to match.\nPassed in:\n%s\nExpected:\n%s",
    "Expected strings not to match.\nPassed in:\n%s\nDid not expect:\n%s" },
  error = { "Expected a different error.\nCaught:\n%s\nExpected:\n%s",
    "Expected no error, but caught:\n%s" },
  error_matches = { "Expected error to match.\nCaught:\n%s\nExpected:\n%s",
    "Expected error not to match.\nCaught:\n%s\nDid not expect:\n%s" },
  unique = { "Expected object to be unique:\n%s", "Expected object to not be unique:\n%s" },
  returned_arguments = { "Expected to be called with %s argument(s), but was with %s",
    "Expected not to be called with %s argument(s), but was with %s" },
  holes = { "Expected an array with holes, but it has none; elements:\n%s",
    "Expected an array without holes, but there is one at:\n%s" },
}

for name, check in pairs(checks) do
  local text = texts[name] or {
    ("Expected type %s, but got:\n%%s"):format(name),
    ("Expected not to be of type %s, but value was:\n%%s"):format(name),
  }
  local key = "assertion." .. name
  say:set(key .. ".positive", text[1])
  say:set(key .. ".negative", text[2])
  luassert:register("assertion", name, check, key .. ".positive", key .. ".negative")
end

local others = {
  equal = "equals", are_equal = "equals", match = "matches", errors = "error",
  error_match = "error_matches", matches_error = "error_matches", match_error = "error_matches",
}
for name, of in pairs(others) do
  local key = "assertion." .. of
  luassert:register("assertion", name, checks[of], key .. ".positive", key .. ".negative")
end

local function pass(state)
  return state
end

for _, word in ipairs { "is", "are", "was", "has", "have", "does", "did", "be", "to", "a", "an" } do
  luassert:register("modifier", word, pass)
end

local function negate(state)
  rawset(state, "mod", not rawget(state, "mod"))
  return state
end

luassert:register("modifier", "not", negate)
luassert:register("modifier", "no", negate)

luassert:register("modifier", "message", function(state, arguments)
  if arguments then
    rawset(state, "failure_message", arguments[1])
  end
  return state
end)

luassert:register("modifier", "array", function(state, arguments)
  if arguments then
    rawset(state, "array", arguments[1])
  end
  return state
end)

return { unpack = unpack }
