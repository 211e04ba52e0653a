-- Random bytes and texts, fit for secrets.

local host = require "silverback.host"

require "silverback.libc"

local _M = {}

function _M.get_rand_bytes(count)
  return host.random_bytes(count)
end

-- 32 letters and digits.
function _M.random_string()
  local text = ngx.encode_base64(host.random_bytes(24), true)
  return (text:gsub("[+/]", { ["+"] = "A", ["/"] = "B" }))
end

return _M
