-- What OpenResty's Lua has and LuaJIT's own has not.

local tables = require "silverback.tables"

for name, f in pairs(tables) do
  if table[name] == nil then
    table[name] = f
  end
end
for _, name in ipairs { "isempty", "nkeys", "isarray", "clone" } do
  package.preload["table." .. name] = function()
    return table[name]
  end
end

-- Standard output is not for plugins: it may be the access log.
function print(...)
  local parts = { ... }
  for i = 1, select("#", ...) do
    parts[i] = tostring(parts[i])
  end
  ngx.log(ngx.NOTICE, table.concat(parts, "\t"))
end

-- `kong.log.inspect(...)` shows values to whoever writes a plugin.
local shown = true

kong.log.inspect = setmetatable({
  on = function() shown = true end,
  off = function() shown = false end,
}, {
  __call = function(_, ...)
    if shown then
      local inspect = require "inspect"
      local parts = { ... }
      for i = 1, select("#", ...) do
        parts[i] = inspect(parts[i])
      end
      kong.log.notice("\n", table.concat(parts, " "))
    end
  end,
})

-- `kong.log.deprecation(message, { after = "3.0", removal = "4.0" })`.
function kong.log.deprecation(message, options)
  local after = options and options.after and "deprecated after " .. options.after
  local removal = options and options.removal and "scheduled for removal in " .. options.removal
  local parts = {}
  parts[#parts + 1] = after or nil
  parts[#parts + 1] = removal or nil
  local note = #parts > 0 and " (" .. table.concat(parts, ", ") .. ")" or ""
  kong.log.warn(message, note)
end

kong.log.trace = function() end
