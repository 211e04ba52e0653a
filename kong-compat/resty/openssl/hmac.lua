-- The module `resty.openssl.hmac`.

local host = require "silverback.host"

local _M = require "silverback.openssl.collect" ("hmac", function(self, text)
  return host.hmac(self.algo, self.key, text)
end)

function _M.new(key, name)
  if type(key) ~= "string" then
    error(("attempt to get length of local 'key' (a %s value)"):format(type(key)), 2)
  end
  if name ~= nil and not host.digest(name, "") then
    return nil, ("hmac.new: invalid digest type \"%s\""):format(tostring(name))
  end
  return _M.wrap { key = key, algo = name or "sha1", ctx = true }
end

return _M
