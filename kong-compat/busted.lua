-- Specs as busted has them: `describe`, `it`, `before_each`, `assert`, `spy` and the like. The
-- cases run inside this runtime, so what they call is what plugins call.

local block = require "busted.block"

local busted = { version = "2.2.0" }

-- The one that runs; modules that specs require add to it, too.
local current

local function place_of(level)
  local info = debug.getinfo(level + 1, "Sl")
  return info and info.source:gsub("^[@=]", "") .. ":" .. info.currentline or "?"
end

local function only_outside(what)
  if current.case_running then
    error("'" .. what .. "' not supported inside current context block", 3)
  end
end

local api = {}

local function container(kind)
  return function(name, body)
    only_outside(kind)
    if body == nil and type(name) == "function" then
      name, body = nil, name
    end
    local children = current.current.children
    children[#children + 1] = block.new(kind, name, body, current.current, place_of(2))
  end
end

api.describe, api.context = container("describe"), container("describe")
api.insulate, api.expose = container("insulate"), container("expose")

function api.it(name, body)
  only_outside("it")
  local children = current.current.children
  children[#children + 1] = block.new("it", name, body, current.current, place_of(2))
end
api.spec, api.test = api.it, api.it

-- Inside a case it ends the case; outside it is a case that does not run.
function api.pending(name, body)
  if current.in_step then
    error(busted.pending_error(name), 2)
  end
  local children = current.current.children
  local made = block.new("it", name, nil, current.current, place_of(2))
  made.why = type(body) == "string" and body or nil
  children[#children + 1] = made
end

for name, list in pairs {
  before_each = "before_each", after_each = "after_each",
  setup = "strict_setup", teardown = "strict_teardown",
  strict_setup = "strict_setup", strict_teardown = "strict_teardown",
  lazy_setup = "lazy_setup", lazy_teardown = "lazy_teardown",
} do
  api[name] = function(f)
    only_outside(name)
    local of = current.current[list]
    of[#of + 1] = f
  end
end

function api.finally(f)
  if not current.case_running then
    error("'finally' not supported inside current context block", 2)
  end
  current.case_running.finally(f)
end

function api.randomize() end
api.randomise = api.randomize

-- An error that ends a case without a failure.
function busted.pending_error(message)
  local text = message and tostring(message) or ""
  return setmetatable({ is_pending = true, message = text }, {
    __tostring = function(self) return self.message end,
  })
end

function busted.fail(message, level)
  error(message, (level or 1) + 1)
end

for name, f in pairs(api) do
  busted[name] = f
end

local function shows(...)
  local parts = { ... }
  for i = 1, select("#", ...) do
    parts[i] = tostring(parts[i])
  end
  io.stdout:write(table.concat(parts, "\t"), "\n")
  io.stdout:flush()
end

-- Runs a spec's code and its cases. `host` tells of each case and watches the time.
function busted.run(spec, options, host)
  local assert = require "luassert"
  busted.assert = assert
  local runner = block.runner(options, host)
  current = runner
  -- `pending` in a step of a case is another thing than `pending` in a block.
  local safe = runner.safe
  function runner.safe(self, f, what)
    local before = self.in_step
    self.in_step = what ~= "describe"
    local problem = safe(self, f, what)
    self.in_step = before
    return problem
  end
  local env = setmetatable({
    assert = assert, spy = require "luassert.spy", stub = require "luassert.stub",
    mock = require "luassert.mock", match = require "luassert.match", print = shows,
  }, { __index = _G })
  for name, f in pairs(api) do
    env[name] = f
    _G[name] = f
  end
  runner:block(block.new("insulate", nil, setfenv(spec, env), nil, options.path .. ":1"))
end

return busted
