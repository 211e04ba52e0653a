-- SHA-256, in hex and in the base 64 of URLs.

local host = require "silverback.host"

local _M = {}

function _M.sha256_bin(text)
  return host.digest("sha256", text)
end

function _M.sha256_hex(text)
  return require("resty.string").to_hex(host.digest("sha256", text))
end

function _M.sha256_base64(text)
  return ngx.encode_base64(host.digest("sha256", text))
end

function _M.sha256_base64url(text)
  return require("ngx.base64").encode_base64url(host.digest("sha256", text))
end

return _M
