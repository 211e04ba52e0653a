-- HTTP clients of specs: resty.http with bodies from tables and answers that can be read twice.

local cjson = require "cjson.safe"
local http = require "resty.http"
local settings = require "spec.internal.conf"

local conf = settings.conf

local function lookup(t, key)
  local wanted = tostring(key):lower()
  for name, value in pairs(t) do
    if tostring(name):lower() == wanted then
      return value, name
    end
  end
end

local client_mt = {}
client_mt.__index = function(_, name)
  return client_mt[name] or http[name]
end

local BOUNDARY = "8fd84e9444e3946c"

local function multipart(form)
  local parts = {}
  for name, value in pairs(form) do
    parts[#parts + 1] = ('--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n')
      :format(BOUNDARY, name, tostring(value))
  end
  if #parts == 0 then
    return ""
  end
  return table.concat(parts) .. "--" .. BOUNDARY .. "--\r\n"
end

local function by_kind(a, b)
  local ta, tb = type(a), type(b)
  if ta ~= tb then
    return ta == "number"
  end
  return a < b
end

-- `a=1&list[1]=x&record.field=y`, as Kong's clients write forms; `raw` escapes nothing.
local function encode(args, raw, without_index)
  local parts = {}
  local function escaped(text)
    return raw and tostring(text) or ngx.escape_uri(tostring(text))
  end
  local function add(key, value)
    if type(value) ~= "table" then
      local is_empty = value == ngx.null or value == ""
      if is_empty and value ~= ngx.null then
        parts[#parts + 1] = escaped(key)
      else
        parts[#parts + 1] = escaped(key) .. "=" .. escaped(is_empty and "" or value)
      end
      return
    end
    local keys = {}
    for name in pairs(value) do
      keys[#keys + 1] = name
    end
    table.sort(keys, by_kind)
    for _, name in ipairs(keys) do
      local inner = type(name) == "number" and ("[%s]"):format(without_index and "" or name)
        or "." .. name
      add(key and key .. inner or tostring(name), value[name])
    end
  end
  add(nil, args)
  return table.concat(parts, "&")
end

-- A body that is a table is written as the content type says.
local function with_body(options)
  local headers = options.headers or {}
  local kind, name = lookup(headers, "Content-Type")
  if type(options.body) ~= "table" then
    return
  elseif not kind then
    kind = ""
  end
  kind = tostring(kind)
  if kind:find("application/json", 1, true) then
    options.body = assert(cjson.encode(options.body))
  elseif kind:find("www-form-urlencoded", 1, true) then
    options.body = encode(options.body, true, options.no_array_indexes)
  elseif kind:find("multipart/form-data", 1, true) then
    options.body = multipart(options.body)
    if not lookup(headers, "content-length") and not options.dont_add_content_length then
      headers["content-length"] = #options.body
    end
    if not kind:find("boundary=", 1, true) then
      headers[name] = kind .. "; boundary=" .. BOUNDARY
    end
  end
end

local SAFE = { GET = true, HEAD = true, OPTIONS = true, TRACE = true }

local function read_once(res)
  local reader = res.read_body
  local body, err, done
  function res.read_body(self)
    if not done then
      body, err = reader(self)
      done = true
    end
    return body, err
  end
  return res
end

function client_mt:send(options, again)
  options = options or {}
  with_body(options)
  if type(options.query) == "table" then
    options.path = options.path .. "?" .. encode(options.query)
    options.query = nil
  end
  local res, err = self:request(options)
  if res then
    return read_once(res)
  end
  local is_gone = err == "closed" or err == "connection reset by peer"
  local method = tostring(options.method or "GET"):upper()
  if is_gone and not again and self.reopen and SAFE[method] then
    self:_connect()
    return self:send(options, true)
  end
  return res, err
end

function client_mt:_connect()
  local options = self.options
  local _, err = self:connect(options)
  if err then
    error(("Could not connect to %s:%s: %s"):format(options.host, options.port, err), 3)
  end
  if options.connect_timeout and options.send_timeout and options.read_timeout then
    self:set_timeouts(options.connect_timeout, options.send_timeout, options.read_timeout)
  else
    self:set_timeout(options.timeout or 10000)
  end
end

for _, name in ipairs { "get", "post", "put", "patch", "delete", "head", "options" } do
  client_mt[name] = function(self, path, given)
    local options = { method = name:upper(), path = path }
    for key, value in pairs(given or {}) do
      options[key] = value
    end
    return assert(self:send(options))
  end
end

local client = { lookup = lookup }

-- `http_client(options)` or `http_client(host, port, timeout)`.
function client.http_client(first, port, timeout)
  local options = {}
  for key, value in pairs(type(first) == "table" and first
      or { host = first, port = port, timeout = timeout }) do
    options[key] = value
  end
  options.scheme = options.scheme or (options.port == 443 and "https" or "http")
  if options.http_version == 2 then
    error(require("busted").pending_error("spec.helpers has no client for HTTP/2"))
  end
  local made = setmetatable(assert(http.new()), client_mt)
  made.options, made.reopen = options, options.reopen
  made:_connect()
  return made
end

local function proxy_of(ssl, http2)
  for _, entry in ipairs(conf.proxy_listeners) do
    if entry.ssl == (ssl or false) and (http2 == nil or entry.http2 == http2) then
      return entry
    end
  end
  error("no proxy listener for ssl=" .. tostring(ssl), 3)
end

function client.get_proxy_port(ssl, http2)
  return proxy_of(ssl, http2).port
end

function client.get_proxy_ip(ssl, http2)
  return proxy_of(ssl, http2).ip
end

local function to_loopback(ip)
  return ip == "0.0.0.0" and "127.0.0.1" or ip
end

function client.proxy_client(timeout, port, ip, version)
  local entry = proxy_of(false)
  return client.http_client {
    scheme = "http", host = to_loopback(ip or entry.ip), port = port or entry.port,
    timeout = timeout or 60000, http_version = version,
  }
end

function client.proxy_ssl_client(timeout, sni, version)
  local entry = proxy_of(true)
  return client.http_client {
    scheme = "https", host = to_loopback(entry.ip), port = entry.port, ssl_verify = false,
    ssl_server_name = sni, timeout = timeout or 60000, http_version = version,
  }
end

for _, name in ipairs {
  "admin_client", "admin_ssl_client", "admin_gui_client", "admin_gui_ssl_client",
} do
  client[name] = function()
    return require("spec.internal.admin").client()
  end
end

-- What asks programs of Kong's own build: a case that calls such a client ends as pending.
for _, name in ipairs {
  "http2_client", "grpc_client", "proxy_client_grpc", "proxy_client_grpcs", "proxy_client_h2c",
  "proxy_client_h2", "clustering_client",
} do
  client[name] = function()
    return function()
      error(require("busted").pending_error("helpers." .. name
        .. " is not there in silverback spec"))
    end
  end
end

function client.make_synchronized_clients()
  return client.proxy_client(), client.admin_client()
end

return client
