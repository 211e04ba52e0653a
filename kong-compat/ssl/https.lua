-- LuaSec's HTTPS client. As there, a certificate is checked where `verify` is "peer"; the
-- authorities are those of `lua_ssl_trusted_certificate`, whatever `cafile` says.

local http = require "socket.http"
local url = require "socket.url"

local _M = { _VERSION = "1.3.2", PORT = 443, TIMEOUT = 60 }

-- TLS in any case: what is asked for here does not go out in plain text.
local function secure(target)
  local parts = url.parse(target, { port = _M.PORT })
  parts.scheme = "https"
  return url.build(parts)
end

function _M.request(request, body)
  local pieces
  if type(request) == "string" then
    request = http.genericform(request, body)
    pieces = request.target
  end
  if http.PROXY or request.proxy then
    return nil, "proxy not supported"
  end
  if request.redirect then
    return nil, "redirect not supported"
  end
  if request.create then
    return nil, "create function not permitted"
  end
  request.url = secure(request.url)
  local ok, code, headers, status = http.request(request)
  if ok and pieces then
    return table.concat(pieces), code, headers, status
  end
  return ok, code, headers, status
end

return _M
