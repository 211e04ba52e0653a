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
  local head = tostring(text):match("^.*%S")
  return head and head:match("^%s*(.*)$") or ""
end

-- Pieces and how many; without a separator the whole.
local function pieces_of(text, separator, limit, plain)
  limit = limit or math.huge
  if limit < 1 or text == nil then
    return {}, 0
  elseif limit == 1 or separator == nil then
    return { text }, 1
  end
  -- A number counts as its text, as for the functions of `string`.
  text = type(text) == "number" and tostring(text) or text
  local pieces, from = {}, 1
  if separator == "" then
    pieces[1] = ""
    for i = 1, math.min(#text, limit - 2) do
      pieces[i + 1] = text:sub(i, i)
    end
    from = #pieces
  end
  while separator ~= "" and #pieces < limit - 1 do
    local first, last = text:find(separator, from, plain)
    if not first then
      break
    end
    pieces[#pieces + 1] = text:sub(from, first - 1)
    from = last + 1
  end
  pieces[#pieces + 1] = text:sub(from)
  return pieces, #pieces
end

-- At a separator, which is plain text.
function _M.splitn(text, separator, limit)
  return pieces_of(text, separator, limit, true)
end

-- At a Lua pattern.
function _M.psplitn(text, pattern, limit)
  return pieces_of(text, pattern, limit, false)
end

local function iterator(split)
  return function(...)
    local pieces = split(...)
    local i = 0
    return function()
      i = i + 1
      return pieces[i]
    end
  end
end

_M.isplitn = iterator(_M.splitn)
_M.ipsplitn = iterator(_M.psplitn)

-- Pieces between a separator; without one, between blanks.
function _M.split(text, separator, limit)
  return require("pl.stringx").split(text, separator, limit)
end

local function halves(text, separator, plain)
  if text == nil or separator == nil then
    return text, nil
  elseif separator == "" then
    return "", text
  end
  local first, last = string.find(text, separator, 1, plain)
  if not first then
    return text, nil
  end
  return string.sub(text, 1, first - 1), string.sub(text, last + 1)
end

-- The two sides of the first separator.
function _M.split_once(text, separator)
  return halves(text, separator, true)
end

function _M.psplit_once(text, pattern)
  return halves(text, pattern, false)
end

function _M.join(separator, list)
  return require("pl.stringx").join(separator, list)
end

function _M.replace_dashes(text)
  if not string.find(text, "-", 1, true) then
    return text
  end
  return (string.gsub(text, "-", "_"))
end

function _M.replace_dashes_lower(text)
  return string.lower(_M.replace_dashes(text))
end

local UNITS = { k = 2 ^ 10, m = 2 ^ 20, g = 2 ^ 30 }

-- `2.50 MiB` of a number of bytes.
function _M.bytes_to_str(bytes, unit, scale)
  if unit and type(unit) ~= "string" then
    error("unit must be a string", 2)
  end
  local kind = unit and unit:lower() or "b"
  if kind == "b" or kind == "" then
    return ("%d"):format(bytes)
  end
  scale = scale or 2
  if type(scale) ~= "number" or scale < 0 then
    error("scale must be equal or greater than 0", 2)
  elseif not UNITS[kind] then
    error(("invalid unit '%s' (expected 'k/K', 'm/M', or 'g/G')"):format(unit), 2)
  end
  return (("%%.%df %%siB"):format(scale)):format(bytes / UNITS[kind], kind:upper())
end

-- Bytes from a size as nginx writes it: `8k`.
function _M.parse_ngx_size(text)
  assert(type(text) == "string", "Parameter #1 must be a string")
  local digits, unit = text:match("^(.-)([kKmMgG]?)$")
  return (tonumber(digits) or 0) * (UNITS[unit:lower()] or 1)
end

local function decoded(value)
  if type(value) ~= "string" then
    return nil
  end
  return ngx.decode_base64(value) or require("ngx.base64").decode_base64url(value)
end

-- A text, or the texts of a list, out of base 64; those that are not in it stay.
function _M.try_decode_base64(value)
  if type(value) ~= "table" then
    return decoded(value) or value
  end
  for i, one in ipairs(value) do
    value[i] = decoded(one) or one
  end
  return value
end

return _M
