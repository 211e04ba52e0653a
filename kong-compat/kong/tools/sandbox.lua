-- Lua code in a configuration, and what it may reach: Kong's setting `untrusted_lua`.
--
-- The setting is read when code is loaded, so one VM serves one setting.

local environment = require "silverback.sandbox"

local _M = {}

local OFF = "loading of untrusted Lua code disabled because "
  .. "'untrusted_lua' config option is set to 'off'"

local function setting()
  return kong.configuration.untrusted_lua
end

local function list(name)
  local values = kong.configuration[name]
  return type(values) == "table" and #values > 0 and values or nil
end

-- What Kong's own plugins ask of the settings.
local FIELDS = {
  enabled = function() return setting() ~= "off" end,
  sandbox_enabled = function() return setting() == "sandbox" or setting() == "strict" end,
  env_vars = function() return list "untrusted_lua_sandbox_environment" end,
  requires = function()
    local allowed
    for _, name in ipairs(list "untrusted_lua_sandbox_requires" or {}) do
      allowed = allowed or {}
      allowed[name] = true
    end
    return allowed
  end,
  environment = environment.outer,
  sandbox_mt = function() return { __index = environment.outer() } end,
  global_mt = function() return { __index = _G } end,
  err_msg = function() return OFF end,
}

_M.configuration = setmetatable({ clear = environment.forget, reload = environment.forget }, {
  __index = function(_, name)
    local field = FIELDS[name]
    if field then
      return field()
    end
  end,
})

-- The options of a call: a chunk name, or a table as older plugins give it.
local function options_of(name, mode, env)
  if type(name) == "table" then
    return name.chunkname or name.chunk_name, mode or name.mode or "t", env or name.env or {}
  end
  return name, mode or "t", env or {}
end

-- Globals that the code sets stay in a table of its own.
local function env_for(env)
  if setting() == "on" then
    return setmetatable(env, { __index = _G })
  end
  return environment.new(env)
end

local function compile(code, name, mode, env)
  if setting() == "off" then
    error(OFF, 0)
  end
  if type(code) ~= "string" then
    error("expected a string", 0)
  end
  name, mode, env = options_of(name, mode, env)
  local chunk, err = load(code, name, mode, env_for(env))
  if not chunk then
    error(err, 0)
  end
  return chunk
end

-- The code as a function, ready to run in its environment. Raises what is wrong with it.
function _M.sandbox(code, name, mode, env)
  return compile(code, name, mode, env)
end

_M.sandbox_lua = _M.sandbox
_M.sandbox_schema = _M.sandbox
_M.sandbox_handler = _M.sandbox

-- The function that the code returns, or false and what is wrong.
function _M.validate_function(code, name, mode, env)
  local ok, chunk = pcall(compile, code, name, mode, env)
  if not ok then
    return false, "Error parsing function: " .. chunk
  end
  local ran, result = pcall(chunk)
  if not ran then
    return false, result
  end
  if type(result) == "function" then
    return result
  end
  return false, "Bad return value from function, expected function type, got " .. type(result)
end

function _M.validate(code, name, mode, env)
  local result, err = _M.validate_function(code, name, mode, env)
  if not result then
    return false, err
  end
  return true
end

function _M.parse(code, name, mode, env)
  return assert(_M.validate_function(code, name, mode, env))
end

-- Whether the code compiles. Schemas ask this; nothing of it is run.
function _M.validate_safe(code, name, mode, env)
  local ok, err = pcall(compile, code, name, mode, env)
  if not ok then
    return false, "Error parsing function: " .. err
  end
  return true
end

return _M
