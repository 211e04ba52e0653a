-- A small part of busted: describe, it, before_each and assert, as the specs here use them.

local busted = {}

local function show(value, depth)
  if type(value) == "string" then
    return ("%q"):format(value)
  end
  if type(value) ~= "table" or depth > 4 then
    return tostring(value)
  end
  local keys = {}
  for key in pairs(value) do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  local parts = {}
  for i, key in ipairs(keys) do
    local name = key == i and "" or tostring(key) .. " = "
    parts[i] = name .. show(value[key], depth + 1)
  end
  return #parts == 0 and "{}" or "{ " .. table.concat(parts, ", ") .. " }"
end

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then
    return a == b
  end
  for key, value in pairs(a) do
    if not same(value, b[key]) then
      return false
    end
  end
  for key in pairs(b) do
    if a[key] == nil then
      return false
    end
  end
  return true
end

local function fail(text, ...)
  local values = { ... }
  for i = 1, select("#", ...) do
    values[i] = show(values[i], 0)
  end
  -- Level 3 is the line of the case that made the assertion.
  error(text:format(unpack(values)), 3)
end

-- `assert(value, message)` stays Lua's own; the rest is looked up by name.
local assertions = {}

function assertions.equal(expected, actual)
  if expected ~= actual then
    fail("expected %s, got %s", expected, actual)
  end
end

function assertions.same(expected, actual)
  if not same(expected, actual) then
    fail("expected the same as %s, got %s", expected, actual)
  end
end

function assertions.is_nil(value)
  if value ~= nil then
    fail("expected nil, got %s", value)
  end
end

function assertions.is_true(value)
  if value ~= true then
    fail("expected true, got %s", value)
  end
end

function assertions.is_false(value)
  if value ~= false then
    fail("expected false, got %s", value)
  end
end

function assertions.matches(pattern, value)
  if type(value) ~= "string" or not value:find(pattern) then
    fail("expected a match of %s, got %s", pattern, value)
  end
end

-- Returns the error, so that a case can look at more of it.
function assertions.has_error(f, expected)
  local ok, err = pcall(f)
  if ok then
    fail("expected an error")
  end
  if expected ~= nil and not same(expected, err) then
    fail("expected the error %s, got %s", expected, err)
  end
  return err
end

busted.assert = setmetatable(assertions, {
  __call = function(_, value, message, ...)
    if not value then
      error(message or "assertion failed!", 2)
    end
    return value, message, ...
  end,
})

-- Runs a spec's outer code and returns its cases as { name =, run = }, in order.
function busted.collect(spec)
  local cases = {}
  local names, setups = {}, {}
  local env = setmetatable({ assert = busted.assert }, { __index = _G, __newindex = _G })

  function env.describe(name, body)
    local depth, before = #names, #setups
    names[depth + 1] = name
    body()
    names[depth + 1] = nil
    for i = #setups, before + 1, -1 do
      setups[i] = nil
    end
  end

  function env.before_each(setup)
    setups[#setups + 1] = setup
  end

  function env.it(name, body)
    local full = {}
    for i, part in ipairs(names) do
      full[i] = part
    end
    full[#full + 1] = name
    local before = {}
    for i, setup in ipairs(setups) do
      before[i] = setup
    end
    cases[#cases + 1] = {
      name = table.concat(full, " "),
      run = function()
        for _, setup in ipairs(before) do
          setup()
        end
        body()
      end,
    }
  end

  setfenv(spec, env)()
  return cases
end

return busted
