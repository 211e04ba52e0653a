-- Texts packed with gzip, and back.

local buffer = require "string.buffer"
local yield = require("kong.tools.yield").yield
local zlib = require "ffi-zlib"

local CHUNK = 65535
-- A small text may unpack to a huge one.
local UNPACKED_MAX = 64 * 1024 * 1024

local _M = {}

local function through(pack, text, most)
  local from, out = 1, buffer.new()
  local function input(size)
    if from > #text then
      return nil
    end
    if from > 1 then
      yield(true)
    end
    local piece = text:sub(from, from + size - 1)
    from = from + size
    return piece
  end
  local function output(piece)
    if most and #out + #piece > most then
      return nil, "too large"
    end
    return out:put(piece)
  end
  local ok, err = pack(input, output, CHUNK)
  if not ok then
    return nil, err
  end
  return out:get()
end

function _M.deflate_gzip(text)
  return through(zlib.deflateGzip, text)
end

function _M.inflate_gzip(text)
  return through(zlib.inflateGzip, text, UNPACKED_MAX)
end

return _M
