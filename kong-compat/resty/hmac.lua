-- The module `resty.hmac` of lua-resty-hmac, which calls OpenSSL's C functions elsewhere.

local to_hex = require("resty.string").to_hex
local openssl = require "resty.openssl.hmac"

local _M = {
  _VERSION = "0.06",
  ALGOS = { MD5 = "md5", SHA1 = "sha1", SHA256 = "sha256", SHA384 = "sha384", SHA512 = "sha512" },
}
local mt = { __index = _M }

function _M:new(key, name)
  local hmac = openssl.new(key, name or "md5")
  return hmac and setmetatable({ _ctx = hmac }, mt)
end

function _M:update(text)
  return self._ctx:update(text) == true
end

function _M:final(text, hex)
  local tag = self._ctx:final(text)
  return tag and hex == true and to_hex(tag) or tag
end

function _M:reset()
  return self._ctx:reset()
end

return _M
