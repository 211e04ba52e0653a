-- Values with `$(...)` in them: Lua expressions over the request.
--
-- Code is compiled once for a worker. Its environment is one for all requests, and looks the
-- request up when it is asked, so that a code that waits never sees the request of another.

local _M = {}

-- Name and value of an entry `name:value`; the value may be empty.
function _M.pair(entry)
  return entry:match("^([^:]+):*(.-)$")
end

local OFF = "loading of untrusted Lua code disabled because "
  .. "'untrusted_lua' config option is set to 'off'"

local SAFE = {
  "assert", "error", "ipairs", "next", "pairs", "pcall", "select", "tonumber", "tostring", "type",
  "unpack", "xpcall",
}
local LIBRARIES = {
  math = "abs ceil cos deg exp floor fmod huge log max min modf pi pow rad random sin sqrt tan",
  os = "clock date difftime time",
  string = "byte char find format gmatch gsub len lower match rep reverse sub upper",
  table = "concat insert maxn remove sort unpack",
}

-- A standard library that cannot reach the machine; code cannot change ours through it.
local function library()
  local env = {}
  for _, name in ipairs(SAFE) do
    env[name] = _G[name]
  end
  for name, wanted in pairs(LIBRARIES) do
    env[name] = {}
    for key in wanted:gmatch("%S+") do
      env[name][key] = _G[name][key]
    end
  end
  return env
end

-- What asks about a request and a response, and changes neither.
local NAMESPACES = "client log request router"

local function copy_of(source)
  local copy = {}
  for key, value in pairs(source) do
    copy[key] = value
  end
  return copy
end

local function kong_of()
  local copy = { version = kong.version, version_num = kong.version_num, ctx = kong.ctx }
  for name in NAMESPACES:gmatch("%S+") do
    copy[name] = copy_of(kong[name])
  end
  return copy
end

local loaders = {
  headers = function()
    return kong.request.get_headers(1000)
  end,
  query_params = function()
    return kong.request.get_query(1000)
  end,
  uri_captures = function()
    local captures = kong.request.get_uri_captures()
    local all = {}
    for group, text in pairs(captures.unnamed) do
      all[group] = text
    end
    for group, text in pairs(captures.named) do
      all[group] = text
    end
    return all
  end,
  shared = function()
    return kong.ctx.shared
  end,
}

-- What templates know of the current request. It is read when it is first asked for, and stays as
-- it was then, whatever the plugin has changed since.
function _M.seen(name)
  local seen = kong.ctx.plugin
  if seen[name] == nil then
    seen[name] = loaders[name]()
  end
  return seen[name]
end

local safe = library()
safe.kong = kong_of()
safe.ngx = { null = ngx.null, now = ngx.now, time = ngx.time }

local env = setmetatable({}, {
  __index = function(_, name)
    if loaders[name] then
      return _M.seen(name)
    elseif kong.configuration.untrusted_lua == "on" then
      return _G[name]
    end
    return safe[name]
  end,
  __newindex = function()
    error("This environment is read-only.")
  end,
})

-- The text as code that puts it together. What an expression gives is nothing if it is false.
local function code_of(text)
  local pieces, from = {}, 1
  for start, expression, after in text:gmatch("()%$(%b())()") do
    pieces[#pieces + 1] = ("%q"):format(text:sub(from, start - 1))
    pieces[#pieces + 1] = ("__tostring(%s or '')"):format(expression)
    from = after
  end
  pieces[#pieces + 1] = ("%q"):format(text:sub(from))
  local code = "local __tostring = ... return function() return %s end"
  return code:format(table.concat(pieces, " .. "))
end

-- A function that renders the text; or nil and what is wrong with it.
function _M.compile(text)
  if not text:find("%$%b()") then
    return function()
      return text
    end
  end
  local chunk, err = loadstring(code_of(text), "=TMP")
  if not chunk then
    return nil, err
  end
  setfenv(chunk, env)
  return chunk(tostring)
end

-- What renders the text, or the failure to; the request that needs it fails.
function _M.renderer(text)
  if text == "" then
    return function() end
  elseif kong.configuration.untrusted_lua == "off" and text:find("%$%(.*%)") then
    return function()
      error("[request-transformer] failed to render the template " .. text .. ", error:" .. OFF)
    end
  end
  local render, err = _M.compile(text)
  return render or function()
    error(err)
  end
end

return _M
