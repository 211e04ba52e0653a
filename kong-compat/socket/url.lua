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
  local userinfo, port
  authority, userinfo = cut(authority, "^([^@]*)@")
  authority, port = cut(authority, ":([^:%]]*)$")
  parsed.userinfo, parsed.port = userinfo or parsed.userinfo, port or parsed.port
  if authority ~= "" then
    parsed.host = authority:match("^%[(.+)%]$") or authority
  end
  if userinfo then
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


-- Everything but letters, digits and `_` (LuaSocket is this strict).
function _M.escape(text)
  return (string.gsub(text, "([^A-Za-z0-9_])", function(byte)
    return ("%%%02x"):format(byte:byte())
  end))
end

function _M.unescape(text)
  return (string.gsub(text, "%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end))
end

-- Decoded segments, with the fields `is_absolute` and `is_directory`.
function _M.parse_path(path)
  local parsed = {}
  path = path or ""
  for segment in path:gmatch("[^/]+") do
    parsed[#parsed + 1] = _M.unescape(segment)
  end
  parsed.is_absolute = path:sub(1, 1) == "/" and 1 or nil
  parsed.is_directory = path:sub(-1) == "/" and 1 or nil
  return parsed
end

-- What may stand in a segment as it is (RFC 2396).
local function escape_segment(segment)
  return (segment:gsub("([^A-Za-z0-9%-_%.!~%*'%(%):@&=%+%$,])", function(byte)
    return ("%%%02x"):format(byte:byte())
  end))
end

-- The other way round; with `unsafe` nothing is encoded.
function _M.build_path(parsed, unsafe)
  local segments = {}
  for i, segment in ipairs(parsed) do
    segments[i] = unsafe and segment or escape_segment(segment)
  end
  local path = table.concat(segments, "/")
  if #segments > 0 and parsed.is_directory then
    path = path .. "/"
  end
  return parsed.is_absolute and "/" .. path or path
end

function _M.build(parsed)
  local url = parsed.path or ""
  url = parsed.params and url .. ";" .. parsed.params or url
  url = parsed.query and url .. "?" .. parsed.query or url
  local authority = parsed.authority
  if parsed.host then
    authority = parsed.host:find(":", 1, true) and "[" .. parsed.host .. "]" or parsed.host
    authority = parsed.port and authority .. ":" .. parsed.port or authority
    local user = parsed.userinfo
    if not user and parsed.user then
      user = parsed.password and parsed.user .. ":" .. parsed.password or parsed.user
    end
    authority = user and user .. "@" .. authority or authority
  end
  url = authority and "//" .. authority .. url or url
  url = parsed.scheme and parsed.scheme .. ":" .. url or url
  return parsed.fragment and url .. "#" .. parsed.fragment or url
end

-- A path without `.` and `..` (RFC 3986, section 5.2.4).
local function without_dots(path)
  local kept, last = {}, nil
  for segment in path:gmatch("[^/]+") do
    last = segment
    if segment == ".." then
      kept[#kept] = nil
    elseif segment ~= "." then
      kept[#kept + 1] = segment
    end
  end
  local is_folder = path:sub(-1) == "/" or last == "." or last == ".."
  local root = path:sub(1, 1) == "/" and "/" or ""
  return root .. table.concat(kept, "/") .. (is_folder and #kept > 0 and "/" or "")
end

local function merged(base, relative)
  if relative:sub(1, 1) == "/" then
    return without_dots(relative)
  end
  local path = without_dots((base.path or ""):gsub("[^/]*$", "") .. relative)
  return base.authority and path:sub(1, 1) ~= "/" and "/" .. path or path
end

-- Where a link leads that stands in a document.
function _M.absolute(base, relative)
  local parsed_base = type(base) == "table" and base or _M.parse(base)
  local parsed = _M.parse(relative)
  if parsed_base and not parsed then
    return type(base) == "table" and _M.build(base) or base
  end
  base = parsed_base
  if not base or parsed.scheme then
    return relative
  end
  parsed.scheme = base.scheme
  if not parsed.authority then
    parsed.authority = base.authority
    if parsed.path then
      parsed.path = merged(base, parsed.path)
    else
      parsed.path = base.path
      if not parsed.params then
        parsed.params = base.params
        parsed.query = parsed.query or base.query
      end
    end
  end
  return _M.build(parsed)
end

return _M
