-- The module `resty.openssl.x509.altname`: alternative names of a certificate.

local der = require "silverback.openssl.der"
local host = require "silverback.host"

local _M = {}

-- How a name is written by its tag: what it is called, and its content as text.
local function ip(content)
  if #content == 4 then
    return table.concat({ content:byte(1, 4) }, ".")
  end
  return host.ip_text(content) or ""
end

local function same(content)
  return content
end

local kinds = {
  [0x81] = { "email", same }, [0x82] = { "DNS", same }, [0x86] = { "URI", same },
  [0x87] = { "IP", ip },
  [0xa0] = { "OtherName", function() return "OtherName:<unsupported>" end },
  [0xa3] = { "X400Name", function() return "X400:<unsupported>" end },
  [0xa4] = { "DirName", function(content)
    return require("resty.openssl.x509.name").from_der(content)
  end },
  [0xa5] = { "EdiPartyName", function() return "EdiParty:<unsupported>" end },
  [0x88] = { "RID", function() return "RID:<unsupported>" end },
}
local tags = { email = 0x81, rfc822name = 0x81, rfc822 = 0x81, dns = 0x82, dnsname = 0x82,
  uri = 0x86, uniformresourceidentifier = 0x86, ip = 0x87, ipaddress = 0x87 }

local function view(name)
  local kind = kinds[name.tag]
  if kind then
    return kind[1], kind[2](name.content)
  end
end

local function each(self)
  local i = 0
  return function()
    i = i + 1
    if self.names[i] then
      return view(self.names[i])
    end
  end
end

local mt = {}

mt.__index = function(self, key)
  if type(key) == "number" then
    local name = rawget(self, "names")[key]
    return name and { view(name) }
  end
  return _M[key]
end
mt.__len = function(self)
  return #self.names
end
mt.__pairs = each
mt.__ipairs = function(self)
  return function(_, i)
    i = i + 1
    local name = self[i]
    if name then
      return i, name
    end
  end, self, 0
end

-- The names that the content of an extension holds; nil if it holds none.
function _M.from_der(bytes)
  local names = der.all(der.take(bytes, 1, der.SEQUENCE) or "\0")
  return names and setmetatable({ ctx = true, names = names }, mt)
end

function _M:to_der()
  local names = {}
  for i, name in ipairs(self.names) do
    names[i] = der.write(name.tag, name.content)
  end
  return der.sequence(table.concat(names))
end

function _M.new()
  return setmetatable({ ctx = true, names = {} }, mt)
end

function _M.istype(object)
  return getmetatable(object) == mt
end

function _M:add(kind, value)
  if type(kind) ~= "string" then
    return nil, "x509.altname:gn_set: expect a string at #1"
  elseif type(value) ~= "string" then
    return nil, "x509.altname:gn_set: except a string at #2"
  end
  local tag = tags[kind:lower()]
  if not tag then
    return nil, "x509.altname:gn_set: unknown type " .. kind
  end
  if tag == 0x87 then
    local bytes = host.ip_bytes(value)
    if not bytes then
      return nil, "x509.altname:gn_set: invalid IP address " .. value
    end
    value = bytes
  end
  self.names[#self.names + 1] = { tag = tag, content = value }
  return self
end

_M.each = each

function _M:all()
  local found = {}
  for kind, value in each(self) do
    found[kind] = value
  end
  return found
end

function _M:count()
  return #self.names
end

function _M:index(i)
  return self[i]
end

function _M:tostring()
  local texts = {}
  for kind, value in each(self) do
    texts[#texts + 1] = kind .. "=" .. tostring(value)
  end
  table.sort(texts)
  return table.concat(texts, "/")
end
mt.__tostring = _M.tostring

return _M
