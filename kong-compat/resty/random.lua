-- The module `resty.random`: all its bytes are fit for secrets.

local host = require "silverback.host"

local _M = { _VERSION = "0.16" }

function _M.bytes(count)
  if type(count) ~= "number" then
    local told = "bad argument #2 to 'RAND_bytes' (cannot convert '%s' to 'int')"
    error(told:format(type(count)), 2)
  end
  return host.random_bytes(count)
end

-- A whole number between two, each as likely as any other.
function _M.number(from, to)
  local range = to - from + 1
  assert(range >= 1 and range <= 2 ^ 48, "interval is empty or too wide")
  local limit = 2 ^ 48 - 2 ^ 48 % range
  while true do
    local number = 0
    for _, byte in ipairs { host.random_bytes(6):byte(1, 6) } do
      number = number * 256 + byte
    end
    if number < limit then
      return from + number % range
    end
  end
end

function _M.token(count, alphabet)
  alphabet = alphabet or "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
  assert(#alphabet >= 1 and #alphabet <= 256, "alphabet is empty or too long")
  -- Bytes behind the last whole round of the alphabet would favour its beginning.
  local limit, token = 256 - 256 % #alphabet, {}
  while #token < count do
    local bytes = host.random_bytes(math.min(count - #token, 4096))
    for i = 1, #bytes do
      local byte = bytes:byte(i)
      if byte < limit then
        local at = byte % #alphabet + 1
        token[#token + 1] = alphabet:sub(at, at)
      end
    end
  end
  return table.concat(token)
end

return _M
