-- What a request of `resty.http` says before its body.

local http_headers = require "resty.http_headers"

local _M = {
  USER_AGENT = "lua-resty-http/0.17.2 (Lua) ngx_lua/" .. ngx.config.ngx_lua_version,
}

-- Methods whose requests are expected to have a body.
local EXPECTING = { POST = true, PUT = true, PATCH = true }

local function query_of(query)
  if type(query) == "table" then
    query = ngx.encode_args(query)
  end
  if not query or query == "" then
    return ""
  end
  return query:sub(1, 1) == "?" and query or "?" .. query
end

-- A text with a line break in it would be another header.
local function line(name, value)
  value = tostring(value)
  if value:find("[\r\n]") or tostring(name):find("[\r\n]") then
    return nil
  end
  return name .. ": " .. value .. "\r\n"
end

-- The request line and the headers.
function _M.head(self, params)
  local version = params.version == 1.0 and " HTTP/1.0\r\n" or " HTTP/1.1\r\n"
  local path = (self.path_prefix or "") .. (params.path or "/")
  local start = (params.method or "GET"):upper() .. " " .. path .. query_of(params.query)
  if start:find("[\r\n]") then
    return nil, "the request line has a line break"
  end
  local parts = { start, version }
  for name, value in pairs(params.headers) do
    local values = type(value) == "table" and value or { value }
    for _, one in ipairs(values) do
      local text = line(name, one)
      if not text then
        return nil, "header " .. tostring(name):gsub("[\r\n]", " ") .. " has a line break"
      end
      parts[#parts + 1] = text
    end
  end
  parts[#parts + 1] = "\r\n"
  return table.concat(parts)
end

-- The length of a body; nil for one that is a function.
local function length_of(body)
  if type(body) == "string" or type(body) == "number" then
    return #tostring(body)
  end
  if type(body) == "table" then
    local length = 0
    for _, part in ipairs(body) do
      length = length + #tostring(part)
    end
    return length
  end
end

-- Whether headers say that the body comes in chunks.
function _M.is_chunked(headers)
  local encoding = headers["Transfer-Encoding"]
  if type(encoding) == "table" then
    encoding = table.concat(encoding, ",")
  end
  return encoding ~= nil and tostring(encoding):lower():find("chunked", 1, true) ~= nil
end

local function host_of(self)
  if not self.port then
    return nil, "Unable to generate a useful Host header for a unix domain socket. " ..
      "Please provide one."
  end
  local default = self.ssl and 443 or 80
  return self.port == default and self.host or self.host .. ":" .. self.port
end

-- The trace that the current request belongs to, if there is one.
local function trace()
  local ok, parent = pcall(function() return ngx.var.http_traceparent end)
  return ok and parent or nil
end

-- The headers of a request, with those that every request has.
function _M.headers(self, params)
  local headers, body = http_headers.new(), params.body
  for name, value in pairs(params.headers or {}) do
    headers[name] = value
  end
  if not headers["Proxy-Authorization"] and self.http_proxy_auth then
    headers["Proxy-Authorization"] = self.http_proxy_auth
  end
  if _M.is_chunked(headers) then
    -- A length beside it is how requests are smuggled (RFC 9112, section 6.1).
    headers["Content-Length"] = nil
  elseif not headers["Content-Length"] then
    local method = (params.method or "GET"):upper()
    if type(body) == "function" then
      return nil, "Request body is a function but a length or chunked encoding is not specified"
    end
    -- The version that Kong has says so; later ones refuse to send.
    headers["Content-Length"] = body == nil and EXPECTING[method] and 0 or length_of(body)
  end
  if not headers["Host"] then
    local host, err = host_of(self)
    if not host then
      return nil, err
    end
    headers["Host"] = host
  end
  headers["User-Agent"] = headers["User-Agent"] or _M.USER_AGENT
  if not headers["traceparent"] then
    headers["traceparent"] = trace()
  end
  if params.version == 1.0 and not headers["Connection"] then
    headers["Connection"] = "Keep-Alive"
  end
  return headers
end

return _M
