-- Numbers as protobuf has them on the wire.

local ffi = require "ffi"
local bit = require "bit"

local char, byte, floor = string.char, string.byte, math.floor
local i64, u64 = ffi.typeof "int64_t", ffi.typeof "uint64_t"
local cell = ffi.new [[
  union { uint8_t bytes[8]; double double_; float float_; uint32_t fixed32; int32_t sfixed32;
          uint64_t fixed64; int64_t sfixed64; }
]]

local _M = {}

-- A whole number as 64 bits.
local function bits_of(value)
  if type(value) == "number" then
    return value < 0 and ffi.cast(u64, ffi.cast(i64, value)) or ffi.cast(u64, value)
  end
  return ffi.cast(u64, value)
end

_M.bits_of = bits_of

function _M.varint(value)
  if type(value) == "number" and value >= 0 and value < 128 and value == floor(value) then
    return char(value)
  end
  local bits, out, n = bits_of(value), {}, 0
  while bits >= 128ULL do
    n = n + 1
    out[n] = char(tonumber(bit.band(bits, 127ULL)) + 128)
    bits = bit.rshift(bits, 7)
  end
  out[n + 1] = char(tonumber(bits))
  return table.concat(out)
end

-- A number from its bytes and where it ends; 64 bits if a double does not hold it.
function _M.read_varint(data, at, last)
  local value, scale = 0, 1
  for i = at, at + 9 do
    local one = i <= last and byte(data, i)
    if not one then
      error("truncated varint at offset " .. at, 0)
    end
    if i - at == 7 then
      value, scale = ffi.cast(u64, value), ffi.cast(u64, scale)
    end
    value = value + (one % 128) * scale
    if one < 128 then
      return value, i + 1
    end
    scale = scale * 128
  end
  error("invalid varint at offset " .. at, 0)
end

function _M.zigzag(value)
  local bits = ffi.cast(i64, bits_of(value))
  return ffi.cast(u64, bit.bxor(bit.lshift(bits, 1), bit.arshift(bits, 63)))
end

local function unzigzag(value)
  local bits = bits_of(value)
  local half = ffi.cast(i64, bit.rshift(bits, 1))
  return tonumber(bit.band(bits, 1ULL) == 0ULL and half or -half - 1)
end

local SIZES = { fixed32 = 4, sfixed32 = 4, float = 4, fixed64 = 8, sfixed64 = 8, double = 8 }
local MEMBERS = {
  fixed32 = "fixed32", sfixed32 = "sfixed32", float = "float_",
  fixed64 = "fixed64", sfixed64 = "sfixed64", double = "double_",
}

_M.SIZES = SIZES

function _M.fixed(kind, value)
  if kind == "fixed64" or kind == "sfixed64" then
    cell.fixed64 = bits_of(value)
  elseif kind == "fixed32" or kind == "sfixed32" then
    cell.fixed32 = tonumber(bit.band(bits_of(value), 0xffffffffULL))
  else
    cell[MEMBERS[kind]] = tonumber(value)
  end
  return ffi.string(cell.bytes, SIZES[kind])
end

function _M.read_fixed(kind, data, at, last, how)
  local size = SIZES[kind]
  if at + size - 1 > last then
    error(("truncated %s at offset %d"):format(kind, at), 0)
  end
  ffi.copy(cell.bytes, data:sub(at, at + size - 1), size)
  if how and size == 8 and kind ~= "double" then
    return _M.exact(cell.fixed64, how, kind == "sfixed64"), at + size
  end
  return tonumber(cell[MEMBERS[kind]]), at + size
end

-- What a varint means in a field of a kind.
local FROM_VARINT = {
  int32 = function(value)
    return tonumber(ffi.cast("int32_t", ffi.cast(i64, bits_of(value))))
  end,
  int64 = function(value)
    return tonumber(ffi.cast(i64, bits_of(value)))
  end,
  uint32 = function(value)
    return tonumber(bit.band(bits_of(value), 0xffffffffULL))
  end,
  uint64 = function(value)
    return tonumber(value)
  end,
  sint32 = unzigzag,
  sint64 = unzigzag,
  bool = function(value)
    return value ~= 0
  end,
}
FROM_VARINT.enum = FROM_VARINT.int32

-- 64 bits that a double does not hold are a text, if the state says so.
local function exact(value, how, signed)
  local bits = bits_of(value)
  if signed then
    bits = ffi.cast(i64, bits)
  end
  local number = tonumber(bits)
  if not how or number >= -2 ^ 31 and number < 2 ^ 32 then
    return number
  elseif how == "hex" then
    return "#0x" .. bit.tohex(bits):gsub("^0+", "")
  end
  return "#" .. tostring(bits):gsub("U?LL$", "")
end

_M.exact = exact

function _M.from_varint(kind, value, how)
  if how and (kind == "int64" or kind == "uint64") then
    return exact(value, how, kind == "int64")
  end
  return FROM_VARINT[kind](value)
end

-- A whole number of Lua's: a number, 64 bits, or a text such as `12`, `#12`, `-0x1f`.
function _M.integer(value)
  if type(value) == "number" then
    return value == floor(value) and value or nil
  elseif type(value) == "cdata" then
    return value
  elseif type(value) ~= "string" then
    return nil
  end
  local sign, hex, digits = value:match "^#?([+-]?)(0[xX])(%x+)$"
  if not hex then
    sign, digits = value:match "^#?([+-]?)(%d+)$"
  end
  if not digits then
    local number = tonumber(value)
    return number and number == floor(number) and number or nil
  end
  local number, base = 0ULL, hex and 16 or 10
  for digit in digits:gmatch "." do
    number = number * base + tonumber(digit, 16)
  end
  return sign == "-" and -ffi.cast(i64, number) or number
end

return _M
