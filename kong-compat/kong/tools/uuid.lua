-- UUIDs.

local host = require "silverback.host"

local _M = { uuid = host.uuid }

local HEX = "%x"
local PATTERN = "^" .. HEX:rep(8) .. "%-" .. HEX:rep(4) .. "%-" .. HEX:rep(4) .. "%-" .. HEX:rep(4)
  .. "%-" .. HEX:rep(12) .. "$"

function _M.is_valid_uuid(text)
  return type(text) == "string" and text:find(PATTERN) ~= nil
end

return _M
