-- Small servers that specs start beside the gateway: sinks for logs, answers by hand.

local host = require "silverback.spec"

local server = {}

-- Listeners by kind and port. One that a case has left behind gives way to the next.
local listening = {}

local function listen(kind, port)
  local key = kind .. port
  local left = listening[key]
  if left then
    left:close()
    -- What waits for it has to let go of it, too.
    ngx.sleep(0.001)
  end
  listening[key] = assert(host["listen_" .. kind](port))
  return listening[key]
end

-- What runs beside the case; `join` waits for its end and its results.
local function thread(f)
  local light = ngx.thread.spawn(f)
  return {
    join = function() return ngx.thread.wait(light) end,
    alive = function() return coroutine.status(light) ~= "dead" end,
  }
end

-- `tcp_server(port, { timeout, requests, prefix, tls })`: echoes a line of each connection; `join`
-- gives the last one.
function server.tcp_server(port, options)
  options = options or {}
  local listener = listen("tcp", port)
  return thread(function()
    local line, oks, fails = nil, 0, 0
    while oks + fails < (options.requests or 1) do
      local connection, err = listener:accept(options.timeout or 60)
      if not connection then
        line = err
        break
      end
      if options.tls then
        connection:starttls()
      end
      local got = connection:receive("*l", options.timeout or 60)
      if got == "@DIE@" then
        connection:send(("%d:%d\n"):format(oks, fails))
        connection:close()
        break
      elseif got then
        line, oks = got, oks + 1
        connection:send((options.prefix or "") .. got .. "\n")
      else
        fails = fails + 1
      end
      connection:close()
    end
    listener:close()
    return line
  end)
end

function server.kill_tcp_server(port)
  local socket = ngx.socket.tcp()
  assert(socket:connect("127.0.0.1", port))
  assert(socket:send("@DIE@\n"))
  local text = assert(socket:receive())
  socket:close()
  local oks, fails = text:match("(%d+):(%d+)")
  return tonumber(oks), tonumber(fails)
end

-- `udp_server(port, n, timeout)`: `join` gives a packet, or a list of them.
function server.udp_server(port, count, timeout)
  local socket = listen("udp", port or require("spec.internal.conf").mock_port("http"))
  count = count or 1
  return thread(function()
    local packets, err = {}, nil
    while #packets < count do
      local packet
      packet, err = socket:receive(timeout or 360)
      if not packet then
        break
      end
      packets[#packets + 1] = packet
    end
    socket:close()
    if count > 1 then
      return packets, err
    end
    return packets[1], err
  end)
end

local REASONS = { [200] = "OK", [201] = "Created", [204] = "No Content", [404] = "Not Found",
  [500] = "Internal Server Error", [503] = "Service Unavailable" }

local function answer(response, lines, body, headers)
  local mt = getmetatable(response)
  if type(response) == "function" or (type(mt) == "table" and mt.__call) then
    return response(lines, body, headers)
  elseif type(response) == "string" then
    return response
  elseif type(response) ~= "table" then
    return "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
  end
  local code = response.code or response[1] or 200
  local text = response.body or response[2] or ""
  local head = { ("HTTP/1.1 %d %s"):format(code, REASONS[code] or "Status"),
    "Content-Length: " .. #text, "Connection: close" }
  for name, value in pairs(response.headers or response[3] or {}) do
    head[#head + 1] = name .. ": " .. tostring(value)
  end
  return table.concat(head, "\r\n") .. "\r\n\r\n" .. text
end

local function serve_one(connection, response, timeout)
  local lines, headers, length = {}, {}, nil
  local chunked = false
  repeat
    local line, err = connection:receive("*l", timeout)
    if not line then
      return nil, err
    end
    local name, value = line:match("^([^:]+):%s*(.+)$")
    if name and #lines > 0 then
      headers[name] = value
      length = name:lower() == "content-length" and tonumber(value) or length
      chunked = chunked or name:lower() == "transfer-encoding"
    end
    lines[#lines + 1] = line
  until line == ""
  local body
  if length then
    body = connection:receive(length, timeout)
  elseif chunked then
    local parts = {}
    repeat
      local size = tonumber(connection:receive("*l", timeout) or "0", 16) or 0
      parts[#parts + 1] = size > 0 and connection:receive(size, timeout) or nil
      connection:receive("*l", timeout)
    until size == 0
    body = table.concat(parts)
  end
  connection:send(answer(response, lines, body, headers))
  return lines, body, headers
end

-- `http_mock(port, { timeout })`: each call waits for a request and answers it; it gives the lines
-- of the head, the body and the headers. `mock(nil, true)` ends it.
function server.http_mock(port, options)
  local timeout = options and options.timeout or 60
  local listener = listen("tcp", port)
  return function(response, exit)
    if exit then
      listener:close()
      return true
    end
    local connection, err = listener:accept(timeout)
    if not connection then
      return false, err
    end
    local lines, body, headers = serve_one(connection, response, timeout)
    connection:close()
    return lines, body, headers
  end
end

-- `http_server(port, { timeout })`: answers one request with 200; `join` gives its lines and body.
function server.http_server(port, options)
  local mock = server.http_mock(port, options)
  return thread(function()
    local lines, body, headers = mock()
    mock(nil, true)
    return lines, body, headers
  end)
end

function server.get_available_port()
  return host.free_port()
end

return server
