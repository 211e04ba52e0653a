-- Binary data from values and back, by the letters of Kong's C module `lua_pack`.

local ffi = require "ffi"

local _M = {}

-- Letters of numbers, and of texts behind their length.
local NUMBERS = {
  n = "double", d = "double", f = "float", c = "int8_t", C = "uint8_t", s = "int16_t",
  S = "uint16_t", i = "int32_t", I = "uint32_t", l = "int64_t", L = "uint64_t",
}
local LENGTHS = { p = "uint8_t", P = "uint16_t", a = "uint64_t" }

local function array_of(types)
  local made = {}
  for letter, name in pairs(types) do
    made[letter] = { ffi.typeof(name .. "[1]"), ffi.sizeof(name), name }
  end
  return made
end

NUMBERS, LENGTHS = array_of(NUMBERS), array_of(LENGTHS)

-- Whether bytes have to be turned round.
local function swaps(letter)
  if letter == "<" then
    return not ffi.abi("le")
  end
  return letter == ">" and ffi.abi("le")
end

local function bytes_of(kind, value, swap)
  if kind[3]:find("^u?int") then
    -- C cuts what is too long; LuaJIT leaves that open for doubles.
    value = ffi.cast("int64_t", value)
  end
  local bytes = ffi.string(kind[1](value), kind[2])
  return swap and bytes:reverse() or bytes
end

local function number_of(kind, bytes, swap)
  local cell = kind[1]()
  ffi.copy(cell, swap and bytes:reverse() or bytes, kind[2])
  return tonumber(cell[0])
end

-- Letters with how often they are wanted; nil where no number is given.
local function letters(format)
  return format:gmatch("(.)(%d*)")
end

local function bad_code(letter)
  error(("bad argument #1 to '?' (bad code '%s')"):format(letter), 3)
end

local BITS = {}
for byte = 0, 255 do
  local bits = {}
  for i = 7, 0, -1 do
    bits[#bits + 1] = bit.band(bit.rshift(byte, i), 1)
  end
  BITS[string.char(byte)] = table.concat(bits)
end

local function from_bits(text)
  return (text:gsub("..?.?.?.?.?.?.?", function(eight)
    local byte = 0
    for i = 1, 8 do
      local digit = i <= #eight and eight:byte(i) ~= 48 and 1 or 0
      byte = byte * 2 + digit
    end
    return string.char(byte)
  end))
end

local function from_hex(text)
  text = text:gsub("%X", "")
  return (text:gsub("..?", function(pair)
    return string.char(tonumber(#pair == 2 and pair or pair .. "0", 16))
  end))
end

local TEXTS = {
  A = function(text) return text end,
  z = function(text) return text .. "\0" end,
  B = from_bits,
  X = from_hex,
}

-- A text of the values, as the format says.
function _M.pack(format, ...)
  local values, at, swap, parts = { ... }, 1, false, {}
  for letter, count in letters(format) do
    for _ = 1, tonumber(count) or 1 do
      local part = ""
      if letter == "<" or letter == ">" or letter == "=" then
        swap = swaps(letter)
      elseif letter == "x" then
        part = "\0"
      elseif not letter:find("[ ,]") then
        local value = values[at]
        at = at + 1
        if value == nil then
          error(("bad argument #%d to 'pack' (no value)"):format(at), 2)
        elseif NUMBERS[letter] then
          part = bytes_of(NUMBERS[letter], assert(tonumber(value), "number expected"), swap)
        elseif LENGTHS[letter] then
          part = bytes_of(LENGTHS[letter], #value, swap) .. value
        elseif TEXTS[letter] then
          part = TEXTS[letter](tostring(value))
        else
          bad_code(letter)
        end
      end
      parts[#parts + 1] = part
    end
  end
  return table.concat(parts)
end

-- Readers of letters whose number is a length: the value, or nil if the text is too short.
local RUNS = {
  A = function(bytes) return bytes end,
  B = function(bytes) return (bytes:gsub(".", BITS)) end,
  X = function(bytes)
    return (bytes:gsub(".", function(byte) return ("%02X"):format(byte:byte()) end))
  end,
}

-- The value at a position and the position behind it; nothing if the text is too short.
local function read(letter, text, at, swap)
  local kind = NUMBERS[letter] or LENGTHS[letter]
  if letter == "z" then
    if at > #text then
      return
    end
    local last = text:find("\0", at, true) or #text + 1
    return text:sub(at, last - 1), last + 1
  elseif not kind then
    bad_code(letter)
  end
  local behind = at + kind[2]
  if behind - 1 > #text then
    return
  end
  local number = number_of(kind, text:sub(at, behind - 1), swap)
  if NUMBERS[letter] then
    return number, behind
  elseif behind + number - 1 <= #text then
    return text:sub(behind, behind + number - 1), behind + number
  end
end

-- The position behind what was read, and the values; fewer if the text ends.
function _M.unpack(text, format, init)
  local at, swap, values, n = init or 1, false, {}, 0
  for letter, count in letters(format) do
    local wanted = tonumber(count)
    if letter == "<" or letter == ">" or letter == "=" then
      swap = swaps(letter)
    elseif letter == "x" then
      at = at + (wanted or 1)
    elseif RUNS[letter] then
      wanted = wanted or 1
      if at + wanted - 1 > #text then
        break
      end
      n = n + 1
      values[n] = RUNS[letter](text:sub(at, at + wanted - 1))
      at = at + wanted
    elseif not letter:find("[ ,]") then
      for _ = 1, wanted or 1 do
        local value, behind = read(letter, text, at, swap)
        if value == nil then
          return at, unpack(values, 1, n)
        end
        n, at = n + 1, behind
        values[n] = value
      end
    end
  end
  return at, unpack(values, 1, n)
end

return _M
