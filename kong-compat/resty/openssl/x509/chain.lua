-- The module `resty.openssl.x509.chain`: certificates in a row.

local x509 = require "resty.openssl.x509"

local _M = {}
local mt = {}

mt.__index = function(self, key)
  if type(key) == "number" then
    return rawget(self, "list")[key]
  end
  return _M[key]
end
mt.__len = function(self)
  return #self.list
end
mt.__ipairs = function(self)
  return ipairs(self.list)
end
mt.__pairs = mt.__ipairs

function _M.new()
  return setmetatable({ ctx = true, list = {} }, mt)
end

function _M.istype(object)
  return getmetatable(object) == mt
end

function _M:add(certificate)
  if not x509.istype(certificate) then
    return nil, "x509.chain:add: expect a x509 instance at #1"
  end
  self.list[#self.list + 1] = certificate
  return true
end

function _M:all()
  return { unpack(self.list) }
end

function _M:each()
  return ipairs(self.list)
end

function _M:index(i)
  return self.list[i]
end

function _M:count()
  return #self.list
end

return _M
