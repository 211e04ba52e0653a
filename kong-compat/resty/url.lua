-- Parts of URLs: `lua-resty-url`.

local _M = { _VERSION = "0.3.4", ports = { https = 443, http = 80 } }

local URL = [[^(?:(\w+):)?//(?:([^:@]+)?(?::([^@]+)?)?@)?]]
  .. [[([a-z.\-\d_]+|\[[a-f0-9:]+\])(?::(\d+))?(.*)$]]

function _M.default_port(scheme)
  return _M.ports[scheme]
end

-- The scheme and what follows its colon.
function _M.scheme(url)
  return url:match("^([^:]*):(.*)$")
end

-- A list of scheme, user, password, host, port and path.
function _M.split(url, protocol)
  if not url then
    return nil, "missing endpoint"
  end
  local scheme, opaque = _M.scheme(url)
  if not scheme then
    return nil, "missing scheme"
  elseif protocol and not ngx.re.match(scheme, protocol, "oj") then
    return nil, "invalid protocol"
  end
  local parts = ngx.re.match(url, URL, "joi")
  if parts then
    parts[0] = nil
    if parts[6] == "" or parts[6] == "/" then
      parts[6] = nil
    end
    return parts
  elseif scheme:lower() == "http" or scheme:lower() == "https" then
    return nil, "invalid endpoint"
  end
  return { scheme, opaque = opaque }
end

function _M.parse(url, protocol)
  local parts, err = _M.split(url, protocol)
  if not parts then
    return nil, err
  end
  return setmetatable({
    scheme = parts[1] or nil, user = parts[2] or nil, password = parts[3] or nil,
    host = parts[4] or nil, port = tonumber(parts[5] or nil), path = parts[6] or nil,
    opaque = parts.opaque,
  }, { __tostring = function() return url end })
end

-- Several slashes become one, but for those behind the scheme.
function _M.normalize(url)
  local scheme, rest = url:match("^(%a[%w+.-]*:/)(.*)$")
  if not scheme then
    return (url:gsub("/+", "/"))
  end
  local slashes, path = rest:match("^(/*)(.*)$")
  local keep = scheme:sub(-6) == "file:/" and "//" or "/"
  return scheme .. (slashes ~= "" and keep or "") .. path:gsub("/+", "/")
end

function _M.join(...)
  local parts = { ... }
  for i = 1, select("#", ...) do
    parts[i] = tostring(parts[i])
  end
  return _M.normalize(table.concat(parts, "/"))
end

return _M
