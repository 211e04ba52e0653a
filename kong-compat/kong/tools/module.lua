-- Modules that need not be there.

local _M = {}

-- Whether there is one, and it; false and why not. One that is there and fails is an error.
function _M.load_module_if_exists(name)
  local ok, module = xpcall(require, debug.traceback, name)
  if ok then
    return true, module
  elseif type(module) == "string" and module:find("module '" .. name .. "' not found", 1, true) then
    return false, module
  end
  error("error loading module '" .. name .. "':\n" .. tostring(module))
end

return _M
