-- The module `resty.random`: all its bytes are fit for secrets.

local host = require "silverback.host"

local _M = { _VERSION = "0.16" }

function _M.bytes(count)
  return host.random_bytes(count)
end

function _M.number(from, to)
  return math.random(from, to)
end

function _M.token(count, alphabet)
  alphabet = alphabet or "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
  local token = {}
  for i, byte in ipairs { host.random_bytes(count):byte(1, -1) } do
    local at = byte % #alphabet + 1
    token[i] = alphabet:sub(at, at)
  end
  return table.concat(token)
end

return _M
