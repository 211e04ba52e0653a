-- LuaSocket's reading of a URL: by position of its separators, with nothing decoded or checked.

local _M = {}

-- Cuts what `pattern` captures out of the text: the rest, and the capture.
local function cut(text, pattern)
  local from, to, capture = text:find(pattern)
  if not from then
    return text
  end
  return text:sub(1, from - 1) .. text:sub(to + 1), capture
end

local function parse_authority(authority, parsed)
  parsed.authority = authority
  authority, parsed.userinfo = cut(authority, "^([^@]*)@")
  authority, parsed.port = cut(authority, ":([^:%]]*)$")
  if parsed.port == "" then
    parsed.port = nil
  end
  if authority ~= "" then
    parsed.host = authority:match("^%[(.+)%]$") or authority
  end
  if parsed.userinfo then
    local user
    user, parsed.password = cut(parsed.userinfo, ":([^:]*)$")
    parsed.user = user
  end
end

-- { scheme, authority, userinfo, user, password, host, port, path, params, query, fragment }.
function _M.parse(url, defaults)
  local parsed = {}
  for name, value in pairs(defaults or parsed) do
    parsed[name] = value
  end
  if not url or url == "" then
    return nil, "invalid url"
  end
  local function take(name, pattern)
    local capture
    url, capture = cut(url, pattern)
    parsed[name] = capture or parsed[name]
  end
  take("fragment", "#(.*)$")
  take("scheme", "^(%w[%w%+%-%.]*):")
  local authority
  url, authority = cut(url, "^//([^/]*)")
  -- The query ends the path, also where there is no path.
  if authority and authority:find("?", 1, true) then
    authority, url = authority:match("^([^?]*)(.*)$")
  end
  take("query", "%?(.*)$")
  take("params", ";(.*)$")
  if url ~= "" then
    parsed.path = url
  end
  if authority then
    parse_authority(authority, parsed)
  end
  return parsed
end

return _M
