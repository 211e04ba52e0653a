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

-- A text without blanks around it.
function _M.strip(text)
  if text == nil then
    return ""
  end
  return (tostring(text):match("^%s*(.-)%s*$"))
end

-- Pieces between a separator, which is plain text; without one, between blanks.
function _M.split(text, separator, limit)
  local pieces = {}
  if separator == nil then
    for piece in text:gmatch("%S+") do
      pieces[#pieces + 1] = piece
    end
    return pieces
  end
  local from = 1
  while not limit or #pieces < limit - 1 do
    local first, last = text:find(separator, from, true)
    if not first or last < first then
      break
    end
    pieces[#pieces + 1] = text:sub(from, first - 1)
    from = last + 1
  end
  pieces[#pieces + 1] = text:sub(from)
  return pieces
end

_M.splitn = function(text, separator, limit)
  local pieces = _M.split(text, separator, limit)
  return pieces, #pieces
end

-- The two sides of the first separator.
function _M.split_once(text, separator)
  local first, last = text:find(separator, 1, true)
  if not first then
    return text
  end
  return text:sub(1, first - 1), text:sub(last + 1)
end

function _M.join(separator, list)
  return table.concat(list, separator)
end

function _M.replace_dashes(text)
  return (text:gsub("-", "_"))
end

function _M.replace_dashes_lower(text)
  return (text:gsub("-", "_"):lower())
end

local UNITS = { k = 2 ^ 10, m = 2 ^ 20, g = 2 ^ 30 }

-- `2.50 MiB` of a number of bytes.
function _M.bytes_to_str(bytes, unit, scale)
  if unit and type(unit) ~= "string" then
    error("unit must be a string", 2)
  end
  unit = unit and unit:lower() or "b"
  if unit == "b" or unit == "" then
    return ("%d"):format(bytes)
  end
  if not UNITS[unit] then
    error(("invalid unit '%s' (expected 'k/K', 'm/M', or 'g/G')"):format(unit), 2)
  end
  return ("%." .. (scale or 2) .. "f %siB"):format(bytes / UNITS[unit], unit:upper())
end

return _M
