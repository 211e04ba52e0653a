-- An object that collects text and gives its digest: what `resty.sha256` and its likes are.

local host = require "silverback.host"

return function(name)
  local methods = {}
  local meta = { __index = methods }

  function methods:update(text, length)
    if not length and type(text) ~= "string" then
      error(("attempt to get length of local 's' (a %s value)"):format(type(text)), 2)
    end
    text = length and text:sub(1, length) or text
    local n = self.n + 1
    self.n = n
    self[n] = text
    return true
  end

  function methods:final()
    return host.digest(name, table.concat(self, "", 1, self.n))
  end

  function methods:reset()
    self.n = 0
    return true
  end

  methods._VERSION = "0.16"

  function methods.new()
    return setmetatable({ n = 0 }, meta)
  end

  return methods
end
