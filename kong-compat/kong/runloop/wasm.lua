-- WebAssembly filters: there are none.

local _M = {}

function _M.enabled()
  return false
end

return _M
