-- Names, arguments and types in HTTP messages.

local strings = require "kong.tools.string"

local _M = {
  CONTENT_TYPES = {
    CONTENT_TYPE = "Content-Type",
    CONTENT_TYPE_POST = "application/x-www-form-urlencoded",
    CONTENT_TYPE_JSON = "application/json",
    CONTENT_TYPE_FORM_DATA = "multipart/form-data",
  },
}

-- Keys in order: numbers first.
local function sorted_keys(values)
  local keys = {}
  for key in pairs(values) do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b)
    if type(a) == type(b) then
      return a < b
    end
    return type(a) == "number"
  end)
  return keys
end

local function put(parts, key, value, raw)
  local escape = raw and tostring or require("socket.url").escape
  parts[#parts + 1] = value == nil and escape(key) or escape(key) .. "=" .. escape(value)
end

local function put_nested(parts, parent, values, raw, no_indexes)
  for _, key in ipairs(sorted_keys(values)) do
    local name = parent .. "." .. tostring(key)
    if type(key) == "number" then
      name = parent .. "[" .. (no_indexes and "" or tostring(key)) .. "]"
    end
    if type(values[key]) == "table" then
      put_nested(parts, name, values[key], raw, no_indexes)
    else
      put(parts, name, tostring(values[key]), raw)
    end
  end
end

-- A query of arguments, of which some may be tables: `a[1]=x&b.c=y`.
function _M.encode_args(args, raw, no_indexes)
  local parts = {}
  for _, key in ipairs(sorted_keys(args)) do
    local value = args[key]
    if type(value) == "table" then
      put_nested(parts, key, value, raw, no_indexes)
    elseif value == ngx.null then
      put(parts, key, "")
    elseif tostring(value) == "" then
      parts[#parts + 1] = key
    else
      put(parts, key, tostring(value), raw)
    end
  end
  return table.concat(parts, "&")
end

-- A list out of a table whose keys are numbers, or texts of them, from 1 on.
local function list_of(values)
  local list, count = {}, 0
  for key in pairs(values) do
    if not tonumber(key) then
      return nil
    end
    count = count + 1
  end
  for i = 1, count do
    local value = values[tostring(i)]
    list[i] = value == nil and values[i] or value
    if list[i] == nil then
      return nil
    end
  end
  return list
end

local WORDS = { [""] = ngx.null, ["true"] = true, ["false"] = false }

function _M.decode_args(args)
  local decoded = {}
  for key, value in pairs(args) do
    if type(value) == "table" then
      value = list_of(value) or value
    elseif WORDS[value] ~= nil then
      value = WORDS[value]
    end
    decoded[key] = value
  end
  return decoded
end

-- Whether the client speaks HTTPS, to us or to a proxy that is trusted.
function _M.check_https(trusted, allow_terminated)
  if ngx.var.scheme:lower() == "https" then
    return true
  end
  local scheme = allow_terminated and trusted and ngx.var.http_x_forwarded_proto
  if not scheme then
    return false
  elseif scheme:find(",", 1, true) then
    return nil, "Only one X-Forwarded-Proto header allowed"
  end
  return scheme:lower() == "https"
end

-- A token of RFC 9110, as Kong checks it: the separators and control characters are out.
function _M.validate_http_token(token)
  if token == nil or token == "" then
    return nil, "no token provided"
  end
  if token:find("[%c%s\128-\255()<>@,;:\\\"/?={}%[%]]") then
    return nil, "contains one or more invalid characters. ASCII control characters (0-31;127), "
      .. "space, tab and the characters ()<>@,;:\\\"/?={}[] are not allowed."
  end
  return token
end

_M.validate_cookie_name = _M.validate_http_token

-- Kong and nginx want less of a header name than the RFC allows.
function _M.validate_header_name(name)
  if name == nil or name == "" then
    return nil, "no header name provided"
  end
  if name:find("^[%w_-]+$") then
    return name
  end
  local err = "bad header name '%s', allowed characters are A-Z, a-z, 0-9, '_', and '-'"
  return nil, err:format(name)
end

-- Statuses whose body is always the same, and those that have one if nobody gives another.
local ALWAYS = {
  [405] = "Method not allowed", [500] = "An unexpected error occurred", [502] = "Bad gateway",
}
local OTHERWISE = {
  [401] = "Unauthorized", [404] = "Not found", [503] = "Service unavailable",
}

function _M.get_default_exit_body(status, message)
  if type(status) ~= "number" then
    error("code must be a number", 2)
  elseif status < 100 or status > 599 then
    error("code must be a number between 100 and 599", 2)
  elseif status == 204 then
    return nil
  end
  local body = ALWAYS[status] or message or OTHERWISE[status]
  if body ~= nil and type(body) ~= "table" then
    body = { message = body }
  end
  return body
end

local JSON = "application/json; charset=utf-8"

local TYPES = {
  ["application/grpc"] = "",
  ["text/html"] = "text/html; charset=utf-8",
  ["application/json"] = JSON,
  ["text/plain"] = "text/plain; charset=utf-8",
  ["application/xml"] = "application/xml; charset=utf-8",
}
-- What is sent to who takes any subtype.
local ANY = { ["*"] = JSON, application = JSON, text = "text/plain; charset=utf-8" }

-- What Kong sends for a type; JSON for any other, unless that is not wanted.
function _M.get_mime_type(header, use_default)
  local name = strings.split_once(strings.strip(header), ";")
  local kind, subtype = strings.split_once(name, "/")
  local found = TYPES[name]
  if subtype == "*" then
    found = ANY[kind] or TYPES[kind]
  elseif not subtype then
    found = nil
  end
  if found or use_default == nil or use_default then
    return found or JSON
  end
  return nil, "could not find MIME type"
end

local RANGE = [[^((?:[a-z0-9][a-z0-9\-!#$&^_+.]+|\*)/(?:[a-z0-9][a-z0-9\-!#$&^_+.]+|\*))]]
  .. [[(?:\s*;\s*q=(1(?:\.0{0,3})?|0(?:\.\d{0,3})?)]]
  .. [[|\s*;\s*[a-z0-9][a-z0-9\-!#$&^_+.]+(?:=[^;]*)?)*]]

-- The type that a client would rather have than others.
function _M.get_response_type(accept)
  if type(accept) == "table" then
    accept = table.concat(accept, ",")
  end
  local best, found = 0, JSON
  for range in strings.isplitn(accept or "", ",") do
    local match = ngx.re.match(strings.strip(range), RANGE, "joi")
    local quality = match and (tonumber(match[2]) or 1)
    if quality and quality > best then
      best, found = quality, _M.get_mime_type(match[1])
    end
  end
  return found
end

local TEMPLATES = {
  html = [[
<!doctype html>
<html>
  <head>
    <meta charset="utf-8">
    <title>Error</title>
  </head>
  <body>
    <h1>Error</h1>
    <p>%s.</p>
    <p>request_id: %s</p>
  </body>
</html>
]],
  json = '{\n  "message":"%s",\n  "request_id":"%s"\n}',
  plain = "%s\nrequest_id: %s\n",
  xml = [[
<?xml version="1.0" encoding="UTF-8"?>
<error>
  <message>%s</message>
  <requestid>%s</requestid>
</error>
]],
}
local NAMES = {
  ["application/json"] = "json", ["text/html"] = "html", ["application/xml"] = "xml",
  ["text/plain"] = "plain",
}

-- The template of errors in a type: of the settings, or Kong's.
function _M.get_error_template(type)
  local base = type and strings.split_once(type, ";")
  if type == "" or base == "application/grpc" then
    return ""
  end
  local name = NAMES[base]
  if not name then
    return nil, "no template found for MIME type " .. (type or "empty")
  end
  local path = kong.configuration["error_template_" .. name]
  return path and require("pl.file").read(path) or TEMPLATES[name]
end

-- The first value of a header of the request.
function _M.get_header(name, ctx)
  if ctx then
    ctx.cached_request_headers = ctx.cached_request_headers or ngx.req.get_headers()
    local value = ctx.cached_request_headers[name]
    return type(value) == "table" and value[1] or value
  end
  local value = ngx.req.get_headers()[name]
  return type(value) == "table" and value[1] or value
end

-- Directives of a header such as `Cache-Control`: numbers, texts, or true.
function _M.parse_directive_header(header)
  if not header then
    return require("kong.tools.table").EMPTY
  end
  local directives = {}
  if type(header) == "table" then
    header = table.concat(header, ", ")
  end
  for directive in header:gmatch("[^,]+") do
    directive = strings.strip(directive)
    local name, value = directive:match("^([^=]+)=(.+)$")
    name = name or directive:match("^[^=]+")
    if name then
      directives[name:lower()] = tonumber(value) or value or true
    end
  end
  return directives
end

-- Seconds for which a response may be kept.
function _M.calculate_resource_ttl(directives)
  local age = directives and (directives["s-maxage"] or directives["max-age"])
  if not age then
    local expires = ngx.var.sent_http_expires
    expires = type(expires) == "table" and expires[#expires] or expires
    local time = ngx.parse_http_time(tostring(expires))
    age = time and time - ngx.time()
  end
  return age and math.max(age, 0) or 0
end

return _M
