-- LuaSocket over the sockets of this runtime: the calls are those of LuaSocket, but nobody else is
-- kept waiting. Where OpenResty has no sockets (filters, log, the start of a worker) they fail and
-- say so. There are no listening sockets.

local ltn12 = require "ltn12"

local _M = { _VERSION = "LuaSocket 3.0.0", BLOCKSIZE = 2048, dns = {}, sourcet = {}, sinkt = {} }

function _M.gettime()
  ngx.update_time()
  return ngx.now()
end

function _M.sleep(seconds)
  ngx.sleep(seconds > 0 and seconds or 0)
end

-- Errors that `try` raises are tables, so that `protect` knows its own from others.
local Raised = {}

function _M.newtry(finalizer)
  return function(...)
    local ok, problem = ...
    if ok then
      return ...
    end
    if finalizer then
      pcall(finalizer)
    end
    error(setmetatable({ problem }, Raised), 0)
  end
end

_M.try = _M.newtry()

local function caught(ok, ...)
  if ok then
    return ...
  end
  local problem = ...
  if getmetatable(problem) == Raised then
    return nil, problem[1]
  end
  error(problem, 0)
end

function _M.protect(call)
  return function(...)
    return caught(pcall(call, ...))
  end
end

function _M.skip(count, ...)
  return select(count + 1, ...)
end

function _M.choose(kinds)
  return function(name, first, second)
    if type(name) ~= "string" then
      name, first, second = "default", name, first
    end
    local kind = kinds[name]
    if not kind then
      error("unknown key (" .. tostring(name) .. ")", 3)
    end
    return kind(first, second)
  end
end

-- A socket of OpenResty's that answers like one of LuaSocket's: seconds in place of milliseconds,
-- and the place of the last byte in place of a number of bytes.
local Tcp = {}
Tcp.__index = Tcp

-- What stands for "for ever" in milliseconds.
local FOR_EVER = 2 ^ 31 - 2

local function safely(call, ...)
  local ok, first, second, third = pcall(call, ...)
  if ok then
    return first, second, third
  end
  return nil, tostring(first)
end

function Tcp:settimeout(seconds)
  local wait = tonumber(seconds) or -1
  self.inner:settimeout(wait < 0 and FOR_EVER or math.max(wait * 1000, 1))
  return 1
end

function Tcp:connect(host, port)
  local ok, problem = safely(self.inner.connect, self.inner, host, port)
  if not ok then
    return nil, problem
  end
  self.peer = { host, port }
  return 1
end

function Tcp:send(data, first, last)
  local from = first or 1
  local part = (first or last) and data:sub(from, last or -1) or data
  local sent, problem = safely(self.inner.send, self.inner, part)
  if not sent then
    return nil, problem, from - 1
  end
  return from - 1 + sent
end

function Tcp:receive(pattern, prefix)
  local data, problem, partial = safely(self.inner.receive, self.inner, pattern or "*l")
  prefix = prefix or ""
  if not data then
    return nil, problem, prefix .. (partial or "")
  end
  return prefix .. data
end

function Tcp:getpeername()
  if not self.peer then
    return nil, "Transport endpoint is not connected"
  end
  return self.peer[1], self.peer[2]
end

function Tcp:close()
  safely(self.inner.close, self.inner)
  return 1
end

function Tcp:setoption()
  return 1
end

function Tcp:shutdown()
  return 1
end

function Tcp:dohandshake(host, is_verified)
  return safely(self.inner.sslhandshake, self.inner, nil, host, is_verified)
end

local function refused()
  return nil, "listening sockets are not supported"
end

Tcp.bind, Tcp.listen, Tcp.accept = refused, refused, refused
_M.bind = refused

function _M.tcp()
  local inner, problem = safely(ngx.socket.tcp)
  if not inner then
    return nil, problem
  end
  return setmetatable({ inner = inner }, Tcp)
end

_M.tcp4, _M.tcp6 = _M.tcp, _M.tcp

function _M.connect(host, port)
  local socket, problem = _M.tcp()
  if not socket then
    return nil, problem
  end
  local ok
  ok, problem = socket:connect(host, port)
  if not ok then
    return nil, problem
  end
  return socket
end

_M.connect4, _M.connect6 = _M.connect, _M.connect

-- A datagram socket that has a peer, which is what log plugins use.
local Udp = {}
Udp.__index = Udp

function Udp:setpeername(host, port)
  local ok, problem = safely(self.inner.setpeername, self.inner, host, port)
  if not ok then
    return nil, problem
  end
  return 1
end

function Udp:sendto(data, host, port)
  local ok, problem = self:setpeername(host, port)
  if not ok then
    return nil, problem
  end
  return self:send(data)
end

function Udp:send(data)
  return safely(self.inner.send, self.inner, data)
end

function Udp:receive(size)
  return safely(self.inner.receive, self.inner, size)
end

Udp.settimeout, Udp.close, Udp.setoption = Tcp.settimeout, Tcp.close, Tcp.setoption

function _M.udp()
  local inner, problem = safely(ngx.socket.udp)
  if not inner then
    return nil, problem
  end
  return setmetatable({ inner = inner }, Udp)
end

_M.udp4, _M.udp6 = _M.udp, _M.udp

function _M.dns.gethostname()
  return kong.node.get_hostname()
end

function _M.dns.toip(host)
  local toip = require("kong.resty.dns.client").toip
  local address, problem = toip(host, 80)
  if not address then
    return nil, problem
  end
  return address, { name = host, alias = {}, ip = { address } }
end

_M.sinkt["close-when-done"] = function(socket)
  return function(piece)
    if piece then
      return socket:send(piece)
    end
    socket:close()
    return 1
  end
end

_M.sinkt["keep-open"] = function(socket)
  return function(piece)
    return piece and socket:send(piece) or 1
  end
end

_M.sinkt.default = _M.sinkt["keep-open"]

_M.sourcet["by-length"] = function(socket, length)
  return function()
    if length <= 0 then
      return nil
    end
    local piece, problem = socket:receive(math.min(_M.BLOCKSIZE, length))
    if not piece then
      return nil, problem
    end
    length = length - #piece
    return piece
  end
end

_M.sourcet["until-closed"] = function(socket)
  local rest = ltn12.source.empty()
  local is_open = true
  return function()
    if not is_open then
      return rest()
    end
    local piece, problem, partial = socket:receive(_M.BLOCKSIZE)
    if piece then
      return piece
    end
    if problem ~= "closed" then
      return nil, problem
    end
    is_open = false
    socket:close()
    return partial ~= "" and partial or nil
  end
end

_M.sourcet.default = _M.sourcet["until-closed"]

_M.sink = _M.choose(_M.sinkt)
_M.source = _M.choose(_M.sourcet)

return _M
