-- Streams of gzip, zlib and raw deflate: what `lua-ffi-zlib` does with the C library.
--
-- The input is a function that gives pieces, the output one that takes them. A window of 15 + 16
-- bits is gzip, 15 + 32 gzip or zlib by the looks of it, a negative one has no head.

local host = require "silverback.host"

local CHUNK = 16384

local _M = { _VERSION = "0.6.0" }

-- What zlib calls its results.
local WORDS = {
  [0] = "", [1] = "stream end", [2] = "need dictionary", [-1] = "file error",
  [-2] = "stream error", [-3] = "data error", [-4] = "insufficient memory", [-5] = "buffer error",
  [-6] = "incompatible version",
}

function _M.zlib_err(code)
  return WORDS[tonumber(code)] or ""
end

function _M.version()
  return "1.3.1"
end

local function kind_of(bits, first)
  if bits < 0 then
    return "raw", -bits
  elseif bits > 32 then
    return first == "\31" and "gzip" or "zlib", bits - 32
  elseif bits > 16 then
    return "gzip", bits - 16
  end
  return "zlib", bits
end

-- Hands out what comes of one piece; true at the end of the stream, nil and an error.
local function pass(stream, piece, last, output, size)
  local from, ended = 0, false
  repeat
    local out, used
    out, used, ended = host.zlib_step(stream, piece, from, last, size)
    if not out then
      return nil, WORDS[-3]
    end
    from = from + used
    if out ~= "" then
      local ok, err = output(out)
      if not ok then
        return nil, tostring(err)
      end
    end
  until ended or #out < size and (from >= #piece or used == 0 and out == "")
  return ended
end

function _M.inflateGzip(input, output, size, bits)
  size = size or CHUNK
  local stream
  repeat
    local piece = input(size)
    if not piece or piece == "" then
      return false, "INFLATE: Data error, no input bytes"
    end
    stream = stream or host.zlib_unpacker(kind_of(bits or 15 + 32, piece:sub(1, 1)))
    local ended, err = pass(stream, piece, false, output, size)
    if ended == nil then
      return false, "INFLATE: " .. err
    end
  until ended
  return true, WORDS[1]
end

function _M.deflateGzip(input, output, size, options)
  size, options = size or CHUNK, options or {}
  local kind, bits = kind_of(options.windowBits or 15 + 16, "\31")
  local level = options.level
  if level and level < 0 then
    level = nil
  end
  local stream = host.zlib_packer(kind, bits, level)
  repeat
    local piece = input(size)
    local ended, err = pass(stream, piece or "", piece == nil, output, size)
    if ended == nil then
      return false, "DEFLATE: " .. err
    end
  until ended
  return true, WORDS[1]
end

-- CRC-32 of a text, which may go on from an earlier one.
function _M.crc(text, sum)
  return host.zlib_crc(text or "", sum or 0)
end

function _M.adler(text, sum)
  return host.zlib_adler(text or "", sum or 0)
end

return _M
