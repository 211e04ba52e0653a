-- The old name of all tools together.

local PARTS = {
  "http", "ip", "module", "rand", "sha256", "string", "table", "time", "uri", "uuid", "yield",
}

return setmetatable({}, {
  __index = function(self, name)
    for _, part in ipairs(PARTS) do
      local found = require("kong.tools." .. part)[name]
      if found ~= nil then
        rawset(self, name, found)
        return found
      end
    end
  end,
})
