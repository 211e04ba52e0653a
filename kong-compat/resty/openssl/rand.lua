-- The module `resty.openssl.rand`.

local host = require "silverback.host"

local _M = {}

function _M.bytes(length, private, strength)
  if type(length) ~= "number" then
    return nil, "rand.bytes: expect a number at #1"
  elseif strength and type(strength) ~= "number" then
    return nil, "rand.bytes: expect a number at #3"
  end
  return host.random_bytes(length)
end

return _M
