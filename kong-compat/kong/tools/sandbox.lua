-- Lua code in configuration: here only whether it compiles. Nothing of it is run.

local _M = {}

function _M.validate_safe(code)
  local chunk, err = loadstring(code)
  if not chunk then
    return false, "Error parsing function: " .. err
  end
  return true
end

return _M
