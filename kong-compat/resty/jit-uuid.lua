-- UUIDs of version 4, and whether a text is one.

local uuid = require "kong.tools.uuid"

local _M = { _VERSION = "0.0.7" }

-- Randomness is the system's; there is nothing to seed.
function _M.seed(seed)
  return seed or 0
end

function _M.generate_v4()
  return uuid.uuid()
end

function _M.is_valid(text)
  return type(text) == "string" and uuid.is_valid_uuid(text)
end

return setmetatable(_M, { __call = function() return uuid.uuid() end })
