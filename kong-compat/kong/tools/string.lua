-- Texts.

local host = require "silverback.host"

local _M = {}

-- True, or false and the position of the first byte that is not UTF-8.
function _M.validate_utf8(text)
  local position = host.utf8_error(tostring(text))
  if position then
    return false, position
  end
  return true
end

return _M
