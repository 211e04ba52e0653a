-- What `/metrics` shows when Kong's own prometheus plugin runs here as Lua: one worker is asked,
-- and writes what the plugin has counted in all of them.

local buffer = require "string.buffer"
local host = require "silverback.cache"

-- So long a question is remembered, in seconds: it is answered once.
local REMEMBERED = 60

host.listen(function(source, name, id)
  if source ~= "silverback" or name ~= "metrics" then
    return
  end
  if not ngx.shared.kong:add("silverback:metrics:" .. id, true, REMEMBERED) then
    return
  end
  local text = buffer.new()
  local exporter = require "kong.plugins.prometheus.exporter"
  local ok, err = pcall(exporter.metric_data, function(data) text:put(data) end)
  if ok then
    host.answer(id, text:tostring())
  else
    ngx.log(ngx.ERR, "prometheus: ", err)
  end
end)

return true
