-- Spies note how a function is called; stubs answer in its place; mocks do it to whole tables.

local formatters = require "luassert.formatters"
local luassert = require "luassert"
local say = require "say"
local util = require "luassert.util"

local spies = {}

-- Those that stand in a table, in order: a snapshot takes back what came after it.
local placed = setmetatable({}, { __mode = "v" })
local count = 0

function spies.add(spy)
  count = count + 1
  placed[count] = spy
end

function spies.snapshot()
  local from, added, kept = count, formatters.count(), {}
  for name, value in pairs(formatters.parameters) do
    kept[name] = value
  end
  local snapshot = {}
  function snapshot.revert()
    for i = count, from + 1, -1 do
      if placed[i] then
        placed[i]:revert()
        placed[i] = nil
      end
    end
    count = from
    formatters.cut(added)
    for name in pairs(formatters.parameters) do
      formatters.parameters[name] = kept[name]
    end
  end
  return snapshot
end

local spy_mt = {}
spy_mt.__index = spy_mt

local function is_spy(value)
  return type(value) == "table" and getmetatable(value) == spy_mt
end
spies.is_spy = is_spy

local function same_list(wanted, got, refs)
  local last = math.max(wanted.n or #wanted, got.n or #got)
  for i = 1, last do
    local equal = util.deepcompare(got[i], wanted[i])
    -- A table that was changed since the call is still the one that was given.
    if not equal and not (refs and type(refs[i]) == "table" and refs[i] == wanted[i]) then
      return false
    end
  end
  return true
end

local function entry(list, ...)
  local refs = util.make_arglist(...)
  local vals = { n = refs.n }
  for i = 1, refs.n do
    vals[i] = util.deepcopy(refs[i])
  end
  local one = setmetatable({ vals = vals, refs = refs, n = refs.n }, { __index = vals })
  list[#list + 1] = one
  return one
end

function spy_mt:__call(...)
  entry(self.calls, ...)
  local returned = util.make_arglist(self.callback(...))
  entry(self.returnvals, util.unpack(returned))
  return util.unpack(returned)
end

function spy_mt:clear()
  self.calls, self.returnvals = {}, {}
  return self
end

function spy_mt:revert()
  if not self.reverted and self.target_table then
    self.target_table[self.target_key] = self.original
  end
  self.reverted = true
  return self.original
end

local compares = {
  ["=="] = function(a, b) return a == b end,
  [">="] = function(a, b) return a >= b end,
  ["<="] = function(a, b) return a <= b end,
  [">"] = function(a, b) return a > b end,
  ["<"] = function(a, b) return a < b end,
}

function spy_mt:called(times, compare)
  local made = #self.calls
  if times == nil then
    return made > 0, made
  end
  local compares_with = type(compare) == "function" and compare or compares[compare or "=="]
  return compares_with(made, times), made
end

function spy_mt:called_with(wanted)
  for _, call in ipairs(self.calls) do
    if same_list(wanted, call.vals, call.refs) then
      return true
    end
  end
  return false
end

function spy_mt:returned_with(wanted)
  for _, returned in ipairs(self.returnvals) do
    if same_list(wanted, returned.vals, returned.refs) then
      return true
    end
  end
  return false
end

local spy = { is_spy = is_spy }

function spy.new(callback)
  if not util.callable(callback) then
    error("Cannot spy on type '" .. type(callback) .. "', only on functions or callable elements",
      util.errorlevel())
  end
  return setmetatable({ calls = {}, returnvals = {}, callback = callback, original = callback },
    spy_mt)
end

function spy.on(target, key)
  local made = spy.new(target[key])
  made.target_table, made.target_key = target, key
  target[key] = made
  spies.add(made)
  return made
end

setmetatable(spy, { __call = function(_, ...) return spy.new(...) end })
spies.spy = spy

local stub = {}

-- What a stub answers: for certain arguments, else by default.
local function answering(made, default)
  local cases, fallback = {}, default
  made.callback = function(...)
    local given = util.make_arglist(...)
    for _, case in ipairs(cases) do
      if same_list(case.wanted, given, given) then
        return case.answer(...)
      end
    end
    return fallback(...)
  end
  local function setters(set)
    return {
      returns = function(...)
        local values = util.make_arglist(...)
        set(function() return util.unpack(values) end)
        return made
      end,
      invokes = function(f)
        set(function(...) return f(...) end)
        return made
      end,
    }
  end
  made.by_default = setters(function(answer) fallback = answer end)
  made.returns, made.invokes = made.by_default.returns, made.by_default.invokes
  made.on_call_with = function(...)
    local wanted = util.make_arglist(...)
    return setters(function(answer)
      table.insert(cases, 1, { wanted = wanted, answer = answer })
    end)
  end
  return made
end

-- `stub(table, key, ...)`: what follows is what it returns, or one function that answers.
function stub.new(target, key, ...)
  if target == nil and key == nil then
    target, key = {}, ""
  end
  if type(target) ~= "table" or key == nil then
    error("stub.new(): Can only create stub on a table key", util.errorlevel())
  end
  if target[key] ~= nil and not util.callable(target[key]) then
    error("stub.new(): The element for which to create a stub must either be callable, or be nil",
      util.errorlevel())
  end
  local original = target[key]
  local values = util.make_arglist(...)
  local default = function() return util.unpack(values) end
  if values.n == 1 and type(values[1]) == "function" then
    default = values[1]
  end
  local made = spy.new(default)
  made.original, made.target_table, made.target_key = original, target, key
  target[key] = made
  spies.add(made)
  return answering(made, default)
end

setmetatable(stub, { __call = function(_, ...) return stub.new(...) end })
spies.stub = stub

local mock = {}

local function each(object, seen, visit)
  if seen[object] then
    return
  end
  seen[object] = true
  for key, value in pairs(object) do
    if is_spy(value) then
      visit(object, key, value)
    elseif type(value) == "table" and not util.callable(value) then
      each(value, seen, visit)
    elseif util.callable(value) then
      visit(object, key)
    end
  end
end

function mock.new(object, stubs, func, self, key)
  if util.callable(object) and type(object) ~= "table" then
    return spy.new(object)
  end
  local found = {}
  each(object, {}, function(target, name, known)
    if not known then
      found[#found + 1] = { target, name }
    end
  end)
  for _, one in ipairs(found) do
    if not stubs then
      spy.on(one[1], one[2])
    elseif func then
      stub(one[1], one[2], func, self, key)
    else
      stub(one[1], one[2])
    end
  end
  return object
end

function mock.clear(object)
  each(object, {}, function(_, _, known) if known then known:clear() end end)
  return object
end

function mock.revert(object)
  local found = {}
  each(object, {}, function(_, _, known) found[#found + 1] = known end)
  for _, known in ipairs(found) do
    known:revert()
  end
  return object
end

setmetatable(mock, { __call = function(_, ...) return mock.new(...) end })
spies.mock = mock

local function payload(state, arguments, level)
  if arguments then
    local made = arguments[1]
    if made ~= nil and not is_spy(made) then
      error("expected a spy or a stub, got " .. type(made), level)
    end
    rawset(state, "payload", made)
  end
  return state
end
luassert:register("modifier", "spy", payload)
luassert:register("modifier", "stub", payload)

local function payload_of(state, level)
  local made = rawget(state, "payload")
  if not made then
    error("'called' needs a spy: assert.spy(spy).was.called()", level)
  end
  return made
end

local function counted(name, compare)
  local function check(state, arguments, level)
    local made = payload_of(state, level + 1)
    local wanted = arguments[1]
    if wanted ~= nil and type(wanted) ~= "number" then
      error("bad argument #1 to '" .. name .. "' (number expected)", level)
    end
    if arguments[2] ~= nil then
      rawset(state, "failure_message", arguments[2])
    end
    local result, times = made:called(wanted, compare)
    if wanted == nil and not compare then
      arguments[1] = rawget(state, "mod") and "more than 0" or 0
      arguments.nofmt = { true }
    end
    arguments[2], arguments.n = times, 2
    return result
  end
  local key = "assertion." .. name
  say:set(key .. ".positive", "Expected to be " .. name:gsub("_", " ")
    .. " %s time(s), but was called %s time(s)")
  say:set(key .. ".negative", "Expected not to be " .. name:gsub("_", " ")
    .. " exactly %s time(s), but it was called %s time(s).")
  luassert:register("assertion", name, check, key .. ".positive", key .. ".negative")
end

counted("called")
counted("called_times")
counted("called_at_least", ">=")
counted("called_at_most", "<=")
counted("called_more_than", ">")
counted("called_less_than", "<")

local function listed(name, list)
  local function check(state, arguments, level)
    local made = payload_of(state, level + 1)
    local result = made[name](made, { n = arguments.n, unpack(arguments, 1, arguments.n) })
    local last = made[list][#made[list]]
    arguments[1] = { n = arguments.n, unpack(arguments, 1, arguments.n) }
    arguments[2], arguments.n = last and last.vals or "(nothing)", 2
    return result
  end
  local key = "assertion." .. name
  local verb = name == "called_with" and "called with" or "returned with"
  say:set(key .. ".positive", "Function was never " .. verb
    .. " matching arguments.\nExpected:\n%s\nLast was:\n%s")
  say:set(key .. ".negative", "Function was " .. verb
    .. " matching arguments at least once.\nDid not expect:\n%s\nLast was:\n%s")
  luassert:register("assertion", name, check, key .. ".positive", key .. ".negative")
end

listed("called_with", "calls")
listed("returned_with", "returnvals")

package.loaded["luassert.spy"] = spy
package.loaded["luassert.stub"] = stub
package.loaded["luassert.mock"] = mock

return spies
