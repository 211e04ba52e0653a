-- `require "spec.helpers.http_mock"`: a server with routes in Lua that keeps what it was asked.
--
-- It is a gateway of its own, whose plugin runs the code of the route that fits.

local block = require "spec.internal.nginx_block"
local cjson = require "cjson.safe"
local client = require "spec.internal.client"
local launcher = require "spec.internal.mock"
local server = require "spec.internal.server"

local http_mock = {}
local mock_mt = { __index = http_mock }

local DEFAULT = { ["/"] = { access = [[
  ngx.req.set_header("X-Test", "test")
  ngx.print("ok")
  ngx.exit(200)
]] } }

-- What runs for each request, behind functions for the routes.
local BEFORE = [[
local routes, log = {}, _G.spec_mock_log or {}
_G.spec_mock_log = log
]]
local BEHIND = [[
local path = ngx.var.uri
if path == "/_spec_mock_log" then
  ngx.print(require("cjson").encode(#log > 0 and log or require("cjson").empty_array))
  for i = #log, 1, -1 do log[i] = nil end
  return ngx.exit(200)
end
ngx.req.read_body()
log[#log + 1] = { req = { method = ngx.req.get_method(), uri = ngx.var.request_uri,
  headers = ngx.req.get_headers(0), body = ngx.req.get_body_data() }, resp = {} }
local found, run
for prefix, route in pairs(routes) do
  local exact = prefix:match("^= *(.+)$")
  local fits = exact and path == exact or not exact and path:sub(1, #prefix) == prefix
  if fits and (exact or not found or #prefix > #found) then
    found, run = prefix, route
  end
end
if not run then
  return ngx.exit(404)
end
return run()
]]

local function code_of(routes)
  local parts = {}
  for prefix, route in pairs(routes) do
    route = type(route) == "string" and { access = route } or route
    local run = {}
    for _, phase in ipairs { "rewrite", "access" } do
      run[#run + 1] = route[phase] and "do " .. route[phase] .. "\nend" or nil
    end
    run[#run + 1] = route.content and block.content(route.content) or nil
    parts[#parts + 1] = ("routes[%q] = function()\n%s\nend"):format(prefix,
      table.concat(run, "\n"))
  end
  return BEFORE .. table.concat(parts, "\n") .. "\n" .. BEHIND
end

-- `new(port or listens, routes, options)`: a mock that `start` starts; and its port.
function http_mock.new(listens, routes, options)
  options = options or {}
  listens = listens or server.get_available_port()
  if type(listens) ~= "table" then
    local text = tostring(listens)
    text = text:find(":", 1, true) and text or "0.0.0.0:" .. text
    listens = { text .. (options.tls and " ssl" or "") }
  end
  if type(routes) == "string" then
    routes = { ["/"] = { access = routes } }
  end
  local port = listens[1]:match(":(%d+)")
  local made = setmetatable({ listens = listens, routes = routes or DEFAULT, logs = {},
    tls = options.tls, eventually_timeout = options.eventually_timeout or 5,
    client_opts = { port = port, tls = options.tls } }, mock_mt)
  made.eventually = http_mock.eventually_of(made)
  return made, port
end

function http_mock:get_default_port()
  return self.listens[1]:match(":(%d+)")
end

function http_mock:start()
  self.process = launcher.launch("http-mock", table.concat(self.listens, ", "),
    code_of(self.routes), "rewrite")
  return true
end

function http_mock:stop()
  if self.process then
    self.process:signal("KILL")
    self.process:wait(5)
    self.process = nil
  end
  return true
end

function http_mock:clean()
  self:retrieve_mocking_logs()
  self.logs = {}
  return true
end

function http_mock:get_client()
  return client.http_client { host = "127.0.0.1", port = tonumber(self:get_default_port()),
    scheme = self.tls and "https" or "http", ssl_verify = false }
end

-- What it was asked since this was last called; `logs` has all of it.
function http_mock:retrieve_mocking_logs()
  local connection = self:get_client()
  local told = connection:get("/_spec_mock_log"):read_body()
  connection:close()
  local fresh = cjson.decode(told) or {}
  for _, one in ipairs(fresh) do
    self.logs[#self.logs + 1] = one
  end
  return fresh
end

function http_mock:get_all_logs()
  self:retrieve_mocking_logs()
  return self.logs
end

function http_mock.purge_mocking_logs(self)
  return self:clean()
end

local function holds(check, log, ...)
  return pcall(check, log, ...)
end

-- Calls a check with each request until one passes, or, with `all`, until the time is over.
local function eventually(mock, all, check, ...)
  ngx.update_time()
  local ends = ngx.now() + (all and 0.2 or mock.eventually_timeout)
  local problem = "no request was recorded"
  repeat
    for _, log in ipairs(mock:retrieve_mocking_logs()) do
      local ok, err = holds(check, log, ...)
      if ok and not all then
        return true
      elseif not ok then
        problem = err
        if all then
          error(err, 3)
        end
      end
    end
    ngx.sleep(0.02)
    ngx.update_time()
  until ngx.now() >= ends
  return all or error(problem, 3)
end

local checks = {
  session_satisfy = function(log, f) return f(log) or "session" end,
  request_satisfy = function(log, f) return f(log.req) or "request" end,
  response_satisfy = function(log, f) return f(log.resp) or "response" end,
  error_satisfy = function(log, f) return f(log.err) or "error" end,
  request = function() return "request" end,
  error = function(log) assert(log.err, "has no error") end,
}

function http_mock.register_assert(name, check)
  checks[name] = check
end

function http_mock.eventually_of(mock)
  return setmetatable({}, { __index = function(_, name)
    local function reversed(check)
      return function(log, ...)
        if pcall(check, log, ...) then
          error("not expected: " .. name, 0)
        end
      end
    end
    for prefix, make in pairs {
      has_ = function(check, ...) return eventually(mock, false, check, ...) end,
      all_ = function(check, ...) return eventually(mock, true, check, ...) end,
      has_no_ = function(check, ...) return eventually(mock, true, reversed(check), ...) end,
      not_all_ = function(check, ...) return eventually(mock, false, reversed(check), ...) end,
    } do
      local check = checks[name:match("^" .. prefix .. "(.+)$") or ""]
      if check then
        return function(_, ...) return make(check, ...) end
      end
    end
  end })
end

function http_mock:get_session()
  local found
  self.eventually:has_session_satisfy(function(session)
    found = session
    return true
  end)
  return found
end

function http_mock:get_request()
  return self:get_session().req
end

function http_mock:get_response()
  return self:get_session().resp
end

return http_mock
