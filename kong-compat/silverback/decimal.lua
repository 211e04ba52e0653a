-- Whole numbers of any length: decimal texts from bytes, and bytes from decimal texts.

local _M = {}

-- The number in another base: digits of the old one in, those of the new one out.
local function rebase(digits, from, to)
  local made = {}
  while #digits > 0 do
    local rest, quotient = 0, {}
    for _, digit in ipairs(digits) do
      rest = rest * from + digit
      local whole = math.floor(rest / to)
      rest = rest - whole * to
      if #quotient > 0 or whole > 0 then
        quotient[#quotient + 1] = whole
      end
    end
    table.insert(made, 1, rest)
    digits = quotient
  end
  return made
end

function _M.from_bytes(bytes)
  local digits = rebase({ bytes:byte(1, -1) }, 256, 10)
  return #digits > 0 and table.concat(digits) or "0"
end

-- Without leading zero bytes; empty for 0.
function _M.to_bytes(text)
  local digits = {}
  for digit in text:gmatch("%d") do
    digits[#digits + 1] = tonumber(digit)
  end
  local bytes = rebase(digits, 10, 256)
  local first = 1
  while bytes[first] == 0 do
    first = first + 1
  end
  return string.char(unpack(bytes, first))
end

return _M
