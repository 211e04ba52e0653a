-- Streams of zlib under the name and with the calls of lua-zlib, a C module that rocks ask for.

local host = require "silverback.host"

local _M = { _VERSION = "lua-zlib 1.2", BEST_SPEED = 1, BEST_COMPRESSION = 9,
  DEFAULT_COMPRESSION = -1, MINIMUM_WINDOW = 8, MAXIMUM_WINDOW = 15, GZIP_WINDOW = 16,
  RAW_WINDOW = -1 }

local ROOM = 16384

function _M.version()
  return 1, 3, 1
end

-- The kind of a window: with 16 more bits it is gzip, with 32 more what the data says.
local function kind_of(bits, first)
  if bits < 0 then
    return "raw", -bits
  elseif bits >= 40 then
    return first == "\31" and "gzip" or "zlib", bits - 32
  elseif bits >= 24 then
    return "gzip", bits - 16
  end
  return "zlib", bits
end

-- A function that takes pieces and gives what they make: the data, whether the stream has ended,
-- and the bytes that went in and came out.
local function stream_of(open)
  local stream, taken, given, ended = nil, 0, 0, false
  return function(piece, flush)
    local last = piece == nil or flush == "finish"
    piece = piece or ""
    if ended then
      if piece ~= "" then
        error("IllegalState: calling function when eof", 2)
      end
      return "", true, taken, given
    end
    stream = stream or open(piece:sub(1, 1))
    local parts, from = {}, 0
    repeat
      local out, used
      out, used, ended = host.zlib_step(stream, piece, from, last, ROOM)
      if not out then
        error("IllegalStateException: data error", 2)
      end
      from, taken, given = from + used, taken + used, given + #out
      parts[#parts + 1] = out
    until ended or #out < ROOM and (from >= #piece or used == 0 and out == "")
    return table.concat(parts), ended, taken, given
  end
end

function _M.deflate(level, window)
  if level and level < 0 then
    level = nil
  end
  return stream_of(function()
    local kind, bits = kind_of(window or 15, "\31")
    return host.zlib_packer(kind, bits, level)
  end)
end

function _M.inflate(window)
  return stream_of(function(first)
    return host.zlib_unpacker(kind_of(window or 15 + 32, first))
  end)
end

local function sum_of(call, start)
  return function()
    local sum = start
    return function(text)
      if text then
        sum = call(text, sum)
      end
      return sum
    end
  end
end

_M.crc32 = sum_of(host.zlib_crc, 0)
_M.adler32 = sum_of(host.zlib_adler, 1)

return _M
