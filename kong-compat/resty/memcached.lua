-- A client for memcached's text protocol over OpenResty's sockets, with the interface of
-- lua-resty-memcached.

local delegated = require "silverback.delegate" "sock"

local _M = { _VERSION = "0.17" }

local client = { __index = _M }

-- An answer must end some time.
local LINES_MAX = 100000

_M.set_timeout = delegated "settimeout"
_M.set_timeouts = delegated "settimeouts"
_M.connect = delegated "connect"
_M.sslhandshake = delegated "sslhandshake"
_M.set_keepalive = delegated "setkeepalive"
_M.get_reused_times = delegated "getreusedtimes"
_M.close = delegated "close"

-- `options.key_transform`: how keys are written and read, as two functions.
function _M.new(_, options)
  local sock, err = ngx.socket.tcp()
  if not sock then
    return nil, err
  end
  local transform = options and options.key_transform or { ngx.escape_uri, ngx.unescape_uri }
  if not transform[1] or not transform[2] then
    return nil, "expecting key_transform = { escape, unescape } table"
  end
  return setmetatable({ sock = sock, escape_key = transform[1], unescape_key = transform[2] },
    client)
end

-- A line, or so many bytes. After a timeout nobody knows what the next bytes are.
local function receive(sock, size)
  local data, err
  if size then
    data, err = sock:receive(size)
  else
    data, err = sock:receive()
  end
  if not data and err == "timeout" then
    sock:close()
  end
  return data, err
end

-- Values of an answer in their order, each with its key, flags and number for `cas`; or nil and
-- what went wrong.
local function read_values(sock)
  local values = {}
  for _ = 1, LINES_MAX do
    local line, err = receive(sock)
    if not line then
      return nil, err
    elseif line == "END" then
      return values
    end
    local key, flags, size, unique = line:match("^VALUE (%S+) (%d+) (%d+) ?(%d*)$")
    if not key then
      return nil, line
    end
    size = tonumber(size)
    local data
    data, err = receive(sock, size + 2)
    if not data then
      return nil, err
    end
    values[#values + 1] = { key = key, data:sub(1, size), flags, unique ~= "" and unique or nil }
  end
  return nil, "too many lines"
end

local function read_get(sock)
  local values, err = read_values(sock)
  if not values then
    return nil, nil, err
  elseif values[1] then
    return values[1][1], values[1][2]
  end
  return nil, nil, nil
end

local function read_gets(sock)
  local values, err = read_values(sock)
  if not values then
    return nil, nil, nil, err
  elseif values[1] then
    return unpack(values[1], 1, 3)
  end
  return nil, nil, nil, nil
end

-- A reader of an answer that is one line: 1 if it is what is wanted.
local function line_of(...)
  local wanted = {}
  for _, word in ipairs { ... } do
    wanted[word] = true
  end
  return function(sock)
    local line, err = receive(sock)
    if line and wanted[line] then
      return 1
    end
    return nil, line or err
  end
end

local read_ok = line_of "OK"
local read_stored = line_of "STORED"
local read_deleted = line_of "DELETED"
-- Couchbase answers STORED.
local read_touched = line_of("TOUCHED", "STORED")

local function read_number(sock)
  local line, err = receive(sock)
  if line and line:find("^%d+$") then
    return line
  end
  return nil, line or err
end

local function read_version(sock)
  local line, err = receive(sock)
  local version = line and line:match("^VERSION (.+)$")
  if version then
    return version
  end
  return nil, line or err
end

local function read_stats(sock)
  local lines = {}
  for _ = 1, LINES_MAX do
    local line, err = receive(sock)
    if not line then
      return nil, err
    elseif line == "END" then
      return lines
    elseif line:find("ERROR", 1, true) then
      return nil, line
    end
    lines[#lines + 1] = line
  end
  return nil, "too many lines"
end

-- Sends a command and reads its answer, or collects both; `fails` is how many nils stand before
-- what went wrong.
local function run(self, read, fails, command)
  local waiting = rawget(self, "_waiting")
  if waiting then
    waiting[#waiting + 1] = { command = command, read = read }
    return 1
  end
  local sock = self.sock
  local err = "not initialized"
  if sock then
    local sent
    sent, err = sock:send(command)
    if sent then
      return read(sock)
    end
  end
  if fails == 1 then
    return nil, err
  elseif fails == 2 then
    return nil, nil, err
  end
  return nil, nil, nil, err
end

local function line(...)
  local words = { ... }
  for i = 1, #words do
    words[i] = tostring(words[i])
    if words[i]:find("[\r\n]") then
      error("an argument has a line break", 3)
    end
  end
  return table.concat(words, " ") .. "\r\n"
end

-- Texts of a table and of the tables in it, as one.
local function flat(value)
  if type(value) == "string" or type(value) == "number" then
    return tostring(value)
  elseif type(value) ~= "table" then
    error("bad value: string expected, got " .. type(value), 3)
  end
  local parts = {}
  for i, part in ipairs(value) do
    parts[i] = flat(part)
  end
  return table.concat(parts)
end

local function many(self, command, keys, has_unique)
  if #keys == 0 then
    return {}
  end
  local words = {}
  for i, key in ipairs(keys) do
    words[i] = self.escape_key(key)
  end
  return run(self, function(sock)
    local values, err = read_values(sock)
    if not values then
      return nil, err
    end
    local found = {}
    for _, value in ipairs(values) do
      found[self.unescape_key(value.key)] = { value[1], value[2], has_unique and value[3] or nil }
    end
    return found
  end, 1, line(command, unpack(words)))
end

-- Value and flags of a key; of a list of keys, a table of such pairs.
function _M:get(key)
  if type(key) == "table" then
    return many(self, "get", key)
  end
  return run(self, read_get, 2, line("get", self.escape_key(key)))
end

-- The same with the number that `cas` wants.
function _M:gets(key)
  if type(key) == "table" then
    return many(self, "gets", key, true)
  end
  return run(self, read_gets, 3, line("gets", self.escape_key(key)))
end

for _, command in ipairs { "set", "add", "replace", "append", "prepend" } do
  _M[command] = function(self, key, value, seconds, flags)
    value = flat(value)
    local head = line(command, self.escape_key(key), flags or 0, seconds or 0, #value)
    return run(self, read_stored, 1, head .. value .. "\r\n")
  end
end

function _M:cas(key, value, unique, seconds, flags)
  value = flat(value)
  local head = line("cas", self.escape_key(key), flags or 0, seconds or 0, #value, unique)
  return run(self, read_stored, 1, head .. value .. "\r\n")
end

function _M:delete(key)
  return run(self, read_deleted, 1, line("delete", self.escape_key(key)))
end

function _M:touch(key, seconds)
  return run(self, read_touched, 1, line("touch", self.escape_key(key), seconds))
end

-- Numbers are texts: memcached's have 64 bits.
function _M:incr(key, by)
  return run(self, read_number, 1, line("incr", self.escape_key(key), by))
end

function _M:decr(key, by)
  return run(self, read_number, 1, line("decr", self.escape_key(key), by))
end

function _M:flush_all(seconds)
  return run(self, read_ok, 1, line("flush_all", seconds))
end

function _M:stats(about)
  return run(self, read_stats, 1, line("stats", about))
end

function _M:version()
  return run(self, read_version, 1, line("version"))
end

function _M:verbosity(level)
  return run(self, read_ok, 1, line("verbosity", level))
end

function _M:quit()
  return run(self, function() return 1 end, 1, line("quit"))
end

-- Commands are collected from here on, and sent at once.
function _M:init_pipeline(n)
  if rawget(self, "_waiting") then
    return "already init pipeline"
  elseif n and type(n) ~= "number" then
    return "bad n arg: number expected, but got " .. type(n)
  end
  self._waiting = {}
end

function _M:cancel_pipeline()
  self._waiting = nil
end

-- What each command answered, as a list of its results.
function _M:commit_pipeline()
  local waiting = rawget(self, "_waiting")
  self._waiting = nil
  if not waiting then
    return nil, "no pipeline"
  elseif not self.sock then
    return nil, "not initialized"
  elseif #waiting == 0 then
    return nil, "no more cmds"
  end
  local commands = {}
  for i, one in ipairs(waiting) do
    commands[i] = one.command
  end
  local sent, err = self.sock:send(commands)
  if not sent then
    return nil, err
  end
  local results = {}
  for i, one in ipairs(waiting) do
    results[i] = { one.read(self.sock) }
  end
  return results
end

return _M
