-- What the upstream of specs answers: mostly what it was asked, as JSON, by the paths and members
-- that Kong's own mock upstream has.

local cjson = require "cjson.safe"

local mock = {}

local function vars()
  local seen = {}
  for _, name in ipairs {
    "uri", "host", "hostname", "https", "scheme", "is_args", "server_addr", "server_port",
    "server_name", "server_protocol", "remote_addr", "remote_port", "realip_remote_addr",
    "realip_remote_port", "request", "request_uri", "request_time", "request_length",
    "request_method", "bytes_received",
  } do
    seen[name] = ngx.var[name]
  end
  seen.ssl_server_name = ngx.var.ssl_server_name or "no SNI"
  return seen
end

local function body_text()
  ngx.req.read_body()
  local text = ngx.req.get_body_data()
  local path = not text and ngx.req.get_body_file()
  if path then
    local file = io.open(path, "r")
    text = file and file:read("*a")
    if file then
      file:close()
    end
  end
  return text or ""
end

local function multipart(text, kind)
  local boundary = kind:match("boundary=(.+)")
  local params = {}
  boundary = boundary and boundary:gsub('^"(.*)"$', "%1")
  if not boundary then
    return nil, "could not find boundary in content type " .. kind
  end
  local from = 1
  local mark = "--" .. boundary
  while true do
    local _, first = text:find(mark, from, true)
    local last = first and text:find(mark, first + 1, true)
    if not last then
      return params
    end
    local head, value = text:sub(first + 1, last - 1):match("^\r?\n(.-)\r?\n\r?\n(.*)\r?\n$")
    local name = head and head:match('name="(.-)"')
    if name then
      params[name] = value:gsub("\r$", "")
    end
    from = last
  end
end

local function posted(kind)
  local text, shown, params, err = body_text(), "unknown", nil, nil
  if type(kind) == "string" then
    if kind:find("application/x-www-form-urlencoded", 1, true) then
      shown = "form"
      params, err = ngx.req.get_post_args(0)
    elseif kind:find("multipart/form-data", 1, true) then
      shown = "multipart-form"
      params, err = multipart(text, kind)
    elseif kind:find("application/json", 1, true) then
      shown = "json"
      params, err = cjson.decode(text)
    end
    if err then
      shown, err = shown .. " (error)", tostring(err)
    end
  end
  return { text = text, kind = shown, params = params == nil and cjson.null or params, error = err }
end

local function request()
  local headers, seen = ngx.req.get_headers(0), vars()
  return {
    headers = headers,
    post_data = posted(headers["content-type"]),
    url = ("%s://%s:%s%s"):format(seen.scheme, seen.host, seen.server_port, seen.request_uri),
    uri_args = ngx.req.get_uri_args(0),
    vars = seen,
  }
end

local function send(text, kind, headers)
  text = ngx.req.get_method() == "HEAD" and "" or tostring(text) .. "\n"
  ngx.header["X-Powered-By"] = "mock_upstream"
  ngx.header["Server"] = "mock-upstream/1.0.0"
  ngx.header["Content-Type"] = kind or "text/plain"
  for name, value in pairs(headers or {}) do
    ngx.header[name] = type(value) == "table" and table.concat(value, ", ") or value
  end
  ngx.header["Content-Length"] = #text
  ngx.print(text)
  return ngx.exit(ngx.status ~= 0 and ngx.status or 200)
end

local function send_request(more, headers)
  local shown = request()
  for name, value in pairs(more or {}) do
    shown[name] = value
  end
  return send(cjson.encode(shown), "application/json", headers)
end

local function only(method)
  if ngx.req.get_method() ~= method then
    ngx.status = 405
    send("Method not allowed for the requested URL")
    return false
  end
  return true
end

local function may_enter(user, password)
  local headers = ngx.req.get_headers(0)
  for _, name in ipairs { "proxy-authorization", "authorization" } do
    local given = tostring(headers[name] or ""):match("^%s*[Bb]asic%s+(.+)$")
    if given and ngx.decode_base64(given) == user .. ":" .. password then
      return true
    end
  end
  ngx.header["WWW-Authenticate"] = "mock_upstream"
  ngx.header["X-Powered-By"] = "mock_upstream"
  ngx.exit(401)
  return false
end

-- Records of loggers, by the name that they were sent to.
local logs = {}

local function keep_log(name)
  local entries = cjson.decode(body_text()) or {}
  if #entries == 0 then
    entries = { entries }
  end
  local list = logs[name] or {}
  logs[name] = list
  for _, entry in ipairs(entries) do
    entry.log_req_headers = ngx.req.get_headers(0)
    list[#list + 1] = entry
  end
  return send("", "text/plain")
end

local function send_logs(name)
  local list = logs[name] or {}
  local entries = #list > 0 and list or cjson.empty_array
  return send(cjson.encode { entries = entries, count = #list }, "application/json")
end

local function stream(count)
  local text = cjson.encode(request())
  ngx.header["X-Powered-By"] = "mock_upstream"
  ngx.header["Content-Type"] = "application/json"
  for _ = 1, tonumber(count) do
    ngx.say(text)
  end
  return ngx.exit(200)
end

-- Patterns of paths, the first that fits; captures are the arguments.
local paths = {
  { "^/$", function() return send_request { valid_routes = {} } end },
  { "^/get", function() return only("GET") and send_request() end },
  { "^/post_log/([a-z0-9_]+)$", keep_log },
  { "^/post_auth_log/([a-z0-9_]+)/([%w_]+)/(.+)$", function(name, user, password)
    return may_enter(user, password) and keep_log(name)
  end },
  { "^/read_log/([a-z0-9_]+)$", send_logs },
  { "^/count_log/([a-z0-9_]+)$", function(name) return send(tostring(#(logs[name] or {}))) end },
  { "^/reset_log/([a-z0-9_]+)$", function(name)
    logs[name] = nil
    return send("")
  end },
  { "^/post", function() return only("POST") and send_request() end },
  { "^/xml", function()
    return send('<?xml version="1.0" encoding="UTF-8"?>\n<note>\n  <body>hello</body>\n</note>',
      "application/xml")
  end },
  { "^/response%-headers$", function()
    return only("GET") and send_request({}, ngx.req.get_uri_args())
  end },
  { "^/timestamp$", function()
    ngx.header["Server-Time"] = ngx.now()
    return ngx.exit(200)
  end },
  { "^/cache/(%d+)$", function(age)
    return send_request({}, { ["Cache-Control"] = "public, max-age=" .. age })
  end },
  { "^/basic%-auth/([%w_]+)/(.+)$", function(user, password)
    return may_enter(user, password) and send_request { authenticated = true, user = user }
  end },
  { "^/request", send_request },
  { "^/anything", send_request },
  { "^/delay/(%d%d?%d?)$", function(seconds)
    ngx.sleep(tonumber(seconds))
    return send_request { delay = tonumber(seconds) }
  end },
  { "^/status/(%d%d%d)$", function(code)
    ngx.status = tonumber(code)
    return send_request { code = tonumber(code) }
  end },
  { "^/stream/(%d+)$", stream },
}

-- Answers the request that runs.
function mock.serve()
  local path = ngx.var.uri
  for _, one in ipairs(paths) do
    local found = { path:match(one[1]) }
    if found[1] then
      if one[1]:find("(", 1, true) then
        return one[2](unpack(found))
      end
      return one[2]()
    end
  end
  ngx.status = 404
  return send_request()
end

return mock
