-- SHA-256, in hex and in the base 64 of URLs.

local host = require "silverback.host"

local _M = {}

-- Nothing is the empty text (lua-resty-openssl).
local function digest(text)
  return host.digest("sha256", text or "")
end

function _M.sha256_bin(text)
  return digest(text)
end

function _M.sha256_hex(text)
  return require("resty.string").to_hex(digest(text))
end

function _M.sha256_base64(text)
  return ngx.encode_base64(digest(text))
end

function _M.sha256_base64url(text)
  return require("ngx.base64").encode_base64url(digest(text))
end

return _M
