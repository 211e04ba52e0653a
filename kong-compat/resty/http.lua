-- A client for HTTP/1 over OpenResty's sockets, with the interface of lua-resty-http.

local bodies = require "silverback.http_body"
local connect = require "resty.http_connect"
local delegated = require "silverback.delegate" "sock"
local http_headers = require "resty.http_headers"
local proxies = require "silverback.http_proxy"
local requests = require "silverback.http_request"

local _M = { _VERSION = "0.17.2" }
_M._USER_AGENT = requests.USER_AGENT
_M.transfer_encoding_is_chunked = requests.is_chunked

local client = { __index = _M }
-- That of now: lua-resty-luasocket loads this module with another in its place.
local tcp = ngx.socket.tcp

-- A line that is no header ends nothing, but lines must end some time.
local LINES_MAX = 1000
-- How much of a client's body is read at a time.
local PIECE = 65536

function _M.new(_)
  local sock, err = tcp()
  if not sock then
    return nil, err
  end
  return setmetatable({ sock = sock, keepalive = true }, client)
end

function _M.debug() end

_M.set_timeout = delegated "settimeout"

-- A socket wants all three; a time that is nil is the default.
function _M.set_timeouts(self, connect, send, read)
  if not self.sock then
    return nil, "not initialized"
  end
  return self.sock:settimeouts(connect, send, read)
end

_M.get_reused_times = delegated "getreusedtimes"
_M.close = delegated "close"

function _M.ssl_handshake(self, ...)
  if not self.sock then
    return nil, "not initialized"
  end
  self.ssl = true
  return self.sock:sslhandshake(...)
end

-- A table says everything; host and port alone open a TCP connection.
function _M.connect(self, options, ...)
  if type(options) == "table" then
    return connect(self, options)
  end
  return self:tcp_only_connect(options, ...)
end

function _M.tcp_only_connect(self, host, port, ...)
  if not self.sock then
    return nil, "not initialized"
  end
  port = tonumber(port) or port
  self.host, self.port = host, type(port) == "number" and port or nil
  self.keepalive, self.ssl = true, false
  if port == nil then
    return self.sock:connect(host)
  end
  return self.sock:connect(host, port, ...)
end

-- 2 if the connection had to be closed.
function _M.set_keepalive(self, ...)
  if not self.sock then
    return nil, "not initialized"
  end
  if self.keepalive then
    return self.sock:setkeepalive(...)
  end
  local ok, err = self.sock:close()
  if ok then
    return 2, "connection must be closed"
  end
  return ok, err
end

function _M.set_proxy_options(self, options)
  self.proxy_opts = table.clone(options)
end

_M.get_proxy_uri = proxies.of_client
_M.connect_proxy = proxies.connect

-- { scheme, host, port, path, query }; the path has the query unless `query_in_path` is false.
function _M.parse_uri(_, uri, query_in_path)
  local rest = uri
  local scheme = rest:match("^(https?):")
  if scheme then
    rest = rest:sub(#scheme + 2)
  end
  local authority, tail = rest:match("^//([^/?]+)(.*)$")
  if not authority then
    return nil, "bad uri: " .. uri
  end
  local host, port = authority:match("^(%[.+%]):?(%d*)$")
  if not host then
    host, port = authority:match("^([^%[%]:]+):?(%d*)$")
  end
  if not host then
    return nil, "bad uri: " .. uri
  end
  if not scheme then
    local ok, own = pcall(function() return ngx.var.scheme end)
    if not ok or not own then
      return nil, "schemaless URIs require a request context: " .. uri
    end
    scheme = own
  end
  local path, query = tail:match("^([^?]*)%??(.*)$")
  path = path == "" and "/" or path
  if query_in_path ~= false and query ~= "" then
    path = path .. "?" .. query
  end
  port = tonumber(port) or (scheme == "https" and 443 or 80)
  return { scheme, host, port, path, query }
end

local function send_body(sock, body)
  if type(body) ~= "function" then
    if body == nil then
      return true
    end
    return sock:send(body)
  end
  while true do
    local piece, err = body()
    if not piece then
      if err then
        return nil, err
      end
      return true
    end
    local ok
    ok, err = sock:send(piece)
    if not ok then
      return nil, err
    end
  end
end

function _M.send_request(self, params)
  if not self.sock then
    return nil, "not initialized"
  end
  local headers, err = requests.headers(self, params)
  if not headers then
    return nil, err
  end
  params.headers = headers
  local head
  head, err = requests.head(self, params)
  if not head then
    return nil, err
  end
  local ok
  ok, err = self.sock:send(head)
  if not ok then
    return nil, err
  end
  if headers["Expect"] ~= "100-continue" then
    ok, err = send_body(self.sock, params.body)
    if not ok then
      return nil, err
    end
  end
  return true
end

local function receive_status(sock)
  local text, err = sock:receive("*l")
  if not text then
    return nil, err
  end
  local version = tonumber(text:sub(6, 8))
  if not version then
    return nil, "couldn't parse HTTP version from response status line: " .. text
  end
  local status = tonumber(text:sub(10, 12))
  if not status then
    return nil, "couldn't parse status code from response status line: " .. text
  end
  return status, version, text:sub(14)
end

local function receive_headers(sock)
  local headers = http_headers.new()
  for _ = 1, LINES_MAX do
    local text, err = sock:receive("*l")
    if not text then
      return nil, err
    end
    if text:find("^%s*$") then
      return headers
    end
    local name, value = text:match("^%s*([^:%s]+):%s*(.*)$")
    if name then
      local known = headers[name]
      if type(known) == "table" then
        known[#known + 1] = value
      elseif known then
        headers[name] = { known, value }
      else
        headers[name] = value
      end
    end
  end
  return nil, "too many headers"
end

local function keeps_alive(version, headers)
  local connection = headers["Connection"]
  if type(connection) == "table" then
    connection = table.concat(connection, ",")
  end
  connection = connection and connection:lower() or ""
  if version == 1.1 then
    return not connection:find("close", 1, true)
  end
  return connection:find("keep-alive", 1, true) ~= nil
end

local response = {}
response.__index = response

function response.read_body(self)
  if not self.body_reader then
    return nil, "no body to be read"
  end
  return bodies.whole(self.body_reader)
end

-- Trailers are found among the headers after this.
function response.read_trailers(self)
  if not self.trailer_reader then
    return nil, "no trailers"
  end
  local trailers, err = self.trailer_reader()
  if not trailers then
    return nil, err
  end
  for name, value in pairs(trailers) do
    if self.headers[name] == nil then
      self.headers[name] = value
    end
  end
  return self.headers
end

-- Status and headers of the answer; `100 Continue` and its like are passed over.
local function receive_head(self, params)
  local waits = params.headers["Expect"] == "100-continue"
  while true do
    local status, version, reason = receive_status(self.sock)
    if not status then
      return nil, version
    end
    local headers, err = receive_headers(self.sock)
    if not headers then
      return nil, err
    end
    if status >= 200 or status == 101 then
      return status, version, reason, headers
    end
    if status == 100 and waits then
      waits = false
      local ok
      ok, err = send_body(self.sock, params.body)
      if not ok then
        return nil, err
      end
    end
  end
end

function _M.read_response(self, params)
  local status, version, reason, headers = receive_head(self, params)
  if not status then
    return nil, version
  end
  local sock, method = self.sock, (params.method or "GET"):upper()
  self.keepalive = self.keepalive and keeps_alive(version, headers)
  local has_body = method ~= "HEAD" and status >= 200 and status ~= 204 and status ~= 304
  has_body = has_body and not (method == "CONNECT" and status < 300)
  local reader, chunked = bodies.none, requests.is_chunked(headers)
  if has_body then
    local length = headers["Content-Length"]
    length = tonumber(type(length) == "table" and length[1] or length)
    if chunked then
      reader = bodies.chunked(sock)
    elseif length then
      reader = bodies.counted(sock, length)
    else
      -- Its end is that of the connection.
      reader, self.keepalive = bodies.endless(sock), false
    end
  end
  local res = setmetatable({
    status = status,
    reason = reason,
    headers = headers,
    has_body = has_body,
    body_reader = reader,
  }, response)
  -- The line that ends a body in chunks ends its trailers.
  if has_body and chunked then
    if headers["Trailer"] then
      res.trailer_reader = function() return receive_headers(sock) end
    else
      res.body_reader = function(max)
        local piece, err, partial = reader(max)
        if not piece and not err and reader ~= bodies.none then
          reader = bodies.none
          local rest
          rest, err = receive_headers(sock)
          if not rest then
            return nil, err
          end
        end
        return piece, err, partial
      end
    end
  end
  if has_body then
    res.body_reader = bodies.once(res.body_reader)
  end
  return res
end

function _M.request(self, params)
  params = table.clone(params)
  local ok, err = self:send_request(params)
  if not ok then
    return nil, err
  end
  return self:read_response(params)
end

-- Everything is sent first; each answer is read when somebody looks at it.
function _M.request_pipeline(self, requests)
  local all = {}
  for i, params in ipairs(requests) do
    if params.headers and params.headers["Expect"] == "100-continue" then
      return nil, "Cannot pipeline request specifying Expect: 100-continue"
    end
    all[i] = table.clone(params)
    local ok, err = self:send_request(all[i])
    if not ok then
      return nil, err
    end
  end
  local responses = {}
  for i, params in ipairs(all) do
    responses[i] = setmetatable({}, {
      __index = function(res, name)
        local read, err = self:read_response(params)
        setmetatable(res, response)
        if not read then
          ngx.log(ngx.ERR, err)
          return nil
        end
        for field, value in pairs(read) do
          rawset(res, field, value)
        end
        return res[name]
      end,
    })
  end
  return responses
end

-- From the connection to the whole body.
function _M.request_uri(self, uri, params)
  params = table.clone(params or {})
  local parsed, err = self:parse_uri(uri, false)
  if not parsed then
    return nil, err
  end
  params.scheme, params.host, params.port = parsed[1], parsed[2], parsed[3]
  params.path = params.path or parsed[4]
  params.query = params.query or parsed[5]
  params.ssl_server_name = params.ssl_server_name or params.host
  params.proxy_opts = proxies.authorized(self.proxy_opts or params.proxy_opts, params.headers)
  local ok
  ok, err = self:connect(params)
  if not ok then
    return nil, err
  end
  local res
  res, err = self:request(params)
  if not res then
    self:close()
    return nil, err
  end
  local body
  body, err = res:read_body()
  if not body then
    self:close()
    return nil, err
  end
  res.body = body
  if res.trailer_reader then
    res:read_trailers()
  end
  if params.keepalive == false then
    self:close()
  else
    ok, err = self:set_keepalive(params.keepalive_timeout, params.keepalive_pool)
    if not ok then
      ngx.log(ngx.ERR, err)
    end
  end
  return res
end

-- Reads the body of the current request, or that of a socket with such headers.
function _M.get_client_body_reader(_, chunksize, sock, headers)
  chunksize = chunksize or PIECE
  if not sock then
    local err
    sock, err = ngx.req.socket()
    if not sock then
      if err == "no body" then
        return nil
      end
      return nil, err
    end
    return bodies.once(bodies.endless(sock, chunksize))
  end
  headers = headers or ngx.req.get_headers()
  local length = tonumber(headers["Content-Length"])
  if length then
    return bodies.once(bodies.counted(sock, length, chunksize))
  end
  if requests.is_chunked(headers) then
    return bodies.once(bodies.chunked(sock, chunksize))
  end
  return nil
end

-- Headers that belong to one connection (RFC 9110).
local HOP_BY_HOP = {
  connection = true, ["keep-alive"] = true, ["proxy-authenticate"] = true,
  ["proxy-authorization"] = true, te = true, trailers = true,
  ["transfer-encoding"] = true, upgrade = true, ["content-length"] = true,
}

-- Sends the current request on.
function _M.proxy_request(self, chunksize)
  local args = ngx.var.args
  return self:request {
    method = ngx.req.get_method(),
    path = (ngx.var.uri:gsub("%s", "%%20")) .. (args and "?" .. args or ""),
    body = self:get_client_body_reader(chunksize),
    headers = ngx.req.get_headers(),
  }
end

-- Answers the current request with what came back.
function _M.proxy_response(_, res, chunksize)
  if not res then
    ngx.log(ngx.ERR, "no response provided")
    return
  end
  ngx.status = res.status
  for name, value in pairs(res.headers) do
    if not HOP_BY_HOP[name:lower()] then
      ngx.header[name] = value
    end
  end
  repeat
    local piece, err = res.body_reader(chunksize or PIECE)
    if err then
      ngx.log(ngx.ERR, err)
      return
    end
    if piece then
      ngx.print(piece)
    end
  until not piece
end

return _M
