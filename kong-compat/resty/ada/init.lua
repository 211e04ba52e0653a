-- URLs as browsers read them: `lua-resty-ada`.

local host = require "silverback.host"
local search = require "resty.ada.search"

local _M = { _VERSION = "1.1.0" }
local methods = {}
local meta = { __index = methods }

local function check(text, what)
  assert(type(text) == "string", "invalid " .. what)
end

local function new(href)
  return setmetatable({ href }, meta)
end

function _M.parse(url)
  check(url, "url")
  local href = host.url_parse(url)
  if not href then
    return nil, "invalid url"
  end
  return new(href)
end

function _M.parse_with_base(url, base)
  check(url, "url")
  check(base, "base")
  local href = host.url_parse(url, base)
  if not href then
    return nil, "invalid url or base"
  end
  return new(href)
end

function _M.can_parse(url)
  check(url, "url")
  return host.url_parse(url) ~= nil
end

function _M.can_parse_with_base(url, base)
  check(url, "url")
  check(base, "base")
  return host.url_parse(url, base) ~= nil
end

function _M.idna_to_ascii(domain)
  check(domain, "domain")
  return host.domain_to_ascii(domain)
end

function _M.idna_to_unicode(domain)
  check(domain, "domain")
  return host.domain_to_unicode(domain)
end

local PARTS = {
  "protocol", "username", "password", "origin", "host", "hostname", "port", "pathname", "search",
  "hash",
}

for _, part in ipairs(PARTS) do
  methods["get_" .. part] = function(self)
    local value = host.url_part(self[1], part)
    return part == "port" and tonumber(value) or value
  end
  if part ~= "origin" then
    methods["set_" .. part] = function(self, value)
      if part == "port" and type(value) == "number" then
        assert(value % 1 == 0, "invalid port")
        value = ("%d"):format(value)
      end
      check(value, part)
      local href = host.url_changed(self[1], part, value)
      if not href or part == "pathname" and not self[1]:find("^[^:]+:/") then
        return nil, "unable to set " .. part
      end
      self[1] = href
      return self
    end
  end
  if part == "port" or part == "search" or part == "hash" then
    methods["has_" .. part] = function(self)
      return host.url_part(self[1], part) ~= ""
    end
    methods["clear_" .. part] = function(self)
      self[1] = host.url_changed(self[1], part, "") or self[1]
      return self
    end
  end
end

function methods:get_href()
  return self[1]
end

function methods:set_href(href)
  check(href, "href")
  local new_href = host.url_parse(href)
  if not new_href then
    return nil, "unable to set href"
  end
  self[1] = new_href
  return self
end

local SCHEMES = { ["http:"] = 0, ["https:"] = 2, ["ws:"] = 3, ["ftp:"] = 4, ["wss:"] = 5,
  ["file:"] = 6 }

function methods:get_scheme_type()
  return SCHEMES[self:get_protocol()] or 1
end

-- 0 for names, 1 for IPv4, 2 for IPv6.
function methods:get_host_type()
  local name = self:get_hostname()
  if name:sub(1, 1) == "[" then
    return 2
  end
  return name:find("^%d+%.%d+%.%d+%.%d+$") and 1 or 0
end

function methods:has_non_empty_username()
  return self:get_username() ~= ""
end

function methods:has_non_empty_password()
  return self:get_password() ~= ""
end

methods.has_password = methods.has_non_empty_password

function methods:has_credentials()
  return self:has_non_empty_username() or self:has_password()
end

function methods:has_hostname()
  return self[1]:find("^[^:]+://") ~= nil
end

function methods:has_empty_hostname()
  return self:has_hostname() and self:get_hostname() == ""
end

function methods:decode()
  local parts = { scheme_type = self:get_scheme_type(), host_type = self:get_host_type() }
  for _, part in ipairs(PARTS) do
    parts[part] = methods["get_" .. part](self)
  end
  return parts
end

-- What is done to the query.
for _, name in ipairs { "set", "append", "remove", "remove_value", "sort" } do
  methods["search_" .. name] = function(self, ...)
    return self:set_search(search[name](self:get_search(), ...))
  end
end
for _, name in ipairs {
  "parse", "decode", "decode_all", "has", "has_value", "get", "get_all", "size", "each", "each_key",
  "each_value", "pairs", "ipairs",
} do
  methods["search_" .. name] = function(self, ...)
    return search[name](self:get_search(), ...)
  end
end

methods.tostring = methods.get_href
meta.__tostring = methods.get_href
meta.__len = function(self) return #self[1] end

function methods:free()
  setmetatable(self, nil)
  self[1] = nil
end

-- The same for texts: what changes a URL returns it as a text.
for name, method in pairs(methods) do
  if _M[name] == nil and name ~= "tostring" and name ~= "free" then
    _M[name] = function(url, ...)
      local parsed, err = _M.parse(url)
      if not parsed then
        return nil, err
      end
      local result
      result, err = method(parsed, ...)
      if result == parsed then
        return parsed[1]
      end
      return result, err
    end
  end
end

function _M.search_encode(url)
  local query, err = _M.get_search(url)
  if not query then
    return nil, err
  end
  return search.encode(query)
end

_M.search = search

return _M
