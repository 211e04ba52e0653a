-- The module `resty.openssl.digest`.

local host = require "silverback.host"

local _M = require "silverback.openssl.collect" ("digest", function(self, text)
  return self.algo == "null" and "" or host.digest(self.algo, text)
end)

function _M.new(name)
  if name ~= nil and (type(name) ~= "string" or name ~= "null" and not host.digest(name, "")) then
    return nil, ("digest.new: invalid digest type \"%s\": error:308010C:digital envelope routines:"
      .. "inner_evp_generic_fetch:unsupported:crypto/evp/evp_fetch.c:375:"):format(tostring(name))
  end
  name = name or "sha1"
  return _M.wrap { algo = name, ctx = name }
end

return _M
