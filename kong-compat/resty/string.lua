-- The module `resty.string`.

local _M = { _VERSION = "0.16" }

function _M.to_hex(text)
  if type(text) ~= "string" then
    return nil
  end
  return (text:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end))
end

function _M.atoi(text)
  return tonumber(text)
end

return _M
