-- A client for Redis over OpenResty's sockets, with the interface of lua-resty-redis. Any method
-- that is not here is a command of Redis.

local delegated = require "silverback.delegate" "_sock"

local _M = { _VERSION = "0.30" }

-- How deep an answer may be nested.
local DEPTH_MAX = 64
-- After these the server speaks unasked.
local SUBSCRIBING = { subscribe = true, psubscribe = true, ssubscribe = true }
local UNSUBSCRIBING = { unsubscribe = true, punsubscribe = true, sunsubscribe = true }
-- Prefixes of commands that modules of Redis bring: `red:bf():add(...)`.
local prefixes = {}

local function not_initialized()
  return nil, "not initialized"
end

_M.set_timeout = delegated "settimeout"
_M.set_timeouts = delegated "settimeouts"
_M.get_reused_times = delegated "getreusedtimes"

function _M.connect(self, host, port, options)
  local sock = rawget(self, "_sock")
  if not sock then
    return not_initialized()
  end
  if type(host) ~= "string" then
    return nil, "bad argument #1 host: string expected, got " .. type(host)
  end
  local is_unix = host:sub(1, 5) == "unix:"
  if is_unix then
    options = port
  elseif not tonumber(port) then
    return nil, "bad argument #2 port: number expected, got " .. type(port)
  end
  if options ~= nil and type(options) ~= "table" then
    return nil, "bad argument #" .. (is_unix and 2 or 3) .. " opts: nil or table expected, got " ..
      type(options)
  end
  self._subscribed = nil
  local ok, err
  if is_unix then
    ok, err = sock:connect(host, options)
  else
    ok, err = sock:connect(host, tonumber(port), options)
  end
  if ok and options and options.ssl then
    local shaken
    shaken, err = sock:sslhandshake(false, options.server_name, options.ssl_verify)
    if not shaken then
      return nil, "failed to do ssl handshake: " .. err
    end
  end
  return ok, err
end

function _M.set_keepalive(self, ...)
  local sock = rawget(self, "_sock")
  if not sock then
    return not_initialized()
  end
  if rawget(self, "_subscribed") then
    return nil, "subscribed state"
  end
  return sock:setkeepalive(...)
end

function _M.close(self)
  local sock = rawget(self, "_sock")
  if not sock then
    return not_initialized()
  end
  self._subscribed = nil
  return sock:close()
end

-- Closes what nobody knows the state of any more.
local function lost(self, err)
  if err == "timeout" and not rawget(self, "_subscribed") then
    self._sock:close()
  end
  return nil, err
end

local read

local function read_bulk(self, sock, size)
  if size < 0 then
    return ngx.null
  end
  local data, err = sock:receive(size)
  if not data then
    return lost(self, err)
  end
  local ok
  ok, err = sock:receive(2)
  if not ok then
    return nil, err
  end
  return data
end

local function read_many(self, sock, count, depth)
  if count < 0 then
    return ngx.null
  end
  local values = {}
  for i = 1, count do
    local value, err = read(self, sock, depth - 1)
    if value == nil then
      return nil, err
    end
    values[i] = value == false and { false, err } or value
  end
  return values
end

-- A value; false and a text for an error of Redis; nil and a text if there is no answer.
function read(self, sock, depth)
  local line, err = sock:receive()
  if not line then
    return lost(self, err)
  end
  local kind, rest = line:sub(1, 1), line:sub(2)
  if kind == "+" then
    return rest
  end
  if kind == "-" then
    return false, rest
  end
  local number = tonumber(rest)
  if number and kind == ":" then
    return number
  end
  if number and kind == "$" then
    return read_bulk(self, sock, number)
  end
  if number and kind == "*" and depth > 0 then
    return read_many(self, sock, number, depth)
  end
  return nil, 'unknown prefix: "' .. kind .. '"'
end

-- A command as Redis wants it, put behind what is there already.
local function append(parts, command, ...)
  local count = select("#", ...)
  local n = #parts
  local function add(text)
    parts[n + 1] = "$" .. #text .. "\r\n"
    parts[n + 2] = text
    parts[n + 3] = "\r\n"
    n = n + 3
  end
  n = n + 1
  parts[n] = "*" .. count + 1 .. "\r\n"
  add(command)
  for i = 1, count do
    add(tostring((select(i, ...))))
  end
  return parts
end

local function run(self, command, ...)
  if rawget(self, "_module_prefix") then
    command = self._module_prefix .. "." .. command
    self._module_prefix = nil
  end
  local waiting = rawget(self, "_waiting")
  if waiting then
    waiting.count = waiting.count + 1
    append(waiting.parts, command, ...)
    return
  end
  local sock = rawget(self, "_sock")
  if not sock then
    return not_initialized()
  end
  local sent, err = sock:send(append({}, command, ...))
  if not sent then
    return nil, err
  end
  return read(self, sock, DEPTH_MAX)
end

-- Whether the server still speaks unasked after it has said this.
local function note(self, answer)
  if type(answer) == "table" and type(answer[1]) == "string" and UNSUBSCRIBING[answer[1]]
    and answer[3] == 0 then
    self._subscribed = nil
  end
end

function _M.read_reply(self)
  local sock = rawget(self, "_sock")
  if not sock then
    return not_initialized()
  end
  if not rawget(self, "_subscribed") then
    return nil, "not subscribed"
  end
  local answer, err = read(self, sock, DEPTH_MAX)
  note(self, answer)
  return answer, err
end

-- Commands are collected from here on, and sent at once.
function _M.init_pipeline(self)
  self._waiting = { count = 0, parts = {} }
end

function _M.cancel_pipeline(self)
  self._waiting = nil
end

function _M.commit_pipeline(self)
  local waiting = rawget(self, "_waiting")
  if not waiting then
    return nil, "no pipeline"
  end
  self._waiting = nil
  local sock = rawget(self, "_sock")
  if not sock then
    return not_initialized()
  end
  local sent, err = sock:send(waiting.parts)
  if not sent then
    return nil, err
  end
  local answers = {}
  for i = 1, waiting.count do
    local answer
    answer, err = read(self, sock, DEPTH_MAX)
    if answer == nil then
      if err == "timeout" then
        sock:close()
      end
      return nil, err
    end
    answers[i] = answer == false and { false, err } or answer
  end
  return answers
end

-- Fields as arguments, or as one table.
function _M.hmset(self, key, ...)
  if select("#", ...) ~= 1 then
    return run(self, "hmset", key, ...)
  end
  local fields = {}
  for name, value in pairs((...)) do
    fields[#fields + 1] = name
    fields[#fields + 1] = value
  end
  return run(self, "hmset", key, unpack(fields))
end

function _M.array_to_hash(_, list)
  local hash = {}
  for i = 1, #list, 2 do
    hash[list[i]] = list[i + 1]
  end
  return hash
end

local function command(name)
  if SUBSCRIBING[name] then
    return function(self, ...)
      self._subscribed = true
      return run(self, name, ...)
    end
  end
  if UNSUBSCRIBING[name] then
    return function(self, ...)
      if not rawget(self, "_subscribed") then
        return nil, "not subscribed"
      end
      local answer, err = run(self, name, ...)
      note(self, answer)
      return answer, err
    end
  end
  return function(self, ...)
    return run(self, name, ...)
  end
end

local client = {
  __index = function(self, name)
    local method = _M[name]
    if method == nil and type(name) == "string" then
      if prefixes[name] then
        method = function(this)
          this._module_prefix = name
          return this
        end
      else
        method = command(name)
      end
      _M[name] = method
    end
    return method
  end,
}

function _M.new(_)
  local sock, err = ngx.socket.tcp()
  if not sock then
    return nil, err
  end
  return setmetatable({ _sock = sock }, client)
end

function _M.add_commands(...)
  for _, name in ipairs { ... } do
    _M[name] = _M[name] or command(name)
  end
end

function _M.register_module_prefix(name)
  prefixes[name] = true
end

return _M
