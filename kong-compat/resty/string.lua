-- The module `resty.string`.

local _M = { _VERSION = "0.16" }

-- In OpenResty the text goes to C with its length.
local function check(text)
  if type(text) ~= "string" then
    error(("attempt to get length of local 's' (a %s value)"):format(type(text)), 3)
  end
end

function _M.to_hex(text)
  check(text)
  return (text:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end))
end

-- A whole number; -1 for a text that is none (nginx).
function _M.atoi(text)
  check(text)
  return text:find("^%d+$") and tonumber(text) or -1
end

return _M
