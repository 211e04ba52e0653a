-- The module `resty.openssl.mac`: HMAC.

local host = require "silverback.host"

local _M = require "silverback.openssl.collect" ("mac", function(self, text)
  return host.hmac(self.algo, self.key, text)
end)

-- `cipher` is for MACs that are not here.
function _M.new(key, kind, cipher, digest)
  if type(kind) ~= "string" or kind:upper() ~= "HMAC" then
    return nil, ("mac.new: invalid mac type \"%s\": error:308010C:digital envelope routines:"
      .. "inner_evp_generic_fetch:unsupported:crypto/evp/evp_fetch.c:375:"):format(tostring(kind))
  elseif not digest or not host.digest(digest, "") then
    return nil, "mac.new: invalid cipher or digest type"
  end
  return _M.wrap { key = key, algo = digest, ctx = true }
end

return _M
