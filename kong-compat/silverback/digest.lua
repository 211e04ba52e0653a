-- An object that collects text and gives its digest: what `resty.sha256` and its likes are.

local host = require "silverback.host"

return function(name)
  local methods = {}
  local meta = { __index = methods }

  function methods:update(text)
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

  return {
    _VERSION = "0.16",
    new = function()
      return setmetatable({ n = 0 }, meta)
    end,
  }
end
