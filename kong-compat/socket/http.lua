-- LuaSocket's HTTP client, over `resty.http`: a URL alone, a URL with a body, or a table with
-- sources and sinks.

local ltn12 = require "ltn12"
local resty_http = require "resty.http"
local socket = require "socket"
local url = require "socket.url"

local _M = { TIMEOUT = 60, USERAGENT = socket._VERSION }
socket.http = _M

local PORTS = { http = 80, https = 443 }
local READ = 8192

-- `te` is TE, and every other name has a capital at the start of each word.
local function canonic(name)
  if name == "te" then
    return "TE"
  end
  return (name:gsub("%f[%w]%l", string.upper))
end

local function basic(user, password)
  return "Basic " .. ngx.encode_base64(user .. ":" .. password)
end

local function headers_of(want)
  local host = want.host
  if tonumber(want.port) ~= PORTS[want.scheme] then
    host = host .. ":" .. want.port
  end
  local lower = {
    ["user-agent"] = _M.USERAGENT,
    host = host,
    connection = "close, TE",
    te = "trailers",
  }
  if want.user and want.password then
    lower.authorization = basic(want.user, url.unescape(want.password))
  end
  for name, value in pairs(want.headers or {}) do
    lower[name:lower()] = tostring(value)
  end
  if want.source and not lower["content-length"] then
    lower["transfer-encoding"] = lower["transfer-encoding"] or "chunked"
  end
  local headers = {}
  for name, value in pairs(lower) do
    headers[canonic(name)] = value
  end
  return headers
end

-- The parts of the request: those of the URL, and in their place those that are given by name.
local function wanted(request)
  local want = request.url and url.parse(request.url, { path = "/", scheme = "http" }) or {}
  for name, value in pairs(request) do
    want[name] = value
  end
  if not want.host or want.host == "" then
    socket.try(nil, "invalid host '" .. tostring(want.host) .. "'")
  end
  want.scheme = want.scheme or "http"
  if not want.port or want.port == "" then
    want.port = PORTS[want.scheme]
  end
  want.method = want.method and want.method ~= "" and want.method or "GET"
  local parts = { path = socket.try(want.path, "invalid path 'nil'"), params = want.params,
    query = want.query }
  want.uri = request.uri or url.build(parts)
  return want
end

local function redirected(want, request, code, headers)
  local location = headers.location and headers.location:gsub("%s", "")
  local is_redirect = code == 301 or code == 302 or code == 303 or code == 307
  if not is_redirect or not location or location == "" or want.redirect == false then
    return nil
  end
  if want.source or (want.method ~= "GET" and want.method ~= "HEAD") then
    return nil
  end
  local done, most = request.nredirects or 0, request.maxredirects
  if most ~= false and done >= (most or 5) then
    return nil
  end
  local target = url.absolute(request.url, location)
  local scheme = url.parse(target).scheme
  if not PORTS[scheme] or (want.scheme == "https" and scheme ~= "https") then
    return nil
  end
  return target
end

local function lowered(headers)
  local lower = {}
  for name, value in pairs(headers) do
    lower[name:lower()] = type(value) == "table" and table.concat(value, ", ") or value
  end
  return lower
end

local function connected(want)
  local client = resty_http.new()
  client:set_timeout(_M.TIMEOUT * 1000)
  local proxy = want.proxy or _M.PROXY
  local options = {
    scheme = want.scheme,
    host = want.host,
    port = tonumber(want.port),
    ssl_verify = want.verify == "peer",
    proxy_opts = proxy and { http_proxy = proxy, https_proxy = proxy } or nil,
  }
  local ok, raised, problem = pcall(client.connect, client, options)
  socket.try(ok and raised, ok and problem or tostring(raised))
  return client
end

local function receive(reply, want)
  local sink, step = want.sink or ltn12.sink.null(), want.step or ltn12.pump.step
  if not reply.has_body then
    return
  end
  socket.try(ltn12.pump.all(function()
    return reply.body_reader(READ)
  end, sink, step))
end

local exchange

local function followed(request, target)
  local ok, code, headers, status = exchange {
    url = target,
    sink = request.sink,
    headers = request.headers,
    proxy = request.proxy,
    verify = request.verify,
    maxredirects = request.maxredirects,
    nredirects = (request.nredirects or 0) + 1,
  }
  headers = headers or {}
  headers.location = headers.location or target
  return ok, code, headers, status
end

function exchange(request)
  local want = wanted(request)
  local client = connected(want)
  local reply, problem = client:request {
    method = want.method,
    path = want.uri,
    headers = headers_of(want),
    body = want.source,
  }
  if not reply then
    client:close()
    socket.try(nil, problem)
  end
  local code, headers = reply.status, lowered(reply.headers)
  local target = redirected(want, request, code, headers)
  if target then
    client:close()
    return followed(request, target)
  end
  receive(reply, want)
  client:close()
  return 1, code, headers, ("HTTP/1.1 %d %s"):format(code, reply.reason or "")
end

function _M.genericform(target, body)
  local pieces = {}
  local request = { url = target, sink = ltn12.sink.table(pieces), target = pieces }
  if body then
    request.method = "POST"
    request.source = ltn12.source.string(body)
    request.headers = {
      ["content-length"] = #body,
      ["content-type"] = "application/x-www-form-urlencoded",
    }
  end
  return request
end

_M.request = socket.protect(function(request, body)
  if type(request) == "table" then
    return exchange(request)
  end
  local form = _M.genericform(request, body)
  local _, code, headers, status = exchange(form)
  return table.concat(form.target), code, headers, status
end)

return _M
