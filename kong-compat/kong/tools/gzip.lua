-- kong.tools.gzip.

local host = require "silverback.host"

local _M = {}

function _M.deflate_gzip(text)
  return host.deflate(text)
end

function _M.inflate_gzip(text)
  if text == "" then
    return nil, "INFLATE: Data error, no input bytes"
  end
  local inflated = host.inflate(text)
  if not inflated then
    return nil, "INFLATE: data error"
  end
  return inflated
end

return _M
