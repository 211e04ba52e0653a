-- `assert` of specs: `assert.is_not.equal(a, b)`, with the names, forms and messages of luassert.
--
-- The words of a name are collected while it is indexed, with dots or underscores. A call looks
-- for the assertion that they end in; the modifiers before it change the state.

local formatters = require "luassert.formatters"
local say = require "say"
local util = require "luassert.util"

local namespaces = require "luassert.namespaces"
local luassert = {}

local function known(name)
  return namespaces.assertion[name] or namespaces.modifier[name]
end

local function shown(arguments)
  local texts = { n = arguments.n }
  for i = 1, arguments.n do
    if arguments.nofmt and arguments.nofmt[i] then
      texts[i] = arguments[i]
    else
      local extra = arguments.fmtargs and arguments.fmtargs[i]
      texts[i] = formatters.format(arguments[i], extra and extra.crumbs)
    end
  end
  return texts
end

local function message_of(text, failure, arguments)
  if failure ~= nil and not util.hastostring(failure) then
    failure = formatters.format(failure)
  end
  local message = text and (say(text, shown(arguments)) or tostring(text))
  if failure ~= nil then
    return message and tostring(failure) .. "\n" .. message or tostring(failure)
  end
  return message
end

local function judge(state, assertion, ...)
  local arguments = util.make_arglist(...)
  local result, returned = assertion.callback(state, arguments, util.errorlevel() + 1)
  if (not result) == rawget(state, "mod") then
    local text = rawget(state, "mod") and assertion.positive or assertion.negative
    local message = message_of(text, rawget(state, "failure_message"), arguments)
    util.fail(message or "assertion failed!", util.errorlevel())
  end
  if returned then
    return util.unpack(returned)
  end
  return ...
end

local state_mt = {}

function state_mt.__index(self, key)
  util.words(key, rawget(self, "words"))
  return self
end

function state_mt.__call(self, ...)
  local names, unknown = util.names(rawget(self, "words"), known)
  if not names then
    error(("luassert: unknown modifier/assertion: '%s'"):format(unknown), util.errorlevel())
  end
  local last = #names
  local assertion = namespaces.assertion[names[last]]
  for i = 1, last - 1 do
    local modifier = namespaces.modifier[names[i]]
    if not modifier then
      error(("luassert: '%s' is no modifier"):format(names[i]), util.errorlevel())
    end
    modifier.callback(self)
  end
  -- An assertion that somebody keeps, such as `local same = assert.same`, is asked again.
  if assertion then
    return judge(self, assertion, ...)
  end
  rawset(self, "words", {})
  namespaces.modifier[names[last]].callback(self, util.make_arglist(...), util.errorlevel())
  return self
end

function luassert.state()
  return setmetatable({ mod = true, words = {} }, state_mt)
end

function luassert.register(_, namespace, name, callback, positive, negative)
  local names = namespaces[namespace] or {}
  namespaces[namespace] = names
  names[name:lower()] =
    { callback = callback, name = name:lower(), positive = positive, negative = negative }
end

function luassert.unregister(_, namespace, name)
  namespaces[namespace][name:lower()] = nil
end

function luassert.add_formatter(_, formatter)
  formatters.add(formatter)
end

function luassert.remove_formatter(_, formatter)
  formatters.remove(formatter)
end

function luassert.set_parameter(_, name, value)
  formatters.parameters[name] = value
end

function luassert.get_parameter(_, name)
  return formatters.parameters[name]
end

-- Shows the arguments in place, as messages have them.
function luassert.format(_, arguments)
  arguments.n = arguments.n or #arguments
  for i, text in pairs(shown(arguments)) do
    arguments[i] = text
  end
  return arguments
end

function luassert.add_spy(_, spy)
  require("luassert.spies").add(spy)
end

function luassert.snapshot()
  return require("luassert.spies").snapshot()
end

function luassert.level(_, level)
  return level
end

function luassert.get_level() end

setmetatable(luassert, {
  __index = function(_, key)
    return luassert.state()[key]
  end,
  __call = function(_, value, message, ...)
    if not value then
      util.fail(message == nil and "assertion failed!" or message, 2)
    end
    return value, message, ...
  end,
})

package.loaded["luassert"] = luassert
package.loaded["luassert.assert"] = luassert
require "luassert.assertions"
require "luassert.spies"

return luassert
