-- Tables that requests share one after the other, with a method that empties them.

local clear = require "table.clear"
local new_table = require "table.new"

local meta = {
  __index = { clear = clear },
  __newindex = function(self, key, value)
    if key == "clear" then
      error("cannot set the 'clear' method of request aware table", 2)
    end
    rawset(self, key, value)
  end,
}

return {
  new = function(array, hash)
    return setmetatable(new_table(array or 0, hash or 0), meta)
  end,
}
