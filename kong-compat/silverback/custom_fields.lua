-- Runs the code of `custom_fields_by_lua` and puts what it returns into the log record.

local sandbox = require("kong.tools.sandbox").sandbox

local _M = {}

function _M.set(fields)
  local set_serialize_value = kong.log.set_serialize_value
  for key, code in pairs(fields) do
    set_serialize_value(key, sandbox(code)())
  end
end

return _M
