-- lua-ffi-zlib: streams in and out through functions. The work is done by the host, on the whole.

local host = require "silverback.host"

local CHUNK = 16384

local _M = { _VERSION = "0.6.0" }

local function all_of(input, size)
  local parts = {}
  local data = input(size)
  while data and data ~= "" do
    parts[#parts + 1] = data
    data = input(size)
  end
  return table.concat(parts)
end

local function give(output, text, size)
  for at = 1, #text, size do
    local ok, err = output(text:sub(at, at + size - 1))
    if ok == false then
      return false, err
    end
  end
  return true
end

-- `input(size)` gives the next piece or nil; `output(piece)` takes one.
function _M.inflateGzip(input, output, bufsize)
  local size = bufsize or CHUNK
  local text = all_of(input, size)
  if text == "" then
    return false, "INFLATE: Data error, no input bytes"
  end
  local inflated = host.inflate(text)
  if not inflated then
    return false, "INFLATE: data error"
  end
  return give(output, inflated, size)
end

function _M.deflateGzip(input, output, bufsize)
  local size = bufsize or CHUNK
  return give(output, host.deflate(all_of(input, size)), size)
end

function _M.version()
  return "1.3.1"
end

return _M
