-- Values with `$(...)` in them: Lua expressions over the request.
--
-- Code is compiled once for a worker. Its environment is one for all requests, and looks the
-- request up when it is asked, so that a code that waits never sees the request of another.

local sandbox = require "kong.tools.sandbox"

local _M = {}

-- Name and value of an entry `name:value`; the value may be empty.
function _M.pair(entry)
  return entry:match("^([^:]+):*(.-)$")
end

local OFF = "loading of untrusted Lua code disabled because "
  .. "'untrusted_lua' config option is set to 'off'"

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

-- In the sandbox there are `type` and what the settings allow, and nothing of the language's own.
local env = setmetatable({}, {
  __index = function(_, name)
    if loaders[name] then
      return _M.seen(name)
    elseif kong.configuration.untrusted_lua == "on" then
      return _G[name]
    elseif name == "type" then
      return type
    end
    return sandbox.configuration.environment[name]
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
  local chunk, err = loadstring(code_of(text), "TMP")
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
  return function()
    local ok, result = pcall(render or error, err)
    if not ok then
      error("[request-transformer] failed to render the template " .. text .. ", error:" .. result)
    end
    return result
  end
end

return _M
