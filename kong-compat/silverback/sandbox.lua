-- What sandboxed code sees: a standard library that cannot reach the machine, `kong` without
-- secrets, `ngx` without files, and the modules and globals that the operator has listed.

local views = require "silverback.views"

local _M = {}

local protected = views.protected

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

-- What belongs to the request that runs.
local OPEN_NGX = "arg ctx header status var"

local function names(text)
  return text:gmatch("%S+")
end

local function set_of(text)
  local set = {}
  for name in names(text) do
    set[name] = true
  end
  return set
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
    env[name] = copy_of(source, wanted, "_G." .. name)
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

-- A copy all the way down: a list of the settings can be walked over, and changes nothing.
local function deep(value)
  if type(value) ~= "table" then
    return value
  end
  local copy = {}
  for key, inner in pairs(value) do
    copy[key] = deep(inner)
  end
  return copy
end

local function configuration_of()
  return setmetatable({}, {
    __index = function(_, key) return deep(kong.configuration[key]) end,
    __newindex = protected("kong.configuration"),
    __metatable = false,
  })
end

-- `kong`: what code sets in it stays in the sandbox, and nothing behind it can be set but what is
-- the request's (`kong.ctx`).
local function kong_of(mode)
  local allowed = mode == "strict" and set_of(STRICT_KONG)
  local read = views.reader(kong, "_G.kong", { ctx = true }, true)
  local own = { configuration = configuration_of(), licensing = denied("kong.licensing") }
  return setmetatable(own, {
    __index = function(self, key)
      if not allowed or allowed[key] then
        return read(self, key)
      end
    end,
    __newindex = allowed and protected("kong") or nil,
    __metatable = false,
  })
end

-- `ngx.req` without what reads and removes files.
local function req_of()
  local read = views.reader(ngx.req, "_G.ngx.req")
  return setmetatable({}, {
    __index = function(self, key)
      if key ~= "set_body_file" then
        return read(self, key)
      end
    end,
    __newindex = protected("_G.ngx.req"),
    __metatable = false,
  })
end

-- Shared memory can be walked over, so it is a copy.
local function shared_of()
  local copy = {}
  for name, dict in pairs(ngx.shared) do
    copy[name] = views.view(dict, "_G.ngx.shared." .. name, true)
  end
  return setmetatable(copy, { __newindex = protected("_G.ngx.shared"), __metatable = false })
end

-- `ngx`: the request's own fields are open; what else code sets stays in the sandbox.
local function ngx_of(mode)
  local hidden = mode == "strict" and set_of(NOT_STRICT_NGX) or {}
  local read = views.reader(ngx, "_G.ngx", set_of(OPEN_NGX))
  local own = { req = req_of(), shared = not hidden.shared and shared_of() or nil }
  return setmetatable(own, {
    __index = function(self, key)
      if not hidden[key] then
        return read(self, key)
      end
    end,
    __newindex = function(self, key, value)
      if key == "status" or key == "ctx" then
        ngx[key] = value
      else
        rawset(self, key, value)
      end
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

-- Puts the global `a.b.c` into an environment. What code sets in it stays in the sandbox.
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
      rawset(target, part, type(source) == "table" and views.keeping(source, part) or source)
      return
    end
    local inner = views.keeping(target[part], part)
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

-- Makes everything anew for the next code, by the settings of then.
function _M.forget()
  outside, shared = nil, nil
end

-- An environment for one piece of code; what it sets as a global only it will see.
function _M.new(env)
  shared = shared or make()
  local base = shared
  if rawget(env, "_G") == nil then
    env._G = env
  end
  return setmetatable(env, { __index = base })
end

return _M
