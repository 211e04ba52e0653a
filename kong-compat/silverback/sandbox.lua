-- What sandboxed code sees: a standard library that cannot reach the machine, `kong` without
-- secrets, `ngx` without files, and the modules and globals that the operator has listed.

local _M = {}

-- Kong's list of what is safe: names in _G, and names in its tables.
local GLOBALS = [[_VERSION assert error ipairs next pairs pcall print select tonumber tostring type
  unpack xpcall]]
local TABLES = {
  bit = "arshift band bnot bor bswap bxor lshift rol ror rshift tobit tohex",
  coroutine = "create resume running status wrap yield",
  io = "type",
  jit = "os arch version version_num",
  math = [[abs acos asin atan atan2 ceil cos cosh deg exp floor fmod frexp huge ldexp log log10 max
    min modf pi pow rad random sin sinh sqrt tan tanh]],
  os = "clock date difftime time",
  string = "byte char find format gmatch gsub len lower match rep reverse sub upper",
  table = [[clear clone concat foreach foreachi getn insert isarray isempty maxn move new nkeys pack
    remove sort unpack]],
}

-- What `strict` leaves of `kong` and takes from `ngx`: a request and its response are in reach,
-- memory of other requests, timers and sockets are not.
local STRICT_KONG = [[client configuration ctx ip log nginx node plugin request response router
  service table tracing version version_num]]
local NOT_STRICT_NGX = [[location pipe process run_worker_thread semaphore shared socket thread
  timer worker]]

local function names(text)
  return text:gmatch("%S+")
end

local function protected(name)
  return function(_, key)
    error(("Cannot modify %s.%s. Protected by the sandbox."):format(name, key), 2)
  end
end

-- A table whose fields can be read and not changed.
local function copy_of(source, wanted, name)
  local copy = {}
  for key in names(wanted) do
    copy[key] = source[key]
  end
  return setmetatable({}, { __index = copy, __newindex = protected(name), __metatable = false })
end

local function library()
  local env = {}
  for name in names(GLOBALS) do
    env[name] = _G[name]
  end
  for name, wanted in pairs(TABLES) do
    local source = _G[name] or {}
    if name == "table" then
      source = setmetatable({ move = require "silverback.tables".move }, { __index = source })
    end
    env[name] = copy_of(source, wanted, name)
  end
  return env
end

local function denied(name)
  return setmetatable({}, {
    __newindex = protected(name),
    __tostring = function() return "nil" end,
    __metatable = false,
  })
end

local function kong_of(mode)
  if mode == "strict" then
    return copy_of(kong, STRICT_KONG, "kong")
  end
  local visible = { licensing = denied("kong.licensing") }
  return setmetatable(visible, { __index = kong, __metatable = false })
end

-- `ngx.req` without what reads and removes files.
local function req_of()
  return setmetatable({}, {
    __index = function(_, key)
      if key ~= "set_body_file" then
        return ngx.req[key]
      end
    end,
    __newindex = protected("ngx.req"),
    __metatable = false,
  })
end

local function ngx_of(mode)
  local hidden = {}
  if mode == "strict" then
    for name in names(NOT_STRICT_NGX) do
      hidden[name] = true
    end
  end
  local req = req_of()
  return setmetatable({}, {
    __index = function(_, key)
      if key == "req" then
        return req
      elseif not hidden[key] then
        return ngx[key]
      end
    end,
    __newindex = function(_, key, value)
      ngx[key] = value
    end,
    __metatable = false,
  })
end

local function requirer(allowed)
  local listed = {}
  for _, name in ipairs(allowed or {}) do
    listed[name] = true
  end
  return function(name)
    if not listed[name] then
      error(("require '%s' not allowed within sandbox"):format(tostring(name)), 2)
    end
    return require(name)
  end
end

-- A table through which another is read and not changed.
local function view_of(source, name)
  return setmetatable({}, {
    __index = type(source) == "table" and source or nil, __newindex = protected(name),
    __metatable = false,
  })
end

-- Puts the global `a.b.c` into an environment; tables can be read through, not written to.
local function link(env, path)
  local source, target = _G, env
  local parts = {}
  for part in path:gmatch("[^%.]+") do
    parts[#parts + 1] = part
  end
  for i, part in ipairs(parts) do
    source = source[part]
    if source == nil then
      return
    end
    if i == #parts then
      rawset(target, part, type(source) == "table" and view_of(source, part) or source)
      return
    end
    local inner = view_of(target[part], part)
    rawset(target, part, inner)
    target = inner
    if type(source) ~= "table" then
      return
    end
  end
end

local function make()
  local configuration = kong.configuration
  local mode = configuration.untrusted_lua
  local env = library()
  env.kong = kong_of(mode)
  env.ngx = ngx_of(mode)
  env.require = requirer(configuration.untrusted_lua_sandbox_requires)
  for _, path in ipairs(configuration.untrusted_lua_sandbox_environment or {}) do
    link(env, path)
  end
  return env
end

local outside

-- The part of the environment that is Kong's and the operator's: what templates get beside their
-- own names. Views can be copied, and what is copied is still a view.
function _M.outer()
  if not outside then
    local configuration = kong.configuration
    outside = { require = requirer(configuration.untrusted_lua_sandbox_requires) }
    local kong_view = kong_of(configuration.untrusted_lua)
    local ngx_view = ngx_of(configuration.untrusted_lua)
    outside.kong = setmetatable({}, { __index = kong_view, __newindex = protected "kong" })
    outside.ngx = setmetatable({}, { __index = ngx_view })
    for _, path in ipairs(configuration.untrusted_lua_sandbox_environment or {}) do
      link(outside, path)
    end
  end
  return outside
end

local shared

-- An environment for one piece of code; what it sets as a global only it will see.
function _M.new(env)
  shared = shared or make()
  local base = shared
  if rawget(env, "_G") == nil then
    env._G = env
  end
  return setmetatable(env, { __index = base, __metatable = false })
end

return _M
