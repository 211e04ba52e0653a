-- The module `ngx.semaphore`: light threads wait for each other.

local host = require "silverback.semaphore"

local methods = {}

function methods:wait(seconds)
  seconds = tonumber(seconds)
  if not seconds then
    error("attempt to perform arithmetic on a nil value", 2)
  elseif seconds < 0 then
    error("no negative number", 2)
  end
  return host.wait(self.handle, seconds)
end

function methods:post(count)
  if (tonumber(count) or 1) < 1 then
    error("positive number required", 2)
  end
  return host.post(self.handle, count)
end

function methods:count()
  return host.count(self.handle)
end

local meta = { __index = methods }

return {
  version = "0.1",
  new = function(count)
    count = tonumber(count) or 0
    if count < 0 then
      error("no negative number", 2)
    end
    return setmetatable({ handle = host.new(count) }, meta)
  end,
}
